//! Logs whose disk is full or read-only; a syslog that goes away, a user who fills the one on purpose, and a
//! Sentinel that sleeps as a host does: attacks are found all the same, and what was lost is told.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::sys::signal::Signal;
use sentinel_ipc::confinement::{Account, account};
use sentinel_tests::{
    bed::Bed,
    bounds::Bounds,
    peer::{self, Peer},
    rig::{ends_by_signal, lives_on},
    sentinel::{PATIENCE, Sentinel, alerts, send, within},
};

/// A small disk of the test's own.
struct Disk(PathBuf);

impl Disk {
    fn mount(bed: &Bed, options: &str) -> Self {
        let disk = Self(bed.path("disk"));
        fs::create_dir(&disk.0).unwrap();
        disk.mounted(options, &["-t", "tmpfs"]);
        disk
    }

    fn remount(&self, options: &str) {
        self.mounted(&format!("remount,{options}"), &[]);
    }

    fn mounted(&self, options: &str, more: &[&str]) {
        let mut mount = Command::new("mount");
        let done = mount.args(more).args(["-o", options, "none"]).arg(&self.0).status().unwrap();
        assert!(done.success(), "mount -o {options}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Tells each start of a program with this word, so that anybody can raise alerts.
const NOISY: &str = r#"
[[rule]]
name = "noise"
severity = "warning"
mitre = "T1059"
description = "anybody may raise it"
false_positives = "all"
references = ["https://attack.mitre.org/techniques/T1059/"]

[[rule.step]]
event = "exec"
where = { cmdline = { contains = "noisy-word" } }
"#;

/// A bed with that rule, and the option that names its directory.
fn with_noise() -> Option<(Bed, String)> {
    let bed = Bed::new()?;
    let rules = bed.path("rules.d");
    fs::create_dir(&rules).unwrap();
    for path in [bed.path(""), rules.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(rules.join("noise.toml"), NOISY).unwrap();
    Some((bed, format!("--rules={}", rules.display())))
}

/// Raises so many alerts, as uid 1000.
fn make_noise(bed: &Bed, times: u32) {
    let mut noise = bed.command("setpriv");
    let him = ["--reuid=1000", "--regid=1000", "--clear-groups", "--inh-caps=-all"];
    let code = format!("for i in {{1..{times}}}; do /bin/true noisy-word $i; done");
    assert!(noise.args(him).args(["bash", "-c", &code]).status().unwrap().success());
}

fn attack(bed: &Bed) -> Child {
    let peer = Peer::listen("127.0.0.1");
    let child = peer::reverse_shell(bed, &peer);
    peer.shell().exit();
    child
}

/// Has a shell connect, and waits until the log says so once more than before.
fn attack_is_found(bed: &Bed, log: &Path) {
    let before = count(log, "reverse_shell");
    attack(bed).wait().unwrap();
    assert!(within(PATIENCE, || count(log, "reverse_shell") > before), "in {}", log.display());
}

/// How many alerts of `rule` the log has. Each line has to be whole.
fn count(log: &Path, rule: &str) -> usize {
    alerts(log).into_iter().filter(|alert| alert["pattern_name"] == rule).count()
}

/// Memory of a process, KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn who_fills_the_disk_with_alerts_hides_nothing_and_is_told() {
    let Some((bed, rules)) = with_noise() else { return };
    let disk = Disk::mount(&bed, "size=64k");
    let (full, socket) = (disk.0.join("all.json"), bed.path("log"));
    // As after a crash.
    let torn = bed.path("correlation.json");
    fs::write(&torn, "{\"timesta").unwrap();
    let metrics = bed.path("metrics/sentinel.prom");
    let daemon = UnixDatagram::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let sentinel = Sentinel::start(
        &bed,
        &[
            &rules,
            &format!("--metrics-file={}", metrics.display()),
            &format!("--correlation-log={}", torn.display()),
            "--enable-json-log",
            &format!("--json-log-path={}", full.display()),
            "--enable-syslog",
            &format!("--syslog=unix:{}", socket.display()),
        ],
    );
    attack_is_found(&bed, &full);
    let before = resident(sentinel.pid());
    make_noise(&bed, 600);
    // Nobody reads syslog either, and the log on the other disk has everything.
    let own = sentinel.log().to_owned();
    attack_is_found(&bed, &own);
    let is_told = || count(&own, "noise") > 0 && count(&own, "alerts_withheld") > 0;
    assert!(within(PATIENCE, is_told), "{}", count(&own, "noise"));
    let after = resident(sentinel.pid());
    assert!(after < before + 32 * 1024, "{before} KiB, then {after}");
    let kept = alerts(&full).len();
    assert!(kept < count(&own, "noise"), "the disk was not full: {kept}");
    // Once there is room, it goes on with a whole line.
    disk.remount("size=4m");
    attack_is_found(&bed, &full);
    // A syslog that went away.
    drop(daemon);
    attack_is_found(&bed, &own);
    let outcome = sentinel.stop();
    // What was not told one by one was counted.
    let withheld =
        outcome.alerts.iter().filter(|alert| alert["withheld"]["pattern_name"] == "noise");
    let withheld: u64 = withheld.map(|alert| alert["withheld"]["warning"].as_u64().unwrap()).sum();
    let told = outcome.alerts.iter().filter(|alert| alert["pattern_name"] == "noise").count();
    // More than that: whoever starts them has the word among his own.
    assert!(u64::try_from(told).unwrap() + withheld >= 600, "{told} and {withheld}");
    for words in [
        "alert not written: No space left",
        "did not reach syslog at",
        "correlation.json: its last line is not whole",
    ] {
        assert!(outcome.errors.contains(words), "{words}: {}", outcome.errors);
    }
    assert_eq!(outcome.errors.matches("is not whole").count(), 1, "{}", outcome.errors);
    // It says so too that something was withheld.
    let torn = fs::read_to_string(torn).unwrap();
    assert!(torn.starts_with("{\"timesta\n{\"timestamp\"") && torn.ends_with("}\n"), "{torn}");
    let numbers = fs::read_to_string(metrics).unwrap();
    let lost = format!("sentinel_log_lost_total{{path=\"{}\"}} ", full.display());
    let lost = numbers.lines().find_map(|line| line.strip_prefix(&lost)).unwrap();
    assert!(lost.parse::<u64>().unwrap() > 0, "{numbers}");
    assert!(outcome.status.success(), "{}", outcome.errors);
}

#[test]
fn a_log_on_a_read_only_disk_is_told_before_anything_starts() {
    let Some(bed) = Bed::new() else { return };
    let disk = Disk::mount(&bed, "ro");
    let output = Command::new(sentinel_tests::sentinel::program())
        .args(["run", "--duration=1", "--enable-json-log"])
        .arg(format!("--scope-cgroup={}", bed.cgroup().display()))
        .arg(format!("--json-log-path={}", disk.0.join("all.json").display()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("all.json") && errors.contains("Read-only"), "{errors}");
}

#[test]
fn a_hostile_users_crowd_of_processes_hides_no_shell() {
    let Some(bed) = Bed::new() else { return };
    let Some(bounds) = Bounds::new(100) else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let before = [sentinel.pid(), sentinel.loader()].map(resident);
    // Processes, sockets, descriptors, files and names, by the thousand.
    let code = r#"
import os, socket, subprocess, time
end = time.monotonic() + 6
while time.monotonic() < end:
    sockets = [socket.socket() for _ in range(200)]
    pairs = [os.pipe() for _ in range(200)]
    for pair in pairs:
        os.close(pair[0]); os.close(pair[1])
    for number in range(20):
        if os.fork() == 0:
            open("/proc/self/comm", "w").write(f"name-{number}")
            os.execv("/bin/true", ["x" * 4000] * 20)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
"#;
    let mut crowd = bounds.command(&bed, "setpriv");
    let him = ["--reuid=1000", "--regid=1000", "--clear-groups", "--inh-caps=-all"];
    let mut crowd = crowd.args(him).args(["/usr/bin/python3", "-c", code]).spawn().unwrap();
    let log = sentinel.log().to_owned();
    attack_is_found(&bed, &log);
    let status = crowd.wait().unwrap();
    bounds.end();
    assert!(status.success(), "{status}");
    for (pid, before) in [sentinel.pid(), sentinel.loader()].into_iter().zip(before) {
        let after = resident(pid);
        assert!(after < before + 64 * 1024, "{before} KiB, then {after}");
    }
    attack_is_found(&bed, &log);
    let outcome = sentinel.stop();
    let told = |what: &str| -> u64 {
        let rest =
            outcome.output.split(what).nth(1).unwrap_or_else(|| panic!("{}", outcome.output));
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    let losses =
        outcome.alerts.iter().filter(|alert| alert["pattern_name"] == "sensor_loss").count();
    assert_eq!(told("dropped ") > 0, losses > 0, "{}", outcome.output);
}

#[test]
fn an_analyzer_without_descriptors_finds_attacks_and_answers_once_it_has_some() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let pid = sentinel.pid();
    let Account { uid: user, gid: group, .. } = account("sentinel").unwrap();
    let limit = |number: usize| {
        let number = format!("--nofile={number}:");
        // Only its own user may, and it is in no group.
        let set = Command::new("setpriv")
            .args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()])
            .args(["prlimit", &format!("--pid={pid}"), &number])
            .status();
        assert!(set.unwrap().success());
    };
    let held = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    limit(held);
    // Who asks for the status gets none; another Sentinel of another test may answer in its place.
    let asking = Command::new("timeout")
        .args(["3"])
        .arg(sentinel_tests::sentinel::program())
        .arg("status")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(asking.is_ok());
    let log = sentinel.log().to_owned();
    attack_is_found(&bed, &log);
    limit(held + 10);
    attack_is_found(&bed, &log);
    let outcome = sentinel.stop();
    assert!(outcome.status.success(), "{}", outcome.errors);
}

#[test]
fn a_sentinel_that_slept_kills_nobody_by_mistake_and_goes_on() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    let mut honest = bed.command("sleep").arg("300").spawn().unwrap();
    let log = sentinel.log().to_owned();
    let all = [sentinel.pid(), sentinel.loader(), sentinel.enforcer()];
    for round in 1..=3 {
        // As a host that is suspended, but that attackers go on.
        all.into_iter().for_each(|pid| send(pid, Signal::SIGSTOP));
        let peer = Peer::listen("127.0.0.1");
        let mut shell = peer::reverse_shell(&bed, &peer);
        let _connection = peer.accept();
        std::thread::sleep(std::time::Duration::from_secs(5));
        // In another order each time.
        (0..3).for_each(|next| send(all[(next + round) % 3], Signal::SIGCONT));
        assert!(within(PATIENCE, || count(&log, "reverse_shell") >= round), "{round}");
        let about = |alert: &&serde_json::Value| alert["pid"] == shell.id();
        assert!(within(PATIENCE, || alerts(&log).iter().any(|alert| about(&alert))));
        let alert = alerts(&log).into_iter().find(|alert| about(&alert)).unwrap();
        match alert["action"].as_str().unwrap() {
            "terminated" => assert_eq!(ends_by_signal(&mut shell), Some(9)),
            // What was asked for before one of them slept on has expired.
            "kill_refused:no_answer" | "kill_refused:expired" | "kill_refused:no_loader" => {
                assert!(lives_on(shell.id()));
            }
            other => panic!("{other}: {alert}"),
        }
        let _gone = shell.kill();
        let _waited = shell.wait();
    }
    // The chain works: whoever comes now is ended.
    let peer = Peer::listen("127.0.0.1");
    let mut shell = peer::reverse_shell(&bed, &peer);
    let _connection = peer.accept();
    assert_eq!(ends_by_signal(&mut shell), Some(9));
    assert!(lives_on(honest.id()));
    honest.kill().unwrap();
    honest.wait().unwrap();
    let outcome = sentinel.stop();
    assert!(outcome.status.success(), "{}", outcome.errors);
    // The kernel went on writing down what happened, and nothing of it was lost; who slept was not blind.
    let is_about_loss = |alert: &&serde_json::Value| {
        ["sensor_loss", "sensor_blind", "sensor_gap"]
            .iter()
            .any(|name| alert["pattern_name"] == *name)
    };
    assert_eq!(outcome.alerts.iter().find(is_about_loss), None);
}
