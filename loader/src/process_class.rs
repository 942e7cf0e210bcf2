//! The kernel's class byte of each process, each changed through a mapping of its own: that is rare, and they take
//! 4 MiB in all.

use std::sync::atomic::{AtomicU8, Ordering};

use aya::{
    Ebpf,
    maps::{Array, Map},
};
use sentinel_ipc::kernel_abi::PROCESS_CLASS_ENTRIES;

use crate::{
    mapping::{Access, Mapping, page_bytes},
    sensor::{SensorError, take},
};

const NAME: &str = "PROCESS_CLASS";
/// Bytes of an entry of the map.
const ENTRY_BYTES: u32 = 8;
const BYTES: usize = PROCESS_CLASS_ENTRIES as usize * ENTRY_BYTES as usize;

/// The map `PROCESS_CLASS`, one byte for each tgid. Programs in the kernel change it at the same
/// time; a byte is the unit, so no update is lost.
pub struct ProcessClasses(Map);

impl ProcessClasses {
    /// Those of a loaded object.
    ///
    /// # Errors
    /// When it has none.
    pub fn of(ebpf: &mut Ebpf) -> Result<Self, SensorError> {
        take(ebpf, NAME).map(Self)
    }

    /// Has `change` the byte of `tgid`, if a process can have that number.
    fn change(&self, tgid: u32, change: impl FnOnce(&AtomicU8) -> u8) -> Result<(), SensorError> {
        let at = tgid as usize;
        if at >= BYTES {
            return Ok(());
        }
        let page = page_bytes()?;
        let bytes = self.mapped(at - at % page, page)?;
        bytes.values().get(at % page).map(change);
        Ok(())
    }

    /// So many of the bytes, from that of the number `from` on, which begins a page.
    fn mapped(&self, from: usize, bytes: usize) -> Result<Mapping<AtomicU8>, SensorError> {
        let Map::Array(map) = &self.0 else { return Err(SensorError::Mismatch(NAME)) };
        Mapping::of(map, NAME, from, bytes, Access::Write)
    }

    /// The class of `tgid`. By a call, because a kill waits for it: a mapping takes longer.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn get(&self, tgid: u32) -> Result<u8, SensorError> {
        let entry = tgid / ENTRY_BYTES;
        if entry >= PROCESS_CLASS_ENTRIES {
            return Ok(0);
        }
        let failed = |error| SensorError::Map(NAME, error);
        let map: Array<_, [u8; ENTRY_BYTES as usize]> = Array::try_from(&self.0).map_err(failed)?;
        let bytes = map.get(&entry, 0).map_err(failed)?;
        Ok(bytes.get((tgid % ENTRY_BYTES) as usize).copied().unwrap_or_default())
    }

    /// Sets bits in the class of `tgid`.
    ///
    /// # Errors
    /// When it cannot be changed.
    pub fn add(&self, tgid: u32, bits: u8) -> Result<(), SensorError> {
        self.change(tgid, |byte| byte.fetch_or(bits, Ordering::Relaxed))
    }

    /// Takes bits from the class of `tgid`.
    ///
    /// # Errors
    /// When it cannot be changed.
    pub fn take(&self, tgid: u32, bits: u8) -> Result<(), SensorError> {
        self.change(tgid, |byte| byte.fetch_and(!bits, Ordering::Relaxed))
    }

    /// Takes bits from the classes of all processes. Takes milliseconds.
    ///
    /// # Errors
    /// When they cannot be changed.
    pub fn take_from_all(&self, bits: u8) -> Result<(), SensorError> {
        let all = self.mapped(0, BYTES)?;
        for byte in all.values() {
            if byte.load(Ordering::Relaxed) & bits != 0 {
                byte.fetch_and(!bits, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
