//! Numbers for Prometheus, written now and then while a session lasts, and at its end.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use sentinel_ipc::confinement::Directory;

use super::Session;
use crate::metrics::{self, MetricsFile, Numbers};

/// From one time to the next.
const INTERVAL: Duration = Duration::from_secs(15);

/// Where numbers are written, and when.
#[derive(Debug)]
pub struct Measuring {
    file: MetricsFile,
    due: Instant,
    /// Whether it was told that this fails, and not yet that it works again.
    fails: bool,
}

impl Measuring {
    /// The file `path`; `None` without one.
    ///
    /// # Errors
    /// A sentence with the path and what to do.
    pub fn open(path: Option<&Path>) -> Result<Option<Self>, String> {
        let Some(path) = path else { return Ok(None) };
        let file = MetricsFile::open(path)?;
        Ok(Some(Self { file, due: Instant::now(), fails: false }))
    }

    /// The directory, which must stay open.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn directory(&self) -> io::Result<Directory> {
        self.file.directory()
    }
}

impl Session {
    /// Writes the numbers, if it is time to.
    pub(super) fn measure(&mut self, now: Instant) {
        if self.measuring.as_ref().is_some_and(|measuring| now >= measuring.due) {
            self.write_numbers(now);
        }
    }

    /// Writes them for the last time.
    pub(super) fn measure_last(&mut self) {
        self.write_numbers(Instant::now());
    }

    fn write_numbers(&mut self, now: Instant) {
        let Some(mut measuring) = self.measuring.take() else { return };
        measuring.due = now + INTERVAL;
        let status = self.status();
        let log_failures = self.delivery.log_failures();
        let numbers = Numbers {
            log_failures: &log_failures,
            status: &status,
            left_out: self.delivery.left_out(),
            enforces: self.kills(),
            memory: measuring.file.memory(),
            tally: self.delivery.tally(),
        };
        let written = measuring.file.replace(&metrics::text(&numbers));
        // Said once, and not every time.
        let failed_before = std::mem::replace(&mut measuring.fails, written.is_err());
        let path = measuring.file.path().display();
        match written {
            Err(error) if !failed_before => {
                self.delivery.tell(&format_args!("{path}: metrics are not written: {error}"));
            }
            Ok(()) if failed_before => {
                self.delivery.tell(&format_args!("{path}: metrics are written again"));
            }
            Ok(()) | Err(_) => {}
        }
        self.measuring = Some(measuring);
    }
}
