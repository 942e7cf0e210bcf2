//! Maps of the eBPF object: keys, values, numbers of entries.

use super::abi;

/// Places of the map `FAMILIES` behind those of the families: later stages of a call.
pub mod stage {
    use crate::kernel_abi::kind::FAMILIES;

    /// The file of a call about a file.
    pub const FILE: u32 = FAMILIES;
    /// The bytes of a call that moves bytes.
    pub const SHARE: u32 = FAMILIES + 1;
    /// The descriptors that came with a message.
    pub const RECEIVED: u32 = FAMILIES + 2;
    /// The object of a call that names files.
    pub const OBJECT: u32 = FAMILIES + 3;
    /// Its path after the call.
    pub const AFTER: u32 = FAMILIES + 4;
    /// Its path before the call.
    pub const BEFORE: u32 = FAMILIES + 5;
    /// The script that an interpreter opened.
    pub const SCRIPT: u32 = FAMILIES + 6;
    /// The path of the file of a call about a file.
    pub const PATH: u32 = FAMILIES + 7;
    /// How many places there are.
    pub const COUNT: u32 = FAMILIES + 8;
}

/// Bytes of a path's front that a prefix rule can tell.
pub const PREFIX_BYTES: usize = 64;
/// Bytes of a name that a name rule can tell.
pub const NAME_BYTES: usize = 32;
/// Bytes of a name's end that a suffix rule can tell.
pub const SUFFIX_BYTES: usize = 8;
/// Shortest suffix that a rule can tell, bytes.
pub const MIN_SUFFIX_BYTES: usize = 4;
/// Key of the trie `PREFIXES`: the front of a path, and a NUL where the path ends.
pub type Prefix = [u8; PREFIX_BYTES];
/// Key of the map `NAMES`: a component, and the one below it or zeros; zeros behind each.
pub type Names = [u8; 2 * NAME_BYTES];
/// Key of the map `SUFFIXES`: zeros behind it.
pub type Suffix = [u8; SUFFIX_BYTES];
/// Entries of the maps `PREFIXES`, `NAMES` and `SUFFIXES` each.
pub const CLASS_RULES: u32 = 1024;
/// Entries of the maps `FILE_CLASSES`, in which the oldest make room, and `FIRST_FILES`, in which
/// those of the start stay.
pub const FILE_CLASSES_ENTRIES: u32 = 65_536;
/// Entries of the map `WRITTEN`, in which the oldest make room.
pub const WRITTEN_ENTRIES: u32 = 32_768;
/// Entries of the map `CONNECTED`, in which the oldest make room.
pub const CONNECTED_ENTRIES: u32 = 8192;
/// How long after it was read a secret is looked for, ns. A server sends for days what has nothing to do with
/// the key that it read at its start.
pub const SECRET_WINDOW_NS: u64 = 60_000_000_000;
/// Entries of the map `TRAFFIC`; see [`super::SensorCounters::untracked`].
pub const TRAFFIC_ENTRIES: u32 = 32_768;

/// Entries of the map `PROCESS_CLASS`, eight tgids each: `PID_MAX_LIMIT` of 64-bit kernels / 8.
pub const PROCESS_CLASS_ENTRIES: u32 = 4_194_304 / 8;

/// Words of the object's variable `PLAIN_FILES`, alone in its section `.bss.plain_files`; a power of two.
pub const PLAIN_FILES_ENTRIES: u32 = 65_536;

/// Places in the object's variable `QUIET`, alone in its section `.bss.quiet_traffic`; a power of two.
pub const QUIET_ENTRIES: u32 = 8192;
/// Entries of the map `EPOCHS`, four tgids each.
pub const EPOCHS_ENTRIES: u32 = 4_194_304 / 4;

/// Entries of the map `PROCESS_FACTS`; a process beyond it cannot be killed.
pub const PROCESS_FACTS_ENTRIES: u32 = 65_536;

/// Bits of a process's class byte (map `PROCESS_CLASS`, indexed by tgid).
pub mod class {
    /// Inside the scope that the operator set.
    pub const IN_SCOPE: u8 = 1;
    /// One of Sentinel's own processes: never reported.
    pub const OWN: u8 = 2;
    /// Was in scope once: its exit is still reported.
    pub const LEFT_SCOPE: u8 = 4;
    /// It or one it descends from has opened a secret.
    pub const TAINTED: u8 = 8;
    /// Inside the part of the scope that the analyzer selected.
    pub const SELECTED: u8 = 16;
    /// It was started for a script that it has not opened yet.
    pub const AWAITS_SCRIPT: u8 = 32;
    /// A number may mean two files to it, or one that is not told: see `loader-ebpf/src/plain_files.rs`.
    pub const SHARES_FILES: u8 = 64;
}

/// Bits of [`super::ClassRule::flags`].
pub mod rule {
    /// Its class applies.
    pub const APPLIES: u16 = 1;
    /// Applies to the last component only.
    pub const LAST: u16 = 2;
    /// Its class applies to files only that not everybody may read.
    pub const PRIVATE: u16 = 4;
    /// There are rules for this component together with the one below it.
    pub const PARENT: u16 = 8;
    /// What it says of files that are written applies.
    pub const WRITTEN: u16 = 16;
    /// Applies in proc file systems only.
    pub const PROC: u16 = 32;
    /// Applies to the first two components within a file system only, and after all other rules.
    pub const TOP: u16 = 64;
    /// There are rules about a path's front whose last whole component this is, of which some apply.
    pub const FRONT: u16 = 128;
    /// The same of what they say of files that are written.
    pub const FRONT_WRITTEN: u16 = 256;
    /// The same of what they say of files that not everybody may read.
    pub const FRONT_PRIVATE: u16 = 512;
}

/// Values of the object's constant `RING_COMPLETION`: how `io_uring_complete` tells its result.
pub mod ring_completion {
    /// Not together with the request (before 5.17).
    pub const UNKNOWN: u32 = 0;
    /// `(ctx, req, cqe)`, since 6.15.
    pub const IN_ENTRY: u32 = 1;
    /// `(ctx, req, user_data, res, …)`, since 5.17.
    pub const IN_ARGUMENT: u32 = 2;
}

/// What the map `CALL_COUNTS` holds: a row of [`profile::Row`] for each profile, and those of each CPU
/// one after the other. A profile is an executable, by its inode.
pub mod profile {
    /// Profiles there is room for.
    pub const COUNT: u32 = 512;
    /// Nobody's.
    pub const NONE: u32 = 0;
    /// That of all executables for which there was no room, or which are not known.
    pub const OTHER: u32 = 1;
    /// The first one that an executable may have.
    pub const FIRST: u32 = 2;
    /// Native calls that are told apart, by number; a power of two.
    pub const CALLS: usize = 512;
    /// Place of all other calls, those of other ABIs among them.
    pub const OTHER_CALLS: usize = CALLS - 1;
    /// Places of what is no call: bytes that the calls which send have sent, and that those which write
    /// have written, to whatever it was.
    pub const SENT_BYTES: usize = CALLS - 3;
    /// See [`SENT_BYTES`].
    pub const WRITTEN_BYTES: usize = CALLS - 2;
    /// Calls by number since the sensor was loaded, modulo 2^32.
    pub type Row = [u32; CALLS];
}

/// Entries of the map `PROFILES`, four tgids each.
pub const PROFILES_ENTRIES: u32 = PROCESS_CLASS_ENTRIES * 2;

/// Rows of the syscall table; the last one is that of all numbers for which there is none.
pub const SYSCALLS: usize = 1024;
/// The object's variable `SYSCALLS`, alone in its section `.bss.syscalls`: by number, kind << 8 * ABI, 0 where the
/// call is not monitored; and [`COUNTED`].
pub type SyscallTable = [u32; SYSCALLS];
/// Bit of each row while calls are counted.
pub const COUNTED: u32 = 1 << (8 * abi::COUNT);
