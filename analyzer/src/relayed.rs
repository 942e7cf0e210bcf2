//! What loader and enforcer say on standard error while `sentinel run` has a status line on the same terminal: it
//! comes through a pipe, so that the line is taken away before each word of theirs. Neither waits for a reader, and
//! none holds up the session.

use std::{
    io::{self, PipeReader, PipeWriter, Read as _},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::escape::harmless;

/// Bytes that are taken at one time; what is left comes with the next.
const BYTES_A_TURN: usize = 64 << 10;
/// A longer line is broken. Theirs are shorter (`sentinel_ipc::diagnostics`).
const MAX_LINE: usize = 4096;

/// The reading end.
#[derive(Debug)]
pub struct Relayed {
    pipe: PipeReader,
    /// The beginning of a line.
    begun: Vec<u8>,
}

impl Relayed {
    /// A pipe; its writing end is for who is started.
    ///
    /// # Errors
    /// When the system has none.
    pub fn pair() -> io::Result<(Self, PipeWriter)> {
        let (pipe, writer) = io::pipe()?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((Self { pipe, begun: Vec::new() }, writer))
    }

    /// The lines that have come, without anything that steers a terminal. At the `last` time also one that
    /// does not end.
    pub fn lines(&mut self, last: bool) -> Vec<String> {
        let mut bytes = vec![0; BYTES_A_TURN];
        let length = self.pipe.read(&mut bytes).unwrap_or(0);
        self.begun.extend(bytes.iter().take(length));
        let mut lines = Vec::new();
        loop {
            let end = self.begun.iter().take(MAX_LINE).position(|&byte| byte == b'\n');
            let taken = match end {
                Some(end) => end + 1,
                None if self.begun.len() >= MAX_LINE => MAX_LINE,
                None if last && !self.begun.is_empty() => self.begun.len(),
                None => return lines,
            };
            let line: Vec<u8> = self.begun.drain(..taken).collect();
            let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
            lines.push(harmless(&line).into_owned());
        }
    }
}

impl AsRawFd for Relayed {
    fn as_raw_fd(&self) -> RawFd {
        self.pipe.as_raw_fd()
    }
}

impl AsFd for Relayed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lines_come_whole_and_harmless_and_nobody_is_waited_for() {
        let (mut relayed, mut writer) = Relayed::pair().unwrap();
        assert!(relayed.lines(false).is_empty());
        writer.write_all(b"one\ntw").unwrap();
        assert_eq!(relayed.lines(false), ["one"]);
        writer.write_all(b"o\x1b[2J\n\xff\nrest").unwrap();
        assert_eq!(relayed.lines(false), ["two?[2J", "?"]);
        assert!(relayed.lines(false).is_empty());
        drop(writer);
        assert_eq!(relayed.lines(true), ["rest"]);
        assert!(relayed.lines(true).is_empty());
    }

    #[test]
    fn a_line_without_end_is_broken_and_takes_no_memory() {
        let (mut relayed, mut writer) = Relayed::pair().unwrap();
        for _ in 0..40 {
            writer.write_all(&[b'x'; 1000]).unwrap();
            for line in relayed.lines(false) {
                assert_eq!(line.len(), MAX_LINE);
            }
            assert!(relayed.begun.len() < MAX_LINE);
        }
    }
}
