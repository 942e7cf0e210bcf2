//! How many system calls the bed's processes make, counted without Sentinel.

use std::{fs, fs::File, io, os::unix::fs::MetadataExt as _};

use aya::maps::{Array, Map, MapData};
use sentinel_tests::{
    bed::Bed,
    kernel::{self, Code, Kind, Program},
};

/// Counts until it is dropped.
pub struct Counted {
    count: Array<MapData, u64>,
    _attached: File,
}

impl Counted {
    /// Begins at 0.
    pub fn begin(bed: &Bed) -> io::Result<Self> {
        // A cgroup's id is the inode number of its directory.
        let cgroup = fs::metadata(bed.cgroup())?.ino();
        let count = kernel::array(8)?;
        let program = Program::load(Kind::RawTracepoint, &counting(&count, cgroup))?;
        let count = Array::try_from(Map::Array(count)).map_err(io::Error::other)?;
        Ok(Self { count, _attached: program.attach_to_sys_exit()? })
    }

    /// How many so far.
    pub fn calls(&self) -> u64 {
        self.count.get(&0, 0).expect("the only value")
    }
}

/// Adds 1 to the array's value where the current process is in `cgroup`.
fn counting(array: &MapData, cgroup: u64) -> Code {
    const GET_CURRENT_CGROUP_ID: i32 = 80;
    const SKIP_UNLESS_EQUAL: u8 = 0x5d;
    const NUMBER: u8 = 0xb7;
    const ATOMIC_ADD: u8 = 0xdb;
    Code::default()
        .call(GET_CURRENT_CGROUP_ID)
        .number(1, cgroup)
        .then(SKIP_UNLESS_EQUAL, 0, 1, 4, 0)
        .first_value(1, array)
        .then(NUMBER, 2, 0, 0, 1)
        .then(ATOMIC_ADD, 1, 2, 0, 0)
        .end()
}
