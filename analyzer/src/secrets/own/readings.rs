//! What programs have read of their own, as long as it would matter if they went elsewhere with it.

use crate::{
    event::ProcessId,
    keyed_hash::{self, HashMap},
    secrets::{SecretFile, WINDOW_NS},
};

/// Readings that are remembered of one process; the oldest is forgotten first.
const MAX_READINGS: usize = 16;

/// A secret of its own that a program read.
#[derive(Debug, Clone)]
pub struct OwnReading {
    /// When; CLOCK_BOOTTIME, ns.
    pub at: u64,
    /// What.
    pub file: SecretFile,
    /// Ports of other hosts at which its service is expected.
    pub ports: Vec<u16>,
}

/// Such readings, by the processes that have their data; bounded by living processes.
#[derive(Debug, Default)]
pub struct OwnReadings(HashMap<ProcessId, Vec<OwnReading>>);

impl OwnReadings {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that `process` has read what is its own.
    pub fn note(&mut self, process: ProcessId, reading: OwnReading) {
        let its = self.0.entry(process).or_default();
        its.retain(|known| known.file.object != reading.file.object);
        if its.len() >= MAX_READINGS {
            its.remove(0);
        }
        its.push(reading);
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

    /// Takes what `process` has read no longer than the window ago for a service that is not at `port`.
    pub fn take_strayed(&mut self, process: ProcessId, port: u16, now: u64) -> Vec<OwnReading> {
        let Some(its) = self.0.get_mut(&process) else { return Vec::new() };
        its.retain(|one| now.saturating_sub(one.at) <= WINDOW_NS);
        let strayed = its.extract_if(.., |one| !one.ports.contains(&port)).collect();
        if its.is_empty() {
            self.0.remove(&process);
        }
        strayed
    }

    /// Forgets readings but those of processes that live.
    pub fn keep(&mut self, lives: impl Fn(ProcessId) -> bool) {
        self.0.retain(|&process, _| lives(process));
    }
}
