//! Messages of analyzer, enforcer and administrators, as each is sent.

use sentinel_analyzer::{
    control::{Answer, Asked},
    status::{Alerts, Events, Part, Sequences, Status},
};
use sentinel_ipc::{
    administration::{self, AdminAnswer, AdminQuestion, Ask},
    frame::{
        About, AnalyzerMessage, Description, Identity, IdentityAnswer, IdentityQuestion,
        KillMessage, KindSet, Member, Mode, OutcomeMessage, PROTOCOL_VERSION, Refusal, Selection,
        Subscription, Target, Verdict,
    },
    kernel_abi::kind,
};

use super::{Seeds, frame, parts};

const TARGET: Target = Target { tgid: 4711, start_time: 1_000_000 };

fn about() -> About {
    let capabilities = vec!["CAP_KILL".into()];
    About { tgid: 12, uid: 990, capabilities, sandbox: "landlock 7, seccomp".into(), since: 1 }
}

pub(super) fn of_the_analyzer(seeds: &mut Seeds) {
    let version = PROTOCOL_VERSION;
    let narrow = Subscription {
        number: 7,
        selection: Selection::Cgroup(4711),
        counts: true,
        ..Subscription::to(KindSet::of(&[kind::CONNECT, kind::DUP]))
    };
    let tree = Subscription { selection: Selection::Tree(12), ..Subscription::to(KindSet::all()) };
    for (name, message) in [
        ("hello", AnalyzerMessage::Hello { version }),
        ("subscribe", AnalyzerMessage::Subscribe(narrow)),
        ("subscribe_tree", AnalyzerMessage::Subscribe(tree)),
        ("take_snapshot", AnalyzerMessage::TakeSnapshot),
        (
            "follow",
            AnalyzerMessage::Follow { processes: vec![TARGET, Target { tgid: 1, ..TARGET }] },
        ),
        ("stop", AnalyzerMessage::Stop),
    ] {
        seeds.insert(("analyzer_frames", name.into()), frame(&message));
    }
    let hello = (0, frame(&KillMessage::Hello { version }));
    let kill = |request, tree| {
        let (target, rule, deadline) = (TARGET, 1, u64::MAX / 2);
        let reason = "reverse_shell: (pid 4711) on the connection";
        (0, frame(&KillMessage::Kill { request, target, tree, rule, deadline, reason }))
    };
    let other = (0, frame(&KillMessage::Hello { version: version + 1 }));
    for (name, spoken) in [
        ("requests", vec![hello.clone(), kill(1, false), kill(2, true)]),
        ("greeted_twice", vec![hello.clone(), hello]),
        ("request_first", vec![kill(1, false)]),
        ("other_version", vec![other]),
    ] {
        seeds.insert(("kill_frames", name.into()), parts(&spoken));
    }
}

pub(super) fn of_the_enforcer(seeds: &mut Seeds) {
    let version = PROTOCOL_VERSION;
    // 1 sends no request before, 4 one for a process, 0 one for a tree.
    let ready = (1, frame(&OutcomeMessage::Ready { version, mode: Mode::Enforce, about: about() }));
    let outcome =
        |kind, request, verdict| (kind, frame(&OutcomeMessage::Outcome { request, verdict }));
    let switched = |mode| (1, frame(&OutcomeMessage::Switched { mode }));
    for (name, spoken) in [
        ("terminated", vec![ready.clone(), outcome(4, 1, Verdict::Terminated)]),
        ("tree", vec![ready.clone(), outcome(0, 1, Verdict::AlreadyExited)]),
        ("refused", vec![ready.clone(), outcome(4, 1, Verdict::Refused(Refusal::Protected))]),
        ("failed", vec![ready.clone(), outcome(4, 1, Verdict::Failed(24))]),
        ("nobody_asked", vec![ready.clone(), outcome(1, 9, Verdict::Terminated)]),
        ("switched", vec![ready, switched(Mode::SwitchedOff), switched(Mode::Tripped)]),
    ] {
        seeds.insert(("outcome_frames", name.into()), parts(&spoken));
    }
    for (name, question) in [
        ("hello", IdentityQuestion::Hello { version, tgid: 12 }),
        ("who_is", IdentityQuestion::WhoIs { question: 1, tgid: 4711 }),
        ("describe", IdentityQuestion::Describe { question: 2, tgid: 4711 }),
        ("tree", IdentityQuestion::Tree { question: 3, root: TARGET, user: Some(1000) }),
    ] {
        seeds.insert(("identity_frames", name.into()), frame(&question));
    }
    let start_time = TARGET.start_time;
    let (executable, cgroup_id) = ((1, 2, 3), 4);
    let identity = Identity {
        start_time,
        cgroup_id,
        executable,
        uid: 1000,
        kernel_thread: false,
        in_scope: true,
    };
    let description = Description {
        start_time,
        uid: 1000,
        path: b"/usr/bin/bash".to_vec(),
        is_sound: true,
        has_own_pids: false,
        cgroup: b"/user.slice/user-1000.slice".to_vec(),
    };
    let members = vec![Member { process: TARGET, executable, cgroup_id }];
    let ready = IdentityAnswer::Ready { version, tgid: 11 };
    seeds.insert(("identity_frames", "greeted".into()), parts(&[(0, frame(&ready))]));
    let is = |identity, description| IdentityAnswer::Is { question: 1, identity, description };
    let description = Some(description);
    for (name, answer) in [
        ("ready", ready),
        ("is", is(Some(identity), description.clone())),
        ("nobody", is(None, None)),
        ("described", IdentityAnswer::Described { question: 2, description }),
        ("members", IdentityAnswer::Members { question: 3, user: Some(1000), members }),
    ] {
        seeds.insert(("identity_frames", name.into()), frame(&answer));
    }
}

pub(super) fn of_administrators(seeds: &mut Seeds) {
    let version = administration::VERSION;
    for (name, ask) in [("status", Ask::Status), ("on", Ask::On), ("off", Ask::Off)] {
        seeds.insert(("administration", name.into()), frame(&AdminQuestion { version, ask }));
    }
    let answer = AdminAnswer {
        version,
        mode: Mode::Tripped,
        is_configured: true,
        file: Some("/etc/sentinel/enforcer.toml".into()),
        is_off_by_environment: false,
        not_kept: Some("read-only file system".into()),
        refused: 1,
        kills: 20,
        kills_of_last_minute: 10,
        kills_per_minute: 10,
        is_tripped: true,
        about: about(),
    };
    seeds.insert(("administration", "answer".into()), frame(&answer));
    for (name, asked) in [("asked_status", Asked::Status), ("asked_rules", Asked::ReloadRules)] {
        seeds.insert(("administration", name.into()), frame(&asked));
    }
    let status = Status {
        version: "0.1.0".into(),
        pid: 10,
        uptime: 60,
        mode: "enforce".into(),
        parts: vec![Part::of("enforcer", Some(&about()), 1_000_000_000)],
        is_watching: true,
        scope: "all processes".into(),
        hooks: vec!["sys_exit".into(), "sched_process_fork".into()],
        blind_to: vec!["files and connections opened through io_uring".into()],
        rules: vec!["reverse_shell".into()],
        events: Events { seen: 1000, passed: 900, emitted: 900, ..Events::default() },
        processes: 100,
        alerts: Alerts { critical: 1, ..Alerts::default() },
        last_alerts: Vec::new(),
        sequences: Sequences::default(),
        correlation: None,
        baseline: None,
        syslog: None,
    };
    let told = frame(&Answer::Status(Box::new(status)));
    seeds.insert(("administration", "told_status".into()), told);
    for (name, result) in
        [("told_rules", Ok("9 rules".into())), ("told_wrong", Err("a.toml:1:1".into()))]
    {
        seeds.insert(("administration", name.into()), frame(&Answer::Rules(result)));
    }
}
