//! The pattern engine: sequences of what processes do that mean an attack.

mod built_in;
pub mod credential_exfil;
mod exceptions;
pub mod fork_bomb;
pub mod privilege_escalation;
pub mod reverse_shell;
#[cfg(test)]
pub(crate) mod story;

use std::{borrow::Cow, net::SocketAddr};

pub use built_in::{ABOUT_SECRETS, BUILT_IN, BuiltIn, is_built_in};
pub use exceptions::Exceptions;

use crate::{
    alert::{Engine, Severity},
    baseline::observer::Figures,
    correlation::Correlated,
    event::ProcessId,
    step::Step,
};

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

    /// That it matched, without anything beside.
    pub fn finding(&self, severity: Severity, process: ProcessId, message: String) -> Finding {
        Finding {
            rule: self.clone(),
            severity,
            process,
            message,
            steps: Vec::new(),
            remote: None,
            repeat: false,
            correlated: None,
            figures: None,
        }
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
    /// What the correlation engine has to say beside that.
    pub correlated: Option<Box<Correlated>>,
    /// What the baseline engine has.
    pub figures: Option<Box<Figures>>,
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
    /// Whether nothing was said.
    pub(crate) fn is_empty(&self) -> bool {
        self.findings.is_empty() && self.notes.as_ref().is_none_or(Vec::is_empty)
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.push(text());
        }
    }
}
