//! The script that an interpreter runs: the file that it opens by the path that exec was given, or, started
//! as `interpreter /path/of/script`, by that.
//!
//! At exec only the caller's word is known. The interpreter is the one to open the file, and may find
//! another one there than the kernel did; what it opened is told, once, with what speaks for its path.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::{LruHashMap, PerCpuArray},
    programs::BtfTracePointContext,
};
use sentinel_ipc::{
    kernel_abi::{FileRecord, GIVEN_BYTES, Span, class, kind, origin},
    kernel_fields::Field,
};

use crate::{
    descriptor::object_of,
    emit::{Facts, header, scratch, send},
    file_event::noted,
    kernel::{Address, Task, copy_kernel, copy_user_string, forget, number_of},
    path::Location,
    path_object::ends_in,
    pid::current_ids,
    scope::{add_class, class_of, count, is_wanted, take_class},
    trust,
};

/// Processes whose script is awaited, at the most; the oldest make room.
const AWAITED_ENTRIES: u32 = 4096;

/// The path by which a script is awaited.
#[repr(C)]
struct Awaited {
    given: [u8; GIVEN_BYTES],
    length: u64,
    /// For [`number_of`].
    cell: Address,
}

#[map]
static AWAITED: LruHashMap<u32, Awaited> = LruHashMap::with_max_entries(AWAITED_ENTRIES, 0);

/// An entry that is about to be made.
#[map]
static FRESH_AWAITED: PerCpuArray<Awaited> = PerCpuArray::with_max_entries(1, 0);

/// `tgid` has started a program: `given` is what exec was given, of `length` bytes, if that is a script.
#[inline(always)]
pub fn begin(tgid: u32, is_script: bool, given: *const u8, length: u32) {
    let Some(fresh) = FRESH_AWAITED.get_ptr_mut(0) else { return };
    // SAFETY: a live map value of this CPU.
    let to = unsafe { (&raw mut (*fresh).given).cast::<u8>() };
    let length = if is_script {
        copy_kernel(to, GIVEN_BYTES as u32, Address(given as u64));
        length
    } else {
        second_argument(to)
    };
    let length = forget(length as usize, tgid as u64);
    // SAFETY: as above.
    let first = unsafe { to.read() };
    // A shorter name than the buffer, and so whole; of a plain argument only a whole path.
    let is_path = length > 0 && length < GIVEN_BYTES - 1 && (is_script || first == b'/');
    if !is_path || !is_wanted(kind::SCRIPT) {
        take_class(tgid, class::AWAITS_SCRIPT);
        return;
    }
    // SAFETY: as above.
    unsafe {
        (&raw mut (*fresh).length).write(length as u64);
        (&raw mut (*fresh).cell).write(Address(0));
        let _lru_makes_room = AWAITED.insert(&tgid, &*fresh, 0);
    }
    add_class(tgid, class::AWAITS_SCRIPT);
}

/// Copies the second argument of the new program; returns its bytes.
#[inline(always)]
fn second_argument(to: *mut u8) -> u32 {
    let memory = Task::current().follow(Field::TaskMm);
    let (start, end): (u64, u64) = (memory.read(Field::MmArgStart), memory.read(Field::MmArgEnd));
    let Some(first) = copy_user_string(to, GIVEN_BYTES as u32, start) else { return 0 };
    let second = start.wrapping_add(first as u64 + 1);
    if second >= end {
        return 0;
    }
    copy_user_string(to, GIVEN_BYTES as u32, second).unwrap_or(0)
}

/// Whether the current process awaits a script.
#[inline(always)]
pub fn is_awaited() -> bool {
    class_of(current_ids().0) & class::AWAITS_SCRIPT != 0
}

/// Whether `file` has the name of the script that `tgid` awaits.
#[inline(always)]
fn is_script(tgid: u32, file: Address) -> bool {
    let Some(awaited) = AWAITED.get_ptr_mut(&tgid) else { return false };
    // SAFETY: a live map value; only this process changes it.
    let (given, length) = unsafe {
        let cell = &raw mut (*awaited).cell;
        (number_of((&raw const (*awaited).given).cast(), cell), (*awaited).length)
    };
    let location = Location::of_file(file);
    let span = Span { start: 0, length: length as u16, origin: origin::GIVEN, reserved: 0 };
    !file.is_null() && ends_in(given, span, location.length, location.name)
}

/// Runs in the place of `sys_exit`, behind `file_object`: tells the script.
#[btf_tracepoint(function = "sys_exit")]
pub fn script_opened(_: BtfTracePointContext) -> i32 {
    let (tgid, _) = current_ids();
    let Some(noted) = noted() else { return 0 };
    // SAFETY: a live map value of this CPU.
    let (is_open, file) = unsafe { ((*noted).facts.kind == kind::OPEN, (*noted).file) };
    if !is_open || !is_script(tgid, file) {
        return 0;
    }
    take_class(tgid, class::AWAITS_SCRIPT);
    let _gone = AWAITED.remove(&tgid);
    let Some(record) = scratch::<FileRecord>() else { return 0 };
    count(|counters| counters.passed += 1);
    // SAFETY: a live map value of this CPU; the scratch memory has room for the record and for what the walk
    // asks for, and all of it is written but the path.
    unsafe {
        let facts = (*noted).facts;
        let path = (&raw mut (*record).path).cast::<u8>();
        let (written, trust) = trust::walk(Task::current(), Location::of_file(file), path);
        let flags = (*noted).flags() | written.flags;
        let number = facts.result as u64;
        let argument = [number, 0, 0];
        (&raw mut (*record).header).write(header(Facts {
            kind: kind::SCRIPT,
            flags,
            argument,
            ..facts
        }));
        (&raw mut (*record).object).write(object_of(file));
        (&raw mut (*record).span).write(Span { reserved: trust, ..written.span });
        (&raw mut (*record).class).write(0);
        (&raw mut (*record).open_flags).write(file.read(Field::FileFlags));
    }
    send(record, true);
    0
}
