//! Where the analyzer and the enforcer come from.
//!
//! Under `sentinel run` each is at the other end of an inherited socket: the analyzer of standard input, the
//! enforcer of standard output. As a service the loader has two listening sockets, and whoever starts
//! calls. It calls on the others as well when it starts itself, before it is confined; so none of the
//! three has to start anew when another one does, and none needs connect(2) later.

use std::{fmt, io, os::fd::AsFd, path::Path};

use sentinel_ipc::{
    activation::{ActivationError, Sockets},
    channel::{Channel, ChannelError},
    diagnostics::tell,
    endpoint::Endpoint,
    places,
};

/// Where the other two come from.
pub struct Doors {
    /// The analyzer, one at a time.
    pub analyzers: Endpoint,
    /// The enforcer, the newest one.
    pub enforcers: Endpoint,
}

/// Why there are none.
#[derive(Debug)]
pub enum DoorsError {
    /// This socket is not what it has to be.
    Socket(&'static str, ChannelError),
    /// What the service manager handed over is of no use.
    Activation(ActivationError),
}

impl fmt::Display for DoorsError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(which, error) => {
                write!(to, "{which}: {error}; start it by `sentinel run` or by its systemd units")
            }
            Self::Activation(error) => error.fmt(to),
        }
    }
}

impl std::error::Error for DoorsError {}

impl Doors {
    /// Takes over the sockets that were inherited, and calls on the others if this is a service.
    ///
    /// # Errors
    /// When they are not there or not of the right kind.
    pub fn open() -> Result<Self, DoorsError> {
        let Some(mut sockets) = Sockets::inherited().map_err(DoorsError::Activation)? else {
            let inherited = |which, stream: &dyn AsFd| {
                let socket = stream.as_fd().try_clone_to_owned().map_err(ChannelError::Io);
                socket.and_then(Endpoint::new).map_err(|error| DoorsError::Socket(which, error))
            };
            return Ok(Self {
                analyzers: inherited("standard input", &io::stdin())?,
                enforcers: inherited("standard output", &io::stdout())?,
            });
        };
        let mut listening = |name| {
            let socket = sockets.take(name).map_err(DoorsError::Activation)?;
            Endpoint::new(socket).map_err(|error| DoorsError::Socket(name, error))
        };
        Ok(Self {
            analyzers: listening("analyzer")?.after(call(places::ANALYZER)),
            enforcers: listening("enforcer")?.after(call(places::ENFORCER)),
        })
    }
}

/// Whoever waits at `path`; it may be that nobody does.
fn call(path: &str) -> Option<Channel> {
    match Channel::call(Path::new(path)) {
        Ok(channel) => Some(channel),
        Err(error) if error.is_absence() => None,
        Err(error) => {
            tell(&format!("sentinel-loader: {path}: {error}"));
            None
        }
    }
}
