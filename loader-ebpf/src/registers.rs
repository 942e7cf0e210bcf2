//! A system call's number, ABI and arguments, from the registers that `sys_exit` hands over.
//!
//! `struct pt_regs` of x86-64 (arch/x86/include/asm/ptrace.h), as 64-bit words: r15 r14 r13 r12 bp
//! bx r11 r10 r9 r8 ax cx dx si di orig_ax …

use sentinel_ipc::kernel_abi::{Field, SYSCALLS_PER_ABI, abi};

use crate::kernel::{Task, has};

/// Where the first four arguments of a native call stand: di, si, dx, r10.
const NATIVE_ARGUMENTS: [usize; 4] = [14, 13, 12, 7];
/// The same of a 32-bit call: bx, cx, dx, si.
const COMPAT_ARGUMENTS: [usize; 4] = [5, 11, 12, 13];
const ORIG_AX: usize = 15;
/// `TS_COMPAT` (arch/x86/include/asm/thread_info.h): the current call is a 32-bit one.
const THREAD_STATUS_COMPAT: u32 = 2;

/// The registers at the end of a system call; arguments are still as the caller set them.
pub struct Registers {
    words: *const u64,
    /// One of the values in [`abi`].
    pub abi: u8,
}

impl Registers {
    /// The registers that `sys_exit` hands over.
    #[inline(always)]
    pub fn new(words: *const u64) -> Self {
        let compat = has(Field::TaskThreadStatus)
            && Task::current().read::<u32>(Field::TaskThreadStatus) & THREAD_STATUS_COMPAT != 0;
        Self { words, abi: if compat { abi::COMPAT } else { abi::NATIVE } }
    }

    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        // SAFETY: the tracepoint's first argument is a pt_regs, and the verifier checks the offset.
        unsafe { self.words.add(index).read() }
    }

    /// Index into the syscall table; `None` for a number that has no place there (x32 numbers carry
    /// a high bit).
    #[inline(always)]
    pub fn table_index(&self) -> Option<usize> {
        // The kernel itself looks at the lower half only (do_syscall_64).
        let number = self.word(ORIG_AX) as u32 as usize;
        if number >= SYSCALLS_PER_ABI {
            return None;
        }
        Some(number + SYSCALLS_PER_ABI * self.abi as usize)
    }

    /// The first four arguments.
    #[inline(always)]
    pub fn arguments(&self) -> [u64; 4] {
        if self.abi == abi::COMPAT {
            let [a, b, c, d] = COMPAT_ARGUMENTS;
            let half = |index| self.word(index) as u32 as u64;
            [half(a), half(b), half(c), half(d)]
        } else {
            let [a, b, c, d] = NATIVE_ARGUMENTS;
            [self.word(a), self.word(b), self.word(c), self.word(d)]
        }
    }
}
