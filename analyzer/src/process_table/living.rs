//! Processes by their numbers. What happens is mostly done by who did something a moment ago, and each engine asks
//! for him: so where the latest are is remembered.

use std::{array, cell::Cell, collections::BTreeMap};

use super::Process;

/// Places that are remembered: one for all numbers that have the same remainder.
const RECENT: u32 = 64;

/// All processes that are kept, each by its number.
#[derive(Debug)]
pub(super) struct Living {
    places: BTreeMap<u32, usize>,
    processes: Vec<Option<Box<Process>>>,
    vacant: Vec<usize>,
    recent: [Cell<usize>; RECENT as usize],
}

impl Default for Living {
    fn default() -> Self {
        Self {
            places: BTreeMap::new(),
            processes: Vec::new(),
            vacant: Vec::new(),
            recent: array::from_fn(|_| Cell::new(0)),
        }
    }
}

impl Living {
    /// The one of this number.
    pub(super) fn get(&self, tgid: u32) -> Option<&Process> {
        let recent = self.recent(tgid)?;
        match self.at(recent.get()) {
            Some(process) if process.id.tgid == tgid => Some(process),
            _ => {
                recent.set(*self.places.get(&tgid)?);
                self.at(recent.get())
            }
        }
    }

    /// Likewise, to be changed.
    pub(super) fn get_mut(&mut self, tgid: u32) -> Option<&mut Process> {
        self.get(tgid)?;
        let place = self.recent(tgid)?.get();
        self.processes.get_mut(place)?.as_deref_mut()
    }

    /// Keeps `process`, in place of another one of its number.
    pub(super) fn insert(&mut self, process: Box<Process>) {
        let tgid = process.id.tgid;
        if let Some(known) = self.get_mut(tgid) {
            *known = *process;
        } else if let Some(place) = self.vacant.pop() {
            self.places.insert(tgid, place);
            if let Some(vacant) = self.processes.get_mut(place) {
                *vacant = Some(process);
            }
        } else {
            self.places.insert(tgid, self.processes.len());
            self.processes.push(Some(process));
        }
    }

    /// The one of this number is gone.
    pub(super) fn remove(&mut self, tgid: u32) {
        let Some(place) = self.places.remove(&tgid) else { return };
        if let Some(process) = self.processes.get_mut(place) {
            *process = None;
            self.vacant.push(place);
        }
    }

    /// All of them, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.places.values().filter_map(|&place| self.at(place))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    fn at(&self, place: usize) -> Option<&Process> {
        self.processes.get(place)?.as_deref()
    }

    fn recent(&self, tgid: u32) -> Option<&Cell<usize>> {
        self.recent.get(usize::try_from(tgid % RECENT).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::{descriptor_table::DescriptorTable, event::ProcessId};

    #[test]
    fn a_place_that_passes_on_is_nobodys_any_more() {
        let mut living = Living::default();
        let process = |tgid, start_time| {
            let descriptors = DescriptorTable::new(Rc::default());
            Box::new(Process::new(ProcessId { tgid, start_time }, descriptors))
        };
        let start = |living: &Living, tgid| living.get(tgid).map(|it| it.id.start_time);
        living.insert(process(5, 1));
        assert_eq!(start(&living, 5), Some(1));
        living.remove(5);
        assert_eq!(start(&living, 5), None);
        // The same place, by a number that is remembered where the other was.
        living.insert(process(5 + RECENT, 2));
        assert_eq!((start(&living, 5), start(&living, 5 + RECENT)), (None, Some(2)));
        living.insert(process(5, 3));
        living.insert(process(5, 4));
        assert_eq!(
            (start(&living, 5), start(&living, 5 + RECENT), living.len()),
            (Some(4), Some(2), 2)
        );
    }
}
