//! Alerts as JSON lines, one write each.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, OFlag, fallocate, open, openat},
    sys::stat::{Mode, mkdirat},
};

use crate::alert::Alert;

/// An open log.
#[derive(Debug)]
pub struct JsonLog {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
    /// The last line may not be whole.
    torn: bool,
}

impl JsonLog {
    /// Opens `path` to append to it, and creates it (0640) and its directories (0750) where they
    /// are missing. No component may be a symbolic link, and the file must be a regular one.
    ///
    /// # Errors
    /// A sentence with the path and what to do.
    pub fn open(path: &Path) -> Result<Self, String> {
        let refused = |errno: Errno| {
            let hint = match errno {
                Errno::ELOOP | Errno::ENOTDIR => "no part of it may be a symbolic link or file",
                _ => "give the path of a file that can be written",
            };
            format!("cannot write to {}: {}; {hint}", path.display(), errno.desc())
        };
        let file = File::from(open_beneath(path).map_err(refused)?);
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return Err(format!("cannot write to {}: it is not a regular file", path.display()));
        }
        Ok(Self { path: path.to_owned(), file, line: Vec::new(), torn: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line. Room for it is taken first, so that a full disk refuses it whole.
    ///
    /// # Errors
    /// When the alert is not in the file.
    pub fn write(&mut self, alert: &Alert) -> io::Result<()> {
        self.line.clear();
        if self.torn {
            self.line.push(b'\n');
        }
        serde_json::to_writer(&mut self.line, alert)?;
        self.line.push(b'\n');
        self.take_room()?;
        let written = self.file.write_all(&self.line);
        // Where room cannot be taken, half a line may be there: the next one begins on its own.
        self.torn = written.is_err();
        written
    }

    fn take_room(&self) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let (Ok(end), Ok(length)) = (i64::try_from(end), i64::try_from(self.line.len())) else {
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        match fallocate(&self.file, FallocateFlags::FALLOC_FL_KEEP_SIZE, end, length) {
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Walks `path` from directory to directory, following no symbolic link, and opens its last
/// component.
fn open_beneath(path: &Path) -> Result<OwnedFd, Errno> {
    let directory_flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file_flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_CREAT
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_CLOEXEC;
    let start = if path.is_absolute() { "/" } else { "." };
    let mut directory = open(start, directory_flags, Mode::empty())?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let name = match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            Component::ParentDir => OsStr::new(".."),
            Component::Normal(name) => name,
        };
        if components.peek().is_none() {
            return openat(&directory, name, file_flags, Mode::from_bits_truncate(0o640));
        }
        directory = match openat(&directory, name, directory_flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                mkdirat(&directory, name, Mode::from_bits_truncate(0o750))?;
                openat(&directory, name, directory_flags, Mode::empty())?
            }
            result => result?,
        };
    }
    Err(Errno::EISDIR)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, symlink},
    };

    use super::*;

    #[test]
    fn file_and_directory_are_made_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/alerts.json");
        JsonLog::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o137, 0);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o027, 0);
    }

    #[test]
    fn links_and_fifos_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        fs::write(&target, "").unwrap();
        let link = directory.path().join("link");
        symlink(&target, &link).unwrap();
        assert!(JsonLog::open(&link).unwrap_err().contains("symbolic link"));
        let linked = directory.path().join("linked");
        symlink(directory.path(), &linked).unwrap();
        assert!(JsonLog::open(&linked.join("x")).unwrap_err().contains("symbolic link"));
        assert!(!directory.path().join("x").exists());
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(JsonLog::open(&fifo).is_err());
        assert!(JsonLog::open(directory.path()).is_err());
    }
}
