//! Sends and totals: a model of the contract, fed with the story, against the records.

use std::collections::BTreeMap;

use sentinel_ipc::kernel_abi::{TrafficRecord, flag, kind};
use sentinel_tests::tap::{Record, Tap};

use crate::story::{Act, Differences, End, Line, NO_END, NO_NUMBER, Story, compare_descriptor};

const STANDARD_OUTPUT: u64 = 1;
const AF_UNIX: u64 = 1;
/// Least time between two records of a tainted process's sends on one descriptor, ns.
const BETWEEN_RECORDS: u64 = 1_000_000;
/// Records of one descriptor that may come closer together.
const AT_ONCE: u64 = 16;

/// Whose traffic: a descriptor's by number, or an io_uring's by inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Number(u64),
    RingInode(u64),
}

impl Subject {
    fn of_line(line: &Line) -> Self {
        if line.by_ring() {
            Self::RingInode(line.count("inode"))
        } else {
            Self::Number(line.count("fd"))
        }
    }

    fn of_record(record: &Record) -> Self {
        let traffic = record.traffic();
        if record.header.argument[0] == u64::from(NO_NUMBER) {
            Self::RingInode(traffic.descriptor.object.inode)
        } else {
            Self::Number(record.header.argument[0])
        }
    }
}

/// Received and sent bytes, reads and writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals([u64; 4]);

impl Totals {
    fn of(record: &TrafficRecord) -> Self {
        Self([record.received, record.sent, record.reads.into(), record.writes.into()])
    }
}

/// A descriptor from its first traffic to its end.
struct Life<'a> {
    first: &'a Line,
    totals: Totals,
    /// The remote end that the last record told.
    told: Option<End>,
    remote: End,
}

/// A record of a send.
struct Sent<'a> {
    first: &'a Line,
    line: &'a Line,
    since: [u64; 2],
    totals: Totals,
    remote: End,
}

/// A record of totals.
struct Ended<'a> {
    first: &'a Line,
    totals: Totals,
    remote: Option<End>,
    /// When it is told at the latest.
    by: Option<u64>,
}

/// What is to be told of one subject.
#[derive(Default)]
struct Expected<'a> {
    sent: Vec<Sent<'a>>,
    totals: Vec<Ended<'a>>,
    /// Sends of which not every one is told.
    burst: Option<&'a Line>,
}

/// The contract.
#[derive(Default)]
struct Model<'a> {
    lives: BTreeMap<Subject, Life<'a>>,
    expected: BTreeMap<Subject, Expected<'a>>,
}

impl<'a> Model<'a> {
    fn of(act: &Act<'a>) -> Self {
        let mut model = Self::default();
        for &line in &act.lines {
            let at = Some(line.count("at"));
            let fd = Subject::Number(line.number("fd").unsigned_abs());
            match line.what.as_str() {
                "sent" | "received" => model.moved(line),
                "dup" | "close" => model.ends(fd, at),
                "close_range" => {
                    let [first, last] = line.arguments()[..] else { panic!("{line:?}") };
                    for number in first..=last {
                        model.ends(Subject::Number(number), None);
                    }
                }
                _ => {}
            }
        }
        for subject in model.lives.keys().copied().collect::<Vec<_>>() {
            model.ends(subject, None);
        }
        model
    }

    fn moved(&mut self, line: &'a Line) {
        let subject = Subject::of_line(line);
        let expected = self.expected.entry(subject).or_default();
        let life = self.lives.entry(subject).or_insert_with(|| Life {
            first: line,
            totals: Totals::default(),
            told: None,
            remote: line.end("remote").unwrap_or(NO_END),
        });
        if line.is("burst") {
            expected.burst = Some(line);
        }
        let bytes = line.count("bytes");
        for _ in 0..line.count("times") {
            let Totals([received, sent, reads, writes]) = &mut life.totals;
            if line.what == "received" {
                *received += bytes;
                *reads += 1;
                continue;
            }
            *sent += bytes;
            *writes += 1;
            life.remote = line.end("given").or(line.end("remote")).unwrap_or(NO_END);
            let elsewhere = line.end("given").is_some() && life.told != Some(life.remote);
            if line.is_socket() && (life.told.is_none() || elsewhere || line.is("tainted")) {
                let (since, totals, remote) = ([bytes, 1], life.totals, life.remote);
                expected.sent.push(Sent { first: life.first, line, since, totals, remote });
                life.told = Some(remote);
            }
        }
    }

    fn ends(&mut self, subject: Subject, by: Option<u64>) {
        let Some(life) = self.lives.remove(&subject) else { return };
        let expected = self.expected.entry(subject).or_default();
        // Whether a receive changes the remote end of an unconnected socket is left open.
        let is_certain = life.totals.0[2] == 0 || Some(life.remote) == life.first.end("remote");
        let remote = Some(life.remote).filter(|_| is_certain && expected.burst.is_none());
        expected.totals.push(Ended { first: life.first, totals: life.totals, remote, by });
    }
}

/// How the records differ from the story.
pub fn differences(story: &Story, tap: &Tap) -> Vec<String> {
    let mut differences = Differences::new();
    let acts = story.acts();
    for act in &acts {
        let model = Model::of(act);
        let mut sent = by_subject(act.records(tap, kind::SENT));
        let mut totals = by_subject(act.records(tap, kind::TRAFFIC));
        let output = totals.remove(&Subject::Number(STANDARD_OUTPUT)).unwrap_or_default();
        if acts.len() == 1 {
            differences.about(format!("tgid {}, TRAFFIC of standard output", act.tgid()));
            let told: Vec<u64> = output.iter().map(|record| record.traffic().sent).collect();
            differences.compare("sent", vec![story.output_bytes], told);
        }
        for (&subject, expected) in &model.expected {
            let (sent, totals) = (
                sent.remove(&subject).unwrap_or_default(),
                totals.remove(&subject).unwrap_or_default(),
            );
            differences.about(format!("tgid {}, SENT of {subject:?}", act.tgid()));
            compare_sums(&sent, &mut differences);
            match expected.burst {
                Some(line) => compare_burst(act, line, &sent, &mut differences),
                None => compare_sent(act, subject, &expected.sent, &sent, &mut differences),
            }
            let totals = without_other_program(act, expected, totals);
            compare_totals(act, subject, &expected.totals, &totals, &mut differences);
        }
        let others = sent.into_values().chain(totals.into_values()).flatten();
        for record in others.filter(|record| is_before(act, record)) {
            differences.about(format!("tgid {}", act.tgid()));
            differences.say(&format!("nothing like this was done: {:?}", record.traffic()));
        }
    }
    differences.into_vec()
}

fn by_subject(records: Vec<Record>) -> BTreeMap<Subject, Vec<Record>> {
    let mut by_subject = BTreeMap::<_, Vec<Record>>::new();
    for record in records {
        by_subject.entry(Subject::of_record(&record)).or_default().push(record);
    }
    by_subject
}

/// Whether it is not by a program that this one executed.
fn is_before(act: &Act<'_>, record: &Record) -> bool {
    act.exec().is_none_or(|at| record.header.timestamp < at)
}

/// Leaves out what a program that this one executed did on the same number.
fn without_other_program(
    act: &Act<'_>,
    expected: &Expected<'_>,
    mut records: Vec<Record>,
) -> Vec<Record> {
    records.retain(|record| {
        let inode = record.traffic().descriptor.object.inode;
        is_before(act, record)
            || expected.totals.iter().any(|total| total.first.count("inode") == inode)
    });
    records
}

/// What records of a process that has read a secret tell as sent since the last one adds up to what they tell
/// as sent at all from the first one on; of others some sends are not told.
fn compare_sums(records: &[Record], to: &mut Differences) {
    let mut before: Option<[u64; 2]> = None;
    for (at, record) in records.iter().enumerate() {
        let traffic = record.traffic();
        let [_, bytes, calls] = record.header.argument;
        let told = [traffic.sent, u64::from(traffic.writes)];
        let begun_anew = traffic.sent == bytes;
        if let Some(before) = before.filter(|_| !begun_anew && is_tainted(record)) {
            let sum = [before[0] + bytes, before[1] + calls];
            to.compare(&format!("record {at}: sum of bytes and calls"), sum, told);
        }
        before = is_tainted(record).then_some(told);
    }
}

fn is_tainted(record: &Record) -> bool {
    record.header.flags & flag::TAINTED != 0
}

fn compare_sent(
    act: &Act<'_>,
    subject: Subject,
    expected: &[Sent<'_>],
    records: &[Record],
    to: &mut Differences,
) {
    // Each first send after anybody has read a secret is told, as another test does meanwhile.
    let is_fresh = |record: &&Record| {
        let told = Totals::of(&record.traffic());
        let [_, _, calls] = record.header.argument;
        calls == 1 && !is_tainted(record) && expected.iter().all(|one| one.totals != told)
    };
    let records: Vec<&Record> = records.iter().filter(|record| !is_fresh(record)).collect();
    if expected.len() != records.len() {
        let lines: Vec<&Line> = expected.iter().map(|sent| sent.line).collect();
        let told: Vec<_> = records.iter().map(|record| record.header).collect();
        let (wanted, count) = (lines.len(), told.len());
        to.say(&format!("expected {wanted} records, told {count}: {told:?} for {lines:?}"));
        return;
    }
    for (at, (expected, record)) in expected.iter().zip(records).enumerate() {
        let line = expected.line;
        to.about(format!("tgid {}, SENT {at} of {subject:?} ({line:?})", act.tgid()));
        let (header, traffic) = (&record.header, record.traffic());
        act.compare_call(line, header, to);
        to.compare("bytes and calls since the last", &expected.since[..], &header.argument[1..]);
        to.compare("received, sent, reads, writes", expected.totals, Totals::of(&traffic));
        compare_descriptor(expected.first, &traffic.descriptor, to);
        compare_remote(expected.remote, &traffic, to);
        to.compare("TAINTED", line.is("tainted"), header.flags & flag::TAINTED != 0);
        to.compare("SKIPPED", false, header.flags & flag::SKIPPED != 0);
        if line.count("family") != AF_UNIX && line.end("maybe_given").is_none() {
            let given = header.flags & flag::AS_GIVEN != 0;
            to.compare("AS_GIVEN", line.end("given").is_some(), given);
        }
    }
}

fn compare_remote(expected: End, traffic: &TrafficRecord, to: &mut Differences) {
    let socket = &traffic.descriptor.socket;
    to.compare("socket.remote", expected, (socket.remote_address, socket.remote_port));
}

/// Few records, and what was skipped is marked.
fn compare_burst(act: &Act<'_>, line: &Line, records: &[Record], to: &mut Differences) {
    let tainted = line.is("tainted");
    let most = if tainted {
        AT_ONCE + line.count("burst") / BETWEEN_RECORDS + 2
    } else {
        line.count("times")
    };
    let count = records.len() as u64;
    if count == 0 || count > most {
        to.say(&format!("expected 1 to {most} records, told {count}"));
    }
    let ends = [line.end("one"), line.end("other")];
    let has_ends = ends[0].is_some();
    for (at, record) in records.iter().enumerate() {
        to.about(format!("tgid {}, SENT {at} of {count} of a burst ({line:?})", act.tgid()));
        let (flags, traffic) = (record.header.flags, record.traffic());
        to.compare("TAINTED", tainted, flags & flag::TAINTED != 0);
        to.compare("AS_GIVEN", has_ends, flags & flag::AS_GIVEN != 0);
        let socket = &traffic.descriptor.socket;
        let remote = (socket.remote_address, socket.remote_port);
        if has_ends && !ends.contains(&Some(remote)) {
            to.say(&format!("remote end {remote:?} is none of {ends:?}"));
        }
        let calls = record.header.argument[2];
        // Receivers take turns: of two that were skipped one is another than the record tells.
        if !has_ends || calls == 1 || calls >= 3 {
            let skipped = flags & flag::SKIPPED != 0;
            to.compare("SKIPPED", has_ends && calls >= 3, skipped);
        }
    }
}

fn compare_totals(
    act: &Act<'_>,
    subject: Subject,
    expected: &[Ended<'_>],
    records: &[Record],
    to: &mut Differences,
) {
    to.about(format!("tgid {}, TRAFFIC of {subject:?}", act.tgid()));
    let told: Vec<Totals> = records.iter().map(|record| Totals::of(&record.traffic())).collect();
    let wanted: Vec<Totals> = expected.iter().map(|total| total.totals).collect();
    if let Subject::RingInode(_) = subject {
        // By number alone, an io_uring's records of one object may be several.
        let mut sum = Totals::default();
        for total in &told {
            sum.0 = std::array::from_fn(|at| sum.0[at] + total.0[at]);
        }
        to.compare("received, sent, reads, writes", wanted, vec![sum]);
    } else {
        to.compare("received, sent, reads, writes", wanted, told);
    }
    for (expected, record) in expected.iter().zip(records) {
        let traffic = record.traffic();
        let first = expected.first;
        compare_descriptor(first, &traffic.descriptor, to);
        if let Some(remote) = expected.remote {
            compare_remote(remote, &traffic, to);
        }
        if let Some(by) = expected.by {
            to.compare("told by the end of the call", true, record.header.timestamp <= by);
        }
        act.compare_identity(first, &record.header, to);
    }
}
