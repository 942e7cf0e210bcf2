//! What the analyzer says, and what is done about it.

use std::fmt;

use sentinel_ipc::{
    channel::Received,
    clock,
    frame::{
        AnalyzerMessage, Counters, LoaderMessage, MAX_FOLLOWED, PROTOCOL_VERSION, Subscription,
        decode,
    },
    kernel_abi::kind,
};

use super::{
    Session, SessionError,
    conversation::{Begun, State},
    leave_out, wall_and_boot,
};

/// Messages that may wait to be sent before nothing more is read.
const MAX_ANSWERS: usize = 8;

impl Session {
    /// Handles what the analyzer sent; true when it is gone. While many answers wait to be sent nothing
    /// more is read, so that they stay few.
    pub(super) fn read_messages(&mut self) -> Result<bool, SessionError> {
        while let Some(conversation) = &mut self.conversation
            && self.forwarder.waiting() < MAX_ANSWERS
        {
            let broken = |error: &dyn fmt::Display| SessionError::Protocol(error.to_string());
            let message = match conversation.channel.receive().map_err(|error| broken(&error))? {
                Received::WouldBlock => return Ok(false),
                Received::Closed => return Ok(true),
                Received::Frame(frame) => decode(frame).map_err(|error| broken(&error))?,
            };
            match (conversation.state, message) {
                (State::AwaitingHello, AnalyzerMessage::Hello { version }) => {
                    let (forwarded, shed) = self.forwarder.totals();
                    let counters = Counters { forwarded, shed, ..self.sensor.counters()? };
                    if version != PROTOCOL_VERSION {
                        return Err(SessionError::Protocol(format!(
                            "it speaks version {version}, this loader {PROTOCOL_VERSION}; install \
                             both from one package"
                        )));
                    }
                    conversation.state = State::Serving;
                    leave_out(&conversation.channel, &self.sensor)?;
                    self.forwarder.message(&LoaderMessage::Ready {
                        version: PROTOCOL_VERSION,
                        clock: wall_and_boot()?,
                        unattended_since: self.unattended_since,
                        counters,
                        about: self.about.clone(),
                    })?;
                }
                (State::Serving, AnalyzerMessage::Subscribe(subscription)) => {
                    conversation.canary_wanted =
                        subscription.reporting && subscription.kinds.has(kind::CANARY);
                    if subscription.reporting {
                        conversation.attends = true;
                        self.unattended_since = None;
                    }
                    self.subscribe(&subscription)?;
                }
                (State::Serving, AnalyzerMessage::TakeSnapshot) => {
                    if conversation.snapshot.is_some() {
                        conversation.snapshot_again = true;
                    } else {
                        let snapshot = self.sensor.snapshot()?;
                        conversation.snapshot =
                            Some(Begun { snapshot, at: wall_and_boot()?.boot_ns });
                    }
                }
                (State::Serving, AnalyzerMessage::Follow { processes }) => {
                    if processes.len() > MAX_FOLLOWED {
                        let what = format!("{} processes to follow at once", processes.len());
                        return Err(SessionError::Protocol(what));
                    }
                    processes.iter().try_for_each(|process| self.sensor.follow(*process))?;
                }
                (State::Serving, AnalyzerMessage::Stop) => {
                    conversation.state = State::Stopping;
                    self.sensor.fall_silent()?;
                }
                (
                    State::Serving | State::Stopping | State::Finishing,
                    AnalyzerMessage::Hello { .. },
                ) => {
                    return Err(SessionError::Protocol("a second hello".into()));
                }
                // Sent before it read that there is nothing more.
                (
                    State::Stopping | State::Finishing,
                    AnalyzerMessage::Subscribe(_)
                    | AnalyzerMessage::TakeSnapshot
                    | AnalyzerMessage::Follow { .. },
                ) => {}
                (
                    State::AwaitingHello,
                    AnalyzerMessage::Subscribe(_)
                    | AnalyzerMessage::TakeSnapshot
                    | AnalyzerMessage::Follow { .. }
                    | AnalyzerMessage::Stop,
                )
                | (State::Stopping | State::Finishing, AnalyzerMessage::Stop) => {
                    return Err(SessionError::Protocol("a message out of turn".into()));
                }
            }
        }
        Ok(false)
    }

    fn subscribe(&mut self, subscription: &Subscription) -> Result<(), SessionError> {
        if !subscription.kinds.is_sound() {
            let what = "it asks for kinds of events that do not exist".into();
            return Err(SessionError::Protocol(what));
        }
        self.sensor.subscribe(subscription)?;
        self.counted_until = clock::boot_ns()
            .map_err(|errno| SessionError::System("clock_gettime", errno.into()))?;
        let (hooks, limits) = (self.sensor.hooks(), self.sensor.limits(subscription));
        let number = subscription.number;
        let scope = &self.scope;
        Ok(self.forwarder.message(&LoaderMessage::Subscribed { number, hooks, limits, scope })?)
    }
}
