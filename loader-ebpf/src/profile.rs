//! System calls counted by executable: no record, no map look-up by hash, nothing to lose.
//!
//! A process gets its profile at its first call that is counted, keeps it until it runs another program,
//! and hands it on to its children. Where there is none left, each call asks anew: the loader takes back those
//! that nobody has.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_NOEXIST},
    helpers::generated as helpers,
    macros::map,
    maps::{Array, HashMap, Queue},
};
use sentinel_ipc::{
    kernel_abi::{Object, ObjectKey, PROFILES_ENTRIES, abi, profile},
    kernel_fields::Field,
};

use crate::{
    atomic,
    descriptor::object_of,
    kernel::{Task, opaque},
    registers::Registers,
};

/// Four profiles an entry: one for every possible tgid.
#[map]
static PROFILES: Array<[u16; 4]> = Array::with_max_entries(PROFILES_ENTRIES, BPF_F_MMAPABLE);

/// By executable.
#[map]
static PROFILE_OF: HashMap<ObjectKey, u32> = HashMap::with_max_entries(profile::COUNT, 0);

/// The executable of each profile.
#[map]
static PROFILE_FILES: Array<ObjectKey> = Array::with_max_entries(profile::COUNT, 0);

/// Numbers that are nobody's; the loader puts them here.
#[map]
static FREE_PROFILES: Queue<u32> = Queue::with_max_entries(profile::COUNT, 0);

/// How many were taken from there.
#[map]
static PROFILES_GIVEN: Array<u64> = Array::with_max_entries(1, 0);

/// The loader sets how many CPUs there is room for.
#[map]
static CALL_COUNTS: Array<profile::Row> = Array::with_max_entries(profile::COUNT, BPF_F_MMAPABLE);

/// What the kernel writes in place of the number of a call whose registers were replaced, and of one
/// that is not to be made.
const REPLACED: u32 = 0xffff_ffff & !0x4000_0000;

/// Counts a call that `tgid` has made, to what the current process runs.
#[inline(always)]
pub fn count_call(tgid: u32, registers: Registers, result: i64) {
    if result == 0 && is_told_elsewhere(registers) {
        return;
    }
    let mut number = profile_of(tgid);
    if number == profile::NONE {
        number = profile_of_executable();
        if number != profile::OTHER {
            set_profile(tgid, number);
        }
    }
    let Some(row) = row_of(number) else { return };
    count(row, place_of(registers), 1);
    if result > 0
        && let Some(place) = place_of_bytes(registers)
    {
        count(row, place, result as u32);
    }
}

/// Where what the call returns is counted, if it is bytes that have left the process.
#[inline(always)]
fn place_of_bytes(registers: Registers) -> Option<usize> {
    match (registers.abi, registers.number) {
        // sendfile, sendto, sendmsg.
        (abi::NATIVE, 40 | 44 | 46) => Some(profile::SENT_BYTES),
        // write, pwrite64, writev, pwritev, pwritev2.
        (abi::NATIVE, 1 | 18 | 20 | 296 | 328) => Some(profile::WRITTEN_BYTES),
        _ => None,
    }
}

/// A child's side of the call that made it, which is its parent's; and an exec, which has been counted
/// to the program before.
#[inline(always)]
fn is_told_elsewhere(registers: Registers) -> bool {
    match registers.abi {
        abi::COMPAT => matches!(registers.number, 2 | 11 | 120 | 190 | 358 | 435),
        abi::X32 => matches!(registers.number, 56..=58 | 435 | 520 | 545),
        _ => matches!(registers.number, 56..=59 | 322 | 435),
    }
}

/// `execve`, and the number of a call that has put the registers of a signal's handler back.
const EXECVE: usize = 59;
const RT_SIGRETURN: usize = 15;

#[inline(always)]
fn place_of(registers: Registers) -> usize {
    if registers.number == REPLACED {
        RT_SIGRETURN
    } else if registers.abi == abi::NATIVE && (registers.number as usize) < profile::SENT_BYTES {
        registers.number as usize
    } else {
        profile::OTHER_CALLS
    }
}

/// This CPU's counts of a profile.
#[inline(always)]
fn row_of(number: u32) -> Option<*mut profile::Row> {
    // SAFETY: no arguments, no effect.
    let cpu = unsafe { helpers::bpf_get_smp_processor_id() };
    CALL_COUNTS.get_ptr_mut(cpu * profile::COUNT + number)
}

#[inline(always)]
fn count(row: *mut profile::Row, place: usize, amount: u32) {
    // LLVM would leave the mask out where it knows better than the verifier.
    let place = opaque(place) & (profile::CALLS - 1);
    // SAFETY: a live map value, and below its length. Not atomic: it is this CPU's own, and programs at
    // tracepoints run with preemption off.
    unsafe { *row.cast::<u32>().add(place) += amount };
}

#[inline(always)]
fn slot_of(tgid: u32) -> Option<*mut u16> {
    let entry = PROFILES.get_ptr_mut(tgid >> 2)?;
    // SAFETY: tgid & 3 < 4, the entry's length.
    Some(unsafe { entry.cast::<u16>().add((tgid & 3) as usize) })
}

#[inline(always)]
fn profile_of(tgid: u32) -> u32 {
    // SAFETY: a live map value.
    slot_of(tgid).map_or(profile::OTHER, |slot| unsafe { slot.read() } as u32)
}

#[inline(always)]
fn set_profile(tgid: u32, number: u32) {
    if let Some(slot) = slot_of(tgid) {
        // SAFETY: a live map value.
        unsafe { slot.write(number as u16) };
    }
}

/// The profile of what the current process runs.
#[inline(always)]
fn profile_of_executable() -> u32 {
    let file = Task::current().follow(Field::TaskMm).follow(Field::MmExecutable);
    if file.is_null() {
        return profile::OTHER;
    }
    let Object { inode, device, generation, .. } = object_of(file);
    let key = ObjectKey { inode, device, generation };
    // SAFETY: a copy of four bytes is taken at once.
    if let Some(number) = unsafe { PROFILE_OF.get(&key) } {
        let number = *number;
        // The loader may have taken the entry away in between, and it may be another executable's by now.
        return if is_of(number, &key) { number } else { profile::OTHER };
    }
    let Ok(Some(number)) = FREE_PROFILES.pop() else { return profile::OTHER };
    if let Some(given) = PROFILES_GIVEN.get_ptr_mut(0) {
        // SAFETY: a live, aligned map value.
        unsafe { atomic::add(given, 1) };
    }
    let Some(place) = PROFILE_FILES.get_ptr_mut(number) else { return profile::OTHER };
    // SAFETY: a live map value, and nobody else has this number.
    unsafe { place.write(key) };
    // Another process may have been faster: then there are two, which are one to whoever reads them.
    let _known = PROFILE_OF.insert(&key, &number, BPF_NOEXIST as u64);
    number
}

#[inline(always)]
fn is_of(number: u32, key: &ObjectKey) -> bool {
    // Written by one process only, and before anybody finds its number.
    PROFILE_FILES.get(number).is_some_and(|file| {
        (file.inode, file.device, file.generation) == (key.inode, key.device, key.generation)
    })
}

/// A child runs what its parent does.
#[inline(always)]
pub fn inherit(parent: u32, child: u32) {
    set_profile(child, if parent == 0 { profile::NONE } else { profile_of(parent) });
}

/// The process runs another program, the call for which is counted to the one before.
#[inline(always)]
pub fn executed(tgid: u32) {
    let number = profile_of(tgid);
    if number != profile::NONE
        && let Some(row) = row_of(number)
    {
        count(row, EXECVE, 1);
    }
    set_profile(tgid, profile::NONE);
}

/// The process has ended.
#[inline(always)]
pub fn forget(tgid: u32) {
    set_profile(tgid, profile::NONE);
}
