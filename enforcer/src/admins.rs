//! The socket of `sentinel enforce`. Who may connect is decided by its mode and owner; a question is one
//! packet, and so is its answer.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use sentinel_ipc::{
    administration::{AdminQuestion, Ask, VERSION},
    channel::{Channel, Received},
    frame::decode,
};

use crate::{audit::Audit, doors::Door};

/// Connections at one time; the oldest makes room for a new one.
const MAX_CONNECTIONS: usize = 4;
/// How long somebody may stay without asking.
const PATIENCE: Duration = Duration::from_secs(5);

/// The listening end, and who has not asked yet.
pub struct Admins {
    /// The socket.
    pub door: Door,
    silent: Vec<(Channel, Instant)>,
}

impl Admins {
    /// Has administrators call at `door`.
    pub fn new(door: Door) -> Self {
        Self { door, silent: Vec::new() }
    }

    /// What was asked, and by whom; whoever asks nonsense, or nothing for a while, is let go.
    pub fn questions(&mut self, audit: &Audit) -> Vec<(Channel, Ask)> {
        let now = Instant::now();
        for _ in 0..MAX_CONNECTIONS {
            let Some(channel) = self.door.next(audit) else { break };
            if self.silent.len() >= MAX_CONNECTIONS {
                self.silent.remove(0);
            }
            self.silent.push((channel, now));
        }
        let mut asked = Vec::new();
        for (mut channel, since) in std::mem::take(&mut self.silent) {
            let question = match channel.receive() {
                Ok(Received::WouldBlock) if now - since < PATIENCE => {
                    self.silent.push((channel, since));
                    continue;
                }
                Ok(Received::Frame(frame)) => decode(frame),
                Ok(Received::WouldBlock | Received::Closed) | Err(_) => continue,
            };
            if let Ok(AdminQuestion { version: VERSION, ask }) = question {
                asked.push((channel, ask));
            }
        }
        asked
    }

    /// Everything to be polled.
    pub fn polled(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.door.polled().into_iter().chain(self.silent.iter().map(|(channel, _)| channel.as_fd()))
    }

    /// When to look again though nobody calls.
    pub fn next_deadline(&self) -> Option<Instant> {
        let patience = self.silent.iter().map(|(_, since)| *since + PATIENCE);
        patience.chain(self.door.shut_until()).min()
    }
}
