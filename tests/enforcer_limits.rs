//! What the enforcer bounds: requests, kills, its log, its descriptors; and how the operator restores it.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use sentinel_ipc::{
    administration::Ask,
    channel::{Received, Sent},
    confinement::account,
    frame::{KillMessage, Mode, OutcomeMessage, Refusal, Target, Verdict, decode, encode},
};
use sentinel_tests::{
    bed::Bed,
    rig::{Rig, ends_by_signal, lives_on},
    sentinel::{PATIENCE, send, within},
    service::Place,
};

/// Requests within a minute that the enforcer looks at.
const LOOKED_AT: usize = 256;
/// After which it looks at requests again.
const MINUTE: Duration = Duration::from_secs(60);

/// Memory of a process, KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What has come from the enforcer by now.
fn heard(rig: &mut Rig) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    while let Ok(Received::Frame(frame)) = rig.enforcer.receive() {
        if let OutcomeMessage::Outcome { verdict, .. } = decode(frame).unwrap() {
            verdicts.push(verdict);
        }
    }
    verdicts
}

/// Asks 10,000 times for the end of a process that has another start time, as fast as the enforcer takes it;
/// returns the outcomes, if they are read.
fn flood(rig: &mut Rig, target: Target, reads: bool) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for request in 1..=10_000 {
        let (target, deadline) = (Target { start_time: 1, ..target }, u64::MAX);
        let (tree, rule, reason) = (false, request, "flood");
        let message = KillMessage::Kill { request, target, tree, rule, deadline, reason };
        let mut frame = Vec::new();
        encode(&message, &mut frame).unwrap();
        let sent = within(PATIENCE, || {
            if reads {
                verdicts.extend(heard(rig));
            }
            // An analyzer that reads has no more open than that.
            let is_time = !reads || request < verdicts.len() as u64 + 100;
            is_time && rig.enforcer.send(&frame).unwrap() == Sent::Done
        });
        assert!(sent, "request {request} is not taken");
    }
    verdicts
}

#[test]
fn ten_thousand_requests_are_counted_refused_and_forgotten() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (mut victim, target) = rig.victim(&bed);
    let before = resident(rig.enforcer_pid());
    let mut verdicts = flood(&mut rig, target, true);
    assert!(within(PATIENCE, || {
        verdicts.extend(heard(&mut rig));
        verdicts.len() == 10_000
    }));
    let of = |reason| verdicts.iter().filter(|&&one| one == Verdict::Refused(reason)).count();
    let (looked_at, too_fast) = (of(Refusal::OtherProcess), of(Refusal::Rate));
    assert_eq!(looked_at + too_fast, 10_000);
    assert!(too_fast > 0 && looked_at >= LOOKED_AT, "{looked_at} looked at");
    let after = resident(rig.enforcer_pid());
    assert!(after < before + 1024, "{before} KiB, then {after}");
    let count = |line: &String| {
        let is_about_it = line.contains("verdict=kill_refused:rate");
        let number = line.split("requests=").nth(1).filter(|_| is_about_it)?.split(' ').next()?;
        number.parse::<usize>().ok()
    };
    let mut audit = Vec::new();
    let are_told = within(PATIENCE, || {
        audit.extend(rig.audit());
        audit.iter().filter_map(count).sum::<usize>() == too_fast
    });
    assert!(are_told, "each is counted in a line: {too_fast}: {audit:#?}");
    assert!(audit.len() <= looked_at + 60, "{} lines", audit.len());
    std::thread::sleep(MINUTE);
    assert_eq!(rig.kill_as(20_000, target, u64::MAX), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut victim), Some(9));
}

#[test]
fn requests_that_came_too_fast_are_counted_to_the_end() {
    if Bed::new().is_none() {
        return;
    }
    let place = Place::new();
    let (service, _loader, mut analyzer) = place.enforcing(&[]);
    for _ in 0..LOOKED_AT + 50 {
        analyzer.request(u32::MAX);
        assert!(matches!(analyzer.says(), Some(OutcomeMessage::Outcome { .. })));
    }
    send(service.pid(), Signal::SIGTERM);
    let mut counted = 0;
    while counted < 50 {
        let line = service.await_line("verdict=kill_refused:rate");
        let count = line.split("requests=").nth(1).unwrap().split(' ').next().unwrap();
        counted += count.parse::<usize>().unwrap();
    }
    assert_eq!(counted, 50);
}

#[test]
fn outcomes_that_nobody_reads_hold_nothing_up_and_are_told_once() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (mut victim, target) = rig.victim(&bed);
    flood(&mut rig, target, false);
    let mut audit = rig.audit();
    heard(&mut rig);
    std::thread::sleep(MINUTE);
    rig.ask(20_000, target, false, 1, u64::MAX);
    assert_eq!(ends_by_signal(&mut victim), Some(9));
    audit.extend(rig.audit());
    let lines = |words: &str| audit.iter().filter(|line| line.contains(words)).count();
    assert_eq!(lines("does not read its outcomes"), 1, "{audit:#?}");
    assert_eq!(lines("outcomes that were not read: "), 1);
}

#[test]
fn who_was_killed_is_not_paid_for_twice() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start_as(&bed, &["--kills-per-minute=1"]);
    let (mut victim, target) = rig.victim(&bed);
    for _rule in 0..3 {
        assert_eq!(rig.kill(target), Verdict::Terminated);
    }
    assert_eq!(ends_by_signal(&mut victim), Some(9));
    let duplicates = rig.audit().iter().filter(|line| line.contains("duplicate=true")).count();
    assert_eq!(duplicates, 2);
}

#[test]
fn a_rule_that_goes_wild_leaves_the_others_their_budget() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start_as(&bed, &["--kills-per-minute-and-rule=1"]);
    for (rule, verdict) in [
        (7, Verdict::Terminated),
        (7, Verdict::Refused(Refusal::RuleBudget)),
        (8, Verdict::Terminated),
        (7, Verdict::Refused(Refusal::RuleBudget)),
    ] {
        let (mut victim, target) = rig.victim(&bed);
        assert_eq!(rig.kill_for(rule, target), verdict);
        if verdict != Verdict::Terminated {
            assert!(lives_on(victim.id()));
            victim.kill().unwrap();
        }
        victim.wait().unwrap();
    }
}

#[test]
fn only_the_operator_restores_a_spent_budget() {
    if Bed::new().is_none() {
        return;
    }
    let place = Place::new();
    let (service, loader, mut analyzer) = place.enforcing(&["--kills-per-minute=1"]);
    let [mut first, mut second] = [(); 2].map(|()| loader.victim());
    let refused = Verdict::Refused(Refusal::Budget);
    assert_eq!(analyzer.kill(first.id()), Verdict::Terminated);
    assert_eq!(analyzer.kill(second.id()), refused);
    let tripped = OutcomeMessage::Switched { mode: Mode::Tripped };
    assert_eq!(analyzer.says(), Some(tripped));
    let analyzer = place.analyzer();
    assert_eq!(analyzer.mode, Mode::Tripped, "another analyzer restores nothing");
    // By SIGKILL, as if somebody had made it crash.
    drop(service);
    let service = place.start(&["--enforce", "--kills-per-minute=1"]);
    let loader = loader.also_on(place.call_as(0));
    assert!(loader.is_taken());
    let mut analyzer = place.analyzer();
    assert_eq!(analyzer.mode, Mode::Tripped, "nor does another enforcer");
    assert_eq!(analyzer.kill(second.id()), refused);
    assert!(place.answer(Ask::Status).is_tripped);
    let answer = place.answer(Ask::On);
    assert_eq!((answer.mode, answer.is_tripped), (Mode::Enforce, false));
    service.await_line("switch=On");
    assert_eq!(analyzer.says(), Some(OutcomeMessage::Switched { mode: Mode::Enforce }));
    assert_eq!(analyzer.kill(second.id()), Verdict::Terminated);
    for victim in [&mut first, &mut second] {
        assert_eq!(ends_by_signal(victim), Some(9));
    }
}

#[test]
fn an_enforcer_that_is_started_again_has_what_is_left_of_its_budget() {
    if Bed::new().is_none() {
        return;
    }
    let place = Place::new();
    place.set_marker("on\n");
    let arguments = ["--enforce", "--kills-per-minute=2", "--kills-per-minute-and-rule=2"];
    let first = place.start(&arguments);
    let loader = place.loader();
    assert!(loader.is_taken());
    let mut victims = [(); 3].map(|()| loader.victim());
    assert_eq!(place.analyzer().kill(victims[0].id()), Verdict::Terminated);
    drop(first);
    let _second = place.start(&arguments);
    let loader = loader.also_on(place.call_as(0));
    assert!(loader.is_taken());
    let mut analyzer = place.analyzer();
    assert_eq!(analyzer.kill(victims[1].id()), Verdict::Terminated);
    assert_eq!(analyzer.kill(victims[2].id()), Verdict::Refused(Refusal::Budget));
    assert!(lives_on(victims[2].id()));
    victims[2].kill().unwrap();
    for victim in &mut victims {
        victim.wait().unwrap();
    }
}

fn lines(log: &Path) -> Vec<String> {
    fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn each_decision_is_a_line_in_the_enforcers_own_log() {
    let Some(bed) = Bed::new() else { return };
    let log = bed.path("audit.log");
    let mut rig = Rig::start_as(&bed, &[&format!("--audit-log={}", log.display())]);
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o7777, 0o640);
    let (mut victim, target) = rig.victim(&bed);
    let wrong = Target { start_time: 1, ..target };
    assert_eq!(rig.kill(wrong), Verdict::Refused(Refusal::OtherProcess));
    assert!(within(PATIENCE, || lines(&log).len() == 1), "{:?}", lines(&log));
    // What logrotate does with copytruncate.
    OpenOptions::new().write(true).truncate(true).open(&log).unwrap();
    assert_eq!(rig.kill(target), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut victim), Some(9));
    assert!(within(PATIENCE, || lines(&log).len() == 2));
    let Target { tgid, start_time } = target;
    let [intent, line] = &lines(&log)[..] else { panic!("two lines") };
    let begins = format!("audit intent pid={tgid} start_time={start_time} tree=false request=2");
    assert!(intent.contains(&begins), "{intent}");
    for words in [
        "time=".to_owned(),
        format!("verdict=terminated pid={tgid} start_time={start_time} tree=false request=2"),
        format!("found_start={start_time} uid=0"),
        "exe=\"/usr/bin/sleep\"".to_owned(),
        "reason=\"a test\"".to_owned(),
    ] {
        assert!(line.contains(&words), "{words}: {line}");
    }
}

#[test]
fn a_log_that_is_a_link_is_no_log() {
    let Some(bed) = Bed::new() else { return };
    let (link, target) = (bed.path("link"), bed.path("target"));
    symlink(&target, &link).unwrap();
    let mut rig = Rig::start_refused(&bed, &[&format!("--audit-log={}", link.display())]);
    let said = rig.audit().join("\n");
    assert!(said.contains("audit-log: ") && said.contains("link"), "{said}");
    assert_eq!(rig.enforcer_says(), None);
    assert!(!target.exists());
}

#[test]
fn an_enforcer_without_descriptors_kills_nobody_and_recovers() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (mut victim, target) = rig.victim(&bed);
    let enforcer = account("sentinel-enforcer").unwrap();
    let [user, group] = [enforcer.uid.as_raw(), enforcer.gid.as_raw()];
    let pid = format!("--pid={}", rig.enforcer_pid());
    // By its own user: others would need CAP_SYS_RESOURCE.
    let limit = |descriptors: &str| {
        let status = Command::new("setpriv")
            .args([format!("--reuid={user}"), format!("--regid={group}")])
            .args(["--clear-groups", "prlimit", &pid])
            .arg(format!("--nofile={descriptors}:2072"))
            .status();
        assert!(status.unwrap().success());
    };
    limit("3");
    assert_eq!(rig.kill(target), Verdict::Failed(libc::EMFILE));
    assert!(lives_on(victim.id()));
    limit("2072");
    assert_eq!(rig.kill(target), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut victim), Some(9));
}
