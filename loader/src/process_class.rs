//! The kernel's class byte of each process, through a shared mapping.
#![expect(
    unsafe_code,
    reason = "maps a BPF array into memory, so that bytes can be set one by one"
)]

use std::{
    io,
    num::NonZeroUsize,
    os::fd::BorrowedFd,
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use sentinel_ipc::kernel_abi::PROCESS_CLASS_ENTRIES;

/// Bytes of the map.
const LENGTH: NonZeroUsize = NonZeroUsize::new(PROCESS_CLASS_ENTRIES as usize * 8).unwrap();

/// The map `PROCESS_CLASS`, one byte for each tgid. Programs in the kernel change it at the same
/// time; a byte is the unit, so no update is lost.
pub struct ProcessClasses {
    bytes: NonNull<AtomicU8>,
}

impl ProcessClasses {
    /// Maps the array behind `map`.
    ///
    /// # Errors
    /// What mmap(2) says.
    pub fn map(map: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no memory of
        // ours. The kernel refuses a length beyond the array's pages.
        let bytes = unsafe {
            mmap(
                None,
                LENGTH,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                map,
                0,
            )
        }?;
        Ok(Self { bytes: bytes.cast() })
    }

    fn byte(&self, tgid: u32) -> Option<&AtomicU8> {
        let index = tgid as usize;
        if index >= LENGTH.get() {
            return None;
        }
        // SAFETY: index < LENGTH, so the byte lies in the mapping.
        let byte = unsafe { self.bytes.add(index) };
        // SAFETY: the mapping lives as long as self; the kernel accesses the byte as a single one
        // too, and AtomicU8 has a byte's layout.
        Some(unsafe { byte.as_ref() })
    }

    /// The class of `tgid`.
    pub fn get(&self, tgid: u32) -> u8 {
        self.byte(tgid).map_or(0, |byte| byte.load(Ordering::Relaxed))
    }

    /// Sets bits in the class of `tgid`.
    pub fn add(&self, tgid: u32, bits: u8) {
        if let Some(byte) = self.byte(tgid) {
            byte.fetch_or(bits, Ordering::Relaxed);
        }
    }

    /// Takes bits from the class of `tgid`.
    pub fn take(&self, tgid: u32, bits: u8) {
        if let Some(byte) = self.byte(tgid) {
            byte.fetch_and(!bits, Ordering::Relaxed);
        }
    }

    /// Takes bits from the classes of all processes. Takes milliseconds.
    pub fn take_from_all(&self, bits: u8) {
        for tgid in 0..PROCESS_CLASS_ENTRIES * 8 {
            if let Some(byte) =
                self.byte(tgid).filter(|byte| byte.load(Ordering::Relaxed) & bits != 0)
            {
                byte.fetch_and(!bits, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for ProcessClasses {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `map` made, and no reference into it outlives self.
        let unmapped = unsafe { munmap(self.bytes.cast(), LENGTH.get()) };
        debug_assert!(unmapped.is_ok());
    }
}
