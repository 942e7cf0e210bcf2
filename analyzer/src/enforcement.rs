//! The analyzer's side of enforcement: alerts wait here for the enforcer's word.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use sentinel_ipc::{
    channel::{Channel, Received, Sent},
    clock::boot_ns,
    frame::{
        About, KillMessage, MAX_REASON_BYTES, Mode, OutcomeMessage, PROTOCOL_VERSION, Target,
        decode, encode,
    },
};

use crate::alert::{ActionTaken, Alert};

/// Until when the enforcer may act on a request.
const TIME_TO_ACT: Duration = Duration::from_millis(200);
/// How long an alert waits for its outcome: longer, so that what was done in time is told.
const PATIENCE: Duration = Duration::from_millis(400);
/// Alerts that may wait at one time; those beyond are not enforced.
const MAX_WAITING: usize = 256;

/// The enforcer is of no more use, for this reason.
#[derive(Debug)]
pub struct EnforcerLost(pub String);

impl fmt::Display for EnforcerLost {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: nothing is killed any more", self.0)
    }
}

fn lost(error: impl ToString) -> EnforcerLost {
    EnforcerLost(error.to_string())
}

/// The connection to the enforcer and the alerts that wait for it.
pub struct Enforcement {
    channel: Option<Channel>,
    mode: Option<Mode>,
    about: Option<About>,
    next_request: u64,
    waiting: BTreeMap<u64, (Alert, Instant)>,
    frame: Vec<u8>,
}

impl Enforcement {
    /// Greets the enforcer behind `channel`.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn greet(channel: Channel) -> Result<Self, EnforcerLost> {
        let mut enforcement = Self {
            channel: Some(channel),
            mode: None,
            about: None,
            next_request: 0,
            waiting: BTreeMap::new(),
            frame: Vec::new(),
        };
        match enforcement.send(&KillMessage::Hello { version: PROTOCOL_VERSION })? {
            Sent::Done => Ok(enforcement),
            Sent::WouldBlock | Sent::Closed => Err(lost("the enforcer is gone")),
        }
    }

    /// The socket, to be polled; `None` once the enforcer is gone.
    pub fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    /// What the enforcer said it does; `None` until it did.
    pub fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// What the enforcer said of itself, while it is there.
    pub fn about(&self) -> Option<&About> {
        self.channel.as_ref().and(self.about.as_ref())
    }

    /// When the first alert has waited long enough.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|(_, deadline)| *deadline).min()
    }

    /// Asks for the end of the alert's process. The alert comes back from [`Self::outcomes`], or at
    /// once if nobody can be asked.
    ///
    /// # Errors
    /// The alert, with the reason in its action.
    pub fn request(&mut self, alert: Alert) -> Result<(), Box<Alert>> {
        let refuse = |mut alert: Alert, action| {
            alert.action = action;
            Err(Box::new(alert))
        };
        if self.waiting.len() >= MAX_WAITING {
            return refuse(alert, ActionTaken::NoAnswer);
        }
        self.next_request += 1;
        let request = self.next_request;
        let time_to_act = u64::try_from(TIME_TO_ACT.as_nanos()).unwrap_or(u64::MAX);
        let message = KillMessage::Kill {
            request,
            target: Target { tgid: alert.pid, start_time: alert.start_time },
            rule: alert.pattern_id,
            // Without a clock the deadline has passed, and the enforcer refuses.
            deadline: boot_ns().unwrap_or(0).saturating_add(time_to_act),
            reason: cut(&alert.message, MAX_REASON_BYTES),
        };
        match self.send(&message) {
            Ok(Sent::Done) => {
                self.waiting.insert(request, (alert, Instant::now() + PATIENCE));
                Ok(())
            }
            Ok(Sent::WouldBlock) => refuse(alert, ActionTaken::NoAnswer),
            Ok(Sent::Closed) | Err(_) => refuse(alert, ActionTaken::NoEnforcer),
        }
    }

    /// Takes the alerts whose outcome is known, or that have waited long enough; and tells, once,
    /// that the enforcer is lost.
    pub fn outcomes(&mut self) -> (Vec<Alert>, Option<EnforcerLost>) {
        let mut done = Vec::new();
        let lost = self.hear(&mut done).err();
        if lost.is_some() {
            self.channel = None;
        }
        let now = Instant::now();
        let gone = self.channel.is_none();
        let action = if gone { ActionTaken::NoEnforcer } else { ActionTaken::NoAnswer };
        let given_up = self.waiting.extract_if(.., |_, (_, deadline)| gone || *deadline <= now);
        done.extend(given_up.map(|(_, (alert, _))| Alert { action, ..alert }));
        (done, lost)
    }

    /// Takes all messages that are there.
    fn hear(&mut self, done: &mut Vec<Alert>) -> Result<(), EnforcerLost> {
        while let Some(message) = self.receive()? {
            match (self.mode, message) {
                (None, OutcomeMessage::Ready { version: PROTOCOL_VERSION, mode, about }) => {
                    self.mode = Some(mode);
                    self.about = Some(about);
                }
                (Some(_), OutcomeMessage::Switched { mode }) => self.mode = Some(mode),
                (Some(_), OutcomeMessage::Outcome { request, verdict }) => {
                    // One that came too late finds no alert.
                    if let Some((mut alert, _)) = self.waiting.remove(&request) {
                        alert.action = ActionTaken::Decided(verdict);
                        done.push(alert);
                    }
                }
                (None | Some(_), OutcomeMessage::Ready { .. })
                | (None, OutcomeMessage::Outcome { .. } | OutcomeMessage::Switched { .. }) => {
                    return Err(lost("the enforcer broke the protocol"));
                }
            }
        }
        Ok(())
    }

    /// Gives up on all alerts that still wait.
    pub fn give_up(&mut self) -> Vec<Alert> {
        let waiting = std::mem::take(&mut self.waiting).into_values();
        waiting.map(|(alert, _)| Alert { action: ActionTaken::NoAnswer, ..alert }).collect()
    }

    fn send(&mut self, message: &KillMessage<'_>) -> Result<Sent, EnforcerLost> {
        encode(message, &mut self.frame).map_err(lost)?;
        match &self.channel {
            Some(channel) => channel.send(&self.frame).map_err(lost),
            None => Ok(Sent::Closed),
        }
    }

    fn receive(&mut self) -> Result<Option<OutcomeMessage>, EnforcerLost> {
        let Some(channel) = &mut self.channel else { return Ok(None) };
        match channel.receive().map_err(lost)? {
            Received::Frame(frame) => decode(frame).map(Some).map_err(lost),
            Received::WouldBlock => Ok(None),
            Received::Closed => Err(lost("the enforcer is gone")),
        }
    }
}

/// The start of `text`, at most `bytes` long.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::frame::Verdict;

    use super::*;
    use crate::analysis::Analysis;

    #[test]
    fn what_the_enforcer_said_before_it_was_lost_is_told() {
        let (ours, theirs) = Channel::pair().unwrap();
        let enforcer = Channel::new(theirs).unwrap();
        let mut enforcement = Enforcement::greet(ours).unwrap();
        let alert = Analysis::new(false).breaker_tripped(1);
        enforcement.request(alert.clone()).unwrap();
        enforcement.request(alert).unwrap();
        let verdict = Verdict::Terminated;
        for message in [
            OutcomeMessage::Ready {
                version: PROTOCOL_VERSION,
                mode: Mode::Enforce,
                about: About::default(),
            },
            OutcomeMessage::Outcome { request: 1, verdict },
        ] {
            let mut frame = Vec::new();
            encode(&message, &mut frame).unwrap();
            assert_eq!(enforcer.send(&frame).unwrap(), Sent::Done);
        }
        drop(enforcer);
        let (alerts, lost) = enforcement.outcomes();
        let actions: Vec<ActionTaken> = alerts.iter().map(|alert| alert.action).collect();
        assert_eq!(actions, [ActionTaken::Decided(verdict), ActionTaken::NoEnforcer]);
        assert!(lost.is_some());
        let (alerts, lost) = enforcement.outcomes();
        assert!(alerts.is_empty() && lost.is_none());
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(cut("größe", 3), "gr");
        assert_eq!(cut("größe", 4), "grö");
        assert_eq!(cut("short", 256), "short");
    }
}
