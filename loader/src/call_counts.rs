//! System calls that the kernel has counted, through a shared mapping: read by difference, never reset.
#![expect(unsafe_code, reason = "keys of maps are plain data")]

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError, Queue},
    util::nr_cpus,
};
use sentinel_ipc::{
    frame::ProfileCalls,
    kernel_abi::{ObjectKey, PROFILES_ENTRIES, profile},
};

use crate::{
    mapping::{Access, Mapping},
    sensor::{SensorError, array, take, typed},
};

const ROWS: usize = profile::COUNT as usize;
const CELLS: usize = ROWS * profile::CALLS;
/// How many numbers of profiles there are, one for each tgid.
const PROFILES_LENGTH: usize = PROFILES_ENTRIES as usize * 4;
/// Fewer free profiles than this, and those that nobody has any more are given to others.
const FEW: u64 = profile::COUNT as u64 / 4;

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Key(ObjectKey);

impl Key {
    fn is_none(self) -> bool {
        let Self(ObjectKey { inode, device, generation }) = self;
        (inode, device, generation) == (0, 0, 0)
    }
}

/// Of a profile that is free.
const NO_FILE: Key = Key(ObjectKey { inode: 0, device: 0, generation: 0 });

// SAFETY: repr(C) integers without padding (asserted in kernel_abi), so every bit pattern is valid.
unsafe impl aya::Pod for Key {}

/// Whether calls can be counted, which takes a MiB for each CPU there may be, and 8 MiB more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// When they are asked for.
    Possible,
    /// Never: nothing is set aside for it.
    Never,
}

impl Counting {
    /// How many CPUs there is to be room for.
    ///
    /// # Errors
    /// When the system does not say how many there may be.
    pub(crate) fn cpus(self) -> Result<u32, SensorError> {
        match self {
            Self::Never => Ok(0),
            Self::Possible => {
                let cpus = nr_cpus().map_err(|(_, error)| SensorError::Cpus(error))?;
                Ok(u32::try_from(cpus).unwrap_or(u32::MAX / profile::COUNT))
            }
        }
    }
}

/// The counts.
pub struct CallCounts {
    /// CPU by CPU, profile by profile, call by call.
    cells: Mapping<AtomicU32>,
    /// What they came to over all CPUs when they were read last, modulo 2^32.
    before: Vec<u32>,
    /// The profile of each tgid; mapped when it is needed only, for it is long.
    of_processes: MapData,
    of_files: HashMap<MapData, Key, u32>,
    files: Array<MapData, Key>,
    given: Array<MapData, u64>,
    free: Queue<MapData, u32>,
    /// How many have ever been free.
    freed: u64,
    /// Those that nobody had when that was looked at last, and that nobody can find since.
    retired: Vec<u32>,
}

impl CallCounts {
    /// Those of a loaded object whose map has room for so many CPUs, which are not 0.
    ///
    /// # Errors
    /// When a map is missing or cannot be mapped.
    pub fn new(ebpf: &mut Ebpf, cpus: u32) -> Result<Self, SensorError> {
        let length = usize::try_from(cpus).map_or(0, |cpus| cpus * CELLS);
        let mut counts = Self {
            cells: Mapping::of(
                &array(ebpf, "CALL_COUNTS")?,
                "CALL_COUNTS",
                0,
                length,
                Access::Read,
            )?,
            before: vec![0; CELLS],
            of_processes: array(ebpf, "PROFILES")?,
            of_files: typed(take(ebpf, "PROFILE_OF")?, "PROFILE_OF")?,
            files: typed(take(ebpf, "PROFILE_FILES")?, "PROFILE_FILES")?,
            given: typed(take(ebpf, "PROFILES_GIVEN")?, "PROFILES_GIVEN")?,
            free: typed(take(ebpf, "FREE_PROFILES")?, "FREE_PROFILES")?,
            freed: 0,
            retired: Vec::new(),
        };
        (profile::FIRST..profile::COUNT).try_for_each(|number| counts.release(number))?;
        Ok(counts)
    }

    /// Bytes of address space that they take at the most.
    pub fn bytes(&self) -> u64 {
        self.cells.bytes() + (PROFILES_LENGTH * size_of::<u16>()) as u64
    }

    /// What was counted since it was read last, without profiles and calls of which there was nothing.
    ///
    /// # Errors
    /// When a map cannot be read or changed.
    pub fn read(&mut self) -> Result<Vec<ProfileCalls>, SensorError> {
        let given = self.given.get(&0, 0).map_err(failed("PROFILES_GIVEN"))?;
        let used = usize::try_from(given).unwrap_or(ROWS).saturating_add(profile::FIRST as usize);
        // Looked at before the counts are read: who had a profile and has ended since is in them.
        let had = self.had(given)?;
        let mut now = vec![0_u32; used.min(ROWS) * profile::CALLS];
        for cpu in self.cells.values().chunks_exact(CELLS) {
            for (sum, cell) in now.iter_mut().zip(cpu) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        let mut profiles = Vec::new();
        let rows = now.chunks_exact(profile::CALLS).zip(self.before.chunks_exact(profile::CALLS));
        for (number, (row, before)) in (0_u32..).zip(rows) {
            let counts = (0_u16..).zip(row.iter().zip(before));
            let calls: Vec<_> = counts
                .filter(|(_, (now, before))| now != before)
                .map(|(call, (now, before))| (call, now.wrapping_sub(*before)))
                .collect();
            if calls.is_empty() {
                continue;
            }
            let executable = if number < profile::FIRST {
                None
            } else {
                let Key(key) = self.file_of(number)?;
                Some((key.device, key.inode, key.generation))
            };
            profiles.push(ProfileCalls { executable, calls });
        }
        for (before, now) in self.before.iter_mut().zip(now) {
            *before = now;
        }
        if let Some(had) = had {
            self.recycle(&had, given)?;
        }
        Ok(profiles)
    }

    fn are_few(&self, given: u64) -> bool {
        self.freed.saturating_sub(given) < FEW
    }

    /// Which profiles some process has; `None` if there is no need to know.
    fn had(&self, given: u64) -> Result<Option<[bool; ROWS]>, SensorError> {
        if self.retired.is_empty() && !self.are_few(given) {
            return Ok(None);
        }
        let mut had = [false; ROWS];
        let numbers: Mapping<AtomicU16> =
            Mapping::of(&self.of_processes, "PROFILES", 0, PROFILES_LENGTH, Access::Read)?;
        for number in numbers.values() {
            if let Some(is_had) = had.get_mut(usize::from(number.load(Ordering::Relaxed))) {
                *is_had = true;
            }
        }
        Ok(Some(had))
    }

    /// Takes away profiles that no process has while few are free, in two steps. After the first one a process
    /// may still have found one by its executable a moment before; at the second one, a second later, nobody
    /// has, and all that was counted has been read.
    fn recycle(&mut self, had: &[bool; ROWS], given: u64) -> Result<(), SensorError> {
        let before = std::mem::take(&mut self.retired);
        let are_few = self.are_few(given);
        for (number, is_had) in (0..profile::COUNT).zip(had).skip(profile::FIRST as usize) {
            let is_retired = before.contains(&number);
            if *is_had || !(is_retired || are_few) {
                continue;
            }
            let file = self.file_of(number)?;
            if file.is_none() {
                continue;
            }
            match self.of_files.get(&file, 0) {
                Ok(found) if found == number => {
                    self.of_files.remove(&file).map_err(failed("PROFILE_OF"))?;
                }
                // Another one is its executable's.
                Ok(_) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(SensorError::Map("PROFILE_OF", error)),
            }
            if is_retired {
                self.release(number)?;
            } else {
                self.retired.push(number);
            }
        }
        Ok(())
    }

    /// Has the kernel give a profile to the next executable.
    fn release(&mut self, number: u32) -> Result<(), SensorError> {
        self.files.set(number, NO_FILE, 0).map_err(failed("PROFILE_FILES"))?;
        self.free.push(number, 0).map_err(failed("FREE_PROFILES"))?;
        self.freed += 1;
        Ok(())
    }

    fn file_of(&self, number: u32) -> Result<Key, SensorError> {
        self.files.get(&number, 0).map_err(failed("PROFILE_FILES"))
    }
}

fn failed(name: &'static str) -> impl Fn(MapError) -> SensorError {
    move |error| SensorError::Map(name, error)
}
