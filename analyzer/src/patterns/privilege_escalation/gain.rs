//! What a process may do now and could not do before, in the initial user namespace, and where that leads.

use crate::event::Credentials;

// Bits of capabilities (include/uapi/linux/capability.h).
const KILL: u64 = 1 << 5;
pub(super) const SETGID: u64 = 1 << 6;
pub(super) const SETUID: u64 = 1 << 7;
pub(super) const NET_BIND_SERVICE: u64 = 1 << 10;
const NET_BROADCAST: u64 = 1 << 11;
pub(super) const NET_ADMIN: u64 = 1 << 12;
pub(super) const NET_RAW: u64 = 1 << 13;
pub(super) const IPC_LOCK: u64 = 1 << 14;
const SYS_PACCT: u64 = 1 << 20;
pub(super) const SYS_NICE: u64 = 1 << 23;
const SYS_RESOURCE: u64 = 1 << 24;
const SYS_TIME: u64 = 1 << 25;
const SYS_TTY_CONFIG: u64 = 1 << 26;
const LEASE: u64 = 1 << 28;
const AUDIT_WRITE: u64 = 1 << 29;
const SYSLOG: u64 = 1 << 34;
const WAKE_ALARM: u64 = 1 << 35;
const BLOCK_SUSPEND: u64 = 1 << 36;
const AUDIT_READ: u64 = 1 << 37;

/// Those that by themselves lead neither to root nor to everybody's files or memory (capabilities(7)); also all
/// together. Any other one does, such as DAC_READ_SEARCH, SYS_PTRACE, SYS_BOOT (kexec) or SYS_CHROOT (a setuid program
/// with another libc).
const LEADING_NOWHERE: u64 = KILL
    | NET_BIND_SERVICE
    | NET_BROADCAST
    | NET_ADMIN
    | NET_RAW
    | IPC_LOCK
    | SYS_PACCT
    | SYS_NICE
    | SYS_RESOURCE
    | SYS_TIME
    | SYS_TTY_CONFIG
    | LEASE
    | AUDIT_WRITE
    | SYSLOG
    | WAKE_ALARM
    | BLOCK_SUSPEND
    | AUDIT_READ;

/// Rights that a process has now and had no way to before.
#[derive(Debug)]
pub(super) struct Gain {
    /// It is root.
    pub(super) is_root: bool,
    /// Capabilities, one bit each.
    pub(super) capabilities: u64,
}

impl Gain {
    /// By starting a program. Of capabilities before it only ambient ones count: others are kept only on the way
    /// from root to a user (setpriv, `PR_SET_KEEPCAPS`), and a file gives its own.
    pub(super) fn by_exec(before: &Credentials, after: &Credentials) -> Option<Self> {
        Self::of(before, after, after.user.effective == 0, before.ambient)
    }

    /// By a call: CAP_SETUID makes root by one, and none adds a capability.
    pub(super) fn by_call(before: &Credentials, after: &Credentials) -> Option<Self> {
        let had = before.permitted | before.effective;
        Self::of(before, after, after.user.effective == 0 && !may_be_root(before), had)
    }

    fn of(before: &Credentials, after: &Credentials, is_root: bool, had: u64) -> Option<Self> {
        let is_initial = before.user_namespace_level == 0 && after.user_namespace_level == 0;
        let capabilities = (after.permitted | after.effective) & !had;
        let has_some = is_root || capabilities != 0;
        (is_initial && has_some && !has_root(before)).then_some(Self { is_root, capabilities })
    }

    /// Whether it leads to root, or to what is everybody's.
    pub(super) fn leads_on(&self) -> bool {
        self.is_root || self.capabilities & !LEADING_NOWHERE != 0
    }
}

/// Whether a call may make it root.
pub(super) fn may_be_root(credentials: &Credentials) -> bool {
    has_root(credentials) || (credentials.permitted | credentials.effective) & SETUID != 0
}

fn has_root(credentials: &Credentials) -> bool {
    let user = credentials.user;
    [user.real, user.effective, user.saved].contains(&0)
}
