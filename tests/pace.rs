//! Who makes many urgent records does not have the loader woken for each of them.

use std::time::Duration;

use sentinel_ipc::{frame::KindSet, kernel_abi::kind};
use sentinel_tests::{bed::Bed, tap::Tap};

const CONNECTS: usize = 20_000;

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
    // Read all the while: a full socket would have them told together as well.
    while child.try_wait().unwrap().is_none() {
        tap.rounds();
        std::thread::sleep(Duration::from_micros(200));
    }
    tap.catch_up();
    // Whom else the interpreter may connect to is not looked at.
    assert!(tap.of(child.id(), kind::CONNECT).len() >= CONNECTS);
    let rounds = tap.rounds() - before;
    assert!(rounds < CONNECTS / 10, "{rounds} rounds");
}
