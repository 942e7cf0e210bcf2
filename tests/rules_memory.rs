//! Memory of the engines is bounded: by who lives, not by what has happened. The bench `rules_cost` does the
//! same with ten million events.

#[path = "../benches/rules_cost/memory.rs"]
mod memory;

use memory::{MAX_GROWTH, MAX_PER_PROCESS, growth, lives, recorded};

const EVENTS: usize = 2_000_000;

/// One test: memory is that of the process, and others would run beside it.
#[test]
fn events_leave_nothing_and_processes_little_behind() {
    assert!(lives() <= MAX_PER_PROCESS);
    assert!(growth(&recorded(), EVENTS) <= MAX_GROWTH);
}
