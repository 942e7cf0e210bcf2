//! Analyzer and enforcer: who is to end, and what became of that.

use std::fmt;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{About, Target};

/// Analyzer → enforcer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KillMessage<'a> {
    /// The first message.
    Hello {
        /// [`super::PROTOCOL_VERSION`] of the analyzer.
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
        /// For the audit, at most [`super::MAX_REASON_BYTES`].
        reason: &'a str,
    },
}

/// Enforcer → analyzer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutcomeMessage {
    /// Answer to [`KillMessage::Hello`].
    Ready {
        /// [`super::PROTOCOL_VERSION`] of the enforcer.
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
