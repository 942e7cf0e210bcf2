//! How much may be asked for and done: kills, in all and for one rule, and requests within a minute.
//! Times are CLOCK_BOOTTIME, ns.

use std::collections::{BTreeSet, VecDeque};

use sentinel_ipc::frame::{Refusal, Target};

use crate::{
    marker::{Kept, Position},
    settings::Settings,
};

const MINUTE_NS: u64 = 60_000_000_000;
/// Requests within a minute that are looked at, each of them a line of audit; if more kills than these are
/// allowed, as many as kills.
pub const REQUESTS_PER_MINUTE: u16 = 256;
/// Rules that may have spent their share; with one more the whole budget counts as spent.
const MAX_SPENT_RULES: usize = 64;

/// A kill, or that of a tree.
#[derive(Debug)]
struct Kill {
    time: u64,
    /// Not known of one before the enforcer's start.
    rule: Option<u64>,
    target: Target,
    /// What was killed; nothing, as long as it is not.
    done: Option<Killed>,
}

/// What became of a kill that was paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// The process alone.
    One,
    /// All of its tree.
    Tree,
}

/// What was spent.
#[derive(Debug)]
pub struct Budget {
    per_minute: u16,
    per_rule: u16,
    /// Those of the last minute.
    kills: VecDeque<Kill>,
    total: u64,
    is_tripped: bool,
    spent_rules: BTreeSet<u64>,
    /// Requests of the minute that began then.
    requests: (u64, u16),
}

/// What the budget was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Kills since the start.
    pub total: u64,
    /// Kills within the last minute.
    pub last_minute: usize,
    /// Whether more were asked for at some time: nobody is killed any more.
    pub is_tripped: bool,
}

impl Budget {
    /// The one that an enforcer before this left behind; one of an earlier start of the host may count as well.
    pub fn new(settings: &Settings, kept: &Kept) -> Self {
        let target = Target { tgid: 0, start_time: 0 };
        let kill = || Kill { time: kept.last, rule: None, target, done: None };
        Self {
            per_minute: settings.kills_per_minute,
            per_rule: settings.kills_per_minute_and_rule,
            kills: (0..kept.kills).map(|_| kill()).collect(),
            total: 0,
            is_tripped: kept.position == Position::Tripped,
            spent_rules: BTreeSet::new(),
            requests: (0, 0),
        }
    }

    /// Kills that it allows within a minute.
    pub fn per_minute(&self) -> u16 {
        self.per_minute
    }

    /// Requests that are looked at within a minute.
    pub fn requests_per_minute(&self) -> u16 {
        REQUESTS_PER_MINUTE.max(self.per_minute)
    }

    /// Whether nobody is killed any more.
    pub fn is_tripped(&self) -> bool {
        self.is_tripped
    }

    /// An administrator has looked: it is whole again.
    pub fn restore(&mut self) {
        self.kills.clear();
        self.spent_rules.clear();
        self.is_tripped = false;
    }

    /// What was spent by `now`.
    pub fn spent(&mut self, now: u64) -> Spent {
        let is_over = |kill: &Kill| now < kill.time || now - kill.time >= MINUTE_NS;
        while self.kills.front().is_some_and(is_over) {
            self.kills.pop_front();
        }
        Spent { total: self.total, last_minute: self.kills.len(), is_tripped: self.is_tripped }
    }

    /// Takes one request from those of this minute.
    ///
    /// # Errors
    /// When there were enough of them.
    pub fn request(&mut self, now: u64) -> Result<(), Refusal> {
        let (begun, count) = self.requests;
        let is_new = now.saturating_sub(begun) >= MINUTE_NS;
        let (begun, count) = if is_new { (now, 0) } else { (begun, count) };
        self.requests = (begun, count.saturating_add(1));
        if count < self.requests_per_minute() { Ok(()) } else { Err(Refusal::Rate) }
    }

    /// Whether `target` was killed in this way within the last minute, and needs not be once more.
    pub fn has_killed(&self, target: Target, killed: Killed) -> bool {
        self.kills.iter().any(|kill| kill.target == target && kill.done == Some(killed))
    }

    /// The last kill of `target` that was paid for is done.
    pub fn note_killed(&mut self, target: Target, killed: Killed) {
        if let Some(kill) = self.kills.iter_mut().rfind(|kill| kill.target == target) {
            kill.done = Some(killed);
        }
    }

    /// Whether kills for `rule` are over.
    ///
    /// # Errors
    /// When they are.
    pub fn check(&self, rule: u64) -> Result<(), Refusal> {
        match () {
            () if self.is_tripped => Err(Refusal::Budget),
            () if self.spent_rules.contains(&rule) => Err(Refusal::RuleBudget),
            () => Ok(()),
        }
    }

    /// Takes one kill, unless one that was paid for within the last minute for the same failed.
    ///
    /// # Errors
    /// When there is none left; from then on there is none until an administrator says so.
    pub fn spend(&mut self, now: u64, rule: u64, target: Target) -> Result<(), Refusal> {
        let spent = self.spent(now).last_minute;
        let rule = Some(rule);
        let is_open = |kill: &Kill| (kill.rule, kill.target, kill.done) == (rule, target, None);
        if self.kills.iter().any(is_open) {
            return Ok(());
        }
        let of_rule = self.kills.iter().filter(|kill| kill.rule == rule).count();
        let is_rule_spent = of_rule >= self.per_rule.into();
        if spent >= self.per_minute.into()
            || is_rule_spent && self.spent_rules.len() >= MAX_SPENT_RULES
        {
            self.is_tripped = true;
            return Err(Refusal::Budget);
        }
        if is_rule_spent {
            self.spent_rules.extend(rule);
            return Err(Refusal::RuleBudget);
        }
        self.kills.push_back(Kill { time: now, rule, target, done: None });
        self.total += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(per_minute: u16, per_rule: u16) -> Budget {
        let (kills_per_minute, kills_per_minute_and_rule) = (per_minute, per_rule);
        let settings =
            Settings { kills_per_minute, kills_per_minute_and_rule, ..Settings::default() };
        Budget::new(&settings, &Kept::default())
    }

    /// Spends on somebody whom nobody else spends on.
    fn spend(budget: &mut Budget, now: u64, rule: u64) -> Result<(), Refusal> {
        let tgid = 100 + u32::try_from(budget.total).unwrap();
        budget.spend(now, rule, target(tgid))
    }

    fn target(tgid: u32) -> Target {
        Target { tgid, start_time: 1 }
    }

    #[test]
    fn what_is_exceeded_is_over_until_somebody_restores_it() {
        let mut budget = budget(10, 10);
        for kill in 0..10 {
            assert_eq!(spend(&mut budget, kill, 1), Ok(()));
        }
        assert_eq!(spend(&mut budget, MINUTE_NS, 1), Ok(()), "the first is a minute old");
        assert_eq!(spend(&mut budget, MINUTE_NS, 1), Err(Refusal::Budget));
        assert_eq!(budget.check(2), Err(Refusal::Budget));
        let spent = budget.spent(100 * MINUTE_NS);
        assert_eq!(spent, Spent { total: 11, last_minute: 0, is_tripped: true });
        budget.restore();
        assert_eq!((budget.check(2), budget.is_tripped()), (Ok(()), false));
        assert_eq!(spend(&mut budget, MINUTE_NS, 1), Ok(()), "whole again");
    }

    #[test]
    fn a_rule_that_spends_its_share_leaves_the_others_theirs() {
        let mut budget = budget(10, 2);
        for _ in 0..2 {
            assert_eq!(spend(&mut budget, 5, 1), Ok(()));
        }
        assert_eq!(spend(&mut budget, 5, 1), Err(Refusal::RuleBudget));
        assert_eq!(budget.check(1), Err(Refusal::RuleBudget));
        assert_eq!(spend(&mut budget, 5, 2), Ok(()));
        assert!(!budget.spent(5).is_tripped);
        assert_eq!(budget.check(1), Err(Refusal::RuleBudget), "for good");
        budget.restore();
        assert_eq!(budget.check(1), Ok(()));
    }

    #[test]
    fn rules_beyond_number_trip_it_all() {
        let mut budget = budget(1000, 1);
        for rule in 0..64 {
            assert_eq!(spend(&mut budget, 5, rule), Ok(()));
            assert_eq!(spend(&mut budget, 5, rule), Err(Refusal::RuleBudget));
        }
        assert_eq!(spend(&mut budget, 5, 64), Ok(()));
        assert_eq!(spend(&mut budget, 5, 64), Err(Refusal::Budget));
        assert!(budget.is_tripped());
    }

    #[test]
    fn who_was_killed_is_known_for_a_minute() {
        let mut budget = budget(10, 10);
        budget.spend(5, 1, target(1)).unwrap();
        assert!(!budget.has_killed(target(1), Killed::One), "only paid for");
        budget.note_killed(target(1), Killed::One);
        budget.note_killed(target(2), Killed::One);
        assert!(budget.has_killed(target(1), Killed::One));
        assert!(!budget.has_killed(target(1), Killed::Tree), "its children may live");
        assert!(!budget.has_killed(target(2), Killed::One), "never paid for");
        budget.spent(5 + MINUTE_NS);
        assert!(!budget.has_killed(target(1), Killed::One));
    }

    #[test]
    fn requests_are_counted_by_the_minute() {
        for (per_minute, requests) in [(10, 256), (1000, 1000)] {
            let mut budget = budget(per_minute, 10);
            for _ in 0..requests {
                assert_eq!(budget.request(MINUTE_NS), Ok(()));
            }
            assert_eq!(budget.request(MINUTE_NS), Err(Refusal::Rate));
            assert_eq!(budget.request(2 * MINUTE_NS - 1), Err(Refusal::Rate));
            assert_eq!(budget.request(2 * MINUTE_NS), Ok(()));
        }
    }

    #[test]
    fn what_failed_was_paid_for() {
        let mut budget = budget(2, 2);
        for _ in 0..3 {
            assert_eq!(budget.spend(5, 1, target(1)), Ok(()));
        }
        assert_eq!(budget.spent(5).last_minute, 1);
        budget.note_killed(target(1), Killed::One);
        assert_eq!(budget.spend(5, 1, target(1)), Ok(()), "done, and asked for in another way");
        assert_eq!(budget.spent(5).last_minute, 2);
    }

    #[test]
    fn a_new_enforcer_goes_on_with_what_the_last_one_left() {
        let settings = Settings { kills_per_minute: 3, ..Settings::default() };
        let kept = Kept { kills: 2, last: 50, ..Kept::default() };
        let mut budget = Budget::new(&settings, &kept);
        assert_eq!(budget.spent(60).last_minute, 2);
        assert_eq!(spend(&mut budget, 60, 1), Ok(()));
        assert_eq!(spend(&mut budget, 60, 1), Err(Refusal::Budget));
        let mut later = Budget::new(&settings, &kept);
        assert_eq!(later.spent(50 + MINUTE_NS).last_minute, 0);
        let mut of_another_start = Budget::new(&settings, &Kept { last: 500, ..kept.clone() });
        assert_eq!(of_another_start.spent(60).last_minute, 0);
        let tripped = Kept { position: Position::Tripped, ..kept };
        let mut tripped = Budget::new(&settings, &tripped);
        assert_eq!(tripped.check(1), Err(Refusal::Budget));
        tripped.restore();
        assert_eq!((tripped.check(1), tripped.spent(60).last_minute), (Ok(()), 0));
    }
}
