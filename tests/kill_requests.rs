//! Requests to the enforcer, honest and not: it ends exactly who was meant, or nobody.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aya::maps::{HashMap, Map, MapData};
use nix::sys::{
    signal::Signal,
    socket::{MsgFlags, send as send_raw},
};
use sentinel_ipc::{
    frame::{
        AnalyzerMessage, KillMessage, MAX_FRAME_BYTES, PROTOCOL_VERSION, Refusal, Target, Verdict,
    },
    kernel_abi::ProcessFacts,
};
use sentinel_tests::{
    bed::{Bed, skip},
    rig::{Rig, boot_now, ends_by_signal, lives_on},
    sentinel::{is_running, send, within},
};
use std::os::fd::AsRawFd;

fn end(mut child: Child) {
    let _gone = child.kill();
    child.wait().unwrap();
}

#[test]
fn who_was_meant_ends_and_its_neighbour_does_not() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (mut victim, target) = rig.victim(&bed);
    let (neighbour, _) = rig.victim(&bed);
    assert_eq!(rig.kill(target), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut victim), Some(9));
    assert!(lives_on(neighbour.id()));
    let audit = rig.audit().join("\n");
    let line = format!("verdict=terminated pid={} start_time={}", target.tgid, target.start_time);
    assert!(audit.contains(&line) && audit.contains("reason=\"a test\""), "{audit}");
    end(neighbour);
}

#[test]
fn a_start_time_one_tick_off_is_another_process() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (victim, target) = rig.victim(&bed);
    for start_time in [target.start_time + 1, target.start_time - 1, 0, u64::MAX] {
        let verdict = rig.kill(Target { start_time, ..target });
        assert_eq!(verdict, Verdict::Refused(Refusal::OtherProcess));
    }
    assert!(lives_on(victim.id()));
    end(victim);
}

#[test]
fn a_process_that_ended_is_said_to_have() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (mut victim, target) = rig.victim(&bed);
    victim.kill().unwrap();
    // A zombie still has its number; then it has none.
    assert!(within(Duration::from_secs(5), || !is_running(victim.id())));
    assert_eq!(rig.kill(target), Verdict::AlreadyExited);
    victim.wait().unwrap();
    assert_eq!(rig.kill(target), Verdict::AlreadyExited);
}

#[test]
fn a_pid_that_came_back_is_another_process() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (victim, target) = rig.victim(&bed);
    end(victim);
    rig.forget(target.tgid);
    let mut heir = with_number(target.tgid, || bed.command("sleep").arg("300").spawn().unwrap());
    let identity = rig.target(target.tgid);
    assert_ne!(identity, target, "another start time");
    assert_eq!(rig.kill(target), Verdict::Refused(Refusal::OtherProcess));
    assert!(lives_on(heir.id()));
    assert_eq!(rig.kill(identity), Verdict::Terminated);
    assert_eq!(ends_by_signal(&mut heir), Some(9));
}

#[test]
fn a_loader_that_has_stopped_reporting_still_knows_who_is_who() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (victim, target) = rig.victim(&bed);
    rig.hold_up_loader(&bed);
    rig.stop_reporting();
    end(victim);
    // Outside the scope, under the same number.
    let heir = with_number(target.tgid, || Command::new("sleep").arg("300").spawn().unwrap());
    assert_eq!(rig.kill(target), Verdict::Refused(Refusal::UnknownProcess));
    assert!(lives_on(heir.id()));
    end(heir);
}

/// A process with the number of one that ended.
fn with_number(tgid: u32, spawn: impl Fn() -> Child) -> Child {
    // One test at a time: each would take the other's number.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1000 {
        // Others on this machine may take the number first, and give it back.
        fs::write("/proc/sys/kernel/ns_last_pid", (tgid - 1).to_string()).unwrap();
        let child = spawn();
        if child.id() == tgid {
            return child;
        }
        end(child);
    }
    panic!("the number {tgid} does not come back");
}

#[test]
fn the_protected_are_refused_by_name() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let any = |tgid| Target { tgid, start_time: 1 };
    let refused = |reason| Verdict::Refused(reason);
    assert_eq!(rig.kill(any(1)), refused(Refusal::Init));
    for own in [rig.loader_pid(), rig.enforcer_pid(), std::process::id()] {
        assert_eq!(rig.kill(any(own)), refused(Refusal::Sentinel));
    }
    // kthreadd: the sensor notes no process outside its scope.
    assert_eq!(rig.kill(any(2)), refused(Refusal::UnknownProcess));
    assert_eq!(rig.kill(any(0)), Verdict::Failed(libc::EINVAL));
    assert_eq!(rig.kill(any(u32::MAX)), Verdict::Failed(libc::EINVAL));
}

#[test]
fn a_thread_of_the_kernel_is_refused_although_it_is_in_the_scope() {
    let Some(bed) = Bed::new() else { return };
    // The journal of a file system has one that may be moved, and that ends with its only mount.
    let mount = "truncate --size=16M image && mkfs.ext4 -q image && mkdir mounted && \
                 mount -o loop image mounted && findmnt -no SOURCE --target mounted && read _";
    let mut mounter = Command::new("unshare")
        .args(["--mount", "--propagation=private", "sh", "-c", mount])
        .current_dir(bed.path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut device = String::new();
    BufReader::new(mounter.stdout.take().unwrap()).read_line(&mut device).unwrap();
    let Some(device) = device.trim_end().strip_prefix("/dev/") else {
        mounter.wait().unwrap();
        return skip("no file system of our own can be mounted");
    };
    let mut rig = Rig::start(&bed);
    let name = format!("jbd2/{device}-8\n");
    let is_it =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == name);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let thread = pids.find(is_it).expect("a journal");
    fs::write(bed.cgroup().join("cgroup.procs"), thread.to_string()).unwrap();
    let target = Target { tgid: thread, start_time: 1 };
    assert_eq!(rig.kill(target), Verdict::Refused(Refusal::KernelThread));
    assert_eq!(rig.kill_tree(target), Verdict::Refused(Refusal::KernelThread));
    assert!(lives_on(thread));
    drop(mounter.stdin.take());
    mounter.wait().unwrap();
}

#[test]
fn what_is_outside_the_scope_is_refused() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let stranger = Command::new("sleep").arg("300").spawn().unwrap();
    let verdict = rig.kill(Target { tgid: stranger.id(), start_time: 1 });
    assert_eq!(verdict, Verdict::Refused(Refusal::UnknownProcess));
    let (emigrant, target) = rig.victim(&bed);
    let outside = bed.cgroup().with_file_name("cgroup.procs");
    fs::write(outside, emigrant.id().to_string()).unwrap();
    assert_eq!(rig.kill(target), Verdict::Refused(Refusal::OutsideScope));
    assert!(lives_on(stranger.id()) && lives_on(emigrant.id()));
    end(stranger);
    end(emigrant);
}

#[test]
fn the_eleventh_kill_of_a_minute_trips_the_breaker() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    for kill in 0..10 {
        let (mut victim, target) = rig.victim(&bed);
        // As many as each rule has.
        assert_eq!(rig.kill_for(kill / 5, target), Verdict::Terminated);
        assert_eq!(ends_by_signal(&mut victim), Some(9));
    }
    let (victim, target) = rig.victim(&bed);
    for rule in 2..5 {
        assert_eq!(rig.kill_for(rule, target), Verdict::Refused(Refusal::Budget));
    }
    assert!(lives_on(victim.id()));
    end(victim);
}

#[test]
fn repeated_and_expired_requests_are_refused() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (victim, target) = rig.victim(&bed);
    let expired = rig.kill_as(7, target, boot_now() - 1);
    assert_eq!(expired, Verdict::Refused(Refusal::Expired));
    for replayed in [7, 6, 0] {
        let verdict = rig.kill_as(replayed, target, u64::MAX);
        assert_eq!(verdict, Verdict::Refused(Refusal::Repeated));
    }
    assert!(lives_on(victim.id()));
    end(victim);
}

#[test]
fn without_the_loader_nobody_is_identified() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (victim, target) = rig.victim(&bed);
    send(rig.loader_pid(), Signal::SIGSTOP);
    assert_eq!(rig.kill(target), Verdict::Refused(Refusal::NoLoader));
    send(rig.loader_pid(), Signal::SIGCONT);
    send(rig.loader_pid(), Signal::SIGKILL);
    assert!(within(Duration::from_secs(5), || !is_running(rig.loader_pid())));
    assert_eq!(rig.kill(target), Verdict::Refused(Refusal::NoLoader));
    assert!(lives_on(victim.id()));
    end(victim);
}

/// What breaks the protocol makes the enforcer hang up, and nobody ends.
fn hangs_up_on(breach: impl FnOnce(&mut Rig, Target)) {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (victim, target) = rig.victim(&bed);
    breach(&mut rig, target);
    assert_eq!(rig.enforcer_says(), None);
    let pid = rig.enforcer_pid();
    assert!(within(Duration::from_secs(5), || !is_running(pid)));
    let audit = rig.audit().join("\n");
    assert!(audit.contains("broke the protocol"), "{audit}");
    assert!(lives_on(victim.id()));
    end(victim);
}

fn raw(rig: &Rig, bytes: &[u8]) {
    send_raw(rig.enforcer.as_raw_fd(), bytes, MsgFlags::empty()).unwrap();
}

#[test]
fn an_unknown_tag_breaks_the_protocol() {
    hangs_up_on(|rig, _| raw(rig, &[9, 1, 2, 3]));
}

#[test]
fn a_cut_message_breaks_the_protocol() {
    hangs_up_on(|rig, _| raw(rig, &[1, 5]));
}

#[test]
fn trailing_bytes_break_the_protocol() {
    hangs_up_on(|rig, target| {
        let reason = "x";
        let message =
            KillMessage::Kill { request: 99, target, tree: false, rule: 1, deadline: 0, reason };
        let mut frame = Vec::new();
        sentinel_ipc::frame::encode(&message, &mut frame).unwrap();
        frame.push(0);
        raw(rig, &frame);
    });
}

#[test]
fn an_oversized_frame_breaks_the_protocol() {
    hangs_up_on(|rig, _| raw(rig, &vec![1; MAX_FRAME_BYTES + 1]));
}

#[test]
fn a_long_reason_breaks_the_protocol() {
    hangs_up_on(|rig, target| {
        let reason = "x".repeat(257);
        let reason = reason.as_str();
        let (request, rule, deadline) = (99, 1, u64::MAX);
        rig.tell_enforcer(&KillMessage::Kill {
            request,
            target,
            tree: false,
            rule,
            deadline,
            reason,
        });
    });
}

#[test]
fn a_second_hello_breaks_the_protocol() {
    hangs_up_on(|rig, _| rig.tell_enforcer(&KillMessage::Hello { version: PROTOCOL_VERSION }));
}

#[test]
fn the_wrong_version_or_order_breaks_the_protocol_from_the_start() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start_silent(&bed);
    rig.tell_enforcer(&KillMessage::Hello { version: PROTOCOL_VERSION + 1 });
    assert_eq!(rig.enforcer_says(), None);
    rig.tell_loader(&AnalyzerMessage::Hello { version: PROTOCOL_VERSION + 1 });
    assert!(rig.loader_hangs_up());
    let mut rig = Rig::start_silent(&bed);
    let target = Target { tgid: std::process::id(), start_time: 1 };
    let (request, rule, deadline, reason) = (1, 1, u64::MAX, "");
    rig.tell_enforcer(&KillMessage::Kill { request, target, tree: false, rule, deadline, reason });
    assert_eq!(rig.enforcer_says(), None);
    rig.tell_loader(&AnalyzerMessage::Stop);
    assert!(rig.loader_hangs_up());
}

#[test]
fn an_audit_that_nobody_reads_holds_up_no_kill() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start_with_full_audit(&bed);
    rig.greet();
    for _ in 0..3 {
        let (mut victim, target) = rig.victim(&bed);
        assert_eq!(rig.kill(target), Verdict::Terminated);
        assert_eq!(ends_by_signal(&mut victim), Some(9));
    }
}

/// Has the kernel forget what it noted of `tgid`, as if its table had been full when that began.
fn forget(loader: u32, tgid: u32) {
    let maps = fs::read_dir(format!("/proc/{loader}/fdinfo")).unwrap().filter_map(|entry| {
        let told = fs::read_to_string(entry.ok()?.path()).ok()?;
        told.lines().find_map(|line| line.strip_prefix("map_id:")?.trim().parse().ok())
    });
    let is_it = |map: &MapData| map.info().unwrap().name_as_str() == Some("PROCESS_FACTS");
    let facts = maps.filter_map(|id| MapData::from_id(id).ok()).find(is_it).unwrap();
    let mut facts: HashMap<_, u32, [u8; size_of::<ProcessFacts>()]> =
        Map::HashMap(facts).try_into().unwrap();
    facts.remove(&tgid).unwrap();
}

#[test]
fn whom_the_kernels_table_has_no_room_for_is_known_all_the_same() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let (mut victim, target) = rig.victim(&bed);
    forget(rig.loader_pid(), target.tgid);
    let wrong = Target { start_time: target.start_time - 1, ..target };
    assert_eq!(rig.kill(wrong), Verdict::Refused(Refusal::OtherProcess));
    assert!(lives_on(victim.id()));
    assert_eq!(rig.kill(target), Verdict::Terminated, "{:#?}", rig.audit());
    assert_eq!(ends_by_signal(&mut victim), Some(9));
}
