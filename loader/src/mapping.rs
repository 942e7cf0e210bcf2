//! The values of a BPF array, through a shared mapping: looking at them takes no call.
#![expect(unsafe_code, reason = "maps a BPF array into memory")]

use std::{
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU8, AtomicU16, AtomicU32},
};

use aya::{Ebpf, maps::Map};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::sensor::SensorError;

/// What may be in a mapping that programs in the kernel write to at the same time.
///
/// # Safety
/// Any bits are a value, which others may change at any time, as a whole.
pub unsafe trait Shared {}

// SAFETY: an integer each, which the kernel reads and writes as one.
unsafe impl Shared for AtomicU8 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU16 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU32 {}

/// What the loader may do with the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look at them.
    Read,
    /// And change them.
    Write,
}

/// An array of `T`.
pub struct Mapping<T> {
    values: NonNull<T>,
    bytes: NonZeroUsize,
}

impl<T: Shared> Mapping<T> {
    /// Maps the first `length` values of the array `name`.
    ///
    /// # Errors
    /// When there is no such array, or it cannot be mapped; also when it has fewer.
    pub fn of(
        ebpf: &Ebpf,
        name: &'static str,
        length: usize,
        access: Access,
    ) -> Result<Self, SensorError> {
        let Some(Map::Array(data)) = ebpf.map(name) else {
            return Err(SensorError::Mismatch(name));
        };
        let bytes = length.checked_mul(size_of::<T>()).and_then(NonZeroUsize::new);
        let bytes = bytes.ok_or(SensorError::Mismatch(name))?;
        let protection = match access {
            Access::Read => ProtFlags::PROT_READ,
            Access::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no memory of
        // ours. The kernel refuses a length beyond the array's pages.
        let mapped =
            unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, data.fd().as_fd(), 0) };
        let values = mapped.map_err(|errno| SensorError::Mapping(name, errno.into()))?.cast();
        Ok(Self { values, bytes })
    }

    /// The values. Changing what was mapped to be read ends the process.
    pub fn values(&self) -> &[T] {
        // SAFETY: the mapping lives as long as self, is page-aligned, and others change its values as a
        // `Shared` allows.
        unsafe { slice::from_raw_parts(self.values.as_ptr(), self.bytes.get() / size_of::<T>()) }
    }

    /// Bytes of address space that it takes.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.bytes.get()).unwrap_or(u64::MAX)
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `of` made, and no reference into it outlives self.
        let unmapped = unsafe { munmap(self.values.cast(), self.bytes.get()) };
        debug_assert!(unmapped.is_ok());
    }
}
