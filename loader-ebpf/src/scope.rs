//! Which processes are reported: a class byte for each tgid, the cgroups of the operator's scope and
//! of the analyzer's selection in it, our own excluded.

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

use crate::{
    atomic, exchange,
    fields::{has, offset},
    kernel::{Address, Task, forget, is_equal, opaque},
};

/// Eight class bytes an entry: a byte for every possible tgid, in 4 MiB.
#[map]
static PROCESS_CLASS: Array<[u8; 8]> =
    Array::with_max_entries(PROCESS_CLASS_ENTRIES, BPF_F_MMAPABLE);

/// Slots of [`control`]: a variable, which costs no look-up. The loader writes it.
#[unsafe(no_mangle)]
static mut CONTROL: Control = [0; control::COUNT as usize];

#[map]
static COUNTERS: PerCpuArray<SensorCounters> = PerCpuArray::with_max_entries(1, 0);

/// Cgroups on the way to the root that are looked at: of one that lies deeper the outermost, among which a
/// scope's is. Before Linux 6.1 what lies deeper counts as inside: nesting is no way out of a scope.
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
    // SAFETY: tgid & 7 < 8, the entry's size.
    Some(unsafe { entry.cast::<u8>().add((tgid & 7) as usize) })
}

/// The word that the byte of `tgid` is in, and the byte's place in it, in bits.
#[inline(always)]
fn class_word(tgid: u32) -> Option<(*mut u64, u32)> {
    const { assert!(cfg!(target_endian = "little"), "where a byte is in its word") };
    Some((PROCESS_CLASS.get_ptr_mut(tgid >> 3)?.cast(), (tgid & 7) * 8))
}

/// Class of `tgid`; 0 if it has none.
#[inline(always)]
pub fn class_of(tgid: u32) -> u8 {
    // SAFETY: a live map value.
    class_byte(tgid).map_or(0, |byte| unsafe { byte.read() })
}

/// Sets the class of `tgid`, of which nobody else changes anything: it begins or has ended.
#[inline(always)]
pub fn set_class(tgid: u32, value: u8) {
    if let Some(byte) = class_byte(tgid) {
        // SAFETY: a live map value.
        unsafe { byte.write(value) };
    }
}

/// Adds bits to the class of `tgid`; other CPUs may change others at the same time.
#[inline(always)]
pub fn add_class(tgid: u32, bits: u8) {
    if let Some((word, place)) = class_word(tgid) {
        // SAFETY: a live map value of eight bytes; the kernel aligns it.
        unsafe { atomic::set(word, (bits as u64) << place) };
    }
}

/// Takes bits from the class of `tgid`, as [`add_class`] adds them.
#[inline(always)]
pub fn take_class(tgid: u32, bits: u8) {
    if let Some((word, place)) = class_word(tgid) {
        // SAFETY: as in `add_class`.
        unsafe { atomic::keep(word, !((bits as u64) << place)) };
    }
}

/// The value in a slot of [`control`].
#[inline(always)]
pub fn control_value(slot: u32) -> u64 {
    // SAFETY: callers give slots below `control::COUNT`, and the verifier checks it. Volatile, because
    // nothing in the object writes it.
    unsafe { (&raw const CONTROL).cast::<u64>().add(slot as usize).read_volatile() }
}

/// Whether a process of this class is in the operator's scope, and so known to the enforcer.
#[inline(always)]
pub fn is_in_scope(class: u8) -> bool {
    class & class::OWN == 0
        && (class & class::IN_SCOPE != 0 || control_value(control::SCOPE_IS_EVERYTHING) != 0)
}

/// Whether events of a process of this class are wanted.
#[inline(always)]
pub fn is_reported(class: u8) -> bool {
    is_in_scope(class) && (class & class::SELECTED != 0 || control_value(control::SELECTION) == 0)
}

/// Whether `tgid` or one it descends from has opened a secret.
#[inline(always)]
pub fn is_tainted(tgid: u32) -> bool {
    class_of(tgid) & class::TAINTED != 0
}

/// `tgid` has opened a secret at `time` (CLOCK_BOOTTIME, ns).
#[inline(always)]
pub fn taint(tgid: u32, time: u64) {
    exchange::secret_was_read(time);
    add_class(tgid, class::TAINTED);
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

/// Where a task's cgroup puts it.
#[derive(Clone, Copy)]
pub struct Membership {
    /// The bits of [`class`] that its cgroup decides.
    decided: u8,
    /// Those of them that it gives.
    given: u8,
}

impl Membership {
    /// `class` after the cgroup's decision.
    #[inline(always)]
    pub fn apply(self, class: u8) -> u8 {
        (class & !self.decided) | self.given
    }

    /// What the cgroup says about one bit of [`class`]; `None` if it does not decide it.
    #[inline(always)]
    pub fn has(self, bit: u8) -> Option<bool> {
        (self.decided & bit != 0).then_some(self.given & bit != 0)
    }
}

/// Whether `task` is in the subtrees of the cgroups that are set for scope and selection.
#[inline(always)]
pub fn membership(task: Task) -> Membership {
    membership_in(|| task.cgroup())
}

/// What being in `cgroup` says. One walk for scope and selection, which the verifier takes once, because what
/// is known of the numbers in it is forgotten.
#[inline(always)]
pub fn membership_in(cgroup: impl FnOnce() -> Address) -> Membership {
    let scope = control_value(control::SCOPE_CGROUP);
    let selection = control_value(control::SELECTION_CGROUP);
    if scope | selection == 0 {
        return Membership { decided: 0, given: 0 };
    }
    let mut cgroup = outermost(cgroup(), MAX_CGROUP_DEPTH - 1);
    let unknown = cgroup.0;
    let decided = bits((scope != 0) as u64, (selection != 0) as u64);
    let decided = forget(decided, unknown);
    let scope = forget(scope, unknown);
    let selection = forget(selection, unknown);
    let mut met = 0;
    for _ in 0..MAX_CGROUP_DEPTH {
        if cgroup.is_null() {
            break;
        }
        let id = cgroup_id(cgroup);
        let here = bits(is_equal(id, scope), is_equal(id, selection));
        met = forget(met | here, id);
        // `self` is the first member of struct cgroup, so a parent's css is the parent itself.
        cgroup = cgroup.follow(Field::CgroupParent);
    }
    let too_deep = !cgroup.is_null() as u64;
    Membership { decided, given: (met | bits(too_deep, too_deep)) & decided }
}

/// Those bits of [`class`] for which there is a 1 and not a 0.
#[inline(always)]
fn bits(in_scope: u64, selected: u64) -> u8 {
    // LLVM makes branches of products with what it knows to be 0 or 1.
    let (in_scope, selected) = (opaque(in_scope), opaque(selected));
    in_scope as u8 * class::IN_SCOPE | selected as u8 * class::SELECTED
}

/// The cgroup at `cgroup` or, if that lies more than `level` levels below the root, the one above it that lies
/// at this level. However deep one is, this takes two reads; kernels that cannot tell leave it as it is.
#[inline(always)]
pub fn outermost(cgroup: Address, level: usize) -> Address {
    if !has(Field::CgroupAncestors) {
        return cgroup;
    }
    // Zero of one that cannot be read.
    let depth = forget(cgroup.read::<u32>(Field::CgroupLevel) as usize, cgroup.0);
    if depth <= level {
        return cgroup;
    }
    Address(cgroup.read_at(offset(Field::CgroupAncestors) + level * size_of::<u64>()))
}

/// Cgroup v2 id of the cgroup at `cgroup`.
#[inline(always)]
pub fn cgroup_id(cgroup: Address) -> u64 {
    cgroup.follow(Field::CgroupKernfsNode).read(Field::KernfsNodeId)
}
