//! The enforcer's budget, and the minutes in which there were more kills than it allows.

use std::{collections::BTreeMap, path::Path};

use sentinel_ipc::settings::{self, Value};

const MINUTE_NS: u64 = 60_000_000_000;

/// Kills that are allowed within a minute: in all, and for one rule. As the enforcer's own defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    pub(super) kills: u64,
    pub(super) of_a_rule: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { kills: 10, of_a_rule: 5 }
    }
}

impl Budget {
    /// That of the enforcer's file, or the default one where there is none.
    ///
    /// # Errors
    /// A sentence, when it cannot be read or holds none that the enforcer would take.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let mut budget = Self::default();
        if !path.try_exists().unwrap_or(true) {
            return Ok(budget);
        }
        let read = settings::read(path, |key, value| {
            let place = match key {
                "kills-per-minute" => &mut budget.kills,
                "kills-per-minute-and-rule" => &mut budget.of_a_rule,
                _ => return Ok(()),
            };
            match value {
                Value::Number(number @ 1..=1000) => *place = number,
                other => {
                    return Err(format!("{key} is a whole number from 1 to 1000, not {other}"));
                }
            }
            Ok(())
        });
        read.map(|()| budget).map_err(|error| error.to_string())
    }
}

/// Kills that would have been asked for.
#[derive(Debug, Default)]
pub(super) struct Kills {
    pub(super) budget: Budget,
    pub(super) all: u64,
    /// Minutes with more than the budget.
    pub(super) minutes_over: u64,
    /// The same of one rule, for each of them.
    pub(super) minutes_over_of_a_rule: u64,
    minute: u64,
    in_minute: u64,
    of_rules: BTreeMap<String, u64>,
}

impl Kills {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// So many more for the rule `name` at `timestamp` (ns).
    pub(super) fn add(&mut self, timestamp: u64, name: &str, kills: u64) {
        self.all = self.all.saturating_add(kills);
        if self.minute != timestamp / MINUTE_NS {
            self.minute = timestamp / MINUTE_NS;
            self.in_minute = 0;
            self.of_rules.clear();
        }
        let grow = |sum: &mut u64, bound: u64| {
            let before = std::mem::replace(sum, sum.saturating_add(kills));
            u64::from(before <= bound && *sum > bound)
        };
        self.minutes_over += grow(&mut self.in_minute, self.budget.kills);
        let of_rule = self.of_rules.entry(name.to_owned()).or_default();
        self.minutes_over_of_a_rule += grow(of_rule, self.budget.of_a_rule);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_budget_is_that_of_the_enforcers_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("enforcer.toml");
        assert_eq!(Budget::read(&path), Ok(Budget::default()));
        fs::write(&path, "enforce = true\nkills-per-minute = 3\n").unwrap();
        assert_eq!(Budget::read(&path), Ok(Budget { kills: 3, of_a_rule: 5 }));
        fs::write(&path, "kills-per-minute = 0\n").unwrap();
        assert!(Budget::read(&path).unwrap_err().contains("enforcer.toml:1: kills-per-minute"));
    }

    #[test]
    fn the_default_is_what_the_shipped_file_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/config/enforcer.toml");
        assert_eq!(Budget::read(Path::new(path)), Ok(Budget::default()));
    }

    #[test]
    fn a_rule_has_a_share_of_its_own() {
        let mut kills = Kills::new(Budget { kills: 3, of_a_rule: 2 });
        for (minute, rule, count) in
            [(0, "a", 2), (0, "a", 1), (0, "b", 1), (1, "a", 2), (2, "b", 4)]
        {
            kills.add(minute * MINUTE_NS, rule, count);
        }
        assert_eq!((kills.all, kills.minutes_over, kills.minutes_over_of_a_rule), (10, 2, 2));
    }
}
