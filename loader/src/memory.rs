//! The allocator's memory.
#![expect(unsafe_code, reason = "calls the C library")]

/// Gives back to the kernel what is free: reading the kernel's types takes several times what is kept.
pub fn trim() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libc::malloc_trim(0) };
}
