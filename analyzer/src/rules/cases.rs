//! `[[rule.test]]`: short streams of events that a rule must or must not alert on.

use super::{
    Engine,
    compile::Compiled,
    language::{
        Wrong,
        table::{Item, Table, text, unlike},
    },
    rule::Rule,
};
use crate::{
    cgroups::Cgroups,
    event::{Action, Event},
    patterns::Verdicts,
    process_table::ProcessTable,
};

mod words;

use words::{EVENT, Words};

/// From one event to the next where nothing is said, ns.
const STEP: u64 = 1_000_000;
/// When the first event happens, ns.
const START: u64 = 1_000_000_000;

/// A short stream of events, and what is to come of it.
#[derive(Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Whether the rule is to alert.
    pub alert: bool,
    events: Vec<Event>,
}

/// Reads a case.
pub(super) fn parse(item: &Item<'_>) -> Result<Case, Wrong> {
    let table = Table::of(item, "a test", &["name", "expect", "events"])?;
    let expect = table.required("expect")?;
    let alert = match text(expect)? {
        "alert" => true,
        "none" => false,
        _ => return Err(unlike(expect, "\"alert\" or \"none\"")),
    };
    let mut events = Vec::new();
    let mut now = START;
    for item in table.list("events")? {
        let table = Table::of(item, "an event of a test", EVENT)?;
        now = match table.duration("at")? {
            Some(at) => START.saturating_add(at),
            None => now.saturating_add(STEP),
        };
        events.push(Words { table }.event(now)?);
    }
    Ok(Case { name: text(table.required("name")?)?.to_owned(), alert, events })
}

impl Case {
    /// Whether the rules of an engine alert on it, by their names.
    pub fn alerts(&self, engine: &mut Engine) -> Vec<String> {
        let (mut processes, cgroups) = (ProcessTable::default(), Cgroups::default());
        let mut verdicts = Verdicts::default();
        for event in &self.events {
            processes.apply(event);
            engine.observe(event, &processes, &cgroups, &mut verdicts);
            if matches!(event.action, Action::Exit) {
                processes.forget(event.process);
            }
        }
        verdicts.findings.into_iter().map(|finding| finding.rule.name.into_owned()).collect()
    }
}

/// Of which kinds the cases of a rule are.
#[derive(Debug, Clone, Copy)]
pub struct Coverage {
    has_positive: bool,
    has_near_miss: bool,
}

impl Coverage {
    /// Of these cases.
    pub fn of(cases: &[Case]) -> Self {
        let has = |alert| cases.iter().any(|case| case.alert == alert);
        Self { has_positive: has(true), has_near_miss: has(false) }
    }

    /// What is lacking, in words.
    pub fn lack(self) -> Option<&'static str> {
        match (self.has_positive, self.has_near_miss) {
            (true, true) => None,
            (false, true) => Some("has no test that shows that it alerts"),
            (true, false) => Some("has no test of a near miss, on which it must not alert"),
            (false, false) => Some("has no tests"),
        }
    }
}

/// Runs a rule's cases; returns what is wrong, one line each.
pub fn run(rule: Rule, cases: &[Case]) -> Vec<String> {
    let name = rule.name.clone();
    let mut rules = Some(rule);
    let mut engine = Engine::new(Compiled::new(rules.take().into_iter().collect()));
    let mut wrong = Vec::new();
    for case in cases {
        engine.restart();
        let alerts = case.alerts(&mut engine);
        if alerts.is_empty() == case.alert {
            let what = if case.alert { "does not alert" } else { "alerts" };
            wrong.push(format!("{name}: {what}: {}", case.name));
        }
    }
    wrong
}
