//! How soon a process has its turn at a processor once it is woken.
#![expect(unsafe_code, reason = "sched_setattr(2) has no function of its own")]

use libc::{SCHED_OTHER, SYS_sched_getattr, SYS_sched_setattr, sched_attr, syscall};

/// The shortest turn that Linux gives, from 6.12 on, ns.
const SHORTEST: u64 = 100_000;

/// Asks for short turns of the calling thread: who is woken for one need not wait until somebody else's is over, which
/// lasts about 3 ms. Its share of the processors is the same. Where the kernel is older, or a sandbox
/// refuses, nothing changes.
pub fn ask_for_short_ones() {
    let mut attributes = sched_attr {
        size: 0,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    let bytes = size_of::<sched_attr>();
    // SAFETY: it writes no more than so many bytes.
    let found = unsafe { syscall(SYS_sched_getattr, 0, &raw mut attributes, bytes, 0) };
    // Else the word means something else.
    if found == 0 && i32::try_from(attributes.sched_policy) == Ok(SCHED_OTHER) {
        attributes.sched_runtime = SHORTEST;
        // SAFETY: it reads as many bytes as they say they have.
        let _refused = unsafe { syscall(SYS_sched_setattr, 0, &raw const attributes, 0) };
    }
}
