//! Memory that is not needed any more.
#![expect(unsafe_code, reason = "calls the C library")]

/// Gives back to the kernel what is free: reading the kernel's types takes several times what is kept.
pub fn trim() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Gives back the pages, of `page` bytes each, that hold nothing but this constant. Who looks at it again has them read
/// from the program's file.
///
/// # Safety
/// The constant is in the program's file, as a static without a way to be written is.
pub unsafe fn drop_constant(constant: &'static [u8], page: usize) {
    let before = constant.as_ptr().align_offset(page);
    let Some(rest) = constant.get(before..) else { return };
    // SAFETY: whole pages of a file, mapped privately and never written, hold the same afterwards.
    unsafe {
        libc::madvise(
            rest.as_ptr().cast_mut().cast(),
            rest.len() / page * page,
            libc::MADV_DONTNEED,
        )
    };
}
