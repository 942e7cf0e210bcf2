//! What rules cost: 500 against 5 on one recorded stream; memory over many events and many processes.
//!
//! `cargo bench -p sentinel-analyzer --bench rules_cost [-- EVENTS]`. The stream is `honest_compilation.cap`,
//! again and again as later processes do the same. Ends with 1 if a bound is exceeded: 1.5 times the time
//! for a hundred times the rules, no growth over EVENTS (ten million) beyond [`MAX_GROWTH`], and
//! [`MAX_PER_PROCESS`] for each of 100,000 processes that live.

#![expect(clippy::expect_used, reason = "a bench that cannot run says so and ends")]

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use sentinel_analyzer::{
    analysis::Analysis,
    capture::Reader,
    event::{self, Action, Event, ProcessId},
    rules::{Choice, RuleSet},
};
use sentinel_ipc::frame::{LoaderMessage, decode};

const MAX_RATIO: f64 = 1.5;
/// KiB over all events after the first tenth of them.
const MAX_GROWTH: u64 = 8 * 1024;
/// Bytes.
const MAX_PER_PROCESS: u64 = 2048;
const PROCESSES: u32 = 100_000;
/// Rounds of each set of rules, in turns; the fastest counts.
const ROUNDS: usize = 15;

fn main() -> ExitCode {
    let events = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(10_000_000);
    let recorded = recorded();
    let lives = lives();
    let grew = growth(&recorded, events);
    let ratio = ratio(&recorded);
    let is_right = ratio <= MAX_RATIO && grew <= MAX_GROWTH && lives <= MAX_PER_PROCESS;
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The events of the capture, in order of time.
fn recorded() -> Vec<Event> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures/honest_compilation.cap");
    let mut reader = Reader::open(&path).expect("the capture");
    let mut events = Vec::new();
    while let Some(frame) = reader.next_frame().expect("a whole capture") {
        let (LoaderMessage::Events { mut records } | LoaderMessage::Snapshot { mut records, .. }) =
            decode(frame).expect("a loader's frame")
        else {
            continue;
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

/// `number` rules of the forms that operators write, each about paths, ports or programs of its own.
fn rules(number: usize) -> RuleSet {
    let forms = [
        "event = \"exec\"\nwhere = { path = { prefix = \"/srv/N/\" } }",
        "event = \"exec\"\nwhere = { path = \"/usr/bin/tool-N\", uid = { ge = 1000 } }",
        "event = \"file_read\"\nwhere = { path = \"/etc/N.conf\" }\nnot = { uid = 0 }",
        "event = \"open\"\nwhere = { path = { glob = \"/home/*/.N/**\" } }",
        "event = \"connect\"\nwhere = { address = { cidr = \"10.N.0.0/16\" }, port = 443 }",
        "event = \"file_delete\"\nwhere = { path = { prefix = \"/var/log/N\" } }",
        "event = \"file_mode\"\nwhere = { path = { prefix = \"/srv/N/\" } }\n\
         [[rule.step]]\nevent = \"exec\"\nprocess = \"tree\"\nsame = { object = 1 }",
        "event = \"rename\"\nwhere = { path = { suffix = \".N\" } }",
        "event = \"mkdir\"\nwhere = { path = \"/tmp/.N\" }",
        "event = \"kill\"\nwhere = { signal = \"kill\", target_exe = \"/usr/sbin/daemon-N\" }",
    ];
    let mut set = RuleSet::default();
    for (place, form) in forms.iter().cycle().take(number).enumerate() {
        let text = format!(
            "[[rule]]\nname = \"own_{place}\"\nseverity = \"info\"\nmitre = \"T1059\"\ndescription = \"d\"\n\
             false_positives = \"f\"\nwindow = \"10s\"\n[[rule.step]]\n{}\n",
            form.replace('N', &(place % 256).to_string())
        );
        set.add_text("own.toml", &text).expect("sound rules");
    }
    set
}

fn follow(analysis: &mut Analysis, events: &[Event]) -> Duration {
    let mut alerts = Vec::new();
    let begun = Instant::now();
    for event in events {
        analysis.event(event, &mut alerts);
    }
    begun.elapsed()
}

fn ratio(recorded: &[Event]) -> f64 {
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        for (best, number) in best.iter_mut().zip([5, 500]) {
            let mut analysis = Analysis::with_rules(rules(number).activate(), false);
            *best = follow(&mut analysis, recorded).min(*best);
        }
    }
    let per_event = best.map(|time| time.as_secs_f64() * 1e9 / recorded.len() as f64);
    let [few, many] = per_event;
    println!("{} events: 5 rules {few:.0} ns each, 500 rules {many:.0} ns each", recorded.len());
    println!("ratio {:.2} (at most {MAX_RATIO})", many / few);
    many / few
}

/// Resident memory, KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The same by others, `later` ns later: everybody's start moves, and so everybody is somebody else.
fn moved(event: &Event, later: u64) -> Event {
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

fn growth(recorded: &[Event], wanted: usize) -> u64 {
    let choice = Choice { directory: None, ..Choice::default() };
    let rules = RuleSet::of_binary(&choice).expect("rules of the binary");
    let mut analysis = Analysis::with_rules(rules.activate(), false);
    let span = recorded.last().map_or(0, |event| event.timestamp)
        - recorded.first().map_or(0, |event| event.timestamp)
        + 1_000_000;
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

fn lives() -> u64 {
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
