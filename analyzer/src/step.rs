//! One thing that a process did on the way to an alert, kept small until somebody reads it.

use std::{fmt, net::SocketAddr, rc::Rc};

use crate::{event::ProcessId, process_table::Image};

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Made a socket.
    Socket,
    /// Connected it; the peer, for IPv4 and IPv6.
    Connect(Option<SocketAddr>),
    /// Accepted it; the peer, for IPv4 and IPv6.
    Accept(Option<SocketAddr>),
    /// Put it on another descriptor.
    Dup {
        /// Old number.
        from: u32,
        /// New number.
        to: u32,
    },
    /// Got it from another process.
    Received {
        /// The socket or pidfd that it came through.
        from: Option<u32>,
        /// New number.
        to: u32,
    },
    /// Started a program with the descriptor in place; how it got there was not seen.
    FoundAtExec(u32),
    /// Was found running with the descriptor in place.
    FoundRunning(u32),
    /// Made a pipe or socketpair.
    Pair,
    /// Started this program.
    Exec(Rc<Image>),
    /// Was found running this program.
    Running(Rc<Image>),
    /// Went on like this for so many ms.
    Held(u64),
    /// Waited and then ran a command, so many times.
    Turns(u32),
    /// Took a step of a rule.
    Seen {
        /// The event's name.
        event: &'static str,
        /// What is known of it; escaped.
        detail: String,
    },
}

/// Who did it and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// CLOCK_BOOTTIME, ns.
    pub timestamp: u64,
    /// The process.
    pub process: ProcessId,
    /// What.
    pub deed: Deed,
}

impl Deed {
    /// The event's name, stable for machines.
    pub fn event(&self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Connect(_) => "connect",
            Self::Accept(_) => "accept",
            Self::Dup { .. } => "dup",
            Self::Received { .. } => "receive",
            Self::FoundAtExec(_) => "inherit",
            Self::FoundRunning(_) => "found",
            Self::Pair => "pair",
            Self::Exec(_) => "exec",
            Self::Running(_) => "running",
            Self::Held(_) => "hold",
            Self::Turns(_) => "turn",
            Self::Seen { event, .. } => event,
        }
    }

    /// What it was done to, as far as that is the same when the same is done again: no numbers of
    /// descriptors, no times, no port that a client happens to have.
    pub fn object(&self) -> String {
        match self {
            Self::Connect(Some(peer)) => peer.to_string(),
            Self::Accept(Some(peer)) => peer.ip().to_string(),
            Self::Exec(image) | Self::Running(image) => {
                format!("{} {}", image.path, image.command_line.as_str())
            }
            Self::Seen { detail, .. } => detail.clone(),
            Self::Socket
            | Self::Connect(None)
            | Self::Accept(None)
            | Self::Dup { .. }
            | Self::Received { .. }
            | Self::FoundAtExec(_)
            | Self::FoundRunning(_)
            | Self::Pair
            | Self::Held(_)
            | Self::Turns(_) => String::new(),
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = |to: &mut fmt::Formatter<'_>, word: &str, peer: &Option<SocketAddr>| match peer {
            Some(peer) => write!(to, "{word} {peer}"),
            None => write!(to, "{word} a peer without an IP address"),
        };
        match self {
            Self::Socket => write!(to, "made a network socket"),
            Self::Connect(remote) => peer(to, "connected to", remote),
            Self::Accept(remote) => peer(to, "accepted a connection from", remote),
            Self::Dup { from, to: number } => {
                write!(to, "put descriptor {from} on {number}{}", stream(*number))
            }
            Self::Received { from, to: number } => {
                write!(
                    to,
                    "got it from another process on descriptor {number}{}",
                    stream(*number)
                )?;
                from.map_or(Ok(()), |from| write!(to, " through {from}"))
            }
            Self::FoundAtExec(number) => {
                write!(to, "had it on descriptor {number}{} at exec", stream(*number))
            }
            Self::FoundRunning(number) => {
                write!(to, "had it on descriptor {number}{} already", stream(*number))
            }
            Self::Pair => write!(to, "made a pair of descriptors"),
            Self::Exec(image) => {
                write!(to, "started {}: {}", image.path, image.command_line.as_str())
            }
            Self::Running(image) => {
                let line = image.command_line.as_str();
                write!(to, "was running {} already: {line}", image.path)
            }
            Self::Seen { detail, .. } => to.write_str(detail),
            Self::Turns(1) => write!(to, "waited for input and ran a command"),
            Self::Turns(turns) => {
                write!(to, "waited for input and ran a command, {turns} times")
            }
            Self::Held(ms) => write!(to, "kept its input and output there for {ms} ms"),
        }
    }
}

fn stream(number: u32) -> &'static str {
    match number {
        0 => " (input)",
        1 => " (output)",
        2 => " (errors)",
        _ => "",
    }
}
