//! The kernel's class byte of each process, each looked at through a mapping of its own: they are
//! rarely asked for, and take 4 MiB in all.

use std::sync::atomic::{AtomicU8, Ordering};

use aya::{Ebpf, maps::MapData};
use sentinel_ipc::kernel_abi::PROCESS_CLASS_ENTRIES;

use crate::{
    mapping::{Access, Mapping, page_bytes},
    sensor::{SensorError, array},
};

const NAME: &str = "PROCESS_CLASS";
const BYTES: usize = PROCESS_CLASS_ENTRIES as usize * 8;

/// The map `PROCESS_CLASS`, one byte for each tgid. Programs in the kernel change it at the same
/// time; a byte is the unit, so no update is lost.
pub struct ProcessClasses(MapData);

impl ProcessClasses {
    /// Those of a loaded object.
    ///
    /// # Errors
    /// When it has none.
    pub fn of(ebpf: &mut Ebpf) -> Result<Self, SensorError> {
        array(ebpf, NAME).map(Self)
    }

    /// What `look` says of the byte of `tgid`; `None` if no process can have that number.
    fn byte<T>(
        &self,
        tgid: u32,
        look: impl FnOnce(&AtomicU8) -> T,
    ) -> Result<Option<T>, SensorError> {
        let at = tgid as usize;
        if at >= BYTES {
            return Ok(None);
        }
        let page = page_bytes()?;
        let bytes = Mapping::of(&self.0, NAME, at - at % page, page, Access::Write)?;
        Ok(bytes.values().get(at % page).map(look))
    }

    /// The class of `tgid`.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn get(&self, tgid: u32) -> Result<u8, SensorError> {
        Ok(self.byte(tgid, |byte| byte.load(Ordering::Relaxed))?.unwrap_or_default())
    }

    /// Sets bits in the class of `tgid`.
    ///
    /// # Errors
    /// When it cannot be changed.
    pub fn add(&self, tgid: u32, bits: u8) -> Result<(), SensorError> {
        self.byte(tgid, |byte| byte.fetch_or(bits, Ordering::Relaxed)).map(|_| ())
    }

    /// Takes bits from the class of `tgid`.
    ///
    /// # Errors
    /// When it cannot be changed.
    pub fn take(&self, tgid: u32, bits: u8) -> Result<(), SensorError> {
        self.byte(tgid, |byte| byte.fetch_and(!bits, Ordering::Relaxed)).map(|_| ())
    }

    /// Takes bits from the classes of all processes. Takes milliseconds.
    ///
    /// # Errors
    /// When they cannot be changed.
    pub fn take_from_all(&self, bits: u8) -> Result<(), SensorError> {
        let all: Mapping<AtomicU8> = Mapping::of(&self.0, NAME, 0, BYTES, Access::Write)?;
        for byte in all.values() {
            if byte.load(Ordering::Relaxed) & bits != 0 {
                byte.fetch_and(!bits, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
