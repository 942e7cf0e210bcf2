//! Numbers of processes and threads: those of the pid namespace that the loader runs in, so that they mean
//! the same to it, to the enforcer and to the operator. Who is outside of it has no number there, and is
//! process 0: never in scope (the loader marks 0 as [`class::OWN`]).
//!
//! [`class::OWN`]: sentinel_ipc::kernel_abi::class::OWN

use sentinel_ipc::{kernel_abi::control, kernel_fields::Field};

use crate::{
    fields::offset,
    kernel::{Address, Task, forget},
    scope::control_value,
};

/// Inode of the loader's pid namespace, where that is a nested one. In the initial one it is 0: each task
/// has its numbers there at hand, and the verifier prunes the way to any others.
#[unsafe(no_mangle)]
static PID_NAMESPACE: u32 = 0;

/// Place of `PIDTYPE_TGID` in `signal_struct.pids`, in bytes (include/linux/pid_types.h).
const PID_OF_GROUP: usize = size_of::<u64>();
/// `sizeof(struct upid)` (include/linux/pid.h).
const NUMBER_BYTES: u64 = 16;

#[inline(always)]
fn namespace() -> u32 {
    // SAFETY: a constant of the object, set before the load; volatile, because the compiler would
    // otherwise fold in the initial value.
    unsafe { (&raw const PID_NAMESPACE).read_volatile() }
}

/// The `struct upid` of a `struct pid` for the namespace of this level.
#[inline(always)]
fn at_level(pid: Address, level: u64) -> Address {
    let number = Address(pid.0.wrapping_add(level.wrapping_mul(NUMBER_BYTES)));
    Address(number.0.wrapping_add(offset(Field::PidNumbers) as u64))
}

/// The number of a `struct pid` in the loader's namespace; 0 if it has none or is null.
#[inline(always)]
fn number_of(pid: Address) -> u32 {
    let level = control_value(control::PID_LEVEL);
    let number = at_level(pid, level);
    let inode: u32 = number.follow(Field::NumberNamespace).read(Field::PidNamespaceInode);
    let is_there = pid.read::<u32>(Field::PidLevel) as u64 >= level && inode == namespace();
    let value: u32 = number.read(Field::NumberValue);
    forget(if is_there { value } else { 0 }, pid.0)
}

/// Thread group id of the task at `task`.
#[inline(always)]
pub fn tgid_of(task: Address) -> u32 {
    if namespace() == 0 {
        return task.read(Field::TaskTgid);
    }
    // Not by the group's leader: another thread takes its place and its pid in exec, one by one.
    let pids = Field::SignalPids;
    number_of(Address(task.follow(Field::TaskSignal).read_at(offset(pids) + PID_OF_GROUP)))
}

/// The task that is process 1 to the current one: who takes in the orphans of its pid namespace. Not looked
/// for by its number, because there are kernels whose iterators pass it over.
#[inline(always)]
pub fn first_process() -> Address {
    let task = Task::current();
    let own = at_level(task.follow(Field::TaskThreadPid), task.level() as u64);
    own.follow(Field::NumberNamespace).follow(Field::PidNamespaceReaper)
}

/// Thread group id and thread id of the current task.
#[inline(always)]
pub fn current_ids() -> (u32, u32) {
    let task = Task::current();
    if namespace() == 0 {
        return (task.read(Field::TaskTgid), task.read(Field::TaskPid));
    }
    (task.tgid(), number_of(task.follow(Field::TaskThreadPid)))
}

/// The current task's number before an exec that has just been, which has made it its process's first
/// thread: `initial` in the initial pid namespace. 0 if that is another one than the loader's and the
/// number was not the one it has now; its `struct pid` is gone then.
#[inline(always)]
pub fn thread_before_exec(initial: u32) -> u32 {
    let task = Task::current();
    if namespace() == 0 {
        initial
    } else if initial == task.read(Field::TaskPid) {
        task.tgid()
    } else {
        0
    }
}

impl Task {
    /// Thread group id.
    #[inline(always)]
    pub fn tgid(self) -> u32 {
        // The verifier knows the pointer's type, so this load is direct.
        if namespace() == 0 { self.read(Field::TaskTgid) } else { tgid_of(self.address()) }
    }

    /// Whether the task is its group's leader.
    #[inline(always)]
    pub fn is_leader(self) -> bool {
        self.read::<u32>(Field::TaskPid) == self.read::<u32>(Field::TaskTgid)
    }

    /// Whether the task sees other pids than the loader does.
    #[inline(always)]
    pub fn has_own_pids(self) -> bool {
        self.level() as u64 != control_value(control::PID_LEVEL)
    }

    /// Level of the task's pid namespace; 0 is the initial one's.
    #[inline(always)]
    pub fn level(self) -> u32 {
        self.follow(Field::TaskThreadPid).read(Field::PidLevel)
    }
}
