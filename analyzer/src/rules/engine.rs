//! Looks for the sequences that rules describe.
//!
//! A rule has matched at an event when some choice of events, this one last, takes all its steps.
//! So a step never uses a sequence up: the sequence goes on waiting beside the one that went on, and
//! no decoy hides the real one. Of two that wait for the same and remember the same, the later one
//! stands for both, unless a step by lineage comes next. A rule speaks of a process once in its window.

use std::borrow::Cow;

use sentinel_ipc::frame::KindSet;

use super::{
    compile::{Compiled, CompiledRule},
    fields::Seen,
    kinds::EventKind,
    rule::Relation,
    sequences::{Place, Sequence, Sequences},
};
use crate::{
    alert,
    cgroups::Cgroups,
    event::{Action, Event, ProcessId},
    keyed_hash::{self, HashMap},
    lineage::Lineage,
    patterns::{self, Finding, Verdicts},
    process_table::ProcessTable,
};

mod advance;
mod pressure;
mod report;
mod swap;
#[cfg(test)]
mod tests;

use advance::{Progress, Rules, begin, go_on};
use pressure::Pressure;
use report::{is_news, steps};
pub use swap::Swap;

/// The engine: rules, and what of them is under way.
#[derive(Debug, Default)]
pub struct Engine {
    compiled: Compiled,
    sequences: Sequences,
    /// Rules that were reported of a process, and when.
    reported: HashMap<ProcessId, Vec<(usize, u64)>>,
    pressure: Pressure,
    /// Rules that the present event may begin; kept for its room.
    openings: Vec<usize>,
    /// Until when something may have happened that was not seen, ns.
    unseen_until: u64,
}

impl Engine {
    /// An engine that looks for these rules.
    pub fn new(compiled: Compiled) -> Self {
        Self { compiled, ..Self::default() }
    }

    /// Forgets all but the rules.
    pub fn restart(&mut self) {
        *self = Self::new(std::mem::take(&mut self.compiled));
    }

    /// What it looks for.
    pub fn rules(&self) -> &[CompiledRule] {
        self.compiled.rules()
    }

    /// What the sensor must be asked for.
    pub fn needs(&self) -> KindSet {
        self.compiled.needs()
    }

    /// Until `time` (CLOCK_BOOTTIME, ns) something may have happened that was not seen: that nothing was
    /// seen is no absence then.
    pub fn unseen_until(&mut self, time: u64) {
        self.unseen_until = time;
    }

    /// Sequences under way.
    pub fn under_way(&self) -> usize {
        self.sequences.len()
    }

    /// Sequences that had to go for others so far.
    pub fn evicted(&self) -> u64 {
        self.sequences.evicted()
    }

    /// Looks at an event that `processes`, `cgroups` and `lineage` have followed already.
    pub fn observe(
        &mut self,
        event: &Event,
        processes: &ProcessTable,
        cgroups: &Cgroups,
        lineage: &mut Lineage,
        verdicts: &mut Verdicts,
    ) {
        let Some(kind) = EventKind::of(event) else { return };
        let Some(dispatch) = self.compiled.dispatch(kind) else { return };
        let process = processes.get(event.process);
        let seen = Seen { event, kind, process, processes, cgroups };
        let mut progress = Progress::default();
        if !self.sequences.is_empty() {
            self.sequences.expire(event.timestamp);
            let rules =
                Rules { compiled: &self.compiled, lineage, unseen_until: self.unseen_until };
            go_on(rules, &mut self.sequences, dispatch, &seen, &mut progress);
        }
        dispatch.openings.find(&seen, &mut self.openings);
        for &number in &self.openings {
            begin(&self.compiled, &mut self.sequences, number, &seen, &mut progress);
        }
        if !progress.is_none() {
            self.mark(&progress, &seen, lineage);
            self.conclude(progress, &seen, verdicts);
        }
        self.pressure.tell(event.timestamp, &self.sequences, verdicts);
        if kind == EventKind::Exit {
            self.forget(event.process);
        }
    }

    /// Lets time go on to `now`, CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, processes: &ProcessTable, verdicts: &mut Verdicts) {
        self.pressure.tell(now, &self.sequences, verdicts);
        self.sequences.expire(now);
        // An exit may have been lost.
        if self.reported.len() > processes.len() {
            self.reported.retain(|id, _| processes.get(*id).is_some());
        }
    }

    /// Has the data followed of who took a step, if the next one is to be taken along with them.
    fn mark(&self, progress: &Progress, seen: &Seen<'_>, lineage: &mut Lineage) {
        let is_by_lineage = |sequence: &Sequence| {
            let rule = self.compiled.rules().get(sequence.rule);
            let step = rule.and_then(|rule| rule.rule.steps.get(sequence.step));
            sequence.step > 0 && step.is_some_and(|step| step.relation == Relation::Lineage)
        };
        let waiting = progress.waiting.iter().map(|(_, sequence)| sequence);
        let until = waiting.filter(|one| is_by_lineage(one)).map(|one| one.expires).max();
        if let Some(until) = until {
            let (process, now) = (seen.event.process, seen.event.timestamp);
            lineage.mark(process, now, until, seen.processes);
        }
    }

    fn conclude(&mut self, progress: Progress, seen: &Seen<'_>, verdicts: &mut Verdicts) {
        for (place, sequence) in progress.waiting {
            let step = self.compiled.rules().get(sequence.rule);
            let step = step.and_then(|rule| rule.rule.steps.get(sequence.step));
            // Of a lineage the older one may know readers that the later one does not.
            let is_alone = step
                .is_some_and(|step| step.repeat.is_some() || step.relation == Relation::Lineage);
            self.sequences.add(place, sequence, is_alone);
        }
        for (number, trail) in progress.complete {
            let Some(CompiledRule { rule, .. }) = self.compiled.rules().get(number) else {
                continue;
            };
            if !is_news(&mut self.reported, seen.event, number, rule.window) {
                continue;
            }
            let named = patterns::Rule {
                name: Cow::Owned(rule.name.clone()),
                mitre: Cow::Owned(rule.mitre.clone()),
                engine: alert::Engine::Patterns,
            };
            let remote = match &seen.event.action {
                Action::Descriptor { descriptor: Some(descriptor), .. } => {
                    descriptor.socket.and_then(|socket| socket.remote)
                }
                _ => None,
            };
            let description = rule.description.clone();
            let found = named.finding(rule.severity, seen.event.process, description);
            verdicts.findings.push(Finding { steps: steps(&trail), remote, ..found });
        }
    }

    /// A process ended: what only it could go on with is over.
    fn forget(&mut self, process: ProcessId) {
        keyed_hash::forget(&mut self.reported, &process);
        let rules = self.compiled.rules();
        self.sequences.remove(Place::Process(process), |one| {
            let step = rules.get(one.rule).and_then(|rule| rule.rule.steps.get(one.step));
            step.is_none_or(|step| step.relation == Relation::SameProcess)
        });
    }
}
