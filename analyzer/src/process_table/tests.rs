//! Who shares a descriptor table, and whose cgroup is whose.

use super::*;
use crate::event::{Descriptor, DescriptorCall};

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
