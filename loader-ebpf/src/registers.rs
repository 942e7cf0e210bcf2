//! A system call's number, ABI and arguments, from the registers that `sys_exit` hands over.
//!
//! `struct pt_regs` of x86-64 (arch/x86/include/asm/ptrace.h), as 64-bit words: r15 r14 r13 r12 bp
//! bx r11 r10 r9 r8 ax cx dx si di orig_ax …

use sentinel_ipc::kernel_abi::{Field, SYSCALLS_PER_ABI, abi};

use crate::kernel::{Task, has};

const R10: usize = 7;
const DX: usize = 12;
const SI: usize = 13;
const DI: usize = 14;
const ORIG_AX: usize = 15;
/// `TS_COMPAT` (arch/x86/include/asm/thread_info.h): the current call is a 32-bit one.
const THREAD_STATUS_COMPAT: u32 = 2;

/// The registers at the end of a system call; arguments are still as the caller set them.
pub struct Registers(pub *const u64);

impl Registers {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        // SAFETY: the tracepoint's first argument is a pt_regs, and the verifier checks the offset.
        unsafe { self.0.add(index).read() }
    }

    /// Index into the syscall table and the ABI; `None` for a number that has no place there (x32
    /// numbers carry a high bit).
    #[inline(always)]
    pub fn table_index(&self) -> Option<(usize, u8)> {
        // The kernel itself looks at the lower half only (do_syscall_64).
        let number = self.word(ORIG_AX) as u32 as usize;
        if number >= SYSCALLS_PER_ABI {
            return None;
        }
        let compat = has(Field::TaskThreadStatus)
            && Task::current().read::<u32>(Field::TaskThreadStatus) & THREAD_STATUS_COMPAT != 0;
        if compat {
            Some((number + SYSCALLS_PER_ABI, abi::COMPAT))
        } else {
            Some((number, abi::NATIVE))
        }
    }

    /// First argument of a native call.
    #[inline(always)]
    pub fn first(&self) -> u64 {
        self.word(DI)
    }

    /// Second argument of a native call.
    #[inline(always)]
    pub fn second(&self) -> u64 {
        self.word(SI)
    }

    /// Third argument of a native call.
    #[inline(always)]
    pub fn third(&self) -> u64 {
        self.word(DX)
    }

    /// Fourth argument of a native call.
    #[inline(always)]
    pub fn fourth(&self) -> u64 {
        self.word(R10)
    }
}
