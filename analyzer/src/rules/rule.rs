//! A rule as the engine uses it: typed, and whole.

use std::{fmt, net::IpAddr};

use super::{
    fields::{self, Field, Seen, Value},
    glob::Glob,
    identity,
    kinds::{Kinds, Only},
};
use crate::{
    alert::Severity,
    event::{ObjectId, ProcessId},
};

/// connect(2): under way, EINPROGRESS of include/uapi/asm-generic/errno.h.
const EINPROGRESS: u32 = 115;

/// A rule.
#[derive(Debug)]
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
#[derive(Debug)]
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
#[derive(Debug)]
pub struct Absence {
    /// Which.
    pub event: Description,
    /// Who, seen from the step before.
    pub relation: Relation,
}

/// Who does a step, seen from who did the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The same process.
    SameProcess,
    /// A child of it, by its fork.
    Child,
    /// It or one that descends from it.
    Tree,
    /// Anyone.
    Any,
}

impl Relation {
    /// As rules name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SameProcess => "same_process",
            Self::Child => "child",
            Self::Tree => "tree",
            Self::Any => "any",
        }
    }

    /// Each of them.
    pub const ALL: [Self; 4] = [Self::SameProcess, Self::Child, Self::Tree, Self::Any];
}

/// What two steps have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Common {
    /// The file, pipe or socket.
    Object,
    /// The number of the descriptor.
    Number,
    /// The peer's IP address.
    Address,
    /// The process that the event is about.
    Target,
}

impl Common {
    /// Its names, and what it is.
    pub const ALL: [(&'static str, Self); 4] = [
        ("object", Self::Object),
        ("fd", Self::Number),
        ("address", Self::Address),
        ("target", Self::Target),
    ];

    /// What an event has of it.
    pub fn of(self, seen: &Seen<'_>) -> Option<Bound> {
        match self {
            Self::Object => fields::object_id(seen).map(Bound::Object),
            Self::Number => fields::fd(seen).map(Bound::Number),
            Self::Address => fields::address(seen).map(Bound::Address),
            Self::Target => fields::target(seen).map(Bound::Target),
        }
    }
}

/// What an earlier step's event had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// [`Common::Object`].
    Object(ObjectId),
    /// [`Common::Number`].
    Number(u32),
    /// [`Common::Address`].
    Address(IpAddr),
    /// [`Common::Target`].
    Target(ProcessId),
}

/// That a step's event has something in common with an earlier step's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// What.
    pub common: Common,
    /// The earlier step, counted from 0.
    pub step: usize,
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

fn all_hold(conditions: &[Condition], seen: &Seen<'_>) -> bool {
    conditions.iter().all(|condition| condition.holds(seen))
}

/// Something that is asked of a field.
#[derive(Debug)]
pub struct Condition {
    /// Which field.
    pub field: &'static Field,
    /// What.
    pub test: Test,
}

impl Condition {
    /// Whether it holds; what the kernel did not know fulfils nothing.
    pub fn holds(&self, seen: &Seen<'_>) -> bool {
        (self.field.read)(seen).is_some_and(|value| self.test.accepts(value))
    }
}

/// What is asked of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// As numbers compare.
    Number(Comparison, i128),
    /// One of these numbers; `false`: none of them.
    Numbers(Box<[i128]>, bool),
    /// As texts compare, with any of these.
    Texts(TextTest, Box<[Box<[u8]>]>),
    /// One of these globs.
    Globs(Box<[Glob]>),
    /// In one of these networks; `false`: in none of them.
    Networks(Box<[Network]>, bool),
    /// Yes or no.
    Flag(bool),
    /// Of one of these file classes; `false`: of none of them.
    Classes(Box<[u32]>, bool),
}

/// How numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// All of these bits are set.
    BitsSet,
    /// None of these bits is set.
    BitsClear,
}

/// How texts compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextTest {
    /// Equal to one of them.
    Equal,
    /// Equal to none of them.
    NotEqual,
    /// Begins with one of them.
    Prefix,
    /// Ends with one of them.
    Suffix,
    /// Has one of them in it.
    Contains,
}

/// An IP network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    given: IpAddr,
    bits: u32,
    address: u128,
    mask: u128,
    is_v4: bool,
}

impl fmt::Display for Network {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.given, self.bits)
    }
}

impl Network {
    /// Of an address and the length of its prefix in bits; `None` if that is too long.
    pub fn new(address: IpAddr, bits: u32) -> Option<Self> {
        let (is_v4, width) = (address.is_ipv4(), if address.is_ipv4() { 32 } else { 128 });
        let free = u32::checked_sub(width, bits)?;
        let mask = u128::MAX.checked_shl(free).unwrap_or(0);
        Some(Self { given: address, bits, address: number(address) & mask, mask, is_v4 })
    }

    fn has(&self, address: IpAddr) -> bool {
        self.is_v4 == address.is_ipv4() && number(address) & self.mask == self.address
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Test {
    /// Whether a value is as asked; one of another type is not.
    pub fn accepts(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Number(how, other), Value::Integer(number)) => how.holds(number, *other),
            (Self::Numbers(numbers, is_in), Value::Integer(number)) => {
                numbers.contains(&number) == *is_in
            }
            (Self::Classes(classes, is_in), Value::Integer(number)) => {
                classes.iter().any(|class| is_of_class(number, *class)) == *is_in
            }
            (Self::Texts(how, texts), Value::Text(text)) => how.holds(text, texts),
            (Self::Globs(globs), Value::Text(text)) => globs.iter().any(|glob| glob.matches(text)),
            (Self::Networks(networks, is_in), Value::Address(address)) => {
                networks.iter().any(|network| network.has(address)) == *is_in
            }
            (Self::Flag(wanted), Value::Flag(flag)) => *wanted == flag,
            _ => false,
        }
    }

    /// How much work it is, lowest first.
    pub fn cost(&self) -> u8 {
        match self {
            Self::Number(..) | Self::Numbers(..) | Self::Flag(_) | Self::Classes(..) => 0,
            Self::Networks(..) => 1,
            Self::Texts(TextTest::Contains, _) => 3,
            Self::Texts(..) => 2,
            Self::Globs(_) => 4,
        }
    }
}

fn is_of_class(number: i128, class: u32) -> bool {
    use sentinel_ipc::file_class::{SECRET, number as place};
    let Ok(found) = u32::try_from(number) else { return false };
    // What is written may be a secret besides.
    if class == SECRET { found & SECRET != 0 } else { place(found) == place(class) }
}

impl Comparison {
    fn holds(self, number: i128, other: i128) -> bool {
        match self {
            Self::Greater => number > other,
            Self::GreaterOrEqual => number >= other,
            Self::Less => number < other,
            Self::LessOrEqual => number <= other,
            Self::BitsSet => number & other == other,
            Self::BitsClear => number & other == 0,
        }
    }
}

impl TextTest {
    fn holds(self, text: &[u8], others: &[Box<[u8]>]) -> bool {
        let any = |holds: fn(&[u8], &[u8]) -> bool| others.iter().any(|other| holds(text, other));
        match self {
            Self::Equal => any(|text, other| text == other),
            Self::NotEqual => !any(|text, other| text == other),
            Self::Prefix => any(<[u8]>::starts_with),
            Self::Suffix => any(<[u8]>::ends_with),
            Self::Contains => any(|text, other| {
                other.is_empty() || text.windows(other.len()).any(|window| window == other)
            }),
        }
    }
}

/// A program whose events are no steps of a rule.
#[derive(Debug)]
pub struct Allowed {
    /// Its kernel-resolved path.
    pub exe: String,
    /// That of its parent's program.
    pub parent: Option<String>,
    /// The script that it runs.
    pub script: Option<String>,
    /// Its arguments on one line.
    pub argv: Option<Glob>,
    /// What its event must be like; all of it.
    pub conditions: Vec<Condition>,
}

impl Allowed {
    /// Whether the program did this event, and the event is as it must be.
    fn has_done(&self, seen: &Seen<'_>) -> bool {
        let Some(process) = seen.process else { return false };
        let Some(image) = &process.image else { return false };
        identity::is_trusted_as(process, self.exe.as_bytes())
            && self.script.as_ref().is_none_or(|script| {
                image.identity.sound_script().is_some_and(|runs| runs == script.as_bytes())
            })
            && self.argv.as_ref().is_none_or(|argv| argv.matches(image.command_line.as_bytes()))
            && self.parent.as_ref().is_none_or(|path| {
                let parent = process.parent().and_then(|parent| seen.processes.get(parent));
                parent.is_some_and(|parent| identity::is_trusted_as(parent, path.as_bytes()))
            })
            && all_hold(&self.conditions, seen)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let network = |address: &str, bits| Network::new(address.parse().unwrap(), bits);
        for (address, bits, other, has) in [
            ("10.0.0.0", 8, "10.255.0.1", true),
            ("10.0.0.0", 8, "11.0.0.1", false),
            ("0.0.0.0", 0, "11.0.0.1", true),
            ("0.0.0.0", 0, "::1", false),
            ("10.0.0.1", 32, "10.0.0.1", true),
            ("fe80::", 10, "febf::1", true),
            ("::", 0, "febf::1", true),
        ] {
            assert_eq!(network(address, bits).unwrap().has(other.parse().unwrap()), has);
        }
        assert_eq!((network("10.0.0.0", 33), network("::", 129)), (None, None));
    }

    #[test]
    fn a_value_of_another_type_is_never_accepted() {
        let not_equal = Test::Texts(TextTest::NotEqual, Box::default());
        assert!(!not_equal.accepts(Value::Integer(1)) && not_equal.accepts(Value::Text(b"x")));
        assert!(!Test::Numbers(Box::default(), false).accepts(Value::Flag(true)));
    }
}
