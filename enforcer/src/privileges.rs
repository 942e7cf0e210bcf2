//! What the enforcer gives up, in order.

use caps::Capability;
use sentinel_ipc::confinement::{
    AllowedCall, ConfinementError, Limits, Sandbox, Signals, When, account, become_account,
    keep_capabilities, landlock, limit, no_new_privileges, seccomp, try_to_regain,
};

/// Its most: it holds two sockets and one pidfd.
const LIMITS: Limits = Limits { memory: 64 << 20, descriptors: 16 };

const PROT_EXEC: u32 = libc::PROT_EXEC.cast_unsigned();

/// The system calls that the enforcer needs once it serves.
pub const ALLOWED: &[AllowedCall] = &[
    always(libc::SYS_recvfrom, "requests, answers"),
    AllowedCall {
        number: libc::SYS_sendto,
        when: When::ArgumentIsNull(4),
        reason: "outcomes, questions; on connected sockets only",
    },
    always(libc::SYS_poll, "waiting"),
    always(libc::SYS_ppoll, "waiting"),
    always(libc::SYS_pidfd_open, "holding a process while it is checked"),
    AllowedCall {
        number: libc::SYS_pidfd_send_signal,
        when: When::ArgumentIs(1, &[libc::SIGKILL.cast_unsigned()]),
        reason: "the one signal it sends",
    },
    always(libc::SYS_close, "pidfds"),
    AllowedCall {
        number: libc::SYS_fcntl,
        when: When::ArgumentIs(1, &[libc::F_GETFD.cast_unsigned()]),
        reason: "std's check of descriptors before it closes them",
    },
    always(libc::SYS_getpid, "its own process id, for the loader"),
    always(libc::SYS_write, "audit, on standard error"),
    always(libc::SYS_clock_gettime, "where the vDSO has no clock"),
    always(libc::SYS_brk, "memory"),
    AllowedCall {
        number: libc::SYS_mmap,
        when: When::ArgumentLacks(2, PROT_EXEC),
        reason: "memory, never executable",
    },
    always(libc::SYS_munmap, "memory"),
    always(libc::SYS_mremap, "memory"),
    always(libc::SYS_madvise, "memory"),
    always(libc::SYS_sigaltstack, "the end of the main thread"),
    always(libc::SYS_rt_sigreturn, "return from a signal"),
    always(libc::SYS_restart_syscall, "poll after SIGSTOP and SIGCONT"),
    always(libc::SYS_exit_group, "the end"),
];

const fn always(number: i64, reason: &'static str) -> AllowedCall {
    AllowedCall { number, when: When::Always, reason }
}

/// Gives up everything but CAP_KILL. The sockets are open; nothing has been read from them.
///
/// # Errors
/// When a step is refused or has no effect; the process must end then.
pub fn drop_privileges() -> Result<Sandbox, ConfinementError> {
    let account = account("sentinel-enforcer")?;
    become_account(account)?;
    keep_capabilities(&[Capability::CAP_KILL])?;
    limit(LIMITS)?;
    no_new_privileges()?;
    let sandbox = landlock(Signals::Anywhere)?;
    // Once with the kernel's own answers, and once with the filter's.
    try_to_regain()?;
    seccomp(ALLOWED)?;
    try_to_regain()?;
    Ok(sandbox)
}
