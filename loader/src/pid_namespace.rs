//! The pid namespace that processes are numbered in: the loader's own.

use std::{fmt, fs, io, os::unix::fs::MetadataExt};

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): inode of the initial pid namespace.
const INITIAL: u64 = 0xefff_fffc;

/// Why the namespace cannot be told.
#[derive(Debug)]
pub enum PidNamespaceError {
    /// /proc does not show this process.
    NotShown(io::Error),
    /// /proc numbers processes as another namespace does.
    OtherNumbers,
}

impl fmt::Display for PidNamespaceError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotShown(error) => write!(to, "/proc does not show this process ({error})")?,
            Self::OtherNumbers => write!(to, "/proc is that of another pid namespace")?,
        }
        write!(to, "; mount the one of this pid namespace: mount -t proc proc /proc")
    }
}

impl std::error::Error for PidNamespaceError {}

/// Inode of the own pid namespace; 0 if it is the initial one.
///
/// # Errors
/// When /proc is not that namespace's: an operator would take its numbers for Sentinel's.
pub fn own() -> Result<u32, PidNamespaceError> {
    let status = fs::read_to_string("/proc/self/status").map_err(PidNamespaceError::NotShown)?;
    if numbers(&status) != 1 {
        return Err(PidNamespaceError::OtherNumbers);
    }
    let namespace = fs::metadata("/proc/self/ns/pid").map_err(PidNamespaceError::NotShown)?;
    match namespace.ino() {
        INITIAL => Ok(0),
        inode => u32::try_from(inode).map_err(|_| PidNamespaceError::OtherNumbers),
    }
}

/// How many numbers a process has according to its status in proc(5): from the namespace of that /proc down
/// to its own.
fn numbers(status: &str) -> usize {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.map_or(0, |numbers| numbers.split_whitespace().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_nested_namespaces_are_counted() {
        assert_eq!(numbers("Name:\tx\nNSpid:\t4711\nNSpgid:\t1\t2\n"), 1);
        assert_eq!(numbers("Name:\tx\nNSpid:\t4711\t17\t1\n"), 3);
        assert_eq!(numbers("Name:\tx\n"), 0);
    }
}
