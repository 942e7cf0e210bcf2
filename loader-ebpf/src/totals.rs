//! What went through each descriptor, added up: one entry for each with traffic that could matter, or that was asked
//! for.
//!
//! The entries of a process form a chain, so that its end can tell all of them. An entry whose
//! descriptor was closed stays in the chain, empty, until the number is used again or the process
//! ends.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use sentinel_ipc::{
    kernel_abi::{Descriptor, Object, TRAFFIC_ENTRIES},
    kernel_fields::Field,
};

use crate::{
    atomic,
    descriptor::{S_IFMT, S_IFSOCK, describe},
    emit::Facts,
    file_class,
    kernel::Address,
    plain_files,
    quiet_traffic::{self, Of},
    traffic::tell,
};

/// A descriptor of a process.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct TrafficKey {
    pub tgid: u32,
    pub number: u32,
}

/// What went through it since it was opened.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Traffic {
    /// Mode 0: the descriptor was closed.
    pub descriptor: Descriptor,
    pub received: u64,
    pub sent: u64,
    /// `sent` at the last record.
    pub reported: u64,
    /// Time of the last record, ns.
    pub reported_at: u64,
    pub reads: u32,
    pub writes: u32,
    /// `writes` at the last record.
    pub reported_writes: u32,
    /// Records so far.
    pub records: u32,
    pub class: u32,
    /// Of `kernel_abi::flag`: SKIPPED after a send to another address had no record, AS_GIVEN while the remote address
    /// is a caller's.
    pub flags: u32,
    /// Number + 1 of the next descriptor in the process's chain; 0 ends it.
    pub next: u64,
}

#[map]
pub static TRAFFIC: HashMap<TrafficKey, Traffic> = HashMap::with_max_entries(TRAFFIC_ENTRIES, 0);

/// Each process's chain: number + 1 of its first descriptor, and how many it has << 32.
#[map]
pub static TRAFFIC_CHAINS: HashMap<u32, u64> = HashMap::with_max_entries(TRAFFIC_ENTRIES, 0);

/// An entry that is about to be made.
#[map]
pub static FRESH: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1, 0);

/// Descriptors of a chain that one run of a program tells.
pub const CHAIN_STEPS: usize = 12;
/// Descriptors in a chain, at the most: what the end of a process can tell, which may begin anew 33
/// times.
const MAX_CHAIN: u64 = 33 * CHAIN_STEPS as u64;
/// The number in a chain's word.
pub const NUMBER: u64 = u32::MAX as u64;

/// The entry of a descriptor, made if none was found; begun anew if the number has come to mean
/// something else, after the totals of what it meant.
#[inline(always)]
pub fn entry_of(
    found: Option<*mut Traffic>,
    key: &TrafficKey,
    file: Address,
    facts: Facts,
) -> Option<*mut Traffic> {
    if let Some(entry) = found {
        collect(key, entry, Of::AnyEpoch);
        // SAFETY: a live map value.
        let object = unsafe { &(*entry).descriptor.object };
        if object.mode != 0 && is_inode(object, file.follow(Field::FileInode)) {
            return found;
        }
        // SAFETY: as above.
        let next = unsafe { (*entry).next };
        plain_files::end(key.tgid, key.number);
        quiet_traffic::end(key.tgid, key.number);
        tell(entry, key.number, facts, false);
        // SAFETY: as above.
        unsafe { fill(entry, file, next) };
        return found;
    }
    let fresh = FRESH.get_ptr_mut(0)?;
    // SAFETY: a live map value of this CPU.
    unsafe { fill(fresh, file, 0) };
    if TRAFFIC_CHAINS.get_ptr_mut(&key.tgid).is_none() {
        // BPF_NOEXIST: another thread may have been faster.
        let _other_was = TRAFFIC_CHAINS.insert(&key.tgid, &0, 1);
    }
    let head = TRAFFIC_CHAINS.get_ptr_mut(&key.tgid)?;
    // SAFETY: a live map value.
    let length = unsafe { head.read() } >> 32;
    // SAFETY: filled above.
    if length >= MAX_CHAIN || TRAFFIC.insert(key, unsafe { &*fresh }, 0).is_err() {
        return None;
    }
    plain_files::end(key.tgid, key.number);
    let entry = TRAFFIC.get_ptr_mut(key)?;
    collect(key, entry, Of::ThisEpoch);
    quiet_traffic::end(key.tgid, key.number);
    let first = (length + 1) << 32 | (key.number as u64 + 1);
    // SAFETY: a live, aligned u64 of a map value, and an entry that nobody else has reached yet.
    unsafe { (*entry).next = atomic::exchange(head, first) & NUMBER };
    Some(entry)
}

/// Adds what went through the descriptor while nobody waited to hear of it, and before there was any secret.
#[inline(always)]
pub fn collect(key: &TrafficKey, entry: *mut Traffic, of: Of) {
    let Some(sums) = quiet_traffic::take(key.tgid, key.number, of) else { return };
    // SAFETY: a live map value.
    let traffic = unsafe { &mut *entry };
    // SAFETY: live, aligned u64 of a map value.
    unsafe {
        atomic::add(&raw mut traffic.received, sums.received);
        atomic::add(&raw mut traffic.sent, sums.sent);
    }
    traffic.reported += sums.sent;
    traffic.reads += sums.reads;
    traffic.writes += sums.writes;
    traffic.reported_writes += sums.writes;
}

/// Whether `inode` is the object.
#[inline(always)]
fn is_inode(object: &Object, inode: Address) -> bool {
    let device: u32 = inode.follow(Field::InodeSuperBlock).read(Field::SuperBlockDevice);
    let difference = (object.inode ^ inode.read::<u64>(Field::InodeNumber))
        | (object.device ^ device) as u64
        | (object.generation ^ inode.read::<u32>(Field::InodeGeneration)) as u64;
    difference == 0
}

/// Begins an entry.
///
/// # Safety
/// `entry` has room for one.
#[inline(always)]
unsafe fn fill(entry: *mut Traffic, file: Address, next: u64) {
    // SAFETY: by this function's contract.
    unsafe {
        describe(file, &raw mut (*entry).descriptor);
        (&raw mut (*entry).received).write(0);
        (&raw mut (*entry).sent).write(0);
        (&raw mut (*entry).reported).write(0);
        (&raw mut (*entry).reported_at).write(0);
        (&raw mut (*entry).reads).write(0);
        (&raw mut (*entry).writes).write(0);
        (&raw mut (*entry).reported_writes).write(0);
        (&raw mut (*entry).records).write(0);
        (&raw mut (*entry).class).write(class_of_object(&(*entry).descriptor.object));
        (&raw mut (*entry).flags).write(0);
        (&raw mut (*entry).next).write(next);
    }
}

/// What the file is; a socket is none.
#[inline(always)]
fn class_of_object(object: &Object) -> u32 {
    let is_socket = object.mode & S_IFMT == S_IFSOCK;
    if is_socket { 0 } else { file_class::known(object).always() }
}
