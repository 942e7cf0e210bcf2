//! What happens when events come faster than they can be taken: all is counted, verdicts still
//! come, and the operator is told.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use sentinel_ipc::{frame::KindSet, kernel_abi::kind};
use sentinel_tests::{
    bed::Bed,
    peer::{self, Peer},
    programs::compiled,
    sentinel::{Outcome, Sentinel, send},
    tap::{Record, Tap},
};
use serde_json::Value;

fn flood(bed: &Bed, arguments: &[&str]) -> Child {
    let mut command = bed.command(compiled("flood"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

/// A shell that connects out, and its attacker's end.
fn reverse_shell(bed: &Bed) {
    let peer = Peer::listen("127.0.0.1");
    let mut child = peer::reverse_shell(bed, &peer);
    peer.shell().exit();
    child.wait().unwrap();
}

fn named<'a>(outcome: &'a Outcome, name: &str) -> Vec<&'a Value> {
    outcome.alerts.iter().filter(|alert| alert["pattern_name"] == name).collect()
}

/// Every record that passed the filter was emitted or is counted as lost, and none that verdicts
/// rest on was.
fn adds_up(outcome: &Outcome) {
    let [passed, emitted, dropped, forwarded, processed] =
        ["after filter ", "emitted ", "dropped ", "forwarded ", "processed "]
            .map(|what| outcome.total(what));
    assert_eq!(emitted + dropped, passed, "{}", outcome.output);
    assert_eq!((forwarded, processed), (emitted, emitted), "{}", outcome.output);
    assert_eq!(outcome.total("urgent "), 0, "{}", outcome.output);
}

#[test]
fn a_shell_in_the_middle_of_a_flood_is_found_and_everything_adds_up() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let mut flood = flood(&bed, &["10"]);
    std::thread::sleep(Duration::from_secs(4));
    reverse_shell(&bed);
    assert!(flood.wait().unwrap().success());
    // Its last telemetry may lie in the ring for so long.
    std::thread::sleep(Duration::from_millis(300));
    let outcome = sentinel.stop();
    let shells = named(&outcome, "reverse_shell");
    assert_eq!(shells.len(), 1, "{}", outcome.output);
    assert_eq!(shells[0]["severity"], "critical");
    assert!(outcome.total("after filter ") > 100_000, "{}", outcome.output);
    adds_up(&outcome);
    let dropped = outcome.total("dropped ");
    assert_eq!(named(&outcome, "sensor_loss").is_empty(), dropped == 0, "{}", outcome.output);
    assert!(shells[0]["gap_in_window"].as_u64().unwrap() <= dropped);
}

#[test]
fn a_loader_that_was_stopped_for_a_second_tells_what_it_missed() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    send(sentinel.loader(), Signal::SIGSTOP);
    // More than the ring holds: a copy and its close take 264 bytes of it.
    let mut flood = flood(&bed, &["1", "150000"]);
    std::thread::sleep(Duration::from_millis(500));
    reverse_shell(&bed);
    assert!(flood.wait().unwrap().success());
    send(sentinel.loader(), Signal::SIGCONT);
    std::thread::sleep(Duration::from_secs(1));
    let outcome = sentinel.stop();
    let dropped = outcome.total("dropped ");
    assert!(dropped > 0, "the flood was too small: {}", outcome.output);
    adds_up(&outcome);
    let losses = named(&outcome, "sensor_loss");
    assert_eq!(losses.len(), 1, "{}", outcome.output);
    assert_eq!(losses[0]["severity"], "warning");
    let message = losses[0]["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("{dropped} events were lost (0 of")), "{message}");
    // What was emitted tells of the shell, and that something is missing around it.
    let shells = named(&outcome, "reverse_shell");
    assert_eq!(shells.len(), 1, "{}", outcome.output);
    assert_eq!(shells[0]["gap_in_window"].as_u64(), Some(dropped));
    // On a busy machine the flood takes so long that the loader's silence is told as well.
    let silent = named(&outcome, "sensor_silent").len();
    assert_eq!(outcome.alerts.len(), 2 + silent, "nothing that was not: {}", outcome.output);
}

#[test]
fn secrets_opened_while_the_loader_waits_for_a_processor_are_not_lost() {
    let Some(bed) = Bed::new() else { return };
    let secret = bed.path(".ssh/id_ed25519");
    fs::create_dir(bed.path(".ssh")).unwrap();
    fs::write(&secret, "a line of some text\n").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let sentinel = Sentinel::start(&bed, &[]);
    send(sentinel.loader(), Signal::SIGSTOP);
    // 3.1 MiB of records, which a processor that does nothing else makes in some 20 ms.
    let code = "import os, sys\nfor i in range(5000): os.close(os.open(sys.argv[1], os.O_RDONLY))";
    assert!(bed.command("python3").args(["-c", code]).arg(&secret).status().unwrap().success());
    send(sentinel.loader(), Signal::SIGCONT);
    std::thread::sleep(Duration::from_secs(1));
    let outcome = sentinel.stop();
    assert!(outcome.total("emitted ") > 5000, "{}", outcome.output);
    adds_up(&outcome);
    assert_eq!(outcome.total("dropped "), 0, "{}", outcome.output);
}

#[test]
fn a_loader_that_says_nothing_is_told() {
    let Some(bed) = Bed::new() else { return };
    let mut sentinel = Sentinel::start(&bed, &[]);
    send(sentinel.loader(), Signal::SIGSTOP);
    sentinel.wait_for("sensor_silent");
    send(sentinel.loader(), Signal::SIGCONT);
    std::thread::sleep(Duration::from_secs(1));
    let outcome = sentinel.stop();
    assert_eq!(named(&outcome, "sensor_silent").len(), 1, "{}", outcome.output);
    assert_eq!(outcome.alerts[0]["severity"], "critical");
    assert!(outcome.status.success());
}

/// Name services of C libraries use unix sockets.
const AF_INET: u16 = 2;

fn family(record: &Record) -> u16 {
    record.descriptor().descriptor.socket.family
}

#[test]
fn events_of_both_rings_come_in_the_order_in_which_they_happened() {
    let Some(bed) = Bed::new() else { return };
    let kinds = KindSet::of(&[kind::SOCKET, kind::CONNECT, kind::DUP, kind::CLOSE]);
    let mut tap = Tap::start_with(&bed, kinds);
    // So few that they fit into the rings: nobody takes them before the end. Making and closing a
    // socket goes through one ring, connecting it and putting it on a standard stream through the other.
    let code = "import os, socket\nfor i in range(1000):\n s = socket.socket()\n \
                s.connect_ex(('127.0.0.1', 1))\n os.dup2(s.fileno(), 0)\n s.close()";
    let mut command = bed.command("python3");
    assert!(tap.run(command.args(["-c", code])).status.success());
    let done: Vec<u16> = tap
        .records()
        .iter()
        .skip_while(|record| record.header.kind != kind::SOCKET || family(record) != AF_INET)
        .map(|record| record.header.kind)
        .collect();
    let round = [kind::SOCKET, kind::CONNECT, kind::DUP, kind::CLOSE];
    let rounds: Vec<&[u16]> = done.chunks(4).take(1000).collect();
    assert_eq!(rounds.len(), 1000);
    assert!(rounds.iter().all(|found| *found == round), "{:?}", &done[..40]);
}
