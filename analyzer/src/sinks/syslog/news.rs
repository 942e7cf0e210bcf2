//! What there is to say about the way to syslog: that it is closed or open again, and what was lost.

use std::{
    fmt,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::spool::MAX_MESSAGES;
use crate::configuration::SyslogTarget;

/// From one word about the same thing to the next.
const INTERVAL: Duration = Duration::from_secs(60);

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The system's reason.
    Refused(Errno),
    /// The name of the server is not known.
    Unresolved,
    /// The connector is gone, and how.
    Gone(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(errno) => {
                write!(to, "{}", errno.desc())?;
                match errno {
                    Errno::EPROTOTYPE => write!(to, "; it must be a datagram socket"),
                    Errno::EACCES => write!(to, "; this user must be allowed to write to it"),
                    Errno::ENOENT | Errno::ECONNREFUSED => {
                        write!(to, "; is a syslog daemon running there?")
                    }
                    Errno::EPERM | Errno::ENETUNREACH | Errno::EAFNOSUPPORT => write!(
                        to,
                        "; as a service it reaches a server only with \
                         /usr/share/doc/sentinel/examples/network-syslog.conf"
                    ),
                    _ => Ok(()),
                }
            }
            Self::Unresolved => write!(
                to,
                "nobody knows an address of that name; give an address, or look at /etc/resolv.conf and \
                 /etc/hosts"
            ),
            Self::Gone(how) => {
                write!(to, "the connector is gone: {how}; restart Sentinel for a new one")
            }
        }
    }
}

/// Whether there is a way, and what of that was told.
#[derive(Debug, Default)]
pub(super) struct News {
    has_connection: bool,
    /// How the connector ended, while there is a connection still.
    orphaned: Option<String>,
    /// Whether that was told.
    is_end_told: bool,
    trouble: Option<Trouble>,
    /// Whether messages wait although there is a connection.
    is_stuck: bool,
    /// Whether `trouble` was told, and its end not yet.
    is_told: bool,
    trouble_told_at: Option<Instant>,
    lost: u64,
    untold: u64,
    /// Why messages cannot be sent at all.
    unfit: Option<Errno>,
    losses_told_at: Option<Instant>,
}

impl News {
    /// Why there is no connection; `None` if there is one, or none was tried for yet.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Messages that were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// There is no connection.
    pub(super) fn see(&mut self, trouble: Trouble) {
        self.has_connection = false;
        match (self.orphaned.take(), &self.trouble) {
            (Some(how), _) => self.see_end(how),
            // The end of the story.
            (None, Some(Trouble::Gone(_))) => {}
            (None, _) => self.trouble = Some(trouble),
        }
    }

    pub(super) fn see_connection(&mut self) {
        self.has_connection = true;
        self.trouble = None;
    }

    /// The connector has ended, `how` is in words: there will be no other connection than the present one.
    pub(super) fn see_end(&mut self, how: String) {
        if self.has_connection {
            self.orphaned = Some(how);
            return;
        }
        self.trouble = Some(Trouble::Gone(how));
        // It is told whatever was told before it.
        (self.is_told, self.trouble_told_at) = (false, None);
    }

    /// The connection takes messages, and all of them if it `is_idle` now.
    pub(super) fn see_flow(&mut self, is_idle: bool) {
        self.is_stuck = !is_idle;
    }

    pub(super) fn lose(&mut self, count: u64) {
        self.lost += count;
        self.untold += count;
    }

    pub(super) fn lose_unfit(&mut self, count: u64, errno: Errno) {
        self.unfit = Some(errno);
        self.lose(count);
    }

    /// The next thing to say, if it is time to: of losses, else of the connection.
    pub(super) fn take(
        &mut self,
        now: Instant,
        last: bool,
        target: &SyslogTarget,
    ) -> Option<String> {
        let is_due =
            |then: Option<Instant>| then.is_none_or(|then| now.duration_since(then) >= INTERVAL);
        if self.untold > 0 && (last || is_due(self.losses_told_at)) {
            self.losses_told_at = Some(now);
            return Some(self.losses(target));
        }
        if let Some(how) = &self.orphaned
            && !std::mem::replace(&mut self.is_end_told, true)
        {
            return Some(format!(
                "the connector to syslog at {target} is gone: {how}; alerts are sent on the connection that \
                 is there, and are lost once that ends: restart Sentinel for a new one"
            ));
        }
        match &self.trouble {
            Some(trouble) if !self.is_told && is_due(self.trouble_told_at) => {
                self.is_told = true;
                self.trouble_told_at = Some(now);
                let kept = match trouble {
                    Trouble::Gone(_) => "what is sent to it is lost".to_owned(),
                    _ => format!(
                        "up to {MAX_MESSAGES} alerts are kept for it, and it is tried again"
                    ),
                };
                Some(format!("no connection to syslog at {target}: {trouble}; {kept}"))
            }
            None if self.is_told => {
                self.is_told = false;
                Some(format!("there is a connection to syslog at {target} again"))
            }
            _ => None,
        }
    }

    fn losses(&mut self, target: &SyslogTarget) -> String {
        let lost = match std::mem::take(&mut self.untold) {
            1 => "1 alert did not reach".to_owned(),
            count => format!("{count} alerts did not reach"),
        };
        let why = match (self.unfit.take(), &self.trouble) {
            (Some(errno), _) => errno.desc().to_owned(),
            (None, Some(trouble)) => trouble.to_string(),
            (None, None) if self.is_stuck => "it reads too slowly or not at all".to_owned(),
            (None, None) => "there was no time to connect".to_owned(),
        };
        format!("{lost} syslog at {target}: {why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Trouble = Trouble::Refused(Errno::ECONNREFUSED);

    #[test]
    fn losses_are_told_at_once_then_at_intervals_and_at_the_end() {
        let (mut news, target) = (News::default(), SyslogTarget::default());
        let now = Instant::now();
        news.see_flow(false);
        news.lose(1);
        let told = news.take(now, false, &target).unwrap();
        assert!(
            told.starts_with("1 alert did not reach syslog at unix:/dev/log: it reads"),
            "{told}"
        );
        news.lose(1);
        assert!(news.take(now + INTERVAL / 2, false, &target).is_none());
        news.lose(1);
        let told = news.take(now + INTERVAL, false, &target).unwrap();
        assert!(told.starts_with("2 alerts"), "{told}");
        news.lose_unfit(4, Errno::EMSGSIZE);
        assert!(news.take(now + INTERVAL, true, &target).unwrap().starts_with("4 alerts"));
        assert!(news.take(now + 2 * INTERVAL, true, &target).is_none());
        assert_eq!(news.lost(), 7);
    }

    #[test]
    fn an_interruption_is_told_once_and_so_is_its_end() {
        let (mut news, target) = (News::default(), "tcp:loghost:514".parse().unwrap());
        let now = Instant::now();
        news.see_connection();
        assert!(news.take(now, false, &target).is_none());
        for _ in 0..3 {
            news.see(REFUSED);
        }
        let told = news.take(now, false, &target).unwrap();
        assert!(told.starts_with("no connection to syslog at tcp:loghost:514: "), "{told}");
        assert!(told.contains("is a syslog daemon running"), "{told}");
        news.see(REFUSED);
        assert!(news.take(now + INTERVAL, false, &target).is_none());
        news.see_connection();
        assert!(news.take(now + INTERVAL, false, &target).unwrap().ends_with(" again"));
        assert!(news.take(now + INTERVAL, false, &target).is_none());
    }

    #[test]
    fn a_connection_that_comes_and_goes_does_not_fill_the_journal() {
        let (mut news, target) = (News::default(), SyslogTarget::default());
        let now = Instant::now();
        let mut told = 0;
        for second in 0..600 {
            news.see(REFUSED);
            told +=
                usize::from(news.take(now + Duration::from_secs(second), false, &target).is_some());
            news.see_connection();
            told +=
                usize::from(news.take(now + Duration::from_secs(second), false, &target).is_some());
        }
        assert_eq!(told, 20);
    }

    #[test]
    fn that_the_connector_is_gone_is_the_last_word() {
        let (mut news, target) = (News::default(), SyslogTarget::default());
        let now = Instant::now();
        news.see(REFUSED);
        assert!(news.take(now, false, &target).is_some());
        news.see_end("SIGKILL".to_owned());
        news.see(REFUSED);
        let told = news.take(now, false, &target).unwrap();
        assert!(told.contains("SIGKILL") && told.contains("restart Sentinel"), "{told}");
        assert!(told.starts_with("no connection") && told.ends_with("is lost"), "{told}");
        assert!(news.take(now + INTERVAL, false, &target).is_none());
    }

    #[test]
    fn a_connection_outlives_its_connector_and_that_is_what_is_told() {
        let (mut news, target) = (News::default(), SyslogTarget::default());
        let now = Instant::now();
        news.see_connection();
        news.see_end("SIGKILL".to_owned());
        assert_eq!(news.trouble(), None, "alerts arrive");
        let told = news.take(now, false, &target).unwrap();
        assert!(told.starts_with("the connector to syslog") && told.contains("SIGKILL"), "{told}");
        assert!(told.contains("on the connection that is there"), "{told}");
        assert!(news.take(now + INTERVAL, false, &target).is_none());
        news.see(REFUSED);
        let told = news.take(now, false, &target).unwrap();
        assert!(told.starts_with("no connection") && told.contains("SIGKILL"), "{told}");
    }
}
