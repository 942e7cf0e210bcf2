//! A real loader with the test in the analyzer's place: every record that the kernel gives.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use sentinel_analyzer::event::{self, Event};
use sentinel_ipc::{
    channel::{Channel, Received, Sent},
    frame::{
        AnalyzerMessage, Counters, KindSet, LoaderMessage, PROTOCOL_VERSION, ProfileCalls,
        Subscription, decode, encode,
    },
    kernel_abi::{
        CredentialsRecord, DescriptorRecord, ExecRecord, FileRecord, ForkRecord, Object,
        PathRecord, RecordHeader, Span, TargetRecord, TrafficRecord, kind, record_bytes,
    },
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{bed::Bed, rig, sentinel::PATIENCE};

/// A record as the kernel wrote it.
#[derive(Debug, Clone)]
pub struct Record {
    /// What all records have.
    pub header: RecordHeader,
    bytes: Arc<[u8]>,
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

    /// Whether it is the totals of a descriptor and tells its close as well.
    pub fn is_closing(&self) -> bool {
        self.header.kind == kind::TRAFFIC && self.header.argument[1] == 1
    }

    /// As the analyzer understands it.
    ///
    /// # Panics
    /// When it does not.
    pub fn event(&self) -> Event {
        event::take(&self.bytes).expect("a record").0
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
    record_bytes(of).unwrap_or_else(|| panic!("kind {of:#x} has no records"))
}

/// The bytes of `path` that `span` tells.
///
/// # Panics
/// When they lie outside.
pub fn spanned<'a>(path: &'a [u8], span: &Span) -> &'a [u8] {
    let start = usize::from(span.start);
    &path[start..start + usize::from(span.length)]
}

/// The loader of a test, or of all tests that run at the same time, and what it has told since this
/// one began.
pub struct Tap {
    source: Arc<Mutex<Source>>,
    /// Records that were told before.
    skipped: usize,
    records: Vec<Record>,
}

/// A running loader.
struct Source {
    channel: Channel,
    loader: Child,
    scope: PathBuf,
    records: Vec<Record>,
    /// Records that the round under way has not yet put in order.
    round: Vec<Record>,
    dropped: [u64; 2],
    counters: Counters,
    heartbeats: u32,
    /// How many records each round that has told something ended with, all before it included.
    rounds: Vec<usize>,
    canaries: u64,
    /// System calls that were counted.
    calls: Vec<ProfileCalls>,
    /// The number of the last subscription that was answered, and the hooks that it brought.
    subscribed: Option<(u32, Vec<String>)>,
}

/// A loader that tests share while they run.
type Shared = Mutex<Weak<Mutex<Source>>>;

impl Tap {
    /// Reports every kind of the processes in all beds. Verifying the programs takes seconds, so
    /// tests that run at the same time share a loader.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(bed: &Bed) -> Self {
        static SHARED: Shared = Mutex::new(Weak::new());
        Self::share(&SHARED, bed, KindSet::all())
    }

    /// The same as the analyzer asks for it: of opens those alone that may matter.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start_as_analyzer(bed: &Bed) -> Self {
        static SHARED: Shared = Mutex::new(Weak::new());
        Self::share(&SHARED, bed, KindSet::all().without(KindSet::of(&[kind::OPEN_ANY])))
    }

    fn share(shared: &'static Shared, bed: &Bed, kinds: KindSet) -> Self {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let source = shared.upgrade().unwrap_or_else(|| {
            let source = Arc::new(Mutex::new(Source::start(bed.all_beds(), kinds)));
            *shared = Arc::downgrade(&source);
            source
        });
        Self::of_source(source)
    }

    /// Reports some kinds of the processes in the bed.
    ///
    /// # Panics
    /// When the loader does not get ready.
    pub fn start_with(bed: &Bed, kinds: KindSet) -> Self {
        Self::of_source(Arc::new(Mutex::new(Source::start(bed.cgroup(), kinds))))
    }

    fn of_source(source: Arc<Mutex<Source>>) -> Self {
        let skipped = lock(&source).records.len();
        Self { source, skipped, records: Vec::new() }
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
    /// When the loader ended, or records were lost.
    pub fn catch_up(&mut self) {
        // Records come in the order in which they were made: what happened before the end of a
        // process that begins now has been told when that has.
        let procs = lock(&self.source).scope.join("cgroup.procs");
        let mut marker = Command::new("/bin/sh")
            .args(["-c", r#"echo $$ > "$0""#])
            .arg(procs)
            .spawn()
            .expect("a shell");
        marker.wait().expect("a child");
        let limit = Instant::now() + PATIENCE;
        loop {
            let mut source = lock(&self.source);
            source.hear_all();
            let new = source.records.get(self.skipped..).unwrap_or_default();
            let is_end = |record: &&Record| {
                record.header.kind == kind::EXIT && record.header.tgid == marker.id()
            };
            if new.iter().rev().any(|record| is_end(&record)) {
                self.records = new.to_vec();
                assert_eq!(source.dropped, [0; 2], "records were lost");
                return;
            }
            drop(source);
            assert!(Instant::now() < limit, "the loader says nothing");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The kernel's counters, as of now.
    ///
    /// # Panics
    /// When the loader ended.
    pub fn counters(&self) -> Counters {
        let after = lock(&self.source).heartbeats + 1;
        let limit = Instant::now() + PATIENCE;
        loop {
            let mut source = lock(&self.source);
            source.hear_all();
            // One may have been under way.
            if source.heartbeats > after {
                return source.counters;
            }
            drop(source);
            assert!(Instant::now() < limit, "the loader says nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many times so far the loader has said that all until then was told.
    ///
    /// # Panics
    /// When the loader ended.
    pub fn rounds(&self) -> usize {
        let mut source = lock(&self.source);
        source.hear_all();
        source.rounds.len()
    }

    /// How many records one of these was told with, later ones: those of its round.
    pub fn told_behind(&self, index: usize) -> usize {
        let source = lock(&self.source);
        let at = self.skipped + index;
        let end = source.rounds.iter().find(|&&end| end > at).expect("it was told");
        end - at - 1
    }

    /// Asks for `subscription`, without waiting for the answer.
    ///
    /// # Panics
    /// When the loader ended.
    pub fn ask_for(&self, subscription: Subscription) {
        lock(&self.source).say(&AnalyzerMessage::Subscribe(subscription));
    }

    /// Waits until the subscription of this number is in force; returns the hooks that are attached.
    ///
    /// # Panics
    /// When the loader ended.
    pub fn await_subscription(&self, number: u32) -> Vec<String> {
        let limit = Instant::now() + PATIENCE;
        loop {
            let mut source = lock(&self.source);
            source.hear_all();
            if let Some((answered, hooks)) = &source.subscribed
                && *answered == number
            {
                return hooks.clone();
            }
            drop(source);
            assert!(Instant::now() < limit, "subscription {number} is not answered");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How often each call was counted of the executable at `path` so far, and some time after now.
    ///
    /// # Panics
    /// When it cannot be looked at, or the loader ended.
    pub fn calls_of(&self, path: &Path) -> BTreeMap<u16, u64> {
        // They are told with every other heartbeat.
        self.counters();
        self.counters();
        let file = fs::metadata(path).expect("an executable");
        let is_of = |calls: &&ProfileCalls| {
            calls.executable.is_some_and(|(_, inode, _)| inode == file.ino())
        };
        let mut sum = BTreeMap::new();
        for calls in lock(&self.source).calls.iter().filter(is_of) {
            for (call, count) in &calls.calls {
                *sum.entry(*call).or_default() += u64::from(*count);
            }
        }
        sum
    }

    /// The loader's process id.
    pub fn loader(&self) -> u32 {
        lock(&self.source).loader.id()
    }

    /// Forgets everything so far.
    pub fn forget(&mut self) {
        let mut source = lock(&self.source);
        source.hear_all();
        self.skipped = source.records.len();
        self.records.clear();
    }

    /// Everything so far; other tests' processes may be among it.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What `tgid` did of `kind`; of closes also those that totals tell.
    pub fn of(&self, tgid: u32, kind: u16) -> Vec<Record> {
        let is_of = |record: &Record| {
            record.header.kind == kind || kind == kind::CLOSE && record.is_closing()
        };
        let wanted = |record: &&Record| record.header.tgid == tgid && is_of(record);
        self.records.iter().filter(wanted).cloned().collect()
    }
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    fn start(scope: &Path, kinds: KindSet) -> Self {
        let (channel, loaders) = Channel::pair().expect("sockets");
        let (loaders_enforcer, _) = Channel::raw_pair().expect("sockets");
        let loader = rig::command("sentinel-loader", loaders, loaders_enforcer)
            .arg(format!("--scope-cgroup={}", scope.display()))
            .arg("--count-calls")
            .spawn()
            .expect("the loader");
        let scope = scope.to_owned();
        let mut source = Self {
            channel,
            loader,
            scope,
            records: Vec::new(),
            round: Vec::new(),
            dropped: [0; 2],
            counters: Counters::default(),
            heartbeats: 0,
            rounds: Vec::new(),
            canaries: 0,
            calls: Vec::new(),
            subscribed: None,
        };
        source.say(&AnalyzerMessage::Hello { version: PROTOCOL_VERSION });
        source.say(&AnalyzerMessage::Subscribe(Subscription::to(kinds)));
        let limit = Instant::now() + PATIENCE;
        while source.subscribed.is_none() {
            source.hear_all();
            assert!(Instant::now() < limit, "the loader does not get ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        source
    }

    fn say(&self, message: &AnalyzerMessage) {
        let mut frame = Vec::new();
        encode(message, &mut frame).expect("a frame");
        assert_eq!(self.channel.send(&frame).expect("a socket"), Sent::Done);
    }

    fn hear_all(&mut self) {
        loop {
            let frame = match self.channel.receive().expect("a socket") {
                Received::WouldBlock => return,
                Received::Closed => panic!("the loader ended"),
                Received::Frame(frame) => frame,
            };
            match decode(frame).expect("a message") {
                LoaderMessage::Ready { .. } => {}
                LoaderMessage::Subscribed { number, hooks, .. } => {
                    let hooks = hooks.into_iter().map(str::to_owned).collect();
                    self.subscribed = Some((number, hooks));
                }
                LoaderMessage::Heartbeat { counters, canaries, .. } => {
                    self.counters = counters;
                    self.canaries = canaries;
                    self.heartbeats += 1;
                }
                LoaderMessage::Calls { profiles, .. } => self.calls.extend(profiles),
                LoaderMessage::Finished { .. } => panic!("the loader finished"),
                LoaderMessage::Drained { records, dropped, until, .. } => {
                    self.round.extend(records_in(records));
                    self.dropped = dropped;
                    // As the analyzer does: in order of time, those of one time as they came. What is later
                    // than the round may have to wait for what the other ring still holds.
                    self.round.sort_by_key(|record| record.header.timestamp);
                    let due = self.round.partition_point(|record| record.header.timestamp <= until);
                    self.records.extend(self.round.drain(..due));
                    self.rounds.push(self.records.len());
                }
                LoaderMessage::Events { records } | LoaderMessage::Snapshot { records, .. } => {
                    self.round.extend(records_in(records));
                }
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _gone = self.loader.kill();
        let _reaped = self.loader.wait();
    }
}

/// Each of `records`, which the analyzer has to understand.
fn records_in(mut records: &[u8]) -> Vec<Record> {
    let mut all = Vec::new();
    while !records.is_empty() {
        let (_, rest) = event::take(records).expect("the analyzer understands it");
        let bytes = &records[..records.len() - rest.len()];
        let (header, _) = RecordHeader::read_from_prefix(bytes).expect("a header");
        assert_eq!(bytes.len(), bytes_of(header.kind));
        all.push(Record { header, bytes: bytes.into() });
        records = rest;
    }
    all
}

/// Whether two objects are the same file.
pub fn same(one: &Object, other: &Object) -> bool {
    (one.device, one.inode, one.generation) == (other.device, other.inode, other.generation)
}
