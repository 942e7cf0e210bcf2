//! Who can have received data from whom.
//!
//! A caller marks a process as a *source* when it has got hold of something; from then on whoever
//! can have received it is a *carrier*: children, who can read from a pipe, a socketpair, a file or shared
//! memory into which a carrier writes, who is on the other end of a unix socket through which one sends,
//! who reads a carrier's memory – and so on, until the source expires. An object that carriers can write
//! to stays marked after they have closed it, as data may wait in it. What a process can do with an
//! object, [`reach`] judges by its descriptors; what it did, its sends and the totals of its traffic tell,
//! the latter late but for sure.
//!
//! While nothing is marked, an event costs a look at two empty maps; ends of unix sockets and shared
//! mappings are remembered all the same. State is bounded in number (what does not fit is counted, but for
//! ends of sockets and mappings) and in time. Data in memory that is shared without a file and in datagrams of
//! unix sockets is not followed, and over the network of this host only what a caller knows to have been passed on
//! ([`Lineage::pass`]): half of all processes talk to some service there.

mod reach;
mod trail;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use sentinel_ipc::{file_class::class, frame::KindSet, kernel_abi::kind};

pub use trail::{Through, Trail};

use crate::{
    event::{
        Action, Descriptor, DescriptorCall, Event, File, FileCall, ObjectId, ProcessId, SocketEnds,
        Target, Traffic, TrafficReport,
    },
    keyed_hash::{HashMap, HashSet},
    process_table::ProcessTable,
};
use reach::{Links, MIN_TOLD};

/// What lineage is told by, beside fork, exec and exit, and what the process table follows.
pub const NEEDS: KindSet = KindSet::of(&[
    kind::PIPE,
    kind::SOCKETPAIR,
    kind::RECEIVED,
    kind::DUP,
    kind::ACCEPT,
    kind::OPEN,
    kind::MAP,
    kind::MEMFD,
    kind::SENT,
    kind::TRAFFIC,
    kind::PTRACE,
    kind::PROCESS_MEMORY,
]);

/// Sources that are kept; the oldest makes room.
pub const MAX_SOURCES: usize = 1024;
/// Sources of one process that are kept; its oldest makes room.
const MAX_OWN_SOURCES: usize = 32;
/// Sources that a carrier or an object is known to have data of.
const MAX_CARRIED: usize = 64;
/// Carriers, and marked objects.
const MAX_CARRIERS: usize = 16_384;
/// Connections that were not accepted yet, of which it is remembered what was passed on there.
const MAX_UNACCEPTED: usize = 256;
/// Processes that are looked at in search of readers, in a second of events.
const MAX_SEARCHED: usize = 200_000;
const SECOND_NS: u64 = 1_000_000_000;
/// ptrace(2): PEEKTEXT, PEEKDATA, PEEKUSER, GETREGS, GETFPREGS, GETREGSET.
const PTRACE_READS: [u64; 6] = [1, 2, 3, 12, 14, 0x4204];
/// ptrace(2): POKETEXT, POKEDATA, POKEUSER, SETREGS, SETFPREGS, SETREGSET.
const PTRACE_WRITES: [u64; 6] = [4, 5, 6, 13, 15, 0x4205];

/// Something that a process got hold of; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u64);

#[derive(Debug)]
struct Source {
    process: ProcessId,
    since: u64,
    until: u64,
}

/// A source's data, where it came to.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Whose data.
    pub source: SourceId,
    /// How it came there.
    pub trail: Trail,
}

/// The lineage of data; see the module.
#[derive(Debug, Default)]
pub struct Lineage {
    sources: BTreeMap<SourceId, Source>,
    carriers: HashMap<ProcessId, Vec<Carried>>,
    marked: HashMap<ObjectId, Vec<Carried>>,
    /// What was passed on to who has not accepted it yet, by which socket.
    unaccepted: VecDeque<(SocketEnds, Carried)>,
    /// What was passed on so far, by which socket, and where to.
    passed: HashSet<(SourceId, ObjectId, Option<SocketAddr>)>,
    /// Carriers that were none before, since this was asked last.
    fresh: Vec<ProcessId>,
    links: Links,
    next: u64,
    lost: u64,
    searched: usize,
    searched_since: u64,
    expired_at: u64,
}

impl Lineage {
    /// `process` has got hold of something at `now`, of which data may go around until `until` (both
    /// CLOCK_BOOTTIME, ns). Say so again for each thing: a source knows no later data.
    pub fn mark(
        &mut self,
        process: ProcessId,
        now: u64,
        until: u64,
        processes: &ProcessTable,
    ) -> SourceId {
        self.expire(now);
        let mut its = self.sources.iter().filter(|(_, source)| source.process == process);
        let (oldest_own, others) = (its.next().map(|(&id, _)| id), its.count());
        let oldest = self.sources.first_key_value().map(|(&id, _)| id);
        let evicted = oldest_own
            .filter(|_| others + 1 >= MAX_OWN_SOURCES)
            .or(oldest.filter(|_| self.sources.len() >= MAX_SOURCES));
        if let Some(evicted) = evicted {
            self.lost += 1;
            self.sources.remove(&evicted);
            self.drop_expired();
        }
        self.next += 1;
        let id = SourceId(self.next);
        self.sources.insert(id, Source { process, since: now, until });
        let carried = Carried { source: id, trail: Trail::new(process, now) };
        if self.carry(process, vec![carried]) {
            self.spread(process, now, processes);
        }
        id
    }

    /// Whether data that `from` had at `since` or later can have come to `to` by now. Only what was marked
    /// is known: [`Self::mark`] `from` when `since` begins.
    pub fn reaches(&self, from: ProcessId, since: u64, to: ProcessId) -> bool {
        let is_meant = |carried: &Carried| {
            let source = self.sources.get(&carried.source);
            source.is_some_and(|source| source.process == from && source.since >= since)
        };
        from == to || self.carried(to).iter().any(is_meant)
    }

    /// What can have come to `process`, in order of their sources.
    pub fn carried(&self, process: ProcessId) -> &[Carried] {
        self.carriers.get(&process).map_or(&[], Vec::as_slice)
    }

    /// Whether anything is marked.
    pub fn is_idle(&self) -> bool {
        self.carriers.is_empty() && self.marked.is_empty()
    }

    /// What did not fit so far: sources that were forgotten early, carriers and objects that were not
    /// marked, searches for readers that were not made.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Follows an event that `processes` has followed already; an exit is followed before it is
    /// forgotten there.
    pub fn observe(&mut self, event: &Event, processes: &ProcessTable) {
        self.links.learn(event);
        if self.is_idle() {
            return;
        }
        self.expire(event.timestamp);
        let (process, now) = (event.process, event.timestamp);
        match &event.action {
            Action::Fork { child, .. } => {
                let parents = self.carried(process).iter();
                let step = |one: &Carried| one.on(Through::Fork, *child, now);
                let inherited: Vec<Carried> = parents.map(step).collect();
                // What it holds, its parent holds as well; but it did not make it.
                self.carry(*child, inherited);
                self.met(*child, now, processes);
            }
            Action::Exec(_) | Action::Running(_) | Action::Held { .. } => {
                self.met(process, now, processes);
            }
            Action::Descriptor {
                call: DescriptorCall::Pipe | DescriptorCall::Socketpair, ..
            } if self.links.is_half() => {}
            Action::Descriptor {
                call: DescriptorCall::Accept, descriptor: Some(accepted), ..
            } => {
                self.accepted(accepted.object.id);
                if let Some(ends) = accepted.socket.filter(SocketEnds::is_network) {
                    self.takes_what_waited(process, &ends, now, processes);
                }
                self.met(process, now, processes);
            }
            // What is connected to other hosts brings nothing from here.
            Action::Descriptor { descriptor: Some(one), .. }
                if one.socket.is_some_and(|ends| ends.is_network()) => {}
            // Of a close: one end less, and the other is meant.
            Action::Descriptor { .. } | Action::Close { .. } if !event.private_descriptors => {
                self.met(process, now, processes);
            }
            Action::File(file) if event.errno().is_none() => {
                self.file(process, file, now, processes);
            }
            Action::ProcessMemory { write, target: Target { process: Some(target), .. } }
                if event.errno().is_none() =>
            {
                self.traced(process, *target, *write, now, processes);
            }
            Action::Ptrace { request, target: Target { process: Some(target), .. }, .. }
                if event.errno().is_none() =>
            {
                let is_written = PTRACE_WRITES.contains(request);
                if is_written || PTRACE_READS.contains(request) {
                    self.traced(process, *target, is_written, now, processes);
                }
            }
            Action::Traffic(traffic) => self.told(process, traffic, now, processes),
            Action::Exit => {
                self.carriers.remove(&process);
                self.links.forget(process);
            }
            _ => {}
        }
    }

    /// Looks at what time alone decides; `now` is CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, processes: &ProcessTable) {
        self.expire(now);
        // An exit may have been lost.
        self.carriers.retain(|&id, _| processes.get(id).is_some());
        self.links.retain(|id| processes.get(id).is_some());
    }

    /// What `process` holds may have changed.
    fn met(&mut self, process: ProcessId, now: u64, processes: &ProcessTable) {
        let Some(known) = processes.get(process) else { return };
        let mut received = Vec::new();
        self.links.inputs(known, |object, through| {
            let found = self.marked.get(&object).into_iter().flatten();
            received.extend(found.map(|one| one.on(through.clone(), process, now)));
        });
        self.carry(process, received);
        if self.carriers.contains_key(&process) {
            self.spread(process, now, processes);
        }
    }

    /// A file was opened or mapped.
    fn file(&mut self, process: ProcessId, file: &File, now: u64, processes: &ProcessTable) {
        let opens = matches!(file.call, FileCall::Open | FileCall::Memfd { .. });
        if !opens && !file.is_shared_map() {
            return;
        }
        let memory_of = file.path.as_ref().filter(|_| file.class == class::PROCESS_MEMORY);
        let owner = memory_of.and_then(|path| process_of_memory(&path.bytes));
        if let Some(owner) = owner.and_then(|tgid| processes.of_tgid(tgid)) {
            self.traced(process, owner.id, file.writes(), now, processes);
        }
        self.met(process, now, processes);
        let written = file.object.filter(|object| opens && file.writes() && object.is_regular());
        if let Some(object) = written.filter(|_| self.carriers.contains_key(&process)) {
            self.wrote(process, object.id, now, processes);
        }
    }

    /// `process` has read the memory of `target`, or written to it.
    fn traced(
        &mut self,
        process: ProcessId,
        target: ProcessId,
        is_written: bool,
        now: u64,
        processes: &ProcessTable,
    ) {
        let (from, to) = if is_written { (process, target) } else { (target, process) };
        if from == to || processes.get(to).is_none() {
            return;
        }
        let found = self.carried(from).iter();
        let received = found.map(|one| one.on(Through::Tracing, to, now)).collect();
        if self.carry(to, received) {
            self.spread(to, now, processes);
        }
    }

    /// What was sent before it was accepted has come to its other end.
    fn accepted(&mut self, end: ObjectId) {
        let sent = self.links.twin(end).and_then(|other| self.marked.get(&other)).cloned();
        let is_full = self.marked.len() >= MAX_CARRIERS;
        add(&mut self.marked, is_full, end, sent.unwrap_or_default(), &mut self.lost);
    }

    /// `from` has sent data of `source`, as nobody else would, `by` a socket to somebody on this host, who has it now.
    pub fn pass(
        &mut self,
        from: ProcessId,
        source: SourceId,
        by: &Descriptor,
        now: u64,
        processes: &ProcessTable,
    ) {
        let passed = self.carried(from).iter().find(|carried| carried.source == source).cloned();
        let (Some(passed), Some(ends)) = (passed, by.socket) else { return };
        // Once is enough, and each time costs a search. A socket for datagrams may send to more than one.
        let way = (source, by.object.id, ends.remote);
        if self.passed.contains(&way) || !self.may_search(now, processes) {
            return;
        }
        if self.passed.len() >= MAX_CARRIERS {
            self.lost += 1;
            return;
        }
        self.passed.insert(way);
        let others = processes.iter().filter(|other| other.id != from);
        let receivers = others.filter(|other| reach::has_other_end(other, &ends));
        let receivers: Vec<ProcessId> = receivers.map(|process| process.id).collect();
        for receiver in &receivers {
            let received = vec![passed.on(Through::Loopback, *receiver, now)];
            if self.carry(*receiver, received) {
                self.spread(*receiver, now, processes);
            }
        }
        if receivers.is_empty() {
            if self.unaccepted.len() >= MAX_UNACCEPTED {
                self.unaccepted.pop_front();
                self.lost += 1;
            }
            self.unaccepted.push_back((ends, passed));
        }
    }

    /// `process` has accepted a connection with these `ends`: what was passed on there before has come to it.
    fn takes_what_waited(
        &mut self,
        process: ProcessId,
        ends: &SocketEnds,
        now: u64,
        processes: &ProcessTable,
    ) {
        let waited = self.unaccepted.iter().filter(|(sender, _)| reach::is_other_end(ends, sender));
        let received = waited.map(|(_, one)| one.on(Through::Loopback, process, now)).collect();
        if self.carry(process, received) {
            self.spread(process, now, processes);
        }
    }

    /// `process` sends to where it has connected: what waited in pipes that it made, and that nobody but it can
    /// read any more, it has read for that, as who runs a command and wants its output. A shell that builds
    /// a pipeline has left its read ends to others by then.
    fn takes_outputs(&mut self, process: ProcessId, now: u64, processes: &ProcessTable) {
        let Some(known) = processes.get(process) else { return };
        let has = self.carried(process);
        let is_known =
            |one: &Carried| has.binary_search_by_key(&one.source, |known| known.source).is_ok();
        let has_news = |pipe| {
            let marked = self.marked.get(&pipe);
            marked.is_some_and(|marked| marked.iter().any(|one| !is_known(one)))
        };
        let mut made = reach::made(known, has_news);
        if made.is_empty() || !self.may_search(now, processes) {
            return;
        }
        for other in processes.iter().filter(|other| other.id != process) {
            reach::leave_out_what_it_reads(other, &mut made);
        }
        let found = made.iter().filter_map(|pipe| self.marked.get(pipe)).flatten();
        let received = found.map(|one| one.on(Through::Output, process, now)).collect();
        if self.carry(process, received) {
            self.spread(process, now, processes);
        }
    }

    /// A send, or the totals of a descriptor, say what was done.
    fn told(&mut self, process: ProcessId, traffic: &Traffic, now: u64, processes: &ProcessTable) {
        let Some(descriptor) = traffic.descriptor else { return };
        if traffic.sent > 0 && reach::goes_out(processes.get(process), traffic) {
            self.takes_outputs(process, now, processes);
        }
        let Some((from, to, through)) = self.links.ends(&descriptor) else { return };
        let (received, sent) = match traffic.report {
            TrafficReport::Totals => (traffic.received, traffic.sent),
            // All of it so far: drop by drop it is as much.
            TrafficReport::Sent { .. } => (0, traffic.sent),
        };
        if received >= MIN_TOLD {
            let found = self.marked.get(&from).into_iter().flatten();
            let received = found.map(|one| one.on(through.clone(), process, now)).collect();
            if self.carry(process, received) {
                self.spread(process, now, processes);
            }
        }
        if sent >= MIN_TOLD && self.carriers.contains_key(&process) {
            self.wrote(process, to, now, processes);
        }
    }

    /// `process`, a carrier, has written to `object`.
    fn wrote(&mut self, process: ProcessId, object: ObjectId, now: u64, processes: &ProcessTable) {
        let fresh: HashSet<ObjectId> = self.put(process, object).into_iter().collect();
        self.search(&fresh, now, processes);
    }

    /// Marks what `start`, a carrier, can write to, and who can read from that, and so on.
    fn spread(&mut self, start: ProcessId, now: u64, processes: &ProcessTable) {
        let Some(process) = processes.get(start) else { return };
        let mut outputs = Vec::new();
        self.links.outputs(process, |object| outputs.push(object));
        let fresh: HashSet<ObjectId> =
            outputs.into_iter().filter_map(|object| self.put(start, object)).collect();
        self.search(&fresh, now, processes);
    }

    /// Marks `object` with what `process` carries; the object, if that is news.
    fn put(&mut self, process: ProcessId, object: ObjectId) -> Option<ObjectId> {
        let carried = self.carriers.get(&process).cloned().unwrap_or_default();
        let is_full = self.marked.len() >= MAX_CARRIERS;
        add(&mut self.marked, is_full, object, carried, &mut self.lost).then_some(object)
    }

    /// Gives `process` more to carry; whether that is news.
    fn carry(&mut self, process: ProcessId, received: Vec<Carried>) -> bool {
        let is_full = self.carriers.len() >= MAX_CARRIERS;
        let is_news = !self.carriers.contains_key(&process);
        let is_carrier = add(&mut self.carriers, is_full, process, received, &mut self.lost);
        if is_carrier && is_news && self.fresh.len() < MAX_CARRIERS {
            self.fresh.push(process);
        }
        is_carrier
    }

    /// Processes that have become carriers since this was asked last, at most so many; the rest comes later.
    pub fn take_fresh(&mut self, most: usize) -> Vec<ProcessId> {
        self.fresh.drain(..most.min(self.fresh.len())).collect()
    }

    /// Whether the source is still followed.
    pub fn has(&self, source: SourceId) -> bool {
        self.sources.contains_key(&source)
    }

    /// Finds the readers of freshly marked objects, and goes on with what they write to.
    fn search(&mut self, fresh: &HashSet<ObjectId>, now: u64, processes: &ProcessTable) {
        let mut fresh = fresh.clone();
        while !fresh.is_empty() {
            if !self.may_search(now, processes) {
                return;
            }
            let mut next = HashSet::default();
            for process in processes.iter() {
                let mut received = Vec::new();
                self.links.inputs(process, |object, through| {
                    if fresh.contains(&object) {
                        let found = self.marked.get(&object).into_iter().flatten();
                        received.extend(found.map(|one| one.on(through.clone(), process.id, now)));
                    }
                });
                if self.carry(process.id, received) {
                    let mut outputs = Vec::new();
                    self.links.outputs(process, |object| outputs.push(object));
                    next.extend(outputs.into_iter().filter_map(|one| self.put(process.id, one)));
                }
            }
            fresh = next;
        }
    }

    /// Whether all processes may be looked at once more; what may not is counted.
    fn may_search(&mut self, now: u64, processes: &ProcessTable) -> bool {
        if now.saturating_sub(self.searched_since) >= SECOND_NS {
            (self.searched_since, self.searched) = (now, 0);
        }
        self.searched = self.searched.saturating_add(processes.len());
        let may = self.searched <= MAX_SEARCHED;
        self.lost += u64::from(!may);
        may
    }

    /// Forgets sources whose time is over; looks once a second.
    fn expire(&mut self, now: u64) {
        if now.saturating_sub(self.expired_at) < SECOND_NS {
            return;
        }
        self.expired_at = now;
        let before = self.sources.len();
        self.sources.retain(|_, source| source.until > now);
        if self.sources.len() != before {
            self.drop_expired();
        }
    }

    fn drop_expired(&mut self) {
        let sources = &self.sources;
        let keep = |carried: &mut Vec<Carried>| {
            carried.retain(|one| sources.contains_key(&one.source));
            !carried.is_empty()
        };
        self.carriers.retain(|_, carried| keep(carried));
        self.marked.retain(|_, carried| keep(carried));
        self.unaccepted.retain(|(_, one)| sources.contains_key(&one.source));
        self.passed.retain(|(source, ..)| sources.contains_key(source));
    }
}

impl Carried {
    fn on(&self, through: Through, process: ProcessId, now: u64) -> Self {
        Self { source: self.source, trail: self.trail.on(through, process, now) }
    }
}

/// The process that a path such as /proc/12/mem or /proc/12/task/13/mem tells of.
fn process_of_memory(path: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(path).ok()?;
    let (_, rest) = text.split_once("/proc/")?;
    rest.split('/').next()?.parse().ok()
}

/// Adds what is new of `carried` under `key`; whether something was.
fn add<K: std::hash::Hash + Eq>(
    map: &mut HashMap<K, Vec<Carried>>,
    is_full: bool,
    key: K,
    carried: Vec<Carried>,
    lost: &mut u64,
) -> bool {
    if carried.is_empty() {
        return false;
    }
    if is_full && !map.contains_key(&key) {
        *lost += 1;
        return false;
    }
    let known = map.entry(key).or_default();
    let before = known.len();
    for one in carried {
        match known.binary_search_by_key(&one.source, |known| known.source) {
            Ok(_) => {}
            Err(_) if known.len() >= MAX_CARRIED => *lost += 1,
            Err(place) => known.insert(place, one),
        }
    }
    known.len() > before
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
