//! Why a session ended otherwise than asked.

use std::{fmt, io};

use super::START_LIMIT;

/// Why the run ended otherwise than asked.
#[derive(Debug)]
pub enum SessionError {
    /// The loader could not start; it has said why itself.
    LoaderFailed,
    /// The loader did not get ready in time.
    LoaderSilent,
    /// The loader did not end in time.
    LoaderHangs,
    /// No loader has come for too long.
    NoLoader,
    /// The loader went away while it was needed.
    LoaderLost(String),
    /// The loader broke the protocol.
    Protocol(String),
    /// What is recorded cannot be written.
    Recording(String),
    /// The system refuses something.
    System(&'static str, io::Error),
}

impl fmt::Display for SessionError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoaderFailed => write!(to, "the sensor did not start; see the loader's message"),
            Self::LoaderSilent => {
                write!(to, "the sensor did not start within {} s", START_LIMIT.as_secs())
            }
            Self::LoaderHangs => {
                write!(to, "the loader did not end in time: its last events and totals are missing")
            }
            Self::NoLoader => write!(
                to,
                "no loader has come back: nothing is watched; look at sentinel-loader.service"
            ),
            Self::LoaderLost(how) => {
                write!(to, "the loader is gone ({how}): nothing is watched any more")
            }
            Self::Protocol(what) => write!(to, "the loader broke the protocol: {what}"),
            Self::Recording(what) => write!(to, "{what}"),
            Self::System(what, error) => write!(to, "{what}: {error}"),
        }
    }
}

impl std::error::Error for SessionError {}
