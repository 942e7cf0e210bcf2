//! Family 1: calls that make or use descriptors.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::kernel_abi::kind;

use crate::{
    call::Call,
    credentials, descriptor,
    emit::{Facts, plain},
    kernel::{forget, read_user},
    pid::current_ids,
    plain_files, quiet_traffic,
    scope::{count, is_wanted},
    syscall::{FAMILIES, pass_on_canary},
    traffic,
};

const CLOSE_RANGE_UNSHARE: u64 = 2;
const F_DUPFD: u32 = 0;
const F_SETFD: u32 = 2;
const F_DUPFD_CLOEXEC: u32 = 1030;
const EBADF: i64 = 9;
const EINPROGRESS: i64 = 115;

/// Runs in the place of `sys_exit`.
#[btf_tracepoint(function = "sys_exit")]
pub fn descriptor_calls(context: BtfTracePointContext) -> i32 {
    let call = Call::of(&context);
    pass_on_canary(&context, call.facts.kind, kind::OPEN);
    let family = call.facts.kind >> kind::FAMILY_SHIFT;
    if family == kind::SENT >> kind::FAMILY_SHIFT {
        // A socketcall(2) that moves bytes.
        // SAFETY: as in `syscall`.
        unsafe { FAMILIES.tail_call(&context, family as u32) };
    }
    if let Some(deed) = describe(call.facts, call.arguments) {
        let is_told = end_traffic(&call);
        if !is_told && !is_of_plain_file(&deed) {
            emit(deed);
        }
    }
    0
}

/// Tells the totals of a descriptor that is closed, or that means something else from now on; whether the call is told
/// by that.
#[inline(always)]
fn end_traffic(call: &Call) -> bool {
    let [first, ..] = call.arguments;
    let result = call.facts.result;
    let number = match call.facts.kind {
        kind::CLOSE => first as u32,
        // What goes to another peer from now on is told anew.
        kind::CONNECT if result == 0 || result == -EINPROGRESS => first as u32,
        // dup2(n, n) changes nothing.
        kind::DUP if result >= 0 && result as u32 != first as u32 => result as u32,
        _ => return false,
    };
    let (tgid, _) = current_ids();
    traffic::end(tgid, forget(number, result as u64), call.facts)
}

/// Whether it is about a file that nobody asked about; notes which numbers mean something else from now on.
#[inline(always)]
fn is_of_plain_file(deed: &Deed) -> bool {
    let (tgid, _) = current_ids();
    let Deed { facts, numbers: [one, other], count } = *deed;
    if facts.kind == kind::SET_DESCRIPTOR_FLAGS {
        return plain_files::has(tgid, facts.argument[0] as u32);
    }
    if facts.kind == kind::CLOSE_RANGE {
        if facts.argument[1] >> 32 & CLOSE_RANGE_UNSHARE != 0 {
            plain_files::give_up(tgid);
        } else {
            plain_files::forget(tgid);
        }
    }
    let makes = matches!(
        facts.kind,
        kind::SOCKET | kind::ACCEPT | kind::DUP | kind::RECEIVED | kind::PIPE | kind::SOCKETPAIR
    );
    if makes && count > 0 {
        for number in [one, other] {
            plain_files::end(tgid, number);
            quiet_traffic::end(tgid, number);
        }
    }
    false
}

/// What a wanted call did to descriptors.
struct Deed {
    facts: Facts,
    /// Those that it made or used and that its record has to describe; of one, twice.
    numbers: [u32; 2],
    /// How many they are.
    count: u32,
}

impl Deed {
    #[inline(always)]
    fn plain(facts: Facts) -> Option<Self> {
        Some(Self { facts, numbers: [0; 2], count: 0 })
    }

    #[inline(always)]
    fn one(facts: Facts, number: u32) -> Option<Self> {
        Some(Self { facts, numbers: [number; 2], count: 1 })
    }
}

/// What the call did, by its kind; `None` if it changed nothing.
#[inline(always)]
fn describe(facts: Facts, arguments: [u64; 6]) -> Option<Deed> {
    let [first, second, third, fourth, ..] = arguments;
    let with_first = Facts { argument: [first, 0, 0], ..facts };
    match facts.kind {
        kind::CONNECT | kind::BIND | kind::LISTEN => Deed::one(with_first, first as u32),
        // Every other error comes after the descriptor is gone (close(2)).
        kind::CLOSE if facts.result != -EBADF => Deed::plain(with_first),
        kind::SETNS => {
            credentials::note();
            Deed::one(Facts { argument: [first, second, 0], ..facts }, first as u32)
        }
        _ if facts.result < 0 => None,
        kind::SOCKET | kind::ACCEPT | kind::DUP => Deed::one(with_first, facts.result as u32),
        kind::RECEIVED => {
            let argument = [facts.result as u64, first, 0];
            Deed::one(Facts { argument, ..facts }, facts.result as u32)
        }
        kind::FCNTL => fcntl(with_first, second as u32, third),
        kind::CLOSE_RANGE => {
            let last_and_flags = (second as u32 as u64) | (third << 32);
            Deed::plain(Facts { argument: [first, last_and_flags, 0], ..facts })
        }
        kind::PIPE => pair(facts, first),
        kind::SOCKETPAIR => pair(facts, fourth),
        _ => None,
    }
}

#[inline(always)]
fn fcntl(facts: Facts, command: u32, value: u64) -> Option<Deed> {
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            Deed::one(Facts { kind: kind::DUP, ..facts }, facts.result as u32)
        }
        F_SETFD => {
            let argument = [facts.argument[0], value, 0];
            Deed::plain(Facts { kind: kind::SET_DESCRIPTOR_FLAGS, argument, ..facts })
        }
        _ => None,
    }
}

/// Both ends of a call that stored two new descriptors at user address `at`.
#[inline(always)]
fn pair(facts: Facts, at: u64) -> Option<Deed> {
    let numbers = read_user::<[u32; 2]>(at);
    if numbers.is_none() {
        count(|counters| counters.unreadable += 1);
    }
    Some(Deed { facts, numbers: numbers?, count: 2 })
}

#[inline(always)]
fn emit(deed: Deed) {
    let Deed { mut facts, numbers, count: mut left } = deed;
    if !is_wanted(facts.kind) {
        return;
    }
    if left == 0 {
        count(|counters| counters.passed += 1);
        plain(facts);
        return;
    }
    if left == 2 {
        facts.argument = [numbers[0] as u64, numbers[1] as u64, 0];
    }
    let mut number = numbers[0];
    // A loop, so that the object holds the code for a descriptor's record once.
    while left > 0 {
        count(|counters| counters.passed += 1);
        descriptor::emit(facts, number);
        facts.argument = [facts.argument[1], facts.argument[0], 0];
        number = numbers[1];
        left -= 1;
    }
}
