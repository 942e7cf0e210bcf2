//! When the log of all engines is told how much there was, and how much since the last time.

use crate::status::{Events, Period};

/// From one line to the next, ns.
const INTERVAL: u64 = 60_000_000_000;

/// What was told last.
#[derive(Debug, Default)]
pub struct Periods {
    /// Since when (CLOCK_BOOTTIME, ns); `None` before anything was counted.
    since: Option<u64>,
    events: Events,
    left_out: (u64, u64),
}

impl Periods {
    /// What is to be told at `now`, where `events` became of all until then and so many alerts were folded
    /// and withheld; `None` while it is not time to, unless it is the `last` time.
    pub fn next(
        &mut self,
        now: u64,
        events: &Events,
        left_out: (u64, u64),
        last: bool,
    ) -> Option<Period> {
        let since = *self.since.get_or_insert(now);
        let period = now.saturating_sub(since);
        if period < INTERVAL && !last {
            return None;
        }
        let before = std::mem::replace(&mut self.events, events.clone());
        let (folded, withheld) = std::mem::replace(&mut self.left_out, left_out);
        self.since = Some(now);
        Some(Period {
            period,
            events: events.since(&before),
            alerts_folded: left_out.0.saturating_sub(folded),
            alerts_withheld: left_out.1.saturating_sub(withheld),
        })
    }

    /// What comes next is another stream, which counts from 0.
    pub fn begin(&mut self) {
        (self.since, self.events) = (None, Events::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(execs: u64) -> Events {
        Events { execs, processed: 2 * execs, ..Events::default() }
    }

    #[test]
    fn the_periods_add_up_to_all_there_was() {
        let mut periods = Periods::default();
        assert_eq!(periods.next(7, &events(0), (0, 0), false), None);
        assert_eq!(periods.next(INTERVAL, &events(5), (1, 0), false), None, "not yet");
        let first = periods.next(INTERVAL + 7, &events(8), (1, 0), false).unwrap();
        let last = periods.next(INTERVAL + 9, &events(10), (4, 2), true).unwrap();
        assert_eq!((first.period + last.period, first.events.execs), (INTERVAL + 2, 8));
        assert_eq!((last.events.execs, last.events.processed), (2, 4));
        assert_eq!((first.alerts_folded, last.alerts_folded, last.alerts_withheld), (1, 3, 2));
    }

    #[test]
    fn a_sensor_that_was_started_anew_is_counted_on() {
        let mut periods = Periods::default();
        periods.next(0, &Events { seen: 100, ..events(50) }, (0, 0), true).unwrap();
        let next = periods.next(9, &Events { seen: 30, ..events(60) }, (0, 0), true).unwrap();
        assert_eq!((next.events.seen, next.events.execs), (30, 10));
    }
}
