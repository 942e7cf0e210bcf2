//! Standard output and error for people, without ever waiting for a reader.
//!
//! A terminal on hold or a pipe that nobody reads must not stop the engines: a reader may take a moment, but
//! only so much of each second; what he does not take then is left out, and counted. Who has not taken
//! something gets no further moment until he reads again.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::write,
};

/// What a pipe that polls as writable takes at once (PIPE_BUF, pipe(7)).
const CHUNK_BYTES: usize = 4096;
/// How long a chunk may wait for its reader.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long all of them may within a second.
const PATIENCE_A_SECOND: Duration = Duration::from_millis(60);
const SECOND: Duration = Duration::from_secs(1);

/// One of the standard streams.
pub struct Output<S> {
    stream: S,
    /// The same terminal, opened anew: one that polls as writable may still have a writer wait, unless he has
    /// said that he does not; and whoever else has the stream may not have to hear of that.
    terminal: Option<File>,
    omitted: u64,
    /// Whether the reader did not take what was written last.
    is_stuck: bool,
    /// How long it was waited for him since when.
    waited: (Instant, Duration),
}

impl<S: AsFd> Output<S> {
    /// Writes to `stream`.
    pub fn new(stream: S) -> Self {
        let anew = || {
            let path = format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd());
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            OpenOptions::new().write(true).custom_flags(flags).open(path).ok()
        };
        let terminal = stream.as_fd().is_terminal().then(anew).flatten();
        let waited = (Instant::now(), Duration::ZERO);
        Self { stream, terminal, omitted: 0, is_stuck: false, waited }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.terminal.as_ref().map_or_else(|| self.stream.as_fd(), AsFd::as_fd)
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
                self.omit();
                return Ok(());
            }
            match write(self.descriptor(), chunk) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.omit();
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn omit(&mut self) {
        self.omitted += 1;
        self.is_stuck = true;
    }

    fn is_writable(&mut self) -> io::Result<bool> {
        let is_ready = self.is_ready_within(Duration::ZERO)? || self.becomes_ready()?;
        self.is_stuck &= !is_ready;
        Ok(is_ready)
    }

    /// Waits for the reader as long as he may still be waited for.
    fn becomes_ready(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        let (since, waited) = self.waited;
        let (since, waited) =
            if now - since >= SECOND { (now, Duration::ZERO) } else { (since, waited) };
        let left = PATIENCE_A_SECOND.saturating_sub(waited);
        // Less cannot be waited.
        if self.is_stuck || left < Duration::from_millis(1) {
            return Ok(false);
        }
        let is_ready = self.is_ready_within(left.min(PATIENCE));
        self.waited = (since, waited + now.elapsed());
        is_ready
    }

    fn is_ready_within(&self, limit: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.descriptor(), PollFlags::POLLOUT)];
        match poll(&mut fds, PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO)) {
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
    fn who_has_not_read_is_not_waited_for_again_until_he_reads() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut output = Output::new(writer);
        while output.take_omitted() == 0 {
            output.write(&"x".repeat(4000)).unwrap();
        }
        let (_, waited) = output.waited;
        assert!(waited >= PATIENCE, "he had his moment");
        for _ in 0..50 {
            output.write("y").unwrap();
        }
        assert_eq!((output.take_omitted(), output.waited.1), (50, waited));
        reader.read_exact(&mut [0; 8192]).unwrap();
        output.write("z").unwrap();
        assert!(output.take_omitted() == 0 && !output.is_stuck);
    }

    #[test]
    fn a_slow_reader_is_waited_for_only_so_long_in_a_second() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut output = Output::new(writer);
        output.waited.0 = Instant::now() + SECOND;
        let mut miss = |output: &mut Output<_>| {
            while output.take_omitted() == 0 {
                output.write(&"x".repeat(4000)).unwrap();
            }
            // He reads on as soon as something was left out.
            while !output.is_writable().unwrap() {
                reader.read_exact(&mut [0; 4096]).unwrap();
            }
        };
        (0..4).for_each(|_| miss(&mut output));
        let (_, waited) = output.waited;
        assert!(waited > 2 * PATIENCE, "{waited:?}");
        (0..20).for_each(|_| miss(&mut output));
        assert_eq!(output.waited.1, waited, "not in this second");
    }

    #[test]
    fn a_terminal_that_nobody_reads_does_not_hold_up_the_writer() {
        let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let path = name.to_str().unwrap();
        let open = || OpenOptions::new().read(true).write(true).open(path).unwrap();
        let (terminal, others) = (open(), open());
        let mut output = Output::new(terminal);
        for _ in 0..100 {
            output.write(&"x".repeat(900)).unwrap();
        }
        assert!(output.take_omitted() > 0);
        let flags = nix::fcntl::fcntl(&others, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert_eq!(flags & libc::O_NONBLOCK, 0, "others go on as they did");
    }

    #[test]
    fn a_closed_pipe_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert!(Output::new(writer).write("x").is_err());
    }
}
