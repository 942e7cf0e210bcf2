//! What Sentinel takes for itself: processor time while there is little to do, and memory; and how few system calls
//! become records.
//!
//! `cargo build --release && cargo bench -p sentinel-tests --bench footprint [-- SECONDS]` as root; each rate is watched
//! for so long (30 s). With 0 seconds it does everything once, briefly, and with few processes.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use sentinel_tests::{bed::Bed, sentinel::Sentinel};

#[path = "footprint/counted.rs"]
mod counted;
#[path = "footprint/parts.rs"]
mod parts;
#[path = "footprint/server.rs"]
mod server;
#[path = "overhead/works.rs"]
#[expect(dead_code, reason = "by what they are judged is the business of `overhead`")]
mod works;

use counted::Counted;
use parts::Parts;
use server::{Server, possible_processes};
use works::WORKS;

/// How long everything lasts.
#[derive(Clone, Copy)]
struct Times {
    /// Until a snapshot has been followed and a start is over.
    settling: Duration,
    /// For which a rate is watched.
    watching: Duration,
}

fn main() {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(30_u64);
    let is_brief = seconds == 0;
    let Some(bed) = Bed::new() else { return };
    let times = if is_brief {
        Times { settling: Duration::from_millis(500), watching: Duration::from_secs(1) }
    } else {
        Times { settling: Duration::from_secs(5), watching: Duration::from_secs(seconds) }
    };
    println!(
        "50 processes             calls/s  records/s    % of a core (analyzer, loader, enforcer)"
    );
    rate(&bed, "idle server", 100, "≤ 0.1", times);
    rate(&bed, "1,000 events", 1_000, "≤ 1", times);
    println!(
        "memory                     known        MiB    analyzer  loader  enforcer    maps (KiB)"
    );
    let sizes = if is_brief { [3, 30] } else { [300, 30_000] };
    for (size, goal) in sizes.into_iter().zip(["≤ 25", "≤ 60"]) {
        crowd(&bed, size.min(possible_processes()), goal, times);
    }
    println!("filter                     calls    records    calls without a record");
    mixed(&bed, if is_brief { 0.02 } else { 1.0 });
}

/// A server that makes 10,000 calls a second and so many events.
fn rate(bed: &Bed, name: &str, events: u32, goal: &str, times: Times) {
    const PROCESSES: u32 = 50;
    const CALLS: u32 = 10_000;
    // Each process sleeps ten times a second, and each two events are two calls.
    let server = Server::start(bed, PROCESSES, CALLS - 10 * PROCESSES - events, events);
    let sentinel = Sentinel::start(bed, &[]);
    let started = Instant::now();
    let parts = Parts::of(&sentinel);
    sleep(times.settling);
    let counted = Counted::begin(bed).expect("a counter");
    let (begun, before) = (Instant::now(), parts.times());
    sleep(times.watching);
    let (calls, after) = (counted.calls(), parts.times());
    let watched = begun.elapsed().as_secs_f64();
    let running = started.elapsed().as_secs_f64();
    let records = stop(sentinel).0;
    server.end(bed);
    let share = |part: usize| (after[part] - before[part]).as_secs_f64() / watched * 100.0;
    let [analyzer, loader, enforcer] = [0, 1, 2].map(share);
    println!(
        "{name:<22}{:>10.0}{:>11.0}{:>11.3} ({analyzer:.3}, {loader:.3}, {enforcer:.3}), goal {goal}",
        as_float(calls) / watched,
        as_float(records) / running,
        analyzer + loader + enforcer
    );
}

/// So many processes that do nothing.
fn crowd(bed: &Bed, processes: u32, goal: &str, times: Times) {
    let sentinel = Sentinel::start(bed, &[]);
    let server = Server::start(bed, processes, 0, 0);
    let parts = Parts::of(&sentinel);
    sleep(times.settling);
    let ([analyzer, loader, enforcer], maps) = (parts.memory(), parts.maps());
    let known = stop(sentinel).1;
    server.end(bed);
    println!(
        "{:<22}{known:>10}{:>11.1}{analyzer:>12}{loader:>8}{enforcer:>10}{maps:>8}, goal {goal}",
        format!("{processes} processes"),
        as_float(analyzer + loader + enforcer) / 1024.0
    );
}

/// Ordinary work, one thing after the other.
fn mixed(bed: &Bed, share: f64) {
    const SHELL: &str = "for i in $(seq 200); do ls -l /etc | sort | grep -c root; done >/dev/null";
    works::prepare(bed);
    let sentinel = Sentinel::start(bed, &[]);
    let counted = Counted::begin(bed).expect("a counter");
    let is_ordinary =
        |name: &str| ["compile", "tar", "redis"].iter().any(|one| name.starts_with(one));
    for work in WORKS.iter().filter(|work| is_ordinary(work.name) && work.is_possible()) {
        work.take(bed, share);
    }
    let status = bed.command("bash").args(["-c", SHELL]).status().expect("bash");
    assert!(status.success(), "{status}");
    let calls = counted.calls();
    let records = stop(sentinel).0;
    let without = 100.0 - as_float(records) / as_float(calls) * 100.0;
    println!("{:<22}{calls:>10}{records:>11}{without:>11.2} %, goal ≥ 99", "mixed work");
}

/// Ends it; how many records passed the filter, and how many processes it knew.
fn stop(sentinel: Sentinel) -> (u64, u64) {
    let outcome = sentinel.stop();
    assert!(outcome.status.success(), "{}", outcome.errors);
    let line = outcome.output.lines().find(|line| line.trim_start().starts_with("processes"));
    let known = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    (outcome.total("after filter "), known.expect("a summary"))
}

#[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
fn as_float(number: u64) -> f64 {
    number as f64
}
