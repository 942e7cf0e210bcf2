//! What lineage is held against: after each event, everything that can flow flows, until nothing changes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, prop_assert_eq, prop_oneof, proptest},
};

use super::Lineage;
use crate::{
    event::{
        Action, Descriptor, DescriptorCall, Event, Exec, Object, ObjectId, ProcessId, SocketEnds,
        Traffic, TrafficReport,
    },
    process_table::ProcessTable,
};

const PROCESSES: std::ops::Range<u32> = 1..6;
const FOREVER: u64 = u64::MAX;

fn id(tgid: u32) -> ProcessId {
    ProcessId { tgid, start_time: 1 }
}

/// Pipes have even numbers, ends of socketpairs 1001 and 1002, 1003 and 1004 and so on.
fn descriptor(inode: u64) -> Descriptor {
    let is_pipe = inode < 1000;
    let mode = if is_pipe { 0o010_600 } else { 0o140_777 };
    let id = ObjectId { inode, ..ObjectId::default() };
    let socket = SocketEnds { family: 1, has_peer: true, ..SocketEnds::default() };
    let object = Object { id, mode, links: 1, ..Object::default() };
    Descriptor { object, socket: (!is_pipe).then_some(socket) }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    inode: u64,
}

#[derive(Debug, Default)]
struct Reference {
    tables: BTreeMap<u32, BTreeMap<u32, Slot>>,
    /// Who made an object, and when; once for each end.
    made: BTreeMap<u64, Vec<(u32, u64)>>,
    started: BTreeMap<u32, u64>,
    carried: BTreeMap<u32, BTreeSet<usize>>,
    marked: BTreeMap<u64, BTreeSet<usize>>,
}

/// Where what is written to `inode` comes out.
fn outlet(inode: u64) -> u64 {
    if inode < 1000 {
        inode
    } else if inode % 2 == 1 {
        inode + 1
    } else {
        inode - 1
    }
}

impl Reference {
    fn is_alone(&self, pid: u32, inode: u64) -> bool {
        self.tables[&pid].values().filter(|slot| slot.inode == inode).count() == 1
    }

    fn reads(&self, pid: u32, number: u32, slot: Slot) -> bool {
        if slot.inode > 1000 {
            return !self.tables[&pid].values().any(|other| other.inode == outlet(slot.inode));
        }
        let started = self.started.get(&pid).copied().unwrap_or(0);
        let mut made = self.made.get(&slot.inode).into_iter().flatten();
        let is_maker = made.any(|&(maker, at)| maker == pid && at > started);
        number == 0 || number > 2 && self.is_alone(pid, slot.inode) && !is_maker
    }

    fn writes(&self, pid: u32, number: u32, slot: Slot) -> bool {
        slot.inode > 1000
            || [1, 2].contains(&number)
            || number > 2 && self.is_alone(pid, slot.inode)
    }

    fn receive(&mut self, pid: u32, inode: u64) -> bool {
        let there = self.marked.get(&inode).cloned().unwrap_or_default();
        let its = self.carried.entry(pid).or_default();
        let before = its.len();
        its.extend(there);
        its.len() > before
    }

    fn put(&mut self, pid: u32, inode: u64) -> bool {
        let its = self.carried.get(&pid).cloned().unwrap_or_default();
        let there = self.marked.entry(outlet(inode)).or_default();
        let before = there.len();
        there.extend(its);
        there.len() > before
    }

    fn flow(&mut self) {
        let mut changed = true;
        while changed {
            changed = false;
            for pid in self.tables.keys().copied().collect::<Vec<_>>() {
                for (number, slot) in self.tables[&pid].clone() {
                    if self.writes(pid, number, slot) {
                        changed |= self.put(pid, slot.inode);
                    }
                    if self.reads(pid, number, slot) {
                        changed |= self.receive(pid, slot.inode);
                    }
                }
            }
        }
    }
}

/// Both at once.
#[derive(Debug, Default)]
struct Pair {
    reference: Reference,
    processes: ProcessTable,
    lineage: Lineage,
    now: u64,
    sources: Vec<(u32, u64)>,
}

impl Pair {
    fn event(&mut self, pid: u32, action: Action) {
        self.now += 1;
        let event = Event::of(self.now, id(pid), action);
        self.processes.apply(&event);
        self.lineage.observe(&event, &self.processes);
        if matches!(event.action, Action::Exit) {
            self.processes.forget(event.process);
        }
    }

    fn call(&mut self, pid: u32, call: DescriptorCall, from: Option<u32>, number: u32, inode: u64) {
        let (number, descriptor, close_on_exec) = (Some(number), Some(descriptor(inode)), false);
        self.event(pid, Action::Descriptor { call, number, from, descriptor, close_on_exec });
    }

    fn step(&mut self, (kind, pid, one, other): (&'static str, u32, u32, u32)) {
        if kind == "fork" {
            let child = 1 + one % 5;
            let lives = |pid| self.reference.tables.contains_key(pid);
            if !lives(&pid) || lives(&child) {
                return;
            }
            let table = self.reference.tables[&pid].clone();
            let reference = &mut self.reference;
            reference.tables.insert(child, table);
            let started = reference.started.get(&pid).copied().unwrap_or(0);
            reference.started.insert(child, started);
            let carried = reference.carried.get(&pid).cloned().unwrap_or_default();
            reference.carried.insert(child, carried);
            let (child_cgroup_id, shares_descriptors, parent, child) =
                (1, false, id(pid), id(child));
            self.event(pid, Action::Fork { child, child_cgroup_id, parent, shares_descriptors });
            return;
        }
        let Some(table) = self.reference.tables.get(&pid).cloned() else { return };
        let reference = self.reference.tables.get_mut(&pid).unwrap();
        let now = self.now;
        match kind {
            "mark" if self.sources.len() < 6 => {
                self.now += 1;
                self.reference.carried.entry(pid).or_default().insert(self.sources.len());
                self.sources.push((pid, self.now));
                self.lineage.mark(id(pid), self.now, FOREVER, &self.processes);
            }
            "pipe" | "pair" => {
                let is_pipe = kind == "pipe";
                let first = if is_pipe { 2 * now } else { 1001 + 2 * now };
                let call = if is_pipe { DescriptorCall::Pipe } else { DescriptorCall::Socketpair };
                let second = if is_pipe { first } else { first + 1 };
                let free = (one..).find(|number| *number != other).unwrap();
                reference.insert(free, Slot { inode: first });
                reference.insert(other, Slot { inode: second });
                self.reference.made.entry(first).or_default().push((pid, now + 1));
                self.reference.made.entry(second).or_default().push((pid, now + 2));
                self.call(pid, call, None, free, first);
                // Not an event of its own to the reference: both ends are there at once.
                self.call(pid, call, Some(free), other, second);
            }
            "dup" => {
                let Some(slot) = table.get(&one).copied() else { return };
                reference.insert(other, slot);
                self.call(pid, DescriptorCall::Dup, Some(one), other, slot.inode);
            }
            "pass" => {
                let all = self.reference.tables.values().flat_map(BTreeMap::values);
                let Some(inode) = all.map(|slot| slot.inode).nth(one as usize) else { return };
                let table = self.reference.tables.get_mut(&pid).unwrap();
                table.insert(other, Slot { inode });
                self.call(pid, DescriptorCall::Received, None, other, inode);
            }
            "close" => {
                reference.remove(&one);
                self.event(pid, Action::Close { first: one, last: one, unshare: false });
            }
            "exec" => {
                self.reference.started.insert(pid, now + 1);
                let stdio =
                    [0, 1, 2].map(|number| table.get(&number).map(|it| descriptor(it.inode)));
                self.event(pid, Action::Exec(Box::new(Exec { stdio, ..Exec::default() })));
            }
            "traffic" => {
                let Some(slot) = table.get(&one).copied() else { return };
                let (received, sent) = (u64::from(other % 2) * 50, u64::from(other / 2 % 2) * 50);
                let descriptor = Some(descriptor(slot.inode));
                if received > 0 {
                    self.reference.receive(pid, slot.inode);
                }
                // Where it goes is told only while somebody carries something.
                if sent > 0 {
                    self.reference.flow();
                    self.reference.put(pid, slot.inode);
                }
                let traffic = Traffic {
                    number: Some(one),
                    descriptor,
                    received,
                    sent,
                    reads: 1,
                    writes: 1,
                    ..Traffic::of(TrafficReport::Totals)
                };
                self.event(pid, Action::Traffic(Box::new(traffic)));
            }
            "exit" if pid != 1 => {
                self.reference.tables.remove(&pid);
                self.reference.carried.remove(&pid);
                self.event(pid, Action::Exit);
            }
            _ => {}
        }
    }

    fn agrees(&mut self, what: &str) -> Result<usize, proptest::test_runner::TestCaseError> {
        self.reference.flow();
        let mut carriers = 0;
        for pid in self.reference.tables.keys().copied() {
            let there = self.reference.carried.get(&pid).cloned().unwrap_or_default();
            carriers += there.len();
            for (number, &(from, since)) in self.sources.iter().enumerate() {
                let mut same = self.sources.iter().enumerate().skip(number);
                let reaches = from == pid
                    || same.any(|(one, source)| source.0 == from && there.contains(&one));
                let said = self.lineage.reaches(id(from), since, id(pid));
                prop_assert_eq!(said, reaches, "{} → {} after {}", from, pid, what);
            }
        }
        Ok(carriers)
    }
}

type Word = (&'static str, u32, u32, u32);

fn stories() -> impl Strategy<Value = Vec<Word>> {
    let kinds = prop_oneof![
        3 => Just("fork"), 3 => Just("mark"), 3 => Just("pipe"), 1 => Just("pair"),
        3 => Just("dup"), 1 => Just("pass"), 4 => Just("close"), 2 => Just("exec"),
        2 => Just("traffic"), 1 => Just("exit"),
    ];
    vec((kinds, PROCESSES, 0..6_u32, 0..6_u32), 1..60)
}

fn begun() -> Pair {
    let mut pair = Pair::default();
    pair.reference.tables.insert(1, BTreeMap::new());
    pair
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]
    #[test]
    fn lineage_agrees_with_the_reference(story in stories()) {
        let mut pair = begun();
        for word in &story {
            pair.step(*word);
            pair.agrees(&format!("{word:?} of {story:?}"))?;
        }
        prop_assert_eq!(pair.lineage.lost(), 0);
    }
}

/// That data goes somewhere in the random stories is what makes the agreement worth something.
#[test]
fn random_stories_carry_often_enough_to_say_something() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut carried = 0;
    for _ in 0..200 {
        let story = stories().new_tree(&mut runner).unwrap().current();
        let mut pair = begun();
        for word in story {
            pair.step(word);
            carried += pair.agrees("a step").unwrap();
        }
    }
    assert!(carried > 5000, "{carried}");
}
