//! Bytes through descriptors: which are added up, in the kernel, and which are told, and when.

use sentinel_ipc::{
    kernel_abi::{Descriptor, Socket, TrafficRecord, class, flag, kind},
    kernel_fields::Field,
};

use crate::{
    atomic,
    descriptor::{S_IFIFO, S_IFMT, S_IFSOCK, identity_of},
    emit::{Facts, header, scratch, send},
    exchange, file_class,
    kernel::{Address, Piece, forget, now},
    pid::current_ids,
    plain_files,
    quiet_traffic::{self, Of},
    scope::{class_of, count, is_tainted, is_wanted, taint},
    totals::{
        CHAIN_STEPS, FRESH, NUMBER, TRAFFIC, TRAFFIC_CHAINS, Traffic, TrafficKey, collect, entry_of,
    },
};

/// include/linux/net.h
const SOCK_STREAM: u16 = 1;
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
    let may_matter = may_matter(class_of(share.tgid));
    if !is_counted() || !may_matter && plain_files::has(share.tgid, share.number) {
        return;
    }
    let key = TrafficKey { tgid: share.tgid, number: share.number };
    let found = TRAFFIC.get_ptr_mut(&key);
    // Who gives an address with a connection may connect by that.
    let has_remote = share.remote.family != 0;
    if found.is_none()
        && !may_matter
        && !has_remote
        && is_quiet(share.file)
        && quiet_traffic::begin(share.tgid, share.number, share.file)
        && quiet_traffic::add(share.tgid, share.number, share.way, share.bytes as i64)
    {
        return;
    }
    let Some(entry) = entry_of(found, &key, share.file, facts) else {
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
        if file_class::is_secret(traffic.class) {
            taint(share.tgid, now());
        }
        if !may_matter && is_told_for_now(traffic) {
            quiet_traffic::begin(share.tgid, share.number, share.file);
        }
        return;
    }
    // SAFETY: as above.
    unsafe { atomic::add(&raw mut traffic.sent, share.bytes) };
    traffic.writes += 1;
    if !is_socket(traffic) || !is_wanted(kind::SENT) {
        if !may_matter && is_told_for_now(traffic) {
            quiet_traffic::begin(share.tgid, share.number, share.file);
        }
        return;
    }
    let elsewhere = goes_elsewhere(&traffic.descriptor.socket, &share.remote);
    let first = traffic.records == 0 && (has_remote || is_first_told(&traffic.descriptor.socket));
    // Whoever sends may have what was read, and what was sent before that is something else.
    let fresh = !first && exchange::is_secret_about(traffic.reported_at);
    let tainted = is_tainted(share.tgid);
    if !first && !elsewhere && !fresh && !tainted {
        traffic.reported = traffic.sent;
        traffic.reported_writes = traffic.writes;
        if !may_matter {
            quiet_traffic::begin(share.tgid, share.number, share.file);
        }
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

/// Whether a secret could be among what a process of this class moves.
#[inline(always)]
pub fn may_matter(class: u8) -> bool {
    class & class::TAINTED != 0 || exchange::is_secret_about(0)
}

/// Whether nothing is told of what goes through such a file, as long as that cannot matter: a connection, whose ends
/// are known from its beginning, or a pipe.
#[inline(always)]
fn is_quiet(file: Address) -> bool {
    if is_wanted(kind::ALL_TRAFFIC) {
        return false;
    }
    let object = identity_of(&Piece::nothing(file.follow(Field::FileInode)));
    match object.mode & S_IFMT {
        S_IFSOCK => {
            let sock = file.follow(Field::FilePrivateData).follow(Field::SocketSock);
            sock.read::<u16>(Field::SockType) == SOCK_STREAM
        }
        S_IFIFO => file_class::known(&object).always() == 0,
        _ => false,
    }
}

/// Whether no record is due of what goes through it, as long as that cannot matter.
#[inline(always)]
fn is_told_for_now(traffic: &Traffic) -> bool {
    let is_pipe = traffic.descriptor.object.mode & S_IFMT == S_IFIFO;
    let is_told = || traffic.records != 0 || !is_first_told(&traffic.descriptor.socket);
    traffic.class == 0 && (is_pipe || is_socket(traffic) && is_told())
}

/// Whether the first send through such a socket is told in any case. Who it goes to through a connection is known from
/// its beginning.
#[inline(always)]
fn is_first_told(socket: &Socket) -> bool {
    socket.kind != SOCK_STREAM || is_wanted(kind::ALL_TRAFFIC)
}

#[inline(always)]
fn is_socket(traffic: &Traffic) -> bool {
    traffic.descriptor.object.mode & S_IFMT == S_IFSOCK
}

/// Tells a send whose descriptor has no entry: to have many descriptors is no way to be silent.
#[inline(always)]
fn tell_alone(share: &Share, facts: Facts) {
    let Some(fresh) = FRESH.get_ptr_mut(0) else { return };
    // SAFETY: a live map value of this CPU, which `entry_of` has just filled.
    let traffic = unsafe { &mut *fresh };
    if share.way == Way::In || !is_socket(traffic) || !is_wanted(kind::SENT) {
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

/// Descriptor `number` is closed, or means something else. Whether it was told that it is closed, with the totals.
#[inline(always)]
pub fn end(tgid: u32, number: u32, facts: Facts) -> bool {
    let key = TrafficKey { tgid, number };
    let found = if is_counted() { TRAFFIC.get_ptr_mut(&key) } else { None };
    if let Some(entry) = found {
        collect(&key, entry, Of::AnyEpoch);
    }
    quiet_traffic::end(tgid, number);
    let Some(entry) = found else { return false };
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
        collect(&key, entry, Of::AnyEpoch);
        quiet_traffic::end(tgid, key.number);
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
pub fn tell(entry: *mut Traffic, number: u32, facts: Facts, closes: bool) -> bool {
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
