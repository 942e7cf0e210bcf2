//! Which processes are reported: a class byte for each tgid, a scope cgroup, our own excluded.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, PerCpuArray},
};
use sentinel_ipc::{
    file_class,
    kernel_abi::{Control, PROCESS_CLASS_ENTRIES, SensorCounters, class, control},
    kernel_fields::Field,
};

use crate::kernel::{Address, Task};

/// Eight class bytes an entry: a byte for every possible tgid, in 4 MiB.
#[map]
static PROCESS_CLASS: Array<[u8; 8]> =
    Array::with_max_entries(PROCESS_CLASS_ENTRIES, BPF_F_MMAPABLE);

/// Slots of [`control`]: a variable, which costs no look-up. The loader writes it.
#[unsafe(no_mangle)]
static mut CONTROL: Control = [0; control::COUNT as usize];

#[map]
static COUNTERS: PerCpuArray<SensorCounters> = PerCpuArray::with_max_entries(1, 0);

/// Cgroups on the way to the root that are looked at. What lies deeper counts as inside: nesting is
/// no way out of a scope.
const MAX_CGROUP_DEPTH: usize = 256;

/// This CPU's counters.
#[inline(always)]
pub fn count(change: impl FnOnce(&mut SensorCounters)) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: a live map value of this CPU; programs do not run concurrently on one CPU here,
        // since these tracepoints run with preemption off.
        change(unsafe { &mut *counters });
    }
}

#[inline(always)]
fn class_byte(tgid: u32) -> Option<*mut u8> {
    let entry = PROCESS_CLASS.get_ptr_mut(tgid >> 3)?;
    // SAFETY: tgid & 7 < 8, the entry's size. A byte of its own, so no other CPU's update is lost.
    Some(unsafe { entry.cast::<u8>().add((tgid & 7) as usize) })
}

/// Class of `tgid`; 0 if it has none.
#[inline(always)]
pub fn class_of(tgid: u32) -> u8 {
    // SAFETY: a live map value.
    class_byte(tgid).map_or(0, |byte| unsafe { byte.read() })
}

/// Sets the class of `tgid`.
#[inline(always)]
pub fn set_class(tgid: u32, value: u8) {
    if let Some(byte) = class_byte(tgid) {
        // SAFETY: a live map value.
        unsafe { byte.write(value) };
    }
}

/// The value in a slot of [`control`].
#[inline(always)]
pub fn control_value(slot: u32) -> u64 {
    // SAFETY: callers give slots below `control::COUNT`, and the verifier checks it. Volatile, because
    // nothing in the object writes it.
    unsafe { (&raw const CONTROL).cast::<u64>().add(slot as usize).read_volatile() }
}

/// Whether events of a process of this class are wanted.
#[inline(always)]
pub fn is_reported(class: u8) -> bool {
    class & class::OWN == 0
        && (class & class::IN_SCOPE != 0 || control_value(control::SCOPE_IS_EVERYTHING) != 0)
}

/// Whether `tgid` or one it descends from has opened a secret.
#[inline(always)]
pub fn is_tainted(tgid: u32) -> bool {
    class_of(tgid) & class::TAINTED != 0
}

/// `tgid` has opened a secret.
#[inline(always)]
pub fn taint(tgid: u32) {
    set_class(tgid, class_of(tgid) | class::TAINTED);
}

/// Whether events are asked for at all.
#[inline(always)]
pub fn is_reporting() -> bool {
    control_value(control::REPORTING) != 0
}

/// Whether events of this kind are asked for.
#[inline(always)]
pub fn is_wanted(kind: u16) -> bool {
    let (slot, bit) =
        if kind < 64 { (control::KINDS_LOW, kind) } else { (control::KINDS_HIGH, kind - 64) };
    is_reporting() && control_value(slot) >> bit & 1 != 0
}

/// Whether files of this class are asked for; no class is class 0, which never is.
#[inline(always)]
pub fn is_wanted_class(class: u32) -> bool {
    control_value(control::CLASSES) & file_class::bit(class) as u64 != 0
}

/// Whether a scope cgroup is set, and then whether `task` is in its subtree.
#[inline(always)]
pub fn in_scope_cgroup(task: Task) -> Option<bool> {
    let wanted = control_value(control::SCOPE_CGROUP);
    if wanted == 0 {
        return None;
    }
    let mut cgroup = task.cgroup();
    for _ in 0..MAX_CGROUP_DEPTH {
        if cgroup.is_null() {
            return Some(false);
        }
        if cgroup_id(cgroup) == wanted {
            return Some(true);
        }
        // `self` is the first member of struct cgroup, so a parent's css is the parent itself.
        cgroup = cgroup.follow(Field::CgroupParent);
    }
    Some(true)
}

/// Cgroup v2 id of the cgroup at `cgroup`.
#[inline(always)]
pub fn cgroup_id(cgroup: Address) -> u64 {
    cgroup.follow(Field::CgroupKernfsNode).read(Field::KernfsNodeId)
}
