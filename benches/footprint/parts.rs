//! The three processes of a running Sentinel: what time and memory each has taken.

use std::{collections::BTreeMap, fs, time::Duration};

use sentinel_tests::sentinel::Sentinel;

/// Analyzer, loader and enforcer.
pub struct Parts([u32; 3]);

impl Parts {
    /// Those of this one.
    pub fn of(sentinel: &Sentinel) -> Self {
        Self([sentinel.pid(), sentinel.loader(), sentinel.enforcer()])
    }

    /// Processor time of each so far.
    pub fn times(&self) -> [Duration; 3] {
        self.0.map(time_of)
    }

    /// Resident memory of each, KiB.
    pub fn memory(&self) -> [u64; 3] {
        self.0.map(memory_of)
    }

    /// Memory of the maps in the kernel, which the loader holds, KiB.
    pub fn maps(&self) -> u64 {
        let entries = fs::read_dir(format!("/proc/{}/fdinfo", self.0[1])).expect("the loader");
        let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
        // One map may have several descriptors.
        let maps: BTreeMap<u64, u64> = texts
            .filter_map(|text| {
                Some((number_behind(&text, "map_id:")?, number_behind(&text, "memlock:")?))
            })
            .collect();
        maps.values().sum::<u64>() / 1024
    }
}

/// Processor time of a process so far, in user space and in the kernel: what utime and stime are made of, which
/// tell it in ticks (proc(5), schedstat).
pub fn time_of(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process").flatten();
    let times = threads.map(|thread| -> u64 {
        let text = fs::read_to_string(thread.path().join("schedstat")).expect("a thread");
        text.split(' ').next().and_then(|time| time.parse().ok()).expect("its time")
    });
    Duration::from_nanos(times.sum())
}

/// Resident memory of a process, KiB.
pub fn memory_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    number_behind(&status, "VmRSS:").expect("VmRSS")
}

/// The number in the line that begins with `name`.
fn number_behind(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}
