//! Where alerts end: console, sinks, counts. What cannot be delivered is said on standard error.

use std::{collections::VecDeque, fmt, time::Duration};

use sentinel_ipc::frame::Counters;

use crate::{
    alert::{Alert, Engine},
    analysis::Analysis,
    baseline::overview,
    console::{Banner, Console, Status, Summary},
    hygiene::Hygiene,
    metrics::Tally,
    periods::Periods,
    sinks::{Sinks, syslog::SyslogState},
    status::{Alerts, Events, LastAlert},
};

/// Alerts that are kept for `sentinel status`.
const MAX_LAST: usize = 10;

/// Where the alerts of a run go.
pub struct Delivery {
    console: Console,
    sinks: Sinks,
    hygiene: Hygiene,
    periods: Periods,
    tally: Tally,
    /// Alerts raised, by severity, debug first.
    by_severity: [u64; 5],
    /// Of those, the pattern engine's.
    of_patterns: u64,
    /// The newest alerts, newest first.
    last: VecDeque<LastAlert>,
    /// Whether standard output still takes something.
    open: bool,
}

impl Delivery {
    /// Sinks that are open.
    pub fn new(console: Console, sinks: Sinks) -> Self {
        let found = sinks.findings();
        let mut delivery = Self {
            console,
            sinks,
            hygiene: Hygiene::default(),
            periods: Periods::default(),
            tally: Tally::default(),
            by_severity: [0; 5],
            of_patterns: 0,
            last: VecDeque::new(),
            open: true,
        };
        found.iter().for_each(|found| delivery.tell(found));
        delivery
    }

    /// Whether somebody can still see the console.
    pub fn is_seen(&self) -> bool {
        self.open
    }

    /// How many alerts the pattern engine raised.
    pub fn of_patterns(&self) -> u64 {
        self.of_patterns
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

    /// Counts an alert, and logs and shows it unless it is left out for now.
    pub fn alert(&mut self, alert: Alert) {
        if let Some(count) = self.by_severity.get_mut(alert.severity as usize) {
            *count += 1;
        }
        self.of_patterns += u64::from(alert.engine == Engine::Patterns);
        self.tally.add(&alert);
        let told = self.hygiene.pass(alert);
        told.iter().for_each(|alert| self.deliver(alert));
    }

    /// What was counted of alerts, for whoever measures.
    pub fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// How many alerts were folded into others, and how many were withheld.
    pub fn left_out(&self) -> (u64, u64) {
        self.hygiene.left_out()
    }

    /// Lets time go on to `now` (CLOCK_BOOTTIME, ns): tells what was left out until then.
    pub fn time(&mut self, now: u64) {
        let told = self.hygiene.time(now);
        told.iter().for_each(|alert| self.deliver(alert));
    }

    fn deliver(&mut self, alert: &Alert) {
        self.last.truncate(MAX_LAST - 1);
        self.last.push_front(LastAlert::of(alert));
        for failed in self.sinks.write(alert) {
            self.tell(&failed);
        }
        self.tell_losses(false);
        let shown = self.console.alert(alert);
        self.open &= shown.is_ok();
    }

    /// Has the log of all engines tell what became of events until `now` (CLOCK_BOOTTIME, ns): when it is
    /// time to, or when it is the `last` time. Then all that was left out is told before.
    pub fn count_events(&mut self, now: u64, events: &Events, analysis: &Analysis, last: bool) {
        if last {
            let told = self.hygiene.finish(now);
            told.iter().for_each(|alert| self.deliver(alert));
        }
        if let Some(period) = self.periods.next(now, events, self.hygiene.left_out(), last) {
            let line = analysis.counted(now, period);
            if let Some(failed) = self.sinks.note(&line) {
                self.tell(&failed);
            }
        }
    }

    /// What is counted from now on is another stream.
    pub fn begin_to_count(&mut self) {
        self.periods.begin();
    }

    /// Sends what syslog takes now, and tells of the way there.
    pub fn advance(&mut self) {
        self.sinks.advance();
        self.tell_losses(false);
    }

    /// How syslog gets on, if alerts go there.
    pub fn syslog(&self) -> Option<SyslogState> {
        self.sinks.syslog()
    }

    /// How many lines each log did not take.
    pub fn log_failures(&self) -> Vec<(String, u64)> {
        self.sinks.failures()
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
        self.relay(&format!("sentinel: {what}"));
    }

    /// Passes on what another process of Sentinel's says, which has its name in it.
    pub fn relay(&mut self, line: &str) {
        let cleared = self.console.tell(line);
        self.open &= cleared.is_ok();
    }

    /// Shows what runs.
    pub fn banner(&mut self, banner: &Banner<'_>) {
        let sinks = self.sinks.names();
        let shown = self.console.banner(&Banner { sinks: &sinks, ..*banner });
        self.open &= shown.is_ok();
    }

    /// Redraws the status line.
    pub fn status(&mut self, status: &Status) {
        let shown = self.console.status(status);
        self.open &= shown.is_ok();
    }

    /// Says something on the console.
    pub fn say(&mut self, what: &str) {
        let shown = self.console.say(what);
        self.open &= shown.is_ok();
    }

    /// Shows what there was to see; nothing is told later.
    pub fn summary(
        &mut self,
        elapsed: Duration,
        counters: Option<Counters>,
        processed: u64,
        analysis: &Analysis,
    ) {
        self.tell_losses(true);
        let summary = Summary {
            elapsed,
            counters,
            processed,
            alerts: self.counts(),
            patterns: self.of_patterns,
            left_out: self.hygiene.left_out(),
            processes: analysis.processes(),
            sequences: analysis.sequences(),
            stages: analysis.stages(),
            baseline: analysis.baseline().map(|all| {
                let lines = overview::report(all).into_iter();
                (all.overview(), lines.map(|line| analysis.without_secrets(line)).collect())
            }),
        };
        // Nobody is there to tell if standard output is closed.
        let _shown = self.console.summary(&summary);
    }
}
