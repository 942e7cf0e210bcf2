//! Whether the sensor can be believed: what it lost, whether its canaries arrive, when nobody
//! listened. Each of these is told as an alert of the engine `sensor`.

use std::{collections::VecDeque, time::Duration};

use sentinel_ipc::kernel_abi::ring;

use crate::{
    alert::{Engine, Severity},
    event::ProcessId,
    patterns::{Finding, Rule},
};

static LOSS: Rule = Rule::of("sensor_loss", "T1562.006", Engine::Sensor);
static BLIND: Rule = Rule::of("sensor_blind", "T1562.006", Engine::Sensor);
static SIGHT: Rule = Rule::of("sensor_sees_again", "T1562.006", Engine::Sensor);
static GAP: Rule = Rule::of("sensor_gap", "T1562.006", Engine::Sensor);

static GONE: Rule = Rule::of("sensor_gone", "T1562.001", Engine::Sensor);
static SILENCE: Rule = Rule::of("sensor_silent", "T1562.006", Engine::Sensor);

/// From one alert about losses to the next, ns.
const LOSS_INTERVAL: u64 = 10_000_000_000;
/// Losses that are remembered one by one; older ones are added to the oldest of them.
const MAX_LOSSES: usize = 1024;

/// What is known of the sensor.
#[derive(Debug, Default)]
pub struct SensorState {
    losses: Losses,
    /// Losses that no alert has told yet, by ring.
    untold: [u64; 2],
    told_at: Option<u64>,
    /// Canaries that arrived since their makers' last word, and how many it said there were.
    canaries_seen: u64,
    canaries_made: u64,
    /// Losses among what verdicts rest on, when the last canary was expected.
    lost_then: u64,
    is_blind: bool,
    /// When the last gap was over.
    gap_until: u64,
}

impl SensorState {
    /// What was lost until now was lost for others.
    pub fn begin(&mut self, totals: [u64; 2]) {
        self.losses.totals = totals;
        self.losses.before = totals;
        (self.canaries_made, self.canaries_seen) = (0, 0);
        self.lost_then = totals.get(ring::ALERT).copied().unwrap_or(0);
    }

    /// By `now` (CLOCK_BOOTTIME, ns) each ring has lost so many records in total: says so, at once
    /// the first time and at intervals from then on.
    pub fn lost(&mut self, now: u64, totals: [u64; 2], findings: &mut Vec<Finding>) {
        let new = self.losses.note(now, totals);
        for (untold, new) in self.untold.iter_mut().zip(new) {
            *untold = untold.saturating_add(new);
        }
        let is_due = self.told_at.is_none_or(|then| now.saturating_sub(then) >= LOSS_INTERVAL);
        if self.untold == [0; 2] || !is_due {
            return;
        }
        self.told_at = Some(now);
        let untold = std::mem::take(&mut self.untold);
        let [alert, _] = untold;
        let severity = if alert > 0 { Severity::High } else { Severity::Warning };
        let message = format!(
            "{} events were lost ({alert} of those that verdicts rest on): they came faster than \
             they could be taken; alerts whose time this touches say so",
            sum(untold)
        );
        findings.push(finding(&LOSS, severity, message));
    }

    /// Events that were or may have been lost after `start` (CLOCK_BOOTTIME, ns).
    pub fn lost_since(&self, start: u64) -> u64 {
        self.losses.since(start)
    }

    /// Until when (CLOCK_BOOTTIME, ns) something may have happened that was not seen; 0 if all was.
    pub fn unseen_until(&self) -> u64 {
        self.gap_until.max(self.losses.noticed.back().map_or(0, |(when, _)| *when))
    }

    /// Events lost in total.
    pub fn lost_in_total(&self) -> u64 {
        sum(self.losses.totals).saturating_sub(sum(self.losses.before))
    }

    /// A canary has arrived.
    pub fn canary(&mut self) {
        self.canaries_seen += 1;
    }

    /// So many canaries have been made in total, and what was emitted before has arrived: says so if
    /// one is missing, once, and if they arrive again.
    pub fn canaries_made(&mut self, made: u64, findings: &mut Vec<Finding>) {
        let new = made.saturating_sub(std::mem::replace(&mut self.canaries_made, made));
        let seen = std::mem::take(&mut self.canaries_seen);
        if new == 0 {
            self.canaries_seen = seen;
            return;
        }
        let lost = self.losses.totals.get(ring::ALERT).copied().unwrap_or(0);
        let may_be_lost = std::mem::replace(&mut self.lost_then, lost) != lost;
        if seen < new && may_be_lost {
            // It may be among them, and that is told already.
            return;
        }
        let was_blind = std::mem::replace(&mut self.is_blind, seen < new);
        if self.is_blind && !was_blind {
            let message = "the sensor does not see what it must see: its own test call did not \
                           arrive; somebody has detached or changed its programs or maps; restart \
                           the loader";
            findings.push(finding(&BLIND, Severity::Critical, message.to_owned()));
        } else if was_blind && !self.is_blind {
            let message = "the sensor's test calls arrive again; what happened meanwhile was not \
                           seen";
            findings.push(finding(&SIGHT, Severity::Warning, message.to_owned()));
        }
    }

    /// From `since` to `until` (CLOCK_BOOTTIME, ns) nothing was analyzed, for this reason.
    pub fn gap(&mut self, since: u64, until: u64, reason: Gap, findings: &mut Vec<Finding>) {
        self.gap_until = until;
        let ms = until.saturating_sub(since) / 1_000_000;
        let what = match reason {
            Gap::NoAnalyzer => "nobody analyzed events",
            Gap::NoLoader => "no sensor ran",
        };
        let message = format!(
            "{what} for {}.{:03} s, until now; what is running now is known from a snapshot",
            ms / 1000,
            ms % 1000
        );
        findings.push(finding(&GAP, Severity::Warning, message));
    }
}

/// Who was missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The loader ran and had nobody to tell.
    NoAnalyzer,
    /// There was no loader.
    NoLoader,
}

/// The loader has said nothing for so long.
pub fn silent(silence: Duration) -> Finding {
    let message = format!(
        "the loader has said nothing for {} s, and so nothing is seen: it is stopped or starved; \
         look at its process",
        silence.as_secs()
    );
    finding(&SILENCE, Severity::Critical, message)
}

/// The loader has ended.
pub fn gone() -> Finding {
    let message = "the loader has ended, and so nothing is seen until it is back: somebody has stopped \
                   or killed it, or it failed; look at its service and its last messages";
    finding(&GONE, Severity::Critical, message.to_owned())
}

fn finding(rule: &Rule, severity: Severity, message: String) -> Finding {
    rule.finding(severity, ProcessId { tgid: 0, start_time: 0 }, message)
}

/// When events were lost.
#[derive(Debug, Default)]
struct Losses {
    totals: [u64; 2],
    /// Totals when all of this began.
    before: [u64; 2],
    /// When a loss was noticed (CLOCK_BOOTTIME, ns) and how many events it was, oldest first.
    noticed: VecDeque<(u64, u64)>,
}

impl Losses {
    /// Notes totals; returns what is new in them.
    fn note(&mut self, now: u64, totals: [u64; 2]) -> [u64; 2] {
        let mut new = totals;
        for (new, known) in new.iter_mut().zip(self.totals) {
            *new = new.saturating_sub(known);
        }
        if new == [0; 2] {
            return new;
        }
        self.totals = totals;
        self.noticed.push_back((now, sum(new)));
        if self.noticed.len() > MAX_LOSSES
            && let Some((_, oldest)) = self.noticed.pop_front()
            && let Some((_, next)) = self.noticed.front_mut()
        {
            *next = next.saturating_add(oldest);
        }
        new
    }

    /// Events that were or may have been lost after `start`.
    fn since(&self, start: u64) -> u64 {
        let since = self.noticed.iter().rev().take_while(|(when, _)| *when >= start);
        since.fold(0, |total, (_, lost)| total.saturating_add(*lost))
    }
}

/// A capture may claim any numbers.
fn sum([one, other]: [u64; 2]) -> u64 {
    one.saturating_add(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.rule.name.as_ref()).collect()
    }

    #[test]
    fn a_gap_counts_what_was_lost_in_its_window() {
        let mut losses = Losses::default();
        losses.note(10, [0, 0]);
        losses.note(20, [0, 5]);
        losses.note(30, [0, 5]);
        losses.note(40, [7, 5]);
        assert_eq!(losses.since(0), 12);
        assert_eq!(losses.since(20), 12);
        assert_eq!(losses.since(21), 7);
        assert_eq!(losses.since(41), 0);
    }

    #[test]
    fn memory_of_losses_is_bounded_and_loses_none() {
        let mut losses = Losses::default();
        for loss in 1..=5000 {
            losses.note(loss, [loss, 0]);
        }
        assert_eq!(losses.noticed.len(), MAX_LOSSES);
        assert_eq!(losses.since(0), 5000);
    }

    #[test]
    fn a_loss_is_told_at_once_and_then_at_intervals_and_none_is_left_out() {
        let mut state = SensorState::default();
        let mut findings = Vec::new();
        state.lost(1, [0, 0], &mut findings);
        assert!(findings.is_empty());
        state.lost(2, [0, 3], &mut findings);
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Warning));
        assert!(findings[0].message.starts_with("3 events"), "{}", findings[0].message);
        state.lost(3, [1, 4], &mut findings);
        assert_eq!(findings.len(), 1);
        state.lost(2 + LOSS_INTERVAL, [1, 4], &mut findings);
        assert_eq!((findings.len(), findings[1].severity), (2, Severity::High));
        assert!(findings[1].message.starts_with("2 events"), "{}", findings[1].message);
        state.lost(3 * LOSS_INTERVAL, [1, 4], &mut findings);
        assert_eq!((findings.len(), state.lost_in_total()), (2, 5));
    }

    #[test]
    fn a_canary_that_may_be_among_what_was_lost_says_nothing() {
        let mut state = SensorState::default();
        let mut findings = Vec::new();
        state.lost(1, [1, 0], &mut findings);
        state.canaries_made(1, &mut findings);
        assert_eq!(names(&findings), ["sensor_loss"]);
        state.canaries_made(2, &mut findings);
        assert_eq!(names(&findings), ["sensor_loss", "sensor_blind"]);
    }

    #[test]
    fn what_others_lost_is_not_told_again() {
        let mut state = SensorState::default();
        let mut findings = Vec::new();
        state.begin([3, 4]);
        state.lost(1, [3, 4], &mut findings);
        assert_eq!((findings.len(), state.lost_in_total(), state.lost_since(0)), (0, 0, 0));
        state.lost(2, [3, 6], &mut findings);
        assert_eq!((findings.len(), state.lost_in_total(), state.lost_since(0)), (1, 2, 2));
    }

    #[test]
    fn impossible_numbers_do_no_harm() {
        let mut state = SensorState::default();
        let mut findings = Vec::new();
        for (now, totals) in [(1, [u64::MAX, 1]), (2, [u64::MAX; 2]), (u64::MAX, [0; 2])] {
            state.lost(now, totals, &mut findings);
            state.canaries_made(now, &mut findings);
        }
        assert_eq!(state.lost_since(0), u64::MAX);
    }

    #[test]
    fn a_canary_that_is_missing_is_told_once_until_one_arrives() {
        let mut state = SensorState::default();
        let mut findings = Vec::new();
        state.canary();
        state.canaries_made(1, &mut findings);
        assert!(findings.is_empty());
        state.canaries_made(2, &mut findings);
        state.canaries_made(3, &mut findings);
        assert_eq!(names(&findings), ["sensor_blind"]);
        state.canary();
        state.canaries_made(3, &mut findings);
        state.canaries_made(4, &mut findings);
        assert_eq!(names(&findings), ["sensor_blind", "sensor_sees_again"]);
        state.canaries_made(5, &mut findings);
        assert_eq!(names(&findings).last(), Some(&"sensor_blind"));
    }
}
