//! Every rule of the library against real attacks: each is a process of its own that does what the rule is
//! about, on copies of the system's directories where it would change something.

#[path = "rule_library/attacks.rs"]
mod attacks;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
};

use sentinel_analyzer::rules::RuleSet;
use sentinel_tests::{
    bed::Bed,
    sentinel::{Sentinel, is_about},
};

const PLAYGROUND: &str = include_str!("rule_library/playground.sh");

/// Rules that no command here can make true, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("kernel_memory_opened", "this kernel has neither /proc/kcore nor /dev/mem"),
    ("sysrq_triggered", "this kernel has no /proc/sysrq-trigger"),
];

#[test]
fn each_attack_is_told_by_its_rule() {
    let Some(bed) = Bed::new() else { return };
    let off: Vec<String> = off_by_default();
    let enable = format!("--enable-rules={}", off.join(","));
    let sentinel = Sentinel::start(&bed, &[enable.as_str()]);
    let mut done: Vec<(&str, &str, u32, String)> = Vec::new();
    for (rule, commands) in attacks::ATTACKS {
        for command in *commands {
            let child = bed
                .command("unshare")
                .args(["--mount", "--propagation=private", "bash", "-c", PLAYGROUND])
                .args(["playground", command])
                .env("TMPDIR", bed.path(""))
                .env("CGROUP", bed.cgroup())
                .env("SENTINEL_ANALYZER", sentinel.pid().to_string())
                .env("SENTINEL_LOADER", sentinel.loader().to_string())
                .env("SENTINEL_ENFORCER", sentinel.enforcer().to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let pid = child.id();
            let output = child.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            done.push((rule, command, pid, format!("{}: {errors}", output.status)));
        }
    }
    let outcome = sentinel.stop();
    let mut missing = Vec::new();
    for (rule, command, pid, ended) in &done {
        let told: BTreeSet<&str> = outcome
            .alerts
            .iter()
            .filter(|alert| is_about(alert, *pid))
            .filter_map(|alert| alert["pattern_name"].as_str())
            .collect();
        if !told.contains(rule) {
            missing.push(format!("{rule}: {command}\n  ended with {ended}  told: {told:?}"));
        }
    }
    assert!(missing.is_empty(), "{} of {}:\n{}", missing.len(), done.len(), missing.join("\n"));
    let critical: BTreeMap<&str, usize> = outcome
        .alerts
        .iter()
        .filter(|alert| alert["severity"] == "critical")
        .filter_map(|alert| alert["pattern_name"].as_str())
        .fold(BTreeMap::new(), |mut all, name| {
            *all.entry(name).or_default() += 1;
            all
        });
    assert!(critical.is_empty(), "rules of the library are not critical: {critical:?}");
}

fn off_by_default() -> Vec<String> {
    let set = RuleSet::embedded().unwrap();
    set.rules.iter().filter(|one| !one.is_on).map(|one| one.rule.name.clone()).collect()
}

#[test]
fn every_rule_has_an_attack() {
    let set = RuleSet::embedded().unwrap();
    let attacked: BTreeSet<&str> = attacks::ATTACKS.iter().map(|(rule, _)| *rule).collect();
    let excused: BTreeSet<&str> = NOT_HERE.iter().map(|(rule, _)| *rule).collect();
    for one in &set.rules {
        let name = one.rule.name.as_str();
        assert!(attacked.contains(name) != excused.contains(name), "{name}");
    }
}
