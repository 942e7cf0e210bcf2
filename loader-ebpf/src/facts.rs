//! What the kernel knows of each reported process, kept so that a pid can be told from another
//! process with the same number.

use aya_ebpf::{bindings::BPF_NOEXIST, macros::map, maps::HashMap};
use sentinel_ipc::{
    kernel_abi::{Credentials, Object, PROCESS_FACTS_ENTRIES, ProcessFacts},
    kernel_fields::Field,
};

use crate::{
    credentials,
    descriptor::{NO_OBJECT, object_of},
    kernel::{Task, current_uid},
    scope::cgroup_id,
};

/// By tgid. When it is full, later processes are unknown, and so cannot be killed.
#[map]
static PROCESS_FACTS: HashMap<u32, ProcessFacts> =
    HashMap::with_max_entries(PROCESS_FACTS_ENTRIES, 0);

/// `PF_KTHREAD` (include/linux/sched.h).
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Whether `task` is a thread of the kernel.
#[inline(always)]
pub fn is_kernel_thread(task: Task) -> bool {
    task.read::<u32>(Field::TaskFlags) & KERNEL_THREAD != 0
}

#[inline(always)]
fn facts_of(task: Task, start_time: u64, executable: Object) -> ProcessFacts {
    ProcessFacts {
        start_time,
        cgroup_id: cgroup_id(task.cgroup()),
        executable,
        credentials: credentials::of(task),
        uid: task.follow(Field::TaskCred).read(Field::CredUid),
        kernel_thread: is_kernel_thread(task) as u32,
    }
}

/// A child of the current process is about to run.
#[inline(always)]
pub fn note_fork(parent_tgid: u32, child: Task, child_tgid: u32) {
    // SAFETY: a copy is taken at once; a concurrent change could at worst mix two executables of
    // the parent, which forks and so does not exec.
    let parent = unsafe { PROCESS_FACTS.get(&parent_tgid) };
    let executable = parent.map_or(NO_OBJECT, |parent| parent.executable);
    let facts = facts_of(child, child.read(Field::TaskStartBoottime), executable);
    // Fails only when the map is full; the process is unknown then.
    let _noted = PROCESS_FACTS.insert(&child_tgid, &facts, 0);
}

/// The current process runs a new program.
#[inline(always)]
pub fn note_exec(tgid: u32, executable: Object) {
    let task = Task::current();
    let facts = facts_of(task, task.start_time(), executable);
    let _noted = PROCESS_FACTS.insert(&tgid, &facts, 0);
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
            (&raw mut (*facts).uid).write(current_uid());
        }
    }
}

/// A snapshot has found a process. What a hook has noted of it meanwhile is newer and stays.
#[inline(always)]
pub fn note_found(tgid: u32, facts: &ProcessFacts) {
    let _known = PROCESS_FACTS.insert(&tgid, facts, BPF_NOEXIST as u64);
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
        let facts = facts_of(task, task.start_time(), executable);
        let _noted = PROCESS_FACTS.insert(&tgid, &facts, 0);
    }
}

/// The process has ended.
#[inline(always)]
pub fn forget(tgid: u32) {
    let _gone = PROCESS_FACTS.remove(&tgid);
}
