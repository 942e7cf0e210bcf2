use std::{fs, path::PathBuf};

use clap::Args;
use proptest::prelude::*;
use sentinel_ipc::small_file::SmallFileError;

use super::*;

fn parse(text: &str) -> Result<Settings, (usize, String)> {
    Settings::parse(text.as_bytes())
}

/// The names of all settings.
fn keys() -> Vec<String> {
    let command = Settings::augment_args(clap::Command::new("none"));
    command.get_arguments().map(|argument| argument.get_long().unwrap().to_owned()).collect()
}

/// The file that is installed.
const SHIPPED: &str = include_str!("../../../packaging/config/analyzer.toml");

#[test]
fn the_file_knows_the_options_under_their_names() {
    assert!(keys().len() >= 8);
    for key in keys() {
        // A list of fractions suits none of them.
        let (_, why) = parse(&format!("{key} = [1.5]")).unwrap_err();
        assert!(!why.contains("is no key") && why.contains(&key), "{key}: {why}");
    }
}

#[test]
fn the_shipped_file_logs_to_two_places_and_names_every_key() {
    let shipped = parse(SHIPPED).unwrap();
    let json_log = Some(JSON_LOG.into());
    let syslog = Some(SyslogTarget::default());
    let expected = Configuration { json_log, syslog, ..Configuration::default() };
    assert_eq!(Configuration::of(shipped).unwrap(), expected);
    for key in keys() {
        let says = |line: &str| {
            let line = line.strip_prefix("#").unwrap_or(line);
            line.strip_prefix(&key).is_some_and(|rest| rest.starts_with(" = "))
        };
        assert!(SHIPPED.lines().any(says), "{key}");
    }
    // What is commented out is right too.
    let is_setting = |line: &&str| {
        let key = line.strip_prefix('#').unwrap_or(line).split(" = ").next();
        keys().iter().any(|known| key == Some(known))
    };
    let all: Vec<&str> = SHIPPED.lines().filter(is_setting).collect();
    assert_eq!(all.len(), keys().len(), "each key once");
    parse(&all.join("\n").replace('#', "")).unwrap();
}

#[test]
fn a_place_without_its_switch_is_refused() {
    for (text, key) in
        [("json-log-path = \"/x\"", "enable-json-log"), ("syslog = \"unix:/x\"", "enable-syslog")]
    {
        let error = Configuration::of(parse(text).unwrap()).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
        let switched = parse(&format!("{text}\n{key} = false")).unwrap();
        assert_eq!(Configuration::of(switched).unwrap(), Configuration::default());
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_key() {
    for (text, line, words) in [
        ("\n\nfrobnicate = 1", 3, &["frobnicate", "enable-grimoire", "syslog"][..]),
        ("grimoire-lgo = \"/x\"", 1, &["did you mean `grimoire-log`?"]),
        ("grimoire-debug = true\ngrimoire-enforce = \"yes\"", 2, &["grimoire-enforce", "boolean"]),
        ("grimoire-log = \"x.json\"", 1, &["grimoire-log", "x.json", "absolute"]),
        ("json-log-path = 7", 1, &["json-log-path", "string"]),
        ("# one\nsyslog = \"udp:host\"", 2, &["syslog", "udp:host", "a port is missing"]),
        ("local-networks = [\"10.0.0.0/33\"]", 1, &["local-networks", "10.0.0.0/33", "a network"]),
        ("# one\nredact = [\"a={}\", \"badge\"]", 2, &["redact", "\"badge\"", "{} is missing"]),
        ("correlation-timeout = 60001", 1, &["correlation-timeout", "60001", "60000"]),
        ("correlation-threshold = 0", 1, &["correlation-threshold"]),
        ("syslog = \"/dev/log\"", 1, &["syslog", "unix:PATH"]),
        ("grimoire-debug = true\ngrimoire-debug = true", 2, &["grimoire-debug", "duplicate"]),
        ("grimoire-debug =\n", 1, &["grimoire-debug"]),
        ("[alerts]\nsyslog = \"unix:/x\"", 1, &["alerts"]),
        ("syslog = \"\u{1b}[2J\"", 1, &["syslog"]),
    ] {
        let (found, why) = parse(text).unwrap_err();
        assert_eq!(found, line, "{text:?}: {why}");
        for word in words {
            assert!(why.contains(word), "{text:?}: {why}");
        }
        assert!(!why.contains(char::is_control), "{why:?}");
    }
    assert_eq!(Settings::parse(b"\n\xff").unwrap_err().0, 2);
}

#[test]
fn what_is_no_file_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let error = |path: &Path| Settings::read(path).unwrap_err();
    assert!(error(&path("missing")).is_missing());
    assert!(matches!(
        error(directory.path()),
        ConfigurationError::File(SmallFileError::NotAFile(_))
    ));
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(error(&path("fifo")), ConfigurationError::File(SmallFileError::NotAFile(_))));
    fs::write(path("large"), "#".repeat((1 << 20) + 1)).unwrap();
    assert!(matches!(
        error(&path("large")),
        ConfigurationError::File(SmallFileError::TooLarge(..))
    ));
    fs::write(path("wrong"), "\nx = 1").unwrap();
    let told = error(&path("wrong")).to_string();
    assert!(told.starts_with(&format!("{}:2: ", path("wrong").display())), "{told}");
}

#[test]
fn options_go_before_the_file_and_the_file_before_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("analyzer.toml");
    fs::write(&file, "grimoire-enforce = true\ngrimoire-debug = true\nenable-json-log = true\n")
        .unwrap();
    let options = Settings { grimoire_enforce: Some(false), ..Settings::default() };
    let found = Configuration::load(Some(&file), &options).unwrap();
    let wanted = Configuration {
        debug: true,
        json_log: Some("/var/log/sentinel/alerts.json".into()),
        ..Configuration::default()
    };
    assert_eq!(found, wanted);
    let missing = Configuration::load(Some(&directory.path().join("x")), &options).unwrap_err();
    assert!(missing.is_missing() && missing.to_string().contains("/x: "), "{missing}");
}

#[test]
fn contradictions_are_told() {
    let told = |text: &str| Configuration::of(parse(text).unwrap()).unwrap_err().to_string();
    assert!(told("enable-grimoire = false\nenable-correlation = false").contains("no other"));
    assert!(told("enable-grimoire = true\nauto-terminate = true").contains("enable-correlation"));
    assert!(told("enable-correlation = true\ngrimoire-enforce = true").contains("grimoire"));
    let one = "grimoire-log = \"/x\"\nenable-json-log = true\njson-log-path = \"/x\"";
    assert!(told(one).contains("one file"));
}

#[test]
fn engines_look_that_are_named_or_all() {
    for (text, patterns, correlation) in [
        ("", true, true),
        ("enable-baseline = true", false, false),
        ("enable-baseline = true\nenable-grimoire = true", true, false),
        ("enable-grimoire = true", true, false),
        ("enable-correlation = true", false, true),
        ("enable-grimoire = false", false, true),
        ("enable-correlation = false", true, false),
        ("enable-grimoire = true\nenable-correlation = true", true, true),
    ] {
        let engines = Configuration::of(parse(text).unwrap()).unwrap().engines;
        let found = (engines.patterns, engines.correlation.is_some());
        assert_eq!(found, (patterns, correlation), "{text}");
    }
    let numbers = "correlation-threshold = 120\ncorrelation-timeout = 900\nmin-exfil-bytes = 64\n\
                   local-networks = [\"10.0.0.0/8\", \"fd00::/8\"]";
    let engines = Configuration::of(parse(numbers).unwrap()).unwrap().engines;
    let policy = Policy { threshold: 120, timeout_ms: 900, min_bytes: 64 };
    assert_eq!(engines.correlation, Some(policy));
    assert_eq!(engines.own_networks.map(|own| own.len()), Some(2));
}

#[test]
fn a_change_is_applied_or_told_to_need_a_restart() {
    let before = Configuration::default();
    let policy = Policy { threshold: 1, timeout_ms: 2, min_bytes: 3 };
    let judgement = Judgement { learning_period: 300, threshold: 3.0, learns: true, detects: true };
    let after = Configuration {
        engines: Engines {
            patterns: false,
            correlation: Some(policy),
            baseline: Some(judgement),
            own_networks: Some(Vec::new()),
        },
        enforced: Enforced { patterns: true, correlation: true },
        baselines: Some(PathBuf::from("/b")),
        begins_anew: true,
        correlation_log: Some(PathBuf::from("/c")),
        debug: true,
        rules: Choice {
            directory: Some(PathBuf::from("/r")),
            enabled: vec!["a".into()],
            disabled: vec!["b".into()],
        },
        patterns_log: Some(PathBuf::from("/p")),
        json_log: Some(PathBuf::from("/j")),
        json_log_sync: true,
        metrics_file: Some(PathBuf::from("/m")),
        syslog: Some(SyslogTarget::default()),
        redaction: Redaction::with(vec!["badge={}".parse().unwrap()]),
    };
    let mut running = before.clone();
    let changes = running.take_over(&after);
    assert_eq!(
        changes.applied,
        [
            "grimoire-enforce",
            "auto-terminate",
            "grimoire-debug",
            "enable-rules",
            "disable-rules",
            "redact"
        ]
    );
    let later = [
        "rules",
        "enable-grimoire",
        "correlation-threshold",
        "correlation-timeout",
        "min-exfil-bytes",
        "enable-baseline",
        "baseline-path",
        "no-load-baselines",
        "local-networks",
        "correlation-log",
        "grimoire-log",
        "enable-json-log",
        "json-log-sync",
        "metrics-file",
        "enable-syslog",
    ];
    assert_eq!(changes.needs_restart, later);
    let rules = Choice { directory: None, ..after.rules.clone() };
    let redaction = after.redaction.clone();
    let enforced = after.enforced;
    assert_eq!(running, Configuration { enforced, debug: true, rules, redaction, ..before });
    let same = running.clone();
    assert_eq!(running.take_over(&same), Changes::default());

    let mut running = after.clone();
    let json_log = Some(PathBuf::from("/other"));
    let syslog = Some(SyslogTarget::Unix("/other".into()));
    let changes = running.take_over(&Configuration { json_log, syslog, ..after.clone() });
    assert!(changes.applied.is_empty());
    assert_eq!(changes.needs_restart, ["json-log-path", "syslog"]);
    assert_eq!(running, after);
}

proptest! {
    #[test]
    fn a_file_of_anything_is_settings_or_an_error_on_one_of_its_lines(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        check_any(&bytes);
    }

    #[test]
    fn so_is_one_that_is_nearly_right(
        lines in proptest::collection::vec("(grimoire-log|syslog|x|\\[a\\])[ =\"\\\\tru/:\u{e9}\u{1b}]{0,12}", 0..8),
    ) {
        check_any(lines.join("\n").as_bytes());
    }
}

fn check_any(bytes: &[u8]) {
    if let Err((line, why)) = Settings::parse(bytes) {
        let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
        assert!((1..=lines).contains(&line), "{line} of {lines}");
        assert!(!why.contains(char::is_control), "{why:?}");
    }
}
