//! What each target does with bytes: as the process does that reads them from somebody else.

use std::{fs, io::Write, path::PathBuf, sync::OnceLock};

use sentinel_analyzer::{
    analysis::{Analysis, Engines},
    baseline::store,
    capture::Reader,
    configuration::{Configuration, Settings},
    control::{Answer, Asked},
    enforcement::Enforcement,
    redaction::{Pattern, Redaction},
    rules::RuleSet,
    stream::Stream,
};
use sentinel_enforcer::{
    conversation::{Conversation, Heard},
    loader::Loader,
    settings,
};
use sentinel_ipc::{
    administration::{AdminAnswer, AdminQuestion},
    channel::Channel,
    frame::{
        About, AnalyzerMessage, IdentityAnswer, IdentityQuestion, LoaderMessage, Mode, Target,
        decode, encode,
    },
};
use serde::{Deserialize, Serialize};

mod allocations;

/// More than any input may make a process allocate at one time: 64 MiB, and a hundred times the input.
const MOST: usize = 64 << 20;

/// Runs `target` on `data`; it may not allocate beyond [`MOST`].
pub fn bounded(data: &[u8], target: fn(&[u8])) {
    let peak = allocations::peak(|| target(data));
    assert!(peak <= MOST + 100 * data.len(), "{peak} bytes for an input of {}", data.len());
}

/// Cuts `data` into parts: a byte that says what each is, two of its length, and so many bytes.
fn parts(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let ([kind, low, high], rest) = data.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (part, rest) = rest.split_at(length);
        data = rest;
        Some((*kind, part))
    })
}

/// What is read is what would be written: no two messages are one, and none is read that nobody writes.
fn read_back<'a, T: Deserialize<'a> + Serialize>(frame: &'a [u8]) -> Option<T> {
    let message = decode::<T>(frame).ok()?;
    let mut again = Vec::new();
    encode(&message, &mut again).expect("a message");
    assert!(again.len() <= frame.len(), "longer than what was read");
    Some(message)
}

/// Some of the built-in rules: to read all of them takes longer than what is fuzzed.
const RULES: &str = include_str!("../../../analyzer/rules/processes.toml");

/// An analyzer's stream, with rules if it is to have some.
fn stream(with_rules: bool) -> Stream {
    let mut rules = RuleSet::default();
    if with_rules {
        rules.add_text("processes.toml", RULES).expect("rules");
    }
    let analysis = Analysis::with_rules(rules.activate(), with_rules);
    let engines = Engines { baseline: Some(JUDGEMENT), ..Engines::default() };
    Stream::of(analysis.with_engines(&engines))
}

const JUDGEMENT: sentinel_analyzer::baseline::program::Judgement =
    sentinel_analyzer::baseline::program::Judgement {
        learning_period: 1,
        threshold: 1.0,
        learns: true,
        detects: true,
    };

/// Loader → analyzer.
pub fn loader_frames(data: &[u8]) {
    let mut stream = stream(data.first() == Some(&b'R'));
    let mut alerts = Vec::new();
    for (kind, part) in parts(data.get(1..).unwrap_or_default()) {
        // Records stand where their size asks for it, as in a frame.
        let records = part;
        let message = match kind % 4 {
            0 => match decode::<LoaderMessage<'_>>(part) {
                Ok(message) => message,
                Err(_) => continue,
            },
            1 => LoaderMessage::Events { records },
            2 => LoaderMessage::Snapshot { begun: 1, records, is_last: true, is_cut: false },
            _ => {
                let until = u64::MAX / 2;
                LoaderMessage::Drained { records, until, now: until, dropped: [0; 2] }
            }
        };
        // One that breaks the protocol is the last one.
        if stream.follow(&message, &mut alerts).is_err() {
            break;
        }
    }
    let (records, until) = (&[][..], u64::MAX);
    let end = LoaderMessage::Drained { records, until, now: until, dropped: [1; 2] };
    let _told = stream.follow(&end, &mut alerts);
    for alert in alerts {
        let _json = alert.message.len() + alert.steps.len();
    }
}

/// Analyzer → loader.
pub fn analyzer_frames(data: &[u8]) {
    let _message = read_back::<AnalyzerMessage>(data);
}

/// Analyzer → enforcer.
pub fn kill_frames(data: &[u8]) {
    let (ours, theirs) = Channel::pair().expect("a socketpair");
    let analyzer = Channel::new(theirs).expect("a socket");
    let mut conversation = Conversation::new(ours);
    for (_, part) in parts(data) {
        let Ok(_sent) = analyzer.send(part) else { return };
        match conversation.hear() {
            Ok(Heard::Hello) => {
                let _answered = conversation.greet(Mode::Enforce, &About::default());
            }
            Ok(Heard::Request(request)) => assert!(request.reason.len() <= 4096),
            Ok(Heard::Nothing | Heard::Closed) => {}
            // The conversation is over.
            Err(_breach) => return,
        }
    }
}

/// Enforcer → analyzer.
pub fn outcome_frames(data: &[u8]) {
    let (ours, theirs) = Channel::pair().expect("a socketpair");
    let enforcer = Channel::new(theirs).expect("a socket");
    let Ok(mut enforcement) = Enforcement::greet(ours) else { return };
    let alert = Analysis::default().breaker_tripped(1);
    for (kind, part) in parts(data) {
        if kind % 4 == 0 {
            let tree = (kind % 8 == 0).then_some(Target { tgid: 1, start_time: 1 });
            let alert = sentinel_analyzer::alert::Alert { tree, ..alert.clone() };
            let _refused = enforcement.request(alert);
        }
        let Ok(_sent) = enforcer.send(part) else { return };
        if enforcement.outcomes().1.is_some() {
            return;
        }
    }
    enforcement.give_up();
}

/// Enforcer ↔ loader.
pub fn identity_frames(data: &[u8]) {
    let _question = read_back::<IdentityQuestion>(data);
    let _answer = read_back::<IdentityAnswer>(data);
    // What the enforcer is told unasked, in any order.
    let (ours, theirs) = Channel::pair().expect("a socketpair");
    let loader = Channel::new(theirs).expect("a socket");
    let Ok(mut enforcer) = Loader::greet(ours) else { return };
    let mut is_greeted = false;
    for (_, part) in parts(data) {
        let Ok(_sent) = loader.send(part) else { return };
        match enforcer.greeting() {
            Ok(Some(_tgid)) => assert!(!std::mem::replace(&mut is_greeted, true), "once"),
            Ok(None) => {}
            Err(_no_answer) => return,
        }
    }
}

/// Administrators.
pub fn administration(data: &[u8]) {
    let _question = read_back::<AdminQuestion>(data);
    let _answer = read_back::<AdminAnswer>(data);
    let _asked = read_back::<Asked>(data);
    if let Some(Answer::Status(status)) = read_back::<Answer>(data) {
        assert!(!status.text().is_empty());
    }
}

/// Captures.
pub fn captures(data: &[u8]) {
    let Ok(mut reader) = Reader::new(data) else { return };
    let (mut stream, mut alerts) = (stream(false), Vec::new());
    while let Ok(Some(frame)) = reader.next_frame() {
        let Ok(message) = decode::<LoaderMessage<'_>>(frame) else { break };
        if stream.follow(&message, &mut alerts).is_err() {
            break;
        }
    }
}

/// Rules.
pub fn rules(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let mut rules = RuleSet::default();
    match rules.add_text("fuzz.toml", text) {
        Ok(()) => {
            let _extended = rules.extend();
            let analysis = Analysis::with_rules(rules.activate(), true);
            let mut stream = Stream::of(analysis);
            let end = LoaderMessage::Drained { records: &[], until: 1, now: 1, dropped: [0; 2] };
            let _followed = stream.follow(&end, &mut Vec::new());
        }
        Err(error) => assert!(error.to_string().contains("fuzz.toml")),
    }
}

/// A file of this process's own, in memory.
fn file(data: &[u8]) -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let path = PATH.get_or_init(|| format!("/dev/shm/sentinel-fuzz-{}", std::process::id()).into());
    let mut file = fs::File::create(path).expect("a file");
    file.write_all(data).expect("room");
    path
}

/// Configurations.
pub fn configuration(data: &[u8]) {
    if let Ok(settings) = Settings::parse(data) {
        let _configured = Configuration::of(settings);
    }
    let path = file(data);
    let mut own = settings::Settings::default();
    let _applied = sentinel_ipc::settings::read(path, |key, value| own.apply(key, value));
    let argument = || [format!("--config={}", path.display()).into()].into_iter();
    let _loader = sentinel_loader::arguments::Arguments::parse(argument());
    let _paths = sentinel_loader::sensitive_paths::read(path);
}

/// Baselines; the payload of a file whose checksum is right, or any file.
pub fn baselines(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    if kind % 8 == 0 {
        let _read = store::decode(payload);
        return;
    }
    let check = crc32fast::hash(payload).to_le_bytes();
    let length = (payload.len() as u64).to_le_bytes();
    let file = [store::HEADER, &check, &length, payload].concat();
    if let Ok(programs) = store::decode(&file) {
        // Whatever was read is of use.
        for program in programs.values() {
            assert!(program.is_sound());
        }
    }
}

/// What the kernel tells the loader.
pub fn snapshots(data: &[u8]) {
    let _description = sentinel_loader::lineage::description(data);
    let root = data.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let root = Target { tgid: data.len() as u32, start_time: root };
    for user in [None, Some(0)] {
        let (_, members) = sentinel_loader::lineage::tree(data, root, user);
        assert!(members.len() <= sentinel_ipc::frame::MAX_TREE);
    }
    if let Ok(btf) = sentinel_loader::btf::Btf::parse(data.to_vec()) {
        let _offset = btf.offset("task_struct", "tgid");
        let _arguments = btf.tracepoint_arguments("sched_process_fork");
    }
}

/// Texts, and patterns for them.
pub fn redaction(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (pattern, text) = text.split_once('\0').unwrap_or(("", &text));
    let own: Vec<Pattern> = pattern.parse().ok().into_iter().collect();
    let _told = Redaction::with(own).text(text.to_owned());
}
