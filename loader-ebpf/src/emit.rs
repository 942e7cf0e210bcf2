//! Puts records into the ring and fills what all of them have in common.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated as helpers,
    macros::map,
    maps::{PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};
use sentinel_ipc::{
    kernel_abi::{NO_CALL, PathRecord, RecordHeader, flag},
    kernel_fields::Field,
};

use crate::{
    kernel::{Task, current_cgroup_id, current_ids, current_uid, forget, now},
    scope::{count, is_tainted},
};

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 22, 0);

/// Room for the longest record that is built before it is known whether it is wanted, and 256 bytes
/// that a path's walk asks for behind it.
const SCRATCH_BYTES: usize = 2688;
const _: () = assert!(size_of::<PathRecord>() + 256 <= SCRATCH_BYTES);

/// Programs that use it run with preemption off and do not nest.
#[map]
static SCRATCH: PerCpuArray<[u64; SCRATCH_BYTES / 8]> = PerCpuArray::with_max_entries(1, 0);

/// What a hook knows about its event before the record is filled.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Facts {
    pub kind: u16,
    pub call: u16,
    pub flags: u16,
    pub abi: u8,
    pub result: i64,
    pub argument: [u64; 3],
}

impl Default for Facts {
    #[inline(always)]
    fn default() -> Self {
        Self { kind: 0, call: NO_CALL, flags: 0, abi: 0, result: 0, argument: [0; 3] }
    }
}

impl Facts {
    /// The same, of which the verifier knows nothing any more, so that it walks what comes next once
    /// and not once for each kind of call; see [`forget`].
    #[inline(always)]
    pub fn forgotten(self, unknown: u64) -> Self {
        let [a, b, c] = self.argument;
        let again = |value: u64| forget(value as usize, unknown) as u64;
        Self {
            kind: again(self.kind as u64) as u16,
            flags: again(self.flags as u64) as u16,
            argument: [again(a), again(b), again(c)],
            ..self
        }
    }
}

/// Memory for a record of type `T` that is built first and sent by [`send`]. It holds what the last
/// one left.
#[inline(always)]
pub fn scratch<T>() -> Option<*mut T> {
    const { assert!(size_of::<T>() + 256 <= SCRATCH_BYTES) };
    Some(SCRATCH.get_ptr_mut(0)?.cast())
}

/// Puts a copy of `record` into the ring, or counts that there was no room.
#[inline(always)]
pub fn send<T: 'static>(record: *mut T) {
    // SAFETY: `record` is a whole T, as the verifier proves; the helper copies it.
    let sent = unsafe {
        let ring = (&raw const EVENTS).cast_mut().cast::<c_void>();
        helpers::bpf_ringbuf_output(ring, record.cast(), size_of::<T>() as u64, 0)
    };
    count(|counters| {
        if sent == 0 {
            counters.emitted += 1;
        } else {
            counters.dropped += 1;
        }
    });
}

/// Reserves a record; `None`, counted, when the ring is full.
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
    let own_files = task.follow(Field::TaskFiles) != leaders;
    // Forgotten one by one, so that their combinations are not walked each.
    let flag = |set: bool, flag: u16| {
        forget(if set { flag } else { 0 } as usize, facts.result as u64) as u16
    };
    let flags = facts.flags
        | flag(own_files, flag::PRIVATE_FILES)
        | flag(is_tainted(tgid), flag::TAINTED)
        | flag(task.has_own_pids(), flag::FOREIGN_PIDS);
    RecordHeader {
        timestamp: now(),
        start_time: task.start_time(),
        cgroup_id: current_cgroup_id(),
        result: facts.result,
        argument: facts.argument,
        tgid,
        tid,
        uid: current_uid(),
        euid: task.follow(Field::TaskCred).read(Field::CredEuid),
        kind: facts.kind,
        call: facts.call,
        abi: facts.abi,
        reserved: 0,
        flags,
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
