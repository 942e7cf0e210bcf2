//! What the kernel knows of each reported process, kept so that a pid can be told from another
//! process with the same number.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use sentinel_ipc::{
    kernel_abi::{Credentials, Line, Object, PROCESS_FACTS_ENTRIES, ProcessFacts},
    kernel_fields::Field,
};

use crate::{
    credentials,
    descriptor::{NO_OBJECT, object_of},
    kernel::Task,
    plain_files,
    scope::cgroup_id,
};

/// By tgid. When it is full, later processes are unknown, and so cannot be killed.
#[map]
static PROCESS_FACTS: HashMap<u32, ProcessFacts> =
    HashMap::with_max_entries(PROCESS_FACTS_ENTRIES, 0);

/// By tgid, of the same processes: who has ended is forgotten, and stays an ancestor.
#[map]
static LINEAGE: HashMap<u32, Line> = HashMap::with_max_entries(PROCESS_FACTS_ENTRIES, 0);

/// `PF_KTHREAD` (include/linux/sched.h).
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Whether `task` is a thread of the kernel.
#[inline(always)]
pub fn is_kernel_thread(task: Task) -> bool {
    task.read::<u32>(Field::TaskFlags) & KERNEL_THREAD != 0
}

/// What is about to be noted: too much for the stack.
#[map]
static FRESH_FACTS: PerCpuArray<ProcessFacts> = PerCpuArray::with_max_entries(1, 0);

/// Notes what there is to know of `tgid`, whose first thread is `task`. Fails only when the map is full; the process
/// is unknown then.
#[inline(always)]
fn note(tgid: u32, task: Task, executable: Object) {
    let Some(fresh) = FRESH_FACTS.get_ptr_mut(0) else { return };
    // SAFETY: a live map value of this CPU, all of which is written.
    unsafe {
        (&raw mut (*fresh).start_time).write(task.start_time());
        (&raw mut (*fresh).cgroup_id).write(cgroup_id(task.cgroup()));
        (&raw mut (*fresh).executable).write(executable);
        (&raw mut (*fresh).credentials).write(credentials::of(task));
        (&raw mut (*fresh).uid).write(task.follow(Field::TaskCred).read(Field::CredUid));
        (&raw mut (*fresh).kernel_thread).write(is_kernel_thread(task) as u32);
        let _noted = PROCESS_FACTS.insert(&tgid, &*fresh, 0);
    }
}

/// A child of the current process is about to run.
#[inline(always)]
pub fn note_fork(parent_tgid: u32, child: Task, child_tgid: u32) {
    // SAFETY: a copy is taken at once; a concurrent change could at worst mix two executables of
    // the parent, which forks and so does not exec.
    let parent = unsafe { PROCESS_FACTS.get(&parent_tgid) };
    let executable = parent.map_or(NO_OBJECT, |parent| parent.executable);
    note(child_tgid, child, executable);
    plain_files::begin_process(child_tgid);
    if child.follow(Field::TaskFiles) == Task::current().follow(Field::TaskFiles) {
        plain_files::give_up(parent_tgid);
        plain_files::give_up(child_tgid);
    }
    let parent_start = Task::current().start_time();
    let Line { founder, nearest: [a, b, c, d, e, f, _] } = line_of(parent_tgid, parent_start);
    let line = Line { founder, nearest: [parent_start, a, b, c, d, e, f] };
    let _noted = LINEAGE.insert(&child_tgid, &line, 0);
}

/// Whom a process descends from; one of which nothing is known began its program itself.
#[inline(always)]
pub fn line_of(tgid: u32, start_time: u64) -> Line {
    // SAFETY: a copy is taken at once; only its own fork and exec change it.
    let known = unsafe { LINEAGE.get(&tgid) };
    known.map_or(Line { founder: start_time, nearest: [0; 7] }, |line| *line)
}

/// The current process runs a new program.
#[inline(always)]
pub fn note_exec(tgid: u32, executable: Object) {
    let task = Task::current();
    // SAFETY: a copy is taken at once.
    let before = unsafe { PROCESS_FACTS.get(&tgid) }.map_or(NO_OBJECT, |facts| facts.executable);
    note(tgid, task, executable);
    plain_files::begin_process(tgid);
    // Who starts the program that it runs already goes on with it.
    if before.inode != executable.inode || before.device != executable.device {
        if let Some(line) = LINEAGE.get_ptr_mut(&tgid) {
            // SAFETY: a live map value; one aligned store.
            unsafe { (&raw mut (*line).founder).write(task.start_time()) };
        }
    }
}

/// Copies what the process could act as, as far as it is known.
///
/// # Safety
/// `to` has room for it.
#[inline(always)]
pub unsafe fn credentials_before(tgid: u32, to: *mut Credentials) {
    // SAFETY: a copy is taken at once; only the process itself changes them.
    let known = unsafe { PROCESS_FACTS.get(&tgid) };
    // SAFETY: by this function's contract.
    unsafe { to.write(known.map_or(credentials::UNKNOWN, |facts| facts.credentials)) };
}

/// The process can act as this now.
///
/// # Safety
/// `from` is readable.
#[inline(always)]
pub unsafe fn note_credentials(tgid: u32, from: *const Credentials) {
    if let Some(facts) = PROCESS_FACTS.get_ptr_mut(&tgid) {
        // SAFETY: a live map value, and by this function's contract.
        unsafe {
            (&raw mut (*facts).credentials).write(from.read());
            (&raw mut (*facts).uid)
                .write(Task::current().follow(Field::TaskCred).read(Field::CredUid));
        }
    }
}

/// A snapshot has found a process. What a hook has noted of it meanwhile is newer and stays.
#[inline(always)]
pub fn note_found(tgid: u32, facts: &ProcessFacts, parent_start: u64) {
    let _known = PROCESS_FACTS.insert(&tgid, facts, BPF_NOEXIST as u64);
    let line = Line { founder: facts.start_time, nearest: [parent_start, 0, 0, 0, 0, 0, 0] };
    let _known = LINEAGE.insert(&tgid, &line, BPF_NOEXIST as u64);
}

/// Start of the process, ns since boot; 0 if it is not known.
#[inline(always)]
pub fn start_time_of(tgid: u32) -> u64 {
    // SAFETY: a copy of eight bytes is taken at once.
    unsafe { PROCESS_FACTS.get(&tgid) }.map_or(0, |facts| facts.start_time)
}

/// `task`, the first thread of a process, has moved to another cgroup; if it is to be reported and
/// nothing is known of it, what there is to know is noted.
#[inline(always)]
pub fn note_move(task: Task, reported: bool) {
    let tgid = task.tgid();
    if let Some(facts) = PROCESS_FACTS.get_ptr_mut(&tgid) {
        // SAFETY: a live map value; one aligned store.
        unsafe { (&raw mut (*facts).cgroup_id).write(cgroup_id(task.cgroup())) };
    } else if reported {
        let file = task.follow(Field::TaskMm).follow(Field::MmExecutable);
        let executable = if file.is_null() { NO_OBJECT } else { object_of(file) };
        note(tgid, task, executable);
    }
}

/// The process has ended.
#[inline(always)]
pub fn forget(tgid: u32) {
    plain_files::forget(tgid);
    let _gone = PROCESS_FACTS.remove(&tgid);
    let _gone = LINEAGE.remove(&tgid);
}
