//! Gives running processes the class that their cgroup or their ancestry means for them.
//!
//! One run looks at each process once. A tree is complete when a run has changed nothing: a child may
//! have been looked at before its parent.

use sentinel_ipc::{
    kernel_abi::{class, control, pass},
    kernel_fields::Field,
};

use crate::{
    kernel::Task,
    pid::tgid_of,
    scope::{add_class, class_of, control_value, membership, take_class},
    snapshot::Output,
};

/// Looks at `task`, if it is its group's leader; a change is one byte of output.
#[inline(always)]
pub fn mark(output: Output, task: Task) {
    // First, before anything branches: the verifier walks it once.
    let membership = membership(task);
    let tgid = task.tgid();
    if !task.is_leader() || !task.has_live_group() {
        return;
    }
    let is_scope = control_value(control::PASS) == pass::MARK_SCOPE;
    let bit = if is_scope { class::IN_SCOPE } else { class::SELECTED };
    let was_inside = class_of(tgid) & bit != 0;
    let is_inside = match membership.has(bit) {
        Some(inside) => inside,
        None => was_inside || is_in_tree(task, tgid, bit),
    };
    // Written first: if there is no room, the kernel comes back with the same task.
    if is_inside == was_inside || !output.write(&0_u8) {
        return;
    }
    if is_inside {
        add_class(tgid, bit);
    } else {
        take_class(tgid, bit);
        add_class(tgid, class::LEFT_SCOPE);
    }
    // Its end has cleared the class before this set it, or else finds it.
    if !task.has_live_group() {
        take_class(tgid, bit | class::LEFT_SCOPE);
    }
}

#[inline(always)]
fn is_in_tree(task: Task, tgid: u32, bit: u8) -> bool {
    let parent = tgid_of(task.follow(Field::TaskRealParent));
    control_value(control::MARK_ROOT) == tgid as u64 || class_of(parent) & bit != 0
}
