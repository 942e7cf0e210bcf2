//! Runs cases under a loader and compares what it tells with the truth. All differences of a test are
//! told together, at its end.

use std::{
    ffi::OsStr,
    fmt::Debug,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::time::{ClockId, clock_gettime};
use sentinel_ipc::kernel_abi::{Credentials, Object, RecordHeader, TargetRecord, flag, kind};
use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    tap::{Record, Tap},
};

use crate::truth::{File, Truth, Who};

/// USER_HZ is 100 on every architecture that Sentinel knows.
const TICK: u64 = 10_000_000;
const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;

/// A cgroup, a loader that tells everything of it, and what it told wrong.
pub struct Stage {
    // Before the bed: the loader ends first.
    tap: Tap,
    bed: Bed,
    cgroup: u64,
    began: u64,
    wrong: Vec<String>,
}

fn boot_time() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("a clock");
    let seconds = u64::try_from(now.tv_sec()).unwrap();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}

impl Stage {
    /// Runs `test`.
    ///
    /// # Panics
    /// When the loader told anything wrong.
    pub fn with(test: impl FnOnce(&mut Self)) {
        let Some(bed) = Bed::new() else { return };
        // Others than root have to reach the programs in it.
        fs::set_permissions(bed.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        let cgroup = fs::metadata(bed.cgroup()).unwrap().ino();
        let tap = Tap::start(&bed);
        let mut stage = Self { tap, bed, cgroup, began: boot_time(), wrong: Vec::new() };
        test(&mut stage);
        let wrong = std::mem::take(&mut stage.wrong);
        assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// Runs the C program with `arguments`, in an environment of nothing but PATH.
    pub fn play<S: AsRef<OsStr>>(&mut self, program: &str, arguments: &[S]) -> Truth {
        let shown: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let case = shortened(&shown.join(" "));
        let mut command = self.bed.command(compiled(program));
        command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        let output = command.output().expect("a program");
        Truth::of(&case, &output)
    }

    /// Takes in all that the cases did.
    pub fn catch_up(&mut self) {
        self.tap.catch_up();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.bed.path(name)
    }

    /// A path in the bed's cgroup.
    pub fn sub_cgroup(&self, name: &str) -> PathBuf {
        self.bed.cgroup().join(name)
    }

    /// The cgroup's id.
    pub fn cgroup(&self) -> u64 {
        self.cgroup
    }

    /// A copy of the C program in the bed's directory; made by another process, because one that
    /// is forked from this meanwhile would keep it open for writing.
    pub fn copy(&self, program: &str, name: &str, mode: &str) -> PathBuf {
        let path = self.path(name);
        run(Command::new("cp").arg(compiled(program)).arg(&path));
        run(Command::new("chmod").arg(mode).arg(&path));
        path
    }

    /// A file that may be executed, made by another process.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let code = r#"printf %s "$1" > "$0" && chmod 755 "$0""#;
        run(Command::new("sh").args(["-c", code]).arg(&path).arg(text));
        path
    }

    /// Everything of `kind`, whoever did it.
    pub fn all(&self, kind: u16) -> Vec<Record> {
        let records = self.tap.records().iter();
        records.filter(|record| record.header.kind == kind).cloned().collect()
    }

    pub fn of(&self, tgid: u32, kind: u16) -> Vec<Record> {
        self.tap.of(tgid, kind)
    }

    /// The only one of `records`; another number of them is a difference.
    pub fn only(&mut self, what: &str, records: &[Record]) -> Option<Record> {
        self.same(&format!("{what}: records"), records.len(), 1);
        records.first().cloned()
    }

    /// Notes a difference unless `right`.
    pub fn check(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.wrong.push(what());
        }
    }

    pub fn same<T: PartialEq + Debug>(&mut self, what: &str, actual: T, expected: T) {
        self.check(actual == expected, || format!("{what}: {actual:?}, expected {expected:?}"));
    }

    /// The same for bytes, which are shown as text.
    pub fn same_bytes(&mut self, what: &str, actual: &[u8], expected: &[u8]) {
        self.check(actual == expected, || {
            format!("{what}: b\"{}\"\n\texpected b\"{}\"", shown(actual), shown(expected))
        });
    }

    /// `nanoseconds` lie in the tick.
    pub fn started(&mut self, what: &str, nanoseconds: u64, ticks: u64) {
        self.same(&format!("{what}: start ({nanoseconds} ns) in ticks"), nanoseconds / TICK, ticks);
    }

    /// Who did it, when and where.
    pub fn header(&mut self, what: &str, header: &RecordHeader, who: Who) {
        self.same(&format!("{what}: uid, euid"), (header.uid, header.euid), (who.uid, who.euid));
        self.header_without_ids(what, header, who);
    }

    pub fn header_without_ids(&mut self, what: &str, header: &RecordHeader, who: Who) {
        self.same(&format!("{what}: tgid, tid"), (header.tgid, header.tid), (who.tgid, who.tid));
        self.started(what, header.start_time, who.ticks);
        self.same(&format!("{what}: cgroup"), header.cgroup_id, self.cgroup);
        let (began, now) = (self.began.max(header.start_time), boot_time());
        self.check((began..=now).contains(&header.timestamp), || {
            format!("{what}: timestamp {} is not in {began}..={now}", header.timestamp)
        });
        self.same(&format!("{what}: reserved"), header.reserved, 0);
    }

    /// What is the same in all records of no system call.
    pub fn no_call(&mut self, what: &str, header: &RecordHeader) {
        let expected = (sentinel_ipc::kernel_abi::NO_CALL, 0, 0);
        self.same(
            &format!("{what}: call, abi, result"),
            (header.call, header.abi, header.result),
            expected,
        );
    }

    /// Flags but those that tell of the descriptor table.
    pub fn flags(&mut self, what: &str, header: &RecordHeader, expected: u16) {
        let actual = header.flags & !(flag::RACY | flag::CLOSE_ON_EXEC | flag::PRIVATE_FILES);
        self.check(actual == expected, || {
            format!("{what}: flags {actual:#x}, expected {expected:#x}")
        });
    }

    /// The one record of the call that the program told under `key`: who, number, ABI, result and
    /// arguments are right.
    pub fn told(&mut self, truth: &Truth, key: &str, kind: u16) -> Option<Record> {
        let what = format!("{}, {key}", truth.case());
        let who = truth.who(key);
        let wanted = call(truth, key, who.tid);
        let records = self.of(who.tgid, kind);
        let told: Vec<_> = records
            .iter()
            .filter(|record| call_of(&record.header, wanted.arguments.len()) == wanted)
            .cloned()
            .collect();
        if told.len() != 1 {
            let others: Vec<_> = records.iter().map(|record| call_of(&record.header, 3)).collect();
            self.wrong.push(format!(
                "{what}: {} records of kind {kind:#x} with {wanted:?}, expected 1; there are\n\t{}",
                told.len(),
                others.iter().map(|call| format!("{call:?}")).collect::<Vec<_>>().join("\n\t")
            ));
        }
        let record = told.first().cloned()?;
        if kind == kind::CREDENTIALS {
            // They may be those of before or after; see there.
            self.header_without_ids(&what, &record.header, who);
        } else {
            self.header(&what, &record.header, who);
        }
        Some(record)
    }

    /// The same for a call about another process, which has to be known if the truth names it.
    pub fn told_of(&mut self, truth: &Truth, key: &str, kind: u16) -> Option<TargetRecord> {
        let what = format!("{}, {key}", truth.case());
        let target = self.told(truth, key, kind)?.target();
        self.target(&what, &target, truth.process(key));
        Some(target)
    }

    pub fn target(&mut self, what: &str, record: &TargetRecord, process: Option<(u32, u64)>) {
        self.same(&format!("{what}: own"), record.target_is_own, 0);
        let Some((tgid, ticks)) = process else {
            let actual = (record.target_tgid, record.target_start_time);
            self.same(&format!("{what}: target"), actual, (0, 0));
            return;
        };
        self.same(&format!("{what}: target"), record.target_tgid, tgid);
        self.started(&format!("{what}: target"), record.target_start_time, ticks);
        let forks = self.all(kind::FORK);
        let forked = forks.iter().map(Record::fork).find(|fork| fork.child_tgid == tgid);
        if let Some(fork) = forked {
            let (start, told) = (record.target_start_time, fork.child_start_time);
            self.same(&format!("{what}: target's start and its fork's"), start, told);
        }
    }

    pub fn object(&mut self, what: &str, actual: &Object, expected: File) {
        let all = |object: (u32, u64, u32, u32, u32, u32)| object;
        self.same(
            &format!("{what}: device, inode, mode, rdev, links, owner"),
            all((
                actual.device,
                actual.inode,
                actual.mode,
                actual.rdev,
                actual.links,
                actual.owner,
            )),
            all((
                expected.device,
                expected.inode,
                expected.mode,
                expected.rdev,
                expected.links,
                expected.owner,
            )),
        );
        if expected.mode & S_IFMT == S_IFREG {
            self.same(&format!("{what}: size"), actual.size, expected.size);
        }
        if let Some(generation) = expected.generation {
            self.same(&format!("{what}: generation"), actual.generation, generation);
        }
    }

    /// `actual` is what the program told under `key`.
    pub fn credentials(&mut self, what: &str, actual: &Credentials, truth: &Truth, key: &str) {
        let ids = |name: &str| truth.numbers(&format!("{key}.{name}"));
        let wide = |ids: [u32; 4]| ids.map(u64::from).to_vec();
        self.same(&format!("{what}: uid[4]"), wide(actual.uid), ids("Uid"));
        self.same(&format!("{what}: gid[4]"), wide(actual.gid), ids("Gid"));
        for (name, bits) in [
            ("CapInh", actual.inheritable),
            ("CapPrm", actual.permitted),
            ("CapEff", actual.effective),
            ("CapBnd", actual.bounding),
            ("CapAmb", actual.ambient),
        ] {
            let expected = truth.bits(&format!("{key}.{name}"));
            self.check(bits == expected, || {
                format!("{what}: {name} {bits:#x}, expected {expected:#x}")
            });
        }
        let securebits = truth.number(&format!("{key}.securebits"));
        self.same(&format!("{what}: securebits"), actual.securebits, securebits);
        let namespace = truth.number(&format!("{key}.namespace"));
        self.same(&format!("{what}: user namespace"), actual.user_namespace, namespace);
        self.same(&format!("{what}: reserved"), actual.reserved, 0);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A test that stopped early has not told them.
        if !self.wrong.is_empty() {
            eprintln!("differences before:\n{}", self.wrong.join("\n"));
        }
    }
}

#[derive(Debug, PartialEq)]
struct Call {
    tid: u32,
    call: u16,
    abi: u8,
    result: i64,
    arguments: Vec<u64>,
}

/// What the program told.
fn call(truth: &Truth, key: &str, tid: u32) -> Call {
    Call {
        tid,
        call: truth.number(&format!("{key}.call")),
        abi: truth.number(&format!("{key}.abi")),
        result: truth.number(&format!("{key}.result")),
        arguments: truth.numbers(&format!("{key}.arguments")),
    }
}

/// What the record tells.
fn call_of(header: &RecordHeader, arguments: usize) -> Call {
    let arguments = header.argument[..arguments].to_vec();
    let RecordHeader { tid, call, abi, result, .. } = *header;
    Call { tid, call, abi, result, arguments }
}

pub fn run(command: &mut Command) {
    assert!(command.status().expect("a program").success(), "{command:?}");
}

/// Front, length and end of a long text.
fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= 100 {
        return text.to_owned();
    }
    let front: String = text.chars().take(50).collect();
    let end: String = text.chars().skip(length - 40).collect();
    format!("{front}… ({length}) …{end}")
}

fn shown(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    if text.len() <= 700 { text } else { format!("{}… ({} bytes)", &text[..700], bytes.len()) }
}

/// The path as the kernel writes it.
pub fn bytes_of(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}
