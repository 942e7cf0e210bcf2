//! Analyzer and loader: what is wanted, and what the kernel tells.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{About, KindSet, Target};

/// Analyzer → loader.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnalyzerMessage {
    /// The first message.
    Hello {
        /// [`super::PROTOCOL_VERSION`] of the analyzer.
        version: u16,
    },
    /// What is to be reported from now on, in place of what was; may come at any time.
    Subscribe(Subscription),
    /// Tell what is running.
    TakeSnapshot,
    /// Data of a secret can have come to these: tell each of their sends, as of who has read one.
    Follow {
        /// At most [`super::MAX_FOLLOWED`]; who is not the same any more, or out of scope, is left out.
        processes: Vec<Target>,
    },
    /// Detach, send what is left, and end with [`LoaderMessage::Finished`].
    Stop,
}

/// What the analyzer wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Comes back with the answer.
    pub number: u32,
    /// Whether anything is to be reported at all.
    pub reporting: bool,
    /// Kinds of events, beside fork, exec and exit.
    pub kinds: KindSet,
    /// Classes of files whose opening is told ([`crate::file_class::bit`]).
    pub classes: u32,
    /// Processes, of those in the operator's scope.
    pub selection: Selection,
    /// Whether system calls are to be counted.
    pub counts: bool,
}

impl Subscription {
    /// To these kinds, from all processes in the scope and about files of all classes.
    pub const fn to(kinds: KindSet) -> Self {
        Self {
            number: 0,
            reporting: true,
            kinds,
            classes: u32::MAX,
            selection: Selection::All,
            counts: false,
        }
    }
}

/// A part of the scope that the operator gave the loader, which nothing widens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selection {
    /// All of it.
    All,
    /// The subtree of the cgroup with this v2 id.
    Cgroup(u64),
    /// This process and what descends from it.
    Tree(u32),
}

/// What a kernel, or its loader, cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Limit {
    /// Which file a call about names changed (before 6.13).
    FilesOfPathCalls,
    /// What is done through an io_uring.
    IoUring,
    /// Completions of an io_uring that nobody is told of.
    SilentIoUring,
    /// How often which calls are made: the loader was not told to count them.
    CallCounts,
}

impl fmt::Display for Limit {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::FilesOfPathCalls => "files that are renamed or linked before anybody opened them",
            Self::IoUring => "files and connections opened through io_uring",
            Self::SilentIoUring => "io_uring requests without a completion",
            Self::CallCounts => "how often programs make which system calls",
        })
    }
}

/// Loader → analyzer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum LoaderMessage<'a> {
    /// Answer to [`AnalyzerMessage::Hello`].
    Ready {
        /// [`super::PROTOCOL_VERSION`] of the loader.
        version: u16,
        /// Clocks at this moment.
        clock: Clock,
        /// When the loader began to wait for this analyzer after it had another one;
        /// CLOCK_BOOTTIME, ns.
        unattended_since: Option<u64>,
        /// Totals by then, of which this analyzer has seen nothing.
        counters: Counters,
        /// Itself.
        about: About,
    },
    /// Answer to [`AnalyzerMessage::Subscribe`].
    Subscribed {
        /// The subscription's number.
        number: u32,
        /// Names of the tracepoints that are attached.
        #[serde(borrow)]
        hooks: Vec<&'a str>,
        /// What this kernel cannot tell of what is wanted.
        limits: Vec<Limit>,
        /// What is watched at the most, in words.
        scope: &'a str,
    },
    /// A part of what a round took, with more to come.
    Events {
        /// Whole records of `kernel_abi`, one after the other, those of each ring in its order.
        #[serde(with = "serde_bytes")]
        records: &'a [u8],
    },
    /// The rings were drained.
    Drained {
        /// The last part of what the round took, likewise.
        #[serde(with = "serde_bytes")]
        records: &'a [u8],
        /// What was emitted before has been sent; CLOCK_BOOTTIME, ns.
        until: u64,
        /// When the round ended; CLOCK_BOOTTIME, ns.
        now: u64,
        /// Records that each ring had lost by `now`, in total.
        dropped: [u64; 2],
    },
    /// A part of what is running, as records.
    Snapshot {
        /// When the snapshot was begun; CLOCK_BOOTTIME, ns.
        begun: u64,
        /// Whole records of `kernel_abi`, one after the other.
        #[serde(with = "serde_bytes")]
        records: &'a [u8],
        /// Whether this was the last part.
        is_last: bool,
        /// Whether it holds less than it should: there was more than fits into its bounds.
        is_cut: bool,
    },
    /// Sent at least twice a second, after the rings were drained, so that the analyzer's time goes
    /// on without events.
    Heartbeat {
        /// Clocks at this moment. Records that were emitted before it have been sent.
        clock: Clock,
        /// Totals since the start.
        counters: Counters,
        /// Canaries ([`crate::kernel_abi::kind::CANARY`]) that have been made for this analyzer.
        canaries: u64,
    },
    /// The last message.
    Finished {
        /// Totals since the start.
        counters: Counters,
    },
    /// Sent once a second while system calls are counted, in parts.
    Calls {
        /// When they were read; CLOCK_BOOTTIME, ns.
        until: u64,
        /// When they were read before that, or counting began; likewise.
        since: u64,
        /// By executable; those that made none are left out.
        profiles: Vec<ProfileCalls>,
        /// Whether this was the last part.
        is_last: bool,
    },
}

/// System calls of all processes that run one executable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileCalls {
    /// Device, inode and generation of the executable; `None` for all those together for which there
    /// was no room.
    pub executable: Option<(u32, u64, u32)>,
    /// How many by native number, ascending; those of other ABIs are
    /// [`crate::kernel_abi::profile::OTHER_CALLS`], and bytes have their places there as well. A call counts when it has returned, and that which
    /// starts a program to the program before.
    pub calls: Vec<(u16, u32)>,
}

/// Two clocks read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// CLOCK_BOOTTIME, ns.
    pub boot_ns: u64,
    /// CLOCK_REALTIME − CLOCK_BOOTTIME, ns.
    pub wall_offset_ns: i64,
}

/// What became of the events, as totals since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Times a program in the kernel ran.
    pub seen: u64,
    /// Of those, how often the event was wanted.
    pub passed: u64,
    /// Records put into each ring, as [`crate::kernel_abi::ring`] numbers them.
    pub emitted: [u64; 2],
    /// Records lost because that ring was full.
    pub dropped: [u64; 2],
    /// Calls of which something was not told; see `SensorCounters`.
    pub unreadable: u64,
    /// Times that traffic was not added up, because there were too many descriptors.
    pub untracked: u64,
    /// Records sent to an analyzer.
    pub forwarded: u64,
    /// Records thrown away because the analyzer that they were for was gone.
    pub shed: u64,
}

impl Counters {
    /// What came after `before`.
    pub fn since(&self, before: &Self) -> Self {
        let pair = |one: [u64; 2], other: [u64; 2]| {
            let ([a, b], [c, d]) = (one, other);
            [a.saturating_sub(c), b.saturating_sub(d)]
        };
        Self {
            seen: self.seen.saturating_sub(before.seen),
            passed: self.passed.saturating_sub(before.passed),
            emitted: pair(self.emitted, before.emitted),
            dropped: pair(self.dropped, before.dropped),
            unreadable: self.unreadable.saturating_sub(before.unreadable),
            untracked: self.untracked.saturating_sub(before.untracked),
            forwarded: self.forwarded.saturating_sub(before.forwarded),
            shed: self.shed.saturating_sub(before.shed),
        }
    }
}
