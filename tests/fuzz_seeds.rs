//! The small inputs that fuzzing begins with (tests/fuzz/corpus) are what is spoken today: messages of this
//! protocol, records out of the captures, a baseline file of this layout.
//!
//! `SENTINEL_RENEW=1` writes them, after the captures were made anew (tests/captures/renew).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use sentinel_analyzer::{
    baseline::{
        measure::Measure,
        program::{Counts, Judgement, Program, ProgramName},
        store,
    },
    capture::Reader,
    event,
};
use sentinel_ipc::{
    frame::{LoaderMessage, ProfileCalls, decode, encode},
    kernel_abi::{CgroupRecord, Line, LineRecord, ProcessRecord, RecordHeader, kind},
};
use serde::Serialize;
use zerocopy::{FromBytes, IntoBytes};

#[path = "fuzz_seeds/messages.rs"]
mod messages;

/// By target and name.
type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn frame(message: &impl Serialize) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(message, &mut frame).unwrap();
    frame
}

/// As the targets cut their inputs: what each part is, its length, and its bytes.
fn parts(parts: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut seed = Vec::new();
    for (kind, part) in parts {
        seed.push(*kind);
        seed.extend(u16::try_from(part.len()).unwrap().to_le_bytes());
        seed.extend(part);
    }
    seed
}

/// The first record of each kind in the captures, and how each snapshot and message of another sort looks.
fn from_captures(seeds: &mut Seeds) {
    let all = fs::read_dir(directory("captures")).unwrap().map(|entry| entry.unwrap().path());
    let mut captures: Vec<PathBuf> =
        all.filter(|path| path.to_string_lossy().ends_with(".cap")).collect();
    captures.sort();
    let (mut kinds, mut records) = (BTreeSet::new(), BTreeMap::new());
    for path in &captures {
        let mut reader = Reader::open(path).unwrap();
        while let Some(told) = reader.next_frame().unwrap() {
            let message = decode::<LoaderMessage<'_>>(told).unwrap();
            let name = match &message {
                LoaderMessage::Events { records: batch } => {
                    cut(1, batch, &mut records);
                    continue;
                }
                LoaderMessage::Snapshot { records: batch, .. } => {
                    cut(2, batch, &mut records);
                    continue;
                }
                LoaderMessage::Ready { .. } => "ready",
                LoaderMessage::Subscribed { .. } => "subscribed",
                LoaderMessage::Drained { records: batch, .. } => {
                    cut(1, batch, &mut records);
                    "drained"
                }
                LoaderMessage::Heartbeat { .. } => "heartbeat",
                LoaderMessage::Finished { .. } => "finished",
                LoaderMessage::Calls { .. } => "calls",
            };
            if kinds.insert(name) {
                let seed = [b"R".to_vec(), parts(&[(0, told.to_vec())])].concat();
                seeds.insert(("loader_frames", name.into()), seed);
            }
        }
    }
    for ((part, kind), record) in &records {
        let drained = (3, Vec::new());
        let seed = [b"R".to_vec(), parts(&[(*part, record.clone()), drained])].concat();
        seeds.insert(("loader_frames", format!("record_{part}_{kind:#04x}")), seed);
    }
    let of = |kind| records.get(&(2, kind)).or_else(|| records.get(&(1, kind))).unwrap().clone();
    let (cgroup, process) = (of(kind::CGROUP_FOUND), of(kind::PROCESS));
    let lengths = (size_of::<CgroupRecord>(), size_of::<ProcessRecord>());
    assert_eq!((cgroup.len(), process.len()), lengths);
    seeds.insert(("snapshots", "description".into()), [cgroup, process].concat());
    let smallest =
        captures.iter().map(|path| fs::read(path).unwrap()).min_by_key(Vec::len).unwrap();
    seeds.insert(("captures", "cut".into()), smallest[..smallest.len() / 2].to_vec());
}

/// Puts the first record of each kind in its place; `part` says in what sort of message it came.
fn cut(part: u8, batch: &[u8], records: &mut BTreeMap<(u8, u16), Vec<u8>>) {
    let mut rest = batch;
    while !rest.is_empty() {
        let (_, next) = event::take(rest).unwrap();
        let (header, _) = RecordHeader::read_from_prefix(rest).unwrap();
        let record = &rest[..rest.len() - next.len()];
        records.entry((part, header.kind)).or_insert_with(|| record.to_vec());
        rest = next;
    }
}

fn of_the_loader(seeds: &mut Seeds) {
    let executable = Some((1, 2, 3));
    let profiles = vec![
        ProfileCalls { executable, calls: vec![(0, 10), (1, 20), (59, 1)] },
        ProfileCalls { executable: None, calls: vec![(3, 7)] },
    ];
    let calls = LoaderMessage::Calls {
        until: 2_000_000_000,
        since: 1_000_000_000,
        profiles,
        is_last: true,
    };
    let seed = [b"S".to_vec(), parts(&[(0, frame(&calls))])].concat();
    seeds.insert(("loader_frames", "calls".into()), seed);
    let line = |tgid, start_time, parent| LineRecord {
        start_time,
        cgroup_id: 1,
        inode: 2,
        device: 3,
        generation: 0,
        tgid,
        uid: 1000,
        line: Line { founder: start_time, nearest: [parent, 0, 0, 0, 0, 0, 0] },
    };
    // The target takes the root's start from the first bytes and its number from the length.
    let length = u32::try_from(3 * size_of::<LineRecord>()).unwrap();
    let lines = [line(length, 1000, 5), line(500, 1100, 1000), line(501, 1200, 1100)];
    let told = lines.iter().flat_map(|line| line.as_bytes().to_vec()).collect();
    seeds.insert(("snapshots", "tree".into()), told);
    seeds.insert(("snapshots", "types".into()), types());
}

/// The kernel's types, as far as the target asks for them: an int, a structure with one member, and a
/// tracepoint's handler with three parameters.
fn types() -> Vec<u8> {
    let strings = b"\0int\0task_struct\0tgid\0btf_trace_sched_process_fork\0";
    let name = |wanted: &str| {
        let pattern = [b"\0", wanted.as_bytes(), b"\0"].concat();
        let at = strings.windows(pattern.len()).position(|window| window == pattern);
        u32::try_from(at.unwrap() + 1).unwrap()
    };
    let mut words = Vec::new();
    words.extend([name("int"), 1 << 24, 4, 32]);
    words.extend([name("task_struct"), (4 << 24) | 1, 8, name("tgid"), 1, 32]);
    words.extend([0, (13 << 24) | 3, 0, 0, 1, 0, 1, 0, 1]);
    words.extend([0, 2 << 24, 3]);
    words.extend([name("btf_trace_sched_process_fork"), 8 << 24, 4]);
    let bytes = u32::try_from(words.len() * 4).unwrap();
    let head = [24, 0, bytes, bytes, u32::try_from(strings.len()).unwrap()];
    let mut data = [&0xeb9f_u16.to_ne_bytes()[..], &[1, 0]].concat();
    data.extend(head.into_iter().chain(words).flat_map(u32::to_ne_bytes));
    data.extend(strings);
    data
}

/// A baseline as it is after twenty seconds: as a file, and as what is in one.
fn of_baselines(seeds: &mut Seeds) {
    let judgement = Judgement { learning_period: 10, threshold: 3.0, learns: true, detects: true };
    let mut programs = BTreeMap::new();
    for number in 1..3 {
        let mut program = Program::new(&judgement);
        let path = format!("/usr/bin/{number}").into_bytes();
        program.is_seen(&path, 20);
        for second in 0..20 {
            let counts = Counts::from([
                (Measure::Call(1), second % 3 + number),
                (Measure::Forks, 1),
                (Measure::AllCalls, second + 10),
            ]);
            program.second(&counts, &judgement);
        }
        programs.insert(ProgramName::Installed(path), program);
    }
    let payload = frame(&programs);
    let check = crc32fast::hash(&payload).to_le_bytes();
    let file = [store::HEADER, &check, &(payload.len() as u64).to_le_bytes(), &payload].concat();
    assert_eq!(store::decode(&file).unwrap().len(), 2);
    seeds.insert(("baselines", "file".into()), [&[0], &file[..]].concat());
    seeds.insert(("baselines", "programs".into()), [&[1], &payload[..]].concat());
    seeds.insert(("baselines", "nothing_learned".into()), vec![1, 0]);
}

/// Lines as they are typed, each with a secret or something like one; some with a pattern before it.
fn of_texts(seeds: &mut Seeds) {
    for (name, text) in [
        ("password", "mysql --user=root --password=hunter2 -h db.example.org"),
        (
            "header",
            "curl -H 'Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln' https://api.example.org/",
        ),
        (
            "address",
            "git clone https://someone:ghp_0123456789abcdefghij@github.com/example/example",
        ),
        (
            "variable",
            "env AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY aws s3 ls",
        ),
        ("key", "-----BEGIN PRIVATE KEY----- MIIEvQIBADANBgkqhkiG9w0BAQ -----END PRIVATE KEY-----"),
        ("harmless", "ls -l /usr/share/password-store; grep token= README.md"),
        ("own", "ticket-*\0deploy ticket-4711 now"),
    ] {
        seeds.insert(("redaction", name.into()), text.into());
    }
}

#[test]
fn the_corpus_is_of_this_protocol() {
    let mut seeds = Seeds::new();
    of_the_loader(&mut seeds);
    from_captures(&mut seeds);
    messages::of_the_analyzer(&mut seeds);
    messages::of_the_enforcer(&mut seeds);
    messages::of_administrators(&mut seeds);
    of_baselines(&mut seeds);
    of_texts(&mut seeds);
    let corpus = directory("fuzz/corpus");
    if std::env::var_os("SENTINEL_RENEW").is_some() {
        for ((target, name), seed) in &seeds {
            fs::create_dir_all(corpus.join(target)).unwrap();
            fs::write(corpus.join(target).join(name), seed).unwrap();
        }
    }
    let other: Vec<_> = seeds
        .iter()
        .filter(|((target, name), seed)| {
            fs::read(corpus.join(target).join(name)).ok().as_ref() != Some(*seed)
        })
        .map(|(path, _)| path)
        .collect();
    assert!(other.is_empty(), "make them anew (tests/fuzz/renew): {other:?}");
}
