//! What each descriptor of a process refers to, and how it came to.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use crate::{
    event::{Action, Descriptor, DescriptorCall, Event, Exec, ObjectId, ProcessId, SocketEnds},
    step::{Deed, Step},
};

/// Descriptors that are kept of one process; beyond it new ones above 2 are forgotten.
const MAX_DESCRIPTORS: usize = 4096;
/// Descriptors that are kept of all processes together (about 150 bytes each); beyond it new ones above
/// 2 are forgotten, and copies hold 0 to 2. What decides is then still told by each exec.
const MAX_TOTAL: usize = 500_000;
/// connect(2) on a socket that has a peer already.
const EISCONN: u32 = 106;

/// A pipe, socket or file while at least one known descriptor refers to it.
#[derive(Debug)]
pub struct OpenObject {
    /// Identity.
    pub id: ObjectId,
    /// Whether it is the slave side of a pseudo terminal.
    pub is_terminal: bool,
    /// Whether it is a pipe or a fifo.
    pub is_pipe: bool,
    socket: RefCell<Option<SocketEnds>>,
    made: Option<Step>,
    peered: RefCell<Option<Step>>,
}

impl OpenObject {
    fn new(descriptor: &Descriptor, made: Option<Step>) -> Rc<Self> {
        Rc::new(Self {
            id: descriptor.object.id,
            is_terminal: descriptor.object.is_terminal(),
            is_pipe: descriptor.object.is_pipe(),
            socket: RefCell::new(descriptor.socket),
            made,
            peered: RefCell::new(None),
        })
    }

    /// The socket's ends as last seen.
    pub fn socket(&self) -> Option<SocketEnds> {
        *self.socket.borrow()
    }

    /// Whether it is a network socket with a peer.
    pub fn is_connection(&self) -> bool {
        self.socket().is_some_and(|ends| ends.has_peer && ends.is_network())
    }

    /// Whether it got its peer by connect(2), as far as was seen.
    pub fn connected_out(&self) -> bool {
        matches!(&*self.peered.borrow(), Some(Step { deed: Deed::Connect(_), .. }))
    }

    /// How it was made and got its peer, as far as was seen, in order.
    pub fn history(&self) -> impl Iterator<Item = Step> {
        self.made.clone().into_iter().chain(self.peered.borrow().clone())
    }

    fn update(&self, descriptor: &Descriptor) {
        *self.socket.borrow_mut() = descriptor.socket;
    }

    /// Follows a call on it, after which it is what `descriptor` tells.
    fn follow(&self, event: &Event, call: DescriptorCall, descriptor: &Descriptor) {
        self.update(descriptor);
        let Some(ends) = descriptor.socket else { return };
        let deed = match call {
            // Whatever it returned (it may be under way, or interrupted): what counts is a peer.
            DescriptorCall::Connect if ends.has_peer && event.errno() != Some(EISCONN) => {
                Deed::Connect(ends.remote)
            }
            DescriptorCall::Accept => Deed::Accept(ends.remote),
            _ => return,
        };
        let (timestamp, process) = (event.timestamp, event.process);
        *self.peered.borrow_mut() = Some(Step { timestamp, process, deed });
    }
}

/// One descriptor.
#[derive(Debug, Clone)]
pub struct Slot {
    /// What it refers to.
    pub object: Rc<OpenObject>,
    /// How the object came to this number; `None` where it was made there.
    pub arrived: Option<Step>,
    /// When it came to this number; CLOCK_BOOTTIME, ns.
    placed: u64,
    /// When it was last told that it is there; CLOCK_BOOTTIME, ns.
    confirmed: u64,
    close_on_exec: bool,
}

/// A process's descriptors, as far as events told. A copy shares its slots until one of the two
/// changes, as forked children mostly exec at once.
#[derive(Debug, Clone)]
pub struct DescriptorTable {
    slots: Rc<Slots>,
}

/// Slots that are kept, and how many all tables together keep.
#[derive(Debug)]
struct Slots {
    by_number: BTreeMap<u32, Slot>,
    total: Rc<Cell<usize>>,
}

impl Slots {
    fn insert(&mut self, number: u32, slot: Slot) {
        let room = self.by_number.len() < MAX_DESCRIPTORS && self.total.get() < MAX_TOTAL;
        if (number <= 2 || room || self.by_number.contains_key(&number))
            && self.by_number.insert(number, slot).is_none()
        {
            self.total.set(self.total.get() + 1);
        }
    }

    fn remove(&mut self, number: u32) {
        if self.by_number.remove(&number).is_some() {
            self.total.set(self.total.get() - 1);
        }
    }

    fn retain(&mut self, keep: impl Fn(u32, &Slot) -> bool) {
        let before = self.by_number.len();
        self.by_number.retain(|&number, slot| keep(number, slot));
        self.total.set(self.total.get() - (before - self.by_number.len()));
    }
}

impl Clone for Slots {
    /// A copy; of the standard streams alone, when all tables together hold too much.
    fn clone(&self) -> Self {
        let room = self.total.get() + self.by_number.len() <= MAX_TOTAL;
        let last = if room { u32::MAX } else { 2 };
        let by_number: BTreeMap<u32, Slot> =
            self.by_number.range(..=last).map(|(&number, slot)| (number, slot.clone())).collect();
        self.total.set(self.total.get() + by_number.len());
        Self { by_number, total: Rc::clone(&self.total) }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.by_number.len());
    }
}

/// A network connection that is a process's input and output at once.
#[derive(Debug, Clone)]
pub struct StdioConnection {
    /// The connection.
    pub object: Rc<OpenObject>,
    /// How it came to descriptors 0, and 1 or 2.
    pub arrivals: Vec<Step>,
    /// When it came to descriptor 0; CLOCK_BOOTTIME, ns.
    pub placed: u64,
}

impl DescriptorTable {
    /// An empty table; `total` counts the slots of all tables that are made with it.
    pub fn new(total: Rc<Cell<usize>>) -> Self {
        Self { slots: Rc::new(Slots { by_number: BTreeMap::new(), total }) }
    }

    /// The descriptor `number`.
    pub fn get(&self, number: u32) -> Option<&Slot> {
        self.slots.by_number.get(&number)
    }

    /// All descriptors, by their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.by_number.iter().map(|(&number, slot)| (number, slot))
    }

    /// How many descriptors are known.
    pub fn len(&self) -> usize {
        self.slots.by_number.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.slots.by_number.is_empty()
    }

    /// The connection that is both descriptor 0 and descriptor 1 or 2.
    pub fn stdio_connection(&self) -> Option<StdioConnection> {
        let input = self.get(0).filter(|slot| slot.object.is_connection())?;
        let output = [1, 2]
            .into_iter()
            .find_map(|number| self.get(number).filter(|slot| slot.object.id == input.object.id))?;
        let arrivals = input.arrived.iter().chain(&output.arrived).cloned().collect();
        let (object, placed) = (Rc::clone(&input.object), input.placed);
        Some(StdioConnection { object, arrivals, placed })
    }

    /// Follows an event of the table's own process; exec has its own method.
    pub fn apply(&mut self, event: &Event) {
        match &event.action {
            Action::Descriptor { .. } => self.apply_call(event),
            Action::SetCloseOnExec { number, close_on_exec } => {
                if let Some(slot) = self.change().by_number.get_mut(number) {
                    slot.close_on_exec = *close_on_exec;
                }
            }
            Action::Close { first, last, .. } if first == last => {
                self.remove(*first);
            }
            Action::Close { first, last, .. } => {
                self.change().retain(|number, _| !(*first..=*last).contains(&number));
            }
            Action::MarkCloseOnExec { first, last, .. } if first <= last => {
                for (_, slot) in self.change().by_number.range_mut(first..=last) {
                    slot.close_on_exec = true;
                }
            }
            _ => {}
        }
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
                (Some(step(Deed::Pair)), None, None)
            }
            DescriptorCall::Dup => {
                (None, from.map(|from| step(Deed::Dup { from, to: number })), *from)
            }
            DescriptorCall::Received => {
                (None, Some(step(Deed::Received { from: *from, to: number })), None)
            }
            DescriptorCall::Accept
            | DescriptorCall::Connect
            | DescriptorCall::Bind
            | DescriptorCall::Listen => (None, None, Some(number)),
        };
        let known = from.and_then(|from| self.get(from)).map(|slot| &slot.object);
        let object = match known.filter(|known| known.id == descriptor.object.id) {
            Some(known) => Rc::clone(known),
            None => OpenObject::new(descriptor, made),
        };
        object.follow(event, *call, descriptor);
        let in_place =
            matches!(call, DescriptorCall::Connect | DescriptorCall::Bind | DescriptorCall::Listen);
        if in_place && let Some(slot) = self.change().by_number.get_mut(&number) {
            slot.object = object;
            slot.confirmed = event.timestamp;
            slot.close_on_exec = *close_on_exec;
            return;
        }
        let close_on_exec = *close_on_exec;
        let (placed, confirmed) = (event.timestamp, event.timestamp);
        self.change().insert(number, Slot { object, arrived, placed, confirmed, close_on_exec });
    }

    /// Follows a call on an object of which no number is told.
    fn update(&self, event: &Event, call: DescriptorCall, descriptor: &Descriptor) {
        let slots = self.slots.by_number.values();
        for slot in slots.filter(|slot| slot.object.id == descriptor.object.id) {
            slot.object.follow(event, call, descriptor);
        }
    }

    /// The slots, no longer shared with a copy.
    fn change(&mut self) -> &mut Slots {
        Rc::make_mut(&mut self.slots)
    }

    fn remove(&mut self, number: u32) {
        // Most numbers that are closed are of files, which are not kept: no reason to copy.
        if self.slots.by_number.contains_key(&number) {
            self.change().remove(number);
        }
    }

    /// Follows an exec: what closes is gone, and 0, 1 and 2 are what the kernel says they are.
    pub fn apply_exec(&mut self, timestamp: u64, process: ProcessId, exec: &Exec) {
        self.change().retain(|_, slot| !slot.close_on_exec);
        self.set_stdio(&exec.stdio, |number| {
            let deed = Deed::FoundAtExec(number);
            Step { timestamp, process, deed }
        });
    }

    /// A snapshot found the process running: 0, 1 and 2 are what the kernel says they are.
    pub fn found_running(&mut self, event: &Event, stdio: &[Option<Descriptor>; 3]) {
        self.set_stdio(stdio, |number| {
            let deed = Deed::FoundRunning(number);
            Step { timestamp: event.timestamp, process: event.process, deed }
        });
    }

    fn set_stdio(&mut self, stdio: &[Option<Descriptor>; 3], step: impl Fn(u32) -> Step) {
        for (number, found) in (0..).zip(stdio) {
            match found {
                Some(found) => self.place(number, found, false, step(number)),
                None => self.remove(number),
            }
        }
    }

    /// A snapshot found a descriptor.
    pub fn hold(&mut self, event: &Event, number: u32, found: &Descriptor, close_on_exec: bool) {
        let deed = Deed::FoundRunning(number);
        let step = Step { timestamp: event.timestamp, process: event.process, deed };
        self.place(number, found, close_on_exec, step);
    }

    /// `number` is `found`, however it came there.
    fn place(&mut self, number: u32, found: &Descriptor, close_on_exec: bool, arrived: Step) {
        let timestamp = arrived.timestamp;
        if let Some(slot) = self.get(number).filter(|slot| slot.object.id == found.object.id) {
            slot.object.update(found);
            if let Some(slot) = self.change().by_number.get_mut(&number) {
                slot.confirmed = timestamp;
            }
            return;
        }
        let mut known = self.slots.by_number.values().map(|slot| &slot.object);
        let object = known
            .find(|known| known.id == found.object.id)
            .map_or_else(|| OpenObject::new(found, None), Rc::clone);
        let (placed, confirmed, arrived) = (timestamp, timestamp, Some(arrived));
        self.change().insert(number, Slot { object, arrived, placed, confirmed, close_on_exec });
    }

    /// A whole snapshot has been followed that was begun at `begun` (CLOCK_BOOTTIME, ns): pipes and
    /// sockets that it did not find were closed unseen.
    pub fn settle(&mut self, begun: u64) {
        let is_stale = |slot: &Slot| {
            slot.confirmed < begun && (slot.object.is_pipe || slot.object.socket().is_some())
        };
        if self.slots.by_number.values().any(is_stale) {
            self.change().retain(|_, slot| !is_stale(slot));
        }
    }
}

#[cfg(test)]
mod tests;
