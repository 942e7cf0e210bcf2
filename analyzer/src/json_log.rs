//! Alerts as JSON lines, one write each.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, OFlag, fallocate, open, openat},
    sys::stat::{Mode, mkdirat},
};

use crate::alert::Alert;

/// How a log's file is opened. A fifo is not waited for.
const FILE_FLAGS: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_APPEND)
    .union(OFlag::O_CREAT)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);

/// An open log.
#[derive(Debug)]
pub struct JsonLog {
    path: PathBuf,
    file: File,
    /// Where it is opened anew, and its name there; `None` if that is not wanted.
    place: Option<(File, OsString)>,
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
        Ok(Self { place: None, ..Self::open_to_rotate(path)? })
    }

    /// As [`Self::open`]; and keeps its directory, so that it can be opened anew when the file has
    /// been renamed.
    ///
    /// # Errors
    /// A sentence with the path and what to do.
    pub fn open_to_rotate(path: &Path) -> Result<Self, String> {
        let (directory, name) = walk(path).map_err(|errno| refused(path, errno))?;
        let file = open_file(path, &directory, &name)?;
        let place = Some((directory, name));
        Ok(Self { path: path.to_owned(), file, place, line: Vec::new(), torn: false })
    }

    /// Opens the file of its name anew, and creates it where it is missing: the one that was open has
    /// been renamed.
    ///
    /// # Errors
    /// A sentence with the path and what to do; the old file stays in use.
    pub fn reopen(&mut self) -> Result<(), String> {
        let Some((directory, name)) = &self.place else { return Ok(()) };
        if !is_in_its_place(directory, &self.path) {
            return Err(format!(
                "cannot open {} anew: its directory was removed or moved away, and one that has taken \
                 its name is outside the sandbox; restart Sentinel (the old file stays in use)",
                self.path.display()
            ));
        }
        let file = open_file(&self.path, directory, name)
            .map_err(|why| format!("{why} (the old file stays in use)"))?;
        // What was torn is in the other file, unless this one is the same.
        self.torn &= file.metadata().is_ok_and(|metadata| metadata.len() > 0);
        self.file = file;
        Ok(())
    }

    /// The directory in which it is opened anew.
    pub fn directory(&self) -> Option<&File> {
        self.place.as_ref().map(|(directory, _)| directory)
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

fn refused(path: &Path, errno: Errno) -> String {
    let hint = match errno {
        Errno::ELOOP | Errno::ENOTDIR => "no part of it may be a symbolic link or file",
        _ => "give the path of a file that can be written",
    };
    format!("cannot write to {}: {}; {hint}", path.display(), errno.desc())
}

/// Opens `name` in `directory`; `path` is what it is called in errors.
fn open_file(path: &Path, directory: &File, name: &OsStr) -> Result<File, String> {
    let mode = Mode::from_bits_truncate(0o640);
    let file = openat(directory, name, FILE_FLAGS, mode).map_err(|errno| refused(path, errno))?;
    let file = File::from(file);
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if is_file {
        Ok(file)
    } else {
        Err(format!("cannot write to {}: it is not a regular file", path.display()))
    }
}

/// Whether the directory of `path` is still this one.
fn is_in_its_place(directory: &File, path: &Path) -> bool {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match (directory.metadata(), std::fs::metadata(parent)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Walks `path` from directory to directory, following no symbolic link; returns the last directory
/// and the name in it.
fn walk(path: &Path) -> Result<(File, OsString), Errno> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let start = if path.is_absolute() { "/" } else { "." };
    let mut directory: OwnedFd = open(start, flags, Mode::empty())?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let name = match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            Component::ParentDir => OsStr::new(".."),
            Component::Normal(name) => name,
        };
        if components.peek().is_none() {
            return Ok((directory.into(), name.to_owned()));
        }
        directory = match openat(&directory, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                mkdirat(&directory, name, Mode::from_bits_truncate(0o750))?;
                openat(&directory, name, flags, Mode::empty())?
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
    use crate::analysis::Analysis;

    #[test]
    fn file_and_directory_are_made_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/alerts.json");
        JsonLog::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o137, 0);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o027, 0);
    }

    fn alert(message: &str) -> Alert {
        Alert { message: message.to_owned(), ..Analysis::new(false).breaker_tripped(1) }
    }

    fn lines(path: &Path) -> usize {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| assert!(line.starts_with('{'), "{text}")).count()
    }

    #[test]
    fn a_renamed_log_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, rotated) = (directory.path().join("x.json"), directory.path().join("x.1"));
        let mut log = JsonLog::open_to_rotate(&path).unwrap();
        log.write(&alert("one")).unwrap();
        fs::rename(&path, &rotated).unwrap();
        log.write(&alert("still there")).unwrap();
        assert!(!path.exists());
        log.reopen().unwrap();
        log.write(&alert("two")).unwrap();
        log.reopen().unwrap();
        log.write(&alert("three")).unwrap();
        assert_eq!((lines(&rotated), lines(&path)), (2, 2));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o137, 0);
    }

    #[test]
    fn half_a_line_in_the_old_file_does_not_touch_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        let mut log = JsonLog::open_to_rotate(&path).unwrap();
        log.torn = true;
        log.reopen().unwrap();
        log.write(&alert("whole")).unwrap();
        assert_eq!(lines(&path), 1);
    }

    #[test]
    fn a_log_that_cannot_be_opened_anew_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let (path, rotated) = (directory.path().join("x.json"), directory.path().join("x.1"));
        let mut log = JsonLog::open_to_rotate(&path).unwrap();
        fs::rename(&path, &rotated).unwrap();
        symlink("/dev/null", &path).unwrap();
        let error = log.reopen().unwrap_err();
        assert!(error.contains("x.json") && error.contains("symbolic link"), "{error}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(log.reopen().unwrap_err().contains("x.json"));
        log.write(&alert("one")).unwrap();
        assert_eq!(lines(&rotated), 1);
    }

    #[test]
    fn a_directory_that_was_replaced_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/x.json");
        let mut log = JsonLog::open_to_rotate(&path).unwrap();
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        fs::create_dir(path.parent().unwrap()).unwrap();
        let error = log.reopen().unwrap_err();
        assert!(error.contains("was removed") && error.contains("restart"), "{error}");
        log.write(&alert("one")).unwrap();
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
