//! Code in the place of one process of Sentinel, against the others as they run: it gets at none of them, and
//! what it says in another's name is no word.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::Read as _,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::PermissionsExt as _,
    },
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use sentinel_ipc::{
    channel::{Channel, Received},
    frame::{
        Clock, Counters, Identity, IdentityAnswer, IdentityQuestion, LoaderMessage, OutcomeMessage,
        PROTOCOL_VERSION, Target, Verdict, encode,
    },
};
use sentinel_tests::{
    bed::Bed,
    rig::{Rig, command, lives_on},
    sentinel::{PATIENCE, Sentinel, children, program, send, within},
};

/// What came of each try on each process, as "ok" or its errno; with the kernel's version of landlock.
fn tried(way: &str, pids: &[u32]) -> (BTreeMap<(u32, String), String>, u32) {
    let output = Command::new(program().with_file_name("sandbox_probe"))
        .args(["neighbours", way])
        .args(pids.iter().map(u32::to_string))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("done\n"), "{way} did not get to its end: {text}");
    let mut tries = BTreeMap::new();
    for line in text.lines().filter(|line| *line != "done") {
        let [pid, name, told] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        tries.insert((pid.parse().unwrap(), name.to_owned()), told.to_owned());
    }
    let version = tries.remove(&(0, "landlock_version".to_owned())).unwrap();
    (tries, version.parse().unwrap_or(0))
}

#[test]
fn none_of_the_three_gets_at_the_others_as_they_run() {
    let Some(bed) = Bed::new() else { return };
    // The connector is not root.
    fs::set_permissions(bed.path(""), Permissions::from_mode(0o755)).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("--syslog=tcp:{}", server.local_addr().unwrap());
    let sentinel = Sentinel::start(&bed, &["--grimoire-enforce", "--enable-syslog", &target]);
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let connector =
        children(sentinel.pid()).into_iter().find(|pid| name(pid) == "sentinel-syslog\n");
    let connector = connector.expect("a connector");
    let of_one_user = [sentinel.pid(), connector];
    let all = [sentinel.loader(), sentinel.enforcer(), sentinel.pid(), connector];

    // Root without a sandbox gets at them: what is refused below is no nonsense.
    let (free, _) = tried("free", &all);
    assert_eq!(free.len(), 15 * all.len(), "{free:#?}");
    for ((pid, name), told) in &free {
        // It is mapped read-only.
        let wanted = if name == "write_memory" { "EFAULT" } else { "ok" };
        assert_eq!(told, wanted, "{name} of {pid}");
    }
    // Not even with a descriptor of the process, and with the real SIGKILL.
    for way in ["analyzer", "loader", "enforcer"] {
        let (confined, _) = tried(way, &all);
        assert_eq!(confined.len(), free.len());
        for ((pid, name), told) in &confined {
            let is_its_work = way == "enforcer" && name == "pidfd_open";
            let wanted = if is_its_work { "ok" } else { "EPERM" };
            assert_eq!(told, wanted, "{name} of {pid} in the place of the {way}");
        }
    }
    // And what the analyzer's user, landlock and the neighbours themselves refuse without the filter.
    let (layers, landlock) = tried("layers", &all);
    for ((pid, name), told) in &layers {
        let signals = name.contains("kill") || name.contains("signal");
        if signals && landlock < 6 && of_one_user.contains(pid) {
            // Only the filter is between them on such a kernel.
            continue;
        }
        let wanted = match name.as_str() {
            "pidfd_open" => "ok",
            name if name.starts_with("open_") => "EACCES",
            _ => "EPERM",
        };
        assert_eq!(told, wanted, "{name} of {pid} without the filter");
    }
    for pid in all {
        assert!(lives_on(pid), "{pid}");
    }
    let outcome = sentinel.stop();
    assert!(outcome.status.success(), "{}", outcome.errors);
}

/// Has somebody in the analyzer's place, with its user and sandbox, send `frame` on `socket`.
fn forge(socket: BorrowedFd<'_>, frame: &[u8]) {
    let digits: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let output = Command::new(program().with_file_name("sandbox_probe"))
        .args(["forger", &digits])
        .stdin(socket.try_clone_to_owned().unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told, format!("Ok({})\n", frame.len()), "it is not sent");
}

fn frame(message: &impl serde::Serialize) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(message, &mut frame).unwrap();
    frame
}

/// What the loader says, to the analyzer and to the enforcer; and what the enforcer says to it.
fn words_of_others(about: Target) -> Vec<(&'static str, Vec<u8>)> {
    let clock = Clock { boot_ns: about.start_time, wall_offset_ns: 0 };
    let counters = Counters::default();
    let identity = Identity {
        start_time: about.start_time,
        cgroup_id: 1,
        executable: (1, 1, 1),
        uid: 0,
        kernel_thread: false,
        in_scope: true,
    };
    let is = IdentityAnswer::Is { question: 1, identity: Some(identity), description: None };
    let (version, tgid) = (PROTOCOL_VERSION, about.tgid);
    vec![
        ("records", frame(&LoaderMessage::Events { records: &[1; 64] })),
        ("a heartbeat", frame(&LoaderMessage::Heartbeat { clock, counters, canaries: 1 })),
        ("a loader's ready", frame(&IdentityAnswer::Ready { version, tgid })),
        ("an identity", frame(&is)),
        ("no description", frame(&IdentityAnswer::Described { question: 1, description: None })),
        ("an enforcer's hello", frame(&IdentityQuestion::Hello { version, tgid })),
        ("an enforcer's question", frame(&IdentityQuestion::Describe { question: 1, tgid })),
    ]
}

#[test]
fn what_is_said_to_the_enforcer_in_the_loaders_name_kills_nobody() {
    let Some(bed) = Bed::new() else { return };
    for number in 0..words_of_others(Target { tgid: 1, start_time: 1 }).len() {
        let mut rig = Rig::start(&bed);
        let (mut victim, target) = rig.victim(&bed);
        let (name, forged) = words_of_others(target).swap_remove(number);
        // The real one does not answer, so that the enforcer waits for just such a word.
        send(rig.loader_pid(), Signal::SIGSTOP);
        rig.ask(1, target, false, 1, u64::MAX);
        forge(rig.enforcer.as_fd(), &forged);
        // Whatever it says before it hangs up, it is not that it killed.
        while let Some(said) = rig.enforcer_says() {
            let OutcomeMessage::Outcome { request: 1, verdict } = said else { panic!("{said:?}") };
            assert!(matches!(verdict, Verdict::Refused(_)), "{name}: {verdict:?}");
        }
        let audit = rig.audit().join("\n");
        assert!(audit.contains("the analyzer broke the protocol"), "{name}: {audit}");
        assert!(lives_on(victim.id()), "{name}");
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
}

#[test]
fn what_is_said_to_the_loader_in_its_own_or_the_enforcers_name_ends_the_conversation() {
    let Some(bed) = Bed::new() else { return };
    let own = Target { tgid: std::process::id(), start_time: 1 };
    for (name, forged) in words_of_others(own) {
        let (mut analyzer, loaders_analyzer) = Channel::pair().unwrap();
        let (mut enforcer, loaders_enforcer) = Channel::pair().unwrap();
        let mut loader = command("sentinel-loader", loaders_analyzer, loaders_enforcer)
            .arg(format!("--scope-cgroup={}", bed.cgroup().display()))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        forge(analyzer.as_fd(), &forged);
        // Nothing is answered, to the one or to the other.
        for channel in [&mut analyzer, &mut enforcer] {
            let hangs_up = || match channel.receive() {
                Ok(Received::Frame(frame)) => panic!("{name} is answered: {frame:?}"),
                Ok(Received::Closed) | Err(_) => true,
                Ok(Received::WouldBlock) => false,
            };
            assert!(within(PATIENCE, hangs_up), "{name} is borne");
        }
        let mut told = String::new();
        loader.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!(loader.wait().unwrap().code(), Some(1), "{name}: {told}");
        assert!(told.contains("the analyzer broke the protocol"), "{name}: {told}");
    }
}
