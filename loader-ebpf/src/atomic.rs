//! Atomic operations on map values, which core does not offer for this target.

use core::arch::asm;

/// Adds `value` to `*to`.
///
/// # Safety
/// `to` is a live, aligned u64 of a map value.
#[inline(always)]
pub unsafe fn add(to: *mut u64, value: u64) {
    // SAFETY: by this function's contract; the verifier proves the access.
    unsafe { asm!("lock *(u64 *)({to} + 0) += {value}", to = in(reg) to, value = in(reg) value) };
}

/// Sets `*to` to `value` and returns what was there.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn exchange(to: *mut u64, value: u64) -> u64 {
    let mut exchanged = value;
    // SAFETY: as for `add`.
    unsafe {
        asm!("{value} = xchg_64({to} + 0, {value})", to = in(reg) to, value = inout(reg) exchanged);
    }
    exchanged
}

/// Sets `*to` to `new` if it is `old`.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn compare_exchange(to: *mut u64, old: u64, new: u64) {
    // SAFETY: as for `add`.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({to} + 0, r0, {new})",
            to = in(reg) to,
            new = in(reg) new,
            inout("r0") old => _,
        );
    }
}

/// Sets those bits of `*to` that `bits` has.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn set(to: *mut u64, bits: u64) {
    // SAFETY: as for `add`.
    unsafe { asm!("lock *(u64 *)({to} + 0) |= {bits}", to = in(reg) to, bits = in(reg) bits) };
}

/// Leaves those bits of `*to` only that `mask` has.
///
/// # Safety
/// As for [`add`].
#[inline(always)]
pub unsafe fn keep(to: *mut u64, mask: u64) {
    // SAFETY: as for `add`.
    unsafe { asm!("lock *(u64 *)({to} + 0) &= {mask}", to = in(reg) to, mask = in(reg) mask) };
}
