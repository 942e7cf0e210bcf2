//! Who can have received data from whom.
//!
//! A caller marks a process as a *source* when it has got hold of something; from then on whoever can
//! have received it is a *carrier*: children, and who can read from a pipe, a socketpair or a shared
//! memfd into which a carrier can write – and so on, until the source expires. An object that carriers
//! can write to stays marked after they have closed it, as data may wait in it. What a process can do
//! with an object, [`reach`] judges by its descriptors; what it did, totals of its traffic tell, late
//! but for sure.
//!
//! While nothing is marked, an event costs a look at two empty maps; ends of socketpairs and memfds are
//! remembered all the same. State is bounded in number (what does not fit is counted) and in time. Data
//! in files, in connections of unix sockets whose ends were not seen together, and over the network is
//! not followed.

mod reach;
mod trail;

use std::collections::{BTreeMap, HashMap, HashSet};

use sentinel_ipc::{frame::KindSet, kernel_abi::kind};

pub use trail::{Through, Trail};

use crate::{
    event::{Action, DescriptorCall, Event, FileCall, ObjectId, ProcessId, Traffic, TrafficReport},
    process_table::ProcessTable,
};
use reach::{Links, MIN_TOLD};

/// What lineage is told by, beside fork, exec and exit, and what the process table follows.
pub const NEEDS: KindSet = KindSet::of(&[
    kind::PIPE,
    kind::SOCKETPAIR,
    kind::RECEIVED,
    kind::DUP,
    kind::MEMFD,
    kind::TRAFFIC,
]);

/// Sources that are kept; the oldest makes room.
const MAX_SOURCES: usize = 1024;
/// Sources of one process that are kept; its oldest makes room.
const MAX_OWN_SOURCES: usize = 32;
/// Sources that a carrier or an object is known to have data of.
const MAX_CARRIED: usize = 64;
/// Carriers, and marked objects.
const MAX_CARRIERS: usize = 16_384;
/// Processes that are looked at in search of readers, in a second of events.
const MAX_SEARCHED: usize = 200_000;
const SECOND_NS: u64 = 1_000_000_000;

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
            // Of a close: one end less, and the other is meant.
            Action::Descriptor { .. } | Action::Close { .. } if !event.private_descriptors => {
                self.met(process, now, processes);
            }
            Action::File(file) if matches!(file.call, FileCall::Memfd { .. }) => {
                self.met(process, now, processes);
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
            received.extend(found.map(|one| one.on(through, process, now)));
        });
        self.carry(process, received);
        if self.carriers.contains_key(&process) {
            self.spread(process, now, processes);
        }
    }

    /// Totals of a descriptor say what was done.
    fn told(&mut self, process: ProcessId, traffic: &Traffic, now: u64, processes: &ProcessTable) {
        let Some(descriptor) = traffic.descriptor else { return };
        if traffic.report != TrafficReport::Totals {
            return;
        }
        let Some((from, to, through)) = self.links.ends(&descriptor) else { return };
        if traffic.received >= MIN_TOLD {
            let found = self.marked.get(&from).into_iter().flatten();
            let received: Vec<Carried> = found.map(|one| one.on(through, process, now)).collect();
            if self.carry(process, received) {
                self.spread(process, now, processes);
            }
        }
        if traffic.sent >= MIN_TOLD && self.carriers.contains_key(&process) {
            let fresh: HashSet<ObjectId> = self.put(process, to).into_iter().collect();
            self.search(&fresh, now, processes);
        }
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
        add(&mut self.carriers, is_full, process, received, &mut self.lost)
    }

    /// Finds the readers of freshly marked objects, and goes on with what they write to.
    fn search(&mut self, fresh: &HashSet<ObjectId>, now: u64, processes: &ProcessTable) {
        let mut fresh = fresh.clone();
        while !fresh.is_empty() {
            if now.saturating_sub(self.searched_since) >= SECOND_NS {
                (self.searched_since, self.searched) = (now, 0);
            }
            self.searched = self.searched.saturating_add(processes.len());
            if self.searched > MAX_SEARCHED {
                self.lost += 1;
                return;
            }
            let mut next = HashSet::new();
            for process in processes.iter() {
                let mut received = Vec::new();
                self.links.inputs(process, |object, through| {
                    if fresh.contains(&object) {
                        let found = self.marked.get(&object).into_iter().flatten();
                        received.extend(found.map(|one| one.on(through, process.id, now)));
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
    }
}

impl Carried {
    fn on(&self, through: Through, process: ProcessId, now: u64) -> Self {
        Self { source: self.source, trail: self.trail.on(through, process, now) }
    }
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
