//! Shells and interpreters of this host, so that copies and links of them are known under any name.
//!
//! A copy has the size of what it was copied from. Two different programs of some hundred kilobytes
//! hardly ever have the same size to the byte, and where they do, little comes of it: a shell is
//! remarked upon for what it is connected to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use sentinel_ipc::small_file;

use super::{Program, base_name, is_name_of_one, shell_reads};
use crate::event::{Arguments, Exec};

/// Where programs are installed.
const DIRECTORIES: [&str; 7] =
    ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/bin"];
/// Login shells, one a line (shells(5)).
const LOGIN_SHELLS: &str = "/etc/shells";
/// A file for each foreign format, with a line that names its interpreter
/// (Documentation/admin-guide/binfmt-misc.rst).
const FORMATS: &str = "/proc/sys/fs/binfmt_misc";
/// What shells(5) may list that takes no commands from its input.
const NO_SHELLS: [&[u8]; 6] =
    [b"tmux", b"screen", b"git-shell", b"nologin", b"false", b"systemd-home-fallback-shell"];
/// Sizes below this say too little, bytes.
const SMALLEST: u64 = 16_384;
/// Bytes of a list that is read.
const LONGEST: u64 = 65_536;
/// Sizes that are remembered.
const MOST: usize = 1024;

/// Programs by what is known of the file beside its name. Grows with what is seen to be started under
/// paths that only root can write to, so a package upgrade needs no second look.
#[derive(Debug, Clone, Default)]
pub struct KnownPrograms {
    /// Size in bytes → path.
    by_size: BTreeMap<u64, Box<[u8]>>,
    /// Paths of login shells of other names than those that are known.
    login_shells: BTreeSet<Box<[u8]>>,
}

impl KnownPrograms {
    /// Those that are installed here. What cannot be read is passed over.
    pub fn installed() -> Self {
        let mut known = Self::default();
        for path in listed_shells() {
            let bytes = path.as_os_str().as_bytes();
            let name = base_name(bytes);
            if !is_name_of_one(name) && !NO_SHELLS.contains(&name) {
                known.login_shells.insert(bytes.into());
            }
            known.add_file(&path);
        }
        let installed = DIRECTORIES.into_iter().flat_map(entries);
        for path in installed.chain(foreign_interpreters()) {
            if path.file_name().is_some_and(|name| is_name_of_one(name.as_bytes())) {
                known.add_file(&path);
            }
        }
        known
    }

    /// What `exec` started.
    pub fn judge(&self, exec: &Exec) -> Program {
        match self.named(exec.path_bytes(), &exec.arguments) {
            Program::Other => self
                .by_size
                .get(&size(exec))
                .map_or(Program::Other, |path| self.named(path, &exec.arguments)),
            program => program,
        }
    }

    /// Remembers what `exec` started, if nobody but root can have put it where it is.
    pub fn learn(&mut self, exec: &Exec) {
        let is_one = is_name_of_one(base_name(exec.path_bytes()));
        if is_one && let Some(path) = exec.identity() {
            self.add(size(exec), path);
        }
    }

    fn named(&self, path: &[u8], arguments: &Arguments) -> Program {
        if self.login_shells.contains(path) {
            let arguments = arguments.iter().skip(1);
            return Program::Shell { reads: shell_reads(arguments) };
        }
        Program::of(path, arguments)
    }

    fn add_file(&mut self, path: &Path) {
        let Ok(metadata) = fs::metadata(path) else { return };
        if metadata.is_file() {
            self.add(metadata.size(), path.as_os_str().as_bytes());
        }
    }

    fn add(&mut self, size: u64, path: &[u8]) {
        if size >= SMALLEST && self.by_size.len() < MOST {
            self.by_size.entry(size).or_insert_with(|| path.into());
        }
    }
}

fn size(exec: &Exec) -> u64 {
    exec.object.map_or(0, |object| object.size)
}

/// Paths of login shells, links resolved.
fn listed_shells() -> Vec<PathBuf> {
    let text = read(Path::new(LOGIN_SHELLS)).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with('/'));
    lines.filter_map(|line| fs::canonicalize(line).ok()).collect()
}

fn entries(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Interpreters of foreign formats.
fn foreign_interpreters() -> Vec<PathBuf> {
    let texts = entries(FORMATS).into_iter().filter_map(|format| read(&format));
    let named = |text: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("interpreter "));
        lines.next().map(PathBuf::from)
    };
    texts.filter_map(|text| named(&text)).collect()
}

fn read(path: &Path) -> Option<String> {
    String::from_utf8(small_file::read(path, LONGEST).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Object, Origin, Path as EventPath, Trust};

    fn exec(path: &str, size: u64, arguments: &[&str]) -> Exec {
        let bytes = path.as_bytes().to_vec();
        Exec {
            object: Some(Object { size, links: 1, ..Object::default() }),
            path: Some(EventPath { bytes, origin: Origin::Kernel, truncated: false }),
            arguments: arguments.iter().collect(),
            ..Exec::default()
        }
    }

    #[test]
    fn a_copy_is_what_it_was_copied_from() {
        let mut known = KnownPrograms::default();
        known.add(1_265_648, b"/usr/bin/bash");
        known.add(800_000, b"/bin/busybox");
        let copy = |arguments: &[&str]| known.judge(&exec("/tmp/kworker", 1_265_648, arguments));
        assert_eq!(copy(&["kworker"]), Program::Shell { reads: Some(0) });
        assert_eq!(copy(&["kworker", "-c", "id"]), Program::Shell { reads: None });
        let other = known.judge(&exec("/tmp/kworker", 1_265_649, &["kworker"]));
        assert_eq!(other, Program::Other);
        let applet = |name| known.judge(&exec("/tmp/x", 800_000, &[name]));
        assert_eq!(applet("sh"), Program::Shell { reads: Some(0) });
        assert_eq!(applet("wget"), Program::Other);
    }

    #[test]
    fn only_what_root_installed_teaches() {
        let mut known = KnownPrograms::default();
        let mut bash = exec("/usr/bin/bash", 1_300_000, &["bash"]);
        known.learn(&bash);
        assert!(known.by_size.is_empty(), "anybody could feed it sizes");
        bash.trust = Trust::of(0xf);
        known.learn(&bash);
        known.learn(&Exec { trust: bash.trust, ..exec("/usr/bin/make", 250_000, &["make"]) });
        known.learn(&Exec { trust: bash.trust, ..exec("/usr/bin/sash", 9_000, &["sash"]) });
        assert_eq!(known.by_size.len(), 1);
        let copy = known.judge(&exec("/tmp/x", 1_300_000, &["x"]));
        assert_eq!(copy, Program::Shell { reads: Some(0) });
    }

    #[test]
    fn a_login_shell_of_another_name_is_one() {
        let mut known = KnownPrograms::default();
        known.login_shells.insert(b"/opt/company/shell"[..].into());
        let judged = known.judge(&exec("/opt/company/shell", 5, &["-shell"]));
        assert_eq!(judged, Program::Shell { reads: Some(0) });
    }

    #[test]
    fn this_host_has_a_shell() {
        let known = KnownPrograms::installed();
        let size = fs::metadata("/bin/sh").unwrap().size();
        let judged = known.judge(&exec("/tmp/x", size, &["sh"]));
        assert_eq!(judged, Program::Shell { reads: Some(0) });
    }
}
