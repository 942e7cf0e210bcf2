//! The one hook on system calls: `sys_exit`, where arguments, result and objects are all known.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::Array,
    programs::BtfTracePointContext,
};
use sentinel_ipc::kernel_abi::{SyscallTable, kind};

use crate::{
    descriptor,
    emit::{Facts, plain},
    kernel::{copy_user, current_ids},
    registers::Registers,
    scope::{count, is_reported},
};

/// Kind by ABI and number; the loader fills it.
#[map]
static SYSCALLS: Array<SyscallTable> = Array::with_max_entries(1, 0);

const F_DUPFD: u32 = 0;
const F_SETFD: u32 = 2;
const F_DUPFD_CLOEXEC: u32 = 1030;
const CLONE_FILES: u64 = 0x400;
const EBADF: i64 = 9;

/// `TP_PROTO(struct pt_regs *regs, long ret)`.
#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(context: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let registers = Registers(context.arg(0));
    let Some((index, abi)) = registers.table_index() else { return 0 };
    let Some(table) = SYSCALLS.get(0) else { return 0 };
    let Some(&kind) = table.get(index) else { return 0 };
    if kind == 0 {
        return 0;
    }
    let (tgid, _) = current_ids();
    if !is_reported(tgid) {
        return 0;
    }
    let facts =
        Facts { kind: kind as u16, abi, flags: 0, result: context.arg(1), argument: [0; 2] };
    let Some(call) = describe(&registers, facts) else { return 0 };
    count(|counters| counters.passed += call.records());
    emit(call);
    0
}

/// What a wanted call did to descriptors.
enum Call {
    /// Nothing that its record has to describe.
    Plain(Facts),
    /// It made or used one.
    One(Facts, u32),
    /// It made a pair.
    Pair(Facts, [u32; 2]),
}

impl Call {
    #[inline(always)]
    fn records(&self) -> u64 {
        match self {
            Self::Plain(_) | Self::One(..) => 1,
            Self::Pair(..) => 2,
        }
    }
}

/// Reads the arguments that the call's kind needs; `None` for what changed nothing.
#[inline(always)]
fn describe(registers: &Registers, facts: Facts) -> Option<Call> {
    let first = registers.first();
    let with_first = Facts { argument: [first, 0], ..facts };
    match facts.kind {
        kind::CONNECT | kind::BIND | kind::LISTEN => Some(Call::One(with_first, first as u32)),
        // Every other error comes after the descriptor is gone (close(2)).
        kind::CLOSE if facts.result != -EBADF => Some(Call::Plain(with_first)),
        _ if facts.result < 0 => None,
        kind::SOCKET | kind::ACCEPT | kind::DUP => Some(Call::One(with_first, facts.result as u32)),
        kind::FCNTL => fcntl(registers, with_first),
        kind::CLOSE_RANGE => {
            let last_and_flags = (registers.second() as u32 as u64) | (registers.third() << 32);
            Some(Call::Plain(Facts { argument: [first, last_and_flags], ..facts }))
        }
        kind::UNSHARE_FILES if first & CLONE_FILES != 0 => Some(Call::Plain(with_first)),
        kind::PIPE => pair(facts, first),
        kind::SOCKETPAIR => pair(facts, registers.fourth()),
        _ => None,
    }
}

#[inline(always)]
fn fcntl(registers: &Registers, facts: Facts) -> Option<Call> {
    match registers.second() as u32 {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            Some(Call::One(Facts { kind: kind::DUP, ..facts }, facts.result as u32))
        }
        F_SETFD => {
            let argument = [facts.argument[0], registers.third()];
            Some(Call::Plain(Facts { kind: kind::SET_DESCRIPTOR_FLAGS, argument, ..facts }))
        }
        _ => None,
    }
}

/// Both ends of a call that stored two new descriptors at user address `at`.
#[inline(always)]
fn pair(facts: Facts, at: u64) -> Option<Call> {
    let mut numbers = [0_u32; 2];
    copy_user((&raw mut numbers).cast(), 8, at).then_some(Call::Pair(facts, numbers))
}

#[inline(always)]
fn emit(call: Call) {
    let (mut facts, numbers, mut left) = match call {
        Call::Plain(facts) => return plain(facts),
        Call::One(facts, number) => (facts, [number; 2], 1),
        Call::Pair(facts, numbers) => {
            let argument = [numbers[0] as u64, numbers[1] as u64];
            (Facts { argument, ..facts }, numbers, 2)
        }
    };
    let mut number = numbers[0];
    // A loop, so that the object holds the code for a descriptor's record once.
    while left > 0 {
        descriptor::emit(facts, number);
        facts.argument = [facts.argument[1], facts.argument[0]];
        number = numbers[1];
        left -= 1;
    }
}
