//! Reads kernel memory: tasks by their type, and everything behind them by address, with a load where the kernel
//! has a cast for that, else through the probe helper.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::helpers::generated as helpers;
use sentinel_ipc::kernel_fields::Field;

use crate::fields::{Value, has_cast, load, offset};

/// A kernel address: what is read of a bad one is zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address(pub u64);

impl Address {
    /// The value of `field` in the structure at this address; zero if it cannot be read.
    #[inline(always)]
    pub fn read<T: Value>(self, field: Field) -> T {
        if has_cast() { load(self, field) } else { self.copied_at(offset(field)) }
    }

    /// The address that the pointer `field` holds.
    #[inline(always)]
    pub fn follow(self, field: Field) -> Self {
        Self(self.read(field))
    }

    /// The value `bytes` behind this address; zero if it cannot be read.
    #[inline(always)]
    pub fn read_at<T: Value>(self, bytes: usize) -> T {
        let at = self.behind(bytes);
        if has_cast() { T::load::<0>(at) } else { at.copied_at(0) }
    }

    /// The value `bytes` behind this address through the helper; zero if it cannot be read.
    #[inline(always)]
    fn copied_at<T: Value>(self, bytes: usize) -> T {
        let mut value = T::default();
        // No branch on the result: the helper zeroes the destination on a fault, and branches in
        // loops multiply what the verifier has to walk.
        // SAFETY: the destination is a live stack value of exactly this size; a source that is no
        // kernel memory makes the helper fail, nothing else.
        unsafe {
            helpers::bpf_probe_read_kernel(
                (&raw mut value).cast::<c_void>(),
                size_of::<T>() as u32,
                self.behind(bytes).0 as *const c_void,
            );
        }
        value
    }

    /// The address so many bytes behind this one.
    #[inline(always)]
    pub fn behind(self, bytes: usize) -> Self {
        Self(self.0.wrapping_add(bytes as u64))
    }

    /// Whether this is the null pointer.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
}

/// A kernel structure of which a piece was copied at once, where the kernel has no cast: what of its fields lies there
/// costs no further call.
#[derive(Clone, Copy)]
pub struct Piece {
    address: Address,
    copied: *const u8,
    begins: usize,
    bytes: usize,
}

impl Piece {
    /// The structure at `address`, of which as many bytes as `room` has are copied, those from `begins` on; zeros if
    /// they cannot be read. With a cast nothing is copied, and each field is read when it is asked for.
    #[inline(always)]
    pub fn copied<const WORDS: usize>(
        address: Address,
        begins: usize,
        room: &mut [u64; WORDS],
    ) -> Self {
        let bytes = WORDS * 8;
        if has_cast() {
            return Self { address, copied: room.as_ptr().cast(), begins, bytes };
        }
        // No branch on the result, as in `read_at`.
        copy_kernel(room.as_mut_ptr().cast(), bytes as u32, address.behind(begins));
        Self { address, copied: room.as_ptr().cast(), begins, bytes }
    }

    /// The structure at `address`, of which nothing is copied.
    #[inline(always)]
    pub fn nothing(address: Address) -> Self {
        Self { address, copied: core::ptr::null(), begins: 0, bytes: 0 }
    }

    /// As [`Address::read`]. Offsets are constants to the verifier, which walks one of the two ways only.
    #[inline(always)]
    pub fn read<T: Value>(&self, field: Field) -> T {
        if has_cast() {
            return load(self.address, field);
        }
        let at = offset(field).wrapping_sub(self.begins);
        if at >= self.bytes || at + size_of::<T>() > self.bytes {
            return self.address.read(field);
        }
        // SAFETY: in the room that was given, as the verifier proves; the kernel aligns its fields.
        unsafe { self.copied.add(at).cast::<T>().read() }
    }

    /// As [`Address::follow`].
    #[inline(always)]
    pub fn follow(&self, field: Field) -> Address {
        Address(self.read(field))
    }
}

/// A task that the kernel handed us: current, or a tracepoint's argument.
#[derive(Clone, Copy)]
pub struct Task(*const u8);

impl Task {
    /// The task that the program runs in.
    #[inline(always)]
    pub fn current() -> Self {
        let task;
        // SAFETY: bpf_get_current_task_btf(), without arguments, gives a task that lives as long as the program runs,
        // and the same one each time, which the compiler is told so that it calls once.
        unsafe {
            asm!(
                "call 158",
                out("r0") task,
                out("r1") _,
                out("r2") _,
                out("r3") _,
                out("r4") _,
                out("r5") _,
                options(pure, nomem, nostack),
            );
        }
        Self(task)
    }

    /// A task pointer from a tracepoint's arguments.
    #[inline(always)]
    pub fn from_argument(task: *const u8) -> Self {
        Self(task)
    }

    /// The value of `field`; loads directly, because the verifier knows the pointer's type.
    #[inline(always)]
    pub fn read<T: Copy>(self, field: Field) -> T {
        // SAFETY: the verifier checks offset and size against the kernel's own BTF of task_struct
        // and gives faulting loads a zero.
        unsafe { self.0.add(offset(field)).cast::<T>().read() }
    }

    /// The address that the pointer `field` holds. Not loaded by the task's type: for each such load, verifiers
    /// since Linux 6.3 search all of the kernel's types, which is most of a load's time.
    #[inline(always)]
    pub fn follow(self, field: Field) -> Address {
        self.address().follow(field)
    }

    /// Start of the thread group's leader, ns since boot.
    #[inline(always)]
    pub fn start_time(self) -> u64 {
        self.follow(Field::TaskGroupLeader).read(Field::TaskStartBoottime)
    }

    /// The default-hierarchy cgroup of the task.
    #[inline(always)]
    pub fn cgroup(self) -> Address {
        self.follow(Field::TaskCgroups).follow(Field::CssSetDefaultCgroup)
    }

    /// Whether a thread of its process has not begun to end.
    #[inline(always)]
    pub fn has_live_group(self) -> bool {
        self.follow(Field::TaskSignal).read::<i32>(Field::SignalLive) > 0
    }

    /// Where the task lies.
    #[inline(always)]
    pub fn address(self) -> Address {
        Address(self.0 as u64)
    }

    /// Where the task's own memory of `field` lies, for helpers that copy it.
    #[inline(always)]
    pub fn address_of(self, field: Field) -> Address {
        Address(self.address().0.wrapping_add(offset(field) as u64))
    }
}

/// Copies `length` bytes from kernel memory; the destination's size is what the verifier proves.
#[inline(always)]
pub fn copy_kernel(to: *mut u8, length: u32, from: Address) -> bool {
    // SAFETY: the verifier proves that `to` has `length` writable bytes; the helper checks `from`.
    unsafe { helpers::bpf_probe_read_kernel(to.cast(), length, from.0 as *const c_void) == 0 }
}

/// Copies a NUL-terminated string of at most `length` bytes; returns its bytes without the NUL.
#[inline(always)]
pub fn copy_kernel_string(to: *mut u8, length: u32, from: Address) -> u32 {
    // SAFETY: as for `copy_kernel`.
    let copied =
        unsafe { helpers::bpf_probe_read_kernel_str(to.cast(), length, from.0 as *const c_void) };
    without_nul(copied)
}

/// What is left of `copied` bytes without the last one; 0 if there is none. By arithmetic, as [`is_equal`].
#[inline(always)]
fn without_nul(copied: i64) -> u32 {
    let length = copied.wrapping_sub(1) as u64;
    (length * opaque(length >> 63 ^ 1)) as u32
}

/// Copies `length` bytes from the current process's memory; false if they cannot be read.
#[inline(always)]
pub fn copy_user(to: *mut u8, length: u32, from: u64) -> bool {
    // SAFETY: the verifier proves `to`; the helper accepts only user addresses that are mapped.
    unsafe { helpers::bpf_probe_read_user(to.cast(), length, from as *const c_void) == 0 }
}

/// Copies a NUL-terminated string of at most `length` bytes from the current process's memory;
/// returns its bytes without the NUL, or `None` if it cannot be read.
#[inline(always)]
pub fn copy_user_string(to: *mut u8, length: u32, from: u64) -> Option<u32> {
    // SAFETY: as for `copy_user`.
    let copied =
        unsafe { helpers::bpf_probe_read_user_str(to.cast(), length, from as *const c_void) };
    // The length with its NUL, but 0 for an empty string before 6.13.
    (copied >= 0).then_some(without_nul(copied))
}

/// The value at `from` in the current process's memory; `None` if it cannot be read.
#[inline(always)]
pub fn read_user<T: Copy + Default>(from: u64) -> Option<T> {
    let mut value = T::default();
    copy_user((&raw mut value).cast(), size_of::<T>() as u32, from).then_some(value)
}

/// The registers with which the current task entered the kernel.
#[inline(always)]
pub fn current_registers() -> *const u64 {
    // SAFETY: the kernel returns the saved registers of a task that lives as long as the program.
    unsafe { helpers::bpf_task_pt_regs(helpers::bpf_get_current_task_btf()) as *const u64 }
}

/// The address of a map value as a number. To the verifier it is a pointer with which little may be
/// computed; out of `cell`, some memory of a map, it comes back as a number.
#[inline(always)]
pub fn number_of(pointer: *const u8, cell: *mut Address) -> Address {
    // SAFETY: `cell` is a live, aligned u64 of a map value, as the verifier proves.
    unsafe {
        cell.write_volatile(Address(pointer as u64));
        cell.read_volatile()
    }
}

/// What fits into a register.
pub trait Word: Copy {
    /// As a register holds it.
    fn widen(self) -> u64;
    /// Out of a register, of which the rest is dropped.
    fn narrow(register: u64) -> Self;
}

macro_rules! words {
    ($($word:ty)*) => {
        $(impl Word for $word {
            #[inline(always)]
            fn widen(self) -> u64 {
                self as u64
            }

            #[inline(always)]
            fn narrow(register: u64) -> Self {
                register as Self
            }
        })*
    };
}

words! { u8 u16 u32 u64 usize i32 }

/// The same value, of which the compiler knows nothing any more. core's own way takes it through memory. One
/// instruction, because the kernel refuses lines of the source without any.
#[inline(always)]
pub fn opaque<T: Word>(value: T) -> T {
    let mut register = value.widen();
    // SAFETY: arithmetic.
    unsafe { asm!("{same} += 0", same = inout(reg) register, options(nomem, nostack)) };
    T::narrow(register)
}

/// The same value, of which the verifier knows nothing any more; `unknown` is something it knows
/// nothing about either. Rounds of a loop then look alike to it, and it walks one instead of all.
#[inline(always)]
pub fn forget<T: Word>(value: T, unknown: u64) -> T {
    let mut mixed = value.widen();
    // SAFETY: arithmetic.
    unsafe {
        asm!(
            "{mixed} ^= {unknown}",
            mixed = inout(reg) mixed,
            unknown = in(reg) unknown,
            options(nomem, nostack),
        );
    }
    T::narrow(mixed ^ unknown)
}

/// 1 if the two are equal, else 0, by arithmetic: LLVM makes a branch of `==`, and branches in loops multiply
/// what the verifier has to walk.
#[inline(always)]
pub fn is_equal(one: u64, other: u64) -> u64 {
    let difference = one ^ other;
    // Its upper bit is set unless the difference is 0; LLVM knows that.
    opaque(difference | difference.wrapping_neg()) >> 63 ^ 1
}

/// One of two values without a branch; see [`is_equal`].
#[derive(Clone, Copy)]
pub struct Choice(u64);

impl Choice {
    /// The first of two if `is_first` is 1, the second if it is 0.
    #[inline(always)]
    pub fn of(is_first: u64) -> Self {
        Self(opaque(0_u64.wrapping_sub(is_first)))
    }

    /// One of them.
    #[inline(always)]
    pub fn choose(self, first: u64, second: u64) -> u64 {
        second ^ (first ^ second) & self.0
    }
}

/// CLOCK_BOOTTIME, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments, no effect.
    unsafe { helpers::bpf_ktime_get_boot_ns() }
}

/// The kernel's ticks, of one to ten milliseconds: a load, where [`now`] looks at a clock.
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: no arguments, no effect.
    unsafe { helpers::bpf_jiffies64() }
}

/// Cgroup v2 id of the current task.
#[inline(always)]
pub fn current_cgroup_id() -> u64 {
    // SAFETY: no arguments, no effect.
    unsafe { helpers::bpf_get_current_cgroup_id() }
}
