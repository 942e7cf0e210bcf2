//! Hooks on the life of a process: fork, exec, exit.
//!
//! They also keep `PROCESS_FACTS`, from which the loader tells the enforcer who a process is.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::kernel_abi::{
    ARGV_BYTES, COMM_BYTES, Descriptor, ExecRecord, Field, ForkRecord, class, flag, kind,
};

use crate::{
    descriptor::{Table, object_of},
    emit::{Facts, header, plain, reserve},
    facts,
    kernel::{Address, Task, copy_kernel, copy_user, current_ids},
    path,
    scope::{cgroup_id, class_of, count, in_scope_cgroup, is_reported, is_reporting, set_class},
};

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`; runs before the child does.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(context: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let child = Task::from_argument(context.arg(1));
    let (tgid, _) = current_ids();
    let child_tgid = child.tgid();
    if child_tgid != tgid {
        new_process(tgid, child, child_tgid);
    }
    0
}

#[inline(always)]
fn new_process(tgid: u32, child: Task, child_tgid: u32) {
    let mut inherited = class_of(tgid) & class::IN_SCOPE;
    // CLONE_INTO_CGROUP puts a child elsewhere than its parent.
    if let Some(inside) = in_scope_cgroup(child) {
        inherited = if inside { class::IN_SCOPE } else { 0 };
    }
    set_class(child_tgid, inherited);
    if !is_reported(tgid) && !is_reported(child_tgid) {
        return;
    }
    facts::note_fork(tgid, child, child_tgid);
    if !is_reporting() {
        return;
    }
    count(|counters| counters.passed += 1);
    let Some(mut entry) = reserve::<ForkRecord>() else { return };
    let shared = child.follow(Field::TaskFiles) == Task::current().follow(Field::TaskFiles);
    let parent = child.follow(Field::TaskRealParent);
    let leader = parent.follow(Field::TaskGroupLeader);
    let record = ForkRecord {
        header: header(Facts {
            kind: kind::FORK,
            flags: if shared { flag::SHARED_FILES } else { 0 },
            ..Facts::default()
        }),
        child_start_time: child.read(Field::TaskStartBoottime),
        child_cgroup_id: cgroup_id(child.cgroup()),
        child_tgid,
        parent_tgid: parent.read(Field::TaskTgid),
        parent_start_time: leader.read(Field::TaskStartBoottime),
    };
    entry.write(record);
    entry.submit(0);
}

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`; close-on-exec is
/// done, and the caller is its group's leader.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(context: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let (tgid, _) = current_ids();
    if !is_reported(tgid) {
        return 0;
    }
    let binprm: *const u8 = context.arg(2);
    let file = Address(binprm as u64).follow(Field::BinprmFile);
    facts::note_exec(tgid, object_of(file));
    if !is_reporting() {
        return 0;
    }
    count(|counters| counters.passed += 1);
    let Some(mut entry) = reserve::<ExecRecord>() else { return 0 };
    fill_exec(entry.as_mut_ptr(), file);
    entry.submit(0);
    0
}

#[inline(always)]
fn fill_exec(record: *mut ExecRecord, file: Address) {
    // SAFETY: `record` is a reserved record; only the addresses of its fields are taken. `path` is
    // followed by `argv`, which gives the walk the 256 bytes behind it that it asks for.
    let (header_at, executable, stdio, comm, links, span_at, path_buffer, argv) = unsafe {
        (
            &raw mut (*record).header,
            &raw mut (*record).executable,
            (&raw mut (*record).stdio).cast::<Descriptor>(),
            (&raw mut (*record).comm).cast::<u8>(),
            &raw mut (*record).links,
            (&raw mut (*record).path_start).cast::<u16>(),
            (&raw mut (*record).path).cast::<u8>(),
            (&raw mut (*record).argv).cast::<u8>(),
        )
    };
    let span = path::walk(file, path_buffer);
    let table = Table::current();
    for number in 0..3_u32 {
        // SAFETY: `stdio` has three elements.
        table.describe(number, unsafe { stdio.add(number as usize) });
    }
    let task = Task::current();
    copy_kernel(comm, COMM_BYTES as u32, task.address_of(Field::TaskComm));
    let (argv_length, argv_truncated) = copy_argv(argv, task.follow(Field::TaskMm));
    let truncated = span.truncated || argv_truncated;
    let facts = Facts {
        kind: kind::EXEC,
        flags: if truncated { flag::TRUNCATED } else { 0 },
        ..Facts::default()
    };
    // SAFETY: the addresses of the record's own fields, taken above; the three u16 behind
    // `path_start` are `path_length`, `argv_length` and the first reserved one.
    unsafe {
        header_at.write(header(facts));
        executable.write(object_of(file));
        links.write(file.follow(Field::FileInode).read(Field::InodeLinks));
        span_at.write(span.start);
        span_at.add(1).write(span.length);
        span_at.add(2).write(argv_length);
        (&raw mut (*record).reserved).write([0; 3]);
    }
}

/// Copies the argument vector of the new program; returns its bytes and whether some are missing.
#[inline(always)]
fn copy_argv(to: *mut u8, memory: Address) -> (u16, bool) {
    let start: u64 = memory.read(Field::MmArgStart);
    let end: u64 = memory.read(Field::MmArgEnd);
    let length = end.wrapping_sub(start);
    let kept = if length > ARGV_BYTES as u64 { ARGV_BYTES as u64 } else { length };
    let kept = core::hint::black_box(kept) & (2 * ARGV_BYTES as u64 - 1);
    if kept > ARGV_BYTES as u64 || !copy_user(to, kept as u32, start) {
        return (0, true);
    }
    (kept as u16, length > ARGV_BYTES as u64)
}

/// `TP_PROTO(struct task_struct *p, …)`; runs for each thread.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(_: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let (tgid, _) = current_ids();
    let live: i32 = Task::current().follow(Field::TaskSignal).read(Field::SignalLive);
    if live > 0 {
        return 0;
    }
    // Who left the scope is known to the analyzer, which has to learn of the end.
    let reported = is_reported(tgid) || class_of(tgid) & class::LEFT_SCOPE != 0;
    set_class(tgid, 0);
    facts::forget(tgid);
    if reported && is_reporting() {
        count(|counters| counters.passed += 1);
        plain(Facts { kind: kind::EXIT, ..Facts::default() });
    }
    0
}
