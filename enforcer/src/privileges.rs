//! What the enforcer gives up, in order.

use caps::Capability;
use sentinel_ipc::{
    confinement::{
        Confined, ConfinementError, Limits, Signals, account, become_account, confined,
        keep_capabilities, landlock, limit, no_new_privileges, try_to_regain,
    },
    seccomp::{AllowedCall, When, seccomp},
};

/// Its most: it holds two sockets and one pidfd.
const LIMITS: Limits = Limits { memory: 64 << 20, descriptors: 16 };

/// The system calls that the enforcer needs once it serves.
pub const ALLOWED: &[AllowedCall] = &[
    AllowedCall::always(libc::SYS_recvfrom, "requests, answers"),
    AllowedCall {
        number: libc::SYS_sendto,
        when: When::ArgumentIsNull(4),
        reason: "outcomes, questions; on connected sockets only",
    },
    AllowedCall::always(libc::SYS_poll, "waiting"),
    AllowedCall::always(libc::SYS_ppoll, "waiting"),
    AllowedCall::always(libc::SYS_pidfd_open, "holding a process while it is checked"),
    AllowedCall {
        number: libc::SYS_pidfd_send_signal,
        when: When::ArgumentIs(1, &[libc::SIGKILL.cast_unsigned()]),
        reason: "the one signal it sends",
    },
    AllowedCall::always(libc::SYS_getpid, "its own process id, for the loader"),
    AllowedCall::always(libc::SYS_write, "audit, on standard error"),
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
