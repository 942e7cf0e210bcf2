//! Whose turn it is to say what.

use sentinel_ipc::frame::{LoaderMessage, PROTOCOL_VERSION};

use super::SessionError;

/// What the loader may say next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing: there is no loader.
    Alone,
    AwaitingReady,
    Subscribing,
    Streaming,
    Stopping,
    Finished,
}

impl State {
    /// Whether it may last only so long.
    pub(super) fn is_limited(self) -> bool {
        matches!(self, Self::Alone | Self::AwaitingReady | Self::Subscribing | Self::Stopping)
    }

    /// The state after `message`, which may be out of turn.
    pub(super) fn after(self, message: &LoaderMessage<'_>) -> Result<Self, SessionError> {
        match (self, message) {
            (Self::AwaitingReady, LoaderMessage::Ready { version: PROTOCOL_VERSION, .. }) => {
                Ok(Self::Subscribing)
            }
            (Self::AwaitingReady, LoaderMessage::Ready { version, .. }) => {
                Err(SessionError::Protocol(format!(
                    "it speaks version {version}, this analyzer {PROTOCOL_VERSION}; install both \
                     from one package"
                )))
            }
            (Self::Subscribing | Self::Streaming, LoaderMessage::Subscribed { .. }) => {
                Ok(Self::Streaming)
            }
            (
                Self::Subscribing | Self::Streaming | Self::Stopping,
                LoaderMessage::Events { .. }
                | LoaderMessage::Drained { .. }
                | LoaderMessage::Snapshot { .. }
                | LoaderMessage::Calls { .. }
                | LoaderMessage::Heartbeat { .. },
            ) => Ok(self),
            (Self::Stopping, LoaderMessage::Subscribed { .. }) => Ok(self),
            (Self::Stopping, LoaderMessage::Finished { .. }) => Ok(Self::Finished),
            _ => Err(SessionError::Protocol("a message out of turn".to_owned())),
        }
    }
}
