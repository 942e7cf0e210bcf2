//! What is wrong with a configuration.

use std::{fmt, path::PathBuf};

use sentinel_ipc::small_file::SmallFileError;

/// Why a configuration is not used.
#[derive(Debug)]
pub enum ConfigurationError {
    /// The file is not read.
    File(SmallFileError),
    /// This line, counted from 1, is wrong, for this reason.
    Wrong(PathBuf, usize, String),
    /// Each setting is right, but not all of them together.
    Contradiction(&'static str),
}

impl ConfigurationError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File(error) if error.is_missing())
    }
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(to),
            Self::Wrong(path, line, why) => write!(to, "{}:{line}: {why}", path.display()),
            Self::Contradiction(why) => write!(to, "{why}"),
        }
    }
}

impl std::error::Error for ConfigurationError {}
