//! Rings → frames: copies records unread into batches and sends them, in rounds.
//!
//! A round takes from both rings what was in them when it began, and ends with the word that all of
//! that has been sent; so the other side can put records of both in order.

use std::collections::VecDeque;

use sentinel_ipc::{
    channel::{Channel, ChannelError, Sent},
    frame::{FrameError, LoaderMessage, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, encode},
    kernel_abi::{MAX_RECORD_BYTES, ring},
};

use crate::ring::{Ring, RingError};

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
    /// A ring cannot be read.
    Ring(RingError),
}

impl std::fmt::Display for ForwardError {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Channel(error) => error.fmt(to),
            Self::Frame(error) => error.fmt(to),
            Self::Ring(error) => error.fmt(to),
        }
    }
}

/// A round under way.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// When it began; CLOCK_BOOTTIME, ns.
    until: u64,
    /// The ring that is being read.
    ring: usize,
    /// Whether its end is to be told.
    is_told: bool,
}

/// What is on its way from the rings to the analyzer.
///
/// When the socket is full, frames that did not fit wait here and the rest waits in the rings, where
/// the kernel counts what it has to drop: records get lost in one place only.
pub struct Forwarder {
    rings: [Ring; 2],
    round: Option<Round>,
    /// Whether the last round left something behind that nobody will be woken for.
    left_behind: bool,
    records: Vec<u8>,
    /// Frames to be sent first, each with how many records it holds.
    outbox: VecDeque<(Vec<u8>, u64)>,
    /// Room for the next one.
    spare: Vec<u8>,
    /// Urgent records that rounds have taken since somebody asked.
    urgent: u64,
    forwarded: u64,
    shed: u64,
}

impl Forwarder {
    /// Forwards what comes out of these rings, in the order of `kernel_abi::ring`.
    pub fn new(rings: [Ring; 2]) -> Self {
        Self {
            rings,
            round: None,
            left_behind: false,
            records: Vec::with_capacity(MAX_BATCH_BYTES),
            outbox: VecDeque::new(),
            spare: Vec::with_capacity(MAX_BATCH_BYTES),
            urgent: 0,
            forwarded: 0,
            shed: 0,
        }
    }

    /// The rings, to be polled.
    pub fn rings(&self) -> &[Ring; 2] {
        &self.rings
    }

    /// Records sent so far, and records that came when nobody wanted them.
    pub fn totals(&self) -> (u64, u64) {
        (self.forwarded, self.shed)
    }

    /// Urgent records that rounds have taken since this was asked last.
    pub fn take_urgent(&mut self) -> u64 {
        std::mem::take(&mut self.urgent)
    }

    /// How many messages wait to be sent.
    pub fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Whether a round is under way.
    pub fn is_in_round(&self) -> bool {
        self.round.is_some()
    }

    /// Whether another round should begin at once.
    pub fn has_more(&self) -> bool {
        self.left_behind
    }

    /// Begins a round at `until`, CLOCK_BOOTTIME in ns; its end is told if it takes anything, or if
    /// `is_told`.
    pub fn begin(&mut self, until: u64, is_told: bool) {
        self.left_behind = false;
        self.round = Some(Round { until, ring: 0, is_told });
    }

    /// Sends what waits, and then what the round takes; `dropped` tells the time (CLOCK_BOOTTIME, ns)
    /// and how many records each ring has lost by then.
    ///
    /// # Errors
    /// When the socket fails or a ring's contents are not records.
    pub fn forward(
        &mut self,
        to: &Channel,
        dropped: impl Fn() -> (u64, [u64; 2]),
    ) -> Result<Progress, ForwardError> {
        for _ in 0..BATCHES_A_TURN {
            match self.flush(to)? {
                Progress::Idle => {}
                stopped => return Ok(stopped),
            }
            let Some(round) = &mut self.round else { return Ok(Progress::Idle) };
            self.records.clear();
            let (until, mut count) = (round.until, 0);
            while let Some(ring) = self.rings.get_mut(round.ring) {
                let before = count;
                let end = fill(ring, until, &mut self.records, &mut count)?;
                self.urgent += if round.ring == ring::ALERT { count - before } else { 0 };
                if end == End::Full {
                    break;
                }
                // The other ring is drained in time, woken or not.
                self.left_behind |= end == End::Later && round.ring == ring::ALERT;
                round.ring += 1;
            }
            round.is_told |= count > 0;
            let records = &self.records;
            let message = if round.ring < self.rings.len() {
                LoaderMessage::Events { records }
            } else if !std::mem::take(&mut self.round).is_some_and(|round| round.is_told) {
                continue;
            } else {
                let (now, dropped) = dropped();
                LoaderMessage::Drained { records, until, now, dropped }
            };
            encode(&message, &mut self.spare).map_err(ForwardError::Frame)?;
            self.outbox.push_back((std::mem::take(&mut self.spare), count));
        }
        Ok(Progress::More)
    }

    /// Has `message` sent by the next [`Self::forward`].
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn message(&mut self, message: &LoaderMessage<'_>) -> Result<(), ForwardError> {
        let mut frame = Vec::new();
        encode(message, &mut frame).map_err(ForwardError::Frame)?;
        self.outbox.push_back((frame, 0));
        Ok(())
    }

    fn flush(&mut self, to: &Channel) -> Result<Progress, ForwardError> {
        while let Some((frame, count)) = self.outbox.front() {
            match to.send(frame).map_err(ForwardError::Channel)? {
                Sent::Done => {
                    self.forwarded += count;
                    if let Some((frame, _)) = self.outbox.pop_front() {
                        self.spare = frame;
                    }
                }
                Sent::WouldBlock => return Ok(Progress::Blocked),
                Sent::Closed => return Ok(Progress::Closed),
            }
        }
        Ok(Progress::Idle)
    }

    /// Throws away what waits and what the rings hold: the one it was for is gone.
    ///
    /// # Errors
    /// When a ring's contents are not records.
    pub fn discard(&mut self) -> Result<(), ForwardError> {
        self.shed += self.outbox.drain(..).map(|(_, count)| count).sum::<u64>();
        self.round = None;
        self.left_behind = false;
        self.urgent = 0;
        for ring in &mut self.rings {
            loop {
                self.records.clear();
                let mut count = 0;
                let end = fill(ring, u64::MAX, &mut self.records, &mut count)?;
                self.shed += count;
                if end != End::Full {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Why a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is full.
    Full,
    /// The ring is empty.
    Empty,
    /// What comes next is later than the round.
    Later,
}

/// Moves records from before `until`, and one more, from `ring` to the end of a batch that has `count` of them.
fn fill(
    ring: &mut Ring,
    until: u64,
    records: &mut Vec<u8>,
    count: &mut u64,
) -> Result<End, ForwardError> {
    while *count < MAX_BATCH_RECORDS as u64 && records.len() + MAX_RECORD_BYTES <= MAX_BATCH_BYTES {
        let Some(record) = ring.record().map_err(ForwardError::Ring)? else {
            return Ok(End::Empty);
        };
        records.extend_from_slice(record);
        *count += 1;
        // A record begins with its time.
        let time = record.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        if time > until {
            ring.release();
            return Ok(End::Later);
        }
    }
    ring.release();
    Ok(End::Full)
}
