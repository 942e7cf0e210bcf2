//! Programs whose events are no steps of a rule.

use super::{Condition, all_hold};
use crate::{
    process_table::{Process, ProcessTable},
    rules::{fields::Seen, glob::Glob, identity},
};

/// A program whose events are no steps of a rule.
#[derive(Debug, PartialEq, Eq)]
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
    pub(super) fn has_done(&self, seen: &Seen<'_>) -> bool {
        seen.process.is_some_and(|process| self.is_run_by(process, seen.processes))
            && all_hold(&self.conditions, seen)
    }

    /// Whether `process` runs the program, as it must be run.
    pub fn is_run_by(&self, process: &Process, processes: &ProcessTable) -> bool {
        let Some(image) = &process.image else { return false };
        identity::is_trusted_as(process, self.exe.as_bytes())
            && self.script.as_ref().is_none_or(|script| {
                image.identity.script().is_some_and(|runs| runs == script.as_bytes())
            })
            && self.argv.as_ref().is_none_or(|argv| argv.matches(image.command_line.as_bytes()))
            && self.parent.as_ref().is_none_or(|path| {
                let parent = process.parent().and_then(|parent| processes.get(parent));
                parent.is_some_and(|parent| identity::is_trusted_as(parent, path.as_bytes()))
            })
    }
}
