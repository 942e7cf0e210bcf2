//! What the lines of the logs come to.

use std::collections::BTreeMap;

use super::{
    budget::{Budget, Kills},
    exceptions::{Nameless, Program, Standing, nameable, standing},
    frequent::Frequent,
    lines::{Above, Degree, Held, Line},
};
use crate::{
    rules::RuleSet,
    status::{Alerts, Period},
};

/// Rules that are told apart; beyond, they are one.
const MAX_RULES: usize = 4096;
/// Process ids that a folded line names at the most.
const MAX_PIDS: usize = 16;

/// What came of one program.
#[derive(Debug, Default, Clone)]
pub(super) struct Deeds {
    pub(super) critical: u64,
    pub(super) message: String,
}

/// What came of one rule.
#[derive(Debug, Default)]
pub(super) struct OfRule {
    pub(super) alerts: Alerts,
    pub(super) explained: Alerts,
    pub(super) actions: Frequent<String, ()>,
    pub(super) executables: Frequent<String, ()>,
    pub(super) parents: Frequent<String, ()>,
    pub(super) programs: Frequent<Program, Deeds>,
    /// Alerts of programs that no exception can name.
    pub(super) nameless: u64,
    /// Of those, alerts whose arguments would have named it had they been whole.
    pub(super) redacted: u64,
    /// Alerts of programs that an exception is about, of which no log tells whether it holds.
    pub(super) undecided: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) rules: BTreeMap<String, OfRule>,
    /// What the counters say; `None` if there are none.
    pub(super) counted: Option<Period>,
    /// Wall clock, ns.
    pub(super) first: Option<u64>,
    pub(super) last: u64,
    pub(super) lines: u64,
    pub(super) bad: u64,
    /// What enforcement would have done.
    pub(super) kills: Kills,
}

impl Totals {
    /// Nothing yet; the enforcer has this budget.
    pub(super) fn new(budget: Budget) -> Self {
        Self { kills: Kills::new(budget), ..Self::default() }
    }

    /// All alerts that are not about Sentinel itself.
    pub(super) fn alerts(&self) -> Alerts {
        sum(self.rules.values().map(|rule| &rule.alerts))
    }

    /// Those of them that the rules as they are now would not raise.
    pub(super) fn explained(&self) -> Alerts {
        sum(self.rules.values().map(|rule| &rule.explained))
    }

    /// Adds a line; `rules` are those that hold now.
    pub(super) fn add(&mut self, line: &Line, rules: &RuleSet) {
        self.lines += 1;
        self.first = Some(self.first.map_or(line.timestamp, |first| first.min(line.timestamp)));
        self.last = self.last.max(line.timestamp);
        if let Some(period) = &line.counters {
            add_period(self.counted.get_or_insert_default(), period);
        } else if let Some(Held { pattern_name, alerts }) = &line.withheld {
            let of_rule = self.of_rule(pattern_name);
            add_all(&mut of_rule.alerts, alerts);
            of_rule.nameless = of_rule.nameless.saturating_add(alerts.sum());
            if rules.is_off(pattern_name) {
                add_all(&mut of_rule.explained, alerts);
            }
            self.kills.add(line.timestamp, pattern_name, alerts.critical);
        } else if line.engine != "sensor" {
            self.add_alert(line, rules);
        }
    }

    fn add_alert(&mut self, line: &Line, rules: &RuleSet) {
        let count = line.count.unwrap_or(1);
        let parent = line.ancestors.first().and_then(|Above { exe, .. }| exe.clone());
        let of_rule = self.of_rule(&line.pattern_name);
        let mut these = Alerts::default();
        *place(&mut these, line.severity) = count;
        add_all(&mut of_rule.alerts, &these);
        of_rule.actions.add(line.action.clone(), count);
        let unknown = || "(not seen)".to_owned();
        of_rule.executables.add(line.exe.clone().unwrap_or_else(unknown), count);
        of_rule.parents.add(parent.unwrap_or_else(unknown), count);
        // Of what is grave a line can stand for processes of which it does not say what they ran.
        let others = if line.severity >= Degree::High { of_others(line) } else { 0 };
        let own = count - others;
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        match (standing(line, rules), nameable(line)) {
            (Standing::Off, _) => add_all(&mut of_rule.explained, &these),
            (Standing::Explained, _) => {
                add(place(&mut of_rule.explained, line.severity), own);
                add(&mut of_rule.undecided, others);
            }
            (Standing::Undecided, _) => add(&mut of_rule.undecided, count),
            (Standing::Unexplained, Ok(program)) => {
                add(&mut of_rule.undecided, others);
                if own > 0 {
                    let deeds = of_rule.programs.add(program, own);
                    add(&mut deeds.critical, if these.critical > 0 { own } else { 0 });
                    deeds.message.clone_from(&line.message);
                }
            }
            (Standing::Unexplained, Err(why)) => {
                add(&mut of_rule.nameless, count);
                if why == Nameless::Redacted {
                    add(&mut of_rule.redacted, count);
                }
            }
        }
        // The other engines' alerts are never enforced.
        if matches!(line.engine.as_str(), "patterns" | "correlation") && these.critical > 0 {
            // Who was ended does nothing once more.
            let kills = line.count.map_or(1, |_| of_others(line));
            self.kills.add(line.timestamp, &line.pattern_name, kills);
        }
    }

    fn of_rule(&mut self, name: &str) -> &mut OfRule {
        let is_full = self.rules.len() >= MAX_RULES && !self.rules.contains_key(name);
        let name = if is_full { "others" } else { name };
        self.rules.entry(name.to_owned()).or_default()
    }
}

/// Processes for which a line stands beside its own.
fn of_others(line: &Line) -> u64 {
    let Some(count) = line.count else { return 0 };
    let others = line.pids.iter().filter(|&&pid| pid != line.pid).count();
    let known = u64::try_from(others).unwrap_or(count);
    if line.pids.len() >= MAX_PIDS && others > 0 { count } else { known.min(count) }
}

fn place(alerts: &mut Alerts, degree: Degree) -> &mut u64 {
    match degree {
        Degree::Critical => &mut alerts.critical,
        Degree::High => &mut alerts.high,
        Degree::Warning => &mut alerts.warning,
        Degree::Info => &mut alerts.info,
        Degree::Debug => &mut alerts.debug,
    }
}

fn add_all(to: &mut Alerts, more: &Alerts) {
    to.critical = to.critical.saturating_add(more.critical);
    to.high = to.high.saturating_add(more.high);
    to.warning = to.warning.saturating_add(more.warning);
    to.info = to.info.saturating_add(more.info);
    to.debug = to.debug.saturating_add(more.debug);
}

fn sum<'a>(all: impl Iterator<Item = &'a Alerts>) -> Alerts {
    let mut sum = Alerts::default();
    all.for_each(|one| add_all(&mut sum, one));
    sum
}

fn add_period(to: &mut Period, more: &Period) {
    to.period = to.period.saturating_add(more.period);
    to.alerts_folded = to.alerts_folded.saturating_add(more.alerts_folded);
    to.alerts_withheld = to.alerts_withheld.saturating_add(more.alerts_withheld);
    let events = &mut to.events;
    events.processed = events.processed.saturating_add(more.events.processed);
    events.dropped = events.dropped.saturating_add(more.events.dropped);
    events.dropped_urgent = events.dropped_urgent.saturating_add(more.events.dropped_urgent);
    events.execs = events.execs.saturating_add(more.events.execs);
}
