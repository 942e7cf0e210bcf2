//! Files that nobody asked about are not told: neither their opening, nor what goes through them, nor their end. Once
//! a secret has been read, what goes through them is.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use sentinel_ipc::{
    frame::KindSet,
    kernel_abi::{TrafficRecord, kind},
};
use sentinel_tests::{bed::Bed, tap::Tap};

/// What is told of a Python program in the bed's directory, by its pid, if all but `unwanted` is asked for.
fn told_of(bed: &Bed, code: &str, unwanted: &[u16]) -> (Tap, u32) {
    let mut tap = Tap::start_with(bed, KindSet::all().without(KindSet::of(unwanted)));
    let mut command = bed.command("/usr/bin/python3");
    let mut child = command.args(["-c", code]).current_dir(bed.path("")).spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    tap.catch_up();
    (tap, pid)
}

/// Opens, reads, writes and closes a file, and does that again around the reading of a secret; its start alone opens
/// dozens of files.
const CODE: &str = "import os
def use(file): os.read(file, 3); os.write(file, b'four')
before = os.open('plain', os.O_RDWR)
use(before)
os.close(before)
held = os.open('plain', os.O_RDWR)
use(held)
secret = os.open('.env', os.O_RDONLY)
os.read(secret, 100)
os.close(secret)
use(held)
os.close(held)";

/// A thread takes a descriptor table of its own, in which the number of the connection becomes that of a file.
const TWO_TABLES: &str = "import ctypes, os, socket, threading
listener = socket.create_server(('127.0.0.1', 0))
connection = socket.create_connection(listener.getsockname())
is_open, is_sent = threading.Event(), threading.Event()
def other():
    assert ctypes.CDLL(None).unshare(0x400) == 0
    os.close(connection.fileno())
    assert os.open('plain', os.O_RDONLY) == connection.fileno()
    is_open.set()
    is_sent.wait()
thread = threading.Thread(target=other)
thread.start()
is_open.wait()
connection.send(b'x' * 1000)
is_sent.set()
thread.join()";

#[test]
fn a_number_that_means_a_file_to_one_thread_hides_no_connection_of_another() {
    let Some(bed) = Bed::new() else { return };
    fs::write(bed.path("plain"), "nothing that matters").unwrap();
    let (tap, pid) = told_of(&bed, TWO_TABLES, &[kind::OPEN_ANY]);
    let sent: Vec<u64> =
        tap.of(pid, kind::SENT).iter().map(|record| record.traffic().sent).collect();
    assert_eq!(sent, [1000]);
}

/// Descriptors that are closed by the way of close_range(2), and become something else by a call that nobody asked
/// about.
const OTHER_WAY: &str = "import ctypes, os
number = os.open('plain', os.O_RDONLY)
assert ctypes.CDLL(None).close_range(number, number, 0) == 0
assert os.eventfd(0) == number
os.eventfd_write(number, 1)
os.close(number)";

#[test]
fn what_gets_the_number_of_a_file_is_told_of_however_that_was_closed() {
    let Some(bed) = Bed::new() else { return };
    fs::write(bed.path("plain"), "nothing that matters").unwrap();
    let (tap, pid) = told_of(&bed, OTHER_WAY, &[kind::OPEN_ANY, kind::CLOSE_RANGE]);
    // An eventfd is a file without a type.
    let is_it = |traffic: &TrafficRecord| traffic.descriptor.object.mode & 0o170_000 == 0;
    let told: Vec<TrafficRecord> =
        tap.of(pid, kind::TRAFFIC).iter().map(|record| record.traffic()).filter(is_it).collect();
    let [told] = told.as_slice() else { panic!("{} totals", told.len()) };
    assert_eq!((told.writes, told.sent), (1, 8));
    assert!(tap.of(pid, kind::CLOSE_RANGE).is_empty(), "seen, and told to nobody");
}

#[test]
fn a_file_of_no_class_is_told_of_once_there_is_a_secret_that_could_go_through_it() {
    let Some(bed) = Bed::new() else { return };
    fs::write(bed.path("plain"), "nothing that matters").unwrap();
    fs::write(bed.path(".env"), "PASSWORD=x").unwrap();
    fs::set_permissions(bed.path(".env"), fs::Permissions::from_mode(0o600)).unwrap();
    let inode = fs::metadata(bed.path("plain")).unwrap().ino();
    let (tap, pid) = told_of(&bed, CODE, &[kind::OPEN_ANY]);
    let is_it = |traffic: &TrafficRecord| traffic.descriptor.object.inode == inode;
    let told: Vec<TrafficRecord> =
        tap.of(pid, kind::TRAFFIC).iter().map(|record| record.traffic()).filter(is_it).collect();
    let [told] = told.as_slice() else { panic!("{} totals", told.len()) };
    assert_eq!(
        (told.received, told.sent),
        (3, 4),
        "what went through it after the secret was read"
    );
    assert_eq!(tap.of(pid, kind::OPEN).len(), 1, "the secret");
    let ends = tap.of(pid, kind::CLOSE).len();
    assert!(ends < 10, "{ends} descriptors were closed, of which one is the secret");
}
