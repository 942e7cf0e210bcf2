//! Cgroups that come and go, and processes that move between them.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::{
    kernel_abi::{CgroupRecord, PATH_BYTES, Span, TargetRecord, class, kind, origin},
    kernel_fields::Field,
};

use crate::{
    emit::{Facts, header, scratch, send},
    facts,
    kernel::{Address, Task, copy_kernel_string},
    pid::current_ids,
    plain_files,
    scope::{
        add_class, cgroup_id, class_of, count, is_in_scope, is_reported, is_wanted, membership,
        membership_in, take_class,
    },
};

/// `TP_PROTO(struct cgroup *dst_cgrp, const char *path, struct task_struct *task, bool threadgroup)`;
/// runs after the move, for moves in any hierarchy.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_attach_task(context: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let task = Task::from_argument(context.arg(2));
    let tgid = task.tgid();
    if tgid == 0 {
        return 0;
    }
    let class = class_of(tgid);
    let moved = membership(task).apply(class);
    let lost = class & !moved;
    if moved != class {
        take_class(tgid, lost);
        add_class(tgid, (moved & !class) | if lost == 0 { 0 } else { class::LEFT_SCOPE });
        // What it does with its descriptors is not seen everywhere.
        plain_files::forget(tgid);
    }
    // Once for a process, not once for each of its threads.
    if !task.is_leader() {
        return 0;
    }
    facts::note_move(task, is_in_scope(moved));
    if is_reported(moved) && is_wanted(kind::CGROUP_MOVED) {
        count(|counters| counters.passed += 1);
        let argument = [cgroup_id(task.cgroup()), 0, 0];
        let record = TargetRecord {
            header: header(Facts { kind: kind::CGROUP_MOVED, argument, ..Facts::default() }),
            target_start_time: task.start_time(),
            target_tgid: tgid,
            target_is_own: 0,
        };
        send(&raw const record, false);
    }
    0
}

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(context: BtfTracePointContext) -> i32 {
    changed(kind::CGROUP_MADE, context.arg(0), context.arg(1));
    0
}

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(context: BtfTracePointContext) -> i32 {
    changed(kind::CGROUP_REMOVED, context.arg(0), context.arg(1));
    0
}

#[inline(always)]
fn changed(kind: u16, cgroup: u64, path: u64) {
    count(|counters| counters.seen += 1);
    let (tgid, _) = current_ids();
    let hierarchy: u32 = Address(cgroup).follow(Field::CgroupRoot).read(Field::CgroupRootHierarchy);
    // Hierarchy 0 is v2's; the others number their cgroups for themselves.
    // Told when whoever does it is watched, or who can be in it: as a rule it is made from outside. Of the one
    // above, for which no loader can have known the one that is made.
    let class = class_of(tgid);
    let inside = membership_in(|| Address(cgroup).follow(Field::CgroupParent)).apply(class);
    let is_told = is_reported(class) || is_reported(inside);
    if hierarchy != 0 || !is_told || !is_wanted(kind) {
        return;
    }
    let Some(record) = scratch::<CgroupRecord>() else { return };
    count(|counters| counters.passed += 1);
    // SAFETY: the scratch memory has room for exactly this type, and all of it but the rest of the
    // path is written.
    unsafe {
        let path_at = (&raw mut (*record).path).cast::<u8>();
        let length = copy_kernel_string(path_at, PATH_BYTES as u32, Address(path)) as u16;
        let span = Span { start: 0, length, origin: origin::KERNEL, reserved: 0 };
        (&raw mut (*record).header).write(header(Facts { kind, ..Facts::default() }));
        (&raw mut (*record).id).write(cgroup_id(Address(cgroup)));
        (&raw mut (*record).span).write(span);
    }
    send(record, false);
}
