//! Puts the events of both rings in order of time before anybody follows them.
//!
//! The loader takes both rings in rounds and says when each has ended. What happened before a round
//! began has been sent by its end, so it can be followed then, in order. Only a program that was
//! interrupted in the kernel between taking its time and writing its record comes later.

use crate::event::Event;

/// Events that are held at the most; beyond it the older half is followed before its round ends.
const MAX_HELD: usize = 262_144;

/// Events that wait for others from before them.
#[derive(Debug, Default)]
pub struct Merge {
    held: Vec<Event>,
    /// How many of them are in order already.
    sorted: usize,
    /// Time of the last one that was given out.
    reached: u64,
    late: u64,
}

impl Merge {
    /// Takes an event.
    pub fn hold(&mut self, event: Event) {
        self.late += u64::from(event.timestamp < self.reached);
        self.held.push(event);
    }

    /// Gives out, in order, what happened until `until` (CLOCK_BOOTTIME, ns).
    pub fn release(&mut self, until: u64) -> Vec<Event> {
        let count = self.sort(until);
        self.give(count)
    }

    /// Whether more is held than should be.
    pub fn is_full(&self) -> bool {
        self.held.len() > MAX_HELD
    }

    /// Gives out the older half.
    pub fn relieve(&mut self) -> Vec<Event> {
        let count = self.sort(u64::MAX) / 2;
        self.give(count)
    }

    /// How many came too late to be in order.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Sorts, keeping the order of equal times; returns how many are not later than `until`.
    fn sort(&mut self, until: u64) -> usize {
        if self.sorted < self.held.len() {
            self.held.sort_by_key(|event| event.timestamp);
            self.sorted = self.held.len();
        }
        self.held.partition_point(|event| event.timestamp <= until)
    }

    fn give(&mut self, count: usize) -> Vec<Event> {
        let last = count.checked_sub(1).and_then(|last| self.held.get(last));
        self.reached = last.map_or(self.reached, |event| event.timestamp.max(self.reached));
        self.sorted -= count;
        let later = self.held.split_off(count);
        std::mem::replace(&mut self.held, later)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Action, ProcessId};

    fn event(timestamp: u64, tgid: u32) -> Event {
        Event::of(timestamp, ProcessId { tgid, start_time: 1 }, Action::Exit)
    }

    fn times(events: Vec<Event>) -> Vec<(u64, u32)> {
        events.into_iter().map(|event| (event.timestamp, event.process.tgid)).collect()
    }

    #[test]
    fn two_rings_become_one_order() {
        let mut merge = Merge::default();
        for (time, from) in [(1, 1), (4, 1), (2, 2), (3, 2), (9, 2)] {
            merge.hold(event(time, from));
        }
        assert_eq!(times(merge.release(4)), [(1, 1), (2, 2), (3, 2), (4, 1)]);
        merge.hold(event(8, 1));
        assert_eq!(times(merge.release(9)), [(8, 1), (9, 2)]);
        assert_eq!(merge.late(), 0);
    }

    #[test]
    fn who_is_late_is_counted_and_not_lost() {
        let mut merge = Merge::default();
        merge.hold(event(5, 1));
        assert_eq!(times(merge.release(5)), [(5, 1)]);
        merge.hold(event(4, 1));
        assert_eq!(times(merge.release(6)), [(4, 1)]);
        assert_eq!(merge.late(), 1);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut merge = Merge::default();
        let mut given = 0;
        for time in 0..3 * MAX_HELD as u64 {
            merge.hold(event(time, 1));
            if merge.is_full() {
                given += merge.relieve().len();
            }
            assert!(merge.held.len() <= MAX_HELD);
        }
        given += merge.release(u64::MAX).len();
        assert_eq!((given, merge.late()), (3 * MAX_HELD, 0));
    }

    proptest! {
        #[test]
        fn every_event_comes_once_and_in_order(
            rounds in proptest::collection::vec(
                proptest::collection::vec((0_u64..50, 0_u32..3), 0..20), 0..6),
        ) {
            let mut merge = Merge::default();
            let mut given = Vec::new();
            let mut count = 0;
            for (number, round) in (0_u64..).zip(&rounds) {
                for &(time, from) in round {
                    merge.hold(event(number * 50 + time, from));
                    count += 1;
                }
                given.extend(times(merge.release(number * 50 + 49)));
            }
            prop_assert_eq!(given.len(), count);
            prop_assert!(given.is_sorted_by_key(|(time, _)| *time));
            prop_assert_eq!(merge.late(), 0);
        }
    }
}
