//! What goes through connections and pipes is not told while no secret could be among it; once one has been read, what
//! went before is in the totals, of the same descriptor and of no other one.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use sentinel_ipc::{
    frame::{KindSet, Subscription},
    kernel_abi::{TrafficRecord, kind},
};
use sentinel_tests::{
    bed::Bed,
    sentinel::{PATIENCE, within},
    tap::{Record, Tap},
};

/// A Python program's own connection, both ends of it, and how it reads a secret.
const BEGINNING: &str = "import ctypes, os, socket, sys, threading
listener = socket.create_server(('127.0.0.1', 0))
def connect():
    one = socket.create_connection(listener.getsockname())
    return one, listener.accept()[0]
def read_secret():
    secret = os.open('.env', os.O_RDONLY)
    os.read(secret, 100)
    os.close(secret)
def at_work(one, other):
    for _ in range(3):
        one.send(b'x' * 10)
        other.recv(10)
    other.send(b'hello')
    one.recv(5)
";

/// What is told of a Python program in the bed's directory, if all is asked for that the engines need.
fn told_of(bed: &Bed, code: &str) -> (Tap, u32) {
    let mut tap = start(bed);
    let pid = run(bed, code);
    tap.catch_up();
    (tap, pid)
}

/// A sensor that is asked for all that the engines need, and a secret in the bed's directory.
fn start(bed: &Bed) -> Tap {
    fs::write(bed.path(".env"), "PASSWORD=x").unwrap();
    fs::set_permissions(bed.path(".env"), fs::Permissions::from_mode(0o600)).unwrap();
    Tap::start_with(bed, KindSet::all().without(KindSet::of(&[kind::OPEN_ANY, kind::ALL_TRAFFIC])))
}

/// A Python program in the bed's directory, which has what [`BEGINNING`] has.
fn python(bed: &Bed, code: &str) -> Command {
    let mut command = bed.command("/usr/bin/python3");
    command.args(["-c", &format!("{BEGINNING}{code}")]).current_dir(bed.path(""));
    command
}

fn run(bed: &Bed, code: &str) -> u32 {
    let mut child = python(bed, code).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    child.id()
}

/// Of each send that was told: bytes and calls since what was told before, and the descriptor's totals.
fn sends(tap: &Tap, pid: u32) -> Vec<(u64, u64, [u64; 4])> {
    let told = tap.of(pid, kind::SENT);
    let since = |record: &Record| (record.header.argument[1], record.header.argument[2]);
    told.iter()
        .map(|record| (since(record).0, since(record).1, totals(&record.traffic())))
        .collect()
}

/// Bytes received and sent, and calls.
fn totals(traffic: &TrafficRecord) -> [u64; 4] {
    [traffic.received, traffic.sent, traffic.reads.into(), traffic.writes.into()]
}

fn totals_of_sockets(tap: &Tap, pid: u32) -> Vec<[u64; 4]> {
    let told = tap.of(pid, kind::TRAFFIC).into_iter().map(|record| record.traffic());
    told.filter(|traffic| traffic.descriptor.socket.family != 0)
        .map(|traffic| totals(&traffic))
        .collect()
}

#[test]
fn a_connection_without_a_secret_is_told_by_its_ends_alone() {
    let Some(bed) = Bed::new() else { return };
    let (tap, pid) = told_of(&bed, "one, other = connect()\nat_work(one, other)\nother.close()");
    assert_eq!(sends(&tap, pid), []);
    assert_eq!(totals_of_sockets(&tap, pid).len(), 0);
    let made = [kind::CONNECT, kind::ACCEPT].map(|kind| tap.of(pid, kind).len());
    assert_eq!(made, [1, 1]);
    let accepted = u64::try_from(tap.of(pid, kind::ACCEPT)[0].header.result).unwrap();
    let closed = tap.of(pid, kind::CLOSE);
    assert!(closed.iter().any(|record| record.header.argument[0] == accepted));
}

#[test]
fn what_went_before_a_secret_is_in_the_totals_after_it() {
    let Some(bed) = Bed::new() else { return };
    let code = "one, other = connect()\nat_work(one, other)\nread_secret()\n\
                one.send(b'x' * 7)\nother.recv(7)\none.send(b'x' * 8)\nother.close()\none.close()";
    let (tap, pid) = told_of(&bed, code);
    assert_eq!(sends(&tap, pid), [(7, 1, [5, 37, 1, 4]), (8, 1, [5, 45, 1, 5])]);
    assert_eq!(totals_of_sockets(&tap, pid), [[37, 5, 4, 1], [5, 45, 1, 5]]);
}

#[test]
fn a_pipe_has_what_went_before_a_secret_in_its_totals_too() {
    let Some(bed) = Bed::new() else { return };
    let code = "reads, writes = os.pipe()\n\
                for _ in range(3): os.write(writes, b'x' * 10); os.read(reads, 5)\n\
                read_secret()\nos.write(writes, b'x'); os.read(reads, 1)";
    let (tap, pid) = told_of(&bed, code);
    let mut told: Vec<[u64; 4]> = tap
        .of(pid, kind::TRAFFIC)
        .iter()
        .map(Record::traffic)
        .filter(|traffic| traffic.descriptor.object.mode & 0o170_000 == 0o010_000)
        .map(|traffic| totals(&traffic))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [[0, 31, 0, 4], [16, 0, 4, 0]]);
}

/// `change` makes the number of a socket that of `second`, which then sends seven bytes. Sockets of a pair, since
/// connect(2) begins anew in any case.
fn assert_second_is_by_itself(change: &str) {
    let Some(bed) = Bed::new() else { return };
    let code = format!(
        "one, other = socket.socketpair()\nat_work(one, other)\nnumber = one.fileno()\n\
         close_range = ctypes.CDLL(None).close_range\n{change}\n\
         assert second.fileno() == number, (second.fileno(), number)\nread_secret()\n\
         second.send(b'x' * 7)\nsecond.send(b'x' * 8)\nsecond.close()"
    );
    let (tap, pid) = told_of(&bed, &code);
    assert_eq!(sends(&tap, pid), [(7, 1, [0, 7, 0, 1]), (8, 1, [0, 15, 0, 2])], "{change}");
    assert_eq!(totals_of_sockets(&tap, pid), [[0, 15, 0, 2]], "{change}");
}

#[test]
fn a_number_that_is_closed_takes_its_bytes_with_it() {
    assert_second_is_by_itself("one.close()\nsecond, _ = socket.socketpair()");
}

#[test]
fn what_is_put_in_the_place_of_another_has_none_of_its_bytes() {
    assert_second_is_by_itself(
        "apart, far = socket.socketpair()\nos.dup2(apart.fileno(), number)\nsecond = socket.socket(fileno=number)",
    );
}

#[test]
fn a_range_that_is_closed_takes_its_bytes_with_it() {
    assert_second_is_by_itself(
        "assert close_range(number, number, 0) == 0\none.detach()\nsecond, _ = socket.socketpair()",
    );
    // What has the number in between is nothing that anybody asked about.
    assert_second_is_by_itself(
        "assert close_range(number, number, 0) == 0\none.detach()\n\
         assert os.eventfd(0) == number\nos.eventfd_write(number, 1)\n\
         assert close_range(number, number, 0) == 0\nsecond, _ = socket.socketpair()",
    );
}

/// A program that leaves a socket behind, and runs another that does `work` with one of the same number.
fn then(work: &str) -> String {
    format!(
        "one, other = socket.socketpair()
if len(sys.argv) == 2:
    assert one.fileno() == int(sys.argv[1])
    {work}
    sys.exit()
at_work(one, other)
code = open('/proc/self/cmdline').read().split('\\0')[2]
os.execv(sys.executable, [sys.executable, '-c', code, str(one.fileno())])"
    )
}

#[test]
fn a_new_program_begins_with_none_of_the_old_ones_bytes() {
    let Some(bed) = Bed::new() else { return };
    let code = then("one.send(b'x'); read_secret(); one.send(b'x' * 7)");
    let (tap, pid) = told_of(&bed, &code);
    assert_eq!(sends(&tap, pid), [(7, 1, [0, 8, 0, 2])]);
}

#[test]
fn a_program_that_reads_a_secret_first_has_none_of_the_old_ones_bytes() {
    let Some(bed) = Bed::new() else { return };
    let code = then("read_secret(); one.send(b'x' * 7); one.send(b'x' * 8)");
    let (tap, pid) = told_of(&bed, &code);
    assert_eq!(sends(&tap, pid), [(7, 1, [0, 7, 0, 1]), (8, 1, [0, 15, 0, 2])]);
    assert_eq!(totals_of_sockets(&tap, pid), [[0, 15, 0, 2]]);
}

#[test]
fn who_connects_by_sending_is_told() {
    let Some(bed) = Bed::new() else { return };
    // MSG_FASTOPEN, include/linux/socket.h
    let code = "one = socket.socket()\none.sendto(b'x' * 9, 0x20000000, listener.getsockname())";
    let (tap, pid) = told_of(&bed, code);
    let told = tap.of(pid, kind::SENT);
    let [told] = told.as_slice() else { panic!("{} sends", told.len()) };
    assert_eq!(totals(&told.traffic()), [0, 9, 0, 1]);
    assert_ne!(told.traffic().descriptor.socket.remote_port, 0);
}

#[test]
fn who_asks_for_all_later_is_told_of_old_connections_too() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = start(&bed);
    let code = "one, other = connect()\nat_work(one, other)\nprint(flush=True)\ninput()\n\
                one.send(b'x' * 7)\none.close()";
    let mut command = python(&bed, code);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    tap.ask_for(Subscription { number: 2, ..Subscription::to(KindSet::all()) });
    tap.await_subscription(2);
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
    tap.catch_up();
    // What it had moved before nobody knows any more.
    assert_eq!(sends(&tap, child.id()), [(7, 1, [0, 7, 0, 1])]);
    assert_eq!(totals_of_sockets(&tap, child.id()), [[0, 7, 0, 1]]);
}

/// Takes a descriptor from another process more than a minute after that has read a secret, and sends what it refers to
/// by the first call that has to do with it.
const TAKER: &str = "door = socket.socket(socket.AF_UNIX)
door.bind('door')
door.listen()
giver, _ = door.accept()
one, other = connect()
at_work(one, other)
_, [secret], _, _ = socket.recv_fds(giver, 1, 1)
os.sendfile(one.fileno(), secret, 0, 100)";
const GIVER: &str = "import time
secret = os.open('.env', os.O_RDONLY)
os.read(secret, 1)
time.sleep(61)
door = socket.socket(socket.AF_UNIX)
door.connect('door')
socket.send_fds(door, [b'x'], [secret])";

#[test]
fn a_secret_that_is_sent_by_the_call_that_reads_it_is_told_however_late() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = start(&bed);
    let mut taker = python(&bed, TAKER).spawn().unwrap();
    assert!(within(PATIENCE, || bed.path("door").exists()));
    let mut giver = python(&bed, GIVER).spawn().unwrap();
    assert!(taker.wait().unwrap().success() && giver.wait().unwrap().success());
    tap.catch_up();
    // What it sent before, a minute after the secret was read last, is only in the totals.
    assert_eq!(sends(&tap, taker.id()), [(10, 1, [5, 40, 1, 4])]);
}

#[test]
fn two_tables_of_one_process_do_not_share_a_number() {
    let Some(bed) = Bed::new() else { return };
    let code = "one, other = connect()\nat_work(one, other)\n\
                is_open, is_sent = threading.Event(), threading.Event()\n\
                def apart():\n    \
                    assert ctypes.CDLL(None).unshare(0x400) == 0\n    \
                    os.close(one.fileno())\n    \
                    second = socket.create_connection(listener.getsockname())\n    \
                    assert second.fileno() == one.fileno()\n    \
                    second.send(b'x' * 100)\n    \
                    is_open.set()\n    is_sent.wait()\n\
                thread = threading.Thread(target=apart)\nthread.start()\nis_open.wait()\n\
                one.send(b'x' * 50)\nread_secret()\none.send(b'x' * 7)\nis_sent.set()\nthread.join()";
    let (tap, pid) = told_of(&bed, code);
    let told = sends(&tap, pid);
    let [.., (7, 1, [_, sent, ..])] = told[..] else { panic!("{told:?}") };
    // How much of the older bytes is its own cannot be told any more; none of the other one's may be among it.
    assert!([7, 57, 87].contains(&sent), "{told:?}");
}

#[test]
fn who_ended_without_closing_gives_way() {
    let Some(bed) = Bed::new() else { return };
    let many = "pairs = [socket.socketpair() for _ in range(100)]\n\
                for one, other in pairs: one.send(b'x'); other.recv(1); one.send(b'x')\n";
    let mut tap = start(&bed);
    for _ in 0..4 {
        run(&bed, &format!("{many}os._exit(0)"));
    }
    // In the places of those before, as the numbers of processes are near to each other.
    let pid = run(&bed, &format!("{many}for one, other in pairs: one.close(); other.close()"));
    tap.catch_up();
    assert_eq!(tap.of(pid, kind::SOCKETPAIR).len(), 200);
    assert_eq!(totals_of_sockets(&tap, pid).len(), 0, "told where there was no place");
}
