//! The kernel's class byte of each process, through a shared mapping.

use std::sync::atomic::{AtomicU8, Ordering};

use aya::Ebpf;
use sentinel_ipc::kernel_abi::PROCESS_CLASS_ENTRIES;

use crate::{
    mapping::{Access, Mapping},
    sensor::SensorError,
};

/// The map `PROCESS_CLASS`, one byte for each tgid. Programs in the kernel change it at the same
/// time; a byte is the unit, so no update is lost.
pub struct ProcessClasses(Mapping<AtomicU8>);

impl ProcessClasses {
    /// Maps the array of a loaded object.
    ///
    /// # Errors
    /// When that fails.
    pub fn map(ebpf: &Ebpf) -> Result<Self, SensorError> {
        let length = PROCESS_CLASS_ENTRIES as usize * 8;
        Mapping::of(ebpf, "PROCESS_CLASS", length, Access::Write).map(Self)
    }

    fn byte(&self, tgid: u32) -> Option<&AtomicU8> {
        self.0.values().get(tgid as usize)
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
        for byte in self.0.values() {
            if byte.load(Ordering::Relaxed) & bits != 0 {
                byte.fetch_and(!bits, Ordering::Relaxed);
            }
        }
    }
}
