//! A system call's number, ABI and arguments, from the registers that `sys_exit` hands over.
//!
//! `struct pt_regs` of x86-64 (arch/x86/include/asm/ptrace.h), as 64-bit words: r15 r14 r13 r12 bp
//! bx r11 r10 r9 r8 ax cx dx si di orig_ax …

use sentinel_ipc::{kernel_abi::abi, kernel_fields::Field};

use crate::{fields::has, kernel::Task};

/// Where the arguments of a native call stand: di, si, dx, r10, r8, r9.
const NATIVE_ARGUMENTS: [usize; 6] = [14, 13, 12, 7, 9, 8];
/// The same of a 32-bit call: bx, cx, dx, si, di, bp.
const COMPAT_ARGUMENTS: [usize; 6] = [5, 11, 12, 13, 14, 4];
const AX: usize = 10;
const ORIG_AX: usize = 15;
const ENOSYS: i64 = 38;
/// `TS_COMPAT` (arch/x86/include/asm/thread_info.h): the current call is a 32-bit one.
const THREAD_STATUS_COMPAT: u32 = 2;
/// `__X32_SYSCALL_BIT` (arch/x86/include/uapi/asm/unistd.h).
const X32_BIT: u32 = 0x4000_0000;

#[inline(always)]
fn word_of(words: *const u64, index: usize) -> u64 {
    // SAFETY: a pt_regs, and the verifier checks the offset.
    unsafe { words.add(index).read() }
}

/// The number of the call in registers, whatever its ABI.
#[inline(always)]
pub fn number_in(words: *const u64) -> u32 {
    // The kernel itself looks at the lower half only (do_syscall_64).
    word_of(words, ORIG_AX) as u32 & !X32_BIT
}

/// The registers at the end of a system call; arguments are still as the caller set them.
#[derive(Clone, Copy)]
pub struct Registers {
    words: *const u64,
    /// One of the values in [`abi`].
    pub abi: u8,
    /// The call's number in its ABI.
    pub number: u32,
}

impl Registers {
    /// The registers that `sys_exit` hands over for `task`, or those with which it entered the kernel.
    #[inline(always)]
    pub fn of(task: Task, words: *const u64) -> Self {
        let compat = has(Field::TaskThreadStatus)
            && task.read::<u32>(Field::TaskThreadStatus) & THREAD_STATUS_COMPAT != 0;
        let number = word_of(words, ORIG_AX) as u32;
        let abi = match (compat, number & X32_BIT != 0) {
            (true, _) => abi::COMPAT,
            (false, true) => abi::X32,
            (false, false) => abi::NATIVE,
        };
        Self { words, abi, number: number_in(words) }
    }

    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        word_of(self.words, index)
    }

    /// Whether the call is still under way: until it returns, its result stands as ENOSYS.
    #[inline(always)]
    pub fn is_under_way(&self) -> bool {
        self.word(AX) as i64 == -ENOSYS
    }

    /// The argument in this place, from 0.
    #[inline(always)]
    pub fn argument(&self, place: usize) -> u64 {
        if self.abi == abi::COMPAT {
            self.word(COMPAT_ARGUMENTS[place]) as u32 as u64
        } else {
            self.word(NATIVE_ARGUMENTS[place])
        }
    }

    /// The six arguments.
    #[inline(always)]
    pub fn arguments(&self) -> [u64; 6] {
        if self.abi == abi::COMPAT {
            let [a, b, c, d, e, f] = COMPAT_ARGUMENTS;
            let half = |index| self.word(index) as u32 as u64;
            [half(a), half(b), half(c), half(d), half(e), half(f)]
        } else {
            let [a, b, c, d, e, f] = NATIVE_ARGUMENTS;
            let word = |index| self.word(index);
            [word(a), word(b), word(c), word(d), word(e), word(f)]
        }
    }
}
