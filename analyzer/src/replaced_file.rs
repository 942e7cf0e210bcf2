//! Files that are never changed but replaced: a new one is made beside the old one and takes its name.

use std::{ffi::OsStr, fs::File};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};

/// Makes the file `name` in `directory`; what has that name, such as what a power failure left behind, is
/// removed, and nothing is followed.
///
/// # Errors
/// When it cannot be made.
pub fn make_anew(directory: &File, name: &OsStr, mode: Mode) -> Result<File, Errno> {
    let _none = unlinkat(directory, name, UnlinkatFlags::NoRemoveDir);
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, name, flags, mode).map(File::from)
}
