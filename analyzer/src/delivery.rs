//! Where alerts end: console, sinks, counts. What cannot be delivered is said on standard error.

use std::{collections::VecDeque, fmt, io, time::Duration};

use crate::{
    alert::Alert,
    console::{Banner, Console, Status, Summary},
    output::Output,
    sinks::Sinks,
    status::{Alerts, LastAlert},
};

/// Alerts that are kept for `sentinel status`.
const MAX_LAST: usize = 10;

/// Where the alerts of a run go.
pub struct Delivery {
    console: Console,
    diagnostics: Output<io::Stderr>,
    sinks: Sinks,
    /// Alerts delivered, by severity, debug first.
    by_severity: [u64; 5],
    /// The newest alerts, newest first.
    last: VecDeque<LastAlert>,
    /// Whether standard output still takes something.
    open: bool,
}

impl Delivery {
    /// Sinks that are open.
    pub fn new(console: Console, sinks: Sinks) -> Self {
        let diagnostics = Output::new(io::stderr());
        Self { console, diagnostics, sinks, by_severity: [0; 5], last: VecDeque::new(), open: true }
    }

    /// Whether somebody can still see the console.
    pub fn is_seen(&self) -> bool {
        self.open
    }

    /// How many alerts were delivered.
    pub fn count(&self) -> u64 {
        self.by_severity.iter().sum()
    }

    /// How many of each severity.
    pub fn counts(&self) -> Alerts {
        let [debug, info, warning, high, critical] = self.by_severity;
        Alerts { critical, high, warning, info, debug }
    }

    /// The newest alerts, newest first.
    pub fn last(&self) -> Vec<LastAlert> {
        self.last.iter().cloned().collect()
    }

    /// Logs and shows an alert.
    pub fn alert(&mut self, alert: &Alert) {
        self.last.truncate(MAX_LAST - 1);
        self.last.push_front(LastAlert::of(alert));
        if let Some(count) = self.by_severity.get_mut(alert.severity as usize) {
            *count += 1;
        }
        for failed in self.sinks.write(alert) {
            self.tell(&failed);
        }
        self.tell_losses(false);
        let shown = self.console.alert(alert);
        self.open &= shown.is_ok();
    }

    /// Opens logs that have been renamed anew (logrotate). Returns what failed, which it has told on
    /// standard error; a log that failed goes on in its old file.
    pub fn reopen(&mut self) -> Vec<String> {
        let errors = self.sinks.reopen();
        errors.iter().for_each(|error| self.tell(error));
        errors
    }

    fn tell_losses(&mut self, last: bool) {
        if let Some(losses) = self.sinks.take_losses(last) {
            self.tell(&losses);
        }
    }

    /// Says something on standard error; who closed it does not want to hear it.
    pub fn tell(&mut self, what: &dyn fmt::Display) {
        let _told = self.diagnostics.write(&format!("sentinel: {what}\n"));
    }

    /// Shows what runs.
    pub fn banner(&mut self, banner: &Banner<'_>) {
        let sinks = self.sinks.names();
        let shown = self.console.banner(&Banner { sinks: &sinks, ..*banner });
        self.open &= shown.is_ok();
    }

    /// Redraws the status line, and tells of losses when it is time to.
    pub fn status(&mut self, status: &Status) {
        self.tell_losses(false);
        let shown = self.console.status(status);
        self.open &= shown.is_ok();
    }

    /// Shows what there was to see; nothing is told later.
    pub fn summary(
        &mut self,
        elapsed: Duration,
        counters: Option<sentinel_ipc::frame::Counters>,
        processed: u64,
        processes: usize,
        sequences: (usize, u64),
    ) {
        self.tell_losses(true);
        let patterns = self.by_severity;
        let summary = Summary { elapsed, counters, processed, patterns, processes, sequences };
        // Nobody is there to tell if standard output is closed.
        let _shown = self.console.summary(&summary);
    }
}
