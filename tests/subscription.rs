//! What is reported changes while the sensor runs, after the loader has given up its rights.

use std::{
    fs,
    process::{Child, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use sentinel_ipc::{
    file_class,
    frame::{KindSet, Subscription},
    kernel_abi::kind,
};
use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    sentinel::{PATIENCE, within},
    tap::Tap,
};

const SILENT: Subscription = Subscription { reporting: false, ..Subscription::to(NO_CALLS) };
/// Kinds that no system call leads to.
const NO_CALLS: KindSet = KindSet::of(&[kind::CGROUP_MADE]);

fn set(tap: &Tap, number: u32, subscription: Subscription) -> Vec<String> {
    tap.ask_for(Subscription { number, ..subscription });
    tap.await_subscription(number)
}

fn flood(bed: &Bed, seconds: &str) -> Child {
    let mut command = bed.command(compiled("flood"));
    command.arg(seconds).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

/// Resident memory of a process, KiB.
fn memory_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn descriptors_of(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn only_what_is_asked_for_is_reported_and_attached() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start_with(&bed, KindSet::all());
    let everything = set(&tap, 1, Subscription::to(KindSet::all()));
    assert!(everything.iter().any(|hook| hook == "sys_exit"));
    let child = |tap: &mut Tap| {
        tap.forget();
        let mut child = bed.command("sh").args(["-c", "exec 5</dev/null; cd /"]).spawn().unwrap();
        child.wait().unwrap();
        tap.catch_up();
        child.id()
    };
    let pid = child(&mut tap);
    assert!(!tap.of(pid, kind::DUP).is_empty() && !tap.of(pid, kind::EXEC).is_empty());

    let hooks = set(&tap, 2, Subscription::to(NO_CALLS));
    assert!(hooks.contains(&"cgroup_mkdir".to_owned()), "{hooks:?}");
    assert!(!hooks.contains(&"sys_exit".to_owned()), "{hooks:?}");
    let pid = child(&mut tap);
    assert!(tap.of(pid, kind::DUP).is_empty() && !tap.of(pid, kind::EXEC).is_empty());

    let hooks = set(&tap, 3, Subscription::to(KindSet::of(&[kind::DUP])));
    assert!(hooks.contains(&"sys_exit".to_owned()), "{hooks:?}");
    let pid = child(&mut tap);
    assert!(!tap.of(pid, kind::DUP).is_empty() && tap.of(pid, kind::CLOSE).is_empty());
}

#[test]
fn a_detached_hook_does_not_run() {
    let Some(bed) = Bed::new() else { return };
    let tap = Tap::start_with(&bed, KindSet::all());
    let seen_in_a_second = |tap: &Tap| {
        let before = tap.counters().seen;
        assert!(flood(&bed, "1").wait().unwrap().success());
        tap.counters().seen - before
    };
    let attached = seen_in_a_second(&tap);
    set(&tap, 1, Subscription::to(NO_CALLS));
    let detached = seen_in_a_second(&tap);
    assert!(attached > 10 * detached, "{attached} and {detached}");
}

#[test]
fn the_whole_sensor_can_be_switched_off_and_on() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start_with(&bed, KindSet::all());
    set(&tap, 1, SILENT);
    let passed = tap.counters().passed;
    assert!(flood(&bed, "0.2").wait().unwrap().success());
    assert_eq!(tap.counters().passed, passed);
    set(&tap, 2, Subscription::to(KindSet::all()));
    tap.forget();
    let output = tap.run(&mut bed.command("true"));
    assert!(output.status.success());
    assert!(tap.records().iter().any(|record| record.header.kind == kind::EXEC));
}

#[test]
fn classes_of_files_are_chosen() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start_with(&bed, KindSet::of(&[kind::OPEN]));
    let key = bed.path("host.pem");
    let (passwords, keys) = (file_class::class::PASSWORD_HASHES, file_class::class::PRIVATE_KEY);
    fs::write(&key, "secret").unwrap();
    std::os::unix::fs::chown(&key, Some(0), Some(0)).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for (number, wanted) in [(1, passwords), (2, keys)] {
        let classes = file_class::bit(wanted);
        set(&tap, number, Subscription { classes, ..Subscription::to(KindSet::of(&[kind::OPEN])) });
        tap.forget();
        let output = tap.run(bed.command("cat").arg("/etc/shadow").arg(&key));
        assert!(output.status.success());
        let opened = tap.records().iter().filter(|record| record.header.kind == kind::OPEN);
        let classes: Vec<u32> = opened.map(|record| record.file().class).collect();
        assert!(classes.contains(&wanted), "{classes:?}");
        assert!(classes.iter().all(|class| *class == wanted), "{classes:?}");
    }
}

#[test]
fn a_thousand_changes_under_load_leave_nothing_behind() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start_with(&bed, KindSet::all());
    let mut flood = flood(&bed, "30");
    let ways = [
        Subscription::to(KindSet::all()),
        Subscription::to(NO_CALLS),
        SILENT,
        Subscription::to(KindSet::of(&[kind::CLOSE, kind::DUP])),
    ];
    let change = |tap: &mut Tap, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let way = ways.get(number as usize % ways.len()).copied().unwrap();
            // Ten at a time, as a caller that does not wait would.
            tap.ask_for(Subscription { number, ..way });
            if number % 10 == 9 {
                tap.await_subscription(number);
                tap.forget();
            }
        }
    };
    // Until it has all the room that it needs.
    change(&mut tap, 0..500);
    let (memory, descriptors) = (memory_of(tap.loader()), descriptors_of(tap.loader()));
    change(&mut tap, 500..1000);
    set(&tap, 1000, ways[99 % 4]);
    let now = memory_of(tap.loader());
    assert!(now <= memory + 1024, "{memory} KiB became {now} KiB");
    assert_eq!(descriptors_of(tap.loader()), descriptors);
    // Its parts are in the bed's cgroup, and nothing else. Counters add up when nobody adds to them.
    for member in bed.members() {
        let _gone = kill(Pid::from_raw(member), Signal::SIGKILL);
    }
    flood.wait().unwrap();
    assert!(within(PATIENCE, || bed.members().is_empty()));
    let hooks = set(&tap, 1001, Subscription::to(KindSet::all()));
    assert!(hooks.iter().filter(|hook| *hook == "sys_exit").count() == 1, "{hooks:?}");
    let counters = tap.counters();
    assert_eq!(counters.passed, counters.emitted.iter().chain(&counters.dropped).sum::<u64>());
}
