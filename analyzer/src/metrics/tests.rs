use std::{
    collections::{BTreeMap, HashSet},
    io::Write as _,
    process::{Command, Stdio},
};

use super::*;
use crate::{
    alert::Alert,
    analysis::Analysis,
    baseline::overview::Overview,
    correlation::Stages,
    sinks::syslog::SyslogState,
    status::{Part, Sequences},
};

fn sample() -> String {
    let status = Status {
        version: "1.2".into(),
        pid: 1,
        uptime: 7,
        mode: "shadow".into(),
        parts: vec![Part::of("loader", None, 0)],
        is_watching: true,
        scope: "all".into(),
        hooks: Vec::new(),
        blind_to: Vec::new(),
        rules: vec!["x".into()],
        events: Events { dropped: 5, dropped_urgent: 2, processed: 9, ..Events::default() },
        processes: 3,
        alerts: Alerts { critical: 1, ..Alerts::default() },
        last_alerts: Vec::new(),
        sequences: Sequences { under_way: 1, evicted: 2 },
        correlation: Some(Stages { network_opened: 3, file_read: 2, data_sent: 1 }),
        baseline: Some(Overview { known: 4, ..Overview::default() }),
        syslog: Some(SyslogState { lost: 8, ..SyslogState::default() }),
    };
    let mut tally = Tally::default();
    let alert = Analysis::new(false).breaker_tripped(1);
    tally.add(&Alert { pattern_name: "a\"b\\c".into(), ..alert.clone() });
    tally.add(&alert);
    tally.alert_latency.add(1_500_000_000);
    let numbers = Numbers {
        status: &status,
        tally: &tally,
        left_out: (6, 7),
        log_failures: &[("/x/alerts.json".to_owned(), 3)],
        enforces: false,
        memory: Some(1 << 20),
    };
    text(&numbers)
}

/// The samples of a text, by name and labels; every rule of the format that matters is checked.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut kinds = BTreeMap::new();
    let mut all = BTreeMap::new();
    let mut helped = HashSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split(' ').next().unwrap();
            assert!(helped.insert(name.to_owned()), "{name} comes twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helped.contains(name), "{name} has no help");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            kinds.insert(name.to_owned(), kind.to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(is_name), "{line}");
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
                name.strip_suffix(end)
                    .filter(|it| kinds.get(*it).is_some_and(|it| it == "histogram"))
            });
            assert!(kinds.contains_key(family.unwrap_or(name)), "{line} has no type");
            let value: f64 = value.parse().unwrap();
            assert!(all.insert(series.to_owned(), value).is_none(), "{series} comes twice");
        }
    }
    assert!(text.ends_with('\n'));
    all
}

#[test]
fn each_number_has_its_name_type_and_help() {
    let all = samples(&sample());
    for (series, value) in [
        ("sentinel_events_total{stage=\"processed\"}", 9.0),
        ("sentinel_events_lost_total{why=\"other_ring_full\"}", 3.0),
        ("sentinel_rule_alerts_total{rule=\"enforcement_breaker\",severity=\"critical\"}", 1.0),
        ("sentinel_rule_alerts_total{rule=\"a\\\"b\\\\c\",severity=\"critical\"}", 1.0),
        ("sentinel_alert_actions_total{action=\"logged\"}", 2.0),
        ("sentinel_alert_latency_seconds_bucket{le=\"1\"}", 0.0),
        ("sentinel_alert_latency_seconds_bucket{le=\"2.5\"}", 1.0),
        ("sentinel_alert_latency_seconds_sum", 1.5),
        ("sentinel_kill_latency_seconds_count", 0.0),
        ("sentinel_part_up{part=\"loader\"}", 0.0),
        ("sentinel_processes", 3.0),
        ("sentinel_alerts_folded_total", 6.0),
        ("sentinel_log_lost_total{path=\"/x/alerts.json\"}", 3.0),
        ("sentinel_syslog_lost_total", 8.0),
        ("sentinel_syslog_up", 0.0),
        ("sentinel_analyzer_resident_memory_bytes", 1_048_576.0),
    ] {
        assert_eq!(all.get(series), Some(&value), "{series}");
    }
}

/// Where Prometheus is installed, its own checker agrees.
#[test]
fn promtool_finds_nothing_wrong() {
    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checker) = checker else { return };
    checker.stdin.take().unwrap().write_all(sample().as_bytes()).unwrap();
    let output = checker.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
