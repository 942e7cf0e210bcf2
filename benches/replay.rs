//! What an event costs the analyzer: from a record to an event, and from there through all engines and
//! rules; on one core.
//!
//! `cargo bench -p sentinel-analyzer --bench replay [-- FILTER]`. The stream is that of `honest_compilation.cap`, again and
//! again as later processes do the same. `followed/unmentioned` are those of its events that no rule asks
//! for; `growth` is the same stream beside ten times the processes, and at ten times the rate.

#![expect(clippy::expect_used, reason = "a bench that cannot run says so and ends")]

use std::{fs, path::Path, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sentinel_analyzer::{
    analysis::{Analysis, Engines},
    baseline::program::Judgement,
    capture::Reader,
    event::{self, Action, Event, ProcessId, TrafficReport},
};
use sentinel_ipc::frame::{LoaderMessage, decode};

/// How often the stream is followed in a round.
const REPEATS: u64 = 40;
/// Processes that live beside those of the stream.
const BYSTANDERS: u32 = 300;

/// The records of a capture, in one piece.
fn records() -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures/honest_compilation.cap");
    assert!(fs::exists(&path).expect("a directory"), "{}", path.display());
    let mut reader = Reader::open(&path).expect("the capture");
    let mut all = Vec::new();
    while let Some(frame) = reader.next_frame().expect("a whole capture") {
        if let LoaderMessage::Events { records }
        | LoaderMessage::Drained { records, .. }
        | LoaderMessage::Snapshot { records, .. } = decode(frame).expect("a loader's frame")
        {
            all.extend_from_slice(records);
        }
    }
    all
}

fn events(mut records: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !records.is_empty() {
        let (event, rest) = event::take(records).expect("a record");
        events.push(event);
        records = rest;
    }
    events
}

/// The stream, `REPEATS` times, each time by other processes and later; times are `rate` times as dense.
fn stream(rate: u64) -> Vec<Event> {
    let mut once = events(&records());
    once.sort_by_key(|event| event.timestamp);
    let first = once.first().map_or(0, |event| event.timestamp);
    let span = once.last().map_or(0, |event| event.timestamp) - first + 1_000_000;
    let later = |event: &Event, time: u64| {
        let mut event = event.clone();
        let moved = |id: &mut ProcessId| id.start_time += time * span;
        event.timestamp = first + (event.timestamp - first + time * span) / rate;
        moved(&mut event.process);
        if let Action::Fork { child, parent, .. } = &mut event.action {
            moved(child);
            moved(parent);
        }
        event
    };
    (0..REPEATS).flat_map(|time| once.iter().map(move |event| later(event, time))).collect()
}

/// An analysis with all engines and the built-in rules, in which so many processes live.
fn analysis(bystanders: u32, example: &Event) -> Analysis {
    let judgement = Judgement { learning_period: 300, threshold: 3.0, learns: true, detects: true };
    let engines = Engines { baseline: Some(judgement), ..Engines::default() };
    let mut analysis = Analysis::new(false).with_engines(&engines);
    let id = |tgid| ProcessId { tgid, start_time: u64::from(tgid) };
    for number in 0..bystanders {
        let (child, parent) = (id(1_000_000 + number), id(1));
        let action = Action::Fork { child, child_cgroup_id: 1, parent, shares_descriptors: false };
        let fork = Event { timestamp: 1, process: parent, action, ..example.clone() };
        analysis.event(&fork, &mut Vec::new());
    }
    analysis
}

/// Things that no rule asks for and no engine but by its tables.
fn is_unmentioned(event: &Event) -> bool {
    match &event.action {
        Action::Close { .. } | Action::SetCloseOnExec { .. } => true,
        Action::Traffic(traffic) => traffic.report == TrafficReport::Totals,
        _ => false,
    }
}

fn follow(criterion: &mut Criterion, group: &str, name: &str, events: &[Event], bystanders: u32) {
    let example = events.first().expect("events");
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_batched_ref(
            || (analysis(bystanders, example), Vec::new()),
            |(analysis, alerts)| {
                for event in events {
                    analysis.event(event, alerts);
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let records = records();
    let mut group = criterion.benchmark_group("decoded");
    group.throughput(Throughput::Elements(events(&records).len() as u64));
    group.bench_function("all", |bencher| bencher.iter(|| events(&records)));
    group.finish();
    let whole = stream(1);
    follow(criterion, "followed", "all", &whole, BYSTANDERS);
    let quiet: Vec<Event> = whole.iter().filter(|event| is_unmentioned(event)).cloned().collect();
    follow(criterion, "followed", "unmentioned", &quiet, BYSTANDERS);
    follow(criterion, "growth", "ten times the processes", &whole, 10 * BYSTANDERS);
    follow(criterion, "growth", "ten times the rate", &stream(10), BYSTANDERS);
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = all
}
criterion_main!(benches);
