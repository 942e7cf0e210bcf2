//! Sequences under way: where they wait, until when, and which goes first when there is no room.
//!
//! A sequence waits with the process that took its last step, or, if anyone may take the next one,
//! with that step. There is room for [`MAX_OF_PROCESS`] with a process, [`MAX_OF_STEP`] with a step
//! and [`MAX_IN_TOTAL`] in all; when there is none, the sequence goes that would expire first, and is
//! counted. Who crowds out others is told as an alert of its own (`engine::pressure`).

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use super::rule::Bound;
use crate::{event::ProcessId, keyed_hash::HashMap, process_table::Ancestor, step::Step};

/// Sequences that wait with one process at the most.
pub const MAX_OF_PROCESS: usize = 64;
/// Sequences that wait with one step at the most.
pub const MAX_OF_STEP: usize = 1024;
/// Sequences under way at the most.
pub const MAX_IN_TOTAL: usize = 32_768;

/// Where a sequence waits for its next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// With the process that took the last step.
    Process(ProcessId),
    /// With this rule's step, by their numbers.
    Step(usize, usize),
}

/// Steps that were taken, the last one first.
#[derive(Debug)]
pub struct Trail {
    /// The last one.
    pub step: Step,
    /// Those before.
    pub before: Option<Rc<Trail>>,
}

/// A sequence under way.
#[derive(Debug)]
pub struct Sequence {
    /// Number of its rule.
    pub rule: usize,
    /// Number of the step that it waits for.
    pub step: usize,
    /// Time of its first step, ns.
    pub start: u64,
    /// Time of its last step, ns.
    pub previous: u64,
    /// How many events its process had had then.
    pub events: u64,
    /// Who took its last step.
    pub process: ProcessId,
    /// Who that descends from, which outlives it.
    pub ancestors: Option<Rc<[Ancestor]>>,
    /// What later steps ask for, in the order of the rule's slots.
    pub bound: Box<[Option<Bound>]>,
    /// Times at which a step that is to be repeated was taken; the latest ones.
    pub taken: VecDeque<u64>,
    /// When it cannot be completed any more, ns.
    pub expires: u64,
    /// What led here.
    pub trail: Option<Rc<Trail>>,
    /// Told apart by it from others that expire at the same time; given by [`Sequences::add`].
    pub(super) serial: u64,
}

impl Sequence {
    /// One that waits for its first step.
    pub fn begun(rule: usize, slots: usize, process: ProcessId) -> Self {
        Self {
            rule,
            step: 0,
            start: 0,
            previous: 0,
            events: 0,
            process,
            ancestors: None,
            bound: vec![None; slots].into(),
            taken: VecDeque::new(),
            expires: 0,
            trail: None,
            serial: 0,
        }
    }

    /// Whether whatever completes `other` from now on completes this one too.
    fn replaces(&self, other: &Self) -> bool {
        self.rule == other.rule
            && self.step == other.step
            && self.process == other.process
            && self.start >= other.start
            && self.previous >= other.previous
            && self.bound == other.bound
            && other.taken.is_empty()
    }
}

/// Where there was no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowd {
    /// At this place.
    At(Place),
    /// In all.
    Everywhere,
}

/// All sequences under way.
#[derive(Debug, Default)]
pub struct Sequences {
    waiting: HashMap<Place, Vec<Sequence>>,
    by_expiry: BTreeMap<(u64, u64), Place>,
    next_serial: u64,
    evicted: u64,
    crowd: Option<Crowd>,
}

impl Sequences {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_expiry.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_expiry.is_empty()
    }

    /// How many had to go for others so far.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Where one had to go for others last.
    pub fn crowd(&self) -> Option<Crowd> {
        self.crowd
    }

    /// Those that wait where there was no room.
    pub fn crowd_of(&self, crowd: Crowd) -> impl Iterator<Item = &Sequence> {
        let is_meant =
            move |place: &Place| crowd == Crowd::Everywhere || crowd == Crowd::At(*place);
        let crowded = self.waiting.iter().filter(move |(place, _)| is_meant(place));
        crowded.flat_map(|(_, waiting)| waiting.iter())
    }

    /// Gives rules new numbers; what waits for a step of those that get none goes. Returns how many
    /// went.
    pub fn renumber(&mut self, new: impl Fn(usize) -> Option<usize>) -> usize {
        let before = self.len();
        self.by_expiry.clear();
        for (place, waiting) in std::mem::take(&mut self.waiting) {
            for mut one in waiting {
                let Some(rule) = new(one.rule) else { continue };
                one.rule = rule;
                let place = match place {
                    Place::Process(process) => Place::Process(process),
                    Place::Step(_, step) => Place::Step(rule, step),
                };
                self.by_expiry.insert((one.expires, one.serial), place);
                self.waiting.entry(place).or_default().push(one);
            }
        }
        self.crowd = None;
        before - self.len()
    }

    /// Those that wait at `place`.
    pub fn at(&mut self, place: Place) -> &mut [Sequence] {
        self.waiting.get_mut(&place).map(Vec::as_mut_slice).unwrap_or_default()
    }

    /// Has `sequence` wait at `place`, and the older ones go that it stands for.
    /// `is_alone`: it stands for no other.
    pub fn add(&mut self, place: Place, mut sequence: Sequence, is_alone: bool) {
        if !is_alone {
            self.remove(place, |other| sequence.replaces(other));
        }
        let room = match place {
            Place::Process(_) => MAX_OF_PROCESS,
            Place::Step(..) => MAX_OF_STEP,
        };
        if self.at(place).len() >= room {
            let first = self.at(place).iter().map(|one| (one.expires, one.serial)).min();
            self.remove(place, |one| Some((one.expires, one.serial)) == first);
            self.evicted += 1;
            self.crowd = Some(Crowd::At(place));
        }
        while self.by_expiry.len() >= MAX_IN_TOTAL
            && let Some((key, place)) = self.by_expiry.first_key_value().map(|(k, p)| (*k, *p))
        {
            self.remove(place, |one| (one.expires, one.serial) == key);
            self.evicted += 1;
            self.crowd = Some(Crowd::Everywhere);
        }
        self.next_serial += 1;
        sequence.serial = self.next_serial;
        self.by_expiry.insert((sequence.expires, sequence.serial), place);
        self.waiting.entry(place).or_default().push(sequence);
    }

    /// Removes those at `place` that are meant.
    pub fn remove(&mut self, place: Place, mut is_meant: impl FnMut(&Sequence) -> bool) {
        let Some(waiting) = self.waiting.get_mut(&place) else { return };
        waiting.retain(|one| {
            let goes = is_meant(one);
            if goes {
                self.by_expiry.remove(&(one.expires, one.serial));
            }
            !goes
        });
        if waiting.is_empty() {
            self.waiting.remove(&place);
        }
    }

    /// Removes those that expired before `now`, ns.
    pub fn expire(&mut self, now: u64) {
        while let Some((&key, &place)) = self.by_expiry.first_key_value() {
            let (expires, _) = key;
            if expires >= now {
                return;
            }
            self.remove(place, |one| (one.expires, one.serial) == key);
            // Whatever the places hold, this ends.
            self.by_expiry.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(expires: u64, bound: u32) -> Sequence {
        let process = ProcessId { tgid: 1, start_time: 1 };
        let mut sequence = Sequence::begun(0, 1, process);
        sequence.bound = Box::new([Some(Bound::Number(bound))]);
        Sequence { expires, ..sequence }
    }

    #[test]
    fn what_expires_first_makes_room() {
        let mut all = Sequences::default();
        let place = Place::Process(ProcessId { tgid: 0, start_time: 1 });
        for number in 0..100 {
            all.add(place, sequence(u64::from(1000 - number), number), false);
        }
        assert_eq!((all.len(), all.evicted()), (MAX_OF_PROCESS, 36));
        let latest = all.at(place).iter().map(|one| one.expires).max();
        assert_eq!(latest, Some(1000));
        for number in 1..u32::try_from(MAX_IN_TOTAL).unwrap() + 5 {
            let process = ProcessId { tgid: number, start_time: 1 };
            all.add(Place::Process(process), sequence(2000, 0), false);
        }
        assert_eq!(all.len(), MAX_IN_TOTAL);
        all.expire(2001);
        assert!(all.is_empty() && all.waiting.is_empty());
    }

    #[test]
    fn a_later_one_that_can_do_the_same_stands_for_an_older_one() {
        let mut all = Sequences::default();
        let place = Place::Step(0, 1);
        all.add(place, sequence(5, 1), false);
        all.add(place, sequence(6, 1), false);
        all.add(place, sequence(7, 2), false);
        assert_eq!((all.len(), all.evicted()), (2, 0));
    }
}
