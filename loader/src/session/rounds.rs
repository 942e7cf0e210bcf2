//! What the analyzer is told, and when: rounds of records, heartbeats, counts, snapshots.

use std::time::Instant;

use sentinel_ipc::{
    channel::Channel,
    clock,
    frame::{Counters, LoaderMessage, MAX_BATCH_BYTES, MAX_COUNTS},
};

use super::{
    Session, SessionError,
    conversation::{Begun, HEARTBEAT, PATIENCE, State},
    wall_and_boot,
};
use crate::{
    forward::{Forwarder, Progress},
    pace,
    sensor::Sensor,
    snapshot,
};

/// Heartbeats from one telling of counts to the next.
const COUNTS_EVERY: u32 = 2;

impl Session {
    /// Reads what the analyzer said and sends what there is for it.
    pub(super) fn turn(&mut self, called: bool) -> Result<Progress, SessionError> {
        if self.conversation.is_none() {
            return Ok(Progress::Idle);
        }
        if self.read_messages()? {
            return Ok(Progress::Closed);
        }
        let Some(conversation) = &mut self.conversation else { return Ok(Progress::Idle) };
        let is_mute = conversation.state == State::AwaitingHello
            && !conversation.awaits_answer()
            && conversation.begun.elapsed() >= PATIENCE;
        if is_mute && self.analyzers.is_listening() {
            return Ok(Progress::Closed);
        }
        // Kept while a round waits for the socket: nobody calls twice.
        conversation.called |= called;
        if !self.forwarder.is_in_round()
            && matches!(conversation.state, State::Serving | State::Stopping)
        {
            let now = Instant::now();
            if now >= conversation.next_beat {
                conversation.beat(now);
            }
            let due = conversation.beat_follows || now >= conversation.next_drain;
            if conversation.called || due || conversation.state == State::Stopping {
                let soon = conversation.pace.comes_soon();
                conversation.next_drain = now + if soon { pace::TOGETHER } else { HEARTBEAT };
                conversation.called = false;
                conversation.last_round = conversation.state == State::Stopping;
                self.forwarder.begin(wall_and_boot()?.boot_ns, conversation.beat_follows);
            }
        }
        let was_in_round = self.forwarder.is_in_round();
        let progress = forward(&mut self.forwarder, &self.sensor, &conversation.channel)?;
        if was_in_round && !self.forwarder.is_in_round() {
            let (now, urgent) = (Instant::now(), self.forwarder.take_urgent());
            if conversation.pace.round(now, urgent) {
                self.sensor.tell_together(conversation.pace.is_together())?;
                // For the first records that do not call; and for the last, behind which others would lie.
                conversation.next_drain = now + pace::TOGETHER;
            }
        }
        if progress != Progress::Idle {
            return Ok(progress);
        }
        let progress = self.conclude()?;
        if progress != Progress::Idle {
            return Ok(progress);
        }
        self.go_on_with_snapshot()
    }

    /// Sends the next part of a snapshot, if one is being taken; a round comes between two parts.
    fn go_on_with_snapshot(&mut self) -> Result<Progress, SessionError> {
        let Some(conversation) = &mut self.conversation else { return Ok(Progress::Idle) };
        let Some(Begun { snapshot, at }) = &mut conversation.snapshot else {
            return Ok(Progress::Idle);
        };
        let mut records = Vec::new();
        let (is_last, is_cut) = match snapshot.read(&mut records, MAX_BATCH_BYTES)? {
            snapshot::Progress::More => (false, false),
            snapshot::Progress::Done { is_cut } => (true, is_cut),
        };
        let message = LoaderMessage::Snapshot { begun: *at, records: &records, is_last, is_cut };
        self.forwarder.message(&message)?;
        if is_last {
            // Heard of by a heartbeat's round, with which everything in it has been told.
            conversation.next_beat = Instant::now();
            conversation.snapshot = if std::mem::take(&mut conversation.snapshot_again) {
                let snapshot = self.sensor.snapshot()?;
                Some(Begun { snapshot, at: wall_and_boot()?.boot_ns })
            } else {
                None
            };
        }
        Ok(Progress::More)
    }

    /// A round has ended, or there was none: says what comes after it.
    fn conclude(&mut self) -> Result<Progress, SessionError> {
        let Some(conversation) = &mut self.conversation else { return Ok(Progress::Idle) };
        match conversation.state {
            State::Serving if std::mem::take(&mut conversation.beat_follows) => {
                let (clock, canaries) = (wall_and_boot()?, conversation.canaries);
                let counts_due = conversation.beats.is_multiple_of(COUNTS_EVERY);
                let counters = self.counters()?;
                self.forwarder.message(&LoaderMessage::Heartbeat { clock, counters, canaries })?;
                if counts_due {
                    self.tell_counts(clock.boot_ns)?;
                }
                // At once, while the round's end wakes the analyzer, and not to wake it again.
                let Some(conversation) = &self.conversation else { return Ok(Progress::Idle) };
                match forward(&mut self.forwarder, &self.sensor, &conversation.channel)? {
                    Progress::Idle if conversation.is_called(&self.forwarder) => Ok(Progress::More),
                    progress => Ok(progress),
                }
            }
            State::Stopping if !conversation.last_round => Ok(Progress::More),
            State::Stopping => {
                conversation.state = State::Finishing;
                let counters = self.counters()?;
                self.forwarder.message(&LoaderMessage::Finished { counters })?;
                Ok(Progress::More)
            }
            State::Finishing => Ok(Progress::Closed),
            State::Serving if conversation.is_called(&self.forwarder) => Ok(Progress::More),
            State::AwaitingHello | State::Serving => Ok(Progress::Idle),
        }
    }

    /// Tells the calls that were counted until `now`, CLOCK_BOOTTIME in ns, if they are.
    fn tell_counts(&mut self, now: u64) -> Result<(), SessionError> {
        let Some(rest) = self.sensor.take_counts()? else { return Ok(()) };
        let (until, since) = (now, std::mem::replace(&mut self.counted_until, now));
        let (mut part, mut counts) = (Vec::new(), 0);
        let mut rest = rest.into_iter().peekable();
        loop {
            let profile = rest.next();
            let is_last = rest.peek().is_none();
            counts += profile.as_ref().map_or(0, |profile| profile.calls.len());
            part.extend(profile);
            if is_last || counts >= MAX_COUNTS {
                counts = 0;
                let profiles = std::mem::take(&mut part);
                let message = LoaderMessage::Calls { until, since, profiles, is_last };
                self.forwarder.message(&message)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn counters(&self) -> Result<Counters, SessionError> {
        let (forwarded, shed) = self.forwarder.totals();
        Ok(Counters { forwarded, shed, ..self.sensor.counters()? })
    }
}

/// Sends what waits, and what the round takes.
fn forward(
    forwarder: &mut Forwarder,
    sensor: &Sensor,
    to: &Channel,
) -> Result<Progress, SessionError> {
    let dropped = || {
        let dropped = sensor.counters().map_or([0; 2], |counters| counters.dropped);
        (clock::boot_ns().unwrap_or(0), dropped)
    };
    Ok(forwarder.forward(to, dropped)?)
}
