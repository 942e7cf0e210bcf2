//! Bounds in number and time, and ways that the random stories do not take.

use super::{Lineage, MAX_OWN_SOURCES, Through};
use crate::{
    event::{
        Action, Descriptor, DescriptorCall, Event, Exec, File, FileCall, Object, ObjectId,
        ProcessId,
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
