//! What each descriptor of a process refers to, and how it came to.

mod object;

use std::rc::Rc;

pub use object::{Objects, OpenObject};

use crate::{
    event::{Access, Action, Descriptor, DescriptorCall, Event, Exec, File, FileCall, ProcessId},
    step::{Deed, Step},
};

/// Descriptors that are kept of one process; beyond it new ones above 2 are forgotten.
const MAX_DESCRIPTORS: usize = 4096;
/// Descriptors that are kept of all processes together (32 bytes each, and about 100 for how it came there); beyond it new ones above
/// 2 are forgotten, and copies hold 0 to 2. What decides is then still told by each exec.
const MAX_TOTAL: usize = 500_000;
/// One descriptor.
#[derive(Debug, Clone)]
pub struct Slot {
    number: u32,
    /// What it refers to.
    pub object: Rc<OpenObject>,
    /// How the object came to this number; `None` where it was made there.
    pub arrived: Option<Rc<Step>>,
    /// When it was last told by itself that it is there; CLOCK_BOOTTIME, ns.
    confirmed: u64,
    close_on_exec: bool,
    /// What it is open for, where that was told.
    pub access: Option<Access>,
}

impl Slot {
    /// Whether it closes when its process starts a program.
    pub fn closes_on_exec(&self) -> bool {
        self.close_on_exec
    }
}

/// A process's descriptors, as far as events told. A copy shares its slots until one of the two
/// changes, as forked children mostly exec at once.
#[derive(Debug, Clone)]
pub struct DescriptorTable {
    slots: Rc<Slots>,
    /// When it was last told what 0, 1 and 2 are; CLOCK_BOOTTIME, ns. Not with each: a start of a program is no
    /// reason to copy them.
    stdio_told: u64,
}

/// Slots that are kept, and how many all tables together keep.
#[derive(Debug)]
struct Slots {
    /// By their numbers. Most processes have a few: side by side they are found at once, and copied at one go.
    slots: Vec<Slot>,
    objects: Rc<Objects>,
}

impl Slots {
    fn find(&self, number: u32) -> Result<usize, usize> {
        self.slots.binary_search_by_key(&number, |slot| slot.number)
    }

    fn get(&self, number: u32) -> Option<&Slot> {
        self.slots.get(self.find(number).ok()?)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Slot> {
        let place = self.find(number).ok()?;
        self.slots.get_mut(place)
    }

    fn insert(&mut self, slot: Slot) {
        let room = self.slots.len() < MAX_DESCRIPTORS && self.objects.slots.get() < MAX_TOTAL;
        if let Some(known) = self.get_mut(slot.number) {
            *known = slot;
        } else if let Err(place) = self.find(slot.number)
            && (slot.number <= 2 || room)
        {
            self.slots.insert(place, slot);
            self.objects.slots.set(self.objects.slots.get() + 1);
        }
    }

    fn remove(&mut self, number: u32) {
        if let Ok(place) = self.find(number) {
            self.slots.remove(place);
            self.objects.slots.set(self.objects.slots.get() - 1);
            self.give_back();
        }
    }

    fn retain(&mut self, keep: impl Fn(&Slot) -> bool) {
        let before = self.slots.len();
        self.slots.retain(keep);
        self.objects.slots.set(self.objects.slots.get() - (before - self.slots.len()));
        self.give_back();
    }

    /// Keeps room in proportion to what is there, since that is what [`MAX_TOTAL`] bounds.
    fn give_back(&mut self) {
        let kept = self.slots.len();
        if self.slots.capacity() > 4 * kept + 16 {
            self.slots.shrink_to(2 * kept);
        }
    }
}

impl Clone for Slots {
    /// A copy; of the standard streams alone, when all tables together hold too much.
    fn clone(&self) -> Self {
        let room = self.objects.slots.get() + self.slots.len() <= MAX_TOTAL;
        let slots = if room {
            self.slots.clone()
        } else {
            self.slots.iter().take_while(|slot| slot.number <= 2).cloned().collect()
        };
        self.objects.slots.set(self.objects.slots.get() + slots.len());
        Self { slots, objects: Rc::clone(&self.objects) }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.objects.slots.set(self.objects.slots.get() - self.slots.len());
    }
}

/// A network connection that is a process's input and output at once; or the one that is its input, where
/// another one with the same peer is its output.
#[derive(Debug, Clone)]
pub struct StdioConnection {
    /// The connection.
    pub object: Rc<OpenObject>,
    /// How it came to descriptors 0, and 1 or 2.
    pub arrivals: Vec<Rc<Step>>,
}

impl DescriptorTable {
    /// An empty table; `objects` is what all tables that are made with it share.
    pub fn new(objects: Rc<Objects>) -> Self {
        Self { slots: Rc::new(Slots { slots: Vec::new(), objects }), stdio_told: 0 }
    }

    /// All descriptors that are known, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.slots.iter().map(|slot| (slot.number, slot))
    }

    /// The descriptor `number`.
    pub fn get(&self, number: u32) -> Option<&Slot> {
        self.slots.get(number)
    }

    /// How many descriptors are known.
    pub fn len(&self) -> usize {
        self.slots.slots.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.slots.slots.is_empty()
    }

    /// The connection that is both descriptor 0 and descriptor 1 or 2, if only to its peer.
    pub fn stdio_connection(&self) -> Option<StdioConnection> {
        let input = self.get(0).filter(|slot| slot.object.is_connection())?;
        let output = [1, 2]
            .into_iter()
            .filter_map(|number| self.get(number))
            .find(|slot| slot.object.is_connection() && slot.object.is_one_with(&input.object))?;
        let arrivals = input.arrived.iter().chain(&output.arrived).cloned().collect();
        Some(StdioConnection { object: Rc::clone(&input.object), arrivals })
    }

    /// Follows an event of the table's own process; exec has its own method.
    pub fn apply(&mut self, event: &Event) {
        match &event.action {
            Action::Descriptor { .. } => self.apply_call(event),
            Action::File(file) if event.errno().is_none() => self.apply_open(event, file),
            Action::SetCloseOnExec { number, close_on_exec } => {
                let is_other = |slot: &Slot| slot.close_on_exec != *close_on_exec;
                if self.get(*number).is_some_and(is_other)
                    && let Some(slot) = self.change().get_mut(*number)
                {
                    slot.close_on_exec = *close_on_exec;
                }
            }
            Action::Close { first, last, .. } if first == last => {
                self.remove(*first);
            }
            Action::Close { first, last, .. } => {
                self.close(|slot| (*first..=*last).contains(&slot.number));
            }
            Action::MarkCloseOnExec { first, last, .. } => {
                let is_meant =
                    |slot: &Slot| (*first..=*last).contains(&slot.number) && !slot.close_on_exec;
                if self.slots.slots.iter().any(is_meant) {
                    let slots = self.change().slots.iter_mut();
                    slots.filter(|slot| is_meant(slot)).for_each(|slot| slot.close_on_exec = true);
                }
            }
            _ => {}
        }
    }

    /// Follows the opening of a file, if it was told with its number.
    fn apply_open(&mut self, event: &Event, file: &File) {
        let opens = matches!(file.call, FileCall::Open | FileCall::Held | FileCall::Memfd { .. });
        let (true, Some(number), Some(object)) = (opens, file.number, file.object) else { return };
        let object = self.slots.objects.of_file(object, file.path.as_ref());
        let access = Some(Access { reads: file.reads(), writes: file.writes() });
        let close_on_exec = file.close_on_exec;
        let confirmed = event.timestamp;
        let slot = Slot { number, object, arrived: None, confirmed, close_on_exec, access };
        self.change().insert(slot);
    }

    fn apply_call(&mut self, event: &Event) {
        let Action::Descriptor { call, number, from, descriptor, close_on_exec } = &event.action
        else {
            return;
        };
        let (number, descriptor) = match (*number, descriptor) {
            (Some(number), Some(descriptor)) => (number, descriptor),
            // Under an io_uring that says nothing: its own table may be meant.
            (Some(number), None) if !event.io_uring => return self.remove(number),
            (None, Some(descriptor)) => return self.update(event, *call, descriptor),
            (_, None) => return,
        };
        let step = |deed| Step { timestamp: event.timestamp, process: event.process, deed };
        let (made, arrived, from) = match call {
            DescriptorCall::Socket => (Some(step(Deed::Socket)), None, None),
            DescriptorCall::Pipe | DescriptorCall::Socketpair => {
                (Some(step(Deed::Pair)), None, *from)
            }
            DescriptorCall::Dup => {
                (None, from.map(|from| step(Deed::Dup { from, to: number })), *from)
            }
            DescriptorCall::Received => {
                (None, Some(step(Deed::Received { from: *from, to: number })), None)
            }
            DescriptorCall::Accept => (None, None, *from),
            DescriptorCall::Connect | DescriptorCall::Bind | DescriptorCall::Listen => {
                (None, None, Some(number))
            }
        };
        let source = from.and_then(|from| self.get(from));
        let known = source.map(|slot| &slot.object);
        let is_same = |known: &&Rc<OpenObject>| known.id == descriptor.object.id;
        let access = source.filter(|slot| is_same(&&slot.object)).and_then(|slot| slot.access);
        let access = event.access.or(access);
        let object = match known.filter(is_same) {
            Some(known) => Rc::clone(known),
            None => self.slots.objects.of_call(*call, descriptor, made),
        };
        match (call, known) {
            (DescriptorCall::Socketpair, Some(other)) => object.pair_with(other),
            (DescriptorCall::Accept, Some(listener)) => object.came_through(listener),
            _ => {}
        }
        object.follow(event, *call, descriptor);
        if *call == DescriptorCall::Accept {
            self.slots.objects.tell_peer(&object);
        }
        let in_place =
            matches!(call, DescriptorCall::Connect | DescriptorCall::Bind | DescriptorCall::Listen);
        if in_place && let Some(slot) = self.change().get_mut(number) {
            slot.object = object;
            slot.confirmed = event.timestamp;
            slot.close_on_exec = *close_on_exec;
            return;
        }
        let (confirmed, close_on_exec) = (event.timestamp, *close_on_exec);
        let arrived = arrived.map(Rc::new);
        let slot = Slot { number, object, arrived, confirmed, close_on_exec, access };
        self.change().insert(slot);
    }

    /// Follows a call on an object of which no number is told.
    fn update(&self, event: &Event, call: DescriptorCall, descriptor: &Descriptor) {
        let slots = self.slots.slots.iter();
        for slot in slots.filter(|slot| slot.object.id == descriptor.object.id) {
            slot.object.follow(event, call, descriptor);
        }
    }

    /// The slots, no longer shared with a copy.
    fn change(&mut self) -> &mut Slots {
        Rc::make_mut(&mut self.slots)
    }

    /// Closes those that are meant. Where none is, there is nothing to copy.
    fn close(&mut self, is_meant: impl Fn(&Slot) -> bool) {
        if self.slots.slots.iter().any(&is_meant) {
            self.change().retain(|slot| !is_meant(slot));
        }
    }

    fn remove(&mut self, number: u32) {
        // Most numbers that are closed are of files, which are not kept: no reason to copy.
        if self.slots.find(number).is_ok() {
            self.change().remove(number);
        }
    }

    /// Follows an exec: what closes is gone, and 0, 1 and 2 are what the kernel says they are.
    pub fn apply_exec(&mut self, timestamp: u64, process: ProcessId, exec: &Exec) {
        self.close(Slot::closes_on_exec);
        self.set_stdio(timestamp, &exec.stdio, |number| {
            let deed = Deed::FoundAtExec(number);
            Step { timestamp, process, deed }
        });
    }

    /// A snapshot found the process running: 0, 1 and 2 are what the kernel says they are.
    pub fn found_running(&mut self, event: &Event, stdio: &[Option<Descriptor>; 3]) {
        self.set_stdio(event.timestamp, stdio, |number| {
            let deed = Deed::FoundRunning(number);
            Step { timestamp: event.timestamp, process: event.process, deed }
        });
    }

    fn set_stdio(
        &mut self,
        timestamp: u64,
        stdio: &[Option<Descriptor>; 3],
        step: impl Fn(u32) -> Step,
    ) {
        self.stdio_told = timestamp;
        for (number, found) in (0..).zip(stdio) {
            match found {
                Some(found) => self.place(number, found, false, || step(number)),
                None => self.remove(number),
            }
        }
    }

    /// A snapshot found a descriptor; `peer` is the inode of the unix socket at its other end.
    pub fn hold(
        &mut self,
        event: &Event,
        number: u32,
        found: &Descriptor,
        peer: Option<u64>,
        close_on_exec: bool,
    ) {
        let deed = Deed::FoundRunning(number);
        let step = || Step { timestamp: event.timestamp, process: event.process, deed };
        self.place(number, found, close_on_exec, step);
        if let Some(slot) = self.change().get_mut(number) {
            (slot.access, slot.confirmed) = (event.access, event.timestamp);
        }
        if let (Some(slot), Some(peer)) = (self.get(number), peer) {
            slot.object.set_peer(peer);
        }
    }

    /// `number` is `found`, however it came there.
    fn place(
        &mut self,
        number: u32,
        found: &Descriptor,
        close_on_exec: bool,
        arrived: impl FnOnce() -> Step,
    ) {
        if let Some(slot) = self.get(number).filter(|slot| slot.object.id == found.object.id) {
            return slot.object.update(found);
        }
        let mut known = self.slots.slots.iter().map(|slot| &slot.object);
        let object = known
            .find(|known| known.id == found.object.id)
            .map_or_else(|| self.slots.objects.known_or_new(found), Rc::clone);
        let arrived = arrived();
        let (confirmed, arrived) = (arrived.timestamp, Some(Rc::new(arrived)));
        let slot = Slot { number, object, arrived, confirmed, close_on_exec, access: None };
        self.change().insert(slot);
    }

    /// A whole snapshot has been followed that was begun at `begun` (CLOCK_BOOTTIME, ns): pipes and
    /// sockets that it did not find were closed unseen.
    pub fn settle(&mut self, begun: u64) {
        let stdio_told = self.stdio_told;
        self.close(|slot| {
            let told =
                if slot.number <= 2 { stdio_told.max(slot.confirmed) } else { slot.confirmed };
            told < begun && (slot.object.is_pipe || slot.object.socket().is_some())
        });
    }
}

#[cfg(test)]
mod tests;
