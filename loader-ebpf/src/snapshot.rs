//! What is running when the loader asks: an iterator over tasks. Only the loader reads its output, one
//! file at a time.
//!
//! The kernel runs these programs in the loader's read(2), with preemption on: they use no memory that
//! tracepoints use. Who they tell of is never the current task. If an object's output does not fit, the
//! kernel drops it and comes back with the same object at the next read(2).

use core::ffi::c_void;

use aya_ebpf::{helpers::generated as helpers, macros::map, maps::Array};
use sentinel_ipc::{
    kernel_abi::{
        COMM_BYTES, CgroupRecord, Descriptor, LineRecord, NO_CALL, ProcessFacts, ProcessRecord,
        RecordHeader, control, flag, kind, pass,
    },
    kernel_fields::Field,
};

use crate::{
    cgroup_path, credentials,
    descriptor::{NO_OBJECT, Table, object_of},
    facts, file_rules,
    kernel::{Task, copy_kernel, forget, now},
    marking,
    path::{Location, NAME_MAX},
    pid::{first_process, tgid_of},
    scope::{cgroup_id, class_of, control_value, is_in_scope, is_reported, is_tainted},
    trust,
};

/// `struct bpf_iter_meta` (include/linux/bpf.h), as far as it is needed.
#[repr(C)]
pub struct Meta {
    file: *mut c_void,
}

/// `struct bpf_iter__task` (kernel/bpf/task_iter.c).
#[repr(C)]
pub struct TaskContext {
    meta: *const Meta,
    task: *const u8,
}

/// Where an iterator writes to.
#[derive(Clone, Copy)]
pub struct Output(*mut c_void);

impl Output {
    /// The one that the context of an iterator names.
    ///
    /// # Safety
    /// `meta` is the context's.
    #[inline(always)]
    pub unsafe fn of(meta: *const Meta) -> Self {
        // SAFETY: by this function's contract the kernel has set it.
        Self(unsafe { (*meta).file })
    }

    /// Appends the bytes of a value; false if they do not fit, and all that was written of this object
    /// will be dropped.
    #[inline(always)]
    pub fn write<T>(self, value: *const T) -> bool {
        // SAFETY: the verifier proves that `value` has as many bytes, and where the output comes from.
        unsafe { helpers::bpf_seq_write(self.0.cast(), value.cast(), size_of::<T>() as u32) == 0 }
    }
}

/// Room for the longest record, and behind it what a path's walk asks for.
const RECORD_BYTES: usize = size_of::<ProcessRecord>() + NAME_MAX + 1;

/// Memory of the one iterator that runs.
#[repr(C)]
pub struct Workspace {
    /// The record that is being built.
    record: [u64; RECORD_BYTES / 8],
    /// What is to be noted of the process.
    facts: ProcessFacts,
    /// For [`cgroup_path`].
    name: cgroup_path::Name,
    /// For [`crate::file_class`].
    pub keys: file_rules::Keys,
    /// Descriptors that were looked at since the loader was last let go on.
    pub looked_at: u64,
}

#[map]
static WORKSPACE: Array<Workspace> = Array::with_max_entries(1, 0);

impl Workspace {
    /// The only one.
    #[inline(always)]
    pub fn get() -> Option<&'static mut Self> {
        // SAFETY: a live map value. The loader reads one iterator at a time, so nobody else uses it.
        Some(unsafe { &mut *WORKSPACE.get_ptr_mut(0)? })
    }

    /// The record, as a `T`; it holds what the last one left.
    #[inline(always)]
    pub fn record<T>(&mut self) -> *mut T {
        const { assert!(size_of::<T>() + NAME_MAX < RECORD_BYTES) };
        self.record.as_mut_ptr().cast()
    }
}

/// Tells and marks processes. No arguments: they stand in the process's own memory, to read which one
/// would have to wait for a page; and for how long, the owner of the page decides (FUSE).
#[unsafe(link_section = "iter/running")]
#[unsafe(no_mangle)]
pub extern "C" fn running(context: *const TaskContext) -> i32 {
    // SAFETY: the context that the kernel gives to iterators over tasks.
    let (output, task) = unsafe { (Output::of((*context).meta), (*context).task) };
    // Null when the kernel has come to the end.
    if task.is_null() {
        return 0;
    }
    let task = Task::from_argument(task);
    if control_value(control::PASS) == pass::TELL_LEVEL {
        output.write(&(Task::current().level() as u64));
    } else if control_value(control::PASS) == pass::TELL_ROOT {
        output.write(&trust::root_directory(first_process()));
    } else if control_value(control::PASS) == pass::TELL_LINES {
        tell_line(output, task);
    } else if control_value(control::PASS) == pass::MARK_SCOPE
        || control_value(control::PASS) == pass::MARK_SELECTION
    {
        marking::mark(output, task);
    } else if stands_for_process(task) && is_wanted(task.tgid()) {
        tell_cgroup(output, task);
        tell_process(output, task);
    }
    0
}

/// Whether the process is to be described.
#[inline(always)]
fn is_wanted(tgid: u32) -> bool {
    if control_value(control::PASS) == pass::DESCRIBE_ONE {
        control_value(control::MARK_ROOT) == tgid as u64 && is_in_scope(class_of(tgid))
    } else {
        is_reported(class_of(tgid))
    }
}

/// Tells whom the process descends from.
#[inline(always)]
fn tell_line(output: Output, task: Task) {
    let tgid = task.tgid();
    if !stands_for_process(task) || !is_in_scope(class_of(tgid)) {
        return;
    }
    let file = task.follow(Field::TaskMm).follow(Field::MmExecutable);
    let executable = if file.is_null() { NO_OBJECT } else { object_of(file) };
    let start_time = task.start_time();
    output.write(&LineRecord {
        start_time,
        cgroup_id: cgroup_id(task.cgroup()),
        inode: executable.inode,
        device: executable.device,
        generation: executable.generation,
        tgid,
        uid: task.follow(Field::TaskCred).read(Field::CredUid),
        line: facts::line_of(tgid, start_time),
    });
}

/// Whether what there is to know of a user's process is known of `task`: its first thread, or, where that
/// has ended before the others, the next one.
#[inline(always)]
pub fn stands_for_process(task: Task) -> bool {
    let is_leader = task.is_leader();
    if facts::is_kernel_thread(task) || !task.has_live_group() {
        return false;
    }
    let leader = task.follow(Field::TaskGroupLeader);
    if !leader.follow(Field::TaskMm).is_null() {
        return is_leader;
    }
    !is_leader && leader.follow(Field::TaskThreadNode) == task.address_of(Field::TaskThreadNode)
}

/// The header of a record about the process of `task`.
#[inline(always)]
pub fn header(task: Task, kind: u16, flags: u16, argument: u64) -> RecordHeader {
    // Before anything is read: what changes meanwhile is told by an event that is later.
    let timestamp = now();
    let tgid = task.tgid();
    let cred = task.follow(Field::TaskCred);
    let start_time = task.start_time();
    // Forgotten one by one, so that their combinations are not walked each.
    let flag = |set: bool, flag: u16| forget(if set { flag } else { 0 }, start_time);
    RecordHeader {
        timestamp,
        start_time,
        cgroup_id: cgroup_id(task.cgroup()),
        result: 0,
        argument: [argument, 0, 0],
        tgid,
        tid: tgid,
        uid: cred.read(Field::CredUid),
        euid: cred.read(Field::CredEuid),
        kind,
        call: NO_CALL,
        abi: 0,
        reserved: 0,
        flags: flags
            | flag(is_tainted(tgid), flag::TAINTED)
            | flag(task.has_own_pids(), flag::FOREIGN_PIDS),
    }
}

/// Tells where the process is.
#[inline(always)]
fn tell_cgroup(output: Output, task: Task) {
    let Some(workspace) = Workspace::get() else { return };
    let record = workspace.record::<CgroupRecord>();
    let cgroup = task.cgroup();
    // SAFETY: the workspace has room for this type and what the walk asks for; all of it is written but
    // the rest of the path.
    unsafe {
        let path = (&raw mut (*record).path).cast::<u8>();
        let written = cgroup_path::write(cgroup, &mut workspace.name, path);
        (&raw mut (*record).header).write(header(task, kind::CGROUP_FOUND, written.flags, 0));
        (&raw mut (*record).id).write(cgroup_id(task.cgroup()));
        (&raw mut (*record).span).write(written.span);
    }
    output.write(record);
}

/// Tells who the process is, and notes it for the enforcer.
#[inline(always)]
fn tell_process(output: Output, task: Task) {
    let Some(workspace) = Workspace::get() else { return };
    let record = workspace.record::<ProcessRecord>();
    // SAFETY: as in `tell_cgroup`.
    unsafe {
        (&raw mut (*record).header).write(header(task, kind::PROCESS, 0, 0));
        let flags = fill(record, task);
        (*record).header.flags |= flags;
        note(&raw mut workspace.facts, record, task);
    }
    // Its end is an event: then this is from before it.
    if task.has_live_group() {
        output.write(record);
    }
}

/// Fills all but the header; returns what is to be added to its flags.
///
/// # Safety
/// `record` has room for the type.
#[inline(always)]
unsafe fn fill(record: *mut ProcessRecord, task: Task) -> u16 {
    let memory = task.follow(Field::TaskMm);
    let file = memory.follow(Field::MmExecutable);
    let parent = task.follow(Field::TaskRealParent);
    let leader = parent.follow(Field::TaskGroupLeader);
    // SAFETY: by this function's contract; only the record's own fields are written.
    unsafe {
        let object = if file.is_null() { NO_OBJECT } else { object_of(file) };
        (&raw mut (*record).executable).write(object);
        let stdio = (&raw mut (*record).stdio).cast::<Descriptor>();
        let table = Table::of(task);
        for number in 0..3_u32 {
            table.describe(number, stdio.add(number as usize));
        }
        (&raw mut (*record).credentials).write(credentials::of(task));
        (&raw mut (*record).parent_start_time).write(leader.read(Field::TaskStartBoottime));
        (&raw mut (*record).parent_tgid).write(tgid_of(parent));
        (&raw mut (*record).reserved).write(0);
        let comm = (&raw mut (*record).comm).cast::<u8>();
        copy_kernel(comm, COMM_BYTES as u32, task.address_of(Field::TaskComm));
        let path = (&raw mut (*record).path).cast();
        let (written, trust) = trust::walk(task, Location::of_file(file), path);
        (&raw mut (*record).trust).write(trust);
        (&raw mut (*record).span).write(written.span);
        written.flags
    }
}

/// Notes what the kernel is to know of the process, if it knows nothing yet.
///
/// # Safety
/// `record` is filled, and there is room at `to`.
#[inline(always)]
unsafe fn note(to: *mut ProcessFacts, record: *const ProcessRecord, task: Task) {
    // SAFETY: by this function's contract.
    unsafe {
        to.write(ProcessFacts {
            start_time: (*record).header.start_time,
            cgroup_id: (*record).header.cgroup_id,
            executable: (*record).executable,
            credentials: (*record).credentials,
            uid: (*record).header.uid,
            kernel_thread: 0,
        });
        facts::note_found(task.tgid(), &*to, (*record).parent_start_time);
    }
    // Its end has cleared the facts before they were noted, or else finds them.
    if !task.has_live_group() {
        facts::forget(task.tgid());
    }
}
