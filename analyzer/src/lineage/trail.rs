//! The way of data from process to process, for people to read.

use std::{fmt, rc::Rc};

use crate::event::ProcessId;

/// Hops that are remembered; of a longer way the first and the last ones.
const MAX_HOPS: u32 = 16;

/// Through what data came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Through {
    /// The process was forked from who had it.
    Fork,
    /// A pipe or a fifo.
    Pipe,
    /// A socketpair, or a unix socket whose ends are both known.
    Socket,
    /// A connection over loopback.
    Loopback,
    /// A pipe that it made, which nobody else can read.
    Output,
    /// Memory that is shared as a file.
    Memory,
    /// A file; its escaped path, where it is known.
    File(Option<Rc<str>>),
    /// One has read the other's memory, or written to it.
    Tracing,
}

impl fmt::Display for Through {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Fork => "at its fork",
            Self::Pipe => "through a pipe",
            Self::Socket => "through a socket",
            Self::Loopback => "over loopback",
            Self::Output => "as the output of a command",
            Self::Memory => "through shared memory",
            Self::File(Some(path)) => return write!(to, "through the file {path}"),
            Self::File(None) => "through a file",
            Self::Tracing => "from its memory",
        })
    }
}

/// A process that data came to, and how it came there.
#[derive(Debug, Clone)]
pub struct Trail(Rc<Stop>);

#[derive(Debug)]
struct Stop {
    process: ProcessId,
    since: u64,
    hops: u32,
    from: Option<(Through, Trail)>,
}

impl Trail {
    /// The beginning of a way.
    pub(super) fn new(process: ProcessId, since: u64) -> Self {
        Self(Rc::new(Stop { process, since, hops: 0, from: None }))
    }

    /// One hop further.
    pub(super) fn on(&self, through: Through, process: ProcessId, since: u64) -> Self {
        // Hops in the middle of a long way are left out.
        let mut before = self;
        if self.0.hops >= MAX_HOPS
            && let Some((_, earlier)) = &self.0.from
        {
            before = earlier;
        }
        let hops = before.0.hops + 1;
        Self(Rc::new(Stop { process, since, hops, from: Some((through, before.clone())) }))
    }

    /// When it can have been there first; CLOCK_BOOTTIME, ns.
    pub fn since(&self) -> u64 {
        self.0.since
    }

    /// Whether it has not gone anywhere: who has it, read it.
    pub fn is_own(&self) -> bool {
        self.0.from.is_none()
    }

    /// Process, time and way of each hop, from the source's first reader on.
    pub fn hops(&self) -> Vec<(ProcessId, u64, Through, ProcessId)> {
        let mut hops = Vec::new();
        let mut stop = self;
        while let Some((through, before)) = &stop.0.from {
            hops.push((before.0.process, stop.0.since, through.clone(), stop.0.process));
            stop = before;
        }
        hops.reverse();
        hops
    }
}
