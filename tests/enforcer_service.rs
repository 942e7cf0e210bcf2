//! The enforcer as a service: who may call when, what outlives whom, and what the kill switch stops.

use std::{fs, process::Child, time::Duration};

use nix::sys::signal::Signal;
use sentinel_ipc::{
    administration::Ask,
    channel::{Channel, Received, Sent},
    confinement::account,
    frame::{Mode, OutcomeMessage, Refusal, Verdict},
};
use sentinel_tests::{
    bed::Bed,
    rig::{ends_by_signal, lives_on},
    sentinel::{PATIENCE, is_running, send, within},
    service::{Analyzer, Loader, Place, enforcer},
};

/// As in the live tests with a sensor, although these need root only.
fn place() -> Option<Place> {
    Bed::new().map(|_bed| Place::new())
}

fn end(mut child: Child) {
    let _gone = child.kill();
    child.wait().unwrap();
}

fn hangs_up(channel: &mut Channel) -> bool {
    within(PATIENCE, || matches!(channel.receive(), Ok(Received::Closed)))
}

const ENFORCING: &[&str] = &["--enforce"];
const REFUSED: Verdict = Verdict::Refused(Refusal::KillSwitch);

#[test]
fn the_service_manager_hears_that_it_is_ready_lives_and_ends() {
    let Some(place) = place() else { return };
    let mut service = place.start(ENFORCING);
    // Nobody calls, and it lives all the same.
    for _ in 0..3 {
        place.await_word("WATCHDOG=1");
    }
    send(service.pid(), Signal::SIGHUP);
    service.await_line("a reload changes nothing");
    send(service.pid(), Signal::SIGTERM);
    place.await_word("STOPPING=1");
    assert!(within(PATIENCE, || service.child.try_wait().unwrap().is_some()));
    assert!(service.child.wait().unwrap().success());
}

#[test]
fn another_analyzer_takes_the_place_of_the_first_and_has_what_is_left_of_its_budget() {
    let Some(place) = place() else { return };
    let _service = place.start(&[ENFORCING, &["--kills-per-minute=2"]].concat());
    let loader = place.loader();
    assert!(loader.is_taken());
    let mut victims = [(); 3].map(|()| loader.victim());
    let mut first = place.analyzer();
    assert_eq!(first.mode, Mode::Enforce);
    assert_eq!(first.kill(victims[0].id()), Verdict::Terminated);
    let mut second = place.analyzer();
    assert!(hangs_up(&mut first.channel));
    assert_eq!(second.kill(victims[1].id()), Verdict::Terminated, "numbers start anew");
    drop(second);
    let mut third = place.analyzer();
    assert_eq!(third.kill(victims[2].id()), Verdict::Refused(Refusal::Budget));
    let status = place.answer(Ask::Status);
    assert_eq!((status.kills, status.kills_per_minute, status.is_tripped), (2, 2, true));
    assert!(lives_on(victims[2].id()));
    assert!(victims[..2].iter_mut().all(|victim| ends_by_signal(victim) == Some(9)));
    victims.into_iter().for_each(end);
}

#[test]
fn of_two_calls_that_cross_the_one_to_the_higher_rank_counts() {
    let Some(place) = place() else { return };
    let [mut analyzers, mut loaders] =
        ["analyzer.sock", "identity.sock"].map(|one| place.listen(one));
    let _service = place.start(ENFORCING);
    let enforcer = account("sentinel-enforcer").unwrap().uid;
    let mut called = Analyzer::greet(analyzers.next(enforcer).unwrap().unwrap());
    let loader = Loader::on(loaders.next(enforcer).unwrap().unwrap());
    assert!(loader.is_taken());
    let mut victim = loader.victim();
    // Who answered is known by its credentials.
    assert_eq!(called.kill(std::process::id()), Verdict::Refused(Refusal::Sentinel));
    // The analyzer has called at the same moment: that counts.
    let mut calling = place.analyzer();
    assert!(hangs_up(&mut called.channel));
    // The loader has too: the enforcer's own call counts, while it lasts.
    assert!(!place.loader().is_taken());
    assert_eq!(calling.kill(victim.id()), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut victim), Some(9));
    drop(loader);
    assert!(within(PATIENCE, || place.loader().is_taken()));
}

#[test]
fn a_loader_that_comes_back_is_asked_again() {
    let Some(place) = place() else { return };
    let service = place.start(ENFORCING);
    let mut analyzer = place.analyzer();
    let loader = place.loader();
    assert!(loader.is_taken());
    let mut victim = loader.victim();
    drop(loader);
    service.await_line("the loader is gone");
    assert_eq!(analyzer.kill(victim.id()), Verdict::Refused(Refusal::NoLoader));
    let another = place.loader();
    assert!(another.is_taken());
    assert_eq!(analyzer.kill(victim.id()), Verdict::Refused(Refusal::UnknownProcess));
    assert!(lives_on(victim.id()));
    end(victim);
    victim = another.victim();
    assert_eq!(analyzer.kill(victim.id()), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut victim), Some(9));
}

#[test]
fn strangers_are_not_let_in() {
    let Some(place) = place() else { return };
    let service = place.start(ENFORCING);
    let mut analyzer = place.analyzer();
    for _ in 0..20 {
        assert!(hangs_up(&mut place.call_as(65_534)));
    }
    let told = service.await_line("strangers=1");
    assert!(told.contains("last_uid=65534"), "{told}");
    let loader = place.loader();
    assert!(loader.is_taken());
    let mut victim = loader.victim();
    assert_eq!(analyzer.kill(victim.id()), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut victim), Some(9));
}

#[test]
fn a_breach_ends_the_conversation_and_not_the_budget() {
    let Some(place) = place() else { return };
    let service = place.start(&[ENFORCING, &["--kills-per-minute=1"]].concat());
    let loader = place.loader();
    assert!(loader.is_taken());
    let [mut victim, other] = [(); 2].map(|()| loader.victim());
    let mut analyzer = place.analyzer();
    assert_eq!(analyzer.kill(victim.id()), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut victim), Some(9));
    assert_eq!(analyzer.channel.send(&[9, 9, 9]).unwrap(), Sent::Done);
    assert!(hangs_up(&mut analyzer.channel));
    service.await_line("broke the protocol");
    let mut analyzer = place.analyzer();
    assert_eq!(analyzer.kill(other.id()), Verdict::Refused(Refusal::Budget));
    assert!(is_running(service.pid()) && lives_on(other.id()));
    end(other);
}

#[test]
fn off_reaches_also_what_was_asked_for_before() {
    let Some(place) = place() else { return };
    place.set_marker("on\n");
    let service = place.start(ENFORCING);
    let loader = place.loader();
    assert!(loader.is_taken());
    let victims = [(); 5].map(|()| loader.victim());
    let mut analyzer = place.analyzer();
    send(service.pid(), Signal::SIGSTOP);
    victims.iter().for_each(|victim| analyzer.request(victim.id()));
    let mut admin = place.ask(Ask::Off);
    send(service.pid(), Signal::SIGCONT);
    let mut switched = 0;
    let mut refused = 0;
    while refused < victims.len() {
        match analyzer.says().unwrap() {
            OutcomeMessage::Switched { mode: Mode::SwitchedOff } => switched += 1,
            OutcomeMessage::Outcome { verdict: REFUSED, .. } => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(switched, 1);
    let answer = place.answer(Ask::Status);
    assert_eq!((answer.mode, answer.kills, answer.not_kept), (Mode::SwitchedOff, 0, None));
    assert!(within(PATIENCE, || matches!(admin.receive(), Ok(Received::Frame(_)))));
    service.await_line("refused=5");
    assert!(victims.iter().all(|victim| lives_on(victim.id())));
    // What is asked for while it is off stays refused when it is on again.
    send(service.pid(), Signal::SIGSTOP);
    victims.iter().for_each(|victim| analyzer.request(victim.id()));
    let mut admin = place.ask(Ask::On);
    send(service.pid(), Signal::SIGCONT);
    for _ in 0..victims.len() {
        let said = analyzer.says().unwrap();
        assert!(matches!(said, OutcomeMessage::Outcome { verdict: REFUSED, .. }), "{said:?}");
    }
    assert_eq!(analyzer.says(), Some(OutcomeMessage::Switched { mode: Mode::Enforce }));
    assert!(within(PATIENCE, || matches!(admin.receive(), Ok(Received::Frame(_)))));
    assert_eq!(analyzer.kill(victims[0].id()), Verdict::Terminated);
    assert!(victims[1..].iter().all(|victim| lives_on(victim.id())));
    victims.into_iter().for_each(end);
}

#[test]
fn an_on_that_nobody_waits_for_any_more_switches_nothing_on() {
    let Some(place) = place() else { return };
    let service = place.start(ENFORCING);
    assert_eq!(place.answer(Ask::Off).mode, Mode::SwitchedOff);
    send(service.pid(), Signal::SIGSTOP);
    drop(place.ask(Ask::On));
    send(service.pid(), Signal::SIGCONT);
    assert_eq!(place.answer(Ask::Status).mode, Mode::SwitchedOff);
    assert_eq!(place.answer(Ask::On).mode, Mode::Enforce);
    send(service.pid(), Signal::SIGSTOP);
    drop(place.ask(Ask::Off));
    send(service.pid(), Signal::SIGCONT);
    assert_eq!(place.answer(Ask::Status).mode, Mode::SwitchedOff);
}

#[test]
fn the_switch_survives_restarts_where_it_has_a_file() {
    let Some(place) = place() else { return };
    let marker = place.path("marker");
    let restarted = || (place.start(ENFORCING), place.answer(Ask::Status));
    {
        let (_service, status) = restarted();
        assert_eq!(status.mode, Mode::Enforce);
        let why = status.not_kept.unwrap();
        assert!(why.contains("marker does not exist"), "{why}");
        assert!(place.answer(Ask::Off).not_kept.is_some());
    }
    place.set_marker("on\n");
    for (ask, mode, word) in [(Ask::Off, Mode::SwitchedOff, "off"), (Ask::On, Mode::Enforce, "on")]
    {
        {
            let (_service, status) = restarted();
            assert_eq!(status.not_kept, None);
            assert_eq!(place.answer(ask).mode, mode);
            let content = fs::read_to_string(&marker).unwrap();
            assert_eq!(content.split(' ').next(), Some(word), "{content:?}");
        }
        let (_service, status) = restarted();
        assert_eq!(status.mode, mode);
    }
    place.set_marker("perhaps\n");
    let (service, status) = restarted();
    assert_eq!(status.mode, Mode::SwitchedOff);
    service.await_line("neither on nor off");
}

#[test]
fn on_does_not_go_beyond_the_configuration() {
    let Some(place) = place() else { return };
    let file = place.path("enforcer.toml");
    fs::write(&file, "enforce = false\n").unwrap();
    let _service = place.start(&[&format!("--config={}", file.display())]);
    let answer = place.answer(Ask::On);
    assert_eq!((answer.mode, answer.is_configured), (Mode::Shadow, false));
    assert_eq!(answer.file, Some(file.display().to_string()));
    assert_eq!(place.analyzer().mode, Mode::Shadow);
}

#[test]
fn administrators_who_say_nothing_are_in_nobodys_way() {
    let Some(place) = place() else { return };
    let _service = place.start(ENFORCING);
    let connect = || Channel::connect(&place.path("enforce.sock")).unwrap();
    let mut idle: Vec<Channel> = (0..20).map(|_| connect()).collect();
    let mut foolish = connect();
    assert_eq!(foolish.send(&[9; 100]).unwrap(), Sent::Done);
    assert!(hangs_up(&mut foolish));
    assert_eq!(place.answer(Ask::Off).mode, Mode::SwitchedOff);
    std::thread::sleep(Duration::from_secs(5));
    assert!(idle.iter_mut().all(hangs_up));
}

#[test]
fn a_check_says_what_is_wrong_with_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("enforcer.toml");
    let config = format!("--config={}", file.display());
    fs::write(&file, "enforce = true\n").unwrap();
    assert_eq!(enforcer(&[&config, "--check"]), (String::new(), Some(0)));
    fs::write(&file, "enforce = true\nkills = 1\n").unwrap();
    let (said, code) = enforcer(&[&config, "--check"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("enforcer.toml:2: unknown key \"kills\"; known are enforce"), "{said}");
}
