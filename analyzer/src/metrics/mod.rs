//! Numbers for Prometheus, in its text format (version 0.0.4), as node_exporter's textfile collector reads
//! it.

use std::fmt::{Display, Write as _};

mod file;
pub mod histogram;
pub mod tally;

pub use file::MetricsFile;
use histogram::Histogram;
pub use tally::Tally;

use crate::status::{Alerts, Events, Status};

/// All that is told.
#[derive(Debug)]
pub struct Numbers<'a> {
    /// What `sentinel status` tells.
    pub status: &'a Status,
    /// What was counted of alerts.
    pub tally: &'a Tally,
    /// Alerts that were folded into others, and that were withheld.
    pub left_out: (u64, u64),
    /// Lines that each log did not take, by its path.
    pub log_failures: &'a [(String, u64)],
    /// Whether critical alerts are enforced.
    pub enforces: bool,
    /// Resident memory of the analyzer, bytes, if that is known.
    pub memory: Option<u64>,
}

/// A text under way.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    /// Begins a metric.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample; values of labels are escaped.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (number, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let before = if number == 0 { '{' } else { ',' };
            let _infallible = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _infallible = writeln!(self.0, "{after} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, "counter", help);
        self.sample(name, &[], value);
    }

    /// A counter with one label.
    fn counters<'a>(
        &mut self,
        (name, label): (&str, &str),
        help: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.metric(name, "counter", help);
        for (of, value) in values {
            self.sample(name, &[(label, of)], value);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.metric(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            self.sample(&bucket, &[("le", bound)], count);
        }
        self.sample(&bucket, &[("le", "+Inf")], histogram.count);
        let (seconds, nanoseconds) = (histogram.sum / 1_000_000_000, histogram.sum % 1_000_000_000);
        self.sample(&format!("{name}_sum"), &[], format_args!("{seconds}.{nanoseconds:09}"));
        self.sample(&format!("{name}_count"), &[], histogram.count);
    }
}

/// All numbers as text.
pub fn text(numbers: &Numbers<'_>) -> String {
    let Numbers { status, tally, left_out, log_failures, enforces, memory } = numbers;
    let (folded, withheld) = left_out;
    let mut text = Text::default();
    text.metric("sentinel_build_info", "gauge", "Version of Sentinel.");
    text.sample("sentinel_build_info", &[("version", &status.version)], 1);
    let watching = u8::from(status.is_watching);
    text.gauge("sentinel_watching", "Whether the sensor reports (1) or not (0).", watching);
    let help = "Whether critical alerts are enforced (1) or only told (0).";
    text.gauge("sentinel_enforcing", help, u8::from(*enforces));
    text.metric("sentinel_part_up", "gauge", "Whether each of Sentinel's processes is there.");
    for part in &status.parts {
        text.sample("sentinel_part_up", &[("part", &part.name)], u8::from(part.is_running));
    }
    text.gauge("sentinel_uptime_seconds", "Since the sensor was attached.", status.uptime);
    events(&mut text, &status.events);
    alerts(&mut text, &status.alerts, tally);
    let help = "Alerts that were told as one line with the same before them.";
    text.counter("sentinel_alerts_folded_total", help, *folded);
    let help = "Alerts that were told as a count, because their rule said too much.";
    text.counter("sentinel_alerts_withheld_total", help, *withheld);
    if !log_failures.is_empty() {
        text.counters(
            ("sentinel_log_lost_total", "path"),
            "Lines that a log did not take.",
            log_failures.iter().map(|(path, count)| (path.as_str(), *count)),
        );
    }
    tables(&mut text, status);
    if let Some(bytes) = memory {
        text.gauge("sentinel_analyzer_resident_memory_bytes", "The analyzer's memory.", bytes);
    }
    text.0
}

fn events(text: &mut Text, events: &Events) {
    text.counters(
        ("sentinel_events_total", "stage"),
        "Events by how far they came since the loader was met.",
        [
            ("seen", events.seen),
            ("passed", events.passed),
            ("emitted", events.emitted),
            ("forwarded", events.forwarded),
            ("processed", events.processed),
            ("late", events.late),
        ],
    );
    let other = events.dropped.saturating_sub(events.dropped_urgent);
    text.counters(
        ("sentinel_events_lost_total", "why"),
        "Events, or what belongs to them, that were lost since the loader was met.",
        [
            ("urgent_ring_full", events.dropped_urgent),
            ("other_ring_full", other),
            ("no_analyzer", events.shed),
            ("unreadable", events.unreadable),
            ("untracked", events.untracked),
        ],
    );
    text.counter("sentinel_execs_total", "Programs that were started.", events.execs);
}

fn alerts(text: &mut Text, alerts: &Alerts, tally: &Tally) {
    let Alerts { critical, high, warning, info, debug } = *alerts;
    text.counters(
        ("sentinel_alerts_total", "severity"),
        "Alerts that were raised.",
        [
            ("critical", critical),
            ("high", high),
            ("warning", warning),
            ("info", info),
            ("debug", debug),
        ],
    );
    let name = "sentinel_rule_alerts_total";
    text.metric(name, "counter", "Alerts that were raised, by rule.");
    for ((rule, severity), count) in &tally.alerts {
        text.sample(name, &[("rule", rule), ("severity", severity.name())], count);
    }
    text.counters(
        ("sentinel_alert_actions_total", "action"),
        "What was done about alerts.",
        tally.actions.iter().map(|(action, count)| (action.as_str(), *count)),
    );
    let help = "From an event to the alert on it.";
    text.histogram("sentinel_alert_latency_seconds", help, &tally.alert_latency);
    let help = "From an event to the end of the process behind it, where that was enforced.";
    text.histogram("sentinel_kill_latency_seconds", help, &tally.kill_latency);
}

fn tables(text: &mut Text, status: &Status) {
    text.gauge("sentinel_processes", "Processes that are known to live.", status.processes);
    let under_way = status.sequences.under_way;
    text.gauge("sentinel_sequences", "Sequences of rules under way.", under_way);
    let help = "Sequences that had to make room for others.";
    text.counter("sentinel_sequences_evicted_total", help, status.sequences.evicted);
    let rules = status.rules.len();
    text.gauge("sentinel_rules", "Rules that are looked for.", rules);
    if let Some(stages) = status.correlation {
        text.counters(
            ("sentinel_correlation_stages_total", "stage"),
            "How often each stage of the correlation engine was reached.",
            [
                ("network_opened", stages.network_opened),
                ("file_read", stages.file_read),
                ("data_sent", stages.data_sent),
            ],
        );
    }
    if let Some(overview) = &status.baseline {
        let name = "sentinel_baseline_programs";
        text.metric(name, "gauge", "Programs of the baseline engine.");
        text.sample(name, &[("state", "known")], overview.known);
        text.sample(name, &[("state", "learning")], overview.learning);
        let help = "Alerts of the baseline engine.";
        text.counter("sentinel_baseline_anomalies_total", help, overview.anomalies);
    }
    if let Some(syslog) = &status.syslog {
        let up = "sentinel_syslog_up";
        text.metric(up, "gauge", "Whether there is a connection to syslog.");
        text.sample(up, &[], u64::from(syslog.is_connected));
        let sent = "Alerts that were sent to syslog.";
        text.counter("sentinel_syslog_sent_total", sent, syslog.sent);
        let lost = "Alerts that did not and will not arrive at syslog.";
        text.counter("sentinel_syslog_lost_total", lost, syslog.lost);
        let waiting = "sentinel_syslog_waiting";
        text.metric(waiting, "gauge", "Alerts that wait for syslog.");
        text.sample(waiting, &[], syslog.waiting);
    }
}

#[cfg(test)]
mod tests;
