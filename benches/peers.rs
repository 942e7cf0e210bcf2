//! What is watched by others, beside Sentinel and nobody: the works of `overhead`, under tools that can be had
//! from Debian.
//!
//! `cargo build --release && benches/compare` as root, on a machine that does nothing else. In each of three rounds
//! all works are done under each tool that is installed; medians count. With 0 rounds it does the first work once.

use std::collections::BTreeMap;

use sentinel_tests::bed::Bed;

#[path = "footprint/parts.rs"]
#[expect(dead_code, reason = "the maps are the business of `footprint`")]
mod parts;
#[path = "peers/tools.rs"]
mod tools;
#[path = "overhead/works.rs"]
#[expect(dead_code, reason = "by what they are judged is the business of `overhead`")]
mod works;

use tools::{Toll, Tool};
use works::{WORKS, Work};

fn main() {
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(3_usize);
    let is_brief = rounds == 0;
    let Some(bed) = Bed::new() else { return };
    works::prepare(&bed);
    let wanted = if is_brief { 1 } else { WORKS.len() };
    let works: Vec<&Work> = WORKS.iter().take(wanted).filter(|work| work.is_possible()).collect();
    let (there, absent): (Vec<Tool>, Vec<Tool>) =
        Tool::ALL.into_iter().partition(|tool| tool.is_installed());
    for tool in absent {
        println!("{} is not installed and left out", tool.name());
    }
    let mut times: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    let mut tolls: BTreeMap<usize, Toll> = BTreeMap::new();
    for _ in 0..rounds.max(1) {
        for (column, tool) in there.iter().enumerate() {
            let watching = tool.begin(&bed);
            for (row, work) in works.iter().enumerate() {
                let share = if is_brief { 0.001 } else { tool.share() };
                let time = work.take_by(&|program| tool.command(&bed, program), &bed, share);
                times.entry((row, column)).or_default().push(time);
            }
            tolls.extend(watching.end().map(|toll| (column, toll)));
        }
    }
    let names: String = there.iter().map(|tool| format!("{:>12}", tool.name())).collect();
    println!("{:<20}{names}", "");
    for (row, work) in works.iter().enumerate() {
        let mut middle = |column| median(times.get_mut(&(row, column)).expect("taken"));
        let nobody = middle(0);
        let ratios: String =
            (1..there.len()).map(|column| format!("{:>11.2}×", middle(column) / nobody)).collect();
        println!("{:<20}{nobody:>9.0} ns{ratios}", work.name);
    }
    println!("for themselves:");
    for (column, toll) in tolls {
        println!("{:<20}{toll}", there[column].name());
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
