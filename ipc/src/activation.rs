//! Sockets that the service manager opened and handed over (sd_listen_fds(3)).

use std::{
    fmt,
    os::fd::{FromRawFd, OwnedFd},
};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

/// The first descriptor that is handed over.
const FIRST: i32 = 3;
/// More than any service here has.
const MAX_SOCKETS: i32 = 16;

/// The sockets, by the names that their units give them (`FileDescriptorName=`).
#[derive(Debug)]
pub struct Sockets {
    named: Vec<(String, OwnedFd)>,
}

/// Why the sockets cannot be taken over.
#[derive(Debug, PartialEq, Eq)]
pub enum ActivationError {
    /// This environment variable says nothing sensible.
    Variable(&'static str, String),
    /// There is no such descriptor.
    NoDescriptor(i32),
    /// No socket has this name.
    Missing(&'static str),
}

impl fmt::Display for ActivationError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name, value) => write!(to, "{name}={value:?}: set by another program?"),
            Self::NoDescriptor(number) => write!(to, "descriptor {number} was not handed over"),
            Self::Missing(name) => {
                write!(to, "no socket named {name} was handed over; start it by its systemd units")
            }
        }
    }
}

impl std::error::Error for ActivationError {}

/// What the environment says was handed over to this process: names by descriptor, from [`FIRST`] on.
fn handed_over(
    variable: impl Fn(&'static str) -> Option<String>,
    own_pid: u32,
) -> Result<Option<Vec<String>>, ActivationError> {
    let wrong = |name, value: String| ActivationError::Variable(name, value);
    let Some(pid) = variable("LISTEN_PID") else { return Ok(None) };
    if pid.parse() != Ok(own_pid) {
        // Meant for a parent.
        return Ok(None);
    }
    let count = variable("LISTEN_FDS").unwrap_or_default();
    let number = match count.parse::<i32>() {
        Ok(number @ 1..=MAX_SOCKETS) => number,
        _ => return Err(wrong("LISTEN_FDS", count)),
    };
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let named: Vec<String> = names.split(':').map(str::to_owned).collect();
    if i32::try_from(named.len()) != Ok(number) {
        return Err(wrong("LISTEN_FDNAMES", names));
    }
    Ok(Some(named))
}

/// The open descriptor with this number, which a parent handed to this process, from now on marked to close
/// on exec and not to block. Call it once a number, and before anything is opened.
///
/// # Errors
/// When it is not open, or one of the standard streams.
pub fn taken_over(number: i32) -> Result<OwnedFd, ActivationError> {
    if number < FIRST {
        return Err(ActivationError::NoDescriptor(number));
    }
    #[expect(unsafe_code, reason = "descriptors are handed over as bare numbers")]
    // SAFETY: only looked at during this call, which fails if it is not open.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    let prepared = fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .and_then(|_| fcntl(borrowed, FcntlArg::F_GETFL))
        .map(|flags| OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK)
        .and_then(|flags| fcntl(borrowed, FcntlArg::F_SETFL(flags)));
    prepared.map_err(|_| ActivationError::NoDescriptor(number))?;
    #[expect(unsafe_code, reason = "descriptors are handed over as bare numbers")]
    // SAFETY: it is open, and was given to this process, which takes each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

impl Sockets {
    /// Takes over what was handed to this process; `None` if it was not started so. Call it once, and
    /// before anything is opened.
    ///
    /// # Errors
    /// When the environment contradicts itself or the open descriptors.
    pub fn inherited() -> Result<Option<Self>, ActivationError> {
        let variable = |name| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
        let Some(names) = handed_over(variable, std::process::id())? else { return Ok(None) };
        let mut named = Vec::with_capacity(names.len());
        for (number, name) in (FIRST..).zip(names) {
            named.push((name, taken_over(number)?));
        }
        Ok(Some(Self { named }))
    }

    /// The socket called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn take(&mut self, name: &'static str) -> Result<OwnedFd, ActivationError> {
        let place = self.named.iter().position(|(found, _)| found == name);
        place.map(|place| self.named.swap_remove(place).1).ok_or(ActivationError::Missing(name))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.named.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(variables: &[(&str, &str)]) -> Result<Option<Vec<String>>, ActivationError> {
        let variable = |name: &str| {
            variables.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned())
        };
        handed_over(variable, 7)
    }

    #[test]
    fn what_is_meant_for_this_process_is_taken_by_name() {
        let all = [("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "one:two")];
        assert_eq!(names(&all), Ok(Some(vec!["one".into(), "two".into()])));
    }

    #[test]
    fn what_is_meant_for_another_is_left_alone() {
        assert_eq!(names(&[]), Ok(None));
        assert_eq!(names(&[("LISTEN_PID", "8"), ("LISTEN_FDS", "x")]), Ok(None));
    }

    #[test]
    fn what_is_not_open_was_not_handed_over() {
        for number in [-1, 0, 2, 1 << 20] {
            assert_eq!(taken_over(number).unwrap_err(), ActivationError::NoDescriptor(number));
        }
    }

    #[test]
    fn contradictions_are_named() {
        for (count, listed, named) in [
            ("0", "a", "LISTEN_FDS"),
            ("-1", "a", "LISTEN_FDS"),
            ("17", "a", "LISTEN_FDS"),
            ("", "a", "LISTEN_FDS"),
            ("2", "a", "LISTEN_FDNAMES"),
        ] {
            let all = [("LISTEN_PID", "7"), ("LISTEN_FDS", count), ("LISTEN_FDNAMES", listed)];
            assert!(names(&all).unwrap_err().to_string().starts_with(named), "{count} {listed}");
        }
    }
}
