//! Family 2: calls that open a file or act on an open one.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::PerCpuArray,
    programs::BtfTracePointContext,
};
use sentinel_ipc::{
    file_class::class,
    kernel_abi::{FileRecord, Span, abi, control, flag, kind, origin, stage},
    kernel_fields::Field,
};

use crate::{
    call::Call,
    descriptor::{NO_OBJECT, Table, object_of},
    emit::{Facts, header, is_urgent, scratch, send},
    exchange, file_class,
    kernel::{Address, forget, is_equal, read_user},
    path::{Location, walk},
    pid::current_ids,
    plain_files,
    scope::{control_value, count, is_wanted, is_wanted_class, taint},
    script,
    syscall::{FAMILIES, pass_on_canary},
};

/// The 32-bit call that takes its length in two halves.
const FTRUNCATE64: u16 = 194;
/// openat2(2), in all ABIs.
const OPENAT2: u16 = 437;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_SHARED: u64 = 1;
const PROT_WRITE: u64 = 2;
/// The open made the file (`FMODE_CREATED`, include/linux/fs.h).
const CREATED: u32 = 1 << 20;
/// The highest errno + 1; results below 0 and above its negative are errors.
const MAX_ERRNO: i64 = 4096;
/// Execute bits, set-user-id, set-group-id.
pub const POWERFUL_MODE: u64 = 0o6111;

/// Runs in the place of `sys_exit`.
#[btf_tracepoint(function = "sys_exit")]
pub fn file_calls(context: BtfTracePointContext) -> i32 {
    let call = Call::of(&context);
    pass_on_canary(&context, call.facts.kind, kind::SENT);
    let [first, second, third, fourth, fifth, _] = call.arguments;
    let result = call.facts.result;
    let failed = result < 0 && result > -MAX_ERRNO;
    let (number, argument) = match call.facts.kind {
        kind::LOAD_MODULE_FILE => (first, [first, third, 0]),
        _ if failed => return 0,
        kind::OPEN => (result as u64, [asked_flags(&call) & file_class::TRUNCATES as u64, 0, 0]),
        kind::MEMFD => (result as u64, [0, second, 0]),
        kind::MAP if fourth & MAP_ANONYMOUS == 0 => (fifth, [fifth as u32 as u64, third, fourth]),
        kind::FCHMOD if second & POWERFUL_MODE != 0 => (first, [first, second & 0o7777, 0]),
        kind::FTRUNCATE if call.facts.abi == abi::COMPAT && call.facts.call == FTRUNCATE64 => {
            (first, [first, second | third << 32, 0])
        }
        kind::FTRUNCATE => (first, [first, second, 0]),
        _ => return 0,
    };
    let number = number as u32;
    let table = Table::current();
    let (file, flags) = (table.file(number), table.flags(number));
    note(Facts { flags, argument, ..call.facts }, file);
    // SAFETY: as in `syscall`. Does not come back.
    unsafe { FAMILIES.tail_call(&context, stage::FILE) };
    0
}

/// Runs in the place of `sys_exit`, behind [`file_calls`].
#[btf_tracepoint(function = "sys_exit")]
pub fn file_object(context: BtfTracePointContext) -> i32 {
    report();
    if script::is_awaited() {
        // SAFETY: as in `syscall`. Does not come back.
        unsafe { FAMILIES.tail_call(&context, stage::SCRIPT) };
    }
    0
}

/// The flags that the caller gave to open(2) or one of its kin; 0 if they cannot be read.
#[inline(always)]
fn asked_flags(call: &Call) -> u64 {
    let [_, second, third, ..] = call.arguments;
    let (is_open, is_creat) = match call.facts.abi {
        abi::COMPAT => (call.facts.call == 5, call.facts.call == 8),
        _ => (call.facts.call == 2, call.facts.call == 85),
    };
    if call.facts.call == OPENAT2 {
        // In its memory, which it may have changed.
        read_user(third).unwrap_or(0)
    } else if is_creat {
        file_class::TRUNCATES as u64
    } else if is_open {
        second
    } else {
        third
    }
}

/// What [`report`] is to report. Handed on in memory, so that it is verified once, not once for
/// each kind of call.
#[repr(C)]
pub struct Noted {
    pub facts: Facts,
    pub file: Address,
}

#[map]
static NOTED: PerCpuArray<Noted> = PerCpuArray::with_max_entries(1, 0);

/// What was noted last on this CPU.
#[inline(always)]
pub fn noted() -> Option<*const Noted> {
    NOTED.get_ptr(0)
}

/// Notes an event about `file`, which may be null.
#[inline(always)]
pub fn note(facts: Facts, file: Address) {
    if let Some(noted) = NOTED.get_ptr_mut(0) {
        // SAFETY: a live map value of this CPU.
        unsafe { noted.write(Noted { facts, file }) };
    }
}

/// Reports an event about a file of which nothing is known.
#[inline(always)]
pub fn report_unknown(facts: Facts) {
    if !is_wanted(facts.kind) {
        return;
    }
    let Some(record) = scratch::<FileRecord>() else { return };
    count(|counters| counters.passed += 1);
    // SAFETY: the scratch memory has room for it; all of it is written but the path.
    unsafe {
        (&raw mut (*record).header).write(header(facts));
        (&raw mut (*record).object).write(NO_OBJECT);
        (&raw mut (*record).span).write(Span {
            start: 0,
            length: 0,
            origin: origin::NONE,
            reserved: 0,
        });
        (&raw mut (*record).class).write(0);
        (&raw mut (*record).open_flags).write(0);
    }
    send(record, is_urgent(facts.kind));
}

/// Whether a call writes a file that is open like this, makes it writable, or lets it be written.
#[inline(always)]
fn writes(facts: &Facts, open_flags: u32) -> bool {
    let [first, second, third] = facts.argument;
    match facts.kind {
        kind::OPEN => file_class::may_write(open_flags | first as u32 & file_class::TRUNCATES),
        kind::MAP => second & PROT_WRITE != 0 && third & MAP_SHARED != 0,
        kind::FCHMOD | kind::FTRUNCATE => true,
        _ => false,
    }
}

/// Classifies the file that was noted, and reports the event if it is wanted.
#[inline(always)]
pub fn report() {
    let Some(noted) = NOTED.get_ptr(0) else { return };
    // SAFETY: a live map value of this CPU.
    let (facts, file) = unsafe { ((*noted).facts, (*noted).file) };
    let Some(record) = scratch::<FileRecord>() else { return };
    // SAFETY: `record` has room for this type and 256 bytes more; only addresses are taken.
    let (header_at, object_at, span_at, class_at, open_flags_at, path_at) = unsafe {
        (
            &raw mut (*record).header,
            &raw mut (*record).object,
            &raw mut (*record).span,
            &raw mut (*record).class,
            &raw mut (*record).open_flags,
            (&raw mut (*record).path).cast::<u8>(),
        )
    };
    let object = object_of(file);
    let location = Location::of_file(file);
    let written = walk(location, path_at);
    let open_flags: u32 = file.read(Field::FileFlags);
    let (tgid, _) = current_ids();
    // By arithmetic, so that what comes next is not verified for each kind.
    let is_open = is_equal(facts.kind as u64, kind::OPEN as u64) != 0;
    if is_open && file.read::<u32>(Field::FileMode) & CREATED != 0 {
        file_class::unlearn(&object);
    }
    let classes = file_class::classify_open(&object, location, path_at, written.span);
    let lesson = control_value(control::LEARN);
    if lesson != 0 && control_value(control::LOADER) == tgid as u64 {
        file_class::learn_first(&object, classes);
        return;
    }
    let is_secret = file_class::is_secret(classes.always());
    let reads = file_class::may_read(open_flags);
    if is_secret && reads && file_class::has_content(&object) {
        file_class::learn(&object, classes);
        taint(tgid);
    }
    let class = classes.told(writes(&facts, open_flags));
    // Who only names the file, or is the process that it tells of, does nothing with it.
    let inode = file.follow(Field::FileInode);
    let is_idle = open_flags & file_class::PATH_ONLY != 0 && !is_secret;
    let class = if is_idle || file_class::is_of_oneself(class, inode) { 0 } else { class };
    let exchanges = exchange::is_told(&facts, &object, open_flags, tgid);
    let class = if class == 0 && exchanges { class::EXCHANGE } else { class };
    let class = forget(class as usize, location.dentry.0) as u32;
    let wanted = match facts.kind {
        kind::OPEN => is_wanted_class(class) || is_wanted(kind::OPEN_ANY) || file.is_null(),
        kind::MAP => is_wanted_class(class),
        _ => true,
    };
    let is_told = wanted && is_wanted(facts.kind);
    if matches!(facts.kind, kind::OPEN | kind::MEMFD) && !file.is_null() {
        let is_plain = facts.kind == kind::OPEN && !is_told && !is_secret;
        plain_files::begin(tgid, facts.result as u32, is_plain);
    }
    if !is_told {
        return;
    }
    count(|counters| counters.passed += 1);
    let flags = facts.flags | (written.flags & flag::TRUNCATED);
    // SAFETY: the addresses of the record's own fields, taken above.
    unsafe {
        header_at.write(header(Facts { flags, ..facts }));
        object_at.write(object);
        span_at.write(written.span);
        class_at.write(class);
        open_flags_at.write(open_flags);
    }
    send(record, is_urgent(facts.kind) || file_class::is_secret(class));
}
