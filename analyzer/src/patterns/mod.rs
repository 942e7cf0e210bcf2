//! The pattern engine: sequences of what processes do that mean an attack.

mod exceptions;
pub mod reverse_shell;

use std::{borrow::Cow, net::SocketAddr};

pub use exceptions::Exceptions;

use crate::{
    alert::{Engine, Severity},
    event::ProcessId,
    step::Step,
};

/// A pattern that is written in code, as operators are told of it.
#[derive(Debug)]
pub struct BuiltIn {
    /// Stable name.
    pub name: &'static str,
    /// How bad at the worst.
    pub severity: Severity,
    /// MITRE ATT&CK technique.
    pub mitre: &'static str,
    /// What it means, in a sentence.
    pub description: &'static str,
    /// When it is wrong.
    pub false_positives: &'static str,
}

/// The patterns that are written in code; rules in files have other names.
pub const BUILT_IN: &[BuiltIn] = &[BuiltIn {
    name: "reverse_shell",
    severity: Severity::Critical,
    mitre: "T1059",
    description: "a shell or interpreter has a network connection as its input and its output, itself \
                  or by way of a relay",
    false_positives: "services that hand a connection to a shell script as its standard input and output \
                      (inetd, socket activation with Accept=yes)",
}];

/// Whether a pattern written in code has this name.
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|one| one.name == name)
}

/// What names a rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Stable name.
    pub name: Cow<'static, str>,
    /// MITRE ATT&CK technique.
    pub mitre: Cow<'static, str>,
    /// The engine that it belongs to.
    pub engine: Engine,
}

impl Rule {
    /// A rule that is written in code.
    pub const fn of(name: &'static str, mitre: &'static str, engine: Engine) -> Self {
        Self { name: Cow::Borrowed(name), mitre: Cow::Borrowed(mitre), engine }
    }
}

/// A rule that matched.
#[derive(Debug)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// How bad.
    pub severity: Severity,
    /// The process that it is about.
    pub process: ProcessId,
    /// One sentence.
    pub message: String,
    /// What led to it, in order of time.
    pub steps: Vec<Step>,
    /// The network peer, if there is one.
    pub remote: Option<SocketAddr>,
    /// Whether the same was reported before, of another process: no news to a reader, but the
    /// process is one more to end.
    pub repeat: bool,
}

/// What an engine says about an event.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Rules that matched.
    pub findings: Vec<Finding>,
    /// How rules got on, for `--grimoire-debug`; `None` when nobody reads it.
    pub notes: Option<Vec<String>>,
}

impl Verdicts {
    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.push(text());
        }
    }
}
