//! What is wrong with a configuration.

use std::{fmt, io, path::PathBuf};

use super::file::MAX_BYTES;

/// Why a configuration is not used.
#[derive(Debug)]
pub enum ConfigurationError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// What has this name is no file.
    NotAFile(PathBuf),
    /// It is larger than any configuration.
    TooLarge(PathBuf),
    /// This line, counted from 1, is wrong, for this reason.
    Wrong(PathBuf, usize, String),
    /// Each setting is right, but not all of them together.
    Contradiction(&'static str),
}

impl ConfigurationError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable(_, error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(to, "{}: {error}", path.display()),
            Self::NotAFile(path) => write!(to, "{}: it is not a regular file", path.display()),
            Self::TooLarge(path) => {
                write!(to, "{}: it has more than {} MiB", path.display(), MAX_BYTES >> 20)
            }
            Self::Wrong(path, line, why) => write!(to, "{}:{line}: {why}", path.display()),
            Self::Contradiction(why) => write!(to, "{why}"),
        }
    }
}

impl std::error::Error for ConfigurationError {}
