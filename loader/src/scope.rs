//! Finds the processes that are in scope when the sensor starts; the kernel keeps it up from there.

use std::{collections::HashMap, fmt, fs, io, os::unix::fs::MetadataExt, path::Path};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

/// Deepest cgroup that is searched, as in the kernel's own walk.
const MAX_DEPTH: u32 = 256;

/// Why a scope cannot be had.
#[derive(Debug)]
pub enum ScopeError {
    /// This is not the initial pid namespace, or /proc is not mounted.
    PidNamespace,
    /// No such process.
    NoProcess(u32),
    /// The path cannot be read.
    Unreadable(String, io::Error),
    /// The path is not a cgroup v2 directory.
    NotACgroup(String),
}

impl fmt::Display for ScopeError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PidNamespace => write!(
                to,
                "must run in the host's own pid namespace, with /proc mounted; start it on the \
                 host, not in a container"
            ),
            Self::NoProcess(pid) => {
                write!(to, "--attach-pid={pid}: no process with this id is running")
            }
            Self::Unreadable(path, error) => write!(to, "--scope-cgroup={path}: {error}"),
            Self::NotACgroup(path) => write!(
                to,
                "--scope-cgroup={path}: not a cgroup v2 directory; give its path in the file \
                 system, such as /sys/fs/cgroup/system.slice"
            ),
        }
    }
}

impl std::error::Error for ScopeError {}

/// Whether `pid` is a process (not a thread of one) that has not ended.
pub fn is_running(pid: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
    };
    field("Tgid:") == pid.to_string() && !field("State:").starts_with(['Z', 'X'])
}

/// Records number processes as the initial pid namespace does, /proc as this one does.
///
/// # Errors
/// When the two differ.
pub fn check_pid_namespace() -> Result<(), ScopeError> {
    // PROC_PID_INIT_INO (include/linux/proc_ns.h)
    const INITIAL: u64 = 0xefff_fffc;
    match fs::metadata("/proc/self/ns/pid") {
        Ok(namespace) if namespace.ino() == INITIAL => Ok(()),
        _ => Err(ScopeError::PidNamespace),
    }
}

/// `root` and all processes that descend from it.
///
/// # Errors
/// When `root` is not running.
pub fn tree(root: u32) -> Result<Vec<u32>, ScopeError> {
    if !is_running(root) {
        return Err(ScopeError::NoProcess(root));
    }
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in running_processes() {
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

fn running_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold parentheses and spaces: the last one ends it.
    let after_name = stat.rsplit(|&byte| byte == b')').next()?;
    std::str::from_utf8(after_name).ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// The id of the cgroup v2 directory `path`.
///
/// # Errors
/// When it cannot be read or is something else.
pub fn cgroup_id(path: &Path) -> Result<u64, ScopeError> {
    let unreadable = |error| ScopeError::Unreadable(path.display().to_string(), error);
    let file_system = statfs(path).map_err(|errno| unreadable(errno.into()))?;
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if file_system.filesystem_type() != CGROUP2_SUPER_MAGIC || !metadata.is_dir() {
        return Err(ScopeError::NotACgroup(path.display().to_string()));
    }
    Ok(metadata.ino())
}

/// The processes in the subtree of the cgroup directory `path`.
pub fn cgroup_members(path: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    collect_members(path, MAX_DEPTH, &mut found);
    found
}

fn collect_members(path: &Path, depth: u32, found: &mut Vec<u32>) {
    if let Ok(members) = fs::read_to_string(path.join("cgroup.procs")) {
        found.extend(members.lines().filter_map(|line| line.parse::<u32>().ok()));
    }
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_members(&entry.path(), depth - 1, found);
        }
    }
}
