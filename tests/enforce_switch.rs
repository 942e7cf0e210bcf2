//! `sentinel enforce` while Sentinel runs. One test, since there is one socket to ask at.

use std::process::{Command, Output};

use sentinel_tests::{
    bed::Bed,
    peer::{Peer, reverse_shell},
    rig::{ends_by_signal, lives_on},
    sentinel::{PATIENCE, Sentinel, is_running, program, within},
};

fn enforce(word: &str) -> Output {
    Command::new(program()).args(["enforce", word]).output().unwrap()
}

/// What it says when it is done.
fn done(word: &str) -> String {
    let output = enforce(word);
    assert!(output.status.success(), "{}", errors(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn it_switches_kills_off_and_on_again() {
    let Some(bed) = Bed::new() else { return };
    let nobody = enforce("status");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(errors(&nobody).contains("is Sentinel running?"), "{}", errors(&nobody));

    let mut sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    let status = done("status");
    assert!(status.contains("Enforcement is on") && status.contains("Kills: 0"), "{status}");
    let peer = Peer::listen("127.0.0.1");
    let mut first = reverse_shell(&bed, &peer);
    assert_eq!(ends_by_signal(&mut first), Some(9));
    let _killed = peer.accept();

    let off = done("off");
    assert!(off.contains("switched off"), "{off}");
    let mut second = reverse_shell(&bed, &peer);
    let mut answering = peer.shell();
    assert_eq!(answering.pid(), second.id());
    sentinel.wait_for("kill_refused:kill_switch");
    assert!(lives_on(second.id()));
    second.kill().unwrap();
    second.wait().unwrap();

    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let refused = stranger.arg(program()).args(["enforce", "on"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("only root and the group"), "{}", errors(&refused));
    assert!(done("status").contains("switched off"));

    let on = done("on");
    assert!(on.contains("Enforcement is on"), "{on}");
    let mut third = reverse_shell(&bed, &peer);
    assert_eq!(ends_by_signal(&mut third), Some(9));
    assert!(done("status").contains("Kills: 2"));

    // A second one leaves the switch to the first, and one that does not enforce cannot be switched on.
    let another = Bed::new().unwrap();
    let second = Sentinel::start(&another, &[]);
    assert!(second.stop().output.contains("another enforcer runs here"));
    let outcome = sentinel.stop();
    let actions: Vec<&str> =
        outcome.alerts.iter().map(|alert| alert["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["terminated", "kill_refused:kill_switch", "terminated"]);
    assert!(outcome.errors.contains("audit switch=Off uid=0"), "{}", outcome.errors);

    let shadow = Sentinel::start(&bed, &[]);
    let refused = enforce("on");
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("--grimoire-enforce"), "{}", errors(&refused));
    let enforcer = shadow.enforcer();
    drop(shadow);
    assert!(within(PATIENCE, || !is_running(enforcer)));
    let mut command = Command::new(program());
    command.env("GRIMOIRE_ENFORCE", "0");
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let _off = Sentinel::start_as(&bed, command, &[&scope, "--grimoire-enforce"]);
    let refused = enforce("on");
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("GRIMOIRE_ENFORCE=0"), "{}", errors(&refused));
}
