//! Family 3: calls that move bytes.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::PerCpuArray,
    programs::BtfTracePointContext,
};
use sentinel_ipc::kernel_abi::{flag, kind, stage};

use crate::{
    call::Call,
    descriptor::{AF_INET, AF_INET6, Table},
    emit::Facts,
    kernel::{copy_user, forget, is_equal, read_user},
    message::Message,
    pid::current_ids,
    received,
    scope::count,
    syscall::{FAMILIES, pass_on_canary},
    traffic::{Remote, Share, Way, account},
};

/// Messages of one call whose bytes are counted; the kernel allows 1024 (`UIO_MAXIOV`).
const MAX_MESSAGES: usize = 128;

/// A call's shares, handed on in memory, so that what comes next is verified once, not once for
/// each kind of call.
#[repr(C)]
struct Moved {
    /// The descriptor that the bytes went to, and the one that they came from; or [`NONE`].
    numbers: [u64; 2],
    bytes: u64,
    remote: Remote,
    more_remotes: u64,
}

const NONE: u64 = u64::MAX;

#[map]
static MOVED: PerCpuArray<Moved> = PerCpuArray::with_max_entries(1, 0);

/// Runs in the place of `sys_exit`.
#[btf_tracepoint(function = "sys_exit")]
pub fn traffic_calls(context: BtfTracePointContext) -> i32 {
    let call = Call::of(&context);
    pass_on_canary(&context, call.facts.kind, kind::RENAME);
    let Some(moved) = MOVED.get_ptr_mut(0) else { return 0 };
    // A message without a byte may carry descriptors.
    let least = matches!(call.facts.kind, kind::RECVMSG | kind::RECVMMSG) as i64 ^ 1;
    if call.facts.kind == kind::SUBMIT && call.facts.result > 0 {
        // io_submit(2): what it is about is not looked at.
        count(|counters| counters.unreadable += 1);
    }
    // SAFETY: a live map value of this CPU.
    if call.facts.result >= least && measure(&call, unsafe { &mut *moved }) {
        // SAFETY: as in `syscall`. Does not come back.
        unsafe { FAMILIES.tail_call(&context, stage::SHARE) };
    }
    0
}

/// Runs in the place of `sys_exit`, behind [`traffic_calls`].
#[btf_tracepoint(function = "sys_exit")]
pub fn traffic_shares(context: BtfTracePointContext) -> i32 {
    let call = Call::of(&context);
    if let Some(moved) = MOVED.get_ptr_mut(0) {
        // SAFETY: a live map value of this CPU.
        share_out(&call, unsafe { &*moved });
    }
    if matches!(call.facts.kind, kind::RECVMSG | kind::RECVMMSG) {
        received::begin();
        // SAFETY: as in `syscall`. Does not come back.
        unsafe { FAMILIES.tail_call(&context, stage::RECEIVED) };
    }
    0
}

/// What the call moved, and between which descriptors; false if it is none that moves bytes.
#[inline(always)]
fn measure(call: &Call, moved: &mut Moved) -> bool {
    let [first, second, third, ..] = call.arguments;
    let result = call.facts.result as u64;
    moved.remote = Remote::default();
    moved.more_remotes = 0;
    moved.bytes = result;
    moved.numbers = match call.facts.kind {
        kind::READ | kind::RECVMSG | kind::RECVMMSG => [NONE, first],
        kind::WRITE | kind::SENDTO | kind::SENDMSG | kind::SENDMMSG => [first, NONE],
        kind::SENDFILE => [first, second],
        kind::SPLICE => [third, first],
        kind::TEE => [second, first],
        _ => return false,
    };
    match call.facts.kind {
        kind::SENDTO => moved.remote = remote_at(call.arguments[4]),
        kind::SENDMSG | kind::SENDMMSG => moved.remote = message_remote(call, second),
        _ => {}
    }
    if matches!(call.facts.kind, kind::SENDMMSG | kind::RECVMMSG) {
        (moved.bytes, moved.more_remotes) = sum_of_messages(call, second, result);
    }
    true
}

#[inline(always)]
fn share_out(call: &Call, moved: &Moved) {
    let (tgid, _) = current_ids();
    let table = Table::current();
    // A loop, so that the object holds the code for one descriptor's share once.
    // First what comes from a descriptor, since whoever reads a secret sends it with the same call.
    for turn in 0..2 {
        let (way, place) = if turn == 0 { (Way::In, 1) } else { (Way::Out, 0) };
        if moved.numbers[place] == NONE || moved.bytes == 0 {
            continue;
        }
        let number = moved.numbers[place] as u32;
        let file = table.file(number);
        if file.is_null() {
            continue;
        }
        let flags = table.flags(number) & flag::RACY;
        let share = Share {
            tgid,
            number,
            file,
            way,
            bytes: moved.bytes,
            remote: moved.remote,
            more_remotes: moved.more_remotes,
        };
        account(share, Facts { flags: call.facts.flags | flags, ..call.facts });
    }
}

#[inline(always)]
fn message_remote(call: &Call, at: u64) -> Remote {
    match Message::at(at, call.has_small_pointers()) {
        Some(message) => remote_at(message.name),
        None => {
            count(|counters| counters.unreadable += 1);
            Remote::default()
        }
    }
}

/// The IPv4 or IPv6 address at `at` in the caller's memory; none for another, or where there is
/// none.
#[inline(always)]
fn remote_at(at: u64) -> Remote {
    let mut remote = Remote::default();
    if at == 0 {
        return remote;
    }
    let Some([family, port]) = read_user::<[u16; 2]>(at) else { return remote };
    if family == AF_INET {
        copy_user(remote.address.as_mut_ptr(), 4, at + 4);
    } else if family == AF_INET6 {
        copy_user(remote.address.as_mut_ptr(), 16, at + 8);
    } else {
        return remote;
    }
    remote.family = family;
    remote.port = u16::from_be(port);
    remote
}

/// Bytes of the first `messages` of the `struct mmsghdr` at `at`, and 1 if not all of them went to
/// the first one's address, else 0.
#[inline(always)]
fn sum_of_messages(call: &Call, at: u64, messages: u64) -> (u64, u64) {
    let small = call.has_small_pointers();
    let (stride, length_at) = if small { (32, 28) } else { (64, 56) };
    if messages > MAX_MESSAGES as u64 {
        count(|counters| counters.unreadable += 1);
    }
    let pointer_mask = if small { u32::MAX as u64 } else { u64::MAX };
    let (stride, length_at) = (forget(stride, at) as u64, forget(length_at, at) as u64);
    let pointer_mask = forget(pointer_mask, at);
    let first = address_words(read_word(at) & pointer_mask);
    let (mut sum, mut difference) = (0, 0);
    for index in 0..MAX_MESSAGES {
        if index as u64 >= messages {
            break;
        }
        sum = forget(sum, at);
        difference = forget(difference, at);
        let message = at + index as u64 * stride;
        let mut length = 0_u32;
        copy_user((&raw mut length).cast(), 4, message + length_at);
        sum += length as usize;
        let other = address_words(read_word(message) & pointer_mask);
        difference |=
            ((first[0] ^ other[0]) | (first[1] ^ other[1]) | (first[2] ^ other[2])) as usize;
    }
    (sum as u64, (difference != 0) as u64)
}

/// Eight bytes of the caller's memory; zeros if they cannot be read.
#[inline(always)]
fn read_word(at: u64) -> u64 {
    let mut word = 0_u64;
    copy_user((&raw mut word).cast(), 8, at);
    word
}

/// Family, port and address of the IPv4 or IPv6 address at `at`, as words that differ when those
/// do; zeros for another, or where there is none.
#[inline(always)]
fn address_words(at: u64) -> [u64; 3] {
    let (begin, middle, end) = (read_word(at), read_word(at + 8), read_word(at + 16));
    let family = begin as u16;
    // Of an IPv6 address the upper half of the first word is the flow.
    let is = |wanted: u16| {
        let mask = 0_u64.wrapping_sub(is_equal(family as u64, wanted as u64));
        forget(mask, at)
    };
    let (is_v4, is_v6) = (is(AF_INET), is(AF_INET6));
    [(begin & is_v4) | (begin & 0xffff_ffff & is_v6), middle & is_v6, end & is_v6]
}
