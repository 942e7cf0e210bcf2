//! One line for each decision, on standard error and, where it is asked for, in a file of its own.

use std::{
    cell::Cell,
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use nix::unistd::Uid;
use sentinel_ipc::{
    diagnostics::tell,
    frame::{Target, Verdict},
};

use crate::conversation::Request;

/// Processes of a tree in a line: with more it would be cut on its way through a pipe.
const PIDS_A_LINE: usize = 256;

/// Writes the audit.
pub struct Audit {
    /// What clears the launcher's status line, if both share a terminal.
    start: &'static str,
    /// Lines that nobody read, since the last one that somebody did.
    omitted: Cell<u64>,
    file: Option<File>,
    /// Lines that the file did not take, since the last one that it did.
    lost: Cell<u64>,
    /// Whether the file ends within a line.
    is_begun: Cell<bool>,
}

impl Audit {
    /// An audit on standard error and in `file`.
    pub fn new(file: Option<File>) -> Self {
        let start = if io::stderr().is_terminal() { "\r\x1b[2K" } else { "" };
        let (omitted, lost, is_begun) = (Cell::new(0), Cell::new(0), Cell::new(false));
        Self { start, omitted, file, lost, is_begun }
    }

    /// Opens the audit's file at `path`, or makes it, for its owner and group; it is only ever added to. `owner` is
    /// the enforcer's user.
    ///
    /// # Errors
    /// When it is a link or no regular file, somebody else's, has another name, or cannot be written.
    pub fn open(path: &Path, owner: Uid) -> Result<File, String> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut options = OpenOptions::new();
        let opened = options.append(true).create(true).mode(0o640).custom_flags(flags).open(path);
        let checked = |file: File| {
            let found = file.metadata()?;
            let is_own = [0, owner.as_raw(), Uid::effective().as_raw()].contains(&found.uid());
            match () {
                () if !found.is_file() => Err(io::Error::other("no regular file")),
                () if !is_own => Err(io::Error::other("it is somebody else's")),
                () if found.nlink() != 1 => Err(io::Error::other("it has another name")),
                () => Ok(file),
            }
        };
        opened.and_then(checked).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Notes that a process or a tree is about to be ended, and what was found.
    pub fn intent(&self, request: &Request, found: &str) {
        self.line(&format!("audit intent {}", told(request, found)));
    }

    /// Notes which processes of a tree are about to be ended.
    pub fn tree(&self, request: &Request, pids: &[String]) {
        let Request { number, target: Target { tgid, start_time }, .. } = request;
        for pids in pids.chunks(PIDS_A_LINE) {
            let pids = pids.join(",");
            self.line(&format!(
                "audit intent pid={tgid} start_time={start_time} tree=true request={number} members={pids}"
            ));
        }
    }

    /// Notes a decision and what was found.
    pub fn decision(&self, request: &Request, found: &str, verdict: Verdict) {
        self.line(&format!("audit verdict={verdict} {}", told(request, found)));
    }

    /// Notes anything else.
    pub fn line(&self, text: &str) {
        let left_out = |count: u64| match count {
            0 => String::new(),
            _ => format!(" ({count} lines before this one were left out)"),
        };
        let omitted = self.omitted.get();
        let line = format!("{}sentinel-enforcer: {text}{}", self.start, left_out(omitted));
        self.omitted.set(if tell(&line) { 0 } else { omitted + 1 });
        let Some(mut file) = self.file.as_ref() else { return };
        let lost = self.lost.get();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanoseconds) = (now.as_secs(), now.subsec_nanos());
        let end = if self.is_begun.get() { "\n" } else { "" };
        let line = format!("{end}time={seconds}.{nanoseconds:09} {text}{}\n", left_out(lost));
        // One write: a line is there whole, or not at all but where the disk ended within it.
        let written = file.write(line.as_bytes()).unwrap_or(0);
        let is_whole = written == line.len();
        self.lost.set(if is_whole { 0 } else { lost + 1 });
        self.is_begun
            .set(!is_whole && (written > end.len() || (written == 0 && self.is_begun.get())));
    }
}

/// A request and what was found. The reason comes from the analyzer: it is shown escaped and proves nothing.
fn told(request: &Request, found: &str) -> String {
    let Request { number, target, is_tree, rule, reason, .. } = request;
    let Target { tgid, start_time } = target;
    let reason = reason.escape_debug();
    format!(
        "pid={tgid} start_time={start_time} tree={is_tree} request={number} \
         rule={rule:#018x}{found} reason=\"{reason}\""
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn lines_are_added_whole_and_with_their_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        for text in ["one", "two"] {
            Audit::new(Some(Audit::open(&path, Uid::from_raw(0)).unwrap())).line(text);
        }
        let written = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = written.lines().collect();
        assert!(lines[0].starts_with("time=") && lines[0].ends_with(" one"), "{written}");
        assert!(lines.len() == 2 && lines[1].ends_with(" two") && written.ends_with('\n'));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn links_and_what_is_no_file_are_refused_with_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let [target, link, fifo] =
            ["target", "link", "fifo"].map(|name| directory.path().join(name));
        fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&link, &fifo, directory.path()] {
            let error = Audit::open(path, Uid::from_raw(0)).unwrap_err();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        let second = directory.path().join("second");
        fs::hard_link(&target, &second).unwrap();
        assert!(Audit::open(&target, Uid::from_raw(0)).unwrap_err().contains("another name"));
        fs::remove_file(&second).unwrap();
        if Uid::effective().is_root() {
            std::os::unix::fs::chown(&target, Some(1000), None).unwrap();
            let error = Audit::open(&target, Uid::from_raw(0)).unwrap_err();
            assert!(error.contains("somebody else's"), "{error}");
            assert!(Audit::open(&target, Uid::from_raw(1000)).is_ok());
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    }

    #[test]
    fn the_line_behind_one_that_was_cut_begins_anew() {
        // A socket that nobody reads takes the start of what is too long for it, as a full disk does.
        let (to, mut from) = std::os::unix::net::UnixStream::pair().unwrap();
        to.set_nonblocking(true).unwrap();
        from.set_nonblocking(true).unwrap();
        let audit = Audit::new(Some(File::from(std::os::fd::OwnedFd::from(to))));
        let mut read = || {
            let mut text = Vec::new();
            let _nothing_more = io::Read::read_to_end(&mut from, &mut text);
            String::from_utf8(text).unwrap()
        };
        audit.line(&"x".repeat(1 << 20));
        audit.line("no room");
        assert!(!read().contains('\n'));
        audit.line("two");
        audit.line("three");
        let written = read();
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, ""), "{written}");
        assert!(lines[1].starts_with("time=") && lines[1].contains(" two (2 lines"), "{written}");
        assert!(lines[2].starts_with("time=") && lines[2].ends_with(" three"), "{written}");
    }

    #[test]
    fn what_the_disk_does_not_take_is_counted() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let audit = Audit::new(Some(full));
        audit.line("one");
        audit.line("two");
        assert_eq!(audit.lost.get(), 2);
    }
}
