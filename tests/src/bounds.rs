//! Bounds for fork bombs: no more than so many processes at a time, and an end for all of them.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    bed::{Bed, skip},
    sentinel::{PATIENCE, within},
};

/// A cgroup of the version 1 pids controller: no more than so many processes at a time.
pub struct Bounds(PathBuf);

impl Bounds {
    /// Room for `most` processes; `None` with a word on standard error where there is no such controller.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(most: u32) -> Option<Self> {
        let root = PathBuf::from("/sys/fs/cgroup/pids");
        if !root.join("tasks").exists() {
            skip("fork bombs need the pids controller of cgroup v1");
            return None;
        }
        // A fresh one each time: who ended counts until its parent has asked.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let own = root.join(format!("sentinel-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&own).expect("root");
        fs::write(own.join("pids.max"), most.to_string()).expect("root");
        Some(Self(own))
    }

    /// A command in the bed and in these bounds.
    pub fn command(&self, bed: &Bed, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = bed.command("/bin/sh");
        command.args(["-c", r#"echo $$ > "$0" && exec "$@""#]).arg(self.0.join("cgroup.procs"));
        command.arg(program).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Ends everything inside.
    ///
    /// # Panics
    /// When it lives on.
    pub fn end(&self) {
        let _none_more = fs::write(self.0.join("pids.max"), "0");
        let is_empty = || {
            let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            for member in members.lines().filter_map(|line| line.parse().ok()) {
                // Members of a cgroup that this test made: its own processes and no others.
                let _gone = kill(Pid::from_raw(member), Signal::SIGKILL);
            }
            members.is_empty()
        };
        assert!(within(PATIENCE, is_empty), "the bomb does not end");
    }
}

impl Drop for Bounds {
    fn drop(&mut self) {
        self.end();
        within(PATIENCE, || fs::remove_dir(&self.0).is_ok());
    }
}
