//! Standard output and error for people, without ever waiting for a reader.
//!
//! A terminal on hold or a pipe that nobody reads must not stop the engines: what cannot be written
//! at once is left out, and counted.

use std::{io, os::fd::AsFd};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::write,
};

/// What a pipe that polls as writable takes at once (PIPE_BUF, pipe(7)).
const CHUNK_BYTES: usize = 4096;
/// How long a chunk may wait for its reader.
const PATIENCE_MS: u8 = 20;

/// One of the standard streams.
pub struct Output<S> {
    stream: S,
    omitted: u64,
}

impl<S: AsFd> Output<S> {
    /// Writes to `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, omitted: 0 }
    }

    /// Texts that were left out since the last call, in whole or in part.
    pub fn take_omitted(&mut self) -> u64 {
        std::mem::take(&mut self.omitted)
    }

    /// Writes `text`, or leaves out what the reader does not take.
    ///
    /// # Errors
    /// When the stream is closed or broken.
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let chunk = rest.get(..CHUNK_BYTES).unwrap_or(rest);
            if !self.is_writable()? {
                self.omitted += 1;
                return Ok(());
            }
            match write(&self.stream, chunk) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.omitted += 1;
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn is_writable(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, PollTimeout::from(PATIENCE_MS)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_does_not_hold_up_the_writer() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut output = Output::new(writer);
        let text = "x".repeat(10_000);
        for _ in 0..20 {
            output.write(&text).unwrap();
        }
        assert!(output.take_omitted() > 0);
        let mut some = [0; 10_000];
        reader.read_exact(&mut some).unwrap();
        output.write("y").unwrap();
        assert_eq!(output.take_omitted(), 0);
    }

    #[test]
    fn a_closed_pipe_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert!(Output::new(writer).write("x").is_err());
    }
}
