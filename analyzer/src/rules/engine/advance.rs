//! Steps taken: how sequences under way go on with an event, and new ones begin.

use std::rc::Rc;

use super::report::detail;
use crate::{
    event::ProcessId,
    lineage::Lineage,
    process_table::Process,
    rules::{
        compile::{Compiled, CompiledRule, Dispatch, Slot},
        fields::Seen,
        rule::{Absence, Relation, Step as RuleStep},
        sequences::{Place, Sequence, Sequences, Trail},
    },
    step::{Deed, Step},
};

/// What an event brings about.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) waiting: Vec<(Place, Sequence)>,
    pub(super) complete: Vec<(usize, Rc<Trail>)>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// The rules.
    pub(super) compiled: &'a Compiled,
    /// Who can have data of whom.
    pub(super) lineage: &'a Lineage,
    /// Until when something may have happened that was not seen, ns.
    pub(super) unseen_until: u64,
}

/// Has sequences under way take their next step with the event, and ends those that it forbids.
pub(super) fn go_on(
    Rules { compiled, lineage, unseen_until }: Rules<'_>,
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
                // What must not have happened may be among what was lost.
                && (step.without.is_none() || sequence.previous > unseen_until)
                && may_take(rule.window, step, slots, sequence, seen)
                && (step.relation != Relation::Lineage
                    || lineage.reaches(sequence.process, sequence.previous, seen.event.process))
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
pub(super) fn begin(
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
    sequence.ancestors = seen.process.map(|process| Rc::clone(&process.ancestors));
    progress.waiting.push((place, sequence));
}

/// Whether the event may be the next step of `sequence`, but for how often.
fn may_take(
    window: u64,
    step: &RuleStep,
    slots: &[Slot],
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
            let is_it = |slot: &Slot| (slot.step, slot.common) == (binding.step, binding.common);
            let place = slots.iter().position(is_it);
            let bound = place.and_then(|place| sequence.bound.get(place).copied().flatten());
            bound.is_some() && bound == binding.common.of(seen)
        })
        && step.event.matches(seen)
}

/// Whether who did the event is who may take a step after `previous`.
pub(in crate::rules) fn relates(relation: Relation, previous: ProcessId, seen: &Seen<'_>) -> bool {
    let own = seen.event.process == previous;
    match relation {
        Relation::SameProcess => own,
        Relation::Child => seen.process.and_then(Process::parent) == Some(previous),
        Relation::Tree => {
            own || seen.process.is_some_and(|process| {
                process.ancestors.iter().any(|ancestor| ancestor.id == previous)
            })
        }
        // Of lineage it is asked who has whose data.
        Relation::Lineage | Relation::Any => true,
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
        let place = if next.relation.is_looked_for_everywhere() {
            Place::Step(sequence.rule, sequence.step + 1)
        } else {
            Place::Process(process)
        };
        let begun = Sequence::begun(sequence.rule, 0, process);
        let waiting = Sequence {
            step: sequence.step + 1,
            start: sequence.start,
            previous: now,
            events: seen.process.map_or(0, |process| process.events),
            ancestors: seen.process.map(|process| Rc::clone(&process.ancestors)),
            bound,
            expires: next.within.map_or(whole, |within| whole.min(until(within))),
            trail: Some(trail),
            ..begun
        };
        self.waiting.push((place, waiting));
    }

    /// Whether there is none.
    pub(super) fn is_none(&self) -> bool {
        self.waiting.is_empty() && self.complete.is_empty()
    }

    /// Whether the rule is complete already.
    fn has(&self, rule: usize) -> bool {
        self.complete.iter().any(|(complete, _)| *complete == rule)
    }
}
