//! What a process gives up, one thing a function, each checked.
//!
//! Each process has its own `privileges` that calls these in its own order; nothing here decides
//! who gives up what.

use std::{fmt, fs::File, io, os::fd::OwnedFd};

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, Signal},
    },
    unistd::{
        Gid, Uid, User, close, dup2_stdin, dup2_stdout, geteuid, getgroups, getresgid, getresuid,
        setgroups, setresgid, setresuid,
    },
};

use crate::{clock, frame::About};

/// Why a process is not confined; it must not go on.
#[derive(Debug)]
pub enum ConfinementError {
    /// The system refused this step.
    Refused(&'static str, io::Error),
    /// The step was not refused but has not the effect it must have.
    NoEffect(&'static str),
    /// The kernel has not what is needed at least.
    Missing(&'static str),
    /// It runs neither as root nor as its own user, with this id.
    NotItsUser(Uid),
}

impl fmt::Display for ConfinementError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(step, error) => write!(to, "cannot give up privileges: {step}: {error}"),
            Self::NoEffect(step) => write!(to, "cannot give up privileges: {step} has no effect"),
            Self::Missing(what) => write!(to, "cannot be confined: this kernel has no {what}"),
            Self::NotItsUser(uid) => write!(
                to,
                "must be started as root, or as its own user, which is {uid}, with no other groups"
            ),
        }
    }
}

impl std::error::Error for ConfinementError {}

fn refused(step: &'static str) -> impl Fn(Errno) -> ConfinementError {
    move |errno| ConfinementError::Refused(step, errno.into())
}

pub(crate) fn failed(step: &'static str) -> impl Fn(String) -> ConfinementError {
    move |error| ConfinementError::Refused(step, io::Error::other(error))
}

/// Whom a process runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User.
    pub uid: Uid,
    /// Group.
    pub gid: Gid,
    /// Whether the user is installed; else it is one of three reserved numbers.
    pub installed: bool,
}

/// The three processes' users, and the numbers that stand in for them where they are not installed.
///
/// The numbers lie above systemd's dynamic users (systemd.io/UIDS-GIDS) and are nobody's.
const ACCOUNTS: [(&str, u32); 3] =
    [("sentinel-loader", 65_521), ("sentinel", 65_522), ("sentinel-enforcer", 65_523)];
/// The user that everything unowned has (`overflowuid`): shared, so never ours.
const NOBODY: u32 = 65_534;

/// The account of the process that runs as `name`. Looked up while the user database can be read.
///
/// # Errors
/// When the user database cannot be read, or the three users are not three users of their own.
pub fn account(name: &'static str) -> Result<Account, ConfinementError> {
    let mut found = None;
    let mut users = Vec::with_capacity(ACCOUNTS.len());
    for (listed, reserved) in ACCOUNTS {
        let user = User::from_name(listed).map_err(refused("user database"))?;
        let account = match user {
            Some(user) => Account { uid: user.uid, gid: user.gid, installed: true },
            None => Account {
                uid: Uid::from_raw(reserved),
                gid: Gid::from_raw(reserved),
                installed: false,
            },
        };
        let shared = account.uid.is_root()
            || account.gid.as_raw() == 0
            || account.uid.as_raw() == NOBODY
            || users.contains(&account.uid);
        if shared {
            return Err(ConfinementError::Missing(
                "three users of Sentinel's own: see the ids of sentinel, sentinel-loader and \
                 sentinel-enforcer",
            ));
        }
        users.push(account.uid);
        if listed == name {
            found = Some(account);
        }
    }
    found.ok_or(ConfinementError::Missing("user of this name"))
}

/// Closes every descriptor but the standard streams and the `kept` ones behind them: what a careless
/// parent left open is nobody's business here. Call it before anything else is opened.
///
/// # Errors
/// When /proc cannot be read.
pub fn close_inherited_descriptors(kept: usize) -> Result<(), ConfinementError> {
    let failed = |error| ConfinementError::Refused("/proc/self/fd", error);
    let entries = std::fs::read_dir("/proc/self/fd").map_err(failed)?;
    let numbers: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let last_kept = i32::try_from(kept).unwrap_or(i32::MAX).saturating_add(2);
    for number in numbers.into_iter().filter(|&number| number > last_kept) {
        // One of them was the directory itself, and is closed already.
        let _closed = close(number);
    }
    Ok(())
}

/// Puts /dev/null on standard input.
///
/// # Errors
/// When the system refuses.
pub fn close_standard_input() -> Result<(), ConfinementError> {
    let null =
        File::open("/dev/null").map_err(|error| ConfinementError::Refused("/dev/null", error))?;
    dup2_stdin(&null).map_err(refused("dup2"))
}

/// Puts /dev/null on standard input and output. Sockets that stood there have been duplicated; so
/// the one copy that is left can be hung up.
///
/// # Errors
/// When the system refuses.
pub fn close_standard_streams() -> Result<(), ConfinementError> {
    close_standard_input()?;
    let null =
        File::create("/dev/null").map_err(|error| ConfinementError::Refused("/dev/null", error))?;
    dup2_stdout(&null).map_err(refused("dup2"))
}

/// Blocks SIGTTOU, which would stop a background process that writes to its terminal, and nothing
/// else: the launcher's mask, which its children inherit, holds more.
///
/// # Errors
/// When the system refuses.
pub fn own_signal_mask() -> Result<(), ConfinementError> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTTOU);
    mask.thread_set_mask().map_err(refused("sigprocmask"))
}

/// Becomes `account` for good, with no groups beside its own; or makes sure that it is already what its
/// service manager made of it. Capabilities stay permitted until [`keep_capabilities`].
///
/// # Errors
/// When the system refuses, root can be had back, or the service was given another user or more groups.
pub fn become_account(account: Account) -> Result<(), ConfinementError> {
    let Account { uid, gid, .. } = account;
    if geteuid().is_root() {
        prctl::set_keepcaps(true).map_err(refused("PR_SET_KEEPCAPS"))?;
        setgroups(&[]).map_err(refused("setgroups"))?;
        setresgid(gid, gid, gid).map_err(refused("setresgid"))?;
        setresuid(uid, uid, uid).map_err(refused("setresuid"))?;
    }
    let users = getresuid().map_err(refused("getresuid"))?;
    let groups = getresgid().map_err(refused("getresgid"))?;
    let others = getgroups().map_err(refused("getgroups"))?;
    let done = [users.real, users.effective, users.saved] == [uid; 3]
        && [groups.real, groups.effective, groups.saved] == [gid; 3]
        && others.iter().all(|other| *other == gid);
    if done { Ok(()) } else { Err(ConfinementError::NotItsUser(uid)) }
}

/// Keeps `kept` as permitted and effective capabilities and gives up all others, in every set. A bounding
/// set that a service manager has cut down to no more than `kept` stays as it is: only CAP_SETPCAP could
/// empty it, and nothing is executed any more.
///
/// # Errors
/// When the system refuses, or a set holds more afterwards.
pub fn keep_capabilities(kept: &[Capability]) -> Result<(), ConfinementError> {
    let step = failed("capabilities");
    let read = |set| caps::read(None, set).map_err(|error| step(error.to_string()));
    let kept: CapsHashSet = kept.iter().copied().collect();
    if !read(CapSet::Bounding)?.is_subset(&kept) {
        // Ineffective since the change of user.
        caps::raise(None, CapSet::Effective, Capability::CAP_SETPCAP)
            .and_then(|()| caps::clear(None, CapSet::Bounding))
            .map_err(|error| step(error.to_string()))?;
    }
    caps::clear(None, CapSet::Ambient)
        .and_then(|()| caps::set(None, CapSet::Effective, &kept))
        .and_then(|()| caps::set(None, CapSet::Permitted, &kept))
        .and_then(|()| caps::clear(None, CapSet::Inheritable))
        .map_err(|error| step(error.to_string()))?;
    prctl::set_keepcaps(false).map_err(refused("PR_SET_KEEPCAPS"))?;
    let nothing = CapsHashSet::new();
    for (set, wanted) in [
        (CapSet::Effective, &kept),
        (CapSet::Permitted, &kept),
        (CapSet::Inheritable, &nothing),
        (CapSet::Ambient, &nothing),
    ] {
        if read(set)? != *wanted {
            return Err(ConfinementError::NoEffect("giving up capabilities"));
        }
    }
    if read(CapSet::Bounding)?.is_subset(&kept) {
        Ok(())
    } else {
        Err(ConfinementError::NoEffect("emptying the bounding set"))
    }
}

/// What a process may use at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of address space.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// Sets hard limits, allows no core dump and no new process, and hides the process from ptrace(2)
/// and /proc by others of its user.
///
/// # Errors
/// When the system refuses.
pub fn limit(limits: Limits) -> Result<(), ConfinementError> {
    for (resource, limit) in [
        (Resource::RLIMIT_AS, limits.memory),
        (Resource::RLIMIT_NOFILE, limits.descriptors),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NPROC, 0),
    ] {
        // One that is lower already stays: to raise it would take a capability.
        let (_, most) = getrlimit(resource).map_err(refused("getrlimit"))?;
        let limit = most.min(limit);
        setrlimit(resource, limit, limit).map_err(refused("setrlimit"))?;
    }
    prctl::set_dumpable(false).map_err(refused("PR_SET_DUMPABLE"))?;
    match prctl::get_dumpable() {
        Ok(false) => Ok(()),
        Ok(true) => Err(ConfinementError::NoEffect("PR_SET_DUMPABLE")),
        Err(errno) => Err(refused("PR_GET_DUMPABLE")(errno)),
    }
}

/// Gives up gaining privileges by exec, for good.
///
/// # Errors
/// When the system refuses.
pub fn no_new_privileges() -> Result<(), ConfinementError> {
    prctl::set_no_new_privs().map_err(refused("PR_SET_NO_NEW_PRIVS"))?;
    match prctl::get_no_new_privs() {
        Ok(true) => Ok(()),
        Ok(false) => Err(ConfinementError::NoEffect("PR_SET_NO_NEW_PRIVS")),
        Err(errno) => Err(refused("PR_GET_NO_NEW_PRIVS")(errno)),
    }
}

/// Whether a process may signal others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// To its own sandbox only, where the kernel can enforce that (6.12).
    Inside,
    /// As its capabilities allow.
    Anywhere,
}

/// How far landlock went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sandbox {
    /// Whether everything is closed that was asked for; else the file system is, and of the rest what this kernel
    /// knows.
    pub is_full: bool,
    /// The version of landlock's interface that holds (ABI).
    pub version: i32,
}

/// What stays allowed beneath a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Reading files, listing directories.
    Read,
    /// Making files and writing to them; not reading, truncating, renaming or removing them. That they are
    /// only appended to is for the filter of system calls to see to.
    Write,
    /// Reading files, making new ones, and putting them in the place of others.
    Replace,
}

impl Rights {
    fn access(self) -> BitFlags<AccessFs> {
        match self {
            Self::Read => AccessFs::ReadFile | AccessFs::ReadDir,
            Self::Write => AccessFs::MakeReg | AccessFs::WriteFile,
            // A file that another one takes the place of is removed.
            Self::Replace => {
                AccessFs::ReadFile | AccessFs::MakeReg | AccessFs::WriteFile | AccessFs::RemoveFile
            }
        }
    }
}

/// A directory that stays open to a process. It is meant by descriptor: whatever takes its name later
/// is closed.
#[derive(Debug)]
pub struct Directory {
    /// The directory, opened in any way.
    pub descriptor: OwnedFd,
    /// What is allowed in it, and in all directories below.
    pub rights: Rights,
}

/// Closes the file system (at least landlock's first version, Linux 5.13), and as far as the kernel
/// can, TCP, abstract unix sockets and signals. Open descriptors stay as they are.
///
/// # Errors
/// When the minimum is missing or the system refuses.
pub fn landlock(signals: Signals) -> Result<Sandbox, ConfinementError> {
    landlock_but(&[], signals)
}

/// As [`landlock`], but `directories` stay open.
///
/// # Errors
/// When the minimum is missing or the system refuses.
pub fn landlock_but(
    directories: &[Directory],
    signals: Signals,
) -> Result<Sandbox, ConfinementError> {
    restrict(directories, None, signals)
}

/// As [`landlock`] with [`Signals::Inside`], but this TCP port may be connected to, at any address.
///
/// # Errors
/// When the minimum is missing or the system refuses.
pub fn landlock_but_port(port: u16) -> Result<Sandbox, ConfinementError> {
    restrict(&[], Some(port), Signals::Inside)
}

fn restrict(
    directories: &[Directory],
    port: Option<u16>,
    signals: Signals,
) -> Result<Sandbox, ConfinementError> {
    let refused = |error: landlock::RulesetError| failed("landlock")(error.to_string());
    let scope = match signals {
        Signals::Inside => Scope::Signal | Scope::AbstractUnixSocket,
        Signals::Anywhere => Scope::AbstractUnixSocket.into(),
    };
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .map_err(|_| ConfinementError::Missing("landlock; boot with lsm=landlock,…"))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(ABI::V4)))
        .and_then(|ruleset| ruleset.scope(scope))
        .and_then(Ruleset::create)
        .and_then(|ruleset| {
            directories.iter().try_fold(ruleset, |ruleset, Directory { descriptor, rights }| {
                ruleset.add_rule(PathBeneath::new(descriptor, rights.access()))
            })
        })
        .and_then(|ruleset| {
            ruleset.add_rules(port.map(|port| Ok(NetPort::new(port, AccessNet::ConnectTcp))))
        })
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(refused)?;
    let is_full = match status.ruleset {
        RulesetStatus::FullyEnforced => true,
        RulesetStatus::PartiallyEnforced => false,
        RulesetStatus::NotEnforced => return Err(ConfinementError::NoEffect("landlock")),
    };
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            Ok(Sandbox { is_full, version: effective_abi as i32 })
        }
        _ => Err(ConfinementError::NoEffect("landlock")),
    }
}

/// What a process has become.
#[derive(Debug, Clone)]
pub struct Confined {
    /// Whom it runs as.
    pub account: Account,
    /// How far its sandbox goes.
    pub sandbox: Sandbox,
    /// What it says of itself.
    pub about: About,
}

/// What this process has become; to be asked before system calls are filtered.
///
/// # Errors
/// When the system does not say.
pub fn confined(account: Account, sandbox: Sandbox) -> Result<Confined, ConfinementError> {
    let step = failed("capabilities");
    let effective = caps::read(None, CapSet::Effective).map_err(|error| step(error.to_string()))?;
    let mut capabilities: Vec<String> = effective.iter().map(ToString::to_string).collect();
    capabilities.sort();
    let about = About {
        tgid: std::process::id(),
        uid: geteuid().as_raw(),
        capabilities,
        sandbox: format!(
            "landlock {}{}, seccomp, no_new_privs",
            sandbox.version,
            if sandbox.is_full { "" } else { " (not all of it)" }
        ),
        since: clock::boot_ns().map_err(refused("clock_gettime"))?,
    };
    Ok(Confined { account, sandbox, about })
}

/// Tries to get back what was given up; every try must fail.
///
/// # Errors
/// When one succeeds.
pub fn try_to_regain() -> Result<(), ConfinementError> {
    let root = Uid::from_raw(0);
    if setresuid(root, root, root).is_ok() {
        return Err(ConfinementError::NoEffect("giving up root"));
    }
    if caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).is_ok() {
        return Err(ConfinementError::NoEffect("giving up capabilities"));
    }
    if File::open("/etc/passwd").is_ok() {
        return Err(ConfinementError::NoEffect("closing the file system"));
    }
    Ok(())
}
