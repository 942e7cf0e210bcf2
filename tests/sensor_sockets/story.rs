//! What a test program says that it did: `WHAT key=value …`, a line a call.

use std::{collections::HashMap, fmt::Debug, os::unix::fs::MetadataExt as _, process::Stdio};

use sentinel_ipc::kernel_abi::{Descriptor, RecordHeader, abi, flag};
use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    tap::{Record, Tap},
};

/// A descriptor number that an io_uring's records have in place of one.
pub const NO_NUMBER: u32 = u32::MAX;

/// Address and port of a socket's end.
pub type End = ([u8; 16], u16);

/// No address and no port.
pub const NO_END: End = ([0; 16], 0);

/// One call.
#[derive(Debug)]
pub struct Line {
    pub what: String,
    fields: HashMap<String, String>,
}

impl Line {
    fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let what = words.next().expect("a word").to_owned();
        let pair = |word: &str| {
            let (key, value) = word.split_once('=').unwrap_or_else(|| panic!("{word:?} in {text}"));
            (key.to_owned(), value.to_owned())
        };
        Self { what, fields: words.map(pair).collect() }
    }

    /// A number; 0 if the line does not tell it.
    pub fn number(&self, key: &str) -> i64 {
        let text = self.fields.get(key).map_or("0", String::as_str);
        text.parse().unwrap_or_else(|_| panic!("{key}={text}"))
    }

    /// A number that is not negative.
    pub fn count(&self, key: &str) -> u64 {
        u64::try_from(self.number(key)).unwrap_or_else(|_| panic!("{key} in {self:?}"))
    }

    pub fn is(&self, key: &str) -> bool {
        self.number(key) != 0
    }

    /// An end, if the line tells one.
    pub fn end(&self, key: &str) -> Option<End> {
        let (address, port) = self.fields.get(key)?.split_once('-').expect("ADDRESS-PORT");
        let mut bytes = [0; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&address[2 * at..2 * at + 2], 16).expect("hexadecimal");
        }
        Some((bytes, port.parse().expect("a port"))).filter(|end| *end != NO_END)
    }

    /// The record's arguments.
    pub fn arguments(&self) -> Vec<u64> {
        let text = self.fields.get("arguments").map_or("", String::as_str);
        text.split(',').filter(|one| !one.is_empty()).map(|one| one.parse().unwrap()).collect()
    }

    /// Done by an io_uring.
    pub fn by_ring(&self) -> bool {
        self.is("ring")
    }

    pub fn is_socket(&self) -> bool {
        self.number("mode") & 0o170_000 == 0o140_000
    }
}

/// One run of a program.
pub struct Story {
    name: String,
    lines: Vec<Line>,
    cgroup: u64,
    /// Bytes that it wrote to descriptor 1.
    pub output_bytes: u64,
}

impl Story {
    /// Runs a case inside the bed's cgroup.
    pub fn hear(bed: &Bed, program: &str, case: &str) -> Self {
        let mut command = bed.command(compiled(program));
        command.arg(case).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("a program");
        let pid = u64::from(child.id());
        let output = child.wait_with_output().expect("its output");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {case}: {} {errors}", output.status);
        let text = String::from_utf8(output.stdout).expect("text");
        let lines: Vec<Line> = text.lines().map(Line::parse).collect();
        let begun = lines.iter().any(|line| line.what == "begin" && line.count("pid") == pid);
        assert!(begun, "{program} {case} runs as {pid}:\n{text}");
        Self {
            name: format!("{program} {case}"),
            lines,
            cgroup: bed.cgroup().metadata().expect("the cgroup").ino(),
            output_bytes: text.len() as u64,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What each of its processes did.
    pub fn acts(&self) -> Vec<Act<'_>> {
        let begins = self.lines.iter().filter(|line| line.what == "begin");
        let act = |begin| {
            let mine = |line: &&Line| line.number("pid") == Line::number(begin, "pid");
            Act { cgroup: self.cgroup, begin, lines: self.lines.iter().filter(mine).collect() }
        };
        begins.map(act).collect()
    }
}

/// What one process did.
pub struct Act<'a> {
    cgroup: u64,
    begin: &'a Line,
    pub lines: Vec<&'a Line>,
}

impl Act<'_> {
    pub fn tgid(&self) -> u32 {
        u32::try_from(self.begin.count("pid")).expect("a pid")
    }

    /// When another program took its place, CLOCK_BOOTTIME.
    pub fn exec(&self) -> Option<u64> {
        self.lines.iter().find(|line| line.what == "exec").map(|line| line.count("at"))
    }

    /// The records of `kind` from its first line on, the oldest first.
    pub fn records(&self, tap: &Tap, kind: u16) -> Vec<Record> {
        let mut records = tap.of(self.tgid(), kind);
        records.retain(|record| record.header.timestamp > self.begin.count("at"));
        records.sort_by_key(|record| record.header.timestamp);
        records
    }

    /// Compares which process it was, whichever thread told.
    pub fn compare_identity(&self, line: &Line, header: &RecordHeader, to: &mut Differences) {
        to.compare("uid", line.count("uid"), header.uid.into());
        to.compare("euid", line.count("euid"), header.euid.into());
        to.compare("cgroup", self.cgroup, header.cgroup_id);
        // USER_HZ is 100 on every architecture that Sentinel knows.
        to.compare("start (1/100 s)", self.begin.count("ticks"), header.start_time / 10_000_000);
        to.compare("reserved", 0, header.reserved);
    }

    /// Compares who did it.
    pub fn compare_process(&self, line: &Line, header: &RecordHeader, to: &mut Differences) {
        self.compare_identity(line, header, to);
        // An io_uring's thread may tell after the call's end is visible.
        if !line.by_ring() {
            to.compare("tid", line.count("tid"), header.tid.into());
            to.compare("told by its end", true, header.timestamp <= line.count("at"));
        }
    }

    /// Compares who did which call, and how it ended.
    pub fn compare_call(&self, line: &Line, header: &RecordHeader, to: &mut Differences) {
        self.compare_process(line, header, to);
        to.compare("result", line.number("result"), header.result);
        to.compare("IO_URING", line.by_ring(), header.flags & flag::IO_URING != 0);
        if !line.by_ring() {
            to.compare("call", line.count("call"), header.call.into());
            to.compare("abi", line.count("abi"), header.abi.into());
        }
        if !line.is("shared") {
            // socketcall(2) takes its arguments from memory.
            let by_memory = header.abi == abi::COMPAT && header.call == 102;
            to.compare("RACY", by_memory, header.flags & flag::RACY != 0);
        }
    }
}

/// Compares what a descriptor refers to, but for the remote end.
pub fn compare_descriptor(line: &Line, found: &Descriptor, to: &mut Differences) {
    to.compare("object.mode", line.count("mode"), found.object.mode.into());
    to.compare("object.inode", line.count("inode"), found.object.inode);
    to.compare("object.device", line.count("device"), found.object.device.into());
    to.compare("object.links", line.count("links"), found.object.links.into());
    to.compare("object.owner", line.count("owner"), found.object.owner.into());
    to.compare("object.rdev", line.count("rdev"), found.object.rdev.into());
    let socket = &found.socket;
    to.compare("socket.family", line.count("family"), socket.family.into());
    to.compare("socket.kind", line.count("type"), socket.kind.into());
    to.compare("socket.protocol", line.count("protocol"), socket.protocol.into());
    to.compare("socket.state", line.count("state"), socket.state.into());
    // Of the accepted end of a unix socket (family 1) only.
    let is_accepted = socket.family == 1 && line.what.starts_with("accept");
    to.compare("socket.peer is told", is_accepted, socket.peer != 0);
    // A connect that failed gives its port back; getsockname(2) tells it still.
    let in_progress = -i64::from(libc::EINPROGRESS);
    if line.what != "connect" || [0, in_progress].contains(&line.number("result")) {
        let local = (socket.local_address, socket.local_port);
        to.compare("socket.local", line.end("local").unwrap_or(NO_END), local);
    }
}

/// What was expected and did not come true.
pub struct Differences {
    about: String,
    found: Vec<String>,
}

impl Differences {
    pub fn new() -> Self {
        Self { about: String::new(), found: Vec::new() }
    }

    /// What the next comparisons are about.
    pub fn about(&mut self, what: String) {
        self.about = what;
    }

    pub fn compare<T: PartialEq + Debug>(&mut self, what: &str, expected: T, actual: T) {
        if expected != actual {
            self.say(&format!("{what}: expected {expected:?}, told {actual:?}"));
        }
    }

    pub fn say(&mut self, what: &str) {
        self.found.push(format!("{}: {what}", self.about));
    }

    pub fn into_vec(self) -> Vec<String> {
        self.found
    }
}
