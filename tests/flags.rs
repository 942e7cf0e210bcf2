//! Options of `sentinel run` that are about output and rules do what they say, all in one run; what the
//! others come to is told in analyzer/src/command_line/tests.rs, flags_of_engines.rs and by the tests of each engine.

use std::fs;

use sentinel_tests::{
    bed::Bed,
    peer::{self, Peer},
    sentinel::{Sentinel, alerts, lines},
};

const RULE: &str = r#"
[[rule]]
name = "from_the_directory"
severity = "high"
mitre = "T1059"
description = "true was run"
false_positives = "none"
window = "5s"

[[rule.step]]
event = "exec"
where = { path = { suffix = "/true" } }
"#;

#[test]
fn options_of_output_and_rules_do_what_they_say() {
    let Some(bed) = Bed::new() else { return };
    let (rules, all) = (bed.path("rules.d"), bed.path("logs/all.json"));
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("own.toml"), RULE).unwrap();
    let options = [
        format!("--rules={}", rules.display()),
        "--grimoire-debug".to_owned(),
        "--enable-json-log".to_owned(),
        "--json-log-path".to_owned(),
        all.display().to_string(),
        "--disable-rules=credential_exfil".to_owned(),
        "--enable-grimoire".to_owned(),
        "--duration=4".to_owned(),
    ];
    let sentinel = Sentinel::start(&bed, &options.each_ref().map(String::as_str));
    assert!(bed.command("true").status().unwrap().success());
    let peer = Peer::listen("127.0.0.1");
    let mut shell = peer::reverse_shell(&bed, &peer);
    peer.shell().exit();
    shell.wait().unwrap();
    let outcome = sentinel.wait();
    assert!(outcome.status.success(), "--duration ends it: {outcome:?}");
    let [alert, _attack] = outcome.alerts.as_slice() else { panic!("{:#?}", outcome.alerts) };
    assert_eq!(alert["pattern_name"], "from_the_directory", "--rules");
    assert_eq!(alert["message"].as_str().map(str::is_empty), Some(false));
    assert_eq!(alerts(&all), outcome.alerts, "--json-log-path, whose directory was made");
    assert_eq!(lines(&all).len(), 3, "the log of all engines counts as well");
    assert!(outcome.errors.contains("grimoire: "), "--grimoire-debug: {}", outcome.errors);
    assert!(!outcome.output.contains("credential_exfil"), "--disable-rules: {}", outcome.output);
    assert!(!outcome.output.contains("  exfil "), "no correlation beside --enable-grimoire alone");
}
