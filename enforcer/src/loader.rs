//! Asks the loader who a process is, what it runs, and who descends from it.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sentinel_ipc::{
    channel::{Channel, Received, Sent},
    frame::{
        Description, Identity, IdentityAnswer, IdentityQuestion, Member, PROTOCOL_VERSION, Target,
        decode, encode,
    },
};

/// How long an answer may take. Before Linux 6.1 the loader's look at one process passes all threads of the host: 27 ms
/// where there are 20,000 of them and two busy CPUs, 68 ms at the most of thirty.
const PATIENCE: Duration = Duration::from_millis(450);
/// The same of a tree, while what grows there takes the CPUs.
const TREE_PATIENCE: Duration = Duration::from_secs(1);

/// The connection to the loader.
pub struct Loader {
    channel: Channel,
    ready: bool,
    next_question: u64,
}

/// Why the loader cannot be asked.
#[derive(Debug)]
pub enum NoAnswer {
    /// It has ended.
    Gone,
    /// Anything else.
    Because(String),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => write!(to, "the loader is gone"),
            Self::Because(reason) => write!(to, "{reason}"),
        }
    }
}

fn no_answer(error: impl ToString) -> NoAnswer {
    NoAnswer::Because(error.to_string())
}

impl Loader {
    /// Says hello on `channel`.
    ///
    /// # Errors
    /// When the loader is gone.
    pub fn greet(channel: Channel) -> Result<Self, NoAnswer> {
        let loader = Self { channel, ready: false, next_question: 0 };
        loader.send(&IdentityQuestion::Hello {
            version: PROTOCOL_VERSION,
            tgid: std::process::id(),
        })?;
        Ok(loader)
    }

    /// The socket, to be polled.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Takes what the loader said unasked: its greeting, once. Returns its process id.
    ///
    /// # Errors
    /// When it says something else or is gone.
    pub fn greeting(&mut self) -> Result<Option<u32>, NoAnswer> {
        let Some(answer) = self.receive()? else { return Ok(None) };
        match (self.ready, answer) {
            (false, IdentityAnswer::Ready { version: PROTOCOL_VERSION, tgid }) => {
                self.ready = true;
                Ok(Some(tgid))
            }
            (false, IdentityAnswer::Ready { version, .. }) => Err(no_answer(format!(
                "the loader speaks version {version}, this enforcer {PROTOCOL_VERSION}"
            ))),
            // An answer that came too late.
            (
                true,
                IdentityAnswer::Is { .. }
                | IdentityAnswer::Described { .. }
                | IdentityAnswer::Members { .. },
            ) => Ok(None),
            (true, IdentityAnswer::Ready { .. })
            | (
                false,
                IdentityAnswer::Is { .. }
                | IdentityAnswer::Described { .. }
                | IdentityAnswer::Members { .. },
            ) => Err(no_answer("the loader spoke out of turn")),
        }
    }

    /// Who the process with the number `tgid` is, what it runs at this moment, and where.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn who_is(
        &mut self,
        tgid: u32,
    ) -> Result<(Option<Identity>, Option<Description>), NoAnswer> {
        let question = self.number();
        self.ask(&IdentityQuestion::WhoIs { question, tgid }, PATIENCE, |answer| match answer {
            IdentityAnswer::Is { question: answered, identity, description }
                if answered == question =>
            {
                Some((identity, description))
            }
            _ => None,
        })
    }

    /// What that process runs at this moment, and where.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn describe(&mut self, tgid: u32) -> Result<Option<Description>, NoAnswer> {
        let question = self.number();
        self.ask(&IdentityQuestion::Describe { question, tgid }, PATIENCE, |answer| match answer {
            IdentityAnswer::Described { question: answered, description }
                if answered == question =>
            {
                Some(description)
            }
            _ => None,
        })
    }

    /// Who of the real user `user` descends from `root`, and itself. `user` is found out at first.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub fn tree(&mut self, root: Target, user: &mut Option<u32>) -> Result<Vec<Member>, NoAnswer> {
        let question = self.number();
        let asked = IdentityQuestion::Tree { question, root, user: *user };
        let (whose, members) = self.ask(&asked, TREE_PATIENCE, |answer| match answer {
            IdentityAnswer::Members { question: answered, user, members }
                if answered == question =>
            {
                Some((user, members))
            }
            _ => None,
        })?;
        *user = whose;
        Ok(members)
    }

    fn number(&mut self) -> u64 {
        self.next_question += 1;
        self.next_question
    }

    /// What `pick` takes of an answer; others are to questions that nobody waits for any more.
    fn ask<T>(
        &mut self,
        question: &IdentityQuestion,
        patience: Duration,
        pick: impl Fn(IdentityAnswer) -> Option<T>,
    ) -> Result<T, NoAnswer> {
        if !self.ready {
            return Err(no_answer("the loader is not ready"));
        }
        self.send(question)?;
        let limit = Instant::now() + patience;
        loop {
            match self.receive()? {
                Some(IdentityAnswer::Ready { .. }) => {
                    return Err(no_answer("the loader spoke out of turn"));
                }
                Some(answer) => match pick(answer) {
                    Some(answer) => return Ok(answer),
                    None => continue,
                },
                None => {}
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(no_answer("the loader does not answer"));
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
            // Interrupted or not: the clock decides.
            let _woken = poll(&mut fds, timeout);
        }
    }

    fn send(&self, question: &IdentityQuestion) -> Result<(), NoAnswer> {
        let mut frame = Vec::new();
        encode(question, &mut frame).map_err(no_answer)?;
        match self.channel.send(&frame).map_err(no_answer)? {
            Sent::Done => Ok(()),
            Sent::WouldBlock => Err(no_answer("the loader does not read")),
            Sent::Closed => Err(NoAnswer::Gone),
        }
    }

    fn receive(&mut self) -> Result<Option<IdentityAnswer>, NoAnswer> {
        match self.channel.receive().map_err(no_answer)? {
            Received::Frame(frame) => decode(frame).map(Some).map_err(no_answer),
            Received::WouldBlock => Ok(None),
            Received::Closed => Err(NoAnswer::Gone),
        }
    }
}
