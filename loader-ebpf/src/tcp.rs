//! TCP connections that begin: also those that no system call of their own makes.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::kernel_abi::{SocketRecord, kind};

use crate::{
    descriptor::socket_of,
    emit::{Facts, header, send},
    kernel::Address,
    pid::current_ids,
    scope::{class_of, count, is_reported, is_wanted},
};

const TCP_SYN_SENT: i32 = 2;

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`. A socket begins to
/// connect in its owner's own call; later states may come in anybody's time.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(context: BtfTracePointContext) -> i32 {
    let (old, new): (i32, i32) = (context.arg(1), context.arg(2));
    if new != TCP_SYN_SENT {
        return 0;
    }
    count(|counters| counters.seen += 1);
    let (tgid, _) = current_ids();
    if !is_reported(class_of(tgid)) || !is_wanted(kind::TCP_CONNECTING) {
        return 0;
    }
    count(|counters| counters.passed += 1);
    let argument = [old as u64, new as u64, 0];
    let header = header(Facts { kind: kind::TCP_CONNECTING, argument, ..Facts::default() });
    let record = SocketRecord { header, socket: socket_of(Address(context.arg(0))) };
    send(&raw const record, false);
    0
}
