//! Words to the service manager (sd_notify(3)): ready, alive, stopping.

use std::{
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::ffi::OsStrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::{Duration, Instant},
};

/// The connection to the service manager; does nothing where there is none.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// From one sign of life to the next, where somebody waits for them.
    interval: Option<Duration>,
    next: Instant,
}

impl Notifier {
    /// Connects to the service manager that the environment names. Call it before the sandbox.
    ///
    /// # Errors
    /// When one is named and cannot be reached.
    pub fn from_environment() -> io::Result<Self> {
        let socket = std::env::var_os("NOTIFY_SOCKET").map(connect).transpose()?;
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_meant = number("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().into());
        // Twice as often as needed, as sd_watchdog_enabled(3) advises.
        let interval = number("WATCHDOG_USEC")
            .filter(|&limit| is_meant && limit > 0)
            .map(|limit| Duration::from_micros(limit / 2));
        Ok(Self { socket, interval, next: Instant::now() })
    }

    /// The service does its work from now on.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The service ends because it was asked to.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// How things are, in one line for people.
    pub fn state(&self, line: &str) {
        self.tell(&format!("STATUS={line}"));
    }

    /// Gives a sign of life if one is due; call it whenever work goes on. Returns how long it may take
    /// until the next one.
    pub fn alive(&mut self) -> Option<Duration> {
        let interval = self.interval?;
        let now = Instant::now();
        if now >= self.next {
            self.tell("WATCHDOG=1");
            self.next = now + interval;
        }
        Some(self.next - now)
    }

    /// One that does not read goes without.
    fn tell(&self, what: &str) {
        if let Some(socket) = &self.socket {
            let _sent = socket.send(what.as_bytes());
        }
    }
}

/// A path, or behind an `@` the name of an abstract socket.
fn connect(name: OsString) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_come_no_more_often_than_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = Some(connect(path.into()).unwrap());
        let interval = Some(Duration::from_secs(60));
        let mut notifier = Notifier { socket, interval, next: Instant::now() };
        let mut heard = [0; 64];
        notifier.ready();
        assert_eq!(manager.recv(&mut heard).unwrap(), b"READY=1".len());
        assert!(notifier.alive().unwrap() > Duration::from_secs(50));
        assert_eq!(manager.recv(&mut heard).unwrap(), b"WATCHDOG=1".len());
        assert!(notifier.alive().unwrap() > Duration::from_secs(50));
        assert!(manager.recv(&mut heard).is_err(), "not due");
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let mut notifier = Notifier { socket: None, interval: None, next: Instant::now() };
        notifier.ready();
        assert_eq!(notifier.alive(), None);
    }
}
