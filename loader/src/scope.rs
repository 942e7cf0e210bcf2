//! Whether the scope that the operator gave can be had. Which processes are in it is the kernel's affair.

use std::{fmt, fs, io, os::unix::fs::MetadataExt, path::Path};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

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
