//! What one process of Sentinel may do to the others as they run, with all that somebody has who runs code in it.

use std::{
    ffi::{CString, c_void},
    fs,
    io::Write as _,
    os::fd::AsRawFd as _,
};

use libc::{c_long, syscall};
use nix::sys::socket::{MsgFlags, send};
use sentinel_analyzer::privileges::{self as analyzer, Connections};

use crate::attempt::attempt;

/// A process and what was got of it before the sandbox closed: more than anybody has who gets in later.
struct Neighbour {
    pid: c_long,
    pidfd: c_long,
    /// Where something is mapped that it cannot write to.
    mapped: usize,
}

impl Neighbour {
    fn find(pid: &str) -> Self {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process");
        let line = maps.lines().find(|line| line.contains(" r--p ")).expect("read-only data");
        let start = line.split('-').next().expect("an address");
        let pid: c_long = pid.parse().expect("a pid");
        // SAFETY: makes a descriptor.
        let pidfd = unsafe { syscall(libc::SYS_pidfd_open, pid, 0) };
        assert!(pidfd >= 0, "no descriptor of {pid}");
        Self { pid, pidfd, mapped: usize::from_str_radix(start, 16).expect("an address") }
    }
}

/// Takes the place of `way` and tries it all on each of `pids`: lines of the pid, a name and a result.
pub(crate) fn run(way: &str, pids: &[String]) {
    let neighbours: Vec<Neighbour> = pids.iter().map(|pid| Neighbour::find(pid)).collect();
    // The kernel's version of landlock; from 6 on it confines signals.
    // SAFETY: asks for a number.
    let version = unsafe { syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
    let dropped = match way {
        "free" => Ok(()),
        "layers" => super::all_but_the_filter(),
        "analyzer" => analyzer::drop_privileges(Vec::new(), Connections::None).map(|_| ()),
        "loader" => sentinel_loader::privileges::drop_privileges(0).map(|_| ()),
        "enforcer" => sentinel_enforcer::privileges::drop_privileges().map(|_| ()),
        _ => panic!("unknown way {way:?}"),
    };
    dropped.unwrap_or_else(|error| panic!("{error}"));
    // Behind the whole sandbox it is a real one: who gets it does not live on.
    let (signal, by_descriptor) = match way {
        "free" | "layers" => (0, 0),
        // Those that it kills, stops and continues by are its work.
        "enforcer" => (libc::SIGKILL, libc::SIGTERM),
        _ => (libc::SIGKILL, libc::SIGKILL),
    };
    let mut report = format!("0 landlock_version {version}\n");
    for neighbour in &neighbours {
        for (name, told) in tries(neighbour, signal.into(), by_descriptor.into()) {
            report.push_str(&format!("{} {name} {told}\n", neighbour.pid));
        }
    }
    report.push_str("done\n");
    std::io::stdout().write_all(report.as_bytes()).expect("standard output");
}

fn tries(
    neighbour: &Neighbour,
    signal: c_long,
    by_descriptor: c_long,
) -> Vec<(&'static str, String)> {
    let Neighbour { pid, pidfd, mapped } = *neighbour;
    let mut bytes = [0_u8; 8];
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let there = libc::iovec { iov_base: mapped as *mut c_void, iov_len: bytes.len() };
    let copy = [pid, (&raw const here) as c_long, 1, (&raw const there) as c_long, 1, 0];
    // A null siginfo_t is looked at before the right to signal.
    let mut information = [0_i32; 32];
    (information[0], information[2]) = (signal as i32, libc::SI_QUEUE);
    let queued = information.as_ptr() as c_long;
    let open = |name: &str, how: i32| {
        let path = CString::new(format!("/proc/{pid}/{name}")).expect("no NUL");
        let at = c_long::from(libc::AT_FDCWD);
        attempt(libc::SYS_openat, [at, path.as_ptr() as c_long, how.into(), 0, 0, 0])
    };
    let trace = |how: libc::c_uint| {
        let told = attempt(libc::SYS_ptrace, [how.into(), pid, 0, 0, 0, 0]);
        if told == "ok" {
            let_go(pid as libc::pid_t, how);
        }
        told
    };
    vec![
        ("kill", attempt(libc::SYS_kill, [pid, signal, 0, 0, 0, 0])),
        ("thread_kill", attempt(libc::SYS_tkill, [pid, signal, 0, 0, 0, 0])),
        ("group_thread_kill", attempt(libc::SYS_tgkill, [pid, pid, signal, 0, 0, 0])),
        ("queue_signal", attempt(libc::SYS_rt_sigqueueinfo, [pid, signal, queued, 0, 0, 0])),
        ("pidfd_open", attempt(libc::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0])),
        ("pidfd_signal", attempt(libc::SYS_pidfd_send_signal, [pidfd, by_descriptor, 0, 0, 0, 0])),
        ("take_descriptor", attempt(libc::SYS_pidfd_getfd, [pidfd, 0, 0, 0, 0, 0])),
        ("seize", trace(libc::PTRACE_SEIZE)),
        ("attach", trace(libc::PTRACE_ATTACH)),
        ("read_memory", attempt(libc::SYS_process_vm_readv, copy)),
        ("write_memory", attempt(libc::SYS_process_vm_writev, copy)),
        ("open_memory", open("mem", libc::O_RDONLY)),
        ("open_memory_to_write", open("mem", libc::O_RDWR)),
        ("open_descriptors", open("fd", libc::O_RDONLY | libc::O_DIRECTORY)),
        ("open_environment", open("environ", libc::O_RDONLY)),
    ]
}

/// Ends the tracing of who is traced, who goes on as if nothing had been.
fn let_go(pid: libc::pid_t, how: libc::c_uint) {
    // SAFETY: stops, waits for and lets go of a process that this one traces; no memory is involved.
    unsafe {
        if how == libc::PTRACE_SEIZE {
            libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0);
        }
        libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
        assert_eq!(libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0), 0, "{pid} stays traced");
    }
}

/// Takes the analyzer's place, with its socket as standard input, and sends `frame` (hexadecimal) there.
pub(crate) fn forge(frame: &str) {
    let digits: Vec<u8> = frame.bytes().collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(pair, 16).expect("digits")
    };
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    if let Err(error) = analyzer::drop_privileges(Vec::new(), Connections::None) {
        panic!("{error}");
    }
    let sent = send(std::io::stdin().as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL);
    println!("{sent:?}");
}
