//! How urgent records reach the loader: at once, or, while they keep coming, several together.
//!
//! Each time the loader and the analyzer are woken takes some 100 µs of a processor each, which those who are watched
//! lack. A record after a while of quiet wakes them; who makes many has them told together. What may be where
//! somebody's commands come from wakes them in any case (`loader-ebpf/src/emit.rs`).

use std::time::{Duration, Instant};

/// How long a record may lie in its ring while many come.
pub const TOGETHER: Duration = Duration::from_millis(16);
/// Rounds in quick succession before that.
const BURST: u32 = 16;
/// Rounds with one record at most after which the next one is told at once again.
const QUIET: u32 = 4;
/// Rounds after those that come as soon: who was interrupted while he wrote a record believes that nobody is to be
/// woken, and who comes later finds that somebody has been.
const STRAGGLERS: u32 = 16;

/// The pace at present.
#[derive(Debug)]
pub struct Pace {
    /// Each round with records moves it on by [`TOGETHER`], as time does by itself: how far it is ahead says how
    /// many there were lately.
    used_until: Instant,
    is_together: bool,
    quiet: u32,
    /// Rounds to come for stragglers.
    after: u32,
}

impl Pace {
    /// At once.
    pub fn new(now: Instant) -> Self {
        Self { used_until: now, is_together: false, quiet: 0, after: 0 }
    }

    /// Whether records are told together.
    pub fn is_together(&self) -> bool {
        self.is_together
    }

    /// Whether the next round is to come after [`TOGETHER`], whoever calls or not.
    pub fn comes_soon(&self) -> bool {
        self.is_together || self.after > 0
    }

    /// A round has taken so many urgent records; whether that changes how they are told.
    pub fn round(&mut self, now: Instant, urgent: u64) -> bool {
        let before = self.is_together;
        if self.is_together {
            self.quiet = if urgent <= 1 { self.quiet + 1 } else { 0 };
            if self.quiet == QUIET {
                *self = Self { after: STRAGGLERS, ..Self::new(now) };
            }
        } else {
            self.after = self.after.saturating_sub(1);
            if urgent > 0 {
                self.used_until = self.used_until.max(now) + TOGETHER;
                self.is_together = self.used_until > now + TOGETHER * BURST;
            }
        }
        self.is_together != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Much sooner than together.
    fn soon() -> Duration {
        TOGETHER * 3 / 40
    }

    /// At what rounds of these, so far apart and with so many records, the pace changes.
    fn changes(rounds: &[(Duration, u64)]) -> Vec<usize> {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut changed = Vec::new();
        for (index, (after, urgent)) in rounds.iter().enumerate() {
            now += *after;
            changed.extend(pace.round(now, *urgent).then_some(index));
        }
        changed
    }

    #[test]
    fn a_few_records_are_told_at_once_and_many_together() {
        let soon = soon();
        assert_eq!(changes(&[(soon, 1); 16]), []);
        let many = vec![(TOGETHER, 13); 100];
        assert_eq!(changes(&[vec![(soon, 1); 18], many].concat()), [17]);
        // As often as they would be told together.
        assert_eq!(changes(&[(TOGETHER, 5); 10_000]), []);
        // Rounds for other reasons do not count.
        assert_eq!(changes(&[(soon, 0); 100]), []);
    }

    #[test]
    fn after_a_while_of_quiet_a_record_is_told_at_once_again() {
        let soon = soon();
        let busy = vec![(soon, 1); 18];
        let still = [(TOGETHER, 3), (TOGETHER, 0), (TOGETHER, 1), (TOGETHER, 0), (TOGETHER, 2)];
        assert_eq!(changes(&[busy.clone(), still.to_vec()].concat()), [17]);
        assert_eq!(changes(&[busy.clone(), vec![(TOGETHER, 0); 4]].concat()), [17, 21]);
        // Nobody can keep all others slow with a record now and then.
        assert_eq!(changes(&[busy.clone(), vec![(TOGETHER, 1); 4]].concat()), [17, 21]);
        // And it has the whole burst before it again.
        assert_eq!(
            changes(&[busy, vec![(TOGETHER, 0); 4], vec![(soon, 1); 16]].concat()),
            [17, 21]
        );
    }

    #[test]
    fn after_many_records_somebody_looks_for_stragglers_for_a_while() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut round = |urgent| {
            now += soon();
            pace.round(now, urgent);
            pace.comes_soon()
        };
        assert!((0..17).all(|_| !round(1)) && (0..3).all(|_| round(3)));
        assert!((0..4 + STRAGGLERS - 1).all(|_| round(0)) && !round(0));
    }
}
