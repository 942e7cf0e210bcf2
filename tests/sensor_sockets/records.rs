//! The calls that have a record each.

use sentinel_ipc::kernel_abi::{DescriptorRecord, SocketRecord, flag, kind};
use sentinel_tests::tap::{Record, Tap};

use crate::story::{Act, Differences, Line, NO_END, Story, compare_descriptor};

const ABOUT_DESCRIPTORS: &[(&str, u16)] = &[
    ("socket", kind::SOCKET),
    ("connect", kind::CONNECT),
    ("accept", kind::ACCEPT),
    ("bind", kind::BIND),
    ("listen", kind::LISTEN),
    ("dup", kind::DUP),
    ("pipe", kind::PIPE),
    ("socketpair", kind::SOCKETPAIR),
    ("received_descriptor", kind::RECEIVED),
];

/// How the records differ from the story.
pub fn differences(story: &Story, tap: &Tap) -> Vec<String> {
    let mut differences = Differences::new();
    for act in story.acts() {
        for &(what, kind) in ABOUT_DESCRIPTORS {
            compare_all(
                &act,
                what,
                act.records(tap, kind),
                &mut differences,
                |line, record, to| {
                    compare_one(&act, line, &record.descriptor(), to);
                },
            );
        }
        for (what, kind) in [("close", kind::CLOSE), ("close_range", kind::CLOSE_RANGE)] {
            let mut records = act.records(tap, kind);
            records.retain(|record| act.exec().is_none_or(|at| record.header.timestamp < at));
            compare_all(&act, what, records, &mut differences, |line, record, to| {
                act.compare_call(line, &record.header, to);
                compare_arguments(line, record, to);
            });
        }
        let records = act.records(tap, kind::TCP_CONNECTING);
        compare_all(&act, "connecting", records, &mut differences, |line, record, to| {
            act.compare_process(line, &record.header, to);
            compare_arguments(line, record, to);
            let SocketRecord { header, socket } = record.as_type();
            to.compare("result", 0, header.result);
            to.compare("socket.family", line.count("family"), socket.family.into());
            to.compare("socket.kind", line.count("type"), socket.kind.into());
            to.compare("socket.protocol", line.count("protocol"), socket.protocol.into());
            let remote = (socket.remote_address, socket.remote_port);
            to.compare("socket.remote", line.end("to").unwrap_or(NO_END), remote);
        });
    }
    differences.into_vec()
}

/// Compares the records of one kind, in their order, with the lines of one kind.
fn compare_all(
    act: &Act<'_>,
    what: &str,
    records: Vec<Record>,
    to: &mut Differences,
    compare: impl Fn(&Line, &Record, &mut Differences),
) {
    let lines: Vec<&Line> = act.lines.iter().filter(|line| line.what == what).copied().collect();
    to.about(format!("tgid {}, {what}", act.tgid()));
    let last_is_cut = records.last().is_some_and(|last| last.header.flags & flag::TRUNCATED != 0);
    let may_be_cut = lines.last().is_some_and(|line| line.is("many"));
    if records.len() > lines.len() || records.len() < lines.len() && !(may_be_cut && last_is_cut) {
        let told: Vec<_> = records.iter().map(|record| record.header).collect();
        to.say(&format!("expected {} records, told {}: {told:?}", lines.len(), records.len()));
        return;
    }
    let complete = records.len() == lines.len();
    for (at, (line, record)) in lines.iter().zip(&records).enumerate() {
        to.about(format!("tgid {}, {what} {at} of {} ({line:?})", act.tgid(), lines.len()));
        let cut = record.header.flags & flag::TRUNCATED != 0;
        to.compare("TRUNCATED", !complete && at + 1 == records.len(), cut);
        compare(line, record, to);
    }
}

fn compare_arguments(line: &Line, record: &Record, to: &mut Differences) {
    let expected = line.arguments();
    to.compare("arguments", &expected[..], &record.header.argument[..expected.len()]);
}

fn compare_one(act: &Act<'_>, line: &Line, record: &DescriptorRecord, to: &mut Differences) {
    let header = &record.header;
    act.compare_call(line, header, to);
    let expected = line.arguments();
    to.compare("arguments", &expected[..], &header.argument[..expected.len()]);
    compare_descriptor(line, &record.descriptor, to);
    if !line.by_ring() {
        let closes = header.flags & flag::CLOSE_ON_EXEC != 0;
        to.compare("CLOSE_ON_EXEC", line.is("cloexec"), closes);
    }
    let socket = &record.descriptor.socket;
    let remote = (socket.remote_address, socket.remote_port);
    let (held, wanted) = (line.end("remote").unwrap_or(NO_END), line.end("to").unwrap_or(NO_END));
    if line.what != "connect" || line.number("result") == 0 {
        to.compare("socket.remote", held, remote);
    } else if line.number("result") == -i64::from(libc::EINPROGRESS) {
        to.compare("socket.remote", wanted, remote);
    } else if header.flags & flag::AS_GIVEN != 0 {
        // A connect that failed: the kernel may hold no remote end any more.
        to.compare("socket.remote as given", wanted, remote);
    } else if remote.1 != 0 {
        to.compare("socket.remote", wanted, remote);
    }
}
