//! That there is no room for all that is under way: whoever begins many sequences may want one of them
//! to be lost, and so that is an alert of its own.

use std::collections::HashMap;

use crate::{
    alert::{Engine, Severity},
    event::ProcessId,
    patterns::{Rule, Verdicts},
    rules::sequences::Sequences,
};

static EXHAUSTED: Rule = Rule::of("pattern_state_exhausted", "T1562.001", Engine::Sensor);
/// From one alert to the next, ns.
const INTERVAL: u64 = 60_000_000_000;
/// The first process, under which everything is.
const INIT: u32 = 1;

/// What was told of sequences that had to go for others.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    told: u64,
    told_at: Option<u64>,
}

impl Pressure {
    /// Says so at `now` (CLOCK_BOOTTIME, ns) if sequences had to go since it was told last: at once the
    /// first time, and at intervals from then on.
    pub(super) fn tell(&mut self, now: u64, sequences: &Sequences, verdicts: &mut Verdicts) {
        let evicted = sequences.evicted();
        let is_due = || self.told_at.is_none_or(|then| now.saturating_sub(then) >= INTERVAL);
        if evicted == self.told || !is_due() {
            return;
        }
        let new = evicted - self.told;
        (self.told, self.told_at) = (evicted, Some(now));
        let culprit = culprit(sequences);
        let whose = match culprit {
            Some(_) => {
                "most of what is under way was begun by this process or by what descends from it"
            }
            None => "no process stands out among those that began what is under way",
        };
        let process = culprit.unwrap_or(ProcessId { tgid: 0, start_time: 0 });
        let message = format!(
            "{new} begun sequences of rules had to make room for others ({} are under way), so an \
             attack that goes on slowly may be missed: {whose}",
            sequences.len()
        );
        verdicts.findings.push(EXHAUSTED.finding(Severity::High, process, message));
    }
}

/// The nearest process from which, or from whose descendants, at least half of the crowd comes.
fn culprit(sequences: &Sequences) -> Option<ProcessId> {
    /// Of a process: how much comes from it, and from how far.
    type Share = (usize, usize);
    let mut shares: HashMap<ProcessId, Share> = HashMap::new();
    let mut total = 0;
    for sequence in sequences.crowd_of(sequences.crowd()?) {
        total += 1;
        let ancestors = sequence.ancestors.iter().flat_map(|line| line.iter()).map(|one| one.id);
        for (distance, id) in std::iter::once(sequence.process).chain(ancestors).enumerate() {
            let (count, distances) = shares.entry(id).or_default();
            *count += 1;
            *distances += distance;
        }
    }
    let is_likely = |(id, (count, _)): &(&ProcessId, &Share)| id.tgid != INIT && count * 2 >= total;
    let nearest = |(id, (count, distances)): &(&ProcessId, &Share)| {
        (distances.checked_div(*count), usize::MAX - count, **id)
    };
    shares.iter().filter(is_likely).min_by_key(nearest).map(|(id, _)| *id)
}
