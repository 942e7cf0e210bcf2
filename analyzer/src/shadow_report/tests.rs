use std::{fmt::Write as _, fs, path::PathBuf};

use clap::Parser;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::command_line::{Command, CommandLine};

/// As a shell's may be, or anything.
const COMMAND_LINE: &str = "[a-z*?/ ]{0,60}(\\[redacted\\])?|\\PC{0,130}|(?s).{0,200}";
const HOUR: u64 = 3_600_000_000_000;

fn run_on(text: &str, more: &[&str]) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let (log, rules) = (directory.path().join("alerts.json"), directory.path().join("rules.d"));
    fs::write(&log, text).unwrap();
    fs::create_dir(&rules).unwrap();
    report(&[log], &rules, more)
}

/// The report on `all` by rules to which `text` adds.
fn run_with(all: &[Value], text: &str) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let (log, rules) = (directory.path().join("alerts.json"), directory.path().join("rules.d"));
    fs::write(&log, lines(all)).unwrap();
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("own.toml"), text).unwrap();
    report(&[log], &rules, &[])
}

fn report(logs: &[PathBuf], rules: &Path, more: &[&str]) -> Report {
    let rules = format!("--rules={}", rules.display());
    let logs: Vec<&str> = logs.iter().map(|log| log.to_str().unwrap()).collect();
    let words = [&["sentinel", "shadow-report", &rules], more, &logs].concat();
    let Command::ShadowReport(arguments) = CommandLine::parse_from(words).command else { panic!() };
    super::run(&arguments).unwrap()
}

fn alert(rule: &str, severity: &str, exe: &str, parent: &str) -> Value {
    json!({
        "timestamp": HOUR, "engine": "patterns", "pattern_name": rule, "severity": severity,
        "pid": 7, "exe": exe, "exe_trusted": true, "cmdline": "a 'b c' \\u{1b}",
        "ancestors": [{"pid": 1, "exe": parent, "exe_trusted": true}], "action": "logged", "message": "it did it",
    })
}

fn counters(execs: u64) -> Value {
    let none: Value = serde_json::to_value(crate::status::Period::default()).unwrap();
    let mut counters = none;
    counters["period"] = (10 * HOUR).into();
    counters["execs"] = execs.into();
    counters["processed"] = (execs * 100).into();
    json!({
        "timestamp": 2 * HOUR, "engine": "sensor", "pattern_name": "sensor_counters",
        "severity": "debug", "action": "logged", "message": "", "counters": counters,
    })
}

fn lines(all: &[Value]) -> String {
    all.iter().fold(String::new(), |mut text, one| {
        writeln!(text, "{one}").unwrap();
        text
    })
}

#[test]
fn rates_are_told_by_hour_events_and_programs() {
    let one = alert("foreign_process_traced", "high", "/usr/bin/tracer", "/usr/bin/make");
    let mut folded = one.clone();
    folded["count"] = 4.into();
    let report = run_on(&lines(&[one, folded, counters(20_000), counters(30_000)]), &[]);
    assert!(report.wrong.is_empty(), "{:?}", report.wrong);
    for words in [
        "20.0 hours: 5000000 events, 50000 programs started",
        "foreign_process_traced  critical 0 · high 5",
        "0.250 an hour · 1.000 per million events · 1.000 per 10,000 programs started",
        "programs   5 /usr/bin/tracer",
        "parents    5 /usr/bin/make",
        "0 kills would have been asked for; never more than the budget",
        "0 of 0 critical alerts are unexplained: 0.000 per 10,000 programs started, to be below 1: met",
    ] {
        assert!(report.text.contains(words), "{words} in\n{}", report.text);
    }
}

#[test]
fn the_bar_is_met_only_when_that_is_known() {
    let critical = alert("reverse_shell", "critical", "/opt/tool", "/usr/sbin/cron");
    for (execs, verdict) in [
        (Some(10_001), ": met"),
        (Some(10_000), "NOT MET"),
        (Some(50), "NOT MET"),
        (None, "without counters nobody knows"),
    ] {
        let all = [critical.clone()].into_iter().chain(execs.map(counters)).collect::<Vec<_>>();
        let report = run_on(&lines(&all), &[]);
        assert!(report.text.contains(verdict), "{execs:?}: {}", report.text);
        assert!(report.text.contains("1 of 1 critical alerts are unexplained"), "{}", report.text);
        assert!(report.text.contains("1 kill would have been asked for"), "{}", report.text);
    }
    let little = run_on(&lines(&[counters(50)]), &[]);
    assert!(little.text.contains("not known yet"), "{}", little.text);
}

#[test]
fn more_kills_than_the_budget_are_told() {
    let critical = alert("reverse_shell", "critical", "/opt/tool", "/usr/sbin/cron");
    let report = run_on(&lines(&vec![critical; 11]), &[]);
    assert!(report.text.contains("in 1 minute more than the budget of 10"), "{}", report.text);
}

#[test]
fn what_was_withheld_counts_for_its_rule() {
    let withheld = json!({
        "timestamp": HOUR, "engine": "sensor", "pattern_name": "alerts_withheld",
        "severity": "critical", "action": "logged", "message": "",
        "withheld": {"pattern_name": "fork_bomb", "critical": 2, "high": 5, "warning": 0,
            "info": 0, "debug": 0},
    });
    let report = run_on(&lines(&[withheld, counters(50_000)]), &[]);
    for words in ["fork_bomb  critical 2 · high 5", "2 of 2 critical", "7 alerts of programs"] {
        assert!(report.text.contains(words), "{words} in\n{}", report.text);
    }
}

#[test]
fn bad_lines_are_told_and_the_rest_is_used() {
    let good = alert("reverse_shell", "critical", "/opt/tool", "/usr/sbin/cron").to_string();
    let text = format!("{}{good}\n\u{9b}2J\n{good}\n", "nonsense\n".repeat(30));
    let report = run_on(&text, &[]);
    assert_eq!(report.wrong.len(), 21, "{:#?}", report.wrong);
    assert!(report.wrong[0].contains("alerts.json:1: "), "{:#?}", report.wrong);
    assert!(report.wrong[20].contains("11 more lines"), "{:#?}", report.wrong);
    assert!(report.text.contains("2, and 31 that are none"), "{}", report.text);
    let missing = report_of_missing();
    assert!(missing.wrong[0].contains("/nonexistent: No such file"), "{:?}", missing.wrong);
}

fn report_of_missing() -> Report {
    let rules = tempfile::tempdir().unwrap();
    report(&[PathBuf::from("/nonexistent")], rules.path(), &[])
}

#[test]
fn what_is_proposed_is_sound_and_explains_the_alerts() {
    let mut untrusted = alert("reverse_shell", "critical", "/tmp/x", "/usr/sbin/cron");
    untrusted["exe_trusted"] = false.into();
    let shell = alert("reverse_shell", "critical", "/usr/bin/bash", "/usr/sbin/\"cron\"");
    let mut nameless_shell = alert("reverse_shell", "critical", "/usr/bin/bash", "x");
    nameless_shell["ancestors"] = json!([]);
    let all = [
        shell,
        alert("foreign_process_traced", "critical", "/usr/bin/tracer", "/usr/bin/make"),
        alert("fork_bomb", "high", "/usr/bin/stress", "/x\\u{1b}"),
        untrusted,
        nameless_shell,
        alert("rule_that_is_gone", "critical", "/usr/bin/y", "/usr/bin/make"),
        counters(1_000_000),
    ];
    let directory = tempfile::tempdir().unwrap();
    let (log, rules) = (directory.path().join("alerts.json"), directory.path().join("rules.d"));
    fs::write(&log, lines(&all)).unwrap();
    fs::create_dir(&rules).unwrap();
    let toml = report(std::slice::from_ref(&log), &rules, &["--toml"]).text;
    assert_eq!(toml.matches("[[allow]]").count(), 3, "{toml}");
    assert!(!toml.contains("/tmp/x") && !toml.contains("gone"), "{toml}");
    assert!(toml.contains(r#"argv = "a 'b c' \\u{1b}""#), "a shell needs its arguments: {toml}");
    let before = report(std::slice::from_ref(&log), &rules, &[]).text;
    assert!(before.contains("5 of 5 critical"), "{before}");
    fs::write(rules.join("proposed.toml"), &toml).unwrap();
    let after = report(std::slice::from_ref(&log), &rules, &[]).text;
    assert!(after.contains("3 of 5 critical"), "{after}");
    assert_eq!(report(&[log], &rules, &["--toml"]).text, "", "nothing is left to propose");
}

#[test]
fn what_was_folded_is_a_kill_for_each_other_process() {
    let one = alert("reverse_shell", "critical", "/opt/tool", "/usr/sbin/cron");
    let mut others = one.clone();
    (others["count"], others["pids"]) = (5.into(), json!([7, 8, 9]));
    let report = run_on(&lines(&[one.clone(), others.clone()]), &[]);
    for words in ["6 of 6 critical alerts", "  3 kills would have been asked for"] {
        assert!(report.text.contains(words), "{words} in\n{}", report.text);
    }
    let many: Vec<u32> = (0..16).collect();
    (others["count"], others["pids"]) = (40.into(), json!(many));
    let report = run_on(&lines(&[one, others]), &[]);
    assert!(report.text.contains("  41 kills would"), "{}", report.text);
}

#[test]
fn what_others_ran_in_a_line_that_stands_for_many_is_not_explained() {
    let one = alert("reverse_shell", "critical", "/opt/tool", "/usr/sbin/cron");
    let mut others = one.clone();
    (others["count"], others["pids"]) = (3.into(), json!([7, 8]));
    let all = [one, others];
    let toml = run_on(&lines(&all), &["--toml"]).text;
    assert!(toml.contains("# 3 alerts, 3 of them critical"), "{toml}");
    let report = run_with(&all, &toml);
    for words in ["1 of 4 critical alerts are unexplained", "perhaps    1 alert of which"] {
        assert!(report.text.contains(words), "{words} in\n{}", report.text);
    }
}

#[test]
fn an_exception_by_a_command_line_means_what_rules_see() {
    let shell = |cmdline: &str| {
        let mut one = alert("reverse_shell", "critical", "/usr/bin/bash", "/usr/sbin/cron");
        one["cmdline"] = cmdline.into();
        one
    };
    let secret = shell("bash -c 'db --password=[redacted]'");
    let report = run_on(&lines(std::slice::from_ref(&secret)), &[]);
    assert!(!report.text.contains("[[allow]]"), "{}", report.text);
    assert!(report.text.contains("redacted   1 alert of these"), "{}", report.text);
    let report = run_on(&lines(&[shell("bash -c 'ls * ?'")]), &["--toml"]);
    assert!(report.text.contains("argv = \"bash -c 'ls ? ?'\""), "{}", report.text);
    // 127 characters, and more bytes than a glob may have.
    let report = run_on(&lines(&[shell(&"é".repeat(127))]), &["--toml"]);
    assert_eq!(report.text, "");
    for (argv, explained) in [("bash -c 'db **'", 0), ("bash -c 'db --password=[redacted]'", 1)] {
        let text =
            format!("[[allow]]\nrule = 'reverse_shell'\nexe = '/usr/bin/bash'\nargv = \"{argv}\"");
        let report = run_with(std::slice::from_ref(&secret), &text);
        let words = format!("{explained} of 1 critical alerts are unexplained");
        assert!(report.text.contains(&words), "{words} in\n{}", report.text);
    }
}

#[test]
fn a_script_is_how_an_interpreter_is_known() {
    let mut one = alert("reverse_shell", "critical", "/usr/bin/python3.13", "/usr/sbin/cron");
    one["script"] = "/opt/backup/push".into();
    one["cmdline"] = "python3 /opt/backup/push --token=[redacted]".into();
    let toml = run_on(&lines(std::slice::from_ref(&one)), &["--toml"]).text;
    assert!(toml.contains("script = \"/opt/backup/push\"") && !toml.contains("argv"), "{toml}");
    let report = run_with(std::slice::from_ref(&one), &toml);
    assert!(report.text.contains("0 of 1 critical"), "{}", report.text);
    let other = toml.replace("backup/push", "other");
    assert!(run_with(&[one], &other).text.contains("1 of 1 critical"), "{other}");
}

#[test]
fn what_no_log_tells_is_said_to_be_open() {
    let read = alert("credential_exfil", "critical", "/opt/push", "/usr/sbin/cron");
    let client = "[[client]]\nwhy = 'its own service'\nexe = '/opt/push'\nclass = 'private_key'";
    let report = run_with(std::slice::from_ref(&read), client);
    assert!(report.text.contains("perhaps    1 alert of which"), "{}", report.text);
    assert!(report.text.contains("1 of 1 critical"), "it is no excuse: {}", report.text);
    assert!(!run_with(&[read], "").text.contains("perhaps"), "what is built in held already");
    let packet = alert("packet_socket", "critical", "/opt/sniff", "/usr/sbin/cron");
    let by_event = "[[allow]]\nrule = 'packet_socket'\nexe = '/opt/sniff'\nwhere = { uid = 0 }";
    let report = run_with(&[packet], by_event);
    assert!(report.text.contains("perhaps    1 alert of which"), "{}", report.text);
}

#[test]
fn an_exception_for_a_parent_that_none_may_know_is_not_proposed() {
    let mut one = alert("fork_bomb", "critical", "/usr/bin/stress", "/tmp/starter");
    one["ancestors"][0]["exe_trusted"] = false.into();
    let toml = run_on(&lines(std::slice::from_ref(&one)), &["--toml"]).text;
    assert!(toml.contains("/usr/bin/stress") && !toml.contains("parent"), "{toml}");
    let narrower = format!("{toml}parent = '/tmp/starter'\n");
    assert!(run_with(&[one], &narrower).text.contains("1 of 1 critical"), "{narrower}");
}

#[test]
fn the_enforcers_own_budget_is_reckoned_with() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("analyzer.toml");
    fs::write(&config, "").unwrap();
    fs::write(directory.path().join("enforcer.toml"), "kills-per-minute = 2\n").unwrap();
    let critical = alert("reverse_shell", "critical", "/opt/tool", "/usr/sbin/cron");
    let config = format!("--config={}", config.display());
    let report = run_on(&lines(&vec![critical; 3]), &[&config]);
    assert!(report.text.contains("in 1 minute more than the budget of 2,"), "{}", report.text);
}

#[test]
fn a_rule_that_is_off_now_explains_its_alerts() {
    let all = [alert("reverse_shell", "critical", "/opt/tool", "/x"), counters(50_000)];
    let report = run_on(&lines(&all), &["--disable-rules=reverse_shell"]);
    assert!(report.text.contains("0 of 1 critical"), "{}", report.text);
    let all = [alert("packet_socket", "critical", "/opt/tool", "/x"), counters(50_000)];
    let report = run_on(&lines(&all), &["--disable-rules=packet_socket"]);
    assert!(report.text.contains("0 of 1 critical"), "{}", report.text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Whatever stands in a log, what is proposed can be loaded and explains what it was made from, and nothing in
    /// the report steers a terminal.
    #[test]
    fn proposals_load_whatever_a_log_holds(
        texts in proptest::collection::vec(("/\\PC{0,30}|(?s).{0,30}", COMMAND_LINE, "(?s)/.{0,40}", any::<bool>()), 1..12),
        names in proptest::sample::subsequence(vec!["/usr/bin/bash", "/usr/bin/a", "/x y"], 1..3),
    ) {
        let mut all = Vec::new();
        for (exe, cmdline, parent, is_known) in &texts {
            for exe in names.iter().copied().chain([exe.as_str()]) {
                let mut one = alert("reverse_shell", "critical", exe, parent);
                one["cmdline"] = cmdline.as_str().into();
                one["message"] = cmdline.as_str().into();
                one["ancestors"][0]["exe_trusted"] = (*is_known).into();
                all.push(one);
            }
        }
        let whole = run_on(&lines(&all), &[]);
        let toml = run_on(&lines(&all), &["--toml"]);
        prop_assert!(whole.wrong.is_empty());
        for text in [&whole.text, &toml.text] {
            let is_bad = |c: char| (c.is_control() && c != '\n') || crate::escape::is_invisible(c);
            prop_assert!(!text.contains(is_bad), "{:?}", text);
        }
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("x.toml"), &toml.text).unwrap();
        let choice = Choice { directory: Some(directory.path().to_owned()), ..Choice::default() };
        let loaded = RuleSet::load(&choice).map(drop);
        prop_assert!(loaded.is_ok(), "{:?}\n{}", loaded, toml.text);
        // Each by itself, since there is no room for all of them.
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("x");
        for one in all.iter().take(4) {
            let toml = run_on(&lines(std::slice::from_ref(one)), &["--toml"]).text;
            let rules = directory.path().join("rules.d");
            fs::create_dir_all(&rules).unwrap();
            fs::write(rules.join("x.toml"), &toml).unwrap();
            fs::write(&log, lines(std::slice::from_ref(one))).unwrap();
            let after = report(std::slice::from_ref(&log), &rules, &[]).text;
            let left = usize::from(toml.is_empty());
            prop_assert!(after.contains(&format!("{left} of 1 critical")), "{one}\n{toml}\n{after}");
        }
    }

    #[test]
    fn any_bytes_are_a_report(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("x");
        fs::write(&log, bytes).unwrap();
        let rules = directory.path().join("rules.d");
        fs::create_dir(&rules).unwrap();
        report(&[log], &rules, &[]);
    }
}
