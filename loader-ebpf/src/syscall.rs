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
    let registers = Registers::new(context.arg(0));
    let Some(index) = registers.table_index() else { return 0 };
    let Some(table) = SYSCALLS.get(0) else { return 0 };
    let Some(&kind) = table.get(index) else { return 0 };
    if kind == 0 {
        return 0;
    }
    let (tgid, _) = current_ids();
    if !is_reported(tgid) {
        return 0;
    }
    let abi = registers.abi;
    let result = context.arg(1);
    let facts = Facts { kind: kind as u16, abi, flags: 0, result, argument: [0; 2] };
    let arguments = registers.arguments();
    let call = match facts.kind {
        kind::SOCKETCALL => socketcall(facts, arguments),
        _ => describe(facts, arguments),
    };
    let Some(call) = call else { return 0 };
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

/// The 32-bit socketcall(2): the number of a call, and where its arguments stand.
#[inline(always)]
fn socketcall(facts: Facts, [number, at, ..]: [u64; 4]) -> Option<Call> {
    let kind = match number {
        1 => kind::SOCKET,
        2 => kind::BIND,
        3 => kind::CONNECT,
        4 => kind::LISTEN,
        5 | 18 => kind::ACCEPT,
        8 => kind::SOCKETPAIR,
        _ => return None,
    };
    let mut halves = [0_u32; 4];
    // Fewer may be there than the longest call has; what lies behind them is read and not used.
    if !copy_user((&raw mut halves).cast(), 16, at) {
        return None;
    }
    let [a, b, c, d] = halves;
    describe(Facts { kind, ..facts }, [a as u64, b as u64, c as u64, d as u64])
}

/// What the call did, by its kind; `None` if it changed nothing.
#[inline(always)]
fn describe(facts: Facts, arguments: [u64; 4]) -> Option<Call> {
    let [first, second, third, fourth] = arguments;
    let with_first = Facts { argument: [first, 0], ..facts };
    match facts.kind {
        kind::CONNECT | kind::BIND | kind::LISTEN => Some(Call::One(with_first, first as u32)),
        // Every other error comes after the descriptor is gone (close(2)).
        kind::CLOSE if facts.result != -EBADF => Some(Call::Plain(with_first)),
        _ if facts.result < 0 => None,
        kind::SOCKET | kind::ACCEPT | kind::DUP => Some(Call::One(with_first, facts.result as u32)),
        kind::FCNTL => fcntl(with_first, second as u32, third),
        kind::CLOSE_RANGE => {
            let last_and_flags = (second as u32 as u64) | (third << 32);
            Some(Call::Plain(Facts { argument: [first, last_and_flags], ..facts }))
        }
        kind::UNSHARE_FILES if first & CLONE_FILES != 0 => Some(Call::Plain(with_first)),
        kind::PIPE => pair(facts, first),
        kind::SOCKETPAIR => pair(facts, fourth),
        _ => None,
    }
}

#[inline(always)]
fn fcntl(facts: Facts, command: u32, value: u64) -> Option<Call> {
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            Some(Call::One(Facts { kind: kind::DUP, ..facts }, facts.result as u32))
        }
        F_SETFD => {
            let argument = [facts.argument[0], value];
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
