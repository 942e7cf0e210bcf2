//! Alerts to syslog, on this host or on a server, without ever waiting for it.
//!
//! What cannot be sent now waits in a spool of bounded size. Connections come from the connector
//! ([`crate::connector`]), which is asked for a new one when the present one ends.

use std::{
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::gethostname,
};
use serde::{Deserialize, Serialize};

use self::{
    connection::Connection,
    message::Form,
    news::{News, Trouble},
    spool::{Message, Spool},
};
use crate::{
    alert::Alert,
    configuration::SyslogTarget,
    connector::{Connector, Heard},
};

pub use message::STRUCTURED_DATA_ID;

mod connection;
mod line;
mod message;
mod news;
mod spool;

/// How long `sentinel run` waits for the first connection: longer than a server may take to answer.
const FIRST_LIMIT: Duration = Duration::from_secs(12);
/// Words of the connector that are taken before the rest gets its turn; it has one or two to say.
const WORDS_A_TURN: u32 = 16;
/// How long the end of Sentinel waits for what is spooled.
const LAST_LIMIT: Duration = Duration::from_millis(500);

/// The way to syslog.
#[derive(Debug)]
pub struct Syslog {
    target: SyslogTarget,
    form: Form,
    /// `None` when nothing more will come of it.
    connector: Option<Connector>,
    connection: Option<Connection>,
    spool: Spool,
    news: News,
    /// Messages that the system took.
    sent: u64,
}

/// How it gets on, for `sentinel status`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogState {
    /// Where it goes, as it is configured.
    pub target: String,
    /// Whether there is a connection; over UDP, whether nothing was refused so far.
    pub is_connected: bool,
    /// Alerts that were sent.
    pub sent: u64,
    /// Alerts that wait.
    pub waiting: u64,
    /// Alerts that did not and will not arrive.
    pub lost: u64,
}

impl Syslog {
    /// Starts the connector. To be called before anything is given up, and before there are threads.
    ///
    /// # Errors
    /// A sentence.
    pub fn start(target: &SyslogTarget) -> Result<Self, String> {
        let connector = Connector::start(target)
            .map_err(|error| format!("cannot start the connector to syslog: {error}"))?;
        Ok(Self::with(Some(connector), target))
    }

    fn with(connector: Option<Connector>, target: &SyslogTarget) -> Self {
        let host = gethostname().unwrap_or_default();
        Self {
            target: target.clone(),
            form: Form::of(target, &host.to_string_lossy(), std::process::id()),
            connector,
            connection: None,
            spool: Spool::default(),
            news: News::default(),
            sent: 0,
        }
    }

    /// Waits for the first connection.
    ///
    /// # Errors
    /// A sentence with the target and what to do, when the first try fails.
    pub fn await_first(&mut self) -> Result<(), String> {
        let end = Instant::now() + FIRST_LIMIT;
        while self.connection.is_none() && self.news.trouble().is_none() && Instant::now() < end {
            let Some(connector) = &self.connector else { break };
            let mut fds = [PollFd::new(connector.as_fd(), PollFlags::POLLIN)];
            // Interrupted or not, it is looked at again.
            let _ready = poll(&mut fds, PollTimeout::from(100_u8));
            self.hear();
        }
        if self.connection.is_some() {
            return Ok(());
        }
        let trouble = self.news.trouble().cloned().unwrap_or(Trouble::Refused(Errno::ETIMEDOUT));
        Err(format!("cannot send to syslog at {}: {trouble}", self.target))
    }

    /// Where it goes.
    pub fn target(&self) -> &SyslogTarget {
        &self.target
    }

    /// How it gets on.
    pub fn state(&self) -> SyslogState {
        SyslogState {
            target: self.target.to_string(),
            is_connected: self.connection.is_some(),
            sent: self.sent,
            waiting: u64::try_from(self.spool.len()).unwrap_or(u64::MAX),
            lost: self.news.lost(),
        }
    }

    /// Sends `alert`, or keeps it until it can be sent.
    pub fn send(&mut self, alert: &Alert) {
        let bytes = self.form.message(alert);
        let message = Message { severity: alert.severity, bytes, was_sent: false };
        let left_out = self.spool.push(message);
        if left_out > 0 {
            self.news.lose(left_out);
        }
        self.advance();
    }

    /// Takes a connection that is there, and sends what can be sent. To be called now and then.
    pub fn advance(&mut self) {
        self.hear();
        let Some(connection) = &mut self.connection else { return };
        let flushed = connection.flush(&mut self.spool);
        self.sent = self.sent.saturating_add(flushed.sent);
        if let Some((count, errno)) = flushed.unfit {
            self.news.lose_unfit(count, errno);
        }
        match flushed.ended {
            None => self.news.see_flow(self.spool.is_empty()),
            Some(errno) => {
                self.connection = None;
                self.news.see(Trouble::Refused(errno));
                if let Some(connector) = &mut self.connector {
                    connector.ask();
                }
            }
        }
    }

    /// Hears what the connector has said.
    fn hear(&mut self) {
        for _ in 0..WORDS_A_TURN {
            let Some(heard) = self.connector.as_mut().and_then(Connector::hear) else { break };
            match heard {
                Heard::Connected(socket) => {
                    self.connection = Some(Connection::new(socket, &self.target));
                    self.news.see_connection();
                }
                Heard::Refused(errno) => self.news.see(Trouble::Refused(errno)),
                Heard::Unresolved => self.news.see(Trouble::Unresolved),
                Heard::Gone(how) => {
                    self.connector = None;
                    self.news.see_end(how);
                }
            }
        }
    }

    /// What has not been said yet about the connection and lost alerts: at once the first time, then at
    /// intervals. The `last` time what still waits gets a moment to leave, and is lost then.
    pub fn take_losses(&mut self, last: bool) -> Option<String> {
        if last {
            let end = Instant::now() + LAST_LIMIT;
            self.advance();
            while !self.spool.is_empty() && self.can_send() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
                self.advance();
            }
            let left = u64::try_from(self.spool.len()).unwrap_or(u64::MAX);
            self.news.lose(left);
            self.spool = Spool::default();
        }
        self.news.take(Instant::now(), last, &self.target)
    }

    /// Whether there is a connection, or may be one soon.
    fn can_send(&self) -> bool {
        self.connection.is_some() || (self.connector.is_some() && self.news.trouble().is_none())
    }
}

#[cfg(test)]
mod tests;
