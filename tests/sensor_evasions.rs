//! Ways around the sensor that were found by reading it: each is told, or told of.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use sentinel_ipc::{
    file_class::SECRET,
    frame::KindSet,
    kernel_abi::{abi, flag, kind, origin},
};
use sentinel_tests::{
    bed::Bed,
    tap::{Record, Tap, spanned},
};

/// Runs Python code inside the bed and returns its pid.
fn python(bed: &Bed, code: &str, arguments: &[&Path]) -> u32 {
    let mut command = bed.command("python3");
    let mut child = command.args(["-c", code]).args(arguments).spawn().expect("python3");
    let pid = child.id();
    assert!(child.wait().expect("a child").success(), "{code}");
    pid
}

fn only(records: &[Record]) -> &Record {
    assert_eq!(records.len(), 1, "{:?}", records.iter().map(|one| one.header).collect::<Vec<_>>());
    &records[0]
}

fn file(bed: &Bed, name: &str) -> std::path::PathBuf {
    let path = fs::canonicalize(bed.path("")).unwrap().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "content").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_mode_that_is_changed_through_proc_is_that_of_the_file() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    let path = file(&bed, "program");
    let code = "import os, sys\n\
                f = os.open(sys.argv[1], os.O_RDONLY)\n\
                os.chmod(f'/proc/self/fd/{f}', 0o4755)";
    let pid = python(&bed, code, &[&path]);
    tap.catch_up();
    let record = only(&tap.of(pid, kind::CHMOD)).paths();
    assert_eq!(record.object.inode, fs::metadata(&path).unwrap().ino());
    assert_eq!(record.span[0].origin, origin::KERNEL);
    assert_eq!(spanned(&record.path[0], &record.span[0]), path.as_os_str().as_encoded_bytes());
}

#[test]
fn a_secret_that_is_renamed_through_proc_stays_one() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    let path = file(&bed, ".aws/credentials");
    let code = "import os, sys\n\
                os.chdir(sys.argv[1])\n\
                os.rename('/proc/self/cwd/.aws/credentials', 'x')\n\
                open('x').read()";
    let home = path.parent().unwrap().parent().unwrap();
    let pid = python(&bed, code, &[home]);
    tap.catch_up();
    let opened = tap.of(pid, kind::OPEN).into_iter().map(|record| record.file());
    let classes: Vec<u32> = opened
        .filter(|record| spanned(&record.path, &record.span).ends_with(b"/x"))
        .map(|record| record.class)
        .collect();
    assert!(matches!(classes[..], [class] if class & SECRET != 0), "{classes:?}");
}

#[test]
fn a_secret_that_was_removed_while_open_stays_one() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    let path = file(&bed, ".aws/credentials");
    let code = "import os, sys\n\
                os.rename(sys.argv[1], sys.argv[1] + 'x')\n\
                f = os.open(sys.argv[1] + 'x', os.O_PATH)\n\
                os.unlink(sys.argv[1] + 'x')\n\
                os.read(os.open(f'/proc/self/fd/{f}', os.O_RDONLY), 10)";
    let pid = python(&bed, code, &[&path]);
    tap.catch_up();
    let totals = tap.of(pid, kind::TRAFFIC).into_iter().map(|record| record.traffic());
    let read: Vec<_> =
        totals.filter(|record| record.class & SECRET != 0 && record.received == 7).collect();
    assert_eq!(read.len(), 1);
    assert_ne!(read[0].header.flags & flag::TAINTED, 0);
}

#[test]
fn a_message_without_a_byte_brings_its_descriptor() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    let code = "import socket\n\
                a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
                socket.send_fds(a, [b''], [0])\n\
                assert len(socket.recv_fds(b, 1, 1)[1]) == 1";
    let pid = python(&bed, code, &[]);
    tap.catch_up();
    only(&tap.of(pid, kind::RECEIVED));
}

#[test]
fn sends_over_hundreds_of_sockets_are_all_told() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    let code = "import socket\n\
                sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                sink.bind(('127.0.0.1', 0))\n\
                all = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(600)]\n\
                for one in all: one.sendto(b'secret', sink.getsockname())";
    let pid = python(&bed, code, &[]);
    tap.catch_up();
    let told = tap.of(pid, kind::SENT);
    assert_eq!(told.len(), 600);
    assert!(told.iter().all(|record| record.traffic().sent == 6));
}

#[test]
fn traffic_that_nobody_asked_for_is_not_counted() {
    let Some(bed) = Bed::new() else { return };
    // What the analyzer asks for makes the kernel look at recvmsg(2).
    let mut tap = Tap::start_with(&bed, KindSet::of(&[kind::RECEIVED]));
    let code = "import socket\n\
                all = [socket.socketpair() for _ in range(450)]\n\
                for a, b in all:\n\
                \x20   a.send(b'x')\n\
                \x20   b.recvmsg(1)";
    python(&bed, code, &[]);
    tap.catch_up();
    assert_eq!(tap.counters().untracked, 0);
}

#[test]
fn another_peer_of_the_same_socket_is_told() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    let code = "import socket\n\
                one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                for port in (9001, 9002):\n\
                \x20   one.connect(('127.0.0.1', port))\n\
                \x20   try: one.send(b'x')\n\
                \x20   except OSError: one.send(b'x')";
    let pid = python(&bed, code, &[]);
    tap.catch_up();
    let told = tap.of(pid, kind::SENT).into_iter().map(|record| record.traffic());
    let ports: Vec<u16> = told.map(|record| record.descriptor.socket.remote_port).collect();
    assert_eq!(ports, [9001, 9002]);
}

#[test]
fn the_end_of_a_process_is_told_once() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    // Threads that end at the same moment.
    let code = "import os, threading\n\
                for _ in range(30):\n\
                \x20   if os.fork() == 0:\n\
                \x20       for _ in range(8): threading.Thread(target=lambda: os.read(0, 0)).start()\n\
                \x20       os.kill(os.getpid(), 9)\n\
                while True:\n\
                \x20   try: os.wait()\n\
                \x20   except ChildProcessError: break";
    let pid = python(&bed, code, &[]);
    tap.catch_up();
    let forks = tap.of(pid, kind::FORK).into_iter().map(|record| record.fork().child_tgid);
    let children: Vec<u32> = forks.collect();
    // More where python3 is a script that looks for it.
    assert!(children.len() >= 30);
    for child in children {
        only(&tap.of(child, kind::EXIT));
    }
}

#[test]
fn a_call_by_an_x32_number_is_told() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    // init_module, which fails here either way.
    let code = "import ctypes\n\
                ctypes.CDLL(None).syscall(0x40000000 | 175, 0, 5, 0)";
    let pid = python(&bed, code, &[]);
    tap.catch_up();
    let header = only(&tap.of(pid, kind::LOAD_MODULE)).header;
    assert_eq!((header.abi, header.call, header.argument[0]), (abi::X32, 175, 5));
    assert!(header.result < 0);
}
