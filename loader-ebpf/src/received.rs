//! Descriptors that came with a message (SCM_RIGHTS): each one is told as the kernel holds it.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::PerCpuArray,
    programs::BtfTracePointContext,
};
use sentinel_ipc::kernel_abi::{kind, stage};

use crate::{
    call::Call,
    descriptor,
    emit::Facts,
    kernel::{copy_user, forget},
    message::{Control, Message, control_alignment, control_header},
    pid::current_ids,
    plain_files, quiet_traffic,
    scope::{count, is_wanted},
    syscall::FAMILIES,
};

const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
/// Descriptors that one run tells. The kernel lets a program begin anew 33 times: together what one
/// message can carry (`SCM_MAX_FD` = 253).
const STEPS: usize = 9;

/// Steps to the next message or control message that one run takes.
const TRANSITIONS: usize = 4;

/// The search of the call under way.
#[map]
static WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(1, 0);

/// Begins a search; what runs next is [`received`].
#[inline(always)]
pub fn begin() {
    if let Some(walk) = WALK.get_ptr_mut(0) {
        // SAFETY: a live map value of this CPU.
        unsafe { walk.write(Walk { message: 0, control: 0, end: 0, descriptor: 0, left: 0 }) };
    }
}

/// Runs in the place of `sys_exit`, behind the count of the bytes.
#[btf_tracepoint(function = "sys_exit")]
pub fn received(context: BtfTracePointContext) -> i32 {
    let call = Call::of(&context);
    let Some(walk) = WALK.get_ptr_mut(0) else { return 0 };
    // SAFETY: a live map value of this CPU.
    let walk = unsafe { &mut *walk };
    if !is_wanted(kind::RECEIVED) {
        return 0;
    }
    let small = call.has_small_pointers();
    let stride = match (call.facts.kind == kind::RECVMMSG, small) {
        (false, _) => 0,
        (true, true) => 32,
        (true, false) => 64,
    };
    let messages = if stride == 0 { 1 } else { call.facts.result as u64 };
    // What comes next is verified once, not once for each form of the call.
    let forget = |value: u64| forget(value, call.facts.result as u64);
    let (small, stride, messages) =
        (forget(small as u64) & 1 != 0, forget(stride), forget(messages));
    for _ in 0..TRANSITIONS {
        if walk.left == 0 {
            if walk.control != 0 {
                walk.look(small);
            } else if walk.message < messages {
                walk.enter(call.arguments[1] + walk.message * stride, small);
            } else {
                return 0;
            }
        }
    }
    for _ in 0..STEPS {
        if walk.left == 0 {
            break;
        }
        walk.left -= 1;
        tell(call.facts, call.arguments[0], walk.descriptor);
        walk.descriptor += 4;
    }
    // SAFETY: as in `syscall`. Comes back when it has begun anew too often.
    unsafe { FAMILIES.tail_call(&context, stage::RECEIVED) };
    // Who sends so many small control messages hides something; that it was not told is counted.
    count(|counters| counters.unreadable += 1);
    0
}

/// Where the search for descriptors is.
#[repr(C)]
struct Walk {
    /// Index of the next message.
    message: u64,
    /// Address of the next control message; 0 between messages.
    control: u64,
    /// Where this message's control messages end.
    end: u64,
    /// Address of the next descriptor.
    descriptor: u64,
    /// Descriptors that are left of this control message.
    left: u64,
}

impl Walk {
    #[inline(always)]
    fn enter(&mut self, at: u64, small: bool) {
        self.message += 1;
        let Some(message) = Message::at(at, small) else {
            count(|counters| counters.unreadable += 1);
            return;
        };
        if message.control_length >= control_header(small) {
            self.control = message.control;
            self.end = message.control.wrapping_add(message.control_length);
        }
    }

    #[inline(always)]
    fn look(&mut self, small: bool) {
        let found = Control::at(self.control, small);
        let header = control_header(small);
        if found.length < header {
            // Cut short, or changed meanwhile.
            count(|counters| counters.unreadable += 1);
            self.control = 0;
            return;
        }
        if found.level == SOL_SOCKET && found.kind == SCM_RIGHTS {
            self.descriptor = self.control + header;
            self.left = (found.length - header) / 4;
        }
        let alignment = control_alignment(small);
        self.control += (found.length + alignment - 1) & !(alignment - 1);
        if self.control + header > self.end {
            self.control = 0;
        }
    }
}

#[inline(always)]
fn tell(facts: Facts, socket: u64, at: u64) {
    let mut number = 0_u32;
    if !copy_user((&raw mut number).cast(), 4, at) {
        count(|counters| counters.unreadable += 1);
        return;
    }
    plain_files::end(current_ids().0, number);
    quiet_traffic::end(current_ids().0, number);
    count(|counters| counters.passed += 1);
    let argument = [number as u64, socket, 0];
    descriptor::emit(Facts { kind: kind::RECEIVED, argument, ..facts }, number);
}
