//! The one hook on system calls: `sys_exit`, where arguments, result and objects are all known.
//!
//! It decides whether a call is counted, and whether it is wanted, and hands it to the program of its family,
//! which runs in its place (a tail call); so each family is verified by itself. This is what every call of
//! every process pays for, so each look at something comes after those that cost less.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    EbpfContext as _,
    macros::{btf_tracepoint, map},
    maps::ProgramArray,
    programs::BtfTracePointContext,
};
use sentinel_ipc::kernel_abi::{COUNTED, control, kind, stage};

use crate::{
    call::{kind_in, row_of},
    kernel::Task,
    plain_files, profile, quiet_traffic,
    registers::{Registers, number_in},
    scope::{class_of, control_value, count, is_reported},
    traffic::{Way, may_matter},
};

/// The program of each family of calls, by `kind >> FAMILY_SHIFT`, and behind them the later stages
/// of some; the loader fills it.
#[map]
pub static FAMILIES: ProgramArray = ProgramArray::with_max_entries(stage::COUNT, 0);

/// `TP_PROTO(struct pt_regs *regs, long ret)`.
#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(context: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let words = context.arg(0);
    let row = row_of(number_in(words));
    if row == 0 {
        return 0;
    }
    let task = Task::current();
    let tgid = task.tgid();
    let registers = Registers::of(task, words);
    let class = class_of(tgid);
    let is_reported = is_reported(class);
    if row & COUNTED != 0 && is_reported {
        profile::count_call(tgid, registers, context.arg(1));
    }
    let kind = kind_in(row, registers.abi);
    let wanted = match kind {
        0 => false,
        kind::CANARY => is_loader(tgid),
        _ => is_reported || (control_value(control::LEARN) != 0 && is_loader(tgid)),
    };
    if wanted && !is_done(kind, class, tgid, registers, context.arg(1)) {
        // Does not come back, unless that family was not loaded.
        hand_on(&context, kind);
    }
    0
}

/// Whether all that the call does is to move bytes that nobody waits to hear of, or to close a file that nobody asked
/// about.
#[inline(always)]
fn is_done(kind: u16, class: u8, tgid: u32, registers: Registers, result: i64) -> bool {
    let number = registers.argument(0) as u32;
    let way = match kind {
        kind::READ => Way::In,
        kind::WRITE => Way::Out,
        // To whom it is connected.
        kind::SENDTO if registers.argument(4) == 0 => Way::Out,
        kind::CLOSE => return plain_files::end(tgid, number),
        _ => return false,
    };
    !may_matter(class)
        && (plain_files::has(tgid, number) || quiet_traffic::add(tgid, number, way, result))
}

/// Whether this is the loader itself, which opens files to have them learned, and makes canaries.
#[inline(always)]
fn is_loader(tgid: u32) -> bool {
    control_value(control::LOADER) == tgid as u64
}

/// Hands a call to the program of its family.
#[inline(always)]
fn hand_on(context: &BtfTracePointContext, kind: u16) {
    const { assert!(kind::FAMILIES == 7, "each has its line") };
    match kind >> kind::FAMILY_SHIFT {
        0 => tail_call::<0>(context),
        1 => tail_call::<1>(context),
        2 => tail_call::<2>(context),
        3 => tail_call::<3>(context),
        4 => tail_call::<4>(context),
        5 => tail_call::<5>(context),
        6 => tail_call::<6>(context),
        _ => {}
    }
}

/// Hands on to a program whose place is part of the instruction, so that the kernel makes a jump of it instead of
/// a look-up. The compiler would make one call of several.
#[inline(always)]
fn tail_call<const PLACE: u32>(context: &BtfTracePointContext) {
    let programs: *const c_void = (&raw const FAMILIES).cast();
    // SAFETY: bpf_tail_call(context, map, place), which comes back at most with all registers but r6 to r9
    // gone; the map holds programs of this very hook only, which the kernel checks.
    unsafe {
        asm!(
            "r3 = {place}",
            "call 12",
            place = const PLACE,
            inout("r1") context.as_ptr() => _,
            inout("r2") programs => _,
            out("r0") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
}

/// Hands a canary on to the family of `next`, so that it proves all of them to be in place.
#[inline(always)]
pub fn pass_on_canary(context: &BtfTracePointContext, kind: u16, next: u16) {
    if kind == kind::CANARY {
        // SAFETY: as above.
        unsafe { FAMILIES.tail_call(context, (next >> kind::FAMILY_SHIFT) as u32) };
    }
}
