//! The conversation with one analyzer: what it may say when, and what it is told.

use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::PollFlags;
use sentinel_ipc::{
    channel::{Channel, Received, Sent},
    frame::{
        About, KillMessage, MAX_REASON_BYTES, Mode, OutcomeMessage, PROTOCOL_VERSION, Target,
        Verdict, decode, encode,
    },
};

/// What the analyzer may say next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitingHello,
    Serving,
}

/// One kill request.
#[derive(Debug)]
pub struct Request {
    /// Its number.
    pub number: u64,
    /// Whom; of a tree the root.
    pub target: Target,
    /// Whether all that descends from it is meant too.
    pub is_tree: bool,
    /// The rule that matched.
    pub rule: u64,
    /// CLOCK_BOOTTIME, ns, after which nobody waits for it any more.
    pub deadline: u64,
    /// For the audit.
    pub reason: String,
}

/// What a look at the conversation found.
#[derive(Debug)]
pub enum Heard {
    /// Nothing for now.
    Nothing,
    /// The analyzer introduced itself, and is to be answered.
    Hello,
    /// It wants somebody killed.
    Request(Request),
    /// It is gone.
    Closed,
}

/// What the analyzer did against the protocol.
#[derive(Debug)]
pub struct Breach(pub String);

fn breach(error: impl ToString) -> Breach {
    Breach(error.to_string())
}

/// The analyzer's connection.
pub struct Conversation {
    channel: Channel,
    state: State,
    /// The mode that the analyzer knows of.
    told: Mode,
}

impl Conversation {
    /// Waits for the hello of the analyzer behind `channel`.
    pub fn new(channel: Channel) -> Self {
        Self { channel, state: State::AwaitingHello, told: Mode::Shadow }
    }

    /// The analyzer's process, once it has said something.
    pub fn tgid(&self) -> Option<u32> {
        u32::try_from(self.channel.peer().ok()??.pid()).ok()
    }

    /// The next message.
    ///
    /// # Errors
    /// When it breaks the protocol; the conversation is over then.
    pub fn hear(&mut self) -> Result<Heard, Breach> {
        let message = match self.channel.receive().map_err(breach)? {
            Received::WouldBlock => return Ok(Heard::Nothing),
            Received::Closed => return Ok(Heard::Closed),
            Received::Frame(frame) => decode(frame).map_err(breach)?,
        };
        match (self.state, message) {
            (State::AwaitingHello, KillMessage::Hello { version: PROTOCOL_VERSION }) => {
                Ok(Heard::Hello)
            }
            (State::AwaitingHello, KillMessage::Hello { version }) => Err(breach(format!(
                "it speaks version {version}, this enforcer {PROTOCOL_VERSION}; install both from \
                 one package"
            ))),
            (
                State::Serving,
                KillMessage::Kill { request, target, tree: is_tree, rule, deadline, reason },
            ) => {
                if reason.len() > MAX_REASON_BYTES {
                    return Err(breach(format!("a reason of {} bytes", reason.len())));
                }
                let (number, reason) = (request, reason.to_owned());
                Ok(Heard::Request(Request { number, target, is_tree, rule, deadline, reason }))
            }
            (State::Serving, KillMessage::Hello { .. }) => Err(breach("a second hello")),
            (State::AwaitingHello, KillMessage::Kill { .. }) => {
                Err(breach("a request before hello"))
            }
        }
    }

    /// Answers the hello.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn greet(&mut self, mode: Mode, about: &About) -> Result<Sent, Breach> {
        (self.state, self.told) = (State::Serving, mode);
        self.send(&OutcomeMessage::Ready { version: PROTOCOL_VERSION, mode, about: about.clone() })
    }

    /// Tells what became of a request.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn outcome(&self, request: u64, verdict: Verdict) -> Result<Sent, Breach> {
        self.send(&OutcomeMessage::Outcome { request, verdict })
    }

    /// Tells that the mode is `mode` now, unless it is known; again later if there is no room for it.
    ///
    /// # Errors
    /// When nothing can be sent.
    pub fn tell(&mut self, mode: Mode) -> Result<(), Breach> {
        if self.is_to_be_told(mode) && self.send(&OutcomeMessage::Switched { mode })? == Sent::Done
        {
            self.told = mode;
        }
        Ok(())
    }

    /// What to poll, and for what.
    pub fn polled(&self, mode: Mode) -> (BorrowedFd<'_>, PollFlags) {
        let room = if self.is_to_be_told(mode) { PollFlags::POLLOUT } else { PollFlags::empty() };
        (self.channel.as_fd(), PollFlags::POLLIN | room)
    }

    fn is_to_be_told(&self, mode: Mode) -> bool {
        self.state == State::Serving && self.told != mode
    }

    fn send(&self, message: &OutcomeMessage) -> Result<Sent, Breach> {
        let mut frame = Vec::new();
        encode(message, &mut frame).map_err(breach)?;
        self.channel.send(&frame).map_err(breach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(other: &mut Channel) -> Option<OutcomeMessage> {
        match other.receive().unwrap() {
            Received::Frame(frame) => Some(decode(frame).unwrap()),
            Received::WouldBlock | Received::Closed => None,
        }
    }

    #[test]
    fn a_mode_is_told_to_who_said_hello_and_once() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut analyzer = Channel::new(theirs).unwrap();
        let mut conversation = Conversation::new(ours);
        conversation.tell(Mode::Enforce).unwrap();
        assert_eq!(said(&mut analyzer), None);
        let mut hello = Vec::new();
        encode(&KillMessage::Hello { version: PROTOCOL_VERSION }, &mut hello).unwrap();
        assert_eq!(analyzer.send(&hello).unwrap(), Sent::Done);
        assert!(matches!(conversation.hear(), Ok(Heard::Hello)));
        assert_eq!(conversation.tgid(), Some(std::process::id()));
        assert_eq!(conversation.greet(Mode::Enforce, &About::default()).unwrap(), Sent::Done);
        assert!(matches!(said(&mut analyzer), Some(OutcomeMessage::Ready { .. })));
        conversation.tell(Mode::Enforce).unwrap();
        assert_eq!(said(&mut analyzer), None);
        conversation.tell(Mode::SwitchedOff).unwrap();
        let switched = OutcomeMessage::Switched { mode: Mode::SwitchedOff };
        assert_eq!(said(&mut analyzer), Some(switched));
        assert_eq!(said(&mut analyzer), None);
    }

    #[test]
    fn a_mode_for_which_there_is_no_room_is_told_later() {
        let (ours, theirs) = Channel::pair().unwrap();
        let mut analyzer = Channel::new(theirs).unwrap();
        let mut conversation = Conversation::new(ours);
        let _ready = conversation.greet(Mode::Enforce, &About::default()).unwrap();
        let mut waiting = 1;
        while conversation.outcome(1, Verdict::Terminated).unwrap() == Sent::Done {
            waiting += 1;
        }
        conversation.tell(Mode::SwitchedOff).unwrap();
        assert!(conversation.polled(Mode::SwitchedOff).1.contains(PollFlags::POLLOUT));
        (0..waiting).for_each(|_| assert!(said(&mut analyzer).is_some()));
        conversation.tell(Mode::SwitchedOff).unwrap();
        let switched = OutcomeMessage::Switched { mode: Mode::SwitchedOff };
        assert_eq!(said(&mut analyzer), Some(switched));
        assert!(!conversation.polled(Mode::SwitchedOff).1.contains(PollFlags::POLLOUT));
    }
}
