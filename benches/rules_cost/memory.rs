//! How much memory the engines take, over many events and for many processes.

use std::{fs, path::Path, time::Instant};

use sentinel_analyzer::{
    analysis::Analysis,
    capture::Reader,
    event::{self, Action, Event, ProcessId},
};
use sentinel_ipc::frame::{LoaderMessage, decode};

/// KiB over all events after the first tenth of them.
pub(crate) const MAX_GROWTH: u64 = 8 * 1024;
/// Bytes.
pub(crate) const MAX_PER_PROCESS: u64 = 2048;
const PROCESSES: u32 = 100_000;

/// The events of the capture, in order of time.
pub(crate) fn recorded() -> Vec<Event> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures/honest_compilation.cap");
    let mut reader = Reader::open(&path).expect("the capture");
    let mut events = Vec::new();
    while let Some(frame) = reader.next_frame().expect("a whole capture") {
        let mut records = match decode(frame).expect("a loader's frame") {
            LoaderMessage::Events { records }
            | LoaderMessage::Drained { records, .. }
            | LoaderMessage::Snapshot { records, .. } => records,
            _ => continue,
        };
        while !records.is_empty() {
            let (event, rest) = event::take(records).expect("a record");
            events.push(event);
            records = rest;
        }
    }
    events.sort_by_key(|event| event.timestamp);
    events
}

/// Resident memory, KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The same by others, `later` ns later: everybody's start moves, and so everybody is somebody else.
pub(crate) fn moved(event: &Event, later: u64) -> Event {
    let mut event = event.clone();
    let moved = |id: &mut ProcessId| id.start_time += later;
    event.timestamp += later;
    moved(&mut event.process);
    if let Action::Fork { child, parent, .. } = &mut event.action {
        moved(child);
        moved(parent);
    }
    event
}

/// How long the stream is, and a little more, ns.
pub(crate) fn span(recorded: &[Event]) -> u64 {
    let time = |event: Option<&Event>| event.map_or(0, |event| event.timestamp);
    time(recorded.last()) - time(recorded.first()) + 1_000_000
}

/// Follows `wanted` events with the built-in rules; how much memory grew, KiB.
pub(crate) fn growth(recorded: &[Event], wanted: usize) -> u64 {
    let mut analysis = Analysis::new(false);
    let span = span(recorded);
    let (mut done, mut later, mut at_first) = (0, 0, None);
    let mut alerts = Vec::new();
    let begun = Instant::now();
    while done < wanted {
        for event in recorded {
            let event = moved(event, later);
            analysis.event(&event, &mut alerts);
        }
        let now = recorded.last().map_or(0, |event| event.timestamp) + later;
        analysis.time(now, &mut alerts);
        alerts.clear();
        (done, later) = (done + recorded.len(), later + span);
        if done >= wanted / 10 {
            at_first.get_or_insert_with(memory);
        }
    }
    let grew = memory().saturating_sub(at_first.unwrap_or_default());
    println!(
        "{done} events in {:.1} s: {grew} KiB more than after a tenth of them (at most {MAX_GROWTH}), {} \
         processes known",
        begun.elapsed().as_secs_f64(),
        analysis.processes()
    );
    grew
}

/// What each of very many living processes takes, bytes.
pub(crate) fn lives() -> u64 {
    let mut analysis = Analysis::new(false);
    let before = memory();
    let id = |tgid| ProcessId { tgid, start_time: u64::from(tgid) };
    for child in 2..PROCESSES + 2 {
        let action = Action::Fork {
            child: id(child),
            child_cgroup_id: 1,
            parent: id(child / 8 + 1),
            shares_descriptors: false,
        };
        let process = id(child / 8 + 1);
        let event = Event {
            timestamp: u64::from(child) * 1_000_000,
            process,
            tid: process.tgid,
            uid: 0,
            euid: 0,
            cgroup_id: 1,
            call: None,
            result: 0,
            io_uring: false,
            tainted: false,
            racy: false,
            private_descriptors: false,
            shares_memory: false,
            access: None,
            action,
        };
        analysis.event(&event, &mut Vec::new());
    }
    let each = (memory() - before) * 1024 / u64::from(PROCESSES);
    println!(
        "{} processes live: {each} bytes each (at most {MAX_PER_PROCESS})",
        analysis.processes()
    );
    each
}
