//! The one hook on system calls: `sys_exit`, where arguments, result and objects are all known.
//!
//! It decides whether a call is wanted and hands it to the program of its family, which runs in its
//! place (a tail call); so each family is verified by itself.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::ProgramArray,
    programs::BtfTracePointContext,
};
use sentinel_ipc::kernel_abi::{control, kind, stage};

use crate::{
    call::kind_of,
    pid::current_ids,
    registers::Registers,
    scope::{class_of, control_value, count, is_reported},
};

/// The program of each family of calls, by `kind >> FAMILY_SHIFT`, and behind them the later stages
/// of some; the loader fills it.
#[map]
pub static FAMILIES: ProgramArray = ProgramArray::with_max_entries(stage::COUNT, 0);

/// `TP_PROTO(struct pt_regs *regs, long ret)`.
#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(context: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let kind = kind_of(Registers::new(context.arg(0)));
    if kind == 0 {
        return 0;
    }
    let (tgid, _) = current_ids();
    let wanted = if kind as u16 == kind::CANARY {
        is_loader(tgid)
    } else {
        is_reported(class_of(tgid)) || (control_value(control::LEARN) != 0 && is_loader(tgid))
    };
    if !wanted {
        return 0;
    }
    // Does not come back, unless that family was not loaded.
    // SAFETY: the map holds programs of this very hook only, which the kernel checks.
    unsafe { FAMILIES.tail_call(&context, (kind >> kind::FAMILY_SHIFT) as u32) };
    0
}

/// Whether this is the loader itself, which opens files to have them learned, and makes canaries.
#[inline(always)]
fn is_loader(tgid: u32) -> bool {
    control_value(control::LOADER) == tgid as u64
}

/// Hands a canary on to the family of `next`, so that it proves all of them to be in place.
#[inline(always)]
pub fn pass_on_canary(context: &BtfTracePointContext, kind: u16, next: u16) {
    if kind == kind::CANARY {
        // SAFETY: as above.
        unsafe { FAMILIES.tail_call(context, (next >> kind::FAMILY_SHIFT) as u32) };
    }
}
