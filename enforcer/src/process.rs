//! A process held by a pidfd, so that its number cannot pass to another meanwhile.

use std::os::fd::OwnedFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::os::fd::AsFd;

/// A process that had the number when it was opened.
#[derive(Debug)]
pub struct Process {
    pidfd: OwnedFd,
}

/// Why a process cannot be held or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessError {
    /// It is gone.
    Exited,
    /// The system refuses, with this errno.
    Refused(i32),
}

impl From<Errno> for ProcessError {
    fn from(errno: Errno) -> Self {
        if errno == Errno::SRCH { Self::Exited } else { Self::Refused(errno.raw_os_error()) }
    }
}

impl Process {
    /// Holds the process that has the number `tgid` now.
    ///
    /// # Errors
    /// When there is none, or it is the number of a thread.
    pub fn open(tgid: u32) -> Result<Self, ProcessError> {
        let invalid = ProcessError::Refused(Errno::INVAL.raw_os_error());
        let raw = i32::try_from(tgid).map_err(|_| invalid)?;
        let pid = Pid::from_raw(raw).ok_or(invalid)?;
        Ok(Self { pidfd: pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Whether it has ended; a pidfd can be read from then on.
    pub fn has_exited(&self) -> bool {
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        // A poll that fails tells nothing: count it as ended, and so do not kill.
        poll(&mut fds, PollTimeout::ZERO) != Ok(0)
    }

    /// Sends SIGKILL.
    ///
    /// # Errors
    /// When it has ended, or the system refuses.
    pub fn kill(&self) -> Result<(), ProcessError> {
        Ok(pidfd_send_signal(&self.pidfd, Signal::KILL)?)
    }

    /// Sends SIGSTOP.
    ///
    /// # Errors
    /// As for [`Self::kill`].
    pub fn stop(&self) -> Result<(), ProcessError> {
        Ok(pidfd_send_signal(&self.pidfd, Signal::STOP)?)
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    /// As for [`Self::kill`].
    pub fn resume(&self) -> Result<(), ProcessError> {
        Ok(pidfd_send_signal(&self.pidfd, Signal::CONT)?)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_is_held_and_ends_is_not_mistaken() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        assert!(!process.has_exited());
        assert_eq!(process.kill(), Ok(()));
        child.wait().unwrap();
        assert!(process.has_exited());
        assert_eq!(process.kill(), Err(ProcessError::Exited));
        assert!(matches!(Process::open(child.id()), Err(ProcessError::Exited)));
    }

    #[test]
    fn numbers_that_are_no_process_are_refused() {
        for tgid in [0, u32::MAX] {
            let error = Process::open(tgid).unwrap_err();
            assert_eq!(error, ProcessError::Refused(Errno::INVAL.raw_os_error()));
        }
    }
}
