//! What alerts tell of steps, and whether it was told before.

use crate::{
    escape::escape,
    event::{Event, ProcessId},
    keyed_hash::HashMap,
    rules::{
        fields::{self, Seen},
        sequences::Trail,
    },
    step::Step,
};

/// Processes whose reports are remembered; beyond, all are forgotten and may be repeated.
const MAX_REPORTED: usize = 16_384;
/// Characters of what is told of a step.
const MAX_DETAIL: usize = 512;

/// Whether the rule was not reported of the process within its window, and is now.
pub(super) fn is_news(
    reported: &mut HashMap<ProcessId, Vec<(usize, u64)>>,
    event: &Event,
    rule: usize,
    window: u64,
) -> bool {
    if reported.len() >= MAX_REPORTED && !reported.contains_key(&event.process) {
        reported.clear();
    }
    let of_process = reported.entry(event.process).or_default();
    match of_process.iter_mut().find(|(known, _)| *known == rule) {
        Some((_, at)) if event.timestamp.saturating_sub(*at) < window => return false,
        Some((_, at)) => *at = event.timestamp,
        None => of_process.push((rule, event.timestamp)),
    }
    true
}

/// The steps of a trail in order of time.
pub(super) fn steps(last: &Trail) -> Vec<Step> {
    let mut steps = vec![last.step.clone()];
    let mut before = last.before.as_deref();
    while let Some(trail) = before {
        steps.push(trail.step.clone());
        before = trail.before.as_deref();
    }
    steps.reverse();
    steps
}

/// What an alert tells of an event: the fields that say most.
pub(super) fn detail(seen: &Seen<'_>) -> String {
    const TOLD: [&str; 9] =
        ["path", "source", "address", "port", "family", "mode", "target_exe", "request", "signal"];
    let mut text = String::from(seen.kind.name());
    for name in TOLD {
        let Some(field) = fields::find(name).filter(|field| field.kinds.has(seen.kind)) else {
            continue;
        };
        let value = match (field.read)(seen) {
            Some(fields::Value::Text(bytes)) => escape(bytes),
            Some(fields::Value::Integer(number)) if name == "mode" => format!("{number:#o}"),
            Some(fields::Value::Integer(number)) => number.to_string(),
            Some(fields::Value::Address(address)) => address.to_string(),
            Some(fields::Value::Flag(flag)) => flag.to_string(),
            None => continue,
        };
        text.push_str(&format!(" {name} {value}"));
    }
    if let Some(errno) = seen.event.errno() {
        text.push_str(&format!(" (failed with errno {errno})"));
    }
    text.chars().take(MAX_DETAIL).collect()
}
