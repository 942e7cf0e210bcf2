//! Family 2: calls that open a file or act on an open one.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::kernel_abi::{abi, kind, stage};

use crate::{
    call::Call,
    descriptor::Table,
    emit::Facts,
    file_class,
    file_event::{look, note, report},
    kernel::read_user,
    script,
    syscall::{FAMILIES, pass_on_canary},
};

/// The 32-bit call that takes its length in two halves.
const FTRUNCATE64: u16 = 194;
/// openat2(2), in all ABIs.
const OPENAT2: u16 = 437;
const MAP_ANONYMOUS: u64 = 0x20;
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
    note(Facts { argument, ..call.facts }, Table::current().file(number), number);
    // SAFETY: as in `syscall`. Does not come back.
    unsafe { FAMILIES.tail_call(&context, stage::FILE) };
    0
}

/// Runs in the place of `sys_exit`, behind [`file_calls`].
#[btf_tracepoint(function = "sys_exit")]
pub fn file_object(context: BtfTracePointContext) -> i32 {
    if look() {
        // SAFETY: as in `syscall`. Does not come back.
        unsafe { FAMILIES.tail_call(&context, stage::PATH) };
    }
    pass_on_script(&context);
    0
}

/// Runs in the place of `sys_exit`, behind [`file_object`].
#[btf_tracepoint(function = "sys_exit")]
pub fn file_path(context: BtfTracePointContext) -> i32 {
    report();
    pass_on_script(&context);
    0
}

/// Hands on to where the script is told that the process awaits, if it does.
#[inline(always)]
fn pass_on_script(context: &BtfTracePointContext) {
    if script::is_awaited() {
        // SAFETY: as in `syscall`. Does not come back.
        unsafe { FAMILIES.tail_call(context, stage::SCRIPT) };
    }
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
