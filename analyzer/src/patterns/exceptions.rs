//! What operators do not want to be told of the patterns that are written in code.

use crate::{
    event::ProcessId,
    process_table::ProcessTable,
    rules::{language::Extension, rule::Allowed},
};

/// Patterns that are off, and programs that they are not about.
#[derive(Debug, Default)]
pub struct Exceptions {
    off: Vec<String>,
    allow: Vec<(String, Allowed)>,
}

impl Exceptions {
    /// Patterns that are `off`, by their names, and programs that others are not about.
    pub fn new(off: Vec<String>, allow: Vec<Extension>) -> Self {
        let allow = allow.into_iter().map(|one| (one.rule, one.allowed)).collect();
        Self { off, allow }
    }

    /// Whether the pattern is off.
    pub fn has_off(&self, pattern: &str) -> bool {
        self.off.iter().any(|off| off == pattern)
    }

    /// Whether nobody wants to be told that `process` does what `pattern` means.
    pub fn hold(&self, pattern: &str, process: ProcessId, processes: &ProcessTable) -> bool {
        self.has_off(pattern)
            || self.allow.iter().any(|(name, allowed)| {
                name == pattern
                    && processes.get(process).is_some_and(|one| allowed.is_run_by(one, processes))
            })
    }
}
