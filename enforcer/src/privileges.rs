//! What the enforcer gives up, in order.

use caps::Capability;
use sentinel_ipc::{
    confinement::{
        Confined, ConfinementError, Limits, Signals, account, become_account, confined,
        keep_capabilities, landlock, limit, no_new_privileges, try_to_regain,
    },
    frame::MAX_TREE,
    seccomp::{AllowedCall, When, seccomp},
};

use crate::marker::WRITTEN_BYTES;

/// Its most: it holds two sockets, its log, and one pidfd for each process of a tree; as a service also two
/// listening ones, five connections of administrators and callers, the switch's file, signals, and the service
/// manager's socket.
const LIMITS: Limits = Limits { memory: 64 << 20, descriptors: MAX_TREE as u64 + 24 };

/// Bytes of a `signalfd_siginfo` (signalfd(2)).
const SIGNAL_BYTES: u32 = 128;

/// The system calls that the enforcer needs once it serves.
pub const ALLOWED: &[AllowedCall] = &[
    AllowedCall::always(libc::SYS_recvfrom, "requests, answers"),
    AllowedCall {
        number: libc::SYS_sendto,
        when: When::ArgumentIsNull(4),
        reason: "outcomes, questions; on connected sockets only",
    },
    AllowedCall::always(libc::SYS_recvmsg, "who answers a call: the sender of its first frame"),
    AllowedCall::always(libc::SYS_accept4, "callers on the sockets that it was given"),
    AllowedCall {
        number: libc::SYS_getsockopt,
        when: When::ArgumentIs(
            2,
            &[libc::SO_TYPE.cast_unsigned(), libc::SO_PEERCRED.cast_unsigned()],
        ),
        reason: "the type of an accepted socket; who called",
    },
    AllowedCall {
        number: libc::SYS_read,
        when: When::ArgumentIs(2, &[SIGNAL_BYTES]),
        reason: "signals as a service gets them",
    },
    AllowedCall {
        number: libc::SYS_pwrite64,
        when: When::ArgumentIs(2, &[WRITTEN_BYTES]),
        reason: "what survives it, in its open file",
    },
    AllowedCall::always(libc::SYS_fdatasync, "the same, onto the disk"),
    AllowedCall::always(libc::SYS_poll, "waiting"),
    AllowedCall::always(libc::SYS_ppoll, "waiting"),
    AllowedCall::always(libc::SYS_pidfd_open, "holding a process while it is checked"),
    AllowedCall {
        number: libc::SYS_pidfd_send_signal,
        when: When::ArgumentIs(
            1,
            &[
                libc::SIGKILL.cast_unsigned(),
                libc::SIGSTOP.cast_unsigned(),
                libc::SIGCONT.cast_unsigned(),
            ],
        ),
        reason: "killing; stopping a tree first, and letting it go on",
    },
    AllowedCall::always(libc::SYS_getpid, "its own process id, for the loader"),
    AllowedCall::always(libc::SYS_write, "audit, on standard error and in its log"),
];

/// Gives up everything but CAP_KILL. The sockets are open; nothing has been read from them.
///
/// # Errors
/// When a step is refused or has no effect; the process must end then.
pub fn drop_privileges() -> Result<Confined, ConfinementError> {
    let account = account("sentinel-enforcer")?;
    become_account(account)?;
    keep_capabilities(&[Capability::CAP_KILL])?;
    limit(LIMITS)?;
    no_new_privileges()?;
    let sandbox = landlock(Signals::Anywhere)?;
    // Once with the kernel's own answers, and once with the filter's.
    try_to_regain()?;
    let confined = confined(account, sandbox)?;
    seccomp(ALLOWED)?;
    try_to_regain()?;
    Ok(confined)
}
