//! What was learned of programs, kept while a session lasts: read at its start, written from time to time
//! and at its end.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use sentinel_ipc::confinement::Directory;

use super::Session;
use crate::{
    baseline::store::{Store, StoreError, Written},
    configuration::Configuration,
};

/// From one time to the next.
const INTERVAL: Duration = Duration::from_secs(600);
/// How long the system has to bring a new file to the disk by itself, so that nobody waits for that.
const SETTLING: Duration = Duration::from_secs(40);

/// Where baselines are kept, and whether those that are there are read.
#[derive(Debug)]
pub struct Keeping {
    store: Store,
    loads: bool,
    /// What is due, and when.
    written: Option<Written>,
    due: Instant,
}

/// Opens the directory `path` for what the engine of `configuration` learns; `None` without a path, or if
/// it is off.
///
/// # Errors
/// A sentence with the path and what to do.
pub fn keeping(
    configuration: &Configuration,
    path: Option<&Path>,
) -> Result<Option<Keeping>, String> {
    let Some(path) = path.filter(|_| configuration.engines.baseline.is_some()) else {
        return Ok(None);
    };
    let (store, loads) = (Store::open(path)?, !configuration.begins_anew);
    Ok(Some(Keeping { store, loads, written: None, due: Instant::now() + INTERVAL }))
}

impl Keeping {
    /// The directory, which must stay open.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn directory(&self) -> io::Result<Directory> {
        self.store.directory()
    }
}

impl Session {
    /// Recalls what was learned before this session.
    pub(super) fn recall_baselines(&mut self) {
        let Some(keeping) = self.keeping.as_ref().filter(|keeping| keeping.loads) else { return };
        let (programs, wrong) = match keeping.store.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                let path = keeping.store.path().display();
                let sentence = format!(
                    "{path}: {error}; it stays as it is, and nothing that is learned now is kept; \
                     restart Sentinel when it can be read"
                );
                self.delivery.tell(&sentence);
                self.keeping = None;
                return;
            }
        };
        if let Some(wrong) = wrong {
            self.delivery.tell(&wrong);
        }
        let (count, path) = (programs.len(), keeping.store.path().display());
        self.notes.push(format!("{count} programs learned before, from {path}"));
        if let Some(baseline) = self.stream.analysis().baseline_mut() {
            baseline.recall(programs);
        }
    }

    /// Keeps what was learned, if it is time to: writes it first, and waits for the disk when that has had
    /// its time.
    pub(super) fn keep_baselines(&mut self, now: Instant) {
        let Some(keeping) = self.keeping.as_mut().filter(|keeping| now >= keeping.due) else {
            return;
        };
        let Some(baseline) = self.stream.analysis().baseline().filter(|all| all.learns()) else {
            return;
        };
        let kept = match keeping.written.take() {
            Some(written) => {
                keeping.due = now + INTERVAL;
                keeping.store.replace(&written)
            }
            None => keeping.store.write(baseline.programs()).map(|written| {
                keeping.due = now + SETTLING;
                keeping.written = Some(written);
            }),
        };
        if kept.is_err() {
            keeping.due = now + INTERVAL;
        }
        self.tell_not_kept(kept);
    }

    /// Keeps it for good.
    pub(super) fn finish_baselines(&mut self) {
        let Some(keeping) = &self.keeping else { return };
        let Some(baseline) = self.stream.analysis().baseline().filter(|all| all.learns()) else {
            return;
        };
        let kept = keeping.store.save(baseline.programs());
        self.tell_not_kept(kept);
    }

    fn tell_not_kept(&mut self, kept: Result<(), StoreError>) {
        let (Some(keeping), Err(error)) = (&self.keeping, kept) else { return };
        let path = keeping.store.path().display();
        self.delivery.tell(&format_args!("{path}: what was learned is not kept: {error}"));
    }
}
