//! A rule as the engine uses it: typed, and whole.

use super::{
    fields::Seen,
    kinds::{Kinds, Only},
};
use crate::alert::Severity;

mod allow;
mod condition;
mod relation;

pub use allow::Allowed;
use condition::all_hold;
pub use condition::{Comparison, Condition, Network, Test, TextTest};
pub use relation::{Binding, Bound, Common, Relation};

/// connect(2): under way, EINPROGRESS of include/uapi/asm-generic/errno.h.
const EINPROGRESS: u32 = 115;

/// A rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable name.
    pub name: String,
    /// How bad.
    pub severity: Severity,
    /// MITRE ATT&CK technique.
    pub mitre: String,
    /// What it means, in a sentence.
    pub description: String,
    /// When it is wrong.
    pub false_positives: String,
    /// Where to read more.
    pub references: Vec<String>,
    /// From the first step's event to the last one's, ns.
    pub window: u64,
    /// In order; never empty.
    pub steps: Vec<Step>,
    /// Whose events are no steps of it.
    pub allow: Vec<Allowed>,
}

/// A step of a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// What others call it.
    pub name: Option<String>,
    /// Which events.
    pub event: Description,
    /// Who, seen from the step before.
    pub relation: Relation,
    /// What it has in common with earlier steps.
    pub bindings: Vec<Binding>,
    /// Since the step before at the most, ns.
    pub within: Option<u64>,
    /// Events of the process since the step before at the most, this one counted.
    pub distance: Option<u64>,
    /// How often, and within how many ns.
    pub repeat: Option<Repeat>,
    /// What must not happen between the step before and this one.
    pub without: Option<Absence>,
}

/// How often a step must be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// Times.
    pub count: usize,
    /// ns.
    pub per: u64,
}

/// An event that must not happen.
#[derive(Debug, PartialEq, Eq)]
pub struct Absence {
    /// Which.
    pub event: Description,
    /// Who, seen from the step before.
    pub relation: Relation,
}

/// Which events are meant.
#[derive(Debug)]
pub struct Description {
    /// Of these kinds.
    pub kinds: Kinds,
    /// As the rule named them.
    pub event: Vec<String>,
    /// Per kind, which of its events; from classes.
    pub only: Vec<(Kinds, Only)>,
    /// All of which hold.
    pub conditions: Vec<Condition>,
    /// None of which holds; each is about one field.
    pub exceptions: Vec<Vec<Condition>>,
    /// Which outcomes of the call.
    pub outcome: Outcome,
}

/// Which outcomes of a call are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked for.
    Success,
    /// It failed.
    Failure,
    /// Either.
    Any,
}

impl Outcome {
    /// Names, and what they are.
    pub const ALL: [(&'static str, Self); 3] =
        [("success", Self::Success), ("failure", Self::Failure), ("any", Self::Any)];

    fn includes(self, seen: &Seen<'_>) -> bool {
        let failed = match seen.event.errno() {
            Some(EINPROGRESS) => seen.kind != super::kinds::EventKind::Connect,
            errno => errno.is_some(),
        };
        match self {
            Self::Success => !failed,
            Self::Failure => failed,
            Self::Any => true,
        }
    }
}

/// `only` follows from `event`, and functions cannot be compared.
impl PartialEq for Description {
    fn eq(&self, other: &Self) -> bool {
        let Self { kinds, event, only: _, conditions, exceptions, outcome } = self;
        (kinds, event, outcome) == (&other.kinds, &other.event, &other.outcome)
            && (conditions, exceptions) == (&other.conditions, &other.exceptions)
    }
}

impl Eq for Description {}

impl Description {
    /// Whether this event is meant.
    pub fn matches(&self, seen: &Seen<'_>) -> bool {
        let is_of_kind = |(kinds, only): &(Kinds, Only)| {
            kinds.has(seen.kind) && only.is_none_or(|only| only(seen.event))
        };
        self.kinds.has(seen.kind)
            && self.outcome.includes(seen)
            && self.only.iter().any(is_of_kind)
            && all_hold(&self.conditions, seen)
            && !self.exceptions.iter().any(|exception| all_hold(exception, seen))
    }
}

impl Rule {
    /// Whether the event is no step of the rule, because of who did it.
    pub fn allows(&self, seen: &Seen<'_>) -> bool {
        self.allow.iter().any(|allowed| allowed.has_done(seen))
    }

    /// Kinds of events that it looks at.
    pub fn kinds(&self) -> Kinds {
        let absences = self.steps.iter().filter_map(|step| step.without.as_ref());
        let described =
            self.steps.iter().map(|step| &step.event).chain(absences.map(|absence| &absence.event));
        described.fold(Kinds::default(), |kinds, event| kinds.with(event.kinds))
    }
}
