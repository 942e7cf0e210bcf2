//! Files by which one process can hand data to another: fifos, shared memory, and what is read soon after it
//! was written.

use aya_ebpf::{macros::map, maps::LruHashMap};
use sentinel_ipc::{
    file_class::class,
    kernel_abi::{Object, ObjectKey, WRITTEN_ENTRIES, kind},
};

use crate::{
    descriptor::{S_IFIFO, S_IFMT, S_IFREG},
    emit::Facts,
    file_class::{key_of, may_read, may_write},
    kernel::ticks,
    scope::{is_tainted, is_wanted_class},
};

const MAP_SHARED: u64 = 1;
const PROT_WRITE: u64 = 2;

/// Files that were opened or mapped to be written; the oldest make room.
#[map]
static WRITTEN: LruHashMap<ObjectKey, u64> = LruHashMap::with_max_entries(WRITTEN_ENTRIES, 0);

/// How long after it was read a secret is looked for, ticks; the loader overwrites it before the load.
#[unsafe(no_mangle)]
static SECRET_WINDOW_TICKS: u64 = 0;

/// When a secret was read last: by CLOCK_BOOTTIME, ns, and in ticks, since to look at a clock at each read and write
/// of everybody costs more than all else of it. A variable, as `CONTROL`.
#[unsafe(link_section = ".bss.secret_read")]
#[unsafe(no_mangle)]
static mut SECRET_READ: [u64; 2] = [0; 2];

/// A secret was read at `time` (CLOCK_BOOTTIME, ns).
#[inline(always)]
pub fn secret_was_read(time: u64) {
    let at = (&raw mut SECRET_READ).cast::<u64>();
    // SAFETY: two aligned words, which all CPUs write whole; who sees the first sees the second.
    unsafe {
        at.add(1).write_volatile(ticks());
        // Another CPU may have been delayed between its clock and here.
        at.write_volatile(time.max(at.read_volatile()));
    }
}

/// Whether one was read after `time` (CLOCK_BOOTTIME, ns), and so lately that somebody may have its data.
#[inline(always)]
pub fn is_secret_about(time: u64) -> bool {
    let at = (&raw const SECRET_READ).cast::<u64>();
    // SAFETY: as above.
    let (read, tick) = unsafe { (at.read_volatile(), at.add(1).read_volatile()) };
    // SAFETY: a constant. Volatile, because the compiler would otherwise fold in the initial value.
    let window = unsafe { (&raw const SECRET_WINDOW_TICKS).read_volatile() };
    // Another CPU may be a tick ahead.
    read > time && ticks().saturating_sub(tick) <= window
}

/// Whether an open or a mapping by `tgid` is told because data may go through the file: of a fifo, of memory
/// that is shared and written; of a file that is written by who has read a secret, or that was written and is
/// read while there is a secret about.
#[inline(always)]
pub fn is_told(facts: &Facts, object: &Object, open_flags: u32, tgid: u32) -> bool {
    if !is_wanted_class(class::EXCHANGE) {
        return false;
    }
    let [_, protection, flags] = facts.argument;
    let is_open = facts.kind == kind::OPEN;
    let is_shared = facts.kind == kind::MAP && flags & MAP_SHARED != 0;
    match object.mode & S_IFMT {
        S_IFIFO => is_open,
        S_IFREG if is_open || is_shared => {
            let key = key_of(object);
            let writes = if is_open { may_write(open_flags) } else { protection & PROT_WRITE != 0 };
            if writes {
                let _full = WRITTEN.insert(&key, &0, 0);
                return is_shared || is_tainted(tgid) && is_secret_about(0);
            }
            let is_asked = is_shared || may_read(open_flags) && is_secret_about(0);
            // SAFETY: nothing of the value is looked at.
            is_asked && unsafe { WRITTEN.get(&key) }.is_some()
        }
        _ => false,
    }
}
