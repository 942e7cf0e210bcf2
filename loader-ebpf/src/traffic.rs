//! Bytes through descriptors, added up in the kernel: one entry for each descriptor with traffic.
//!
//! The entries of a process form a chain, so that its end can tell all of them. An entry whose
//! descriptor was closed stays in the chain, empty, until the number is used again or the process
//! ends.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use sentinel_ipc::{
    kernel_abi::{Descriptor, Object, Socket, TRAFFIC_ENTRIES, TrafficRecord, class, flag, kind},
    kernel_fields::Field,
};

use crate::{
    atomic,
    descriptor::{S_IFMT, S_IFSOCK, describe},
    emit::{Facts, header, scratch, send},
    exchange, file_class,
    kernel::{Address, forget, now},
    pid::current_ids,
    plain_files,
    scope::{class_of, count, is_tainted, is_wanted, taint},
};

/// A descriptor of a process.
#[derive(Clone, Copy)]
#[repr(C)]
struct TrafficKey {
    tgid: u32,
    number: u32,
}

/// What went through it since it was opened.
#[derive(Clone, Copy)]
#[repr(C)]
struct Traffic {
    /// Mode 0: the descriptor was closed.
    descriptor: Descriptor,
    received: u64,
    sent: u64,
    /// `sent` at the last record.
    reported: u64,
    /// Time of the last record, ns.
    reported_at: u64,
    reads: u32,
    writes: u32,
    /// `writes` at the last record.
    reported_writes: u32,
    /// Records so far.
    records: u32,
    class: u32,
    /// [`flag::SKIPPED`] after a send to another address had no record, [`flag::AS_GIVEN`] while
    /// the remote address is a caller's.
    flags: u32,
    /// Number + 1 of the next descriptor in the process's chain; 0 ends it.
    next: u64,
}

#[map]
static TRAFFIC: HashMap<TrafficKey, Traffic> = HashMap::with_max_entries(TRAFFIC_ENTRIES, 0);

/// Each process's chain: number + 1 of its first descriptor, and how many it has << 32.
#[map]
static TRAFFIC_CHAINS: HashMap<u32, u64> = HashMap::with_max_entries(TRAFFIC_ENTRIES, 0);

/// An entry that is about to be made.
#[map]
static FRESH: PerCpuArray<Traffic> = PerCpuArray::with_max_entries(1, 0);

/// Descriptors of a chain that one run of a program tells.
const CHAIN_STEPS: usize = 12;
/// Descriptors in a chain, at the most: what the end of a process can tell, which may begin anew 33
/// times.
const MAX_CHAIN: u64 = 33 * CHAIN_STEPS as u64;
/// The number in a chain's word.
const NUMBER: u64 = u32::MAX as u64;
/// Records of one descriptor that come at once; later ones keep a distance.
const BURST: u32 = 16;
/// That distance, ns; and where the process has not read a secret itself.
const DISTANCE: u64 = 1_000_000;
const OTHERS_DISTANCE: u64 = 100_000_000;

/// Marks the key of an entry that is kept by inode, for want of a number.
pub const BY_INODE: u32 = 0x8000_0000;
/// `argument[0]` where a descriptor's number is not known.
pub const UNKNOWN_NUMBER: u64 = u32::MAX as u64;

/// Which way the bytes went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// The remote address that a caller gave with a send.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Remote {
    /// 0: none was given.
    pub family: u16,
    pub port: u16,
    pub address: [u8; 16],
}

/// One call's share.
#[derive(Clone, Copy)]
pub struct Share {
    pub tgid: u32,
    pub number: u32,
    pub file: Address,
    pub way: Way,
    pub bytes: u64,
    pub remote: Remote,
    /// 1 if the call went to more addresses than `remote`, else 0.
    pub more_remotes: u64,
}

/// Whether anybody wants to hear of traffic.
#[inline(always)]
fn is_counted() -> bool {
    is_wanted(kind::SENT) || is_wanted(kind::TRAFFIC)
}

/// Adds a call's bytes to its descriptor's; reports a send when it is due.
#[inline(always)]
pub fn account(share: Share, facts: Facts) {
    if !is_counted() || is_of_no_interest(class_of(share.tgid), share.tgid, share.number) {
        return;
    }
    let key = TrafficKey { tgid: share.tgid, number: share.number };
    let Some(entry) = entry_of(&key, share.file, facts) else {
        count(|counters| counters.untracked += 1);
        tell_alone(&share, facts);
        return;
    };
    // SAFETY: a live map value. Threads that use one descriptor at the same time could lose an
    // update here, so amounts are added atomically.
    let traffic = unsafe { &mut *entry };
    if share.way == Way::In {
        // SAFETY: a live, aligned u64 of a map value.
        unsafe { atomic::add(&raw mut traffic.received, share.bytes) };
        traffic.reads += 1;
        // However it came by the descriptor.
        if file_class::is_secret(traffic.class) && !is_tainted(share.tgid) {
            taint(share.tgid, now());
        }
        return;
    }
    // SAFETY: as above.
    unsafe { atomic::add(&raw mut traffic.sent, share.bytes) };
    traffic.writes += 1;
    if traffic.descriptor.object.mode & S_IFMT != S_IFSOCK || !is_wanted(kind::SENT) {
        return;
    }
    let elsewhere = goes_elsewhere(&traffic.descriptor.socket, &share.remote);
    let first = traffic.records == 0;
    // Whoever sends may have what was read, and what was sent before that is something else.
    let fresh = !first && exchange::is_secret_about(traffic.reported_at);
    let tainted = is_tainted(share.tgid);
    if !first && !elsewhere && !fresh && !tainted {
        traffic.reported = traffic.sent;
        traffic.reported_writes = traffic.writes;
        return;
    }
    let time = now();
    let distance = if tainted { DISTANCE } else { OTHERS_DISTANCE };
    if traffic.records >= BURST && time.wrapping_sub(traffic.reported_at) < distance {
        traffic.flags |= if elsewhere { flag::SKIPPED as u32 } else { 0 };
        return;
    }
    let socket = &mut traffic.descriptor.socket;
    if share.remote.family != 0 {
        socket.remote_port = share.remote.port;
        socket.remote_address = share.remote.address;
        traffic.flags |= flag::AS_GIVEN as u32;
    }
    let more = flag::SKIPPED & 0_u16.wrapping_sub(share.more_remotes as u16);
    let flags = facts.flags | traffic.flags as u16 | more;
    let bytes = traffic.sent.wrapping_sub(traffic.reported);
    let calls = traffic.writes.wrapping_sub(traffic.reported_writes);
    traffic.reported = traffic.sent;
    traffic.reported_writes = traffic.writes;
    traffic.reported_at = time;
    traffic.records += 1;
    traffic.flags &= flag::AS_GIVEN as u32;
    count(|counters| counters.passed += 1);
    let argument = [told_number(share.number), bytes, calls as u64];
    emit(traffic, Facts { kind: kind::SENT, flags, argument, ..facts });
}

/// Whether what the process `tgid`, of this class, moves is through a file that nobody asked about, and there is no
/// secret that could go through it.
#[inline(always)]
pub fn is_of_no_interest(class: u8, tgid: u32, number: u32) -> bool {
    class & class::TAINTED == 0 && !exchange::is_secret_about(0) && plain_files::has(tgid, number)
}

/// Tells a send whose descriptor has no entry: to have many descriptors is no way to be silent.
#[inline(always)]
fn tell_alone(share: &Share, facts: Facts) {
    let Some(fresh) = FRESH.get_ptr_mut(0) else { return };
    // SAFETY: a live map value of this CPU, which `entry_of` has just filled.
    let traffic = unsafe { &mut *fresh };
    let is_socket = traffic.descriptor.object.mode & S_IFMT == S_IFSOCK;
    if share.way == Way::In || !is_socket || !is_wanted(kind::SENT) {
        return;
    }
    traffic.sent = share.bytes;
    traffic.writes = 1;
    count(|counters| counters.passed += 1);
    let argument = [told_number(share.number), share.bytes, 1];
    emit(traffic, Facts { kind: kind::SENT, argument, ..facts });
}

#[inline(always)]
fn goes_elsewhere(socket: &Socket, remote: &Remote) -> bool {
    if remote.family == 0 {
        return false;
    }
    let words = |address: &[u8; 16]| {
        // SAFETY: 16 bytes; alignment does not matter to read_unaligned.
        unsafe { address.as_ptr().cast::<[u64; 2]>().read_unaligned() }
    };
    let (old, new) = (words(&socket.remote_address), words(&remote.address));
    socket.remote_port != remote.port || old[0] != new[0] || old[1] != new[1]
}

/// The entry of a descriptor, made if there is none; begun anew if the number has come to mean
/// something else, after the totals of what it meant.
#[inline(always)]
fn entry_of(key: &TrafficKey, file: Address, facts: Facts) -> Option<*mut Traffic> {
    let found = TRAFFIC.get_ptr_mut(key);
    if let Some(entry) = found {
        // SAFETY: a live map value.
        let object = unsafe { &(*entry).descriptor.object };
        if object.mode != 0 && is_inode(object, file.follow(Field::FileInode)) {
            return found;
        }
        // SAFETY: as above.
        let next = unsafe { (*entry).next };
        plain_files::end(key.tgid, key.number);
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
    let first = (length + 1) << 32 | (key.number as u64 + 1);
    // SAFETY: a live, aligned u64 of a map value, and an entry that nobody else has reached yet.
    unsafe { (*entry).next = atomic::exchange(head, first) & NUMBER };
    Some(entry)
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
        (&raw mut (*entry).class).write(file_class::known(&(*entry).descriptor.object).always());
        (&raw mut (*entry).flags).write(0);
        (&raw mut (*entry).next).write(next);
    }
}

/// Descriptor `number` is closed, or means something else. Whether it was told that it is closed, with the totals.
#[inline(always)]
pub fn end(tgid: u32, number: u32, facts: Facts) -> bool {
    if !is_counted() {
        return false;
    }
    let Some(entry) = TRAFFIC.get_ptr_mut(&TrafficKey { tgid, number }) else { return false };
    let closes = facts.kind == kind::CLOSE && is_wanted(kind::CLOSE);
    let told = tell(entry, number, facts, closes);
    // SAFETY: a live map value.
    unsafe { (*entry).descriptor.object.mode = 0 };
    told && closes
}

/// The process has ended: tells of its descriptors, some at a time; true when none are left.
#[inline(always)]
pub fn end_some(tgid: u32) -> bool {
    let Some(head) = TRAFFIC_CHAINS.get_ptr_mut(&tgid) else { return true };
    // Taken, so that nobody else tells it as well.
    // SAFETY: a live, aligned u64 of a map value.
    let first = unsafe { atomic::exchange(head, 0) } & NUMBER;
    if first == 0 {
        return true;
    }
    let mut next = first as usize;
    for _ in 0..CHAIN_STEPS {
        next = forget(next, first);
        if next == 0 {
            break;
        }
        let key = TrafficKey { tgid, number: (next - 1) as u32 };
        let Some(entry) = TRAFFIC.get_ptr_mut(&key) else {
            next = 0;
            break;
        };
        tell(entry, key.number, Facts::default(), false);
        // SAFETY: a live map value.
        next = unsafe { (*entry).next } as usize;
        let _gone = TRAFFIC.remove(&key);
    }
    if next == 0 {
        let _gone = TRAFFIC_CHAINS.remove(&tgid);
        return true;
    }
    // SAFETY: as above.
    unsafe { head.write(next as u64) };
    false
}

/// Reports an entry's totals, unless it is empty, and that its descriptor is closed if it `closes`; whether it did.
#[inline(always)]
fn tell(entry: *mut Traffic, number: u32, facts: Facts, closes: bool) -> bool {
    // SAFETY: a live map value.
    let traffic = unsafe { &*entry };
    let used = traffic.reads != 0 || traffic.writes != 0;
    if traffic.descriptor.object.mode == 0 || !used || !is_wanted(kind::TRAFFIC) {
        return false;
    }
    count(|counters| counters.passed += 1);
    let flags = facts.flags | traffic.flags as u16;
    let argument = [told_number(number), closes as u64, 0];
    emit(traffic, Facts { kind: kind::TRAFFIC, flags, argument, ..facts });
    true
}

/// The number that `argument[0]` tells: none for an entry that is kept by inode.
#[inline(always)]
fn told_number(number: u32) -> u64 {
    if number & BY_INODE != 0 { UNKNOWN_NUMBER } else { number as u64 }
}

#[inline(always)]
fn emit(traffic: &Traffic, facts: Facts) {
    let Some(record) = scratch::<TrafficRecord>() else { return };
    // SAFETY: the scratch memory has room for exactly this type; all of it is written. Field by
    // field, because a whole record would first be built on the stack.
    unsafe {
        (&raw mut (*record).header).write(header(facts));
        let words = (&raw const traffic.descriptor).cast::<u64>();
        let to = (&raw mut (*record).descriptor).cast::<u64>();
        let mut index = 0;
        while index < size_of::<Descriptor>() / 8 {
            to.add(index).write(words.add(index).read());
            index += 1;
        }
        (&raw mut (*record).received).write(traffic.received);
        (&raw mut (*record).sent).write(traffic.sent);
        (&raw mut (*record).reads).write(traffic.reads);
        (&raw mut (*record).writes).write(traffic.writes);
        (&raw mut (*record).class).write(traffic.class);
        (&raw mut (*record).reserved).write([0; 3]);
    }
    // Of a secret, perhaps.
    let urgent = facts.kind == kind::SENT && is_tainted(current_ids().0);
    send(record, urgent);
}
