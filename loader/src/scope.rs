//! Whether the scope that the operator gave can be had. Which processes are in it is the kernel's affair.

use std::{fmt, fs, io, os::unix::fs::MetadataExt, path::Path};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

/// Why a scope cannot be had.
#[derive(Debug)]
pub enum ScopeError {
    /// No such process.
    NoProcess(u32),
    /// The path cannot be read.
    Unreadable(String, io::Error),
    /// The path is not a cgroup v2 directory.
    NotACgroup(String),
    /// No cgroup v2 hierarchy is mounted.
    NoCgroups,
}

impl fmt::Display for ScopeError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess(pid) => {
                write!(to, "--attach-pid={pid}: no process with this id is running")
            }
            Self::Unreadable(path, error) => write!(to, "{path}: {error}"),
            Self::NoCgroups => write!(
                to,
                "this host has no cgroup v2, by which processes are told apart: boot with \
                 systemd.unified_cgroup_hierarchy=1, or mount it (`mount -t cgroup2 none \
                 /sys/fs/cgroup/unified`)"
            ),
            Self::NotACgroup(path) => write!(
                to,
                "--scope-cgroup={path}: not a cgroup v2 directory; give its path in the file \
                 system, such as /sys/fs/cgroup/system.slice"
            ),
        }
    }
}

impl std::error::Error for ScopeError {}

/// Processes, units and containers are known by their cgroups.
///
/// # Errors
/// When no cgroup v2 hierarchy is mounted.
pub fn check_cgroups() -> Result<(), ScopeError> {
    let mounts = fs::read_to_string("/proc/self/mounts")
        .map_err(|error| ScopeError::Unreadable("/proc/self/mounts".to_owned(), error))?;
    let is_version_2 = |line: &str| line.split(' ').nth(2) == Some("cgroup2");
    if mounts.lines().any(is_version_2) { Ok(()) } else { Err(ScopeError::NoCgroups) }
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
