//! The whole chain with enforcement: from the shell's exec to its end, and all that keeps it alive.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Child, Command},
    time::Duration,
};

use nix::sys::signal::Signal;
use sentinel_tests::{
    bed::Bed,
    peer::{Peer, reverse_shell},
    rig::{ends_by_signal, lives_on},
    sentinel::{Sentinel, is_running, program, send, within},
};

fn end(mut child: Child) {
    let _gone = child.kill();
    child.wait().unwrap();
}

#[test]
fn the_shell_ends_and_its_neighbour_lives() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    assert!(sentinel.output.contains("enforce mode"), "{}", sentinel.output);
    let neighbour = bed.command("sleep").arg("300").spawn().unwrap();
    let peer = Peer::listen("127.0.0.1");
    let mut child = reverse_shell(&bed, &peer);
    assert_eq!(ends_by_signal(&mut child), Some(9));
    assert!(lives_on(neighbour.id()));
    end(neighbour);
    let outcome = sentinel.stop();
    assert_eq!(outcome.alerts.len(), 1, "{:#?}", outcome.alerts);
    assert_eq!(outcome.alerts[0]["action"], "terminated");
    assert_eq!(outcome.alerts[0]["pid"], child.id());
    let audit = format!("audit verdict=terminated pid={}", child.id());
    assert!(outcome.errors.contains(&audit), "{}", outcome.errors);
}

#[test]
fn a_shell_that_is_started_again_on_the_same_connection_ends_again_and_so_does_who_starts_it() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    let peer = Peer::listen("127.0.0.1");
    let code = format!(
        "import socket,subprocess\ns=socket.create_connection(('127.0.0.1',{}))\n\
         for _ in range(3):\n \
           code=subprocess.call(['/bin/sh'],stdin=s,stdout=s,stderr=s)\n \
           assert code==-9, code",
        peer.address().port()
    );
    let status = bed.command("python3").args(["-c", &code]).status().unwrap();
    let alerts = sentinel.stop().alerts;
    assert_eq!(status.signal(), Some(9), "{status} {alerts:#?}");
    let ended: Vec<&str> = alerts.iter().map(|alert| alert["comm"].as_str().unwrap()).collect();
    assert_eq!(ended, ["sh", "python3", "sh"], "{alerts:#?}");
    assert!(alerts.iter().all(|alert| alert["action"] == "terminated"));
}

/// Runs a reverse shell under a sentinel with `arguments`; it must live, and the alert must say why.
fn lives(
    arguments: &[&str],
    environment: &[(&str, &str)],
    prepare: impl FnOnce(&Sentinel),
    action: &str,
) {
    let Some(bed) = Bed::new() else { return };
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let mut command = Command::new(program());
    command.envs(environment.iter().copied());
    let arguments = [&[scope.as_str()], arguments].concat();
    let mut sentinel = Sentinel::start_as(&bed, command, &arguments);
    prepare(&sentinel);
    let peer = Peer::listen("127.0.0.1");
    let mut child = reverse_shell(&bed, &peer);
    let mut shell = peer.shell();
    assert_eq!(shell.pid(), child.id());
    sentinel.wait_for("CRITICAL");
    // Whoever was stopped goes on, late.
    for process in [sentinel.loader(), sentinel.enforcer()] {
        if is_running(process) {
            send(process, Signal::SIGCONT);
        }
    }
    assert!(lives_on(child.id()));
    shell.exit();
    assert!(child.wait().unwrap().success());
    let outcome = sentinel.stop();
    assert_eq!(outcome.alerts.len(), 1, "{:#?}", outcome.alerts);
    assert_eq!(outcome.alerts[0]["action"], action, "{}", outcome.errors);
}

#[test]
fn in_shadow_mode_nobody_ends() {
    lives(&[], &[], |_| {}, "logged");
}

#[test]
fn the_kill_switch_keeps_everybody_alive() {
    let enforce = &["--grimoire-enforce"];
    let switch = &[("GRIMOIRE_ENFORCE", "0")];
    lives(enforce, switch, |_| {}, "kill_refused:kill_switch");
}

#[test]
fn a_stopped_enforcer_kills_nobody_when_it_goes_on() {
    let stop = |sentinel: &Sentinel| send(sentinel.enforcer(), Signal::SIGSTOP);
    lives(&["--grimoire-enforce"], &[], stop, "kill_refused:no_answer");
}

#[test]
fn a_dead_enforcer_is_told() {
    let kill = |sentinel: &Sentinel| {
        let enforcer = sentinel.enforcer();
        send(enforcer, Signal::SIGKILL);
        assert!(within(Duration::from_secs(5), || !is_running(enforcer)));
    };
    lives(&["--grimoire-enforce"], &[], kill, "kill_refused:no_enforcer");
}

#[test]
fn a_stopped_analyzer_kills_nobody_by_a_stale_request() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    let neighbour = bed.command("sleep").arg("300").spawn().unwrap();
    send(sentinel.pid(), Signal::SIGSTOP);
    let peer = Peer::listen("127.0.0.1");
    let mut child = reverse_shell(&bed, &peer);
    let mut shell = peer.shell();
    assert_eq!(shell.pid(), child.id());
    // The shell is gone before the analyzer hears of it.
    shell.exit();
    child.wait().unwrap();
    send(sentinel.pid(), Signal::SIGCONT);
    let outcome = sentinel.stop();
    assert!(lives_on(neighbour.id()));
    end(neighbour);
    assert_eq!(outcome.alerts.len(), 1, "{:#?}", outcome.alerts);
    assert_eq!(outcome.alerts[0]["action"], "already_exited");
}

#[test]
fn a_rule_that_has_spent_its_share_of_the_budget_says_so() {
    let Some(bed) = Bed::new() else { return };
    let mut sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    let peer = Peer::listen("127.0.0.1");
    for _ in 0..5 {
        let mut child = reverse_shell(&bed, &peer);
        assert_eq!(ends_by_signal(&mut child), Some(9));
    }
    let mut child = reverse_shell(&bed, &peer);
    for _ in 0..5 {
        let _killed = peer.accept();
    }
    let mut last = peer.shell();
    assert_eq!(last.pid(), child.id());
    sentinel.wait_for("kill_refused:rule_budget");
    last.exit();
    child.wait().unwrap();
    let alerts = sentinel.stop().alerts;
    let actions: Vec<&str> = alerts.iter().map(|alert| alert["action"].as_str().unwrap()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "terminated").count(), 5);
    assert_eq!(actions.last(), Some(&"kill_refused:rule_budget"), "{actions:?}");
    assert_eq!(actions.len(), 6, "and no breaker: {actions:?}");
}
