//! System calls are counted in the kernel, by executable, as others count them.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Stdio};

use sentinel_analyzer::baseline::calls;
use sentinel_ipc::{
    frame::{KindSet, Subscription},
    kernel_abi::{kind, profile},
};
use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    sentinel::{PATIENCE, within},
    tap::Tap,
};

/// Kinds that no system call leads to.
const NO_CALLS: KindSet = KindSet::of(&[kind::CGROUP_MADE]);
const COUNTS: Subscription = Subscription { counts: true, ..Subscription::to(NO_CALLS) };
/// What the program does by its source: itself, in threads and in children.
const GETPPID: u64 = 20_000 + 3 * 5_000 + 50 * 10;

/// Begins to count, or ends it; returns what is attached.
fn set(tap: &Tap, number: u32, subscription: Subscription) -> Vec<String> {
    tap.ask_for(Subscription { number, ..subscription });
    tap.await_subscription(number)
}

fn named(counts: BTreeMap<u16, u64>) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(call, count)| (calls::name(call).into_owned(), count)).collect()
}

#[test]
fn counts_are_those_of_strace() {
    let Some(bed) = Bed::new() else { return };
    let tap = Tap::start_with(&bed, NO_CALLS);
    let hooks = set(&tap, 1, COUNTS);
    assert!(hooks.iter().any(|hook| hook == "sys_exit"), "{hooks:?}");
    let program = compiled("call_counts");
    let table = bed.path("table");
    let mut strace = bed.command("strace");
    strace.args(["-f", "-c", "-o"]).arg(&table).arg(&program);
    assert!(strace.status().unwrap().success());
    let mut ours = tap.calls_of(&program);
    let bytes = [profile::SENT_BYTES, profile::WRITTEN_BYTES]
        .map(|place| ours.remove(&u16::try_from(place).unwrap()));
    assert_eq!(bytes, [Some(5 * 1000), Some(7 * 1000)], "as the program's source says");
    let ours = named(ours);
    let table = fs::read_to_string(table).unwrap();
    let mut theirs = BTreeMap::new();
    // % time, seconds, usecs/call, calls, errors if there are any, call.
    for line in table.lines() {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, count, .., name] = columns[..]
            && let Ok(count) = count.parse::<u64>()
            && name != "total"
        {
            theirs.insert(name.to_owned(), count);
        }
    }
    // Who ends does not return, and the call that starts the program is strace's.
    for call in ["exit", "exit_group", "execve"] {
        theirs.remove(call);
        assert!(!ours.contains_key(call), "{call}: {ours:?}");
    }
    assert_eq!(theirs.get("getppid"), Some(&GETPPID), "{theirs:?}");
    assert_eq!(ours, theirs);
}

#[test]
fn nothing_is_counted_that_nobody_asked_for_or_that_is_out_of_scope() {
    let Some(bed) = Bed::new() else { return };
    let tap = Tap::start_with(&bed, NO_CALLS);
    let program = compiled("call_counts");
    let run = || assert!(bed.command(&program).status().unwrap().success());
    let getppid = |tap: &Tap| named(tap.calls_of(&program)).get("getppid").copied();
    run();
    assert_eq!(getppid(&tap), None);
    set(&tap, 1, COUNTS);
    assert!(std::process::Command::new(&program).status().unwrap().success());
    assert_eq!(getppid(&tap), None);
    run();
    run();
    assert_eq!(getppid(&tap), Some(2 * GETPPID));
    let hooks = set(&tap, 2, Subscription::to(NO_CALLS));
    assert!(!hooks.iter().any(|hook| hook == "sys_exit"), "{hooks:?}");
    run();
    // It is not made up for when counting begins again.
    set(&tap, 3, COUNTS);
    run();
    assert_eq!(getppid(&tap), Some(3 * GETPPID));
}

#[test]
fn programs_beyond_the_number_that_is_told_apart_take_the_place_of_those_that_have_ended() {
    let Some(bed) = Bed::new() else { return };
    let tap = Tap::start_with(&bed, NO_CALLS);
    set(&tap, 1, COUNTS);
    // It goes on, and so keeps its number.
    let stays = bed.path("stays");
    fs::copy(compiled("habit"), &stays).unwrap();
    let mut staying = bed.command(&stays).stdin(Stdio::piped()).spawn().unwrap();
    let mut last = PathBuf::new();
    for number in 0..profile::COUNT + 100 {
        last = bed.path(&number.to_string());
        fs::copy("/bin/true", &last).unwrap();
        assert!(bed.command(&last).status().unwrap().success());
        if number % 120 == 0 {
            // Until the loader has looked at them again.
            tap.calls_of(&last);
        }
    }
    assert!(named(tap.calls_of(&last)).contains_key("mmap"));
    let before = named(tap.calls_of(&stays))["getppid"];
    assert!(before > 0);
    assert!(within(PATIENCE, || named(tap.calls_of(&stays))["getppid"] > before));
    staying.kill().unwrap();
    staying.wait().unwrap();
}
