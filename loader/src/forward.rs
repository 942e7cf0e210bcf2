//! Ring → frames: copies records unread into batches and sends them.

use aya::maps::{MapData, RingBuf};
use sentinel_ipc::{
    channel::{Channel, ChannelError, Sent},
    frame::{FrameError, LoaderMessage, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, encode},
    kernel_abi::{MAX_RECORD_BYTES, RecordHeader},
};

/// Batches that are sent before heartbeats and messages get their turn.
const BATCHES_A_TURN: u32 = 64;

/// How sending went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Everything there was has been sent.
    Idle,
    /// So much was sent that somebody else should have a turn; there is more.
    More,
    /// The socket is full; go on when it can be written.
    Blocked,
    /// The analyzer is gone.
    Closed,
}

/// Why forwarding cannot go on.
#[derive(Debug)]
pub enum ForwardError {
    /// The socket fails.
    Channel(ChannelError),
    /// A message cannot be encoded.
    Frame(FrameError),
    /// The ring holds an item that is no record, of so many bytes.
    NotARecord(usize),
}

impl std::fmt::Display for ForwardError {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Channel(error) => error.fmt(to),
            Self::Frame(error) => error.fmt(to),
            Self::NotARecord(bytes) => write!(to, "the ring holds an item of {bytes} bytes"),
        }
    }
}

/// What is on its way from the ring to the analyzer.
///
/// When the socket is full, the one frame that did not fit waits here and the rest waits in the
/// ring, where the kernel counts what it has to drop: records get lost in one place only.
pub struct Forwarder {
    ring: RingBuf<MapData>,
    records: Vec<u8>,
    frame: Vec<u8>,
    /// `frame` holds so many records (0 for another message) that are not sent yet.
    waiting: Option<u64>,
    forwarded: u64,
}

impl Forwarder {
    /// Forwards what comes out of `ring`.
    pub fn new(ring: RingBuf<MapData>) -> Self {
        Self {
            ring,
            records: Vec::with_capacity(MAX_BATCH_BYTES),
            frame: Vec::with_capacity(MAX_BATCH_BYTES),
            waiting: None,
            forwarded: 0,
        }
    }

    /// The ring, to be polled.
    pub fn ring(&self) -> &RingBuf<MapData> {
        &self.ring
    }

    /// Records sent so far.
    pub fn forwarded(&self) -> u64 {
        self.forwarded
    }

    /// Sends what waits and then what the ring holds; `progress` tells the time
    /// (CLOCK_BOOTTIME, ns) and how many records the kernel has lost by then.
    ///
    /// # Errors
    /// When the socket fails or the ring's contents are not records.
    pub fn forward(
        &mut self,
        to: &Channel,
        progress: impl Fn() -> (u64, u64),
    ) -> Result<Progress, ForwardError> {
        for _ in 0..BATCHES_A_TURN {
            match self.flush(to)? {
                Progress::Idle => {}
                stopped => return Ok(stopped),
            }
            let count = self.fill()?;
            if count == 0 {
                return Ok(Progress::Idle);
            }
            let (now, dropped) = progress();
            let message = LoaderMessage::Events { now, dropped, records: &self.records };
            encode(&message, &mut self.frame).map_err(ForwardError::Frame)?;
            self.waiting = Some(count);
        }
        Ok(Progress::More)
    }

    /// Sends `message` unless something else waits.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn message(
        &mut self,
        to: &Channel,
        message: &LoaderMessage<'_>,
    ) -> Result<Progress, ForwardError> {
        match self.flush(to)? {
            Progress::Idle => {}
            stopped => return Ok(stopped),
        }
        encode(message, &mut self.frame).map_err(ForwardError::Frame)?;
        self.waiting = Some(0);
        self.flush(to)
    }

    fn flush(&mut self, to: &Channel) -> Result<Progress, ForwardError> {
        let Some(count) = self.waiting else { return Ok(Progress::Idle) };
        match to.send(&self.frame).map_err(ForwardError::Channel)? {
            Sent::Done => {
                self.forwarded += count;
                self.waiting = None;
                Ok(Progress::Idle)
            }
            Sent::WouldBlock => Ok(Progress::Blocked),
            Sent::Closed => Ok(Progress::Closed),
        }
    }

    /// Moves one batch out of the ring; returns how many records it has.
    fn fill(&mut self) -> Result<u64, ForwardError> {
        self.records.clear();
        let mut count = 0;
        while count < MAX_BATCH_RECORDS && self.records.len() + MAX_RECORD_BYTES <= MAX_BATCH_BYTES
        {
            let Some(item) = self.ring.next() else { break };
            if item.len() < size_of::<RecordHeader>() || item.len() > MAX_RECORD_BYTES {
                return Err(ForwardError::NotARecord(item.len()));
            }
            self.records.extend_from_slice(&item);
            count += 1;
        }
        Ok(count as u64)
    }
}
