//! A real loader with the test in the analyzer's place: every record that the kernel gives.

use std::{
    process::{Child, Command, Output},
    time::{Duration, Instant},
};

use sentinel_analyzer::event;
use sentinel_ipc::{
    channel::{Channel, Received, Sent},
    frame::{AnalyzerMessage, Counters, KindSet, LoaderMessage, PROTOCOL_VERSION, decode, encode},
    kernel_abi::{
        self, CgroupRecord, CredentialsRecord, DescriptorRecord, ExecRecord, FileRecord,
        ForkRecord, NameRecord, Object, PathRecord, RecordHeader, SocketRecord, Span, TargetRecord,
        TrafficRecord, kind,
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{bed::Bed, rig, sentinel::PATIENCE};

/// A record as the kernel wrote it.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    /// What all records have.
    pub header: RecordHeader,
    bytes: [u8; kernel_abi::MAX_RECORD_BYTES],
}

impl Record {
    /// The record as the type that its kind has.
    ///
    /// # Panics
    /// When its kind has another type.
    pub fn as_type<T: FromBytes + IntoBytes + Immutable>(&self) -> T {
        assert_eq!(size_of::<T>(), bytes_of(self.header.kind), "kind {:#x}", self.header.kind);
        T::read_from_prefix(&self.bytes).expect("long enough").0
    }

    /// As a call about a descriptor.
    pub fn descriptor(&self) -> DescriptorRecord {
        self.as_type()
    }

    /// As a call about a file.
    pub fn file(&self) -> FileRecord {
        self.as_type()
    }

    /// As a call about paths.
    pub fn paths(&self) -> PathRecord {
        self.as_type()
    }

    /// As what went through a descriptor.
    pub fn traffic(&self) -> TrafficRecord {
        self.as_type()
    }

    /// As an exec.
    pub fn exec(&self) -> ExecRecord {
        self.as_type()
    }

    /// As a fork.
    pub fn fork(&self) -> ForkRecord {
        self.as_type()
    }

    /// As a change of credentials.
    pub fn credentials(&self) -> CredentialsRecord {
        self.as_type()
    }

    /// As a call about another process.
    pub fn target(&self) -> TargetRecord {
        self.as_type()
    }
}

fn bytes_of(of: u16) -> usize {
    match of {
        kind::FORK => size_of::<ForkRecord>(),
        kind::EXEC => size_of::<ExecRecord>(),
        kind::CGROUP_MADE | kind::CGROUP_REMOVED => size_of::<CgroupRecord>(),
        kind::TCP_CONNECTING => size_of::<SocketRecord>(),
        kind::SOCKET..=kind::DUP
        | kind::PIPE
        | kind::SOCKETPAIR
        | kind::RECEIVED
        | kind::SETNS => size_of::<DescriptorRecord>(),
        kind::OPEN..=kind::LOAD_MODULE_FILE => size_of::<FileRecord>(),
        kind::SENT | kind::TRAFFIC => size_of::<TrafficRecord>(),
        kind::RENAME..=kind::CHROOT => size_of::<PathRecord>(),
        kind::CREDENTIALS => size_of::<CredentialsRecord>(),
        kind::PTRACE | kind::PROCESS_MEMORY | kind::KILL | kind::CGROUP_MOVED => {
            size_of::<TargetRecord>()
        }
        kind::SET_NAME => size_of::<NameRecord>(),
        _ => size_of::<RecordHeader>(),
    }
}

/// The bytes of `path` that `span` tells.
///
/// # Panics
/// When they lie outside.
pub fn spanned<'a>(path: &'a [u8], span: &Span) -> &'a [u8] {
    let start = usize::from(span.start);
    &path[start..start + usize::from(span.length)]
}

/// The loader, and what it has told so far.
pub struct Tap {
    channel: Channel,
    loader: Child,
    records: Vec<Record>,
    counters: Counters,
    heartbeats: u32,
}

impl Tap {
    /// Starts a loader that reports every kind of the processes in the bed's cgroup.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(bed: &Bed) -> Self {
        Self::start_with(bed, KindSet::all())
    }

    /// The same for some kinds.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start_with(bed: &Bed, kinds: KindSet) -> Self {
        let (channel, loaders) = Channel::pair().expect("sockets");
        let (loaders_enforcer, _) = Channel::raw_pair().expect("sockets");
        let loader = rig::command("sentinel-loader", loaders, loaders_enforcer)
            .arg(format!("--scope-cgroup={}", bed.cgroup().display()))
            .spawn()
            .expect("the loader");
        let mut tap = Self {
            channel,
            loader,
            records: Vec::new(),
            counters: Counters::default(),
            heartbeats: 0,
        };
        let mut frame = Vec::new();
        let hello = AnalyzerMessage::Hello { version: PROTOCOL_VERSION, kinds };
        encode(&hello, &mut frame).expect("a frame");
        assert_eq!(tap.channel.send(&frame).expect("a socket"), Sent::Done);
        tap.wait_for_heartbeats(1);
        tap
    }

    /// Runs `command` to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(&mut self, command: &mut Command) -> Output {
        let output = command.output().expect("a program");
        self.catch_up();
        output
    }

    /// Takes in everything that happened before this call.
    ///
    /// # Panics
    /// When the loader ended.
    pub fn catch_up(&mut self) {
        // The first one may have been under way; records before the second have been sent.
        self.wait_for_heartbeats(2);
        assert_eq!(self.counters.dropped, 0, "records were lost");
    }

    fn wait_for_heartbeats(&mut self, more: u32) {
        let wanted = self.heartbeats + more;
        let limit = Instant::now() + PATIENCE;
        while self.heartbeats < wanted {
            if !self.hear() {
                assert!(Instant::now() < limit, "the loader says nothing");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Takes one message; false if there is none.
    fn hear(&mut self) -> bool {
        let frame = match self.channel.receive().expect("a socket") {
            Received::WouldBlock => return false,
            Received::Closed => panic!("the loader ended"),
            Received::Frame(frame) => frame,
        };
        match decode(frame).expect("a message") {
            LoaderMessage::Ready { .. } => {}
            LoaderMessage::Heartbeat { counters, .. } => {
                self.counters = counters;
                self.heartbeats += 1;
            }
            LoaderMessage::Finished { .. } => panic!("the loader finished"),
            LoaderMessage::Events { records, .. } => {
                let mut rest = records;
                while !rest.is_empty() {
                    let (_, after) = event::take(rest).expect("the analyzer understands it");
                    let taken = &rest[..rest.len() - after.len()];
                    let (header, _) = RecordHeader::read_from_prefix(taken).expect("a header");
                    assert_eq!(taken.len(), bytes_of(header.kind));
                    let mut bytes = [0; kernel_abi::MAX_RECORD_BYTES];
                    bytes[..taken.len()].copy_from_slice(taken);
                    self.records.push(Record { header, bytes });
                    rest = after;
                }
            }
        }
        true
    }

    /// Everything so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What `tgid` did of `kind`.
    pub fn of(&self, tgid: u32, kind: u16) -> Vec<Record> {
        let wanted = |record: &&Record| record.header.tgid == tgid && record.header.kind == kind;
        self.records.iter().filter(wanted).copied().collect()
    }

    /// The kernel's counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _gone = self.loader.kill();
        let _reaped = self.loader.wait();
    }
}

/// Whether two objects are the same file.
pub fn same(one: &Object, other: &Object) -> bool {
    (one.device, one.inode, one.generation) == (other.device, other.inode, other.generation)
}
