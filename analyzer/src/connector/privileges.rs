//! What the connector gives up, in order.

use nix::{
    libc,
    sys::{prctl, signal::Signal, socket::SockType},
};
use sentinel_ipc::{
    confinement::{
        ConfinementError, Limits, Signals, account, become_account, keep_capabilities, landlock,
        landlock_but_port, limit, no_new_privileges, try_to_regain,
    },
    seccomp::{AllowedCall, When, seccomp_with_fixed_memory},
};

use super::Peers;

/// Its most. Of its descriptors there are two: that of the analyzer's socket, which is 0, and the connection.
const LIMITS: Limits = Limits { memory: 256 << 20, descriptors: 8 };

/// The descriptor of the socket that the analyzer is behind. It is never closed, so it is never anything else.
const ANALYZER: When = When::ArgumentIs(0, &[0]);

/// The system calls that the connector needs beside socket(2) and connect(2), which depend on its peer. What it
/// sends goes to the analyzer, since no call sends to another descriptor or makes one the first.
const ALLOWED: &[AllowedCall] = &[
    AllowedCall { number: libc::SYS_recvfrom, when: ANALYZER, reason: "what the analyzer asks" },
    AllowedCall { number: libc::SYS_sendmsg, when: ANALYZER, reason: "words, and connections" },
    AllowedCall::always(libc::SYS_poll, "waiting"),
    AllowedCall::always(libc::SYS_clock_gettime, "where the vDSO has no clock"),
    AllowedCall {
        number: libc::SYS_close,
        when: When::ArgumentIs(0, &[1, 2, 3, 4, 5, 6, 7]),
        reason: "a connection that was passed on, or failed; never the analyzer's socket",
    },
    AllowedCall {
        number: libc::SYS_fcntl,
        when: When::ArgumentIs(1, &[libc::F_GETFD.cast_unsigned()]),
        reason: "the check of a descriptor before it is closed",
    },
    AllowedCall {
        number: libc::SYS_getsockopt,
        when: When::Together(&[
            When::ArgumentIs(1, &[libc::SOL_SOCKET.cast_unsigned()]),
            When::ArgumentIs(2, &[libc::SO_ERROR.cast_unsigned()]),
        ]),
        reason: "what became of a connection",
    },
];

/// What it may set on TCP sockets: that a peer which is gone is noticed.
const ALLOWED_WITH_TCP: &[AllowedCall] = &[
    AllowedCall {
        number: libc::SYS_setsockopt,
        when: When::Together(&[
            When::ArgumentIs(1, &[libc::SOL_SOCKET.cast_unsigned()]),
            When::ArgumentIs(2, &[libc::SO_KEEPALIVE.cast_unsigned()]),
        ]),
        reason: "probes of a connection on which nothing happens",
    },
    AllowedCall {
        number: libc::SYS_setsockopt,
        when: When::Together(&[
            When::ArgumentIs(1, &[libc::IPPROTO_TCP.cast_unsigned()]),
            When::ArgumentIs(
                2,
                &[
                    libc::TCP_KEEPIDLE.cast_unsigned(),
                    libc::TCP_KEEPINTVL.cast_unsigned(),
                    libc::TCP_KEEPCNT.cast_unsigned(),
                    libc::TCP_USER_TIMEOUT.cast_unsigned(),
                ],
            ),
        ]),
        reason: "how soon",
    },
];

/// Becomes the analyzer's user without any rights, and ends with its parent. Files and the network are open
/// still, to look up a name.
///
/// # Errors
/// When a step is refused or has no effect; the process must end then.
pub fn become_nobody_special() -> Result<(), ConfinementError> {
    become_account(account("sentinel")?)?;
    keep_capabilities(&[])?;
    no_new_privileges()?;
    // A change of user cancels it. Where landlock keeps the parent's signals away (6.12) it has no effect; the
    // end of the analyzer's socket has.
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| ConfinementError::Refused("PR_SET_PDEATHSIG", errno.into()))
}

/// Gives up everything but connecting to `peers`. Nothing that a peer or the analyzer sent has been read.
///
/// # Errors
/// When a step is refused or has no effect; the process must end then.
pub fn confine_to(peers: &Peers) -> Result<(), ConfinementError> {
    limit(LIMITS)?;
    match peers.tcp_port() {
        Some(port) => landlock_but_port(port)?,
        None => landlock(Signals::Inside)?,
    };
    try_to_regain()?;
    let mut allowed = ALLOWED.to_vec();
    if peers.kind() == SockType::Stream {
        allowed.extend(ALLOWED_WITH_TCP);
    }
    for address in peers.addresses() {
        allowed.push(AllowedCall {
            number: libc::SYS_socket,
            when: together(vec![
                When::ArgumentIs(0, just((address.family() as i32).cast_unsigned())),
                When::ArgumentHas(1, 0xf, (peers.kind() as i32).cast_unsigned()),
                When::ArgumentIs(2, &[0]),
            ]),
            reason: "a socket of the peer's family",
        });
        allowed.push(AllowedCall {
            number: libc::SYS_connect,
            when: together(vec![
                When::ArgumentIsAddress(1, address.raw().as_ptr().addr()),
                When::ArgumentIs(2, just(address.raw().len())),
            ]),
            reason: "the peer, and nobody else",
        });
    }
    seccomp_with_fixed_memory(&allowed)?;
    try_to_regain()
}

fn together(parts: Vec<When>) -> When {
    When::Together(parts.leak())
}

fn just(value: u32) -> &'static [u32] {
    vec![value].leak()
}
