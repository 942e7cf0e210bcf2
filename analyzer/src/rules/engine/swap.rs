//! Other rules in place of those that are looked for: what goes on of the unchanged ones stays.

use std::{collections::HashMap, fmt};

use super::Engine;
use crate::rules::compile::Compiled;

/// What a swap of rules came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swap {
    /// Rules from now on.
    pub rules: usize,
    /// Of those, what was not there before.
    pub new: usize,
    /// Of those, what was there and was different.
    pub changed: usize,
    /// Rules that are not looked for any more.
    pub gone: usize,
    /// Begun sequences of changed rules and of those that are gone, which were given up.
    pub given_up: usize,
    /// Whether other clients than before may read secrets of their own.
    pub has_other_clients: bool,
}

impl fmt::Display for Swap {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rules, new, changed, gone, given_up, has_other_clients } = self;
        if [*new, *changed, *gone] == [0; 3] {
            write!(to, "{rules} rules, the same as before")?;
        } else {
            write!(
                to,
                "{rules} rules: {new} new, {changed} changed, {gone} gone; {given_up} begun sequences \
                 of these were given up"
            )?;
        }
        if *has_other_clients { to.write_str("; other clients than before") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;

impl Engine {
    /// Looks for the rules in `compiled` from now on. What is under way of a rule that is the same in
    /// both goes on, and what was reported of it stays reported.
    pub fn swap(&mut self, compiled: Compiled) -> Swap {
        let old = std::mem::replace(&mut self.compiled, compiled);
        let by_name: HashMap<&str, usize> = self
            .compiled
            .rules()
            .iter()
            .enumerate()
            .map(|(number, one)| (one.rule.name.as_str(), number))
            .collect();
        let mut changed = 0;
        let mut gone = 0;
        let mut numbers = Vec::new();
        for one in old.rules() {
            let number = by_name.get(one.rule.name.as_str()).copied();
            let same = number.filter(|number| {
                self.compiled.rules().get(*number).is_some_and(|new| new.rule == one.rule)
            });
            match (number, same) {
                (None, _) => gone += 1,
                (Some(_), None) => changed += 1,
                (Some(_), Some(_)) => {}
            }
            numbers.push(same);
        }
        let rules = by_name.len();
        let renumbered = |old: usize| numbers.get(old).copied().flatten();
        let given_up = self.sequences.renumber(renumbered);
        for reports in self.reported.values_mut() {
            reports.retain_mut(|(rule, _)| {
                let new = renumbered(*rule);
                *rule = new.unwrap_or(*rule);
                new.is_some()
            });
        }
        self.reported.retain(|_, reports| !reports.is_empty());
        Swap {
            rules,
            new: rules + gone - old.rules().len(),
            changed,
            gone,
            given_up,
            has_other_clients: false,
        }
    }
}
