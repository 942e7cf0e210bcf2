//! Sockets and pipes of whose bytes nobody waits to hear: what goes through one is added up in a place of its own,
//! which the first program finds without hashing, and joins the descriptor's totals when these are looked at.
//!
//! Most have no totals at all before a secret could be among what they move; then what has come together here is where
//! they begin.
//!
//! A place is found by process and number, and whoever has it keeps it until the number is closed or the process's epoch
//! ends; who finds it taken does without. An epoch ends with whatever changes the meaning of many numbers at once, or
//! may have: another program, a range that is closed, a table that is shared from now on, the process's end, a time in
//! which its calls were not wanted.

use aya_ebpf::{macros::map, maps::Array};
use sentinel_ipc::kernel_abi::{EPOCHS_ENTRIES, QUIET_ENTRIES, class, control};

use crate::{
    atomic,
    descriptor::Table,
    kernel::{Address, opaque},
    plain_files,
    scope::{class_of, control_value},
    traffic::Way,
};

/// What went through a descriptor meanwhile.
#[repr(C)]
struct Place {
    /// As [`owner`] has it; 0 if nobody's.
    owner: u64,
    received: u64,
    sent: u64,
    /// Calls that received, and those that sent << 32.
    calls: u64,
}

#[unsafe(link_section = ".bss.quiet_traffic")]
#[unsafe(no_mangle)]
static mut QUIET: [Place; QUIET_ENTRIES as usize] =
    [const { Place { owner: 0, received: 0, sent: 0, calls: 0 } }; QUIET_ENTRIES as usize];

/// How often the numbers of each process have come to mean something else, by tgid; four in an entry.
#[map]
static EPOCHS: Array<[u16; 4]> = Array::with_max_entries(EPOCHS_ENTRIES, 0);

/// The kernel's own limit on process numbers (`PID_MAX_LIMIT`), and more than its usual one on descriptors.
const TGID_BITS: u32 = 22;
const NUMBER_BITS: u32 = 20;
/// Above them the process's epoch, and in the highest bits how often what is wanted has changed: calls that nobody
/// wanted were not seen.
const EPOCH_AT: u32 = TGID_BITS + NUMBER_BITS;
const CHANGES_AT: u32 = EPOCH_AT + u16::BITS;
/// Calls in one place before they join the totals.
const MANY: u32 = 1 << 31;

/// Whose sums are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The descriptor's as long as it means one thing for certain.
    ThisEpoch,
    /// Those of who had this number last, whenever.
    AnyEpoch,
}

/// Sums that were taken from a place.
pub struct Sums {
    pub received: u64,
    pub sent: u64,
    pub reads: u32,
    pub writes: u32,
}

#[inline(always)]
fn place_of(tgid: u32, number: u32) -> *mut Place {
    let index = opaque(tgid.wrapping_mul(61).wrapping_add(number)) as usize;
    // SAFETY: below its length.
    unsafe { (&raw mut QUIET).cast::<Place>().add(index & (QUIET_ENTRIES as usize - 1)) }
}

#[inline(always)]
fn epoch_of(tgid: u32) -> Option<*mut u16> {
    let entry = EPOCHS.get_ptr_mut(tgid >> 2)?;
    // SAFETY: tgid & 3 < 4, the entry's length.
    Some(unsafe { entry.cast::<u16>().add((tgid & 3) as usize) })
}

/// The upper bits of whoever of the process `tgid` has a place now.
#[inline(always)]
fn epoch_bits(tgid: u32) -> u64 {
    // SAFETY: a live map value.
    let epoch = epoch_of(tgid).map_or(0, |epoch| unsafe { epoch.read_volatile() });
    control_value(control::CHANGES) << CHANGES_AT | (epoch as u64) << EPOCH_AT
}

/// Descriptor, process and epoch in one word.
#[inline(always)]
fn owner(tgid: u32, number: u32) -> u64 {
    epoch_bits(tgid) | descriptor(tgid, number)
}

#[inline(always)]
fn descriptor(tgid: u32, number: u32) -> u64 {
    (number as u64) << TGID_BITS | tgid as u64
}

/// Whether the epoch in which this owner came has ended.
#[inline(always)]
fn is_over(before: u64) -> bool {
    let tgid = before as u32 & (u32::MAX >> (32 - TGID_BITS));
    before >> EPOCH_AT != epoch_bits(tgid) >> EPOCH_AT
}

/// Whether `owner` is this descriptor, in whatever epoch.
#[inline(always)]
fn is_of(owner: u64, tgid: u32, number: u32) -> bool {
    owner & ((1 << EPOCH_AT) - 1) == descriptor(tgid, number)
}

/// Adds what a call on descriptor `number` returned, if the descriptor has a place; whether it has.
#[inline(always)]
pub fn add(tgid: u32, number: u32, way: Way, result: i64) -> bool {
    let place = place_of(tgid, number);
    // SAFETY: a live map value, whose words are aligned.
    unsafe {
        if number >> NUMBER_BITS != 0
            || (&raw const (*place).owner).read_volatile() != owner(tgid, number)
            || (&raw const (*place).calls).read_volatile() as u32 > MANY
        {
            return false;
        }
        if result > 0 {
            let is_in = way == Way::In;
            let sum = if is_in { &raw mut (*place).received } else { &raw mut (*place).sent };
            atomic::add(sum, result as u64);
            atomic::add(&raw mut (*place).calls, if is_in { 1 } else { 1 << 32 });
        }
    }
    true
}

/// From now on nobody waits for what goes through descriptor `number` of the current process, `tgid`, which is `file`;
/// whether it has a place.
#[inline(always)]
pub fn begin(tgid: u32, number: u32, file: Address) -> bool {
    let place = place_of(tgid, number);
    let owner = owner(tgid, number);
    // SAFETY: a live map value, whose words are aligned.
    let before = unsafe { (&raw const (*place).owner).read_volatile() };
    if before == owner {
        return number >> NUMBER_BITS == 0;
    }
    let is_free = before == 0 || is_over(before);
    if !is_free || number >> NUMBER_BITS != 0 || !plain_files::has_own_table() {
        return false;
    }
    // SAFETY: as above.
    unsafe {
        (&raw mut (*place).received).write_volatile(0);
        (&raw mut (*place).sent).write_volatile(0);
        (&raw mut (*place).calls).write_volatile(0);
        atomic::compare_exchange(&raw mut (*place).owner, before, owner);
        if (&raw const (*place).owner).read_volatile() != owner {
            return false;
        }
    }
    // Looked at last, as for a plain file: whoever begins to share the table marks that first, and then ends the
    // epoch; whoever puts something else in the descriptor's place does so before he ends what it was.
    let is_shared = class_of(tgid) & class::SHARES_FILES != 0;
    if is_shared || Table::current().file(number) != file {
        end(tgid, number);
        return false;
    }
    true
}

/// Takes what has come together.
#[inline(always)]
pub fn take(tgid: u32, number: u32, of: Of) -> Option<Sums> {
    let place = place_of(tgid, number);
    // SAFETY: a live map value, whose words are aligned.
    unsafe {
        let owner = (&raw const (*place).owner).read_volatile();
        if !is_of(owner, tgid, number) || of == Of::ThisEpoch && is_over(owner) {
            return None;
        }
        let calls = atomic::exchange(&raw mut (*place).calls, 0);
        Some(Sums {
            received: atomic::exchange(&raw mut (*place).received, 0),
            sent: atomic::exchange(&raw mut (*place).sent, 0),
            reads: calls as u32,
            writes: (calls >> 32) as u32,
        })
    }
}

/// Gives the descriptor's place away, from which all was taken.
#[inline(always)]
pub fn end(tgid: u32, number: u32) {
    let place = place_of(tgid, number);
    // SAFETY: a live map value, whose words are aligned.
    unsafe {
        let owner = (&raw const (*place).owner).read_volatile();
        if is_of(owner, tgid, number) {
            atomic::compare_exchange(&raw mut (*place).owner, owner, 0);
        }
    }
}

/// The numbers of the process may mean something else from now on.
#[inline(always)]
pub fn end_epoch(tgid: u32) {
    if let Some(epoch) = epoch_of(tgid) {
        // SAFETY: a live map value. Of two threads that count at the same time one may count for both.
        unsafe { epoch.write_volatile(epoch.read_volatile().wrapping_add(1)) };
    }
}
