//! Who watches while work is done, in turns.

use std::io;

use sentinel_tests::{bed::Bed, sentinel::Sentinel};

use crate::{empty::Empty, per_call::PerCall};

/// Who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watcher {
    /// Nobody.
    Nobody,
    /// An empty program at `sys_exit`.
    Empty,
    /// An empty program at each call that is wanted, and at no other.
    PerCall,
    /// Patterns and correlation.
    Sentinel,
    /// And baselines.
    WithBaselines,
}

/// One that watches, until it is dropped.
pub enum Watch {
    /// None.
    Nobody,
    /// Until it is dropped.
    Empty { _attached: Empty },
    /// Until it is dropped.
    PerCall { _attached: PerCall },
    /// Until it is stopped.
    Sentinel(Box<Sentinel>),
}

impl Watcher {
    /// All of them, the limits first.
    pub const ALL: [Self; 5] =
        [Self::Nobody, Self::Empty, Self::PerCall, Self::Sentinel, Self::WithBaselines];

    /// As a column is headed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Empty => "empty",
            Self::PerCall => "empty, by call",
            Self::Sentinel => "sentinel",
            Self::WithBaselines => "+ baseline",
        }
    }

    /// Begins to watch who is in the bed's cgroup.
    pub fn begin(self, bed: &Bed) -> io::Result<Watch> {
        let run = |engines: &[&str]| Watch::Sentinel(Box::new(Sentinel::start(bed, engines)));
        Ok(match self {
            Self::Nobody => Watch::Nobody,
            Self::Empty => Watch::Empty { _attached: Empty::attach()? },
            Self::PerCall => Watch::PerCall { _attached: PerCall::attach()? },
            Self::Sentinel => run(&[]),
            Self::WithBaselines => {
                run(&["--enable-grimoire", "--enable-correlation", "--enable-baseline"])
            }
        })
    }
}

impl Watch {
    /// Ends it.
    pub fn end(self) {
        if let Self::Sentinel(sentinel) = self {
            let outcome = sentinel.stop();
            assert!(outcome.status.success(), "{}", outcome.errors);
        }
    }
}
