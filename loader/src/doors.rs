//! Where the analyzer and the enforcer come from.
//!
//! Under `sentinel run` each is at the other end of an inherited socket: the analyzer of standard input, the
//! enforcer of standard output. As a service the loader has two listening sockets, and whoever starts
//! calls. It calls on the others as well when it starts itself, before it is confined; so none of the
//! three has to start anew when another one does, and none needs connect(2) later.

use std::{
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use nix::unistd::Uid;
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

/// One of them, from behind which only root and one user are let in.
pub struct Door {
    endpoint: Endpoint,
    user: Uid,
    /// Whether it has been told that the system lets nobody in, which it may say at each look.
    is_told: bool,
}

impl Door {
    /// Lets in who comes to `endpoint` and is `user`.
    pub fn new(endpoint: Endpoint, user: Uid) -> Self {
        Self { endpoint, user, is_told: false }
    }

    /// The next peer, if there is one, as far as the system has room for it.
    pub fn let_in(&mut self) -> Option<Channel> {
        loop {
            let error = match self.endpoint.next(self.user) {
                Ok(channel) => {
                    self.is_told = false;
                    return channel;
                }
                Err(error) => error,
            };
            // Somebody else may be waiting behind a stranger; else it is tried again later.
            let is_stranger = matches!(error, ChannelError::Stranger(_));
            if is_stranger || !std::mem::replace(&mut self.is_told, true) {
                tell(&format!("sentinel-loader: a connection is refused: {error}"));
            }
            if !is_stranger {
                return None;
            }
        }
    }

    /// Whether another peer may come after the present one.
    pub fn is_listening(&self) -> bool {
        self.endpoint.is_listening()
    }

    /// The listening socket, to be polled.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.endpoint.listener()
    }
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
