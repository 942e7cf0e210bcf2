//! What is in a BPF map, through a shared mapping: looking at it takes no call.
#![expect(unsafe_code, reason = "maps a BPF map into memory")]

use std::{
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicUsize},
};

use aya::maps::MapData;
use nix::{
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
    unistd::{SysconfVar, sysconf},
};

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
// SAFETY: as above.
unsafe impl Shared for AtomicUsize {}

/// What the loader may do with the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look at them.
    Read,
    /// And change them.
    Write,
}

/// Bytes of a page of memory.
///
/// # Errors
/// When the system does not say.
pub fn page_bytes() -> Result<usize, SensorError> {
    let bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).ok_or(SensorError::Mismatch("page size"))
}

/// Values of a map, one behind the other.
pub struct Mapping<T> {
    values: NonNull<T>,
    bytes: NonZeroUsize,
}

impl<T: Shared> Mapping<T> {
    /// Maps `length` values of the map `name`, from the byte `at` of its memory, which begins a page.
    ///
    /// # Errors
    /// When it cannot be mapped; also when it has fewer.
    pub fn of(
        map: &MapData,
        name: &'static str,
        at: usize,
        length: usize,
        access: Access,
    ) -> Result<Self, SensorError> {
        let at = at.try_into().map_err(|_| SensorError::Mismatch(name))?;
        let bytes = length.checked_mul(size_of::<T>()).and_then(NonZeroUsize::new);
        let bytes = bytes.ok_or(SensorError::Mismatch(name))?;
        let protection = match access {
            Access::Read => ProtFlags::PROT_READ,
            Access::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no memory of
        // ours. The kernel refuses a length beyond the map's pages.
        let mapped =
            unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, map.fd().as_fd(), at) };
        let values = mapped.map_err(|errno| SensorError::Mapping(name, errno.into()))?.cast();
        Ok(Self { values, bytes })
    }

    /// The first of the values.
    pub fn value(&self) -> &T {
        // SAFETY: there is one at least; for the rest as for `values`.
        unsafe { self.values.as_ref() }
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
