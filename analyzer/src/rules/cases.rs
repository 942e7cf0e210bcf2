//! `[[rule.test]]`: short streams of events, or captures, that a rule must or must not alert on.

use std::path::{Path, PathBuf};

use sentinel_ipc::frame::{LoaderMessage, decode};

use super::{
    Active,
    compile::Compiled,
    language::{
        Wrong,
        table::{Item, Table, text, unlike},
    },
    rule::Rule,
};
use crate::{alert::Alert, analysis::Analysis, capture::Reader, event::Event, stream::Stream};

mod words;

use words::{EVENT, Words};

/// From one event to the next where nothing is said, ns.
const STEP: u64 = 1_000_000;
/// When the first event happens, ns.
const START: u64 = 1_000_000_000;

/// A stream, and what is to come of it.
#[derive(Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Whether the rule is to alert.
    pub alert: bool,
    stream: Recorded,
}

/// What the rule sees.
#[derive(Debug)]
enum Recorded {
    Here(Vec<Entry>),
    Capture(PathBuf),
}

/// Something in a stream.
#[derive(Debug)]
enum Entry {
    Event(Box<Event>),
    /// By this time (CLOCK_BOOTTIME, ns) an event was lost.
    Loss(u64),
}

/// Reads a case, which stands in `file`.
pub(super) fn parse(file: &str, item: &Item<'_>) -> Result<Case, Wrong> {
    let table = Table::of(item, "a test", &["name", "expect", "events", "capture"])?;
    let expect = table.required("expect")?;
    let alert = match text(expect)? {
        "alert" => true,
        "none" => false,
        _ => return Err(unlike(expect, "\"alert\" or \"none\"")),
    };
    let stream = match (table.get("capture"), table.get("events")) {
        (Some(capture), Some(_)) => {
            let why = "a test has `events` or a `capture`, not both";
            return Err(Wrong::new(capture.span(), why));
        }
        (Some(capture), None) => {
            let directory = Path::new(file).parent().unwrap_or(Path::new(""));
            Recorded::Capture(directory.join(text(capture)?))
        }
        (None, Some(_)) => Recorded::Here(entries(&table)?),
        (None, None) => {
            return Err(Wrong::new(item.span(), "a test needs `events`, or a `capture`"));
        }
    };
    Ok(Case { name: text(table.required("name")?)?.to_owned(), alert, stream })
}

fn entries(table: &Table<'_>) -> Result<Vec<Entry>, Wrong> {
    let mut entries = Vec::new();
    let mut now = START;
    for item in table.list("events")? {
        let table = Table::of(item, "an event of a test", EVENT)?;
        now = match table.duration("at")? {
            Some(at) => START.saturating_add(at),
            None => now.saturating_add(STEP),
        };
        entries.push(match table.text("event")? {
            Some("lost") => Entry::Loss(now),
            _ => Entry::Event(Box::new(Words { table }.event(now)?)),
        });
    }
    Ok(entries)
}

impl Case {
    /// Feeds it to `stream`.
    fn feed(&self, stream: &mut Stream) -> Result<Vec<Alert>, String> {
        let mut alerts = Vec::new();
        match &self.stream {
            Recorded::Here(entries) => {
                let mut lost = 0;
                for entry in entries {
                    match entry {
                        Entry::Event(event) => stream.analysis().event(event, &mut alerts),
                        Entry::Loss(now) => {
                            lost += 1;
                            stream.analysis().sensor(*now, &mut alerts, |sensor, findings| {
                                sensor.lost(*now, [lost, 0], findings);
                            });
                        }
                    }
                }
            }
            Recorded::Capture(path) => {
                let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
                let mut reader = Reader::open(path).map_err(|error| told(&error))?;
                while let Some(frame) = reader.next_frame().map_err(|error| told(&error))? {
                    let message: LoaderMessage<'_> = decode(frame).map_err(|error| told(&error))?;
                    stream.follow(&message, &mut alerts).map_err(|error| told(&error))?;
                }
            }
        }
        Ok(alerts)
    }

    /// What is wrong with the alerts that it brought, if anything is.
    fn verdict(&self, alerts: &[Alert]) -> Option<&'static str> {
        let loses = match &self.stream {
            Recorded::Here(entries) => entries.iter().any(|one| matches!(one, Entry::Loss(_))),
            Recorded::Capture(_) => false,
        };
        match (self.alert, alerts) {
            (true, []) => Some("does not alert"),
            (false, [_, ..]) => Some("alerts"),
            (true, alerts) if loses && alerts.iter().all(|alert| alert.gap_in_window == 0) => {
                Some("does not tell what was lost")
            }
            _ => None,
        }
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
    let rules = Compiled::new(vec![rule]);
    let mut analysis = Analysis::with_rules(Active { rules, ..Active::default() }, false);
    let mut wrong = Vec::new();
    for case in cases {
        let mut stream = Stream::of(analysis.begun_anew());
        let what = match case.feed(&mut stream) {
            Ok(mut alerts) => {
                alerts.retain(|alert| alert.pattern_name == name);
                case.verdict(&alerts).map(str::to_owned)
            }
            Err(why) => Some(why),
        };
        wrong.extend(what.map(|what| format!("{name}: {what}: {}", case.name)));
        analysis = stream.into_analysis();
    }
    wrong
}

#[cfg(test)]
mod tests;
