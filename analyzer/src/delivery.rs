//! Where alerts end: console, log, counts. What cannot be delivered is said on standard error.

use std::{collections::VecDeque, fmt, io, time::Duration};

use crate::{
    alert::Alert,
    console::{Banner, Console, Status, Summary},
    json_log::JsonLog,
    output::Output,
    status::{Alerts, LastAlert},
};

/// Alerts that are kept for `sentinel status`.
const MAX_LAST: usize = 10;

/// The sinks of a run.
pub struct Delivery {
    console: Console,
    diagnostics: Output<io::Stderr>,
    patterns_log: Option<JsonLog>,
    /// Alerts delivered, by severity, debug first.
    by_severity: [u64; 5],
    /// The newest alerts, newest first.
    last: VecDeque<LastAlert>,
    /// Whether standard output still takes something.
    open: bool,
}

impl Delivery {
    /// Sinks that are open.
    pub fn new(console: Console, patterns_log: Option<JsonLog>) -> Self {
        let diagnostics = Output::new(io::stderr());
        Self {
            console,
            diagnostics,
            patterns_log,
            by_severity: [0; 5],
            last: VecDeque::new(),
            open: true,
        }
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
        if let Some(log) = &mut self.patterns_log
            && let Err(error) = log.write(alert)
        {
            let path = log.path().display().to_string();
            self.tell(&format_args!("{path}: alert not written: {error}"));
        }
        let shown = self.console.alert(alert);
        self.open &= shown.is_ok();
    }

    /// Says something on standard error; who closed it does not want to hear it.
    pub fn tell(&mut self, what: &dyn fmt::Display) {
        let _told = self.diagnostics.write(&format!("sentinel: {what}\n"));
    }

    /// Shows what runs.
    pub fn banner(&mut self, banner: &Banner<'_>) {
        let sinks: Vec<String> =
            self.patterns_log.iter().map(|log| log.path().display().to_string()).collect();
        let shown = self.console.banner(&Banner { sinks: &sinks, ..*banner });
        self.open &= shown.is_ok();
    }

    /// Redraws the status line.
    pub fn status(&mut self, status: &Status) {
        let shown = self.console.status(status);
        self.open &= shown.is_ok();
    }

    /// Shows what there was to see.
    pub fn summary(
        &mut self,
        elapsed: Duration,
        counters: Option<sentinel_ipc::frame::Counters>,
        processed: u64,
        processes: usize,
    ) {
        let patterns = self.by_severity;
        let summary = Summary { elapsed, counters, processed, patterns, processes };
        // Nobody is there to tell if standard output is closed.
        let _shown = self.console.summary(&summary);
    }
}
