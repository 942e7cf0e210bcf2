//! Alerts on a real attack reach the sinks that are asked for, and no sink holds Sentinel up.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::Path,
    process::Command,
    time::Duration,
};

use sentinel_tests::{
    bed::Bed,
    peer::{self, Peer},
    rsyslogd::Rsyslogd,
    sentinel::{Outcome, PATIENCE, Sentinel, alerts, within},
};

/// What is sent to `socket` for one reverse shell. The connector, which is not root, must reach it.
fn attack(bed: &Bed, socket: &Path, more: &[&str]) -> Outcome {
    for path in [bed.path(""), socket.to_owned()] {
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }
    let target = format!("--syslog=unix:{}", socket.display());
    let options = [&["--enable-syslog", target.as_str()], more].concat();
    let sentinel = Sentinel::start(bed, &options);
    let peer = Peer::listen("127.0.0.1");
    let mut child = peer::reverse_shell(bed, &peer);
    let mut shell = peer.shell();
    shell.pid();
    shell.exit();
    child.wait().unwrap();
    sentinel.stop()
}

#[test]
fn syslog_and_the_log_of_all_engines_get_each_alert() {
    let Some(bed) = Bed::new() else { return };
    let (socket, log) = (bed.path("log"), bed.path("all.json"));
    let daemon = UnixDatagram::bind(&socket).unwrap();
    daemon.set_nonblocking(true).unwrap();
    let path = format!("--json-log-path={}", log.display());
    let outcome = attack(&bed, &socket, &["--enable-json-log", &path]);
    let mut lines = Vec::new();
    let mut datagram = [0; 4096];
    while let Ok(length) = daemon.recv(&mut datagram) {
        lines.push(String::from_utf8(datagram[..length].to_vec()).unwrap());
    }
    assert_eq!(lines.len(), outcome.alerts.len(), "{lines:#?}");
    for (line, alert) in lines.iter().zip(&outcome.alerts) {
        let rule = alert["pattern_name"].as_str().unwrap();
        assert!(line.contains(rule) && line.len() <= 1024 && !line.contains('\n'), "{line}");
    }
    let shell = outcome.alerts.iter().find(|alert| alert["severity"] == "critical").unwrap();
    let line = lines.iter().find(|line| line.starts_with("<82>")).unwrap();
    let facts = format!(
        "CRITICAL reverse_shell T1059 pid={} uid=0 exe={} action=logged: {}",
        shell["pid"],
        shell["exe"].as_str().unwrap(),
        shell["message"].as_str().unwrap()
    );
    assert!(line.ends_with(&facts), "{line}\n{facts}");
    assert_eq!(alerts(&log), outcome.alerts);
    for sink in [socket, log] {
        assert!(outcome.output.contains(sink.to_str().unwrap()), "{}", outcome.output);
    }
}

#[test]
fn a_syslog_that_nobody_reads_holds_nothing_up_and_is_told() {
    let Some(bed) = Bed::new() else { return };
    let socket = bed.path("log");
    let _daemon = UnixDatagram::bind(&socket).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"full", &socket).is_ok() {}
    let outcome = attack(&bed, &socket, &[]);
    assert!(outcome.alerts.iter().any(|alert| alert["severity"] == "critical"));
    assert!(outcome.took < Duration::from_secs(5), "{:?}", outcome.took);
    let told = format!("did not reach syslog at unix:{}", socket.display());
    assert!(outcome.errors.contains(&told), "{}", outcome.errors);
}

#[test]
fn rsyslog_files_a_critical_alert_under_authpriv() {
    let Some(bed) = Bed::new().filter(|_| Rsyslogd::is_there()) else { return };
    let (socket, log) = (bed.path("log"), bed.path("authpriv.log"));
    let configuration = format!(
        r#"module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{}")
template(name="facts" type="string"
  string="%syslogfacility-text%.%syslogseverity-text% %programname% %procid%:%msg%\n")
authpriv.* action(type="omfile" file="{}" template="facts")"#,
        socket.display(),
        log.display()
    );
    let _daemon = Rsyslogd::start(&bed, "rsyslogd", &configuration);
    let outcome = attack(&bed, &socket, &[]);
    let shell = outcome.alerts.iter().find(|alert| alert["severity"] == "critical").unwrap();
    let filed = || fs::read_to_string(&log).unwrap_or_default();
    assert!(within(PATIENCE, || filed().contains("CRITICAL")), "{}", filed());
    let filed = filed();
    let line = filed.lines().find(|line| line.contains("CRITICAL")).unwrap();
    assert!(line.starts_with("authpriv.crit sentinel "), "{line}");
    assert!(
        line.contains(&format!(": CRITICAL reverse_shell T1059 pid={} ", shell["pid"])),
        "{line}"
    );
}

#[test]
fn a_syslog_that_is_not_there_is_told_before_anything_starts() {
    let Some(bed) = Bed::new() else { return };
    fs::set_permissions(bed.path(""), Permissions::from_mode(0o755)).unwrap();
    let target = format!("--syslog=unix:{}", bed.path("log").display());
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let output = Command::new(sentinel_tests::sentinel::program())
        .args(["run", &scope, "--enable-syslog", &target, "--duration=1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("is a syslog daemon running there?"), "{errors}");
}
