//! Puts records into a ring and fills what all of them have in common.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated as helpers,
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use sentinel_ipc::{
    kernel_abi::{NO_CALL, PathRecord, RecordHeader, control, flag, kind, ring},
    kernel_fields::Field,
};

use crate::{
    kernel::{Task, current_cgroup_id, forget, now},
    pid::current_ids,
    scope::{control_value, count, is_tainted},
};

#[map]
static ALERT: RingBuf = RingBuf::with_byte_size(ring::ALERT_BYTES, 0);

#[map]
static TELEMETRY: RingBuf = RingBuf::with_byte_size(ring::TELEMETRY_BYTES, 0);

/// How full a ring may get before the loader is woken that looks by itself, one part in so many.
const WAKE_AT: u64 = 4;
/// For how many bytes beyond each record wakes it: in the ring for telemetry so many that one does although several
/// CPUs write at once; in the other, of which nothing may be lost, all.
const WAKE_FOR: [u64; 2] = {
    let mut bytes = [0; 2];
    bytes[ring::ALERT] = u64::MAX;
    bytes[ring::TELEMETRY] = 1 << 16;
    bytes
};

// include/uapi/linux/bpf.h
const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const BPF_RB_AVAIL_DATA: u64 = 0;

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
        let again = |value: u64| forget(value, unknown);
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

/// Whether records of `kind` go to those that verdicts rest on, whatever else they tell.
#[inline(always)]
pub fn is_urgent(kind: u16) -> bool {
    let bits = if kind < 64 { kind::URGENT[0] } else { kind::URGENT[1] };
    bits >> (kind & 63) & 1 != 0
}

/// Puts a copy of `record` into the ring for what is urgent or the one for what is not, or counts
/// that there was no room.
#[inline(always)]
pub fn send<T: 'static>(record: *const T, urgent: bool) {
    put(record, urgent, false);
}

/// The same of what is urgent; if `at_once`, it wakes the loader although others are told together.
#[inline(always)]
pub fn send_urgent<T: 'static>(record: *const T, at_once: bool) {
    put(record, true, at_once);
}

#[inline(always)]
fn put<T: 'static>(record: *const T, urgent: bool, at_once: bool) {
    let record = record.cast::<c_void>().cast_mut();
    let bytes = size_of::<T>() as u64;
    let (index, sent) = if urgent {
        let wakes = if control_value(control::TOGETHER) == 0 {
            0
        } else if at_once {
            BPF_RB_FORCE_WAKEUP
        } else {
            wakes_if_full(&ALERT, ring::ALERT_BYTES, WAKE_FOR[ring::ALERT])
        };
        // SAFETY: `record` is a whole T, as the verifier proves; the helper copies it.
        let sent = unsafe { helpers::bpf_ringbuf_output(pointer(&ALERT), record, bytes, wakes) };
        (ring::ALERT, sent)
    } else {
        let wakes = wakes_if_full(&TELEMETRY, ring::TELEMETRY_BYTES, WAKE_FOR[ring::TELEMETRY]);
        // SAFETY: as above.
        let sent =
            unsafe { helpers::bpf_ringbuf_output(pointer(&TELEMETRY), record, bytes, wakes) };
        (ring::TELEMETRY, sent)
    };
    count(|counters| {
        if sent == 0 {
            counters.emitted[index] += 1;
        } else {
            counters.dropped[index] += 1;
        }
    });
}

/// What has a record of a ring of so many `bytes` wake the loader once there is much in it, and not before; nor
/// when there are more than so many bytes `beyond`.
#[inline(always)]
fn wakes_if_full(ring: &'static RingBuf, bytes: u32, beyond: u64) -> u64 {
    // SAFETY: a map of this object.
    let waiting = unsafe { helpers::bpf_ringbuf_query(pointer(ring), BPF_RB_AVAIL_DATA) };
    let enough = bytes as u64 / WAKE_AT;
    let wakes = waiting >= enough && waiting - enough < beyond;
    if wakes { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }
}

#[inline(always)]
fn pointer(ring: &'static RingBuf) -> *mut c_void {
    (&raw const *ring).cast_mut().cast()
}

/// The header of an event of the current task.
#[inline(always)]
pub fn header(facts: Facts) -> RecordHeader {
    header_at(now(), facts)
}

/// The same, for who has looked at the clock already: `timestamp` is CLOCK_BOOTTIME, ns.
#[inline(always)]
pub fn header_at(timestamp: u64, facts: Facts) -> RecordHeader {
    let (tgid, tid) = current_ids();
    let task = Task::current();
    let leaders = task.follow(Field::TaskGroupLeader).follow(Field::TaskFiles);
    let own_files = task.follow(Field::TaskFiles) != leaders;
    // Forgotten one by one, so that their combinations are not walked each.
    let flag = |set: bool, flag: u16| forget(if set { flag } else { 0 }, facts.result as u64);
    let flags = facts.flags
        | flag(own_files, flag::PRIVATE_FILES)
        | flag(is_tainted(tgid), flag::TAINTED)
        | flag(task.has_own_pids(), flag::FOREIGN_PIDS);
    let credentials = task.follow(Field::TaskCred);
    RecordHeader {
        timestamp,
        start_time: task.start_time(),
        cgroup_id: current_cgroup_id(),
        result: facts.result,
        argument: facts.argument,
        tgid,
        tid,
        uid: credentials.read(Field::CredUid),
        euid: credentials.read(Field::CredEuid),
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
    let header = header(facts);
    send(&raw const header, is_urgent(facts.kind));
}
