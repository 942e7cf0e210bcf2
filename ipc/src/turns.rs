//! How soon a process has its turns at a processor.
#![expect(unsafe_code, reason = "sched_setattr(2) has no function of its own")]

use libc::{SCHED_OTHER, SYS_sched_getattr, SYS_sched_setattr, sched_attr, syscall};

/// The shortest turn that Linux gives, from 6.12 on, ns.
const SHORTEST: u64 = 100_000;
/// What the units say as well (`Nice=`).
const NICE: i32 = -5;

/// Asks for short turns of the calling thread: who is woken for one need not wait until somebody else's is over, which
/// lasts about 3 ms. Where it may and nobody has said how nice it is to be, also for precedence: about three times the
/// share of others when processors are short. Where the kernel is older, or a sandbox refuses, nothing changes.
pub fn ask_for_early_ones() {
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
        let own = attributes.sched_nice;
        for nice in [if own == 0 { NICE } else { own }, own] {
            attributes.sched_nice = nice;
            // SAFETY: it reads as many bytes as they say they have.
            if unsafe { syscall(SYS_sched_setattr, 0, &raw const attributes, 0) } == 0 {
                return;
            }
        }
    }
}
