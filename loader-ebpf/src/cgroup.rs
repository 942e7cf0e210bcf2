//! Keeps a scope by cgroup true when processes move.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::kernel_abi::class;

use crate::{
    facts,
    kernel::Task,
    scope::{class_of, in_scope_cgroup, set_class},
};

/// `TP_PROTO(struct cgroup *dst_cgrp, const char *path, struct task_struct *task, bool threadgroup)`;
/// runs after the move, for moves in any hierarchy.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_attach_task(context: BtfTracePointContext) -> i32 {
    let task = Task::from_argument(context.arg(2));
    if let Some(inside) = in_scope_cgroup(task) {
        let tgid = task.tgid();
        let class = class_of(tgid);
        let moved = match (inside, class & class::IN_SCOPE != 0) {
            (true, _) => class | class::IN_SCOPE,
            (false, true) => (class & !class::IN_SCOPE) | class::LEFT_SCOPE,
            (false, false) => class,
        };
        set_class(tgid, moved);
    }
    facts::note_move(task);
    0
}
