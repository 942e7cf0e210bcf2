//! Puts records into the ring and fills what all of them have in common.

use aya_ebpf::{
    macros::map,
    maps::{RingBuf, ring_buf::RingBufEntry},
};
use sentinel_ipc::kernel_abi::{Field, RecordHeader, flag};

use crate::{
    kernel::{Task, current_cgroup_id, current_ids, current_uid, now},
    scope::count,
};

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 22, 0);

/// What a hook knows about its event before the record is filled.
#[derive(Clone, Copy, Default)]
pub struct Facts {
    pub kind: u16,
    pub abi: u8,
    pub flags: u8,
    pub result: i64,
    pub argument: [u64; 2],
}

/// Reserves a record that begins with a header; `None`, counted, when the ring is full.
#[inline(always)]
pub fn reserve<T: 'static>() -> Option<RingBufEntry<T>> {
    let entry = EVENTS.reserve::<T>(0);
    count(|counters| match entry {
        Some(_) => counters.emitted += 1,
        None => counters.dropped += 1,
    });
    entry
}

/// The header of an event of the current task.
#[inline(always)]
pub fn header(facts: Facts) -> RecordHeader {
    let (tgid, tid) = current_ids();
    let task = Task::current();
    let leaders = task.follow(Field::TaskGroupLeader).follow(Field::TaskFiles);
    let own_files = if task.follow(Field::TaskFiles) == leaders { 0 } else { flag::PRIVATE_FILES };
    RecordHeader {
        timestamp: now(),
        start_time: task.start_time(),
        cgroup_id: current_cgroup_id(),
        result: facts.result,
        argument: facts.argument,
        tgid,
        tid,
        uid: current_uid(),
        kind: facts.kind,
        abi: facts.abi,
        flags: facts.flags | own_files,
    }
}

/// Emits an event that is told by its header alone.
#[inline(always)]
pub fn plain(facts: Facts) {
    if let Some(mut entry) = reserve::<RecordHeader>() {
        entry.write(header(facts));
        entry.submit(0);
    }
}
