//! The messages between processes: one postcard value a frame, one frame a packet.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Raised whenever a message or record changes; both ends must have the same.
pub const PROTOCOL_VERSION: u16 = 1;
/// Bytes of the longest frame; longer ones are refused unread.
pub const MAX_FRAME_BYTES: usize = 128 * 1024;
/// Records in a batch, at most.
pub const MAX_BATCH_RECORDS: usize = 256;
/// Bytes of records in a batch, at most: leaves room for the rest of the frame.
pub const MAX_BATCH_BYTES: usize = MAX_FRAME_BYTES - 1024;

/// Analyzer → loader.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnalyzerMessage {
    /// The first message; asks for the sensor to be attached.
    Hello {
        /// [`PROTOCOL_VERSION`] of the analyzer.
        version: u16,
    },
    /// Detach, send what is left, and end with [`LoaderMessage::Finished`].
    Stop,
}

/// Loader → analyzer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum LoaderMessage<'a> {
    /// Answer to [`AnalyzerMessage::Hello`]: the sensor is attached.
    Ready {
        /// [`PROTOCOL_VERSION`] of the loader.
        version: u16,
        /// Names of the tracepoints that are attached.
        #[serde(borrow)]
        hooks: Vec<&'a str>,
        /// Clocks at this moment.
        clock: Clock,
    },
    /// Records in the order of the ring.
    Events {
        /// Whole records of `kernel_abi`, one after the other.
        #[serde(with = "serde_bytes")]
        records: &'a [u8],
    },
    /// Sent at least twice a second, so that the analyzer's time goes on without events.
    Heartbeat {
        /// Clocks at this moment. Records that were emitted before it have been sent.
        clock: Clock,
        /// Totals since the start.
        counters: Counters,
    },
    /// The last message.
    Finished {
        /// Totals since the start.
        counters: Counters,
    },
}

/// Two clocks read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// CLOCK_BOOTTIME, ns.
    pub boot_ns: u64,
    /// CLOCK_REALTIME − CLOCK_BOOTTIME, ns.
    pub wall_offset_ns: i64,
}

/// What became of the events, as totals since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Times a program in the kernel ran.
    pub seen: u64,
    /// Of those, how often the event was wanted.
    pub passed: u64,
    /// Records put into the ring.
    pub emitted: u64,
    /// Records lost because the ring was full.
    pub dropped: u64,
    /// Records sent to the analyzer.
    pub forwarded: u64,
}

/// Why a frame is no message.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The bytes are not a value of the type.
    Malformed(postcard::Error),
    /// So many bytes follow the value.
    Trailing(usize),
}

impl fmt::Display for FrameError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(to, "malformed frame: {error}"),
            Self::Trailing(bytes) => write!(to, "{bytes} bytes too many in a frame"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Replaces the contents of `frame` with `message`.
///
/// # Errors
/// When serde refuses the message, which none of these types makes it do.
pub fn encode(message: &impl Serialize, frame: &mut Vec<u8>) -> Result<(), FrameError> {
    frame.clear();
    let buffer = std::mem::take(frame);
    *frame = postcard::to_extend(message, buffer).map_err(FrameError::Malformed)?;
    Ok(())
}

/// Reads the one message that fills `frame`.
///
/// # Errors
/// When the bytes are no such message, or more than one.
pub fn decode<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> Result<T, FrameError> {
    let (message, rest) = postcard::take_from_bytes(frame).map_err(FrameError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(FrameError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_survive_the_way() {
        let mut frame = Vec::new();
        let clock = Clock { boot_ns: 7, wall_offset_ns: -3 };
        let message = LoaderMessage::Ready { version: 1, hooks: vec!["sys_exit", "b"], clock };
        encode(&message, &mut frame).unwrap();
        assert_eq!(decode::<LoaderMessage<'_>>(&frame), Ok(message));
        let message = LoaderMessage::Events { records: &[1, 2, 3] };
        encode(&message, &mut frame).unwrap();
        assert_eq!(decode::<LoaderMessage<'_>>(&frame), Ok(message));
    }

    #[test]
    fn a_full_batch_fits_in_a_frame() {
        let mut frame = Vec::new();
        let records = vec![0xff; MAX_BATCH_BYTES];
        encode(&LoaderMessage::Events { records: &records }, &mut frame).unwrap();
        assert!(frame.len() <= MAX_FRAME_BYTES);
    }

    #[test]
    fn what_follows_a_message_is_refused() {
        let mut frame = Vec::new();
        encode(&AnalyzerMessage::Stop, &mut frame).unwrap();
        frame.push(0);
        assert_eq!(decode::<AnalyzerMessage>(&frame), Err(FrameError::Trailing(1)));
    }

    #[test]
    fn an_unknown_tag_is_refused() {
        assert!(decode::<AnalyzerMessage>(&[9]).is_err());
        assert!(decode::<LoaderMessage<'_>>(&[9]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<AnalyzerMessage>(&bytes);
            let _ = decode::<LoaderMessage<'_>>(&bytes);
        }
    }
}
