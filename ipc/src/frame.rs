//! The messages between processes: one postcard value a frame, one frame a packet.

use std::fmt;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub use crate::kind_set::KindSet;

/// Raised whenever a message or record changes; both ends must have the same.
pub const PROTOCOL_VERSION: u16 = 8;
/// Bytes of the reason in a kill request, at most; more are refused.
pub const MAX_REASON_BYTES: usize = 256;
/// Processes of a tree that are told and ended, at the most.
pub const MAX_TREE: usize = 2048;
/// Bytes of the longest frame; longer ones are refused unread.
pub const MAX_FRAME_BYTES: usize = 128 * 1024;
/// Processes in one message about who is to be followed, at most; more are refused.
pub const MAX_FOLLOWED: usize = 256;
/// Records in a batch, at most.
pub const MAX_BATCH_RECORDS: usize = 256;
/// Counts in a part of [`LoaderMessage::Calls`], beyond which it gets no further executable.
pub const MAX_COUNTS: usize = 8192;
/// Bytes of records in a batch, at most: leaves room for the rest of the frame.
pub const MAX_BATCH_BYTES: usize = MAX_FRAME_BYTES - 1024;

/// Analyzer → loader.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnalyzerMessage {
    /// The first message.
    Hello {
        /// [`PROTOCOL_VERSION`] of the analyzer.
        version: u16,
    },
    /// What is to be reported from now on, in place of what was; may come at any time.
    Subscribe(Subscription),
    /// Tell what is running.
    TakeSnapshot,
    /// Data of a secret can have come to these: tell each of their sends, as of who has read one.
    Follow {
        /// At most [`MAX_FOLLOWED`]; who is not the same any more, or out of scope, is left out.
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

/// What a kernel cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Limit {
    /// Which file a call about names changed (before 6.13).
    FilesOfPathCalls,
    /// What is done through an io_uring.
    IoUring,
    /// Completions of an io_uring that nobody is told of.
    SilentIoUring,
}

impl fmt::Display for Limit {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::FilesOfPathCalls => "files that are renamed or linked before anybody opened them",
            Self::IoUring => "files and connections opened through io_uring",
            Self::SilentIoUring => "io_uring requests without a completion",
        })
    }
}

/// Loader → analyzer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum LoaderMessage<'a> {
    /// Answer to [`AnalyzerMessage::Hello`].
    Ready {
        /// [`PROTOCOL_VERSION`] of the loader.
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
    /// Records of one ring, in its order.
    Events {
        /// Whole records of `kernel_abi`, one after the other.
        #[serde(with = "serde_bytes")]
        records: &'a [u8],
    },
    /// The rings were drained.
    Drained {
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

/// What a process says of itself after it has given up its privileges, for `sentinel status`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its process id.
    pub tgid: u32,
    /// Its user.
    pub uid: u32,
    /// Names of its effective capabilities.
    pub capabilities: Vec<String>,
    /// How far its sandbox goes, in words.
    pub sandbox: String,
    /// When it was confined; CLOCK_BOOTTIME, ns.
    pub since: u64,
}

/// Analyzer → enforcer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KillMessage<'a> {
    /// The first message.
    Hello {
        /// [`PROTOCOL_VERSION`] of the analyzer.
        version: u16,
    },
    /// End a process, or a tree of them.
    Kill {
        /// Rises with each request; the outcome carries it back.
        request: u64,
        /// Whom; of a tree the root, which may have ended.
        target: Target,
        /// Whether all that descends from it is meant too.
        tree: bool,
        /// Id of the rule that matched.
        rule: u64,
        /// CLOCK_BOOTTIME, ns, after which the analyzer no longer waits for the outcome.
        deadline: u64,
        /// For the audit, at most [`MAX_REASON_BYTES`].
        reason: &'a str,
    },
}

/// A process that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Thread group id.
    pub tgid: u32,
    /// Start of the group's leader, ns since boot.
    pub start_time: u64,
}

/// Enforcer → analyzer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutcomeMessage {
    /// Answer to [`KillMessage::Hello`].
    Ready {
        /// [`PROTOCOL_VERSION`] of the enforcer.
        version: u16,
        /// What it is going to do.
        mode: Mode,
        /// Itself.
        about: About,
    },
    /// It was switched on or off.
    Switched {
        /// What it is going to do from now on.
        mode: Mode,
    },
    /// What became of a request.
    Outcome {
        /// The request's number.
        request: u64,
        /// Its end.
        verdict: Verdict,
    },
}

/// Whether the enforcer kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Never: it was not asked to.
    Shadow,
    /// It does.
    Enforce,
    /// It was asked to, but the kill switch is set.
    SwitchedOff,
    /// It did, until more was asked for than its budget allows.
    Tripped,
}

/// What became of a kill request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// SIGKILL was sent to exactly the process that was meant; of a tree to everybody who was found.
    Terminated,
    /// The process was gone.
    AlreadyExited,
    /// Nothing was sent.
    Refused(Refusal),
    /// The system refused, with this errno.
    Failed(i32),
}

/// Why the enforcer did not kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It runs in shadow mode.
    Shadow,
    /// The kill switch is set.
    KillSwitch,
    /// Too many kills within a minute; it kills no more until an administrator switches it on again.
    Budget,
    /// Too many kills within a minute for one rule; for this one it kills no more until then.
    RuleBudget,
    /// Too many requests within a second.
    Rate,
    /// Its program or its unit is listed as never to be killed.
    Protected,
    /// The analyzer's deadline has passed.
    Expired,
    /// The request's number is not higher than the last one's.
    Repeated,
    /// Process 1.
    Init,
    /// One of Sentinel's own.
    Sentinel,
    /// A thread of the kernel.
    KernelThread,
    /// The sensor does not know the process: it is outside its scope, or gone.
    UnknownProcess,
    /// The pid belongs to a process that started at another time.
    OtherProcess,
    /// The process is outside the enforcer's scope.
    OutsideScope,
    /// The loader did not say who the process is.
    NoLoader,
}

impl Refusal {
    /// As it stands in alerts and audit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shadow => "shadow_mode",
            Self::KillSwitch => "kill_switch",
            Self::Budget => "budget",
            Self::RuleBudget => "rule_budget",
            Self::Rate => "rate",
            Self::Protected => "protected",
            Self::Expired => "expired",
            Self::Repeated => "repeated",
            Self::Init => "init",
            Self::Sentinel => "sentinel",
            Self::KernelThread => "kernel_thread",
            Self::UnknownProcess => "unknown_process",
            Self::OtherProcess => "other_process",
            Self::OutsideScope => "outside_scope",
            Self::NoLoader => "no_loader",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminated => write!(to, "terminated"),
            Self::AlreadyExited => write!(to, "already_exited"),
            Self::Refused(refusal) => write!(to, "kill_refused:{}", refusal.name()),
            Self::Failed(errno) => write!(to, "kill_failed:{:?}", Errno::from_raw(*errno)),
        }
    }
}

/// Enforcer → loader.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityQuestion {
    /// The first message.
    Hello {
        /// [`PROTOCOL_VERSION`] of the enforcer.
        version: u16,
        /// The enforcer's own process, which the sensor leaves out.
        tgid: u32,
    },
    /// Who is this process?
    WhoIs {
        /// Comes back with the answer.
        question: u64,
        /// Thread group id.
        tgid: u32,
    },
    /// What does this process run, and where?
    Describe {
        /// Comes back with the answer.
        question: u64,
        /// Thread group id.
        tgid: u32,
    },
    /// Who descends from this process?
    Tree {
        /// Comes back with the answer.
        question: u64,
        /// The root, which may have ended.
        root: Target,
        /// Real user id of whom it is; `None` for the oldest's.
        user: Option<u32>,
    },
}

/// Loader → enforcer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityAnswer {
    /// Answer to [`IdentityQuestion::Hello`].
    Ready {
        /// [`PROTOCOL_VERSION`] of the loader.
        version: u16,
        /// The loader's own process.
        tgid: u32,
    },
    /// Answer to [`IdentityQuestion::WhoIs`].
    Is {
        /// The question's number.
        question: u64,
        /// `None` if the kernel has noted nothing of such a process.
        identity: Option<Identity>,
    },
    /// Answer to [`IdentityQuestion::Describe`].
    Described {
        /// The question's number.
        question: u64,
        /// `None` if there is no such process in the scope.
        description: Option<Description>,
    },
    /// Answer to [`IdentityQuestion::Tree`].
    Members {
        /// The question's number.
        question: u64,
        /// Whose they are; `None` if there is nobody and it was not given.
        user: Option<u32>,
        /// The oldest first; [`MAX_TREE`] at the most.
        members: Vec<Member>,
    },
}

/// What the kernel says of a living process when it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Start of the group's leader, ns since boot.
    pub start_time: u64,
    /// Real user id.
    pub uid: u32,
    /// Path of its executable; of one that was replaced, the path that it had.
    pub path: Vec<u8>,
    /// Whether the path is whole and nobody but root could have put another file there ([`trust`](crate::kernel_abi::trust)).
    pub is_sound: bool,
    /// Whether its pid namespace is another one than the loader's: a container's.
    pub has_own_pids: bool,
    /// Path of its cgroup within the hierarchy. Of a long one the start, which ends with a slash; empty if it is
    /// not known.
    pub cgroup: Vec<u8>,
}

/// A process of a tree, in the scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    pub process: Target,
    /// Device, inode number and generation of its executable.
    pub executable: (u32, u64, u32),
    /// Cgroup v2 id.
    pub cgroup_id: u64,
}

/// What the kernel noted of a process at its last fork, exec or move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Start of the group's leader, ns since boot.
    pub start_time: u64,
    /// Cgroup v2 id.
    pub cgroup_id: u64,
    /// Device, inode number and generation of its executable; zeros before its first exec.
    pub executable: (u32, u64, u32),
    /// Real user id.
    pub uid: u32,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
    /// Whether it is in the sensor's scope at this moment.
    pub in_scope: bool,
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

/// Why a frame is no message.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The bytes are not a value of the type.
    Malformed(postcard::Error),
    /// So many bytes follow the value.
    Trailing(usize),
}

impl fmt::Display for FrameError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(to, "malformed frame: {error}"),
            Self::Trailing(bytes) => write!(to, "{bytes} bytes too many in a frame"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Replaces the contents of `frame` with `message`.
///
/// # Errors
/// When serde refuses the message, which none of these types makes it do.
pub fn encode(message: &impl Serialize, frame: &mut Vec<u8>) -> Result<(), FrameError> {
    frame.clear();
    let buffer = std::mem::take(frame);
    *frame = postcard::to_extend(message, buffer).map_err(FrameError::Malformed)?;
    Ok(())
}

/// Reads the one message that fills `frame`.
///
/// # Errors
/// When the bytes are no such message, or more than one.
pub fn decode<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> Result<T, FrameError> {
    let (message, rest) = postcard::take_from_bytes(frame).map_err(FrameError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(FrameError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel_abi::profile;

    #[test]
    fn messages_survive_the_way() {
        let mut frame = Vec::new();
        let clock = Clock { boot_ns: 7, wall_offset_ns: -3 };
        let message = LoaderMessage::Ready {
            version: 1,
            clock,
            unattended_since: Some(4),
            counters: Counters::default(),
            about: About::default(),
        };
        encode(&message, &mut frame).unwrap();
        assert_eq!(decode::<LoaderMessage<'_>>(&frame), Ok(message));
        let hooks = vec!["sys_exit", "b"];
        let (limits, scope) = (vec![Limit::IoUring], "all");
        let message = LoaderMessage::Subscribed { number: 1, hooks, limits, scope };
        encode(&message, &mut frame).unwrap();
        assert_eq!(decode::<LoaderMessage<'_>>(&frame), Ok(message));
        let message = LoaderMessage::Events { records: &[1, 2, 3] };
        encode(&message, &mut frame).unwrap();
        assert_eq!(decode::<LoaderMessage<'_>>(&frame), Ok(message));
    }

    #[test]
    fn a_full_batch_fits_in_a_frame() {
        let mut frame = Vec::new();
        let records = vec![0xff; MAX_BATCH_BYTES];
        let (is_last, is_cut) = (true, true);
        let message =
            LoaderMessage::Snapshot { begun: u64::MAX, records: &records, is_last, is_cut };
        encode(&message, &mut frame).unwrap();
        assert!(frame.len() <= MAX_FRAME_BYTES);
    }

    #[test]
    fn a_full_part_of_counts_fits_in_a_frame() {
        let calls = vec![(u16::MAX, u32::MAX); profile::CALLS];
        let row = ProfileCalls { executable: Some((u32::MAX, u64::MAX, u32::MAX)), calls };
        // One row short of full, and then a whole one; or as many rows as there are, of one count each.
        let few = ProfileCalls { calls: vec![(u16::MAX, u32::MAX)], ..row.clone() };
        let rows = MAX_COUNTS.div_ceil(profile::CALLS) + 1;
        let (until, since, is_last) = (u64::MAX, u64::MAX, true);
        for profiles in [vec![row; rows], vec![few; usize::try_from(profile::COUNT).unwrap()]] {
            let mut frame = Vec::new();
            let message = LoaderMessage::Calls { until, since, profiles, is_last };
            encode(&message, &mut frame).unwrap();
            assert!(frame.len() <= MAX_FRAME_BYTES, "{}", frame.len());
        }
    }

    #[test]
    fn what_follows_a_message_is_refused() {
        let mut frame = Vec::new();
        encode(&AnalyzerMessage::Stop, &mut frame).unwrap();
        frame.push(0);
        assert_eq!(decode::<AnalyzerMessage>(&frame), Err(FrameError::Trailing(1)));
    }

    #[test]
    fn an_unknown_tag_is_refused() {
        assert!(decode::<AnalyzerMessage>(&[9]).is_err());
        assert!(decode::<LoaderMessage<'_>>(&[9]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<AnalyzerMessage>(&bytes);
            let _ = decode::<LoaderMessage<'_>>(&bytes);
        }
    }
}
