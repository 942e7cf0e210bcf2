//! Files that people write: read whole, if they are regular and not larger than they should be.

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Why a file is not read.
#[derive(Debug)]
pub enum SmallFileError {
    /// The system refuses.
    Unreadable(PathBuf, io::Error),
    /// What has this name is no regular file.
    NotAFile(PathBuf),
    /// It is longer than so many bytes.
    TooLarge(PathBuf, u64),
}

impl SmallFileError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable(_, error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for SmallFileError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(to, "{}: {error}", path.display()),
            Self::NotAFile(path) => write!(to, "{}: it is not a regular file", path.display()),
            Self::TooLarge(path, most) => {
                write!(to, "{}: it is longer than {most} bytes", path.display())
            }
        }
    }
}

impl std::error::Error for SmallFileError {}

/// The bytes of the file at `path`, which may be `most` at the most.
///
/// # Errors
/// When it is something else, or larger, or cannot be read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, SmallFileError> {
    let unreadable = |error| SmallFileError::Unreadable(path.to_owned(), error);
    // Not waiting for a fifo's other end.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(SmallFileError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(SmallFileError::TooLarge(path.to_owned(), most));
    }
    Ok(bytes)
}
