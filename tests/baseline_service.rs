//! The baseline engine as a service: what was learned outlives a restart of it, in a directory of its own.

use std::time::Duration;

use sentinel_tests::{
    nspawn::{Machine, text},
    programs::compiled,
    sentinel::{PATIENCE, within},
};
use serde_json::Value;

const ANALYZER: &str = "sentinel-analyzer";
const KEPT: &str = "/var/lib/sentinel/baselines/baseline";
/// Until a program is known, and its counts are told; s.
const LEARNING: u64 = 10;

/// Puts lines before those of a file of the configuration.
fn configure(machine: &Machine, file: &str, lines: &str) {
    let path = format!("/etc/sentinel/{file}");
    let shipped = machine.read(&path);
    machine.write(&path, &format!("{lines}\n{shipped}"));
}

fn overview(machine: &Machine) -> Value {
    let asked = machine.run(&["sentinel", "status", "--json"]);
    let status: Value = serde_json::from_slice(&asked.stdout).unwrap_or_default();
    status["baseline"].clone()
}

fn alerts(machine: &Machine, exe: &str) -> Vec<Value> {
    let lines = text(&machine.run(&["cat", "/var/log/sentinel/alerts.json"]).stdout);
    // A line that is being written may be seen in part.
    let (whole, _) = lines.rsplit_once('\n').unwrap_or_default();
    let alerts = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    alerts.filter(|alert| alert["engine"] == "baseline" && alert["exe"] == exe).collect()
}

#[test]
fn what_the_service_learned_outlives_its_restart() {
    let Some(machine) = Machine::installed() else { return };
    configure(&machine, "loader.toml", "count-calls = true");
    let engine = format!("enable-baseline = true\nlearning-period = {LEARNING}");
    configure(&machine, "analyzer.toml", &engine);
    machine.told(&["systemctl", "start", "sentinel.target"]);
    let habit = "/usr/local/bin/habit";
    machine.copy_in(&compiled("habit"), habit);
    // It keeps its habits for as long as its standard input is open.
    let code = format!("mkfifo -m 600 /run/habit; exec {habit} <>/run/habit");
    machine.start("habit", &["bash", "-c", &code]);
    std::thread::sleep(Duration::from_secs(LEARNING + 5));
    machine.told(&["systemctl", "restart", ANALYZER]);
    assert_eq!(machine.told(&["stat", "--format=%U %a", KEPT]), "sentinel 640\n");
    let is_known = || overview(&machine)["known"].as_u64().is_some_and(|known| known > 0);
    assert!(within(PATIENCE, is_known), "{:#}\n{}", overview(&machine), machine.journal(ANALYZER));
    assert_eq!(alerts(&machine, habit), Vec::<Value>::new(), "it does what it always did");

    machine.told(&["bash", "-c", "echo >/run/habit"]);
    let is_told = || alerts(&machine, habit).iter().any(|alert| alert["syscall"] == "ptrace");
    assert!(within(PATIENCE, is_told), "{}", machine.journal(ANALYZER));
    let told = alerts(&machine, habit);
    assert!(told.iter().all(|alert| alert["unit"] == "habit.service"), "{told:#?}");
}
