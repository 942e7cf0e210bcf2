//! A system call that is wanted, as every family's program sees it.

use aya_ebpf::programs::BtfTracePointContext;
use sentinel_ipc::kernel_abi::{SYSCALLS as ROWS, SyscallTable, abi, flag, kind};

use crate::{
    emit::Facts,
    kernel::{Task, copy_user, forget, opaque},
    registers::Registers,
    scope,
};

/// Kinds by number and ABI: a variable, which costs no look-up. The loader fills it.
#[unsafe(link_section = ".bss.syscalls")]
#[unsafe(no_mangle)]
static mut SYSCALLS: SyscallTable = [0; ROWS];

/// A call, and the facts that its records share.
#[derive(Clone, Copy)]
pub struct Call {
    /// Kind, ABI, number and result; arguments and flags are for the family to set.
    pub facts: Facts,
    /// As the caller set them.
    pub arguments: [u64; 6],
}

/// The syscall table's row for a number: 0 if nothing is to be done about any such call.
#[inline(always)]
pub fn row_of(number: u32) -> u32 {
    let index = (number as usize).min(ROWS - 1);
    // SAFETY: below the table's length. Volatile, because nothing in the object writes it.
    unsafe { (&raw const SYSCALLS).cast::<u32>().add(index).read_volatile() }
}

/// Kind of the calls of an ABI in a row; 0 if they are not monitored.
#[inline(always)]
pub fn kind_in(row: u32, abi: u8) -> u16 {
    (row >> (8 * abi as u32)) as u8 as u16
}

/// Kind of the call in `registers`; 0 if it is not monitored.
#[inline(always)]
pub fn kind_of(registers: Registers) -> u16 {
    kind_in(row_of(registers.number), registers.abi)
}

impl Call {
    /// The call that a `sys_exit` context tells of.
    #[inline(always)]
    pub fn of(context: &BtfTracePointContext) -> Self {
        let registers = Registers::of(Task::current(), context.arg(0));
        let facts = Facts {
            kind: kind_of(registers),
            call: registers.number as u16,
            abi: registers.abi,
            result: context.arg(1),
            ..Facts::default()
        };
        let call = Self { facts, arguments: registers.arguments() };
        let call = if facts.kind == kind::SOCKETCALL { call.unpacked() } else { call };
        // What comes next is verified once, not once for each way to here.
        let unknown = facts.result as u64;
        let arguments = call.arguments.map(|value| forget(value, unknown));
        Self { facts: call.facts.forgotten(unknown), arguments }
    }

    /// A 32-bit socketcall(2) as the call that it is: the first argument is its number, the second
    /// tells where its arguments stand. Of kind 0 if it is not monitored or cannot be read.
    #[inline(always)]
    fn unpacked(self) -> Self {
        let [number, at, ..] = self.arguments;
        // include/uapi/linux/net.h, and net/socket.c for how many arguments each has.
        let (kind, count) = match number {
            1 => (kind::SOCKET, 3),
            2 => (kind::BIND, 3),
            3 => (kind::CONNECT, 3),
            4 => (kind::LISTEN, 2),
            5 => (kind::ACCEPT, 3),
            8 => (kind::SOCKETPAIR, 4),
            9 => (kind::WRITE, 4),
            10 | 12 => (kind::READ, 4),
            11 => (kind::SENDTO, 6),
            16 => (kind::SENDMSG, 3),
            17 => (kind::RECVMSG, 3),
            18 => (kind::ACCEPT, 4),
            19 => (kind::RECVMMSG, 4),
            20 => (kind::SENDMMSG, 4),
            _ => (0, 0),
        };
        let mut halves = [0_u32; 6];
        let bytes = opaque(4 * count) & 31;
        if bytes > 24 || !copy_user((&raw mut halves).cast(), bytes, at) {
            scope::count(|counters| counters.unreadable += 1);
            return Self { facts: self.as_kind(0), ..self };
        }
        let [a, b, c, d, e, f] = halves;
        let arguments = [a as u64, b as u64, c as u64, d as u64, e as u64, f as u64];
        // The caller may have changed them meanwhile.
        Self { facts: Facts { flags: flag::RACY, ..self.as_kind(kind) }, arguments }
    }

    /// Whether pointers and sizes in the caller's structures have four bytes.
    #[inline(always)]
    pub fn has_small_pointers(&self) -> bool {
        self.facts.abi != abi::NATIVE
    }

    /// The facts with another kind.
    #[inline(always)]
    pub fn as_kind(&self, kind: u16) -> Facts {
        Facts { kind, ..self.facts }
    }
}
