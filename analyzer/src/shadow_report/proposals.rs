//! Exceptions that would have kept a rule silent, as tables for a file of rules; whoever puts them there
//! has to know why each of them is right.

use std::fmt::Write as _;

use super::{
    exceptions::Program,
    totals::{Deeds, OfRule, Totals},
};
use crate::{console::counted, escape::harmless, patterns::ABOUT_SECRETS, rules::RuleSet};

/// Of one rule so many are proposed.
const MAX_PROPOSED: usize = 10;

/// The tables, with what they are about; empty if there are none.
pub(super) fn proposals(totals: &Totals, rules: &RuleSet) -> String {
    let known = |name: &str| rules.names().any(|one| one == name);
    let of_rules = totals.rules.iter().filter(|(name, _)| known(name));
    of_rules.map(|(name, rule)| of_rule(name, rule)).collect()
}

fn of_rule(name: &str, rule: &OfRule) -> String {
    let mut text = String::new();
    for (program, count, Deeds { critical, message }) in rule.programs.top(MAX_PROPOSED) {
        let Program { exe, parent, script, argv } = program;
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "\n# {}, {critical} of them critical; the last one: {}",
            counted(count, "alert"),
            harmless(message)
        );
        if ABOUT_SECRETS.contains(&name) {
            text.push_str("# Narrower, where it is a client of its own service: [[client]], see docs/rules.md.\n");
        }
        let _infallible =
            writeln!(text, "[[allow]]\nrule = {}\nexe = {}", quoted(name), quoted(exe));
        for (key, value) in [("parent", parent), ("script", script), ("argv", argv)] {
            if let Some(value) = value {
                let _infallible = writeln!(text, "{key} = {}", quoted(value));
            }
        }
    }
    text
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            _ if character.is_control() => {
                let _infallible = write!(quoted, "\\u{:04X}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted + "\""
}
