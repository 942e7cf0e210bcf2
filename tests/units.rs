//! Units, users and directories: what the Debian package brings, in a machine that systemd booted.

use std::{fs, os::unix::fs::PermissionsExt as _};

use sentinel_tests::{
    nspawn::{Machine, install, packaging, text},
    packages::{Package, Packages},
    sentinel::{PATIENCE, within},
};

/// The services: the user that each is started as, its capabilities, its sockets' names.
const SERVICES: [(&str, &str, u64, [&str; 2]); 3] = [
    ("sentinel-loader", "root", LOADING, ["analyzer", "enforcer"]),
    ("sentinel-analyzer", "sentinel", 0, ["admins", "siblings"]),
    ("sentinel-enforcer", "sentinel-enforcer", KILL, ["admins", "siblings"]),
];
/// CAP_DAC_READ_SEARCH, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_PERFMON, CAP_BPF
/// (include/uapi/linux/capability.h).
const LOADING: u64 = 1 << 2 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 38 | 1 << 39;
/// CAP_KILL
const KILL: u64 = 1 << 5;

/// The sockets: unit, path, and whose group may connect.
const SOCKETS: [(&str, &str, &str); 6] = [
    ("sentinel-loader", "loader", "sentinel"),
    ("sentinel-identity", "identity", "sentinel-enforcer"),
    ("sentinel-analyzer", "analyzer", "sentinel-enforcer"),
    ("sentinel-control", "control", "sentinel-admin"),
    ("sentinel-enforcer", "enforcer", "sentinel"),
    ("sentinel-enforce", "enforce", "sentinel-admin"),
];

/// Sentinel's users, groups to add, and the sockets that they reach.
const USERS: [(&str, &[&str], &[&str]); 3] = [
    ("sentinel-loader", &[], &[]),
    ("sentinel", &[], &["loader", "enforcer"]),
    ("sentinel-enforcer", &[], &["identity", "analyzer"]),
];
/// Others, likewise.
const OTHERS: [(&str, &[&str], &[&str]); 2] =
    [("daemon", &[], &[]), ("daemon", &["sentinel-admin"], &["control", "enforce"])];

/// The names of all units.
fn units() -> Vec<String> {
    let files = fs::read_dir(packaging("systemd")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("sentinel")).collect()
}

/// Runs a command about several units, and says what it says.
fn told_of(machine: &Machine, command: &[&str], units: &[String]) -> String {
    let units: Vec<_> = units.iter().map(String::as_str).collect();
    machine.told(&[command, &units].concat())
}

/// Runs a shell line with the rights of a service, in its place.
fn stand_in(machine: &Machine, service: &str, line: &str) {
    let lines = format!(
        "[Service]\nType=exec\nWatchdogSec=0\nExecStart=\nExecStart=/bin/sh -c '{line}'\n\
         ExecPaths=/usr/bin\nRestart=no\n"
    );
    machine.drop_in(&format!("{service}.service"), &lines);
    machine.told(&["systemctl", "restart", &format!("{service}.service")]);
}

#[test]
fn units_have_no_fault_and_expose_little() {
    let Some(machine) = Machine::installed_from(Package::Deb) else { return };
    assert_faultless(&machine);
    assert_exposed_at_most(&machine, "sentinel-loader", 20);
    assert_exposed_at_most(&machine, "sentinel-analyzer", 10);
    assert_exposed_at_most(&machine, "sentinel-enforcer", 10);
    use_example(&machine, "sentinel-analyzer", "network-syslog");
    assert_exposed_at_most(&machine, "sentinel-analyzer", 15);
    use_example(&machine, "sentinel-enforcer", "realtime");
    assert_exposed_at_most(&machine, "sentinel-enforcer", 10);
    assert_faultless(&machine);
}

fn assert_faultless(machine: &Machine) {
    let units = units();
    let units: Vec<_> = units.iter().map(String::as_str).collect();
    let verify = ["systemd-analyze", "verify", "--man=no"];
    let verified = machine.run(&[&verify, &units[..]].concat());
    let said = text(&verified.stdout) + &text(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
}

/// Copies a drop-in to where its comment says.
fn use_example(machine: &Machine, service: &str, example: &str) {
    let from = packaging(&format!("systemd/examples/{example}.conf"));
    machine.copy_in(&from, &format!("/etc/systemd/system/{service}.service.d/{example}.conf"));
    machine.told(&["systemctl", "daemon-reload"]);
}

/// By what `systemd-analyze security` says, in tenths of its points from 0 (best) to 10.
fn assert_exposed_at_most(machine: &Machine, service: &str, limit: u32) {
    let threshold = format!("--threshold={limit}");
    let unit = format!("/usr/lib/systemd/system/{service}.service");
    let analyze =
        ["systemd-analyze", "security", "--no-pager", "--offline=true", &threshold, &unit];
    let analyzed = machine.run(&analyze);
    let said = text(&analyzed.stdout) + &text(&analyzed.stderr);
    assert!(said.contains("Overall exposure level"), "{said}");
    assert!(analyzed.status.success(), "{service} is over {limit} tenths:\n{said}");
}

#[test]
fn users_and_directories_are_made_at_boot_and_by_a_package() {
    let Some(booted) = Machine::installed_from(Package::Deb) else { return };
    assert_users_and_directories(&booted);
    let Some(machine) = Machine::bare() else { return };
    machine.install(&Packages::of_release(1), Package::Rpm);
    assert_users_and_directories(&machine);

    // What an administrator switched off stays off.
    let marker = "/var/lib/sentinel-enforcer/enforcement";
    machine.write(marker, "off");
    machine.told(&["systemd-tmpfiles", "--create", "sentinel.conf"]);
    assert_eq!(machine.read(marker), "off");
}

fn assert_users_and_directories(machine: &Machine) {
    for (user, _, _) in USERS {
        let line = machine.told(&["getent", "passwd", user]);
        let fields: Vec<_> = line.trim_end().split(':').collect();
        assert_eq!(fields[5..], ["/", "/usr/sbin/nologin"], "{line}");
        assert_eq!(machine.told(&["id", "--groups", "--name", user]).trim_end(), user);
        let secret = machine.told(&["getent", "shadow", user]);
        assert!(secret.starts_with(&format!("{user}:!*:")), "{secret}");
    }
    let group = machine.told(&["getent", "group", "sentinel-admin"]);
    assert!(group.trim_end().ends_with(':'), "nobody is an administrator unasked: {group}");

    let stat = |path| machine.told(&["stat", "--format=%F %a %U:%G", path]);
    assert_eq!(stat("/run/sentinel").trim_end(), "directory 755 root:root");
    let state = "/var/lib/sentinel-enforcer";
    let owner = "sentinel-enforcer:sentinel-enforcer";
    assert_eq!(stat(state).trim_end(), format!("directory 755 {owner}"));
    let marker = format!("{state}/enforcement");
    assert_eq!(stat(&marker).trim_end(), format!("regular file 644 {owner}"));
    assert_eq!(machine.read(&marker), "on");
}

#[test]
fn sockets_are_open_to_whom_they_are_for_and_no_one_else() {
    let Some(machine) = Machine::installed_from(Package::Deb) else { return };
    let names = SOCKETS.map(|(unit, _, _)| format!("{unit}.socket"));
    told_of(&machine, &["systemctl", "start"], &names);
    for (unit, name, group) in SOCKETS {
        let path = format!("/run/sentinel/{name}.sock");
        let stat = machine.told(&["stat", "--format=%F %a %U:%G", &path]);
        assert_eq!(stat.trim_end(), format!("socket 660 root:{group}"), "{path}");
        assert_eq!(machine.property(&format!("{unit}.socket"), "ActiveState"), "active");
    }
    assert_eq!(machine.told(&["stat", "--format=%a %U:%G", "/run/sentinel"]), "755 root:root\n");
    assert_eq!(machine.told(&["systemctl", "is-system-running"]), "running\n");

    // Nobody is to answer: what is tried is the way there.
    for (service, ..) in SERVICES {
        stand_in(&machine, service, "exec sleep 600");
    }
    for (user, groups, reaches) in USERS.into_iter().chain(OTHERS) {
        let groups: Vec<_> = groups.iter().chain(&[user]).copied().collect();
        for (_, name, _) in SOCKETS {
            let connected = machine.run_as(user, &groups, &["python3", "-c", CONNECT, name]);
            let said = text(&connected.stdout) + &text(&connected.stderr);
            let expected = if reaches.contains(&name) { "connected" } else { "Permission denied" };
            assert_eq!(said.trim_end(), expected, "{user} to {name}");
        }
    }

    machine.told(&["systemctl", "restart", "sentinel-analyzer.service"]);
    assert!(machine.has("/run/sentinel/analyzer.sock"), "a restart keeps the sockets");
    machine.told(&["systemctl", "stop", "sentinel.target"]);
    told_of(&machine, &["systemctl", "stop"], &names);
    assert_eq!(machine.told(&["ls", "/run/sentinel"]), "");
}

/// Connects to a socket of Sentinel and says how that went.
const CONNECT: &str = r#"
import os, socket, sys
try:
    socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(f"/run/sentinel/{sys.argv[1]}.sock")
    print("connected")
except OSError as error:
    print(os.strerror(error.errno))
"#;

#[test]
fn the_target_starts_and_stops_all() {
    let Some(machine) = Machine::installed_from(Package::Deb) else { return };
    for (service, ..) in SERVICES {
        stand_in(&machine, service, "exec sleep 600");
    }
    machine.told(&["systemctl", "stop", "sentinel.target"]);
    machine.told(&["systemctl", "enable", "--now", "sentinel.target"]);
    let states = || units().iter().map(|unit| machine.property(unit, "ActiveState")).collect();
    let all = |state: &str| {
        let states: Vec<String> = states();
        states.iter().all(|found| found == state)
    };
    assert!(within(PATIENCE, || all("active")), "{:?}", states());
    machine.told(&["systemctl", "stop", "sentinel.target"]);
    assert!(within(PATIENCE, || all("inactive")), "{:?}", states());
    let wanted_by = machine.property("sentinel.target", "WantedBy");
    assert_eq!(wanted_by, "multi-user.target", "at the next boot");
}

#[test]
fn each_service_gets_its_rights_and_sockets_and_no_others() {
    let Some(machine) = Machine::installed_from(Package::Deb) else { return };
    let line = "echo names $LISTEN_FDNAMES; grep -E \\\"^(Uid|CapBnd|CapEff|NoNewPrivs)\\\" \
                /proc/self/status; echo told; exec sleep 600";
    for (service, user, capabilities, names) in SERVICES {
        stand_in(&machine, service, line);
        let unit = format!("{service}.service");
        machine.wait_for(&unit, "told");
        let told = machine.journal(&unit);
        let value = |key| {
            let line = told.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("no {key} of {service}:\n{told}")).trim()
        };
        let mut found: Vec<_> = value("names").split(':').collect();
        found.sort_unstable();
        assert_eq!(found, names, "{service}");
        let uid = machine.told(&["id", "--user", user]);
        let uids: Vec<_> = value("Uid:").split_whitespace().collect();
        assert_eq!(uids, [uid.trim_end(); 4], "{service}");
        assert_eq!(value("CapBnd:"), format!("{capabilities:016x}"), "{service}");
        assert_eq!(value("CapEff:"), format!("{capabilities:016x}"), "{service}");
        assert_eq!(value("NoNewPrivs:"), "1", "{service}");
        assert_eq!(machine.property(&unit, "StartLimitIntervalUSec"), "0", "{service} is given up");
    }
    for directory in ["/var/log/sentinel", "/var/lib/sentinel"] {
        let stat = machine.told(&["stat", "--format=%a %U:%G", directory]);
        assert_eq!(stat.trim_end(), "750 sentinel:sentinel", "{directory}");
    }
}

#[test]
fn the_enforcer_is_real_time_only_if_told() {
    let Some(machine) = Machine::installed_from(Package::Deb) else { return };
    let policy = || {
        stand_in(&machine, "sentinel-enforcer", "exec sleep 600");
        let pid = machine.property("sentinel-enforcer.service", "MainPID");
        machine.told(&["chrt", "--pid", &pid])
    };
    assert!(policy().contains("SCHED_OTHER"));
    use_example(&machine, "sentinel-enforcer", "realtime");
    let real_time = policy();
    assert!(real_time.contains("SCHED_FIFO"), "{real_time}");
    assert!(real_time.contains("priority: 10"), "{real_time}");
}

#[test]
fn logs_are_rotated_and_the_analyzer_hears_of_it() {
    let Some(machine) = Machine::installed_from(Package::Deb) else { return };
    let line = "trap \\\"echo reloaded\\\" HUP; echo 1 > /var/log/sentinel/alerts.json; \
                echo ready; while :; do sleep 0.1; done";
    stand_in(&machine, "sentinel-analyzer", line);
    machine.wait_for("sentinel-analyzer.service", "ready");
    let rotate = ["logrotate", "--force", "/etc/logrotate.d/sentinel"];
    machine.told(&rotate);
    machine.wait_for("sentinel-analyzer.service", "reloaded");
    let log = |suffix: &str| machine.has(&format!("/var/log/sentinel/alerts.json{suffix}"));
    assert!(log(".1") && !log(""));
    // The second time it is compressed; and a stopped service is not started.
    machine.told(&["systemctl", "stop", "sentinel.target"]);
    machine.told(&["systemctl", "stop", "sentinel-analyzer.service"]);
    let touch = machine.run_as(
        "sentinel",
        &["sentinel"],
        &["sh", "-c", "echo 2 >> /var/log/sentinel/alerts.json"],
    );
    assert!(touch.status.success(), "{}", text(&touch.stderr));
    machine.told(&rotate);
    assert!(log(".1") && log(".2.gz"));
    assert_eq!(machine.property("sentinel-analyzer.service", "ActiveState"), "inactive");
    assert_eq!(machine.told(&["systemctl", "is-system-running"]), "running\n");
}

#[test]
fn an_installation_can_be_repeated_and_keeps_configuration() {
    let directory = tempfile::tempdir().unwrap();
    install(directory.path());
    let mode = |path: &str| {
        let file = fs::symlink_metadata(directory.path().join(path)).unwrap();
        file.permissions().mode() & 0o7777
    };
    for (path, expected) in [
        ("usr/bin/sentinel", 0o755),
        ("usr/libexec/sentinel/sentinel-loader", 0o755),
        ("usr/lib/systemd/system/sentinel.target", 0o644),
        ("etc/sentinel", 0o755),
        ("etc/logrotate.d/sentinel", 0o644),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
    let configuration = directory.path().join("etc/sentinel/analyzer.toml");
    fs::write(&configuration, "# ours\n").unwrap();
    install(directory.path());
    assert_eq!(fs::read_to_string(configuration).unwrap(), "# ours\n");
}
