//! Family 3: calls that move bytes.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::kernel_abi::{flag, kind};

use crate::{
    call::Call,
    descriptor::Table,
    emit::Facts,
    kernel::{copy_user, current_ids, forget, read_user},
    message::Message,
    received,
    scope::count,
    syscall::FAMILIES,
    traffic::{Remote, Share, Way, account},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// Messages of one call whose bytes are counted; the kernel allows 1024 (`UIO_MAXIOV`).
const MAX_MESSAGES: usize = 128;

/// Runs in the place of `sys_exit`.
#[btf_tracepoint(function = "sys_exit")]
pub fn traffic_calls(context: BtfTracePointContext) -> i32 {
    let call = Call::of(&context);
    if call.facts.result > 0 {
        share_out(&call);
        if matches!(call.facts.kind, kind::RECVMSG | kind::RECVMMSG) {
            received::begin();
            // Does not come back, unless that program was not loaded.
            // SAFETY: as in `syscall`.
            unsafe { FAMILIES.tail_call(&context, received::PROGRAM) };
        }
    }
    0
}

#[inline(always)]
fn share_out(call: &Call) {
    let [first, second, third, ..] = call.arguments;
    let result = call.facts.result as u64;
    let mut several = false;
    let mut remote = Remote::default();
    let mut more_remotes = false;
    let (out, into) = match call.facts.kind {
        kind::READ => (None, Some(first)),
        kind::WRITE => (Some(first), None),
        kind::SENDTO => {
            remote = remote_at(call.arguments[4]);
            (Some(first), None)
        }
        kind::SENDMSG => {
            remote = message_remote(call, second);
            (Some(first), None)
        }
        kind::SENDMMSG => {
            remote = message_remote(call, second);
            more_remotes = result > 1 && remote.family != 0;
            several = true;
            (Some(first), None)
        }
        kind::RECVMSG => (None, Some(first)),
        kind::RECVMMSG => {
            several = true;
            (None, Some(first))
        }
        kind::SENDFILE => (Some(first), Some(second)),
        kind::SPLICE => (Some(third), Some(first)),
        kind::TEE => (Some(second), Some(first)),
        _ => return,
    };
    let (tgid, _) = current_ids();
    let table = Table::current();
    // What comes next is verified once, not once for each kind of call.
    let forget = |value: u64| forget(value as usize, result) as u64;
    let none = u64::MAX;
    let (out, into) = (forget(out.unwrap_or(none)), forget(into.unwrap_or(none)));
    let bytes = if forget(several as u64) & 1 != 0 {
        sum_of_messages(call, second, result)
    } else {
        result
    };
    let bytes = forget(bytes);
    let remote = Remote { family: forget(remote.family as u64) as u16, ..remote };
    let more_remotes = forget(more_remotes as u64) & 1;
    // A loop, so that the object holds the code for one descriptor's share once.
    for turn in 0..2 {
        let (number, way) = if turn == 0 { (out, Way::Out) } else { (into, Way::In) };
        if number == none {
            continue;
        }
        let file = table.file(number as u32);
        if file.is_null() {
            continue;
        }
        let flags = table.flags(number as u32) & flag::RACY;
        let share =
            Share { tgid, number: number as u32, file, way, bytes, remote, more_remotes };
        account(share, Facts { flags, ..call.facts });
    }
}

#[inline(always)]
fn message_remote(call: &Call, at: u64) -> Remote {
    match Message::at(at, call.has_small_pointers()) {
        Some(message) => remote_at(message.name),
        None => Remote::default(),
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

/// Bytes of the first `messages` of the `struct mmsghdr` at `at`.
#[inline(always)]
fn sum_of_messages(call: &Call, at: u64, messages: u64) -> u64 {
    let (stride, length_at) = if call.has_small_pointers() { (32, 28) } else { (64, 56) };
    if messages > MAX_MESSAGES as u64 {
        count(|counters| counters.unreadable += 1);
    }
    let mut sum = 0;
    for index in 0..MAX_MESSAGES {
        if index as u64 >= messages {
            break;
        }
        sum = forget(sum, at);
        let mut length = 0_u32;
        copy_user((&raw mut length).cast(), 4, at + index as u64 * stride + length_at);
        sum += length as usize;
    }
    sum as u64
}
