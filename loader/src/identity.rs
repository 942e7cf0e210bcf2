//! Tells the enforcer who a process is, from what the kernel noted, and what it and its descendants are now.

use sentinel_ipc::{
    channel::{Channel, ChannelError, Received},
    diagnostics::tell,
    frame::{FrameError, IdentityAnswer, IdentityQuestion, PROTOCOL_VERSION, decode, encode},
};

use crate::sensor::Sensor;

/// What the enforcer may say next.
#[derive(Clone, Copy)]
enum State {
    AwaitingHello,
    Serving,
}

/// The enforcer's end at the loader.
pub struct IdentityService {
    channel: Channel,
    /// Whether the kernel tells who is at the other end: of a pair it tells its maker.
    is_known: bool,
    state: State,
}

/// Why the enforcer is served no longer.
#[derive(Debug)]
pub enum IdentityError {
    /// It went away.
    Closed,
    /// The socket fails.
    Channel(ChannelError),
    /// It sent no message.
    Frame(FrameError),
    /// It sent a message out of turn, or of another version.
    OutOfTurn,
}

impl std::fmt::Display for IdentityError {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => write!(to, "the enforcer is gone"),
            Self::Channel(error) => error.fmt(to),
            Self::Frame(error) => write!(to, "the enforcer broke the protocol: {error}"),
            Self::OutOfTurn => {
                write!(to, "the enforcer broke the protocol: a message out of turn or version")
            }
        }
    }
}

impl IdentityService {
    /// Serves the enforcer behind `channel`, of which the kernel tells who it is if it `is_known`; else its
    /// own word counts.
    pub fn new(channel: Channel, is_known: bool) -> Self {
        Self { channel, is_known, state: State::AwaitingHello }
    }

    /// The socket, to be polled.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Answers all that was asked, as far as the kernel does.
    ///
    /// # Errors
    /// When the enforcer is to be served no longer.
    pub fn serve(&mut self, sensor: &mut Sensor) -> Result<(), IdentityError> {
        loop {
            let question = match self.channel.receive().map_err(IdentityError::Channel)? {
                Received::WouldBlock => return Ok(()),
                Received::Closed => return Err(IdentityError::Closed),
                Received::Frame(frame) => decode(frame).map_err(IdentityError::Frame)?,
            };
            let answer = match (self.state, question) {
                (
                    State::AwaitingHello,
                    IdentityQuestion::Hello { version: PROTOCOL_VERSION, tgid },
                ) => {
                    let peer = self.channel.peer().map_err(IdentityError::Channel)?;
                    let peer = peer.and_then(|peer| u32::try_from(peer.pid()).ok());
                    if self.is_known && peer != Some(tgid) {
                        return Err(IdentityError::OutOfTurn);
                    }
                    sensor.exclude_peer(tgid, &self.channel).map(|()| {
                        self.state = State::Serving;
                        let tgid = std::process::id();
                        IdentityAnswer::Ready { version: PROTOCOL_VERSION, tgid }
                    })
                }
                (State::Serving, IdentityQuestion::WhoIs { question, tgid }) => {
                    sensor.identity(tgid).and_then(|identity| {
                        let description = sensor.describe(tgid)?;
                        Ok(IdentityAnswer::Is { question, identity, description })
                    })
                }
                (State::Serving, IdentityQuestion::Describe { question, tgid }) => sensor
                    .describe(tgid)
                    .map(|description| IdentityAnswer::Described { question, description }),
                (State::Serving, IdentityQuestion::Tree { question, root, user }) => sensor
                    .tree(root, user)
                    .map(|(user, members)| IdentityAnswer::Members { question, user, members }),
                (State::AwaitingHello | State::Serving, IdentityQuestion::Hello { .. })
                | (
                    State::AwaitingHello,
                    IdentityQuestion::WhoIs { .. }
                    | IdentityQuestion::Describe { .. }
                    | IdentityQuestion::Tree { .. },
                ) => return Err(IdentityError::OutOfTurn),
            };
            let answer = match answer {
                Ok(answer) => answer,
                // It refuses for that reason, and may ask again: what keeps the kernel may pass.
                Err(error) => {
                    tell(&format!("sentinel-loader: the enforcer gets no answer: {error}"));
                    continue;
                }
            };
            let mut frame = Vec::new();
            encode(&answer, &mut frame).map_err(IdentityError::Frame)?;
            // An enforcer that does not read gets no answer, and refuses for that reason.
            let _sent = self.channel.send(&frame).map_err(IdentityError::Channel)?;
        }
    }
}
