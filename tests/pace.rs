//! Who makes many urgent records does not have the loader woken for each of them, but for those that cannot wait.

use std::{process::Child, time::Duration};

use sentinel_ipc::{frame::KindSet, kernel_abi::kind};
use sentinel_tests::{bed::Bed, tap::Tap};

const CONNECTS: usize = 20_000;

/// Reads what is told until the child has ended: a full socket would have it told together as well.
fn read_until_end(tap: &mut Tap, child: &mut Child) {
    while child.try_wait().unwrap().is_none() {
        tap.rounds();
        std::thread::sleep(Duration::from_micros(200));
    }
    tap.catch_up();
}

#[test]
fn records_that_keep_coming_are_told_several_together() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start_with(&bed, KindSet::of(&[kind::CONNECT, kind::EXIT]));
    let before = tap.rounds();
    let program = format!(
        "import socket\n\
         for _ in range({CONNECTS}): socket.socket().connect_ex(('127.0.0.1', 1))"
    );
    let mut child = bed.command("python3").args(["-c", &program]).spawn().unwrap();
    read_until_end(&mut tap, &mut child);
    // Whom else the interpreter may connect to is not looked at.
    assert!(tap.of(child.id(), kind::CONNECT).len() >= CONNECTS);
    let rounds = tap.rounds() - before;
    assert!(rounds < CONNECTS / 10, "{rounds} rounds");
}

/// While many connect, programs start, each with this as its input: how many records were told with each, later ones.
/// The median.
fn told_behind_programs(input: &str) -> Option<usize> {
    let bed = Bed::new()?;
    let mut tap = Tap::start_with(&bed, KindSet::of(&[kind::CONNECT, kind::EXIT]));
    let program = format!(
        "import os, socket, subprocess, threading
def busy():
    while not is_done: socket.socket().connect_ex(('127.0.0.1', 1))
is_done = False
thread = threading.Thread(target=busy)
thread.start()
listener = socket.create_server(('127.0.0.1', 0))
one = socket.create_connection(listener.getsockname())
for _ in range(60): subprocess.run(['/bin/true'], stdin={input})
is_done = True
thread.join()"
    );
    let mut child = bed.command("python3").args(["-c", &program]).spawn().unwrap();
    read_until_end(&mut tap, &mut child);
    let is_program = |kind, tgid| kind == kind::EXEC && tgid != child.id();
    let mut behind: Vec<usize> = (0..)
        .zip(tap.records())
        .filter(|(_, record)| is_program(record.header.kind, record.header.tgid))
        .map(|(index, _)| tap.told_behind(index))
        .collect();
    assert!(behind.len() >= 60, "{behind:?}");
    behind.sort_unstable();
    Some(behind[behind.len() / 2])
}

#[test]
fn a_program_with_a_connection_as_its_input_is_told_at_once() {
    let Some(with_others) = told_behind_programs("subprocess.DEVNULL") else { return };
    let Some(at_once) = told_behind_programs("one") else { return };
    assert!(at_once * 2 < with_others, "{at_once}, and else {with_others}");
}
