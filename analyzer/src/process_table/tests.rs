//! Who shares a descriptor table, whose cgroup is whose, and who runs what.

use super::*;
use crate::event::{Descriptor, DescriptorCall, Origin, Path};

const PARENT: ProcessId = ProcessId { tgid: 1, start_time: 1 };
const CHILD: ProcessId = ProcessId { tgid: 2, start_time: 2 };

fn socket(number: u32) -> Action {
    Action::Descriptor {
        call: DescriptorCall::Socket,
        number: Some(number),
        from: None,
        descriptor: Some(Descriptor::default()),
        close_on_exec: false,
    }
}

/// A parent with descriptor 3, and a child in cgroup 5 that shares its table.
fn family() -> ProcessTable {
    let mut table = ProcessTable::default();
    table.apply(&Event::of(1, PARENT, socket(3)));
    let fork =
        Action::Fork { child: CHILD, child_cgroup_id: 5, parent: PARENT, shares_descriptors: true };
    table.apply(&Event::of(2, PARENT, fork));
    table
}

fn descriptors(table: &ProcessTable, id: ProcessId) -> usize {
    table.get(id).unwrap().descriptors.borrow().len()
}

#[test]
fn a_table_is_shared_until_somebody_unshares_it() {
    let mut table = family();
    table.apply(&Event::of(3, CHILD, Action::Unshare { flags: 0x2000_0000 }));
    let failed = Event::of(3, CHILD, Action::Unshare { flags: CLONE_FILES });
    table.apply(&Event { result: -1, ..failed.clone() });
    table.apply(&Event::of(4, CHILD, socket(4)));
    assert_eq!(descriptors(&table, PARENT), 2);
    table.apply(&failed);
    table.apply(&Event::of(5, CHILD, socket(5)));
    assert_eq!((descriptors(&table, PARENT), descriptors(&table, CHILD)), (2, 3));
}

#[test]
fn a_thread_with_a_table_of_its_own_changes_nobody_elses() {
    let mut table = family();
    for action in [socket(4), Action::Unshare { flags: CLONE_FILES }] {
        table.apply(&Event { private_descriptors: true, ..Event::of(3, CHILD, action) });
    }
    table.apply(&Event::of(4, CHILD, socket(5)));
    assert_eq!(descriptors(&table, PARENT), 2);
}

#[test]
fn a_process_is_in_the_cgroup_that_was_told_last() {
    let mut table = family();
    let cgroup = |table: &ProcessTable| table.get(CHILD).unwrap().cgroup_id;
    assert_eq!(cgroup(&table), 5);
    let mover = ProcessId { tgid: 9, start_time: 9 };
    let moved = |process| Action::CgroupMoved { process: Some(process), cgroup_id: 6 };
    table.apply(&Event::of(3, mover, moved(CHILD)));
    assert_eq!(cgroup(&table), 6);
    table.apply(&Event::of(3, mover, moved(ProcessId { start_time: 77, ..CHILD })));
    assert_eq!((table.len(), table.get(mover).is_none()), (2, true));
    table.apply(&Event { cgroup_id: 7, ..Event::of(4, CHILD, socket(4)) });
    assert_eq!(cgroup(&table), 7);
}

/// `path` with everything that can speak for it, or with nothing.
fn program(path: &str, is_trusted: bool) -> Exec {
    let path = Path { bytes: path.into(), origin: Origin::Kernel, truncated: false };
    let trust = Trust::of(if is_trusted { u16::MAX } else { 0 });
    Exec { path: Some(path), trust, ..Exec::default() }
}

#[test]
fn an_identity_is_inherited_and_ends_with_the_next_exec() {
    let mut table = ProcessTable::default();
    let identity = |table: &ProcessTable, id| {
        let image = table.get(id).unwrap().image.clone().unwrap();
        let path = image.identity.sound_path();
        assert_eq!(path.is_some(), image.trust.is_whole());
        path.map(|path| String::from_utf8(path.to_vec()).unwrap())
    };
    table.apply(&Event::of(1, PARENT, Action::Exec(Box::new(program("/usr/bin/a b", true)))));
    let fork = Action::Fork {
        child: CHILD,
        child_cgroup_id: 5,
        parent: PARENT,
        shares_descriptors: false,
    };
    table.apply(&Event::of(2, PARENT, fork));
    assert_eq!(identity(&table, CHILD), Some("/usr/bin/a b".to_owned()));
    table.apply(&Event::of(3, CHILD, Action::Exec(Box::new(program("/tmp/a b", false)))));
    assert_eq!(identity(&table, CHILD), None);
    // A snapshot later knows less of one that has changed its root since.
    let running = Running { program: program("/usr/bin/a b", false), parent: None };
    table.apply(&Event::of(4, PARENT, Action::Running(Box::new(running))));
    assert_eq!(identity(&table, PARENT), Some("/usr/bin/a b".to_owned()));
    let other = ProcessId { tgid: 3, start_time: 3 };
    let running = Running { program: program("/usr/bin/c", true), parent: None };
    table.apply(&Event::of(5, other, Action::Running(Box::new(running))));
    assert_eq!(identity(&table, other), Some("/usr/bin/c".to_owned()));
}
