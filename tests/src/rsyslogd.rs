//! An rsyslogd that is the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::sys::signal::Signal;

use crate::{
    bed::{Bed, skip},
    sentinel::{PATIENCE, send, within},
};

/// One that runs, with its configuration and its place for queues.
pub struct Rsyslogd {
    child: Option<Child>,
    configuration: PathBuf,
    /// Says that it is ready: its configuration ends with a file for its own words.
    own_words: PathBuf,
    pid_file: PathBuf,
}

impl Rsyslogd {
    /// Whether there is one to start, with its modules; says why if there is not.
    ///
    /// # Panics
    /// In CI, where there must be.
    pub fn is_there() -> bool {
        let is_there = Command::new("rsyslogd").arg("-v").output().is_ok();
        if !is_there {
            skip("rsyslogd is missing: tests/install-neighbours");
        }
        is_there
    }

    /// Starts one called `name` in the bed with `configuration`, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(bed: &Bed, name: &str, configuration: &str) -> Self {
        let own_words = bed.path(&format!("{name}.words"));
        let queues = bed.path(&format!("{name}.queues"));
        fs::create_dir_all(&queues).expect("a directory of our own");
        let text = format!(
            "global(workDirectory=\"{}\" processInternalMessages=\"on\")\n{configuration}\n\
             syslog.* action(type=\"omfile\" file=\"{}\" asyncWriting=\"off\")\n",
            queues.display(),
            own_words.display()
        );
        let file = bed.path(&format!("{name}.conf"));
        fs::write(&file, text).expect("a file of our own");
        let pid_file = bed.path(&format!("{name}.pid"));
        let mut daemon = Self { child: None, configuration: file, own_words, pid_file };
        daemon.begin();
        daemon
    }

    /// Starts it again after [`Self::end`].
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn begin(&mut self) {
        let _none_yet = fs::remove_file(&self.own_words);
        let child = Command::new("rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(&self.configuration)
            .arg("-i")
            .arg(&self.pid_file)
            .stdin(Stdio::null())
            .spawn();
        self.child = Some(child.expect("rsyslogd starts"));
        let words = || fs::read_to_string(&self.own_words).unwrap_or_default();
        assert!(within(PATIENCE, || words().contains(" start")), "not ready: {}", words());
    }

    /// Ends it as its service does.
    ///
    /// # Panics
    /// When it does not end.
    pub fn end(&mut self) {
        let mut child = self.child.take().expect("it runs");
        send(child.id(), Signal::SIGTERM);
        assert!(within(PATIENCE, || matches!(child.try_wait(), Ok(Some(_)))), "it does not end");
    }

    /// What it says about `configuration` without running; `Err` if that is wrong.
    ///
    /// # Errors
    /// What it says is wrong.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn check(configuration: &Path) -> Result<(), String> {
        let checked = Command::new("rsyslogd").arg("-N1").arg("-f").arg(configuration).output();
        let checked = checked.expect("rsyslogd starts");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        let is_right = checked.status.success() && !said.contains("error");
        if is_right { Ok(()) } else { Err(said) }
    }
}

impl Drop for Rsyslogd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}
