//! Alerts as JSON lines, one write each.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt as _, MetadataExt},
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, OFlag, fallocate, open, openat},
    sys::stat::{Mode, mkdirat},
    unistd::geteuid,
};

use sentinel_ipc::confinement::account;
use serde::Serialize as _;
use serde_json::ser::Formatter;

use crate::{alert::Alert, escape::is_invisible};

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
    /// Who may own it.
    owners: [u32; 3],
    /// The last line may not be whole.
    torn: bool,
    /// Whether each line waits for the disk.
    synced: bool,
    /// Lines that are not in it.
    failures: u64,
}

impl JsonLog {
    /// Opens `path` to append to it, and creates it (0640) and its directories (0750) where they
    /// are missing. No component may be a symbolic link, and the file must be a regular one of root's or one's own,
    /// with no other name.
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
        let (directory, name) = walk(path, |_| Ok(())).map_err(|errno| refused(path, errno))?;
        let owners = owners();
        let file = open_file(path, &directory, &name, owners)?;
        let torn = ends_within_a_line(&directory, &name, &file);
        let place = Some((directory, name));
        Ok(Self {
            path: path.to_owned(),
            file,
            place,
            line: Vec::new(),
            owners,
            torn,
            synced: false,
            failures: 0,
        })
    }

    /// The same, each of whose lines is on the disk when it is written, if `synced`.
    pub fn synced(self, synced: bool) -> Self {
        Self { synced, ..self }
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
        let file = open_file(&self.path, directory, name, self.owners)
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

    /// Whether its last line may not be whole.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// How many lines it did not take.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Appends one line. Room for it is taken first, so that a full disk refuses it whole.
    ///
    /// # Errors
    /// When the alert is not in the file.
    pub fn write(&mut self, alert: &Alert) -> io::Result<()> {
        let written = self.append(alert);
        self.failures += u64::from(written.is_err());
        written
    }

    fn append(&mut self, alert: &Alert) -> io::Result<()> {
        self.line.clear();
        if self.torn {
            self.line.push(b'\n');
        }
        serialize(alert, &mut self.line)?;
        self.line.push(b'\n');
        self.take_room()?;
        let written = self.file.write_all(&self.line);
        // Where room cannot be taken, half a line may be there: the next one begins on its own.
        self.torn = written.is_err();
        written?;
        if self.synced { self.file.sync_data() } else { Ok(()) }
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

/// Adds an alert to `line` as JSON in which nothing steers a terminal or hides something, also what nobody
/// has escaped: C1 controls, text that runs backwards and the like are written as `\u…`.
fn serialize(alert: &Alert, line: &mut Vec<u8>) -> serde_json::Result<()> {
    alert.serialize(&mut serde_json::Serializer::with_formatter(line, Harmless))
}

/// JSON on one line.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        to: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let is_bad = |character: char| character.is_control() || is_invisible(character);
        for part in fragment.split_inclusive(is_bad) {
            match part.char_indices().next_back().filter(|(_, last)| is_bad(*last)) {
                None => to.write_all(part.as_bytes())?,
                Some((start, last)) => {
                    to.write_all(part.as_bytes().get(..start).unwrap_or_default())?;
                    let mut units = [0; 2];
                    for unit in last.encode_utf16(&mut units) {
                        write!(to, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn refused(path: &Path, errno: Errno) -> String {
    let hint = match errno {
        Errno::ELOOP | Errno::ENOTDIR => "no part of it may be a symbolic link or file",
        _ => "give the path of a file that can be written",
    };
    format!("cannot write to {}: {}; {hint}", path.display(), errno.desc())
}

/// Whose logs are written to: root's, one's own, and those of the user that one becomes. Asked before the sandbox
/// closes, which answers no more.
fn owners() -> [u32; 3] {
    let own = geteuid().as_raw();
    [0, own, account("sentinel").map_or(own, |account| account.uid.as_raw())]
}

/// Opens `name` in `directory`; `path` is what it is called in errors.
fn open_file(
    path: &Path,
    directory: &File,
    name: &OsStr,
    owners: [u32; 3],
) -> Result<File, String> {
    let mode = Mode::from_bits_truncate(0o640);
    let file = openat(directory, name, FILE_FLAGS, mode).map_err(|errno| refused(path, errno))?;
    let file = File::from(file);
    let why = match file.metadata() {
        Ok(found) if !found.is_file() => "it is not a regular file".to_owned(),
        // Who owns it may read it, and take out what it tells.
        Ok(found) if !owners.contains(&found.uid()) => {
            format!("it belongs to uid {}; remove it, or give another path", found.uid())
        }
        Ok(found) if found.nlink() > 1 => {
            "it has another name as well (a hard link); remove it, or give another path".to_owned()
        }
        Ok(_) => return Ok(file),
        Err(error) => error.to_string(),
    };
    Err(format!("cannot write to {}: {why}", path.display()))
}

/// Whether `file`, which is `name` in `directory`, ends within a line, as after a crash. What cannot be read is taken
/// for whole.
fn ends_within_a_line(directory: &File, name: &OsStr, file: &File) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let last = || -> io::Result<u8> {
        let (open, read) =
            (file.metadata()?, File::from(openat(directory, name, flags, Mode::empty())?));
        let (found, mut last) = (read.metadata()?, [b'\n']);
        if found.len() > 0 && (open.dev(), open.ino()) == (found.dev(), found.ino()) {
            read.read_exact_at(&mut last, found.len() - 1)?;
        }
        let [last] = last;
        Ok(last)
    };
    last().is_ok_and(|last| last != b'\n')
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

/// Walks `path` from directory to directory, following no symbolic link and making those that are missing
/// (0750, and then as `made` has it); returns the last directory and the name in it.
///
/// # Errors
/// Of the step that failed.
pub(crate) fn walk(
    path: &Path,
    made: impl Fn(&OwnedFd) -> Result<(), Errno>,
) -> Result<(File, OsString), Errno> {
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
                let new = openat(&directory, name, flags, Mode::empty())?;
                made(&new)?;
                new
            }
            result => result?,
        };
    }
    Err(Errno::EISDIR)
}

#[cfg(test)]
mod tests;
