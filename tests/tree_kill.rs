//! Trees of processes that are ended: fork bombs, bounded by pids.max and time. Their neighbours live.

use std::{fs, path::Path, process::Stdio};

use sentinel_ipc::{
    administration::Ask,
    channel::Received,
    frame::{Mode, OutcomeMessage, Refusal, Target, Verdict},
};
use sentinel_tests::{
    bed::Bed,
    bounds::Bounds,
    programs::compiled,
    rig::{Rig, ends_by_signal, lives_on},
    sentinel::{PATIENCE, Sentinel, alerts, within},
    service::Place,
};

/// How many of a bed's processes run `program`.
fn running(bed: &Bed, program: &Path) -> usize {
    let runs =
        |pid: &&i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    bed.members().iter().filter(runs).count()
}

fn number_in(path: &Path) -> u32 {
    let number = || fs::read_to_string(path).ok()?.trim().parse().ok();
    assert!(within(PATIENCE, || number().is_some()), "{} is written", path.display());
    number().unwrap()
}

#[test]
fn a_bomb_ends_and_its_ancestors_siblings_and_other_users_do_not() {
    let Some(bed) = Bed::new() else { return };
    let Some(bounds) = Bounds::new(200) else { return };
    let mut rig = Rig::start_as(&bed, &["--kills-per-minute=1"]);
    let bomb = compiled("fork_bomb");
    // The ancestor starts an older and a younger sibling of the bomb, and the bomb a child that becomes
    // another user's.
    let code = r#"
        sleep 301 & echo $! >"$1/elder"
        bash -c 'setpriv --reuid=1000 --regid=1000 --clear-groups sleep 302 & echo $! >"$1/other"
                 until [ -s "$1/younger" ]; do sleep 0.05; done
                 exec "$0" spread' "$0" "$1" & echo $! >"$1/bomb"
        until [ -s "$1/other" ]; do sleep 0.05; done
        sleep 303 & echo $! >"$1/younger"
        wait"#;
    let directory = bed.path("");
    let mut ancestor =
        bounds.command(&bed, "bash").args(["-c", code]).args([&bomb, &directory]).spawn().unwrap();
    let [elder, other, younger, root] =
        ["elder", "other", "younger", "bomb"].map(|name| number_in(&bed.path(name)));
    assert!(within(PATIENCE, || running(&bed, &bomb) > 150), "it explodes");
    let target = rig.target(root);
    let verdict = rig.kill_tree(target);
    let audit = rig.audit().join("\n");
    assert_eq!(verdict, Verdict::Terminated, "{audit}");
    assert!(
        within(PATIENCE, || running(&bed, &bomb) == 0),
        "{} live: {audit}",
        running(&bed, &bomb)
    );
    for (name, pid) in
        [("elder", elder), ("other", other), ("younger", younger), ("ancestor", ancestor.id())]
    {
        assert!(lives_on(pid), "the {name} lives: {audit}");
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        assert!(!state.contains(") T "), "and is not stopped: {state}");
    }
    assert!(audit.contains("tree=true") && audit.contains("cut=false"), "{audit}");
    let (mut one_more, target) = rig.victim(&bed);
    assert_eq!(
        rig.kill(target),
        Verdict::Refused(Refusal::Budget),
        "the tree was one kill, of one"
    );
    one_more.kill().unwrap();
    one_more.wait().unwrap();
    bounds.end();
    ancestor.wait().unwrap();
}

#[test]
fn orphans_of_a_root_that_has_ended_are_found() {
    let Some(bed) = Bed::new() else { return };
    let Some(bounds) = Bounds::new(150) else { return };
    let mut rig = Rig::start(&bed);
    // Each shell ends once it has started two others, or cannot.
    let bomb = "b(){ b & b & sleep 0.3; }; b & exit";
    let mut root = bounds.command(&bed, "bash").args(["-c", bomb]).spawn().unwrap();
    let target = rig.target(root.id());
    root.wait().unwrap();
    let shell = fs::canonicalize("/usr/bin/bash").unwrap();
    assert!(within(PATIENCE, || running(&bed, &shell) > 60), "it explodes");
    let verdict = rig.kill_tree(target);
    let audit = rig.audit().join("\n");
    assert_eq!(verdict, Verdict::Terminated, "{audit}");
    assert!(within(PATIENCE, || running(&bed, &shell) == 0), "{audit}");
    bounds.end();
}

#[test]
fn a_protected_process_of_a_tree_lives_and_is_never_stopped() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start_as(&bed, &["--never-kill-executables=/usr/bin/tail"]);
    let code = r#"tail -f /dev/null & echo $! >"$0/kept"; sleep 301 & echo $! >"$0/ended"; wait"#;
    let mut root = bed.command("bash").args(["-c", code]).arg(bed.path("")).spawn().unwrap();
    let [kept, ended] = ["kept", "ended"].map(|name| number_in(&bed.path(name)));
    let target = rig.target(root.id());
    rig.target(kept);
    assert_eq!(rig.kill_tree(target), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut root), Some(9));
    assert!(within(PATIENCE, || !Path::new(&format!("/proc/{ended}")).exists() || !lives_on(ended)));
    assert!(lives_on(kept));
    let audit = rig.audit();
    let members = audit.iter().find_map(|line| line.split("members=").nth(1)).unwrap();
    let members: Vec<&str> = members.split(',').collect();
    let is_member = |pid: u32| members.contains(&pid.to_string().as_str());
    assert!(is_member(root.id()) && is_member(ended) && !is_member(kept), "{audit:#?}");
}

#[test]
fn a_root_that_never_was_selects_nobody() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (mut living, target) = rig.victim(&bed);
    let free = 4_194_303;
    assert!(!Path::new(&format!("/proc/{free}")).exists());
    let Target { tgid, start_time } = target;
    for (tgid, start_time) in [(free, 0), (free, start_time), (tgid, 0)] {
        let verdict = rig.kill_tree(Target { tgid, start_time });
        assert_eq!(verdict, Verdict::AlreadyExited, "{:#?}", rig.audit());
        assert!(lives_on(living.id()));
    }
    assert_eq!(rig.kill_tree(target), Verdict::Terminated, "by its own name it ends");
    assert_eq!(ends_by_signal(&mut living), Some(9));
}

#[test]
fn a_protected_root_keeps_its_tree() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start_as(&bed, &["--never-kill-executables=/usr/bin/bash"]);
    let mut root = bed.command("bash").args(["-c", "sleep 301 & wait"]).spawn().unwrap();
    let target = rig.target(root.id());
    assert_eq!(rig.kill_tree(target), Verdict::Refused(Refusal::Protected));
    assert_eq!(rig.kill_tree(Target { tgid: 1, start_time: 1 }), Verdict::Refused(Refusal::Init));
    assert!(lives_on(root.id()));
    root.kill().unwrap();
    root.wait().unwrap();
}

/// Whether a process is stopped.
fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.contains(") T ")
}

#[test]
fn the_kill_switch_lets_go_of_a_tree_that_is_stopped_already() {
    if Bed::new().is_none() {
        return;
    }
    let place = Place::new();
    let (service, loader, mut analyzer) = place.enforcing(&[]);
    assert_eq!(analyzer.mode, Mode::Enforce);
    let members = [(); 3].map(|()| loader.victim());
    // Each list has one more, so that the tree is never whole.
    loader.grow_trees();
    analyzer.request_tree(members[0].id());
    let all_stopped = || members.iter().all(|member| is_stopped(member.id()));
    assert!(within(PATIENCE, all_stopped), "they are stopped");
    let answer = place.answer(Ask::Off);
    assert_eq!(answer.mode, Mode::SwitchedOff);
    let verdict = loop {
        match analyzer.says() {
            Some(OutcomeMessage::Outcome { verdict, .. }) => break verdict,
            Some(OutcomeMessage::Switched { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(verdict, Verdict::Refused(Refusal::KillSwitch));
    assert!(service.await_line("tree_released=").contains("verdict=kill_refused:kill_switch"));
    for mut member in members {
        assert!(within(PATIENCE, || !is_stopped(member.id())), "it goes on");
        assert!(lives_on(member.id()));
        member.kill().unwrap();
        member.wait().unwrap();
    }
    loader.end_trees();
}

#[test]
fn others_are_killed_while_a_tree_is_ended_and_no_second_tree_is_begun() {
    if Bed::new().is_none() {
        return;
    }
    let place = Place::new();
    let (_service, loader, mut analyzer) = place.enforcing(&[]);
    let mut members = [(); 2].map(|()| loader.victim());
    loader.grow_trees();
    let [first, second] = [members[0].id(), members[1].id()];
    analyzer.request_tree(first);
    analyzer.request(second);
    analyzer.request_tree(second);
    let verdicts: Vec<Verdict> = std::iter::from_fn(|| analyzer.says())
        .filter_map(|said| match said {
            OutcomeMessage::Outcome { verdict, .. } => Some(verdict),
            _ => None,
        })
        .take(2)
        .collect();
    assert_eq!(verdicts, [Verdict::Terminated, Verdict::Refused(Refusal::Rate)]);
    assert_eq!(ends_by_signal(&mut members[1]), Some(9));
    place.answer(Ask::Off);
    members[0].kill().unwrap();
    members[0].wait().unwrap();
    loader.end_trees();
}

#[test]
fn the_outcome_of_a_tree_is_told_to_who_asked_for_it_and_no_other() {
    if Bed::new().is_none() {
        return;
    }
    let place = Place::new();
    let (service, loader, mut first) = place.enforcing(&[]);
    let mut members = [(); 2].map(|()| loader.victim());
    loader.grow_trees();
    first.request_tree(members[0].id());
    // Another one calls while it lasts: it never settles, since each list has one more.
    assert!(within(PATIENCE, || is_stopped(members[0].id())), "it has begun");
    drop(first);
    let mut second = place.analyzer();
    assert_eq!(second.kill(members[1].id()), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut members[1]), Some(9));
    let line = service.await_line("verdict=kill_failed:ETIMEDOUT");
    assert!(line.contains("tree=true"), "{line}");
    assert_eq!(ends_by_signal(&mut members[0]), Some(9), "it is ended all the same");
    let heard = second.channel.receive().unwrap();
    assert!(matches!(heard, Received::WouldBlock), "an outcome of somebody else's request");
    loader.end_trees();
}

#[test]
fn who_has_changed_since_he_was_stopped_goes_on_and_lives() {
    if Bed::new().is_none() {
        return;
    }
    let place = Place::new();
    let (service, loader, mut analyzer) =
        place.enforcing(&["--never-kill-executables=/usr/sbin/never-killed"]);
    let mut members = [(); 4].map(|()| loader.victim());
    let [root, protected, somebody_elses, other] = [0, 1, 2, 3].map(|n: usize| members[n].id());
    // Never whole, so that there is time.
    loader.grow_trees();
    analyzer.request_tree(root);
    let all = [root, protected, somebody_elses, other];
    assert!(within(PATIENCE, || all.into_iter().all(is_stopped)), "they are stopped");
    loader.tells_of(protected, "/usr/sbin/never-killed", true);
    loader.tells_of(somebody_elses, "/usr/bin/sleep", false);
    loader.tells_of(other, "/usr/bin/another-program", true);
    assert!(within(PATIENCE, || !is_stopped(protected) && !is_stopped(somebody_elses)));
    let line = service.await_line("verdict=kill_failed:ETIMEDOUT");
    assert!(line.contains("tree=true"), "{line}");
    for (member, is_killed) in members.iter_mut().zip([true, false, false, true]) {
        if is_killed {
            assert_eq!(ends_by_signal(member), Some(9));
        } else {
            assert!(lives_on(member.id()) && !is_stopped(member.id()));
            member.kill().unwrap();
            member.wait().unwrap();
        }
    }
    loader.end_trees();
}

#[test]
fn a_tree_that_an_enforcer_left_stopped_is_ended_by_the_next_or_goes_on() {
    if Bed::new().is_none() {
        return;
    }
    for ask in [Ask::Status, Ask::Off] {
        let place = Place::new();
        let (service, loader, mut analyzer) = place.enforcing(&[]);
        let mut members = [(); 3].map(|()| loader.victim());
        loader.grow_trees();
        analyzer.request_tree(members[0].id());
        assert!(within(PATIENCE, || members.iter().all(|member| is_stopped(member.id()))));
        // SIGKILL.
        drop(service);
        assert!(members.iter().all(|member| is_stopped(member.id())), "nobody else lets them go");
        loader.end_trees();
        let next = place.start(&["--enforce"]);
        place.answer(ask);
        let _loader = loader.also_on(place.call_as(0));
        let (verdict, is_killed) = match ask {
            Ask::Off => ("kill_refused:kill_switch", false),
            _ => ("terminated", true),
        };
        let line = next.await_line(&format!("verdict={verdict}"));
        assert!(line.contains("begun by an enforcer that has ended"), "{line}");
        for member in &mut members {
            if is_killed {
                assert_eq!(ends_by_signal(member), Some(9));
            } else {
                assert!(within(PATIENCE, || !is_stopped(member.id())), "it goes on");
                assert!(lives_on(member.id()));
                member.kill().unwrap();
                member.wait().unwrap();
            }
        }
        let kept = || fs::read_to_string(place.path("marker")).unwrap();
        assert!(within(PATIENCE, || kept().split_whitespace().count() == 3), "{}", kept());
    }
}

#[test]
fn a_real_bomb_ends_by_its_alert() {
    let Some(bed) = Bed::new() else { return };
    let Some(bounds) = Bounds::new(300) else { return };
    let sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    let neighbour = bed.command("sleep").arg("300").spawn().unwrap();
    let shell = fs::canonicalize("/usr/bin/bash").unwrap();
    let mut bomb = bounds
        .command(&bed, "bash")
        .args(["-c", ":(){ :|:& };: ; sleep 20; :"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let of_bombs = || {
        let all = alerts(sentinel.log()).into_iter();
        all.filter(|alert| alert["pattern_name"] == "fork_bomb").collect::<Vec<_>>()
    };
    assert!(within(PATIENCE, || !of_bombs().is_empty()), "it is told");
    let told = of_bombs();
    assert_eq!(told[0]["action"], "terminated", "{told:#?}");
    let ended = within(PATIENCE, || running(&bed, &shell) == 0);
    assert!(lives_on(neighbour.id()));
    bounds.end();
    bomb.wait().unwrap();
    let outcome = sentinel.stop();
    assert!(ended, "{}", outcome.errors);
    let mut neighbour = neighbour;
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
}
