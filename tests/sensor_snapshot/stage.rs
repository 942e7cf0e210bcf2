//! A sensor of the test's own, what its snapshots tell, and processes to be told of.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use sentinel_ipc::{
    file_class::BUILT_IN,
    kernel_abi::{
        CgroupRecord, FileRecord, HeldRecord, ProcessRecord, RecordHeader, kind, record_bytes,
    },
};
use sentinel_loader::{
    arguments::Scope, call_counts::Counting, sensor::Sensor, snapshot::Progress,
};
use sentinel_tests::{bed::Bed, programs::compiled, sentinel::within};
use zerocopy::FromBytes;

/// A sensor that follows `scope`.
pub fn sensor(scope: &Scope) -> Sensor {
    let (mut sensor, _ring) = Sensor::load(scope, BUILT_IN, Counting::Never).unwrap();
    sensor.follow_scope().unwrap();
    sensor
}

/// A sensor that follows the bed's cgroup.
pub fn sensor_of(bed: &Bed) -> Sensor {
    sensor(&Scope::Cgroup(bed.cgroup().to_owned()))
}

/// What one snapshot told.
#[derive(Default)]
pub struct Snapshot {
    pub cgroups: Vec<CgroupRecord>,
    pub processes: Vec<ProcessRecord>,
    pub held: Vec<HeldRecord>,
    pub files: Vec<FileRecord>,
    pub is_cut: bool,
    pub took: Duration,
    /// How many reads it took.
    pub reads: u32,
}

impl Snapshot {
    pub fn take(sensor: &mut Sensor) -> Self {
        const ROOM: usize = 100_000;
        let begun = Instant::now();
        let mut reading = sensor.snapshot().unwrap();
        let mut taken = Self::default();
        loop {
            let mut records = Vec::new();
            let progress = reading.read(&mut records, ROOM).unwrap();
            assert!(records.len() <= ROOM);
            taken.add(&records);
            taken.reads += 1;
            if let Progress::Done { is_cut } = progress {
                taken.is_cut = is_cut;
                taken.took = begun.elapsed();
                return taken;
            }
        }
    }

    fn add(&mut self, mut records: &[u8]) {
        while !records.is_empty() {
            let (header, _) = RecordHeader::read_from_prefix(records).unwrap();
            let (record, rest) = records.split_at(record_bytes(header.kind).unwrap());
            match header.kind {
                kind::CGROUP_FOUND => self.cgroups.push(read(record)),
                kind::PROCESS => self.processes.push(read(record)),
                kind::HELD => self.held.push(read(record)),
                kind::HELD_FILE => self.files.push(read(record)),
                other => panic!("kind {other:#x}"),
            }
            records = rest;
        }
    }

    /// The processes' ids.
    pub fn tgids(&self) -> Vec<u32> {
        let mut tgids: Vec<_> = self.processes.iter().map(|told| told.header.tgid).collect();
        tgids.sort_unstable();
        tgids
    }

    /// The one record of a process.
    pub fn process(&self, tgid: u32) -> &ProcessRecord {
        let told: Vec<_> = self.processes.iter().filter(|told| told.header.tgid == tgid).collect();
        assert_eq!(told.len(), 1, "{tgid}");
        told[0]
    }

    /// What a process holds.
    pub fn held_by(&self, tgid: u32) -> Vec<&HeldRecord> {
        self.held.iter().filter(|told| told.header.tgid == tgid).collect()
    }
}

fn read<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).unwrap()
}

/// A running `tests/programs/snapshot.c` in a directory of its own; killed when dropped.
pub struct Actor {
    child: Child,
    directory: PathBuf,
}

impl Actor {
    /// Starts it in the bed's cgroup.
    pub fn start(bed: &Bed, mode: &[&str]) -> Self {
        Self::start_as(bed, bed.command(compiled("snapshot")), mode)
    }

    /// Starts it by `command`, and waits until it is in its state.
    pub fn start_as(bed: &Bed, mut command: Command, mode: &[&str]) -> Self {
        let number = fs::read_dir(bed.path("")).unwrap().count();
        let directory = bed.path(&number.to_string());
        fs::create_dir_all(directory.join(".aws")).unwrap();
        fs::write(directory.join(".aws/credentials"), "secret").unwrap();
        fs::write(directory.join("ordinary"), "nothing").unwrap();
        // For those who are not root any more.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        let child = command.arg(&directory).args(mode).spawn().unwrap();
        let actor = Self { child, directory };
        let ready = || actor.path("truth").exists();
        assert!(within(Duration::from_secs(20), ready), "{mode:?}");
        actor
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The lines of its truth that begin with `word`, without it, as numbers.
    pub fn truth(&self, word: &str) -> Vec<Vec<u64>> {
        let text = fs::read_to_string(self.path("truth")).unwrap();
        let lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        lines
            .filter(|line| line[0] == word)
            .map(|line| line[1..].iter().map(|number| number.parse().unwrap()).collect())
            .collect()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Fields of /proc/PID/stat behind the name: `[0]` is the state.
pub fn stat(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = text.rsplit_once(')').unwrap();
    fields.split_whitespace().map(str::to_owned).collect()
}

/// Numbers of a line of /proc/PID/status, in its base.
pub fn status(pid: u32, name: &str, base: u32) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().map(|number| u64::from_str_radix(number, base).unwrap()).collect()
}

/// What each descriptor of a process is, if it is a socket or pipe: number, inode, and whether it closes
/// on exec.
pub fn channels(pid: u32) -> Vec<(u64, u64, bool)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        const TYPE: u32 = 0o170_000;
        let metadata = fs::metadata(entry.path()).unwrap();
        if ![0o140_000, 0o010_000].contains(&(metadata.mode() & TYPE)) {
            continue;
        }
        let number = entry.file_name().into_string().unwrap();
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        found.push((number.parse().unwrap(), metadata.ino(), flags & 0o2_000_000 != 0));
    }
    found.sort_unstable();
    found
}

/// The cgroup's path within the hierarchy, as /proc tells it of a process in it.
pub fn cgroup_of(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

/// The v2 id of a cgroup's directory.
pub fn cgroup_id(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}
