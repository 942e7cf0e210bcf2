//! How long to wait before a peer is tried again.

use std::time::{Duration, Instant};

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// At most.
const LONGEST: Duration = Duration::from_secs(60);

/// Pauses that double with each failure. A connection that lasted shorter than the longest pause is a failure
/// too: a peer that accepts and hangs up is not besieged.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    next: Duration,
    connected: Option<Instant>,
}

impl BackOff {
    /// The pause after a try that failed.
    pub(super) fn failed(&mut self) -> Duration {
        let pause = self.next.max(FIRST);
        self.next = (pause * 2).min(LONGEST);
        pause
    }

    /// A try came to a connection.
    pub(super) fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// The pause before another connection is made; none before the first one.
    pub(super) fn asked(&mut self, now: Instant) -> Duration {
        match self.connected.take() {
            None => Duration::ZERO,
            Some(then) if now.duration_since(then) >= LONGEST => {
                self.next = FIRST;
                Duration::ZERO
            }
            Some(_) => self.failed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.asked(Instant::now()), Duration::ZERO);
        let pauses: Vec<_> = (0..8).map(|_| back_off.failed().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn who_hangs_up_soon_is_tried_less_and_less_often() {
        let mut back_off = BackOff::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..3 {
            back_off.connected(now);
            now += SECOND;
            pauses.push(back_off.asked(now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4]);
        back_off.connected(now);
        assert_eq!(back_off.asked(now + LONGEST), Duration::ZERO, "one that lasted counts as new");
        assert_eq!(back_off.failed(), SECOND);
    }
}
