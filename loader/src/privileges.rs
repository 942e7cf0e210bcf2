//! What the loader gives up, in order.

use caps::Capability;
use nix::sys::utsname::uname;
use sentinel_ipc::{
    confinement::{
        Confined, ConfinementError, Limits, Signals, account, become_account, confined,
        keep_capabilities, landlock, limit, no_new_privileges, try_to_regain,
    },
    seccomp::{AllowedCall, When, seccomp},
};

/// Its most: the class bytes are mapped now and then (4 MiB) and windows to the rings, and each program, map
/// and link is a descriptor. Half of the memory is for what the allocator keeps of the threads that loaded, 64 MiB
/// of addresses each.
const LIMITS: Limits = Limits { memory: 512 << 20, descriptors: 128 };

/// Commands of bpf(2) (include/uapi/linux/bpf.h): look up, change and remove map elements, attach and
/// detach, iterate. Not among them: load a program, make a map, get at objects by id or path.
pub const BPF_COMMANDS: &[u32] = &[
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    17, // BPF_RAW_TRACEPOINT_OPEN
    28, // BPF_LINK_CREATE
    33, // BPF_ITER_CREATE
    34, // BPF_LINK_DETACH
];

/// The system calls that the loader needs once it serves.
pub const ALLOWED: &[AllowedCall] = &[
    AllowedCall {
        number: libc::SYS_bpf,
        when: When::ArgumentIs(0, BPF_COMMANDS),
        reason: "maps, attach, detach; never load",
    },
    AllowedCall::always(libc::SYS_epoll_wait, "waiting"),
    AllowedCall::always(libc::SYS_epoll_pwait, "waiting"),
    AllowedCall::always(libc::SYS_epoll_ctl, "what to wait for"),
    AllowedCall::always(libc::SYS_epoll_create1, "what to wait with"),
    AllowedCall::always(libc::SYS_recvfrom, "messages"),
    AllowedCall::always(libc::SYS_recvmsg, "the first message of who was called"),
    AllowedCall {
        number: libc::SYS_sendto,
        when: When::ArgumentIsNull(4),
        reason: "frames, signs of life; on connected sockets only",
    },
    AllowedCall::always(libc::SYS_poll, "whether standard error can be written"),
    AllowedCall::always(libc::SYS_write, "messages on standard error"),
    AllowedCall::always(libc::SYS_read, "what iterators tell"),
    AllowedCall::always(libc::SYS_getpid, "its own process id, for the enforcer"),
    AllowedCall::always(libc::SYS_getsid, "canaries"),
    AllowedCall::always(libc::SYS_accept4, "the next analyzer or enforcer"),
    AllowedCall {
        number: libc::SYS_getsockopt,
        when: When::ArgumentIs(
            2,
            &[libc::SO_PEERCRED.cast_unsigned(), libc::SO_TYPE.cast_unsigned()],
        ),
        reason: "who the next analyzer or enforcer is",
    },
];

/// Gives up everything. All programs are loaded and the sockets open; nothing has been read. `mapped` bytes
/// of address space are taken for counts, which depends on the number of CPUs.
///
/// # Errors
/// When a step is refused or has no effect; the process must end then.
pub fn drop_privileges(mapped: u64) -> Result<Confined, ConfinementError> {
    let account = account("sentinel-loader")?;
    let kept = capabilities_needed();
    become_account(account)?;
    keep_capabilities(kept)?;
    limit(Limits { memory: LIMITS.memory.saturating_add(mapped), ..LIMITS })?;
    no_new_privileges()?;
    let sandbox = landlock(Signals::Inside)?;
    // Once with the kernel's own answers, and once with the filter's.
    try_to_regain()?;
    let confined = confined(account, sandbox)?;
    seccomp(ALLOWED)?;
    try_to_regain()?;
    Ok(confined)
}

/// Since Linux 5.19 (commit c8644cd0efe7) bpf(2) is open to who holds descriptors of programs and
/// maps; before, and with unprivileged BPF disabled, it takes capabilities. Nothing can be tried out
/// here: what is given up does not come back.
fn capabilities_needed() -> &'static [Capability] {
    let release = uname().ok().and_then(|names| names.release().to_str().map(str::to_owned));
    let old = release.is_none_or(|release| is_before_5_19(&release));
    if old { &[Capability::CAP_BPF, Capability::CAP_PERFMON] } else { &[] }
}

fn is_before_5_19(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version < (5, 19)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for old in ["5.14.0-503.el9.x86_64", "5.4", "4.19.0", "", "unknown"] {
            assert!(is_before_5_19(old), "{old}");
        }
        for new in ["5.19.0", "6.1.0-13-amd64", "6.18.44-fc", "10.0"] {
            assert!(!is_before_5_19(new), "{new}");
        }
    }
}
