//! What is counted of a program each second.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use super::calls;

/// One thing that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Measure {
    /// A system call, by its native number.
    Call(u16),
    /// Processes that it made.
    Forks,
    /// Programs that were started in its processes' place or by their children at once.
    Programs,
    /// Addresses that it connected to or sent to, each counted once a second.
    Destinations,
    /// Files of secrets that it opened, each counted once a second.
    Secrets,
    /// Bytes that sendto(2), sendmsg(2) and sendfile(2) took.
    SentBytes,
    /// Bytes that write(2) and its kin took, for files and sockets alike.
    WrittenBytes,
    /// All its system calls.
    AllCalls,
}

impl Measure {
    /// The smallest departure that is worth a word, per second.
    pub fn least_change(self) -> f64 {
        match self {
            Self::Call(_) => 20.0,
            Self::AllCalls => 200.0,
            Self::Forks | Self::Programs => 5.0,
            Self::Destinations => 5.0,
            Self::Secrets => 3.0,
            Self::SentBytes | Self::WrittenBytes => 65_536.0,
        }
    }

    /// What it counts, in words.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Call(number) => return calls::name(number),
            Self::Forks => "new processes",
            Self::Programs => "started programs",
            Self::Destinations => "destinations",
            Self::Secrets => "opened secrets",
            Self::SentBytes => "bytes sent",
            Self::WrittenBytes => "bytes written",
            Self::AllCalls => "all system calls",
        })
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(&self.name())
    }
}
