//! What a process can read from and write to, as far as its descriptors tell.
//!
//! Records do not say which end of a pipe a descriptor is. Its number does where it is a standard
//! stream: 0 is read, 1 and 2 are written. With another number a descriptor counts for both, except
//! where the process only sets things up: one that holds several descriptors of a pipe (a jobserver's,
//! or a shell's between pipe(2) and fork) reads and writes nothing until totals of traffic say so, and
//! who made a pipe and runs the same program still does not read from it until then. So a shell that
//! builds `cat key | nc host` carries nothing, and `$(cat key)` does once it was read.

use std::collections::{BTreeMap, HashMap};

use super::Through;
use crate::{
    descriptor_table::Slot,
    event::{Action, Descriptor, DescriptorCall, Event, FileCall, Object, ObjectId, ProcessId},
    process_table::Process,
    step::Deed,
};

/// Bytes through a descriptor that count as data: fewer are signals, as a jobserver's.
pub(super) const MIN_TOLD: u64 = 16;
/// Ends of pairs that are remembered; the oldest is forgotten first.
const MAX_ENDS: usize = 16_384;
/// Memfds that are remembered of one process.
const MAX_MEMORIES: usize = 64;
const AF_UNIX: u16 = 1;
const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;

/// A memfd that a process holds.
#[derive(Debug, Clone, Copy)]
struct Memory {
    id: ObjectId,
    number: u32,
    close_on_exec: bool,
}

/// What belongs together, and was told when it was made.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// The other end of each socket of a pair.
    twins: HashMap<ObjectId, ObjectId>,
    /// The same ends, in the order in which they came.
    order: BTreeMap<u64, ObjectId>,
    next: u64,
    /// First end of a pair or pipe whose other one is told next, by the thread that makes it.
    half: Option<(u32, ObjectId)>,
    /// Memfds, which are no pipes or sockets, so that descriptor tables do not know them.
    memories: HashMap<ProcessId, Vec<Memory>>,
}

impl Links {
    /// Notes what an event tells of pairs and memfds.
    pub(super) fn learn(&mut self, event: &Event) {
        match &event.action {
            Action::Descriptor { call: DescriptorCall::Socketpair, descriptor, .. } => {
                let Some(id) = descriptor.map(|end| end.object.id) else { return };
                match self.half.take() {
                    Some((thread, first)) if thread == event.tid && first != id => {
                        self.pair(first, id);
                    }
                    _ => self.half = Some((event.tid, id)),
                }
            }
            Action::Descriptor { call: DescriptorCall::Pipe, descriptor, .. } => {
                let half = descriptor.map(|end| (event.tid, end.object.id));
                self.half = if self.half == half { None } else { half };
            }
            Action::Descriptor {
                call: DescriptorCall::Received,
                number: Some(number),
                descriptor: Some(received),
                close_on_exec,
                ..
            } if is_memory(&received.object) => {
                self.hold(event.process, received.object.id, *number, *close_on_exec);
            }
            Action::Held { descriptor: Some(held), peer: Some(peer), .. } => {
                let id = held.object.id;
                self.pair(id, ObjectId { inode: *peer, ..id });
            }
            Action::File(file) if matches!(file.call, FileCall::Memfd { .. }) => {
                if let (Some(object), Some(number)) = (file.object, file.number) {
                    self.hold(event.process, object.id, number, file.close_on_exec);
                }
            }
            _ if self.memories.is_empty() => {}
            Action::Fork { child, .. } => {
                if let Some(held) = self.memories.get(&event.process).cloned() {
                    self.memories.insert(*child, held);
                }
            }
            Action::Exec(_) => self.keep(event.process, |memory| !memory.close_on_exec),
            Action::Close { first, last, .. } if !event.private_descriptors => {
                self.keep(event.process, |memory| !(*first..=*last).contains(&memory.number));
            }
            _ => {}
        }
    }

    /// Whether the other end of a new pair or pipe is still to be told.
    pub(super) fn is_half(&self) -> bool {
        self.half.is_some()
    }

    fn pair(&mut self, one: ObjectId, other: ObjectId) {
        for (end, twin) in [(one, other), (other, one)] {
            if self.twins.insert(end, twin).is_some() {
                continue;
            }
            self.next += 1;
            self.order.insert(self.next, end);
            if self.order.len() > MAX_ENDS
                && let Some((_, oldest)) = self.order.pop_first()
            {
                self.twins.remove(&oldest);
            }
        }
    }

    fn hold(&mut self, process: ProcessId, id: ObjectId, number: u32, close_on_exec: bool) {
        let held = self.memories.entry(process).or_default();
        held.retain(|memory| memory.number != number);
        if held.len() < MAX_MEMORIES {
            held.push(Memory { id, number, close_on_exec });
        }
    }

    fn keep(&mut self, process: ProcessId, keep: impl Fn(&Memory) -> bool) {
        if let Some(held) = self.memories.get_mut(&process) {
            held.retain(keep);
            if held.is_empty() {
                self.memories.remove(&process);
            }
        }
    }

    /// The process has ended.
    pub(super) fn forget(&mut self, process: ProcessId) {
        self.memories.remove(&process);
    }

    /// Forgets all processes but those that live.
    pub(super) fn retain(&mut self, lives: impl Fn(ProcessId) -> bool) {
        self.memories.retain(|&id, _| lives(id));
    }

    /// Has `found` told each object from which `process` can receive, once or more often.
    pub(super) fn inputs(&self, process: &Process, mut found: impl FnMut(ObjectId, Through)) {
        let descriptors = process.descriptors.borrow();
        let counts = Counts::of(descriptors.iter());
        for (number, slot) in descriptors.iter() {
            let id = slot.object.id;
            if slot.object.is_pipe {
                let reads = number > 2 && counts.is_alone(id) && !is_maker(process, slot);
                if number == 0 || reads {
                    found(id, Through::Pipe);
                }
            } else if is_unix(slot)
                && let Some(twin) = self.twins.get(&id)
                && !counts.has(*twin)
            {
                found(id, Through::Socket);
            }
        }
        for memory in self.memories.get(&process.id).into_iter().flatten() {
            found(memory.id, Through::Memory);
        }
    }

    /// Has `found` told each object through which others can receive from `process`.
    pub(super) fn outputs(&self, process: &Process, mut found: impl FnMut(ObjectId)) {
        let descriptors = process.descriptors.borrow();
        let counts = Counts::of(descriptors.iter());
        for (number, slot) in descriptors.iter() {
            let id = slot.object.id;
            if slot.object.is_pipe {
                if number == 1 || number == 2 || number > 2 && counts.is_alone(id) {
                    found(id);
                }
            } else if is_unix(slot)
                && let Some(twin) = self.twins.get(&id)
            {
                found(*twin);
            }
        }
        for memory in self.memories.get(&process.id).into_iter().flatten() {
            found(memory.id);
        }
    }

    /// Where what is read from a descriptor was written to, and where what is written can be read.
    pub(super) fn ends(&self, descriptor: &Descriptor) -> Option<(ObjectId, ObjectId, Through)> {
        let id = descriptor.object.id;
        if descriptor.object.is_pipe() {
            return Some((id, id, Through::Pipe));
        }
        if let Some(twin) = self.twins.get(&id) {
            return Some((id, *twin, Through::Socket));
        }
        is_memory(&descriptor.object).then_some((id, id, Through::Memory))
    }
}

/// How many descriptors of a process refer to each pipe and unix socket.
struct Counts(HashMap<ObjectId, u32>);

impl Counts {
    fn of<'a>(descriptors: impl Iterator<Item = (u32, &'a Slot)>) -> Self {
        let mut counts = HashMap::new();
        for (_, slot) in descriptors.filter(|(_, slot)| slot.object.is_pipe || is_unix(slot)) {
            *counts.entry(slot.object.id).or_default() += 1;
        }
        Self(counts)
    }

    fn is_alone(&self, id: ObjectId) -> bool {
        self.0.get(&id) == Some(&1)
    }

    fn has(&self, id: ObjectId) -> bool {
        self.0.contains_key(&id)
    }
}

fn is_unix(slot: &Slot) -> bool {
    slot.object.socket().is_some_and(|ends| ends.family == AF_UNIX)
}

/// Whether the process itself made the pipe, with the program that it runs still.
fn is_maker(process: &Process, slot: &Slot) -> bool {
    let started = process.image.as_ref().map_or(0, |image| image.started);
    slot.object.history().any(|step| {
        step.deed == Deed::Pair && step.process == process.id && step.timestamp > started
    })
}

/// Whether it is a file without a name.
fn is_memory(object: &Object) -> bool {
    object.mode & S_IFMT == S_IFREG && object.links == 0
}
