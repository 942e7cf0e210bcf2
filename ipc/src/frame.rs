//! The messages between processes: one postcard value a frame, one frame a packet.

use std::fmt;

use serde::{Deserialize, Serialize};

mod identity;
mod kill;
mod sensor;

pub use identity::*;
pub use kill::*;
pub use sensor::*;

pub use crate::kind_set::KindSet;

/// Raised whenever a message or record changes; both ends must have the same.
pub const PROTOCOL_VERSION: u16 = 10;
/// Bytes of the reason in a kill request, at most; more are refused.
pub const MAX_REASON_BYTES: usize = 256;
/// Processes of a tree that are told and ended, at the most.
pub const MAX_TREE: usize = 2048;
/// Bytes of the longest frame; longer ones are refused unread.
pub const MAX_FRAME_BYTES: usize = 128 * 1024;
/// Processes in one message about who is to be followed, at most; more are refused.
pub const MAX_FOLLOWED: usize = 256;
/// Records in a batch, at most.
pub const MAX_BATCH_RECORDS: usize = 256;
/// Counts in a part of [`LoaderMessage::Calls`], beyond which it gets no further executable.
pub const MAX_COUNTS: usize = 8192;
/// Bytes of records in a batch, at most: leaves room for the rest of the frame.
pub const MAX_BATCH_BYTES: usize = MAX_FRAME_BYTES - 1024;

/// What a process says of itself after it has given up its privileges, for `sentinel status`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its process id.
    pub tgid: u32,
    /// Its user.
    pub uid: u32,
    /// Names of its effective capabilities.
    pub capabilities: Vec<String>,
    /// How far its sandbox goes, in words.
    pub sandbox: String,
    /// When it was confined; CLOCK_BOOTTIME, ns.
    pub since: u64,
}

/// A process that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Thread group id.
    pub tgid: u32,
    /// Start of the group's leader, ns since boot.
    pub start_time: u64,
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
    use crate::kernel_abi::profile;

    #[test]
    fn messages_survive_the_way() {
        let mut frame = Vec::new();
        let clock = Clock { boot_ns: 7, wall_offset_ns: -3 };
        let message = LoaderMessage::Ready {
            version: 1,
            clock,
            unattended_since: Some(4),
            counters: Counters::default(),
            about: About::default(),
        };
        encode(&message, &mut frame).unwrap();
        assert_eq!(decode::<LoaderMessage<'_>>(&frame), Ok(message));
        let hooks = vec!["sys_exit", "b"];
        let (limits, scope) = (vec![Limit::IoUring], "all");
        let message = LoaderMessage::Subscribed { number: 1, hooks, limits, scope };
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
        let (is_last, is_cut) = (true, true);
        let message =
            LoaderMessage::Snapshot { begun: u64::MAX, records: &records, is_last, is_cut };
        encode(&message, &mut frame).unwrap();
        assert!(frame.len() <= MAX_FRAME_BYTES);
    }

    #[test]
    fn a_full_part_of_counts_fits_in_a_frame() {
        let calls = vec![(u16::MAX, u32::MAX); profile::CALLS];
        let row = ProfileCalls { executable: Some((u32::MAX, u64::MAX, u32::MAX)), calls };
        // One row short of full, and then a whole one; or as many rows as there are, of one count each.
        let few = ProfileCalls { calls: vec![(u16::MAX, u32::MAX)], ..row.clone() };
        let rows = MAX_COUNTS.div_ceil(profile::CALLS) + 1;
        let (until, since, is_last) = (u64::MAX, u64::MAX, true);
        for profiles in [vec![row; rows], vec![few; usize::try_from(profile::COUNT).unwrap()]] {
            let mut frame = Vec::new();
            let message = LoaderMessage::Calls { until, since, profiles, is_last };
            encode(&message, &mut frame).unwrap();
            assert!(frame.len() <= MAX_FRAME_BYTES, "{}", frame.len());
        }
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
