//! Words on standard error that never wait for a reader: a terminal on hold or a full pipe must not
//! stop a process that watches or kills.

use std::{io, os::fd::AsFd};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::write,
};

/// What a pipe that polls as writable takes at once (PIPE_BUF, pipe(7)).
const MAX_LINE_BYTES: usize = 4096;

/// How long a service that cannot go on stays: one that dies is started again at once, and a wrong
/// configuration would be told ten times a second.
const PAUSE_MS: u16 = 2000;

/// To be called by a process that ends with an error, when that is told.
pub fn pause_if_service() {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        // A call that the confined may make.
        let _over = poll(&mut [], PAUSE_MS);
    }
}

/// Writes `line` and a newline; false if it was left out because nobody reads.
pub fn tell(line: &str) -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut fds, PollTimeout::ZERO) != Ok(1) {
        return false;
    }
    let mut bytes = line.as_bytes().to_vec();
    bytes.truncate(MAX_LINE_BYTES - 1);
    bytes.push(b'\n');
    write(stderr.as_fd(), &bytes) == Ok(bytes.len())
}
