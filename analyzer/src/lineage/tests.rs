//! Bounds in number and time, and ways that the random stories do not take.

use super::{Lineage, MAX_OWN_SOURCES, Through};
use sentinel_ipc::file_class::class;

use crate::{
    event::{
        Access, Action, Addressee, Descriptor, DescriptorCall, Event, Exec, File, FileCall, Object,
        ObjectId, Origin, Path, ProcessId, SocketEnds, Target, Traffic, TrafficReport,
    },
    process_table::ProcessTable,
};

const SECOND: u64 = 1_000_000_000;

#[derive(Default)]
struct Story {
    processes: ProcessTable,
    lineage: Lineage,
    now: u64,
}

fn id(tgid: u32) -> ProcessId {
    ProcessId { tgid, start_time: 1 }
}

fn pipe(inode: u64) -> Descriptor {
    let id = ObjectId { inode, ..ObjectId::default() };
    Descriptor { object: Object { id, mode: 0o010_600, ..Object::default() }, socket: None }
}

impl Story {
    fn happens(&mut self, pid: u32, action: Action) -> &mut Self {
        self.now += 1;
        let event = Event::of(self.now, id(pid), action);
        self.processes.apply(&event);
        self.lineage.observe(&event, &self.processes);
        if matches!(event.action, Action::Exit) {
            self.processes.forget(event.process);
        }
        self
    }

    fn mark(&mut self, pid: u32, until: u64) -> u64 {
        self.now += 1;
        self.lineage.mark(id(pid), self.now, until, &self.processes);
        self.now
    }

    fn fork(&mut self, parent: u32, child: u32) -> &mut Self {
        let (child, by) = (id(child), parent);
        let (child_cgroup_id, parent, shares_descriptors) = (1, id(parent), false);
        self.happens(by, Action::Fork { child, child_cgroup_id, parent, shares_descriptors })
    }

    /// Starts a program with these pipes as input and output.
    fn exec(&mut self, pid: u32, input: u64, output: u64) -> &mut Self {
        let stdio = [Some(pipe(input)), Some(pipe(output)), None];
        self.happens(pid, Action::Exec(Box::new(Exec { stdio, ..Exec::default() })))
    }
}

#[test]
fn data_goes_down_a_pipeline_and_not_up() {
    let mut story = Story::default();
    story.exec(1, 10, 11).exec(2, 11, 12).exec(3, 12, 13);
    let since = story.mark(2, u64::MAX);
    let reaches = |pid| story.lineage.reaches(id(2), since, id(pid));
    assert_eq!([1, 2, 3].map(reaches), [false, true, true]);
    let hops = story.lineage.carried(id(3))[0].trail.hops();
    assert_eq!(hops, [(id(2), story.now, Through::Pipe, id(3))]);
    assert!(!story.lineage.reaches(id(2), since + 1, id(3)), "of later data nothing is known");
}

#[test]
fn who_was_forked_before_has_nothing() {
    let mut story = Story::default();
    story.fork(1, 2);
    let since = story.mark(1, u64::MAX);
    story.fork(1, 3).fork(2, 4);
    let reaches = |pid| story.lineage.reaches(id(1), since, id(pid));
    assert_eq!([2, 3, 4].map(reaches), [false, true, false]);
}

#[test]
fn what_waits_in_a_pipe_is_still_there_when_its_writer_has_ended() {
    let mut story = Story::default();
    story.exec(1, 10, 11);
    let since = story.mark(1, u64::MAX);
    story.happens(1, Action::Exit).exec(2, 11, 12);
    assert!(story.lineage.reaches(id(1), since, id(2)));
}

#[test]
fn a_source_expires_and_leaves_nothing() {
    let mut story = Story::default();
    story.exec(1, 10, 11).exec(2, 11, 12);
    let since = story.mark(1, 5 * SECOND);
    story.lineage.time(4 * SECOND, &story.processes);
    assert!(story.lineage.reaches(id(1), since, id(2)));
    story.lineage.time(6 * SECOND, &story.processes);
    assert!(!story.lineage.reaches(id(1), since, id(2)) && story.lineage.is_idle());
}

#[test]
fn sources_are_bounded_and_what_is_lost_is_counted() {
    let mut story = Story::default();
    story.exec(1, 10, 11);
    let first = story.mark(1, u64::MAX);
    for _ in 0..MAX_OWN_SOURCES {
        story.mark(1, u64::MAX);
    }
    assert_eq!(story.lineage.carried(id(1)).len(), MAX_OWN_SOURCES);
    assert_eq!(story.lineage.lost(), 1);
    for pid in 2..3000 {
        story.exec(pid, 10, u64::from(pid) + 100);
        story.mark(pid, u64::MAX);
    }
    assert!(story.lineage.sources.len() <= super::MAX_SOURCES);
    assert!(story.lineage.lost() > 1900);
    assert!(story.lineage.reaches(id(1), first, id(1)), "oneself, always");
}

#[test]
fn memory_is_shared_with_who_inherits_it_or_is_given_it() {
    let object = Object { mode: 0o100_600, ..pipe(50).object };
    let memfd = File {
        call: FileCall::Memfd { flags: 0 },
        number: Some(7),
        object: Some(object),
        path: None,
        class: 0,
        open_flags: 2,
        close_on_exec: false,
    };
    let mut story = Story::default();
    story.happens(1, Action::File(Box::new(memfd))).fork(1, 2);
    story.happens(
        3,
        Action::Descriptor {
            call: DescriptorCall::Received,
            number: Some(5),
            from: Some(4),
            descriptor: Some(Descriptor { object, socket: None }),
            close_on_exec: false,
        },
    );
    story.fork(1, 4).happens(4, Action::Close { first: 7, last: 7, unshare: false });
    let since = story.mark(1, u64::MAX);
    let reaches = |pid| story.lineage.reaches(id(1), since, id(pid));
    assert_eq!([2, 3, 4].map(reaches), [true, true, false]);
}

const FILE: Object = Object {
    id: ObjectId { device: 5, inode: 70, generation: 1 },
    mode: 0o100_600,
    links: 1,
    size: 0,
    owner: 0,
    rdev: 0,
};

impl Story {
    /// Opens a file at /tmp/x, for reading if `flags` (`O_*`) is 0.
    fn open(&mut self, pid: u32, number: u32, flags: u32) -> &mut Self {
        self.file(pid, FileCall::Open, Some(number), flags)
    }

    fn file(&mut self, pid: u32, call: FileCall, number: Option<u32>, flags: u32) -> &mut Self {
        let path = Path { bytes: b"/tmp/x".to_vec(), origin: Origin::Kernel, truncated: false };
        let (object, path, class) = (Some(FILE), Some(path), 31);
        let (open_flags, close_on_exec) = (flags, false);
        let file = File { call, number, object, path, class, open_flags, close_on_exec };
        self.happens(pid, Action::File(Box::new(file)))
    }

    /// Tells what went through a descriptor.
    fn traffic(&mut self, pid: u32, number: u32, descriptor: Descriptor, ways: (u64, u64)) {
        let (received, sent) = ways;
        let report = match descriptor.socket {
            Some(_) => TrafficReport::Sent { bytes: sent, calls: 1 },
            None => TrafficReport::Totals,
        };
        let traffic = Traffic {
            number: Some(number),
            descriptor: Some(descriptor),
            received,
            sent,
            reads: 1,
            writes: 1,
            ..Traffic::of(report)
        };
        self.happens(pid, Action::Traffic(Box::new(traffic)));
    }

    fn reaches(&self, from: u32, since: u64, to: u32) -> bool {
        self.lineage.reaches(id(from), since, id(to))
    }
}

fn file() -> Descriptor {
    Descriptor { object: FILE, socket: None }
}

#[test]
fn what_is_written_to_a_file_comes_to_who_reads_it_then() {
    let mut story = Story::default();
    story.open(3, 3, 0);
    let since = story.mark(1, u64::MAX);
    story.open(1, 5, 1).open(2, 4, 0).open(4, 4, 1);
    assert_eq!([2, 3, 4].map(|pid| story.reaches(1, since, pid)), [true, true, false]);
    let hops = story.lineage.carried(id(2))[0].trail.hops();
    assert_eq!(hops[0].2.to_string(), "through the file /tmp/x");
}

#[test]
fn a_file_that_is_only_held_open_has_nothing_until_it_is_written() {
    let mut story = Story::default();
    // A log, which a shell's commands inherit.
    story.open(1, 2, 1).fork(1, 2).open(3, 3, 0);
    let since = story.mark(2, u64::MAX);
    assert!(!story.reaches(2, since, 3));
    story.traffic(2, 2, file(), (0, 411));
    assert!(story.reaches(2, since, 3), "its totals say that it was written");
    story.open(4, 4, 0).happens(3, Action::Close { first: 3, last: 3, unshare: false });
    assert!(story.reaches(2, since, 4), "and it stays in the file");
}

#[test]
fn who_has_closed_a_file_before_gets_nothing() {
    let mut story = Story::default();
    story.open(3, 3, 0).happens(3, Action::Close { first: 3, last: 3, unshare: false });
    let since = story.mark(1, u64::MAX);
    story.open(1, 5, 1);
    assert!(!story.reaches(1, since, 3));
}

#[test]
fn files_that_are_mapped_to_be_shared_carry_data_when_they_are_closed() {
    let map = FileCall::Map { protection: 3, flags: 1 };
    let mut story = Story::default();
    story.file(1, map, None, 2).file(2, map, None, 2).fork(2, 3);
    story.file(4, FileCall::Map { protection: 1, flags: 2 }, None, 0);
    let since = story.mark(1, u64::MAX);
    assert_eq!([2, 3, 4].map(|pid| story.reaches(1, since, pid)), [true, true, false]);
    story.exec(3, 10, 11);
    let since = story.mark(1, u64::MAX);
    assert!(!story.reaches(1, since, 3), "another program has other memory");
}

#[test]
fn processes_of_one_memory_have_the_same_until_one_runs_another_program() {
    let mut story = Story::default();
    story.exec(1, 10, 11).fork(1, 4);
    for child in [2, 3] {
        let (parent, shares_descriptors, child) = (id(1), false, id(child));
        let fork = Action::Fork { child, child_cgroup_id: 1, parent, shares_descriptors };
        story.now += 1;
        let event = Event { shares_memory: true, ..Event::of(story.now, id(1), fork) };
        story.processes.apply(&event);
        story.lineage.observe(&event, &story.processes);
    }
    story.exec(3, 12, 13);
    let since = story.mark(2, u64::MAX);
    assert_eq!([1, 3, 4].map(|pid| story.reaches(2, since, pid)), [true, false, false]);
}

fn end(inode: u64, peer: Option<u64>) -> Descriptor {
    let id = ObjectId { inode, ..ObjectId::default() };
    let object = Object { id, mode: 0o140_777, links: 1, ..Object::default() };
    let socket = SocketEnds { family: 1, has_peer: true, peer, ..SocketEnds::default() };
    Descriptor { object, socket: Some(socket) }
}

impl Story {
    fn socket(&mut self, pid: u32, call: DescriptorCall, socket: Descriptor) -> &mut Self {
        let (number, descriptor) = (Some(6), Some(socket));
        let (from, close_on_exec) = (None, false);
        let action = Action::Descriptor { call, number, from, descriptor, close_on_exec };
        self.happens(pid, action)
    }
}

#[test]
fn what_is_sent_to_a_service_comes_to_it_and_a_connection_alone_brings_nothing() {
    let mut story = Story::default();
    story.socket(1, DescriptorCall::Connect, end(20, None));
    story.socket(2, DescriptorCall::Accept, end(21, Some(20)));
    let since = story.mark(1, u64::MAX);
    assert!(!story.reaches(1, since, 2));
    story.traffic(1, 6, end(20, None), (0, 411));
    assert!(story.reaches(1, since, 2));
}

#[test]
fn what_was_sent_before_it_was_accepted_is_found_there() {
    let mut story = Story::default();
    story.socket(1, DescriptorCall::Connect, end(20, None));
    let since = story.mark(1, u64::MAX);
    story.traffic(1, 6, end(20, None), (0, 411));
    story.socket(2, DescriptorCall::Accept, end(21, Some(20)));
    assert!(story.reaches(1, since, 2));
}

#[test]
fn memory_is_read_by_tracing_by_calls_and_by_its_file() {
    let target = |tgid| Target {
        addressee: Addressee::Pid(1),
        process: Some(id(tgid)),
        foreign_pids: false,
        is_sentinel: false,
    };
    let mut story = Story::default();
    story.exec(1, 10, 11).exec(2, 12, 13).exec(3, 14, 15).exec(4, 16, 17).exec(5, 18, 19);
    let since = story.mark(1, u64::MAX);
    story.happens(2, Action::ProcessMemory { write: false, target: target(1) });
    story.happens(2, Action::ProcessMemory { write: true, target: target(3) });
    story.happens(4, Action::Ptrace { request: 16, target: target(1), address: 0 });
    assert_eq!([2, 3, 4].map(|pid| story.reaches(1, since, pid)), [true, true, false]);
    story.happens(4, Action::Ptrace { request: 2, target: target(1), address: 0 });
    assert!(story.reaches(1, since, 4));
    let path = Path { bytes: b"/proc/1/mem".to_vec(), origin: Origin::Kernel, truncated: false };
    let memory = File {
        call: FileCall::Open,
        number: Some(3),
        object: Some(FILE),
        path: Some(path),
        class: class::PROCESS_MEMORY,
        open_flags: 0,
        close_on_exec: false,
    };
    story.happens(5, Action::File(Box::new(memory)));
    assert!(story.reaches(1, since, 5));
}

/// A connection to another host.
fn connection(inode: u64) -> Descriptor {
    let id = ObjectId { inode, ..ObjectId::default() };
    let object = Object { id, mode: 0o140_777, links: 1, ..Object::default() };
    let remote = Some(([203, 0, 113, 9], 4444).into());
    let socket = SocketEnds { family: 2, has_peer: true, remote, ..SocketEnds::default() };
    Descriptor { object, socket: Some(socket) }
}

impl Story {
    /// An end of a pipe; 0 and 5 are ends to read from.
    fn end_of_pipe(&mut self, pid: u32, call: DescriptorCall, at: (u32, Option<u32>), inode: u64) {
        let reads = at.0 == 5 || at.0 == 0;
        let (descriptor, close_on_exec) = (Some(pipe(inode)), false);
        let (number, from) = (Some(at.0), at.1);
        let action = Action::Descriptor { call, number, from, descriptor, close_on_exec };
        self.now += 1;
        let access = Some(Access { reads, writes: !reads });
        let event = Event { access, ..Event::of(self.now, id(pid), action) };
        self.processes.apply(&event);
        self.lineage.observe(&event, &self.processes);
    }

    fn close(&mut self, pid: u32, number: u32) -> &mut Self {
        self.happens(pid, Action::Close { first: number, last: number, unshare: false })
    }

    /// 1 runs a command with its output in a pipe, and 3, if `is_pipeline`, with its input from there; the command
    /// reads a secret. When that was.
    fn runs_a_command(&mut self, is_pipeline: bool) -> u64 {
        self.exec(1, 10, 11);
        self.end_of_pipe(1, DescriptorCall::Pipe, (5, None), 30);
        self.end_of_pipe(1, DescriptorCall::Pipe, (6, Some(5)), 30);
        self.fork(1, 2);
        self.end_of_pipe(2, DescriptorCall::Dup, (1, Some(6)), 30);
        self.close(2, 5).close(2, 6).exec(2, 10, 30).close(1, 6);
        if is_pipeline {
            self.fork(1, 3);
            self.end_of_pipe(3, DescriptorCall::Dup, (0, Some(5)), 30);
            self.close(3, 5).exec(3, 30, 12);
        }
        self.mark(2, u64::MAX)
    }
}

#[test]
fn who_runs_a_command_and_sends_something_has_read_its_output() {
    for call in [DescriptorCall::Connect, DescriptorCall::Accept] {
        let mut story = Story::default();
        let since = story.runs_a_command(false);
        story.happens(2, Action::Exit).socket(1, call, connection(40));
        assert!(!story.reaches(2, since, 1));
        story.traffic(1, 6, connection(40), (0, 411));
        // Who is asked for a command answers with its output, as sshd does.
        assert_eq!(story.reaches(2, since, 1), call == DescriptorCall::Connect);
    }
}

#[test]
fn who_builds_a_pipeline_has_read_nothing_whatever_he_sends() {
    let mut story = Story::default();
    let since = story.runs_a_command(true);
    story.socket(1, DescriptorCall::Connect, connection(40));
    story.traffic(1, 6, connection(40), (0, 411));
    assert_eq!([1, 3].map(|pid| story.reaches(2, since, pid)), [false, true]);
}
