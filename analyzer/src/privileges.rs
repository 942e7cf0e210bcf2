//! What the analyzer gives up, in order.

use nix::libc;
use sentinel_ipc::{
    confinement::{
        Confined, ConfinementError, Directory, Limits, Rights, Signals, account, become_account,
        confined, keep_capabilities, landlock_but, limit, no_new_privileges, try_to_regain,
    },
    seccomp::{AllowedCall, When, seccomp},
};

/// Its most.
const LIMITS: Limits = Limits { memory: 1 << 30, descriptors: 64 };

/// The system calls that the analyzer needs once it serves. No socket, connect, open, exec, kill,
/// ptrace, fork.
pub const ALLOWED: &[AllowedCall] = &[
    AllowedCall::always(libc::SYS_epoll_wait, "waiting"),
    AllowedCall::always(libc::SYS_epoll_pwait, "waiting"),
    AllowedCall::always(libc::SYS_epoll_ctl, "what to wait for"),
    AllowedCall::always(libc::SYS_epoll_create1, "what to wait with"),
    AllowedCall::always(libc::SYS_poll, "whether output can be written"),
    AllowedCall::always(libc::SYS_recvfrom, "frames"),
    AllowedCall {
        number: libc::SYS_sendto,
        when: When::ArgumentIsNull(4),
        reason: "messages; on connected sockets only",
    },
    AllowedCall::always(libc::SYS_getpid, "its own process id, for `sentinel status`"),
    AllowedCall::always(libc::SYS_accept4, "who asks at the control socket"),
    AllowedCall {
        number: libc::SYS_getsockopt,
        when: When::ArgumentIs(
            2,
            &[
                libc::SO_PEERCRED.cast_unsigned(),
                libc::SO_TYPE.cast_unsigned(),
                libc::SO_DOMAIN.cast_unsigned(),
            ],
        ),
        reason: "who has come to its sockets, and what the connector passes",
    },
    AllowedCall::always(libc::SYS_shutdown, "the end of the loader's connection"),
    AllowedCall::always(libc::SYS_read, "signalfd"),
    AllowedCall::always(libc::SYS_write, "console, logs"),
    AllowedCall::always(libc::SYS_fdatasync, "that a line is on the disk, where that is wanted"),
    AllowedCall::always(libc::SYS_pread64, "its own memory, for metrics"),
    AllowedCall::always(libc::SYS_fstat, "length of a log"),
    AllowedCall::always(libc::SYS_statx, "length of a log"),
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
    AllowedCall::always(libc::SYS_wait4, "how loader, enforcer and connector ended"),
    AllowedCall::always(libc::SYS_waitid, "how loader and enforcer ended"),
    AllowedCall::always(libc::SYS_clock_nanosleep, "waiting for the loader's end"),
];

const OPEN_TO_READ: AllowedCall = AllowedCall {
    number: libc::SYS_openat,
    when: When::ArgumentHas(2, WAYS_TO_OPEN, libc::O_RDONLY.cast_unsigned()),
    reason: "configuration, rules and baselines; never making a file",
};

/// And once it has directories to read files in.
pub const ALLOWED_TO_READ: &[AllowedCall] = &[
    OPEN_TO_READ,
    AllowedCall::always(libc::SYS_getdents64, "which files of rules there are"),
    AllowedCall {
        number: libc::SYS_newfstatat,
        when: When::ArgumentIs(3, &[libc::AT_EMPTY_PATH.cast_unsigned()]),
        reason: "that the rules' directory is one (opendir of glibc)",
    },
];

/// And once it has directories to make files in.
pub const ALLOWED_TO_APPEND: &[AllowedCall] = &[AllowedCall {
    number: libc::SYS_openat,
    when: When::ArgumentHas(2, WAYS_TO_OPEN, TO_APPEND),
    reason: "logs after their rotation; never overwriting or emptying a file",
}];

/// And once it has a directory to replace files in.
pub const ALLOWED_TO_REPLACE: &[AllowedCall] = &[
    OPEN_TO_READ,
    AllowedCall {
        number: libc::SYS_openat,
        when: When::ArgumentHas(2, WAYS_TO_OPEN | libc::O_EXCL.cast_unsigned(), TO_MAKE),
        reason: "a new file of baselines or metrics; never one that is there",
    },
    AllowedCall::always(libc::SYS_unlinkat, "a new file that was not finished"),
    AllowedCall::always(libc::SYS_fsync, "that the new file is on the disk"),
    AllowedCall::always(libc::SYS_renameat, "the new file in the place of the old one"),
];

/// And once it has a connector, which passes sockets that are connected to syslog. What comes with a message on
/// its other sockets is not looked at by recvfrom(2), and of what the connector passes `connector.rs` keeps one
/// socket of the right kind.
pub const ALLOWED_WITH_CONNECTOR: &[AllowedCall] =
    &[AllowedCall::always(libc::SYS_recvmsg, "connections to syslog")];

/// What a file is opened for.
const WAYS_TO_OPEN: u32 =
    (libc::O_ACCMODE | libc::O_APPEND | libc::O_CREAT | libc::O_TRUNC).cast_unsigned();
const TO_MAKE: u32 = (libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL).cast_unsigned();
const TO_APPEND: u32 = (libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT).cast_unsigned();

/// asm-generic/ioctls.h
const TIOCGWINSZ: u32 = 0x5413;

/// Where connections come from that this process cannot make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Nowhere.
    None,
    /// The connector to syslog.
    Passed,
}

/// Gives up everything but `directories`: logs that are rotated, configuration that is read again,
/// baselines that are kept; and `connections`.
/// Without any directory, no file can be opened at all. Logs and sockets are open; nothing has been read.
///
/// # Errors
/// When a step is refused or has no effect; the process must end then.
pub fn drop_privileges(
    directories: Vec<Directory>,
    connections: Connections,
) -> Result<Confined, ConfinementError> {
    let account = account("sentinel")?;
    become_account(account)?;
    keep_capabilities(&[])?;
    limit(LIMITS)?;
    no_new_privileges()?;
    let sandbox = landlock_but(&directories, Signals::Inside)?;
    // Once with the kernel's own answers, and once with the filter's.
    try_to_regain()?;
    let confined = confined(account, sandbox)?;
    let mut allowed = ALLOWED.to_vec();
    for (rights, calls) in [
        (Rights::Read, ALLOWED_TO_READ),
        (Rights::Write, ALLOWED_TO_APPEND),
        (Rights::Replace, ALLOWED_TO_REPLACE),
    ] {
        if directories.iter().any(|directory| directory.rights == rights) {
            allowed.extend(calls);
        }
    }
    if connections == Connections::Passed {
        allowed.extend(ALLOWED_WITH_CONNECTOR);
    }
    drop(directories);
    seccomp(&allowed)?;
    try_to_regain()?;
    Ok(confined)
}
