//! Looks for the sequences that rules describe.
//!
//! A rule has matched at an event when some choice of events, this one last, takes all its steps.
//! So a step never uses a sequence up: the sequence goes on waiting beside the one that went on, and
//! no decoy hides the real one. Of two that wait for the same and remember the same, the later one
//! stands for both. A rule speaks of a process once in its window.

use std::{borrow::Cow, collections::HashMap, rc::Rc};

use super::{
    compile::{Compiled, CompiledRule, Dispatch},
    fields::{self, Seen},
    kinds::EventKind,
    rule::{Absence, Relation, Step as RuleStep},
    sequences::{Place, Sequence, Sequences, Trail},
};
use crate::{
    alert,
    cgroups::Cgroups,
    escape::escape,
    event::{Action, Event, ProcessId},
    patterns::{self, Finding, Verdicts},
    process_table::{Process, ProcessTable},
    step::{Deed, Step},
};

/// Processes whose reports are remembered; beyond, all are forgotten and may be repeated.
const MAX_REPORTED: usize = 16_384;
/// Characters of what is told of a step.
const MAX_DETAIL: usize = 512;

/// The engine: rules, and what of them is under way.
#[derive(Debug, Default)]
pub struct Engine {
    compiled: Compiled,
    sequences: Sequences,
    /// Rules that were reported of a process, and when.
    reported: HashMap<ProcessId, Vec<(usize, u64)>>,
}

/// What an event brings about.
#[derive(Debug, Default)]
struct Progress {
    waiting: Vec<(Place, Sequence)>,
    complete: Vec<(usize, Rc<Trail>)>,
}

impl Engine {
    /// An engine that looks for these rules.
    pub fn new(compiled: Compiled) -> Self {
        Self { compiled, ..Self::default() }
    }

    /// Forgets all but the rules.
    pub fn restart(&mut self) {
        (self.sequences, self.reported) = (Sequences::default(), HashMap::new());
    }

    /// What it looks for.
    pub fn rules(&self) -> &[CompiledRule] {
        self.compiled.rules()
    }

    /// Sequences under way.
    pub fn under_way(&self) -> usize {
        self.sequences.len()
    }

    /// Sequences that had to go for others so far.
    pub fn evicted(&self) -> u64 {
        self.sequences.evicted()
    }

    /// Looks at an event that `processes` and `cgroups` have followed already.
    pub fn observe(
        &mut self,
        event: &Event,
        processes: &ProcessTable,
        cgroups: &Cgroups,
        verdicts: &mut Verdicts,
    ) {
        let Some(kind) = EventKind::of(event) else { return };
        let Some(dispatch) = self.compiled.dispatch(kind) else { return };
        let process = processes.get(event.process);
        let seen = Seen { event, kind, process, processes, cgroups };
        let mut progress = Progress::default();
        if !self.sequences.is_empty() {
            self.sequences.expire(event.timestamp);
            go_on(&self.compiled, &mut self.sequences, dispatch, &seen, &mut progress);
        }
        for &number in &dispatch.first {
            begin(&self.compiled, &mut self.sequences, number, &seen, &mut progress);
        }
        self.conclude(progress, &seen, verdicts);
        if kind == EventKind::Exit {
            self.forget(event.process);
        }
    }

    /// Lets time go on to `now`, CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, processes: &ProcessTable) {
        self.sequences.expire(now);
        // An exit may have been lost.
        if self.reported.len() > processes.len() {
            self.reported.retain(|id, _| processes.get(*id).is_some());
        }
    }

    fn conclude(&mut self, progress: Progress, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        for (place, sequence) in progress.waiting {
            let step = self.compiled.rules().get(sequence.rule);
            let step = step.and_then(|rule| rule.rule.steps.get(sequence.step));
            let repeats = step.is_some_and(|step| step.repeat.is_some());
            self.sequences.add(place, sequence, repeats);
        }
        for (number, trail) in progress.complete {
            let Some(CompiledRule { rule, .. }) = self.compiled.rules().get(number) else {
                continue;
            };
            if !is_news(&mut self.reported, seen.event, number, rule.window) {
                continue;
            }
            verdicts.findings.push(Finding {
                rule: patterns::Rule {
                    name: Cow::Owned(rule.name.clone()),
                    mitre: Cow::Owned(rule.mitre.clone()),
                    engine: alert::Engine::Patterns,
                },
                severity: rule.severity,
                process: seen.event.process,
                message: rule.description.clone(),
                steps: steps(&trail),
                remote: match &seen.event.action {
                    Action::Descriptor { descriptor: Some(descriptor), .. } => {
                        descriptor.socket.and_then(|socket| socket.remote)
                    }
                    _ => None,
                },
                repeat: false,
            });
        }
    }

    /// A process ended: what only it could go on with is over.
    fn forget(&mut self, process: ProcessId) {
        self.reported.remove(&process);
        let rules = self.compiled.rules();
        self.sequences.remove(Place::Process(process), |one| {
            let step = rules.get(one.rule).and_then(|rule| rule.rule.steps.get(one.step));
            step.is_none_or(|step| step.relation == Relation::SameProcess)
        });
    }
}

/// Whether the rule was not reported of the process within its window, and is now.
fn is_news(
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

/// Has sequences under way take their next step with the event, and ends those that it forbids.
fn go_on(
    compiled: &Compiled,
    sequences: &mut Sequences,
    dispatch: &Dispatch,
    seen: &Seen<'_>,
    progress: &mut Progress,
) {
    let mut visit = |place| {
        let mut has_ended = false;
        for sequence in sequences.at(place) {
            let Some(CompiledRule { rule, slots }) = compiled.rules().get(sequence.rule) else {
                continue;
            };
            let Some(step) = rule.steps.get(sequence.step) else { continue };
            if sequence.step > 0
                && step.event.kinds.has(seen.kind)
                && may_take(rule.window, step, slots, sequence, seen)
                && !rule.allows(seen)
                && is_often_enough(step, sequence, seen.event.timestamp)
            {
                progress.step_taken(compiled, sequence, seen);
            }
            if let Some(absence) = &step.without {
                has_ended |= forbids(absence, sequence.process, seen);
            }
        }
        if has_ended {
            sequences.remove(place, |sequence| {
                let rule = compiled.rules().get(sequence.rule);
                let step = rule.and_then(|rule| rule.rule.steps.get(sequence.step));
                step.and_then(|step| step.without.as_ref())
                    .is_some_and(|absence| forbids(absence, sequence.process, seen))
            });
        }
    };
    if dispatch.own {
        visit(Place::Process(seen.event.process));
    }
    let ancestors = seen.process.map(|process| &process.ancestors[..]).unwrap_or_default();
    let generations = match (dispatch.parent, dispatch.ancestors) {
        (_, true) => ancestors.len(),
        (true, false) => 1,
        (false, false) => 0,
    };
    for ancestor in ancestors.iter().take(generations) {
        visit(Place::Process(ancestor.id));
    }
    for &(rule, step) in &dispatch.by_anyone {
        visit(Place::Step(rule, step));
    }
}

/// Begins a rule with the event, if its first step is that.
fn begin(
    compiled: &Compiled,
    sequences: &mut Sequences,
    number: usize,
    seen: &Seen<'_>,
    progress: &mut Progress,
) {
    let Some(CompiledRule { rule, slots }) = compiled.rules().get(number) else { return };
    let Some(first) = rule.steps.first() else { return };
    if !first.event.matches(seen) || rule.allows(seen) {
        return;
    }
    let (now, process) = (seen.event.timestamp, seen.event.process);
    let mut sequence = Sequence::begun(number, slots.len(), process);
    let Some(repeat) = first.repeat else {
        sequence.start = now;
        return progress.step_taken(compiled, &sequence, seen);
    };
    let place = Place::Process(process);
    let is_first = |one: &Sequence| one.rule == number && one.step == 0;
    if let Some(known) = sequences.at(place).iter_mut().find(|one| is_first(one)) {
        sequence.taken = std::mem::take(&mut known.taken);
        sequences.remove(place, is_first);
    }
    if is_often_enough(first, &mut sequence, now) {
        sequence.start = sequence.taken.front().copied().unwrap_or(now);
        if now.saturating_sub(sequence.start) <= rule.window {
            progress.step_taken(compiled, &sequence, seen);
        }
    }
    sequence.expires = now.saturating_add(repeat.per);
    progress.waiting.push((place, sequence));
}

/// Whether the event may be the next step of `sequence`, but for how often.
fn may_take(
    window: u64,
    step: &RuleStep,
    slots: &[super::compile::Slot],
    sequence: &Sequence,
    seen: &Seen<'_>,
) -> bool {
    let now = seen.event.timestamp;
    let since = now.saturating_sub(sequence.previous);
    let events = || seen.process.map_or(0, |process| process.events);
    relates(step.relation, sequence.process, seen)
        && now.saturating_sub(sequence.start) <= window
        && step.within.is_none_or(|within| since <= within)
        && step.distance.is_none_or(|distance| events().saturating_sub(sequence.events) <= distance)
        && step.bindings.iter().all(|binding| {
            let is_it = |slot: &super::compile::Slot| {
                (slot.step, slot.common) == (binding.step, binding.common)
            };
            let place = slots.iter().position(is_it);
            let bound = place.and_then(|place| sequence.bound.get(place).copied().flatten());
            bound.is_some() && bound == binding.common.of(seen)
        })
        && step.event.matches(seen)
}

/// Whether who did the event is who may take a step after `previous`.
pub(super) fn relates(relation: Relation, previous: ProcessId, seen: &Seen<'_>) -> bool {
    let own = seen.event.process == previous;
    match relation {
        Relation::SameProcess => own,
        Relation::Child => seen.process.and_then(Process::parent) == Some(previous),
        Relation::Tree => {
            own || seen.process.is_some_and(|process| {
                process.ancestors.iter().any(|ancestor| ancestor.id == previous)
            })
        }
        Relation::Any => true,
    }
}

fn forbids(absence: &Absence, previous: ProcessId, seen: &Seen<'_>) -> bool {
    absence.event.kinds.has(seen.kind)
        && relates(absence.relation, previous, seen)
        && absence.event.matches(seen)
}

/// Counts that the step was taken at `now`; whether that was often enough.
fn is_often_enough(step: &RuleStep, sequence: &mut Sequence, now: u64) -> bool {
    let Some(repeat) = step.repeat else { return true };
    if sequence.taken.len() >= repeat.count {
        sequence.taken.pop_front();
    }
    sequence.taken.push_back(now);
    sequence.taken.len() >= repeat.count
        && sequence.taken.front().is_some_and(|first| now.saturating_sub(*first) <= repeat.per)
}

impl Progress {
    /// `sequence` has taken the step that it waited for: another one goes on from there.
    fn step_taken(&mut self, compiled: &Compiled, sequence: &Sequence, seen: &Seen<'_>) {
        let Some(CompiledRule { rule, slots }) = compiled.rules().get(sequence.rule) else {
            return;
        };
        if sequence.step + 1 >= rule.steps.len() && self.has(sequence.rule) {
            return;
        }
        let (now, process) = (seen.event.timestamp, seen.event.process);
        let deed = Deed::Seen { event: seen.kind.name(), detail: detail(seen) };
        let step = Step { timestamp: now, process, deed };
        let trail = Rc::new(Trail { step, before: sequence.trail.clone() });
        let Some(next) = rule.steps.get(sequence.step + 1) else {
            return self.complete.push((sequence.rule, trail));
        };
        let mut bound = sequence.bound.clone();
        for (slot, value) in slots.iter().zip(&mut bound) {
            if slot.step == sequence.step {
                *value = slot.common.of(seen);
            } else if slot.last_use <= sequence.step {
                *value = None;
            }
        }
        let until = |limit: u64| now.saturating_add(limit);
        let whole = sequence.start.saturating_add(rule.window);
        let place = match next.relation {
            Relation::Any => Place::Step(sequence.rule, sequence.step + 1),
            _ => Place::Process(process),
        };
        let begun = Sequence::begun(sequence.rule, 0, process);
        let waiting = Sequence {
            step: sequence.step + 1,
            start: sequence.start,
            previous: now,
            events: seen.process.map_or(0, |process| process.events),
            bound,
            expires: next.within.map_or(whole, |within| whole.min(until(within))),
            trail: Some(trail),
            ..begun
        };
        self.waiting.push((place, waiting));
    }

    /// Whether the rule is complete already.
    fn has(&self, rule: usize) -> bool {
        self.complete.iter().any(|(complete, _)| *complete == rule)
    }
}

/// The steps of a trail in order of time.
fn steps(last: &Trail) -> Vec<Step> {
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
fn detail(seen: &Seen<'_>) -> String {
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

#[cfg(test)]
mod tests;
