//! What the programs sensor_files*.c tell of their calls, and how records compare with it.

use std::{
    collections::HashMap,
    fmt::{Debug, Display},
    os::unix::fs::MetadataExt,
    process::Command,
};

use sentinel_ipc::{
    file_class::class,
    kernel_abi::{
        FileRecord, GIVEN_BYTES, Object, PATH_BYTES, PathRecord, Span, flag, kind, origin,
    },
};
use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    tap::{Record, Tap, spanned},
};

/// Longest name of one directory entry (`NAME_MAX`).
const NAME_MAX: usize = 255;
/// Components of a path that are kept at the least, if it is not too long.
const COMPONENTS: usize = 60;
/// One clock tick, ns.
const TICK: u64 = 10_000_000;
const KINDS: &[(&str, u16)] = &[
    ("OPEN", kind::OPEN),
    ("MEMFD", kind::MEMFD),
    ("MAP", kind::MAP),
    ("FCHMOD", kind::FCHMOD),
    ("FTRUNCATE", kind::FTRUNCATE),
    ("DUP", kind::DUP),
    ("RENAME", kind::RENAME),
    ("LINK", kind::LINK),
    ("SYMLINK", kind::SYMLINK),
    ("UNLINK", kind::UNLINK),
    ("CHMOD", kind::CHMOD),
    ("TRUNCATE", kind::TRUNCATE),
    ("MOUNT", kind::MOUNT),
    ("MOVE_MOUNT", kind::MOVE_MOUNT),
    ("UNMOUNT", kind::UNMOUNT),
    ("MKDIR", kind::MKDIR),
    ("MKNOD", kind::MKNOD),
    ("CHROOT", kind::CHROOT),
];

/// One call, as the program that did it tells of it.
pub(crate) struct Truth(pub(crate) HashMap<String, String>);

impl Truth {
    /// The value of `key`, if the program told one.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key).map(|value| value.parse().unwrap_or_else(|_| panic!("{key}={value}")))
    }

    /// The value of `key`, which the program always tells.
    pub(crate) fn told(&self, key: &str) -> u64 {
        self.number(key).unwrap_or_else(|| panic!("no {key}: {:?}", self.0))
    }

    /// The name of the case.
    pub(crate) fn name(&self) -> &str {
        &self.0["case"]
    }

    /// The process.
    pub(crate) fn tgid(&self) -> u32 {
        u32::try_from(self.told("pid")).expect("a pid")
    }

    fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        let digits = self.0.get(key)?;
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
        Some((0..digits.len()).step_by(2).map(byte).collect())
    }

    fn kind(&self) -> u16 {
        let named = KINDS.iter().find(|(name, _)| *name == self.0["kind"]);
        named.unwrap_or_else(|| panic!("kind {}", self.0["kind"])).1
    }

    /// The record's arrays are too short for one of the paths.
    fn is_long(&self, key: &str, bytes: usize) -> bool {
        self.bytes(key).is_some_and(|path| path.len() > bytes)
    }
}

/// Runs a test program, which has to succeed, and returns what it tells.
pub(crate) fn told_by(command: &mut Command) -> Vec<Truth> {
    let output = command.output().expect("a program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    let text = String::from_utf8(output.stdout).expect("text");
    let line = |line: &str| {
        let (key, value) = line.split_once('=').expect("KEY=VALUE");
        (key.to_owned(), value.to_owned())
    };
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks.map(|block| Truth(block.trim_matches('\n').lines().map(line).collect())).collect()
}

/// Runs `cases` of `program`, each in a directory of its own below `home`, and compares.
pub(crate) fn hold(
    bed: &Bed,
    tap: &mut Tap,
    program: &str,
    cases: &[&str],
    home: &std::path::Path,
) {
    let run = |case: &&str| told_by(bed.command(compiled(program)).arg(case).arg(home.join(case)));
    let truths: Vec<Truth> = cases.iter().flat_map(run).collect();
    tap.catch_up();
    compare(bed, tap, &truths);
}

/// Compares what the kernel told with the truth.
///
/// # Panics
/// When they differ, with every difference.
pub(crate) fn compare(bed: &Bed, tap: &Tap, truths: &[Truth]) {
    assert!(!truths.is_empty());
    let cgroup = std::fs::metadata(bed.cgroup()).expect("a cgroup").ino();
    let problems: Vec<String> = truths
        .iter()
        .flat_map(|truth| {
            let mut comparison = Comparison { truth, cgroup, problems: Vec::new() };
            comparison.records(tap);
            comparison.problems
        })
        .collect();
    assert!(problems.is_empty(), "{} differences:\n{}", problems.len(), problems.join("\n"));
}

struct Comparison<'a> {
    truth: &'a Truth,
    cgroup: u64,
    problems: Vec<String>,
}

impl Comparison<'_> {
    fn differs(&mut self, what: impl Display) {
        self.problems.push(format!("  {} ({}): {what}", self.truth.name(), self.truth.0["kind"]));
    }

    fn equal<T: PartialEq + Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.differs(format_args!("{what} is {found:?} instead of {expected:?}"));
        }
    }

    /// The same, where the program says what is expected.
    fn as_told(&mut self, what: &str, found: u64) {
        if let Some(expected) = self.truth.number(what) {
            self.equal(what, found, expected);
        }
    }

    fn records(&mut self, tap: &Tap) {
        let (truth, kind) = (self.truth, self.truth.kind());
        let during = truth.told("before")..=truth.told("after");
        let all = tap.of(truth.tgid(), kind);
        let records: Vec<&Record> =
            all.iter().filter(|record| during.contains(&record.header.timestamp)).collect();
        if records.len() as u64 != truth.told("records") {
            let others: Vec<String> = all.iter().map(summary).collect();
            self.differs(format_args!(
                "{} records instead of {} in {during:?}; the process's records of this kind: {}",
                records.len(),
                truth.told("records"),
                others.join("; "),
            ));
            return;
        }
        for record in records {
            self.header(record);
            match kind {
                kind::DUP => self.object(&record.descriptor().descriptor.object),
                kind::OPEN..=kind::FTRUNCATE => self.file(&record.file()),
                _ => self.paths(&record.paths()),
            }
        }
    }

    fn header(&mut self, record: &Record) {
        let (truth, header) = (self.truth, record.header);
        self.equal("cgroup_id", header.cgroup_id, self.cgroup);
        self.equal("start_time in ticks", header.start_time / TICK, truth.told("start"));
        self.equal("result", header.result.to_string(), truth.0["result"].clone());
        self.equal("reserved", header.reserved, 0);
        self.as_told("tid", header.tid.into());
        self.as_told("uid", header.uid.into());
        self.as_told("euid", header.euid.into());
        self.as_told("call", header.call.into());
        self.as_told("abi", header.abi.into());
        for (at, name) in ["argument0", "argument1", "argument2"].into_iter().enumerate() {
            self.as_told(name, header.argument[at]);
        }
        let mut expected = u16::try_from(truth.number("flags").unwrap_or(0)).expect("flags");
        // Of a file's descriptor tests of sockets and pipes tell which way it goes.
        let ways = flag::READS | flag::WRITES;
        let mut compared = !u16::try_from(truth.told("loose")).expect("flags") & !ways;
        if truth.is_long("path", PATH_BYTES) {
            expected |= flag::TRUNCATED;
        } else if truth.bytes("path").is_some_and(|path| components(&path) > COMPONENTS) {
            compared &= !flag::TRUNCATED;
        }
        let of_paths = ["kernel0", "kernel1", "given0", "given1"];
        if of_paths.iter().any(|key| truth.is_long(key, GIVEN_BYTES)) {
            compared &= !flag::TRUNCATED;
        }
        self.equal("flags", header.flags & compared, expected & compared);
    }

    fn file(&mut self, record: &FileRecord) {
        let truth = self.truth;
        self.object(&record.object);
        let (origin, found) = (record.span.origin, spanned(&record.path, &record.span));
        if let Some(given) = truth.bytes("given") {
            // Opened into a ring's own table: path and class may be told, and then as they are.
            if !found.is_empty() {
                self.equal("origin", origin, origin::GIVEN);
                self.bytes("path", found, &given);
            }
            if record.class != 0 {
                self.as_told("class", record.class.into());
            }
            return;
        }
        // Of an ordinary file it depends on what others do at the time.
        let class = if record.class == class::EXCHANGE { 0 } else { record.class };
        self.as_told("class", class.into());
        self.as_told("open_flags", record.open_flags.into());
        let Some(path) = truth.bytes("path") else { return };
        // A memfd is in no directory.
        if path.starts_with(b"/") || origin != origin::FILE_SYSTEM {
            self.equal("origin", origin, origin::KERNEL);
        }
        let cut = record.header.flags & flag::TRUNCATED != 0;
        if cut && components(&path) > COMPONENTS {
            if !path.ends_with(found) || components(found) < COMPONENTS {
                self.bytes("tail", found, &path);
            }
        } else if path.len() > PATH_BYTES {
            self.tail("path", found, &path);
        } else {
            self.bytes("path", found, &path);
        }
    }

    fn paths(&mut self, record: &PathRecord) {
        let truth = self.truth;
        if truth.number("inode").is_some() {
            self.object(&record.object);
        }
        self.as_told("class", record.class.into());
        self.as_told("source_class", record.source_class.into());
        if let Some(label) = truth.bytes("label") {
            let mut expected = [0; 16];
            expected[..label.len()].copy_from_slice(&label);
            self.equal(
                "label",
                record.label.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
            );
        }
        for number in 0..2 {
            self.path(number, &record.span[number], &record.path[number], record);
        }
        let one_path = truth.bytes("kernel0").is_some() && truth.bytes("kernel1").is_none();
        if one_path {
            self.equal("second origin", record.span[1].origin, origin::NONE);
        }
    }

    fn path(&mut self, number: usize, span: &Span, path: &[u8], record: &PathRecord) {
        let truth = self.truth;
        let key = |name: &str| truth.bytes(&format!("{name}{number}"));
        let what = format!("path {number} (origin {})", span.origin);
        let found = spanned(path, span);
        if let Some(content) = key("content") {
            self.bytes(&what, found, &content);
        }
        if let Some(source) = key("source") {
            // A device, a word or a path: as it was given, or as the path that it is.
            let home = found.strip_suffix(&source[..]).unwrap_or_default();
            let is_right = found == source
                || home.ends_with(b"/")
                || key("source_kernel").is_some_and(|kernels| found == kernels);
            if !is_right {
                self.bytes(&what, found, &source);
            }
        }
        let Some(kernels) = key("kernel") else { return };
        let given = key("given").expect("what was given");
        let cut = record.header.flags & flag::TRUNCATED != 0;
        match span.origin {
            origin::KERNEL if cut && kernels.len() > PATH_BYTES => {
                self.tail(&what, found, &kernels)
            }
            origin::KERNEL => self.bytes(&what, found, &kernels),
            origin::FILE_SYSTEM => {
                // At the least what lies below the directory in which the program works.
                let least = kernels.len()
                    - truth.bytes("home").map_or(kernels.len() - 1, |home| home.len());
                if !kernels.ends_with(found) || !found.starts_with(b"/") || found.len() < least {
                    self.bytes(&what, found, &kernels);
                }
            }
            origin::GIVEN => {
                let mut expected = key("base").expect("its base");
                if !expected.is_empty() && !given.is_empty() {
                    expected.push(b'/');
                }
                expected.extend(&given);
                let mut below_root = truth.bytes("root").unwrap_or_default();
                below_root.extend(&expected);
                let is_cut = cut
                    && given.len() > GIVEN_BYTES
                    && expected.starts_with(found)
                    && found.len() + given.len() >= expected.len() + GIVEN_BYTES - 1;
                if found != below_root && !is_cut {
                    self.bytes(&what, found, &expected);
                }
            }
            _ => self.differs(format_args!("{what} is missing: {}", kernels.escape_ascii())),
        }
    }

    fn object(&mut self, found: &Object) {
        let truth = self.truth;
        if truth.number("unknown").is_some() {
            return self.equal("mode of an unknown object", found.mode, 0);
        }
        if truth.number("known") == Some(0) && found.mode == 0 {
            return;
        }
        if found.mode == 0 {
            return self.differs(format_args!("the object is not known: {found:?}"));
        }
        self.as_told("device", found.device.into());
        self.as_told("inode", found.inode);
        self.as_told("generation", found.generation.into());
        self.as_told("rdev", found.rdev.into());
        self.as_told("owner", found.owner.into());
        let changing =
            [("mode", u64::from(found.mode)), ("links", found.links.into()), ("size", found.size)];
        for (name, found) in changing {
            // Where the contract leaves open when the inode was asked, both are right.
            if truth.number(&format!("{name}_before")) != Some(found) {
                self.as_told(name, found);
            }
        }
    }

    /// Of a path that is too long its end is kept, less a component at the most.
    fn tail(&mut self, what: &str, found: &[u8], path: &[u8]) {
        if !path.ends_with(found) || found.len() < PATH_BYTES - NAME_MAX - 1 {
            self.bytes(&format!("{what}'s tail of {} bytes", found.len()), found, path);
        }
    }

    fn bytes(&mut self, what: &str, found: &[u8], expected: &[u8]) {
        self.equal(what, found.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
}

fn components(path: &[u8]) -> usize {
    path.iter().filter(|&&byte| byte == b'/').count()
}

/// A record in a failure's message.
fn summary(record: &Record) -> String {
    let header = record.header;
    let at = format!("{} tid {} call {}", header.timestamp, header.tid, header.call);
    match header.kind {
        kind::OPEN..=kind::FTRUNCATE => {
            let file = record.file();
            format!("{at} {}", spanned(&file.path, &file.span).escape_ascii())
        }
        kind::RENAME..=kind::CHROOT => {
            let paths = record.paths();
            let [first, second] =
                [0, 1].map(|at| spanned(&paths.path[at], &paths.span[at]).escape_ascii());
            format!("{at} {first} {second}")
        }
        _ => at,
    }
}
