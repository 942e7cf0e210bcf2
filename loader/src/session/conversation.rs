//! How far the talk with an analyzer is: what it may say next, and what is due when.

use std::time::{Duration, Instant};

use nix::unistd::getsid;
use sentinel_ipc::channel::Channel;

use crate::{forward::Forwarder, pace::Pace, snapshot::Snapshot};

/// From one heartbeat to the next, and so how long telemetry may lie in its ring when nothing else wakes the loader.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long an analyzer may take to say its first word, and how long somebody may wait at the socket who
/// was not let in at first.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Heartbeats from one canary to the next.
const CANARY_EVERY: u32 = 4;

/// What the analyzer may say next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing said yet.
    AwaitingHello,
    /// It may subscribe.
    Serving,
    /// Detached; what is left is being sent.
    Stopping,
    /// The last message is being sent.
    Finishing,
}

/// What there is while an analyzer is there.
pub(super) struct Conversation {
    pub(super) channel: Channel,
    pub(super) state: State,
    pub(super) begun: Instant,
    /// Whether a round has begun since it said stop, which will be the last.
    pub(super) last_round: bool,
    /// Whether it asked for anything.
    pub(super) attends: bool,
    /// Whether it asked for canaries.
    pub(super) canary_wanted: bool,
    pub(super) canaries: u64,
    pub(super) beats: u32,
    pub(super) next_beat: Instant,
    /// A ring has called since the last round began.
    pub(super) called: bool,
    /// The round under way ends with a heartbeat.
    pub(super) beat_follows: bool,
    pub(super) next_drain: Instant,
    pub(super) pace: Pace,
    pub(super) snapshot: Option<Begun>,
    /// Another snapshot was asked for while one was being taken.
    pub(super) snapshot_again: bool,
    /// The socket was full, and it is told when it can be written.
    pub(super) awaits_room: bool,
}

/// A snapshot that is being taken.
pub(super) struct Begun {
    pub(super) snapshot: Snapshot,
    /// CLOCK_BOOTTIME, ns.
    pub(super) at: u64,
}

impl Conversation {
    /// One that begins now.
    pub(super) fn new(channel: Channel) -> Self {
        let now = Instant::now();
        Self {
            channel,
            state: State::AwaitingHello,
            begun: now,
            last_round: false,
            attends: false,
            canary_wanted: false,
            canaries: 0,
            beats: 0,
            called: false,
            next_beat: now,
            beat_follows: false,
            next_drain: now,
            pace: Pace::new(now),
            snapshot: None,
            snapshot_again: false,
            awaits_room: false,
        }
    }

    /// Whether this end has called and nobody has answered yet.
    pub(super) fn awaits_answer(&self) -> bool {
        self.state == State::AwaitingHello && matches!(self.channel.peer(), Ok(None))
    }

    /// Whether a ring has called during the round, which it does not do again.
    pub(super) fn is_called(&self, forwarder: &Forwarder) -> bool {
        forwarder.has_more() || self.called
    }

    /// It is time for a heartbeat, and now and then for a canary.
    pub(super) fn beat(&mut self, now: Instant) {
        self.next_beat = now + HEARTBEAT;
        self.beat_follows = true;
        if self.canary_wanted && self.beats.is_multiple_of(CANARY_EVERY) {
            // The call itself is what the sensor is to see.
            let _own = getsid(None);
            self.canaries += 1;
        }
        self.beats = self.beats.wrapping_add(1);
    }
}
