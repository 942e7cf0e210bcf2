//! What watching costs who is watched, beside nobody and beside an empty program at `sys_exit`.
//!
//! `cargo build --release && cargo bench -p sentinel-tests --bench overhead [-- ROUNDS [WORK…]]` as root, on a machine
//! that does nothing else. In each round all works, or those that are named, are done under each watcher, one after
//! the other. Medians count, and of what takes less than a microsecond or a few, which is done in four parts a round, the
//! least: whatever else the machine does adds to it more than a watcher does. With 0 rounds it does everything once,
//! of what is counted a fiftieth, to see that it works.

use std::collections::BTreeMap;

use sentinel_tests::bed::Bed;

#[path = "overhead/empty.rs"]
mod empty;
#[path = "overhead/per_call.rs"]
mod per_call;
#[path = "overhead/watchers.rs"]
mod watchers;
#[path = "overhead/works.rs"]
mod works;

use watchers::Watcher;
use works::{Goal, WORKS, Work};

/// Parts in which a short work is done in a round.
const PARTS: u32 = 4;

/// By work and watcher: ns of each round, or of each part of one.
type Taken = BTreeMap<(usize, usize), Vec<f64>>;

fn main() {
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(9_u32);
    let share = if rounds == 0 { 0.02 } else { 1.0 };
    let Some(bed) = Bed::new() else { return };
    works::prepare(&bed);
    let named: Vec<String> = std::env::args().skip(1).collect();
    let is_named = |work: &Work| named.iter().any(|word| word == work.name);
    let all = !WORKS.iter().any(is_named);
    let possible: Vec<&Work> =
        WORKS.iter().filter(|work| (all || is_named(work)) && work.is_possible()).collect();
    let mut taken = Taken::new();
    for _ in 0..rounds.max(1) {
        for (column, watcher) in Watcher::ALL.into_iter().enumerate() {
            let watch = watcher.begin(&bed).expect("a watcher");
            for (row, work) in possible.iter().enumerate() {
                let times = taken.entry((row, column)).or_default();
                if is_short(work) {
                    times.extend((0..PARTS).map(|_| work.take(&bed, share / f64::from(PARTS))));
                } else {
                    times.push(work.take(&bed, share));
                }
            }
            watch.end();
        }
    }
    let columns = Watcher::ALL.map(|watcher| format!("{:>15}", watcher.name())).join("");
    println!("{:<20}{columns}   goal          is", "ns");
    for (row, work) in possible.iter().enumerate() {
        let times: Vec<f64> =
            (0..Watcher::ALL.len()).map(|column| told(work, &taken[&(row, column)])).collect();
        let cells: String = times.iter().map(|time| format!("{time:>15.0}")).collect();
        println!("{:<20}{cells}   {}", work.name, judged(work.goal, &times));
    }
}

/// Whether one takes so little that whatever else goes on disturbs it.
fn is_short(work: &Work) -> bool {
    !matches!(work.goal, Goal::Whole(_))
}

/// The least or the median.
fn told(work: &Work, times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[if is_short(work) { 0 } else { times.len() / 2 }]
}

/// The goal, and what was reached without and with baselines.
fn judged(goal: Goal, times: &[f64]) -> String {
    let [nobody, empty, _, sentinel, baseline] = times else { return String::new() };
    match goal {
        Goal::Added(without, with) => {
            let added = |time: f64| (time - nobody) / (empty - nobody);
            format!("≤ {without:.2}×/{with:.2}×  {:.2}× {:.2}×", added(*sentinel), added(*baseline))
        }
        Goal::Beyond(ns) => {
            format!("≤ +{ns:.0} ns     +{:.0} +{:.0}", sentinel - empty, baseline - empty)
        }
        Goal::None => format!("–             +{:.0} +{:.0}", sentinel - empty, baseline - empty),
        Goal::Whole(most) => {
            format!("≤ {most:.2}×       {:.3}× {:.3}×", sentinel / nobody, baseline / nobody)
        }
    }
}
