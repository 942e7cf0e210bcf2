//! Keys that servers read when they start: to read one again later, when it was renewed, is the same use.

use crate::{
    event::ProcessId,
    keyed_hash::{self, HashMap},
};

/// Keys that are remembered of one process; the oldest is forgotten first.
const MAX_KEYS: usize = 16;

/// Their paths, by the processes that have them; bounded by living processes. A renewed key is another file.
#[derive(Debug, Default)]
pub struct KeysAtStart(HashMap<ProcessId, Vec<String>>);

impl KeysAtStart {
    /// `process` has read the key at `path` in its beginning.
    pub fn note(&mut self, process: ProcessId, path: &str) {
        let its = self.0.entry(process).or_default();
        if its.iter().any(|known| known == path) {
            return;
        }
        if its.len() >= MAX_KEYS {
            its.remove(0);
        }
        its.push(path.to_owned());
    }

    /// Whether `process` has read the key at `path` in its beginning, or in that of whom it was forked from.
    pub fn has(&self, process: ProcessId, path: &str) -> bool {
        self.0.get(&process).is_some_and(|its| its.iter().any(|known| known == path))
    }

    /// A child has what its parent has.
    pub fn fork(&mut self, parent: ProcessId, child: ProcessId) {
        if let Some(its) = self.0.get(&parent).cloned() {
            self.0.insert(child, its);
        }
    }

    /// The process ended, or runs another program.
    pub fn forget(&mut self, process: ProcessId) {
        keyed_hash::forget(&mut self.0, &process);
    }

    /// Forgets all but those of processes that live.
    pub fn keep(&mut self, lives: impl Fn(ProcessId) -> bool) {
        self.0.retain(|&process, _| lives(process));
    }
}
