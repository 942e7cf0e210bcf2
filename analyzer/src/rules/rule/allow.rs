//! Programs whose events are no steps of a rule.

use super::{Condition, all_hold};
use crate::{
    process_table::{Process, ProcessTable},
    rules::{fields::Seen, glob::Glob, identity},
};

/// Programs whose events are no steps of a rule. Of paths any one will do.
#[derive(Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Kernel-resolved paths.
    pub exe: Vec<String>,
    /// Those of the parent's program; none for any parent.
    pub parent: Vec<String>,
    /// Those of the script that it runs; none for whatever it runs.
    pub script: Vec<String>,
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
        is_trusted_as_one(process, &self.exe)
            && (self.script.is_empty()
                || image.identity.sound_script().is_some_and(|runs| is_one(runs, &self.script)))
            && self
                .argv
                .as_ref()
                .is_none_or(|argv| argv.matches(image.command_line.as_str().as_bytes()))
            && (self.parent.is_empty() || {
                let parent = process.parent().and_then(|parent| processes.get(parent));
                parent.is_some_and(|parent| is_trusted_as_one(parent, &self.parent))
            })
    }
}

fn is_trusted_as_one(process: &Process, paths: &[String]) -> bool {
    paths.iter().any(|one| identity::is_trusted_as(process, one.as_bytes()))
}

fn is_one(path: &[u8], paths: &[String]) -> bool {
    paths.iter().any(|one| one.as_bytes() == path)
}
