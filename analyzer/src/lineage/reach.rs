//! What a process can read from and write to, as far as its descriptors tell.
//!
//! Which end of a pipe a descriptor is, records mostly say; else its number does where it is a standard
//! stream: 0 is read, 1 and 2 are written. With another number a descriptor counts, except
//! where the process only sets things up: one that holds several descriptors of a pipe (a jobserver's,
//! or a shell's between pipe(2) and fork) reads and writes nothing until totals of traffic say so, and
//! who made a pipe and runs the same program still does not read from it until then, or until it sends something
//! to where it has connected and nobody else can have read it. So a shell that builds `cat key | nc host` carries
//! nothing, and `$(cat key)` does once it was read.
//!
//! A file is read by who has it open to read; it is written by who opens it to write while he has
//! something, and by who is told to have written it: every process holds some log open. The same with
//! connections of unix sockets, as half the processes of a host have one to the same few services;
//! socketpairs and shared memory are for those who share them.

use std::{collections::BTreeMap, net::SocketAddr};

use super::Through;
use crate::{
    descriptor_table::Slot,
    event::{
        Action, Descriptor, DescriptorCall, Event, Object, ObjectId, ProcessId, SocketEnds, Traffic,
    },
    keyed_hash::{HashMap, HashSet},
    process_table::Process,
    step::Deed,
};

/// Bytes through a descriptor that count as data: fewer are signals, as a jobserver's.
pub(super) const MIN_TOLD: u64 = 16;
/// Ends of pairs that are remembered; the oldest is forgotten first.
const MAX_ENDS: usize = 16_384;
/// Outputs of commands that one process is looked at for.
const MAX_OUTPUTS: usize = 64;
/// Files that one process is known to have mapped to share them.
const MAX_MAPPED: usize = 64;
const AF_UNIX: u16 = 1;
/// Stands for the device of an object that is all of the memory which processes share by clone(2): no
/// kernel has so many.
const ALL_OF_IT: u32 = u32::MAX;

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
    /// Files that processes have mapped to share them, with a name or without.
    mapped: HashMap<ProcessId, Vec<ObjectId>>,
}

impl Links {
    /// Notes what an event tells of ends that belong together, and of shared memory.
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
                call: DescriptorCall::Accept, descriptor: Some(accepted), ..
            } => {
                let id = accepted.object.id;
                if let Some(peer) = accepted.socket.and_then(|ends| ends.peer) {
                    self.pair(id, ObjectId { inode: peer, ..id });
                }
            }
            Action::Held { descriptor: Some(held), peer: Some(peer), .. } => {
                let id = held.object.id;
                self.pair(id, ObjectId { inode: *peer, ..id });
            }
            Action::File(file) if file.is_shared_map() => {
                if let Some(object) = file.object.filter(Object::is_regular) {
                    let mapped = self.mapped.entry(event.process).or_default();
                    if !mapped.contains(&object.id) && mapped.len() < MAX_MAPPED {
                        mapped.push(object.id);
                    }
                }
            }
            Action::Fork { child, .. } if event.shares_memory => {
                let mapped = self.mapped.entry(event.process).or_default();
                let all = mapped.iter().find(|id| id.device == ALL_OF_IT).copied();
                if all.is_none() && mapped.len() < MAX_MAPPED {
                    self.next += 1;
                    mapped.push(ObjectId { device: ALL_OF_IT, inode: self.next, generation: 0 });
                }
                let mapped = mapped.clone();
                self.mapped.insert(*child, mapped);
            }
            _ if self.mapped.is_empty() => {}
            Action::Fork { child, .. } => {
                if let Some(mut mapped) = self.mapped.get(&event.process).cloned() {
                    mapped.retain(|id| id.device != ALL_OF_IT);
                    self.mapped.insert(*child, mapped);
                }
            }
            Action::Exec(_) => self.forget(event.process),
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

    /// The process has ended, or has other memory.
    pub(super) fn forget(&mut self, process: ProcessId) {
        self.mapped.remove(&process);
    }

    /// Forgets all processes but those that live.
    pub(super) fn retain(&mut self, lives: impl Fn(ProcessId) -> bool) {
        self.mapped.retain(|&id, _| lives(id));
    }

    /// The other end of a unix socket, if it is known.
    pub(super) fn twin(&self, end: ObjectId) -> Option<ObjectId> {
        self.twins.get(&end).copied()
    }

    /// Has `found` told each object from which `process` can receive, once or more often.
    pub(super) fn inputs(&self, process: &Process, mut found: impl FnMut(ObjectId, Through)) {
        let descriptors = process.descriptors.borrow();
        let counts = Counts::of(descriptors.iter());
        for &memory in self.mapped.get(&process.id).into_iter().flatten() {
            found(memory, Through::Memory);
        }
        for (number, slot) in descriptors.iter() {
            let id = slot.object.id;
            if slot.object.is_memory {
                found(id, Through::Memory);
            } else if slot.object.is_file {
                // 1 and 2 of a log, as a rule.
                if slot.access.map_or(![1, 2].contains(&number), |access| access.reads) {
                    found(id, Through::File(slot.object.path.clone()));
                }
            } else if slot.object.is_pipe {
                let may = number > 2 && counts.is_alone(id) && !is_maker(process, slot);
                if (number == 0 || may) && slot.access.is_none_or(|access| access.reads) {
                    found(id, Through::Pipe);
                }
            } else if is_unix(slot)
                && let Some(twin) = self.twins.get(&id)
                && !counts.has(*twin)
            {
                found(id, Through::Socket);
            }
        }
    }

    /// Has `found` told each object through which others can receive from `process`.
    pub(super) fn outputs(&self, process: &Process, mut found: impl FnMut(ObjectId)) {
        let descriptors = process.descriptors.borrow();
        let counts = Counts::of(descriptors.iter());
        for (number, slot) in descriptors.iter() {
            let id = slot.object.id;
            if slot.object.is_memory {
                found(id);
            } else if slot.object.is_pipe {
                let may = number == 1 || number == 2 || number > 2 && counts.is_alone(id);
                if may && slot.access.is_none_or(|access| access.writes) {
                    found(id);
                }
            } else if is_unix(slot)
                && !is_of_service(slot)
                && let Some(twin) = self.twins.get(&id)
            {
                found(*twin);
            }
        }
        for &memory in self.mapped.get(&process.id).into_iter().flatten() {
            found(memory);
        }
    }

    /// Where what is read from a descriptor was written to, and where what is written can be read.
    pub(super) fn ends(&self, descriptor: &Descriptor) -> Option<(ObjectId, ObjectId, Through)> {
        let id = descriptor.object.id;
        if descriptor.object.is_pipe() {
            return Some((id, id, Through::Pipe));
        }
        if descriptor.socket.is_some_and(|ends| ends.family == AF_UNIX) {
            // Who has not accepted it yet will find there what was sent.
            return Some((id, self.twin(id).unwrap_or(id), Through::Socket));
        }
        let is_memory = descriptor.object.links == 0;
        let through = if is_memory { Through::Memory } else { Through::File(None) };
        descriptor.object.is_regular().then_some((id, id, through))
    }
}

/// How many descriptors of a process refer to each pipe and unix socket.
struct Counts(HashMap<ObjectId, u32>);

impl Counts {
    fn of<'a>(descriptors: impl Iterator<Item = (u32, &'a Slot)>) -> Self {
        let mut counts = HashMap::default();
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

/// Pipes that are `meant`, that the process made with the program that it runs still, and of which it has one
/// descriptor, to read from; so many at the most as who runs commands has.
pub(super) fn made(process: &Process, meant: impl Fn(ObjectId) -> bool) -> HashSet<ObjectId> {
    let descriptors = process.descriptors.borrow();
    let pipes = descriptors.iter().filter(|(_, slot)| slot.object.is_pipe && meant(slot.object.id));
    let pipes: Vec<(u32, &Slot)> = pipes.collect();
    let counts = Counts::of(pipes.iter().copied());
    let its = pipes.iter().filter(|(number, slot)| {
        let reads = slot.access.is_some_and(|access| access.reads);
        *number > 2 && reads && counts.is_alone(slot.object.id) && is_maker(process, slot)
    });
    its.map(|(_, slot)| slot.object.id).take(MAX_OUTPUTS).collect()
}

/// Takes those of `pipes` out from which the process can read.
pub(super) fn leave_out_what_it_reads(process: &Process, pipes: &mut HashSet<ObjectId>) {
    let descriptors = process.descriptors.borrow();
    for (number, slot) in descriptors.iter().filter(|(_, slot)| slot.object.is_pipe) {
        if slot.access.map_or(![1, 2].contains(&number), |access| access.reads) {
            pipes.remove(&slot.object.id);
        }
    }
}

/// Whether the process has the socket to which one with these ends sends.
pub(super) fn has_other_end(process: &Process, ends: &SocketEnds) -> bool {
    let descriptors = process.descriptors.borrow();
    let mut sockets = descriptors.iter().filter_map(|(_, slot)| slot.object.socket());
    sockets.any(|other| is_other_end(&other, ends))
}

/// Whether `other` gets what is sent by a socket with these ends.
pub(super) fn is_other_end(other: &SocketEnds, ends: &SocketEnds) -> bool {
    let at = |address: Option<SocketAddr>| {
        address.map(|address| (address.ip().to_canonical(), address.port()))
    };
    let is_there = at(other.local) == at(ends.remote)
        // One for datagrams may take them at any address.
        || at(other.local).is_some_and(|(ip, port)| {
            ip.is_unspecified() && Some(port) == ends.remote.map(|remote| remote.port())
        });
    let has_it_from_there = match other.remote {
        Some(_) => at(other.remote) == at(ends.local),
        None => other.is_datagram(),
    };
    ends.remote.is_some() && other.kind == ends.kind && is_there && has_it_from_there
}

/// Whether `traffic` goes through a socket of the network that was connected, not accepted.
pub(super) fn goes_out(process: Option<&Process>, traffic: &Traffic) -> bool {
    let Some((process, number)) = process.zip(traffic.number) else { return false };
    let descriptors = process.descriptors.borrow();
    descriptors.get(number).is_some_and(|slot| {
        let is_network = slot.object.socket().is_some_and(|ends| ends.is_network());
        is_network && slot.object.history().any(|step| matches!(step.deed, Deed::Connect(_)))
    })
}

/// Whether the process itself made the pipe, with the program that it runs still.
fn is_maker(process: &Process, slot: &Slot) -> bool {
    let started = process.image.as_ref().map_or(0, |image| image.started);
    slot.object.history().any(|step| {
        step.deed == Deed::Pair && step.process == process.id && step.timestamp > started
    })
}

/// Whether it was connected or accepted: others have connections to the same service.
fn is_of_service(slot: &Slot) -> bool {
    let deeds = slot.object.history().map(|step| step.deed);
    deeds.into_iter().any(|deed| matches!(deed, Deed::Connect(_) | Deed::Accept(_)))
}
