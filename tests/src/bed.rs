//! A cgroup and a directory of the test's own.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use aya::programs::ProgramError;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use tempfile::TempDir;

/// Where a test runs its processes.
pub struct Bed {
    cgroup: PathBuf,
    directory: TempDir,
}

impl Bed {
    /// A new bed, or `None` with a word on standard error where live tests cannot run.
    ///
    /// # Panics
    /// In CI, where they must run.
    pub fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = match ready() {
            Ok(root) => root,
            Err(why) => {
                skip(&why);
                return None;
            }
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let all = root.join(format!("sentinel-test-{}", std::process::id()));
        let cgroup = all.join(number.to_string());
        // Again where the last bed of another test took the outer one away.
        while fs::create_dir_all(&cgroup).is_err() {}
        Some(Self { cgroup, directory: tempfile::tempdir().expect("a directory of our own") })
    }

    /// The directory of the cgroup that holds those of all beds of this process.
    ///
    /// # Panics
    /// Never.
    pub fn all_beds(&self) -> &Path {
        self.cgroup.parent().expect("below the root")
    }

    /// The cgroup's directory.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// A path in the bed's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command that runs inside the cgroup, under the pid it is spawned with; without Cargo's variable,
    /// under which programs would not count as themselves.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .env_remove("LD_LIBRARY_PATH")
            .arg("-c")
            .arg(r#"echo $$ > "$0" && exec "$@""#)
            .arg(self.cgroup.join("cgroup.procs"))
            .arg(program);
        command
    }

    /// Processes in the cgroup.
    pub fn members(&self) -> Vec<i32> {
        let members = fs::read_to_string(self.cgroup.join("cgroup.procs")).unwrap_or_default();
        members.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let limit = Instant::now() + Duration::from_secs(5);
        while Instant::now() < limit {
            for member in self.members() {
                // Members of a cgroup that this test made: its own processes and no others.
                let _gone = kill(Pid::from_raw(member), Signal::SIGKILL);
            }
            if fs::remove_dir(&self.cgroup).is_ok() {
                let _others_are_left = fs::remove_dir(self.all_beds());
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The cgroup v2 root, if live tests can run here.
fn ready() -> Result<PathBuf, String> {
    if !geteuid().is_root() {
        return Err("live tests need root".into());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err("live tests need a kernel with BTF".into());
    }
    // Not "not found": a program may be gone between its number and its descriptor.
    if let Some(Err(ProgramError::SyscallError(error))) = aya::programs::loaded_programs().next()
        && error.io_error.kind() != ErrorKind::NotFound
    {
        return Err(format!("live tests need BPF: {}", error.io_error));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| fields.get(1).map(PathBuf::from))
        .ok_or_else(|| "live tests need cgroup v2".into())
}

/// Says on the true standard error why a test did not run.
///
/// # Panics
/// In CI.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "may not be skipped in CI: {why}");
    // Not eprintln!: the test runner would swallow it.
    let _shown = writeln!(std::io::stderr(), "skipped: {why}");
}
