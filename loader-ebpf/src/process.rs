//! Hooks on the life of a process: fork, exec, exit.
//!
//! They also keep `PROCESS_FACTS`, from which the loader tells the enforcer who a process is.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::ProgramArray,
    programs::BtfTracePointContext,
};
use sentinel_ipc::{
    kernel_abi::{
        ARGV_BYTES, COMM_BYTES, Credentials, Descriptor, ExecRecord, ForkRecord, GIVEN_BYTES, Span,
        class, flag, kind,
    },
    kernel_fields::Field,
};

use crate::{
    credentials,
    descriptor::{Table, object_of},
    emit::{Facts, header, plain, scratch, send},
    environment::{self, ENVIRONMENT_SEARCH},
    facts, inode_change,
    kernel::{Address, Task, copy_kernel, copy_kernel_string, copy_user, opaque},
    path::Location,
    pid::{current_ids, tgid_of, thread_before_exec},
    plain_files, profile,
    scope::{
        cgroup_id, class_of, count, is_in_scope, is_reported, is_reporting, membership, set_class,
    },
    script, traffic, trust,
};

/// What a child has from its parent.
const INHERITED: u8 = class::IN_SCOPE | class::SELECTED | class::TAINTED;

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`; runs before the child does.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(context: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let child = Task::from_argument(context.arg(1));
    let (tgid, _) = current_ids();
    let child_tgid = child.tgid();
    if child_tgid != tgid {
        new_process(tgid, child, child_tgid);
    } else if child.follow(Field::TaskFiles) != Task::current().follow(Field::TaskFiles) {
        plain_files::give_up(tgid);
    }
    0
}

#[inline(always)]
fn new_process(tgid: u32, child: Task, child_tgid: u32) {
    let parents = class_of(tgid);
    // CLONE_INTO_CGROUP puts a child elsewhere than its parent.
    let inherited = membership(child).apply(parents & INHERITED);
    set_class(child_tgid, inherited);
    profile::inherit(tgid, child_tgid);
    if is_in_scope(parents) || is_in_scope(inherited) {
        facts::note_fork(tgid, child, child_tgid);
    }
    // Who is outside of the loader's pid namespace does nothing that is told, not even send a child in.
    if tgid == 0 || !is_reporting() || !is_reported(parents) && !is_reported(inherited) {
        return;
    }
    count(|counters| counters.passed += 1);
    let is_shared = |field| child.follow(field) == Task::current().follow(field);
    let files = is_shared(Field::TaskFiles) as u16 * flag::SHARED_FILES;
    let memory = is_shared(Field::TaskMm) as u16 * flag::SHARED_MEMORY;
    let parent = child.follow(Field::TaskRealParent);
    let leader = parent.follow(Field::TaskGroupLeader);
    let record = ForkRecord {
        header: header(Facts { kind: kind::FORK, flags: files | memory, ..Facts::default() }),
        child_start_time: child.read(Field::TaskStartBoottime),
        child_cgroup_id: cgroup_id(child.cgroup()),
        child_tgid,
        parent_tgid: tgid_of(parent),
        parent_start_time: leader.read(Field::TaskStartBoottime),
    };
    send(&raw const record, true);
}

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`; close-on-exec is
/// done, and the caller is its group's leader.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(context: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let (tgid, _) = current_ids();
    let class = class_of(tgid);
    profile::executed(tgid);
    if !is_in_scope(class) {
        return 0;
    }
    let binprm = Address(context.arg(2));
    let old_tid = thread_before_exec(context.arg(1));
    // Once: it may change at any time.
    let reporting = is_reporting() && is_reported(class);
    if reporting {
        count(|counters| counters.passed += 1);
        if let Some(record) = scratch::<ExecRecord>() {
            fill_exec(record, binprm, old_tid, tgid);
        }
    }
    // After the record is built, which tells what was before.
    facts::note_exec(tgid, object_of(binprm.follow(Field::BinprmFile)));
    if reporting {
        environment::begin(Task::current().follow(Field::TaskMm));
        // SAFETY: the map holds a program of this very hook only. Does not come back.
        unsafe { ENVIRONMENT_SEARCH.tail_call(&context, 0) };
    }
    0
}

#[inline(always)]
fn fill_exec(record: *mut ExecRecord, binprm: Address, old_tid: u32, tgid: u32) {
    // SAFETY: `record` has room for the type and 256 bytes more; only the addresses of its fields
    // are taken. `path` is followed by `argv`, which gives the walk the room that it asks for.
    let (stdio, before, after, comm, span, path, argv, given) = unsafe {
        (
            (&raw mut (*record).stdio).cast::<Descriptor>(),
            &raw mut (*record).before,
            &raw mut (*record).after,
            (&raw mut (*record).comm).cast::<u8>(),
            &raw mut (*record).span,
            (&raw mut (*record).path).cast::<u8>(),
            (&raw mut (*record).argv).cast::<u8>(),
            (&raw mut (*record).given).cast::<u8>(),
        )
    };
    let file = binprm.follow(Field::BinprmFile);
    let (written, trust) = trust::walk(Task::current(), Location::of_file(file), path);
    let table = Table::current();
    for number in 0..3_u32 {
        // SAFETY: `stdio` has three elements.
        table.describe(number, unsafe { stdio.add(number as usize) });
    }
    let task = Task::current();
    copy_kernel(comm, COMM_BYTES as u32, task.address_of(Field::TaskComm));
    let memory = task.follow(Field::TaskMm);
    let (argv_length, argv_flags) = copy_argv(argv, memory);
    let filename = binprm.follow(Field::BinprmFilename);
    let given_length = copy_kernel_string(given, GIVEN_BYTES as u32, filename) as u16;
    let is_script = binprm.follow(Field::BinprmInterpreter) != filename;
    let long_name = given_length as usize >= GIVEN_BYTES - 1;
    script::begin(tgid, is_script, given, given_length as u32);
    let flags = written.flags
        | argv_flags
        | if is_script { flag::SCRIPT } else { 0 }
        | if long_name { flag::TRUNCATED } else { 0 };
    let argument = [old_tid as u64, 0, 0];
    let facts = Facts { kind: kind::EXEC, flags, argument, ..Facts::default() };
    let now: Credentials = credentials::of(task);
    let found: Span = written.span;
    // SAFETY: the record's own fields.
    unsafe {
        (&raw mut (*record).header).write(header(facts));
        (&raw mut (*record).executable).write(object_of(file));
        facts::credentials_before(tgid, before);
        after.write(now);
        (&raw mut (*record).argument_count).write(binprm.read(Field::BinprmArgumentCount));
        (&raw mut (*record).variable_count).write(binprm.read(Field::BinprmVariableCount));
        span.write(found);
        (&raw mut (*record).argv_length).write(argv_length);
        (&raw mut (*record).given_length).write(given_length);
        (&raw mut (*record).environment_length).write(0);
        (&raw mut (*record).trust).write(trust);
    }
}

/// Copies the argument vector of the new program; returns its bytes, and [`flag::TRUNCATED`] or 0.
#[inline(always)]
fn copy_argv(to: *mut u8, memory: Address) -> (u16, u16) {
    let start: u64 = memory.read(Field::MmArgStart);
    let end: u64 = memory.read(Field::MmArgEnd);
    let length = end.wrapping_sub(start);
    let kept = if length > ARGV_BYTES as u64 { ARGV_BYTES as u64 } else { length };
    let kept = opaque(kept) & (2 * ARGV_BYTES as u64 - 1);
    if kept > ARGV_BYTES as u64 || !copy_user(to, kept as u32, start) {
        return (0, flag::TRUNCATED);
    }
    (kept as u16, if length > ARGV_BYTES as u64 { flag::TRUNCATED } else { 0 })
}

/// 1 where the tracepoint tells whether the thread is its process's last (since 6.16).
#[unsafe(no_mangle)]
static EXIT_TELLS_LAST: u32 = 0;

/// `sched_process_exit` itself, to go on with; the loader fills it.
#[map]
static AGAIN: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// `TP_PROTO(struct task_struct *p, bool group_dead)`; runs for each thread.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(context: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let (tgid, _) = current_ids();
    if tgid == 0 {
        return 0;
    }
    // A thread may be killed within a call.
    inode_change::end();
    // SAFETY: a constant of the object, set before the load.
    let is_last = if unsafe { (&raw const EXIT_TELLS_LAST).read_volatile() } != 0 {
        context.arg::<u64>(1) as u8 != 0
    } else {
        // Two that end at the same time may both see themselves as the last.
        let live: i32 = Task::current().follow(Field::TaskSignal).read(Field::SignalLive);
        live <= 0
    };
    if !is_last {
        return 0;
    }
    // Who left the scope is known to the analyzer, which has to learn of the end.
    let class = class_of(tgid);
    let reported = is_reported(class) || class & class::LEFT_SCOPE != 0;
    if !traffic::end_some(tgid) {
        // SAFETY: the map holds this program only. Comes back when it has begun anew too often.
        unsafe { AGAIN.tail_call(&context, 0) };
        count(|counters| counters.untracked += 1);
    }
    if reported && is_reporting() {
        count(|counters| counters.passed += 1);
        plain(Facts { kind: kind::EXIT, ..Facts::default() });
    }
    set_class(tgid, 0);
    profile::forget(tgid);
    facts::forget(tgid);
    0
}
