//! What the analyzer gives up, in order.

use nix::libc;
use sentinel_ipc::confinement::{
    Account, AllowedCall, ConfinementError, Limits, Sandbox, Signals, When, account,
    become_account, keep_capabilities, landlock, limit, no_new_privileges, seccomp, try_to_regain,
};

/// Its most.
const LIMITS: Limits = Limits { memory: 1 << 30, descriptors: 64 };

const PROT_EXEC: u32 = libc::PROT_EXEC.cast_unsigned();

/// The system calls that the analyzer needs once it serves. No socket, connect, open, exec, kill,
/// ptrace, fork.
pub const ALLOWED: &[AllowedCall] = &[
    always(libc::SYS_epoll_wait, "waiting"),
    always(libc::SYS_epoll_pwait, "waiting"),
    always(libc::SYS_epoll_ctl, "what to wait for"),
    always(libc::SYS_epoll_create1, "what to wait with"),
    always(libc::SYS_poll, "whether output can be written"),
    always(libc::SYS_recvfrom, "frames"),
    AllowedCall {
        number: libc::SYS_sendto,
        when: When::ArgumentIsNull(4),
        reason: "messages; on connected sockets only",
    },
    always(libc::SYS_shutdown, "the end of the loader's connection"),
    always(libc::SYS_read, "signalfd"),
    always(libc::SYS_write, "console, logs"),
    always(libc::SYS_fstat, "length of a log"),
    always(libc::SYS_statx, "length of a log"),
    AllowedCall {
        number: libc::SYS_fallocate,
        when: When::ArgumentIs(1, &[libc::FALLOC_FL_KEEP_SIZE.cast_unsigned()]),
        reason: "room for a line before it is written; never a hole",
    },
    AllowedCall {
        number: libc::SYS_ioctl,
        when: When::ArgumentIs(1, &[TIOCGWINSZ]),
        reason: "width of the terminal",
    },
    AllowedCall {
        number: libc::SYS_fcntl,
        when: When::ArgumentIs(
            1,
            &[libc::F_GETFD.cast_unsigned(), libc::F_DUPFD_CLOEXEC.cast_unsigned()],
        ),
        reason: "std's check of descriptors; mio's copies",
    },
    always(libc::SYS_close, "descriptors at the end"),
    always(libc::SYS_wait4, "how loader and enforcer ended"),
    always(libc::SYS_waitid, "how loader and enforcer ended"),
    always(libc::SYS_clock_gettime, "where the vDSO has no clock"),
    always(libc::SYS_clock_nanosleep, "waiting for the loader's end"),
    always(libc::SYS_getrandom, "seeds of hash maps"),
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
    always(libc::SYS_restart_syscall, "a wait after SIGSTOP and SIGCONT"),
    always(libc::SYS_exit_group, "the end"),
];

/// asm-generic/ioctls.h
const TIOCGWINSZ: u32 = 0x5413;

const fn always(number: i64, reason: &'static str) -> AllowedCall {
    AllowedCall { number, when: When::Always, reason }
}

/// Gives up everything. Logs and sockets are open; nothing has been read. Returns whom it runs as
/// and how far its sandbox goes.
///
/// # Errors
/// When a step is refused or has no effect; the process must end then.
pub fn drop_privileges() -> Result<(Account, Sandbox), ConfinementError> {
    let account = account("sentinel")?;
    become_account(account)?;
    keep_capabilities(&[])?;
    limit(LIMITS)?;
    no_new_privileges()?;
    let sandbox = landlock(Signals::Inside)?;
    // Once with the kernel's own answers, and once with the filter's.
    try_to_regain()?;
    seccomp(ALLOWED)?;
    try_to_regain()?;
    Ok((account, sandbox))
}
