//! Why the loader ended.

use std::{fmt, io};

use sentinel_ipc::confinement::ConfinementError;

use crate::{doors::DoorsError, forward::ForwardError, sensor::SensorError};

/// Why the loader ended.
#[derive(Debug)]
pub enum SessionError {
    /// The sensor cannot run.
    Sensor(SensorError),
    /// The sockets are not what they have to be.
    Doors(DoorsError),
    /// It could not give up its privileges.
    Confinement(ConfinementError),
    /// The connection to the analyzer fails.
    Forward(ForwardError),
    /// The analyzer broke the protocol.
    Protocol(String),
    /// The system refuses something else.
    System(&'static str, io::Error),
}

impl fmt::Display for SessionError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sensor(error) => error.fmt(to),
            Self::Doors(error) => error.fmt(to),
            Self::Confinement(error) => error.fmt(to),
            Self::Forward(error) => error.fmt(to),
            Self::Protocol(what) => write!(to, "the analyzer broke the protocol: {what}"),
            Self::System(what, error) => write!(to, "{what}: {error}"),
        }
    }
}

impl std::error::Error for SessionError {}

impl From<SensorError> for SessionError {
    fn from(error: SensorError) -> Self {
        Self::Sensor(error)
    }
}

impl From<DoorsError> for SessionError {
    fn from(error: DoorsError) -> Self {
        Self::Doors(error)
    }
}

impl From<ConfinementError> for SessionError {
    fn from(error: ConfinementError) -> Self {
        Self::Confinement(error)
    }
}

impl From<ForwardError> for SessionError {
    fn from(error: ForwardError) -> Self {
        Self::Forward(error)
    }
}
