//! What `sentinel status` shows of a running Sentinel.

use std::fmt::Write;

use sentinel_ipc::frame::Counters;
use serde::{Deserialize, Serialize};

/// A running analyzer and what it knows of the others; stable in its JSON form (additions only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Sentinel's version.
    pub version: String,
    /// The analyzer's process id.
    pub pid: u32,
    /// Since it is attached, s.
    pub uptime: u64,
    /// Whether and whom it kills, in words.
    pub mode: String,
    /// What is watched, in words.
    pub scope: String,
    /// Tracepoints that are attached.
    pub hooks: Vec<String>,
    /// What this kernel cannot tell, in words.
    pub blind_to: Vec<String>,
    /// Names of the rules that are loaded.
    pub rules: Vec<String>,
    /// The sensor's totals.
    pub events: Events,
    /// Processes known to live.
    pub processes: u64,
    /// Alerts so far, by severity.
    pub alerts: Alerts,
}

/// What became of events, as totals; see `sentinel_ipc::frame::Counters`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in Counters")]
pub struct Events {
    pub seen: u64,
    pub passed: u64,
    pub emitted: u64,
    pub dropped: u64,
    /// Of those, what verdicts rest on.
    pub dropped_urgent: u64,
    pub unreadable: u64,
    pub untracked: u64,
    pub forwarded: u64,
    pub shed: u64,
    /// Followed by the engines.
    pub processed: u64,
    /// Of those, what came too late to be in order of time.
    pub late: u64,
}

impl Events {
    /// The loader's counters, and the analyzer's own.
    pub fn of(counters: &Counters, processed: u64, late: u64) -> Self {
        let [urgent, other] = counters.dropped;
        Self {
            seen: counters.seen,
            passed: counters.passed,
            emitted: counters.emitted.iter().fold(0, |sum, one| sum.saturating_add(*one)),
            dropped: urgent.saturating_add(other),
            dropped_urgent: urgent,
            unreadable: counters.unreadable,
            untracked: counters.untracked,
            forwarded: counters.forwarded,
            shed: counters.shed,
            processed,
            late,
        }
    }
}

/// How many alerts there were.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the severities' own names")]
pub struct Alerts {
    pub critical: u64,
    pub high: u64,
    pub warning: u64,
    pub info: u64,
    pub debug: u64,
}

impl Status {
    /// For people, a few lines.
    pub fn text(&self) -> String {
        let mut text = format!("Sentinel {}  {}\n", self.version, self.mode);
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            let _infallible = writeln!(text, "  {name:<9} {value}");
        };
        line("analyzer", &format_args!("pid {}, up {} s", self.pid, self.uptime));
        line("scope", &self.scope);
        line("rules", &format_args!("{} loaded: {}", self.rules.len(), self.rules.join(", ")));
        line("sensor", &format_args!("{} hooks: {}", self.hooks.len(), self.hooks.join(", ")));
        self.blind_to.iter().for_each(|what| line("blind to", what));
        let Events { seen, passed, dropped, dropped_urgent, processed, .. } = &self.events;
        line(
            "events",
            &format_args!(
                "seen {seen} · after filter {passed} · dropped {dropped} (urgent {dropped_urgent}) \
                 · processed {processed}"
            ),
        );
        let Alerts { critical, high, warning, info, .. } = &self.alerts;
        line(
            "alerts",
            &format_args!("critical {critical} · high {high} · warning {warning} · info {info}"),
        );
        line("processes", &format_args!("{} known to live", self.processes));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_in_the_text() {
        let status = Status {
            version: "1.2.3".into(),
            pid: 7,
            uptime: 60,
            mode: "shadow mode".into(),
            scope: "everything".into(),
            hooks: vec!["sys_exit".into()],
            blind_to: vec!["io_uring".into()],
            rules: vec!["reverse_shell".into()],
            events: Events { dropped: 4, dropped_urgent: 1, ..Events::default() },
            processes: 9,
            alerts: Alerts { critical: 2, ..Alerts::default() },
        };
        let text = status.text();
        for words in [
            "1.2.3",
            "shadow",
            "pid 7, up 60 s",
            "1 hooks: sys_exit",
            "blind to  io_uring",
            "dropped 4 (urgent 1)",
            "critical 2",
            "9 known",
        ] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
    }
}
