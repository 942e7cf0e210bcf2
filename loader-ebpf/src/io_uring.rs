//! What io_uring does for a process: no system call tells of it. Completions run as the process
//! itself, as its workers or as its polling thread, which all belong to its thread group and share
//! its descriptors.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::ProgramArray,
    programs::BtfTracePointContext,
};
use sentinel_ipc::{
    kernel_abi::{class, flag, kind, ring_completion},
    kernel_fields::Field,
};

use crate::{
    descriptor::{self, Table},
    emit::{Facts, plain},
    fields::has,
    file_class, file_event,
    kernel::Address,
    pid::current_ids,
    plain_files,
    scope::{class_of, count, is_reported, is_reporting, is_wanted},
    traffic::{self, BY_INODE, Remote, Share, UNKNOWN_NUMBER, Way, account},
};

/// How this kernel's `io_uring_complete` tells the result; the loader finds out from BTF.
#[unsafe(no_mangle)]
static RING_COMPLETION: u32 = 0;

// `enum io_uring_op` (include/uapi/linux/io_uring.h).
const READV: u8 = 1;
const WRITEV: u8 = 2;
const READ_FIXED: u8 = 4;
const WRITE_FIXED: u8 = 5;
const SENDMSG: u8 = 9;
const RECVMSG: u8 = 10;
const ACCEPT: u8 = 13;
const CONNECT: u8 = 16;
const OPENAT: u8 = 18;
const CLOSE: u8 = 19;
const READ: u8 = 22;
const WRITE: u8 = 23;
const SEND: u8 = 26;
const RECV: u8 = 27;
const OPENAT2: u8 = 28;
const SOCKET: u8 = 45;
const SEND_ZC: u8 = 47;
const SENDMSG_ZC: u8 = 48;
const READ_MULTISHOT: u8 = 49;
const BIND: u8 = 56;
const LISTEN: u8 = 57;
const RECV_ZC: u8 = 58;
const READV_FIXED: u8 = 60;
const WRITEV_FIXED: u8 = 61;

/// Programs that run in the place of `io_uring_complete`; the loader fills it.
#[map]
static RING_FAMILIES: ProgramArray = ProgramArray::with_max_entries(3, 0);
/// `REQ_F_CQE_SKIP` (include/linux/io_uring_types.h).
const COMPLETES_SILENTLY: u32 = 1 << 6;
/// `REQ_F_FIXED_FILE`.
const FIXED_FILE: u32 = 1;
/// Place of [`ring_open`].
const RING_OPEN: u32 = 0;
/// Place of [`ring_traffic`].
const RING_TRAFFIC: u32 = 1;
/// Place of [`ring_path`].
const RING_PATH: u32 = 2;

/// A request that is done.
struct Completion {
    /// `struct io_kiocb`; null where there is none (a timeout of the ring's own).
    request: Address,
    opcode: u8,
    result: i64,
}

impl Completion {
    /// What the context tells; see [`RING_COMPLETION`].
    #[inline(always)]
    fn of(context: &BtfTracePointContext) -> Self {
        // SAFETY: a constant of the object, set before the load; volatile, because the compiler
        // would otherwise fold in the initial value.
        let form = unsafe { (&raw const RING_COMPLETION).read_volatile() };
        let (request, result) = if form == ring_completion::IN_ENTRY {
            // Not the entry's: the ring's memory is the caller's as well.
            let request = Address(context.arg(1));
            (request, request.read::<i32>(Field::RingRequestResult) as i64)
        } else if form == ring_completion::IN_ARGUMENT {
            (Address(context.arg(1)), context.arg::<i64>(3) as i32 as i64)
        } else {
            (Address(0), 0)
        };
        Self { request, opcode: request.read(Field::RingRequestOpcode), result }
    }

    #[inline(always)]
    fn facts(&self) -> Facts {
        Facts { result: self.result, flags: flag::IO_URING, ..Facts::default() }
    }

    /// The file that the request is about.
    #[inline(always)]
    fn file(&self) -> Address {
        self.request.follow(Field::RingRequestFile)
    }

    /// Whether `slot` names a place in the ring's own table.
    #[inline(always)]
    fn fills(&self, slot: Field) -> bool {
        has(slot) && self.request.read::<u32>(slot) != 0
    }

    /// The file behind a new descriptor, and the bits in [`flag`] for it; null if it went into the
    /// ring's own table.
    #[inline(always)]
    fn new_file(&self, is_slot: bool) -> (Address, u16) {
        if is_slot {
            return (Address(0), 0);
        }
        let table = Table::current();
        (table.file(self.result as u32), table.flags(self.result as u32))
    }
}

/// The current process, if it is reported. It uses a ring: what that does to its descriptors is not all told.
#[inline(always)]
fn reported() -> Option<u32> {
    let (tgid, _) = current_ids();
    let class = class_of(tgid);
    if !is_reported(class) {
        return None;
    }
    if class & class::SHARES_FILES == 0 {
        plain_files::give_up(tgid);
    }
    Some(tgid)
}

/// `TP_PROTO(struct io_ring_ctx *ctx, void *req, …)`; see [`RING_COMPLETION`].
#[btf_tracepoint(function = "io_uring_complete")]
pub fn io_uring_complete(context: BtfTracePointContext) -> i32 {
    count(|counters| counters.seen += 1);
    let Some(tgid) = reported() else { return 0 };
    let done = Completion::of(&context);
    if done.request.is_null() {
        // One of several completions of a request, which are not told apart.
        count(|counters| counters.unreadable += 1);
        return 0;
    }
    let succeeded = done.result >= 0;
    if done.opcode == CLOSE {
        // A slot of the ring's own table is no descriptor.
        let slot: u32 = done.request.read(Field::RingCloseSlot);
        if succeeded && has(Field::RingCloseNumber) && slot == 0 {
            closed(tgid, done.request.read(Field::RingCloseNumber), done.facts());
        }
        return 0;
    }
    let kind = kind_of(done.opcode);
    let is_slot = match kind {
        kind::OPEN if succeeded => {
            let (file, flags) = done.new_file(done.fills(Field::RingOpenSlot));
            let facts = done.facts();
            let flags = facts.flags | flags;
            let asked: u64 =
                if has(Field::RingOpenFlags) { done.request.read(Field::RingOpenFlags) } else { 0 };
            let argument = [asked & file_class::TRUNCATES as u64, 0, 0];
            file_event::note(Facts { kind, flags, argument, ..facts }, file, file_event::NO_NUMBER);
            // SAFETY: the map holds programs of this very hook only. Does not come back.
            unsafe { RING_FAMILIES.tail_call(&context, RING_OPEN) };
            return 0;
        }
        kind::SOCKET if succeeded => Some(done.fills(Field::RingSocketSlot)),
        kind::ACCEPT if succeeded => Some(done.fills(Field::RingAcceptSlot)),
        kind::CONNECT | kind::BIND | kind::LISTEN => None,
        kind::TRAFFIC | kind::SENT if done.result > 0 => {
            // SAFETY: as above.
            unsafe { RING_FAMILIES.tail_call(&context, RING_TRAFFIC) };
            return 0;
        }
        _ => return 0,
    };
    let (file, flags) = match is_slot {
        Some(is_slot) => done.new_file(is_slot),
        None => (done.file(), 0),
    };
    if !is_wanted(kind) {
        return 0;
    }
    count(|counters| counters.passed += 1);
    let facts = done.facts();
    let argument = [UNKNOWN_NUMBER, 0, 0];
    descriptor::emit_file(Facts { kind, argument, flags: facts.flags | flags, ..facts }, file);
    0
}

#[inline(always)]
fn closed(tgid: u32, number: u32, facts: Facts) {
    let facts = Facts { kind: kind::CLOSE, argument: [number as u64, 0, 0], ..facts };
    if !traffic::end(tgid, number, facts) && is_wanted(kind::CLOSE) {
        count(|counters| counters.passed += 1);
        plain(facts);
    }
}

/// `TP_PROTO(struct io_kiocb *req)`. A request may ask for no completion if it succeeds: what it is
/// about is told when it begins, or that it was one of a kind that is wanted is counted.
#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn io_uring_submit_req(context: BtfTracePointContext) -> i32 {
    let request = Address(context.arg(0));
    if request.read::<u32>(Field::RingRequestFlags) & COMPLETES_SILENTLY == 0 {
        return 0;
    }
    count(|counters| counters.seen += 1);
    if reported().is_none() {
        return 0;
    }
    let facts =
        Facts { flags: flag::IO_URING, argument: [UNKNOWN_NUMBER, 0, 0], ..Facts::default() };
    let kind = kind_of(request.read(Field::RingRequestOpcode));
    if !is_wanted(kind) {
        return 0;
    }
    match kind {
        kind::OPEN => file_event::report_unknown(Facts { kind, ..facts }),
        kind::CONNECT => {
            count(|counters| counters.passed += 1);
            // The request gets its file only when it is done.
            let number: u32 = request.read(Field::RingRequestNumber);
            let fixed = request.read::<u32>(Field::RingRequestFlags) & FIXED_FILE != 0;
            let file = if fixed { Address(0) } else { Table::current().file(number) };
            descriptor::emit_file(Facts { kind, ..facts }, file);
        }
        _ => count(|counters| counters.unreadable += 1),
    }
    0
}

/// `TP_PROTO(void *ctx, …)`: a completion for which the ring has no room; it is not told otherwise.
#[btf_tracepoint(function = "io_uring_cqe_overflow")]
pub fn io_uring_cqe_overflow(_: BtfTracePointContext) -> i32 {
    if reported().is_some() && is_reporting() {
        count(|counters| counters.unreadable += 1);
    }
    0
}

/// The kind of event that a request leads to; 0 if to none that is told.
#[inline(always)]
fn kind_of(opcode: u8) -> u16 {
    match opcode {
        OPENAT | OPENAT2 => kind::OPEN,
        SOCKET => kind::SOCKET,
        ACCEPT => kind::ACCEPT,
        CONNECT => kind::CONNECT,
        BIND => kind::BIND,
        LISTEN => kind::LISTEN,
        CLOSE => kind::CLOSE,
        opcode => match way_of(opcode) {
            Some(Way::In) => kind::TRAFFIC,
            Some(Way::Out) => kind::SENT,
            None => 0,
        },
    }
}

/// Which way a request moves bytes, if it does.
#[inline(always)]
fn way_of(opcode: u8) -> Option<Way> {
    match opcode {
        READV | READ_FIXED | RECVMSG | READ | RECV | READ_MULTISHOT | RECV_ZC | READV_FIXED => {
            Some(Way::In)
        }
        WRITEV | WRITE_FIXED | SENDMSG | WRITE | SEND | SEND_ZC | SENDMSG_ZC | WRITEV_FIXED => {
            Some(Way::Out)
        }
        _ => None,
    }
}

/// Runs in the place of `io_uring_complete`: a file was opened.
#[btf_tracepoint(function = "io_uring_complete")]
pub fn ring_open(context: BtfTracePointContext) -> i32 {
    if file_event::look() {
        // SAFETY: as above. Does not come back.
        unsafe { RING_FAMILIES.tail_call(&context, RING_PATH) };
    }
    0
}

/// Runs in the place of `io_uring_complete`, behind [`ring_open`].
#[btf_tracepoint(function = "io_uring_complete")]
pub fn ring_path(_: BtfTracePointContext) -> i32 {
    file_event::report();
    0
}

/// Runs in the place of `io_uring_complete`: bytes were moved.
#[btf_tracepoint(function = "io_uring_complete")]
pub fn ring_traffic(context: BtfTracePointContext) -> i32 {
    let done = Completion::of(&context);
    let file = done.file();
    let Some(way) = way_of(done.opcode) else { return 0 };
    if file.is_null() {
        return 0;
    }
    let (tgid, _) = current_ids();
    let inode: u64 = file.follow(Field::FileInode).read(Field::InodeNumber);
    let number = BY_INODE | (inode as u32 & 0x3fff_ffff);
    let (bytes, remote) = (done.result as u64, Remote::default());
    let share = Share { tgid, number, file, way, bytes, remote, more_remotes: 0 };
    account(share, done.facts());
    0
}
