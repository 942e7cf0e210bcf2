//! What `sentinel status` shows of a running Sentinel.

use std::fmt::{self, Write};

use sentinel_ipc::frame::{About, Counters};
use serde::{Deserialize, Serialize};

use crate::{
    alert::{Alert, Severity},
    baseline::overview::Overview,
    console::{self, clock_time},
    correlation::Stages,
    escape::harmless,
    sinks::syslog::SyslogState,
};

/// Of an alert's message, in brief.
const MAX_MESSAGE_CHARS: usize = 300;

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
    /// Sentinel's processes.
    pub parts: Vec<Part>,
    /// Whether the sensor reports.
    pub is_watching: bool,
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
    /// The newest ones, newest first.
    pub last_alerts: Vec<LastAlert>,
    /// Of the rules.
    pub sequences: Sequences,
    /// How often each stage of the correlation engine was reached; `None` if it is off.
    #[serde(default)]
    pub correlation: Option<Stages>,
    /// How the baseline engine gets on; `None` if it is off.
    #[serde(default)]
    pub baseline: Option<Overview>,
    /// How syslog gets on; `None` if no alerts go there.
    #[serde(default)]
    pub syslog: Option<SyslogState>,
}

/// Begun sequences of rules.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequences {
    /// Under way.
    pub under_way: u64,
    /// So many had to make room for others so far.
    pub evicted: u64,
}

/// One of Sentinel's processes, as it described itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Loader, analyzer or enforcer.
    pub name: String,
    /// Whether it is there; what follows is empty where it is not.
    pub is_running: bool,
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Names of its effective capabilities.
    pub capabilities: Vec<String>,
    /// How far its sandbox goes, in words.
    pub sandbox: String,
    /// Since it was confined, s.
    pub uptime: u64,
    /// How often its service was started again by itself; `None` where it is no service.
    pub restarts: Option<u64>,
}

impl Part {
    /// The process `name` at `now` (CLOCK_BOOTTIME, ns), if it has described itself.
    pub fn of(name: &str, about: Option<&About>, now: u64) -> Self {
        let absent = About::default();
        let About { tgid, uid, capabilities, sandbox, since } = about.unwrap_or(&absent);
        Self {
            name: name.to_owned(),
            is_running: about.is_some(),
            pid: *tgid,
            uid: *uid,
            capabilities: capabilities.clone(),
            sandbox: sandbox.clone(),
            uptime: about.map_or(0, |_| now.saturating_sub(*since) / 1_000_000_000),
            restarts: None,
        }
    }

    fn text(&self) -> String {
        if !self.is_running {
            return "not there".to_owned();
        }
        let Self { pid, uid, capabilities, sandbox, uptime, restarts, .. } = self;
        let capabilities = match capabilities.as_slice() {
            [] => "no capabilities".to_owned(),
            some => some.join(", "),
        };
        let restarts =
            restarts.map(|count| format!(", restarted {count} times")).unwrap_or_default();
        format!("pid {pid}, uid {uid}, up {uptime} s{restarts}; {capabilities}; {sandbox}")
    }
}

/// An alert in brief. Strings from the system are escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAlert {
    /// CLOCK_REALTIME, ns.
    pub timestamp: u64,
    /// How bad.
    pub severity: String,
    /// The rule.
    pub pattern_name: String,
    /// Thread group id.
    pub pid: u32,
    /// What was done about it.
    pub action: String,
    /// In words.
    pub message: String,
}

impl LastAlert {
    /// The alert in brief.
    pub fn of(alert: &Alert) -> Self {
        Self {
            timestamp: alert.timestamp,
            severity: alert.severity.name().to_owned(),
            pattern_name: alert.pattern_name.to_string(),
            pid: alert.pid,
            action: alert.action.to_string(),
            message: alert.message.chars().take(MAX_MESSAGE_CHARS).collect(),
        }
    }
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
    /// Of those, programs that were started.
    pub execs: u64,
}

impl Events {
    /// The loader's counters, and the analyzer's own.
    pub fn of(counters: &Counters, processed: u64, late: u64, execs: u64) -> Self {
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
            execs,
        }
    }

    /// What came after `before`; a sensor that was started anew counts from 0 again.
    pub fn since(&self, before: &Self) -> Self {
        let new = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
        Self {
            seen: new(self.seen, before.seen),
            passed: new(self.passed, before.passed),
            emitted: new(self.emitted, before.emitted),
            dropped: new(self.dropped, before.dropped),
            dropped_urgent: new(self.dropped_urgent, before.dropped_urgent),
            unreadable: new(self.unreadable, before.unreadable),
            untracked: new(self.untracked, before.untracked),
            forwarded: new(self.forwarded, before.forwarded),
            shed: new(self.shed, before.shed),
            processed: new(self.processed, before.processed),
            late: new(self.late, before.late),
            execs: new(self.execs, before.execs),
        }
    }
}

/// What became of events and alerts in some time; a line of the log now and then, so that whoever reads
/// the log alone knows how much there was.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// How long, ns.
    pub period: u64,
    /// Events, of that time alone.
    #[serde(flatten)]
    pub events: Events,
    /// Alerts that were told as one line with others.
    pub alerts_folded: u64,
    /// Alerts that were told as a count.
    pub alerts_withheld: u64,
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

impl Alerts {
    /// How many of this severity.
    pub fn of(&mut self, severity: Severity) -> &mut u64 {
        match severity {
            Severity::Critical => &mut self.critical,
            Severity::High => &mut self.high,
            Severity::Warning => &mut self.warning,
            Severity::Info => &mut self.info,
            Severity::Debug => &mut self.debug,
        }
    }

    /// How many of all severities.
    pub fn sum(&self) -> u64 {
        let Self { critical, high, warning, info, debug } = *self;
        [critical, high, warning, info, debug].into_iter().fold(0, u64::saturating_add)
    }
}

impl fmt::Display for Alerts {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { critical, high, warning, info, debug } = self;
        write!(
            to,
            "critical {critical} · high {high} · warning {warning} · info {info} · debug {debug}"
        )
    }
}

impl Status {
    /// For people, a few lines.
    pub fn text(&self) -> String {
        // The analyzer, which says all this, is not trusted with somebody's terminal.
        let head = format!("Sentinel {}  {}", self.version, self.mode);
        let mut text = harmless(&head).into_owned() + "\n";
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            let _infallible = writeln!(text, "{}", harmless(&format!("  {name:<9} {value}")));
        };
        self.parts.iter().for_each(|part| line(&part.name, &part.text()));
        if !self.is_watching {
            line("sensor", &"NOTHING IS WATCHED: the loader is not there");
        }
        line("scope", &self.scope);
        line("rules", &console::loaded(&self.rules));
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
        line("alerts", &self.alerts);
        let Sequences { under_way, evicted } = &self.sequences;
        line("sequences", &format_args!("{under_way} under way · {evicted} made room for others"));
        if let Some(stages) = &self.correlation {
            line("exfil", stages);
        }
        if let Some(overview) = &self.baseline {
            line("baseline", overview);
        }
        if let Some(SyslogState { target, is_connected, sent, waiting, lost }) = &self.syslog {
            let how = if *is_connected { "" } else { " (no connection)" };
            line(
                "syslog",
                &format_args!("{target}{how} · sent {sent} · waiting {waiting} · lost {lost}"),
            );
        }
        line("processes", &format_args!("{} known to live", self.processes));
        for alert in &self.last_alerts {
            let LastAlert { timestamp, severity, pattern_name, pid, action, message } = alert;
            let time = clock_time(*timestamp);
            line(
                "alert",
                &format_args!("{time} {severity} {pattern_name} pid {pid} {action}: {message}"),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_in_the_text() {
        let about = About {
            tgid: 7,
            uid: 998,
            capabilities: vec!["CAP_BPF".into()],
            sandbox: "landlock".into(),
            since: 1_000_000_000,
        };
        let status = Status {
            version: "1.2.3".into(),
            pid: 7,
            uptime: 60,
            mode: "shadow mode\u{9b}2J".into(),
            scope: "everything".into(),
            hooks: vec!["sys_exit".into()],
            blind_to: vec!["io_uring".into()],
            rules: vec!["reverse_shell".into()],
            events: Events { dropped: 4, dropped_urgent: 1, ..Events::default() },
            processes: 9,
            sequences: Sequences { under_way: 5, evicted: 6 },
            correlation: Some(Stages { network_opened: 3, file_read: 2, data_sent: 1 }),
            baseline: Some(Overview { known: 8, anomalies: 3, ..Overview::default() }),
            syslog: Some(SyslogState {
                target: "tcp:x:514".into(),
                lost: 3,
                ..SyslogState::default()
            }),
            alerts: Alerts { critical: 2, ..Alerts::default() },
            parts: vec![
                Part { restarts: Some(2), ..Part::of("loader", Some(&about), 61_000_000_000) },
                Part::of("enforcer", None, 0),
            ],
            is_watching: true,
            last_alerts: vec![LastAlert {
                timestamp: 0,
                severity: "critical".into(),
                pattern_name: "reverse_shell".into(),
                pid: 12,
                action: "terminated".into(),
                message: "bash\n  alert forged \x1b[2J".into(),
            }],
        };
        let text = status.text();
        for words in [
            "1.2.3",
            "shadow",
            "pid 7, uid 998, up 60 s, restarted 2 times; CAP_BPF; landlock",
            "enforcer  not there",
            "shadow mode?2J\n",
            "00:00:00.000Z critical reverse_shell pid 12 terminated: bash?  alert forged ?[2J\n",
            "1 hooks: sys_exit",
            "blind to  io_uring",
            "dropped 4 (urgent 1)",
            "critical 2",
            "9 known",
            "5 under way · 6 made",
            "8 programs known · 0 being learned · 0 rates · anomalies 3",
            "syslog    tcp:x:514 (no connection) · sent 0 · waiting 0 · lost 3",
            "network opened 3 · secret read 2 · data sent 1",
        ] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
    }
}
