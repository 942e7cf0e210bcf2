//! Alerts to the local syslog socket, one datagram each, without ever waiting for its reader.
//!
//! The socket is connected before the sandbox closes and cannot be connected again inside it.

use std::{
    fmt::Write as _,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, send},
};

use self::line::datagram;
use crate::{alert::Alert, configuration::SyslogTarget};

mod line;

/// From one word about losses to the next.
const INTERVAL: Duration = Duration::from_secs(60);

/// A connection to syslog.
#[derive(Debug)]
pub struct Syslog {
    target: SyslogTarget,
    socket: UnixDatagram,
    pid: u32,
    losses: Losses,
}

impl Syslog {
    /// Connects.
    ///
    /// # Errors
    /// A sentence with the path and what to do.
    pub fn connect(target: &SyslogTarget) -> Result<Self, String> {
        let SyslogTarget::Unix(path) = target;
        let connected = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(path)?;
            Ok(socket)
        });
        let socket = connected.map_err(|error| {
            let errno = error.raw_os_error().map(Errno::from_raw);
            format!("cannot send to syslog at {}: {error}; {}", path.display(), hint(errno))
        })?;
        let pid = std::process::id();
        Ok(Self { target: target.clone(), socket, pid, losses: Losses::default() })
    }

    /// Where it goes.
    pub fn target(&self) -> &SyslogTarget {
        &self.target
    }

    /// Sends `alert`, or counts it as lost.
    pub fn send(&mut self, alert: &Alert) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let datagram = datagram(alert, self.pid);
        let sent = loop {
            match send(self.socket.as_raw_fd(), &datagram, flags) {
                Err(Errno::EINTR) => {}
                sent => break sent,
            }
        };
        if let Err(errno) = sent {
            self.losses.add(errno);
        }
    }

    /// What has not been said yet about lost alerts: at once the first time, then at intervals, and
    /// when it is the `last` time.
    pub fn take_losses(&mut self, last: bool) -> Option<String> {
        let SyslogTarget::Unix(path) = &self.target;
        self.losses.take(Instant::now(), last, path)
    }
}

fn hint(errno: Option<Errno>) -> &'static str {
    match errno {
        Some(Errno::EPROTOTYPE) => "it must be a datagram socket",
        Some(Errno::EACCES) => "this user must be allowed to write to it",
        _ => "is a syslog daemon running? --syslog=unix:PATH names another socket",
    }
}

/// Alerts that syslog did not take.
#[derive(Debug, Default)]
struct Losses {
    untold: u64,
    /// Why the last one was lost.
    errno: Option<Errno>,
    told_at: Option<Instant>,
}

impl Losses {
    fn add(&mut self, errno: Errno) {
        self.untold += 1;
        self.errno = Some(errno);
    }

    fn take(&mut self, now: Instant, last: bool, path: &Path) -> Option<String> {
        let is_due = self.told_at.is_none_or(|then| now.duration_since(then) >= INTERVAL);
        let errno = self.errno.filter(|_| self.untold > 0 && (last || is_due))?;
        self.told_at = Some(now);
        let untold = std::mem::take(&mut self.untold);
        let mut sentence = match untold {
            1 => "1 alert did not reach".to_owned(),
            _ => format!("{untold} alerts did not reach"),
        };
        let _infallible = write!(sentence, " syslog at {}: {}", path.display(), errno.desc());
        sentence.push_str(match errno {
            // The second one is what follows the first: the kernel has taken the connection away.
            Errno::ECONNREFUSED | Errno::ENOTCONN | Errno::ECONNRESET | Errno::EPIPE => {
                "; its daemon has gone or was started anew, and Sentinel cannot connect again from \
                 inside its sandbox: restart Sentinel"
            }
            Errno::EAGAIN | Errno::ENOBUFS => "; its daemon reads too slowly or not at all",
            _ => "",
        });
        Some(sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Analysis;

    fn bed() -> (tempfile::TempDir, SyslogTarget, UnixDatagram) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        (directory, SyslogTarget::Unix(path), daemon)
    }

    #[test]
    fn a_daemon_that_does_not_read_holds_nobody_up_and_is_told_once_in_a_while() {
        let (_directory, target, daemon) = bed();
        let mut syslog = Syslog::connect(&target).unwrap();
        let alert = Analysis::new(false).breaker_tripped(1);
        while syslog.losses.untold < 3 {
            syslog.send(&alert);
        }
        let told = syslog.take_losses(false).unwrap();
        assert!(told.starts_with("3 alerts did not reach syslog at /"), "{told}");
        assert!(told.contains("too slowly"), "{told}");
        syslog.send(&alert);
        assert_eq!(syslog.take_losses(false), None, "not again so soon");
        assert!(syslog.take_losses(true).unwrap().starts_with("1 alert did not"));
        assert_eq!(syslog.take_losses(true), None);
        let mut datagram = [0; 2048];
        let length = daemon.recv(&mut datagram).unwrap();
        assert!(datagram[..length].starts_with(b"<82>"));
        syslog.send(&alert);
        assert_eq!(syslog.losses.untold, 0, "there is room again");
    }

    #[test]
    fn losses_are_told_again_after_a_while() {
        let (mut losses, path) = (Losses::default(), Path::new("/dev/log"));
        let now = Instant::now();
        losses.add(Errno::EAGAIN);
        assert!(losses.take(now, false, path).is_some());
        losses.add(Errno::EAGAIN);
        assert!(losses.take(now + INTERVAL / 2, false, path).is_none());
        losses.add(Errno::EAGAIN);
        let told = losses.take(now + INTERVAL, false, path).unwrap();
        assert!(told.starts_with("2 alerts"), "{told}");
        assert!(losses.take(now + 2 * INTERVAL, false, path).is_none());
    }

    #[test]
    fn a_daemon_that_was_started_anew_is_told() {
        let (_directory, target, daemon) = bed();
        let mut syslog = Syslog::connect(&target).unwrap();
        drop(daemon);
        let SyslogTarget::Unix(path) = &target;
        std::fs::remove_file(path).unwrap();
        let _new_daemon = UnixDatagram::bind(path).unwrap();
        let alert = Analysis::new(false).breaker_tripped(1);
        for _ in 0..2 {
            syslog.send(&alert);
            assert!(syslog.take_losses(true).unwrap().contains("restart Sentinel"));
        }
    }

    #[test]
    fn who_is_not_there_cannot_be_connected_to() {
        let (directory, target, daemon) = bed();
        drop(daemon);
        assert!(Syslog::connect(&target).unwrap_err().contains("is a syslog daemon running?"));
        let path = directory.path().join("stream");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let refused = Syslog::connect(&SyslogTarget::Unix(path)).unwrap_err();
        assert!(refused.contains("must be a datagram socket"), "{refused}");
    }
}
