//! Values of records' fields.

/// Values of [`super::Span::origin`].
pub mod origin {
    /// There is no path.
    pub const NONE: u16 = 0;
    /// The kernel's own: from the dentries of the object.
    pub const KERNEL: u16 = 1;
    /// The caller's word, read from its memory after the call; a relative one behind the kernel's
    /// path of the directory that it starts from. Links and `..` are not resolved, and the caller
    /// may have changed it meanwhile.
    pub const GIVEN: u16 = 2;
    /// As [`KERNEL`], but only up to the root of its file system: where that is mounted is not
    /// known.
    pub const FILE_SYSTEM: u16 = 3;
}

/// The rings that records go through.
pub mod ring {
    /// What verdicts rest on; the loader is woken at once.
    pub const ALERT: usize = 0;
    /// The rest, which is drained along, or before it gets too full.
    pub const TELEMETRY: usize = 1;
    /// Bytes of [`ALERT`].
    pub const ALERT_BYTES: u32 = 4 << 20;
    /// Bytes of [`TELEMETRY`].
    pub const TELEMETRY_BYTES: u32 = 8 << 20;
}

/// Values of [`super::RecordHeader::abi`].
pub mod abi {
    /// The machine's own system call numbers.
    pub const NATIVE: u8 = 0;
    /// 32-bit system calls (`int 0x80`, `sysenter`) on a 64-bit kernel.
    pub const COMPAT: u8 = 1;
    /// x32: 64-bit registers and 32-bit pointers, numbers with bit 30 set.
    pub const X32: u8 = 2;
    /// How many there are.
    pub const COUNT: usize = 3;
}

/// Bits of [`super::RecordHeader::flags`].
pub mod flag {
    /// A path, argument vector or list is not complete.
    pub const TRUNCATED: u16 = 1;
    /// The descriptor closes on exec.
    pub const CLOSE_ON_EXEC: u16 = 2;
    /// The child shares its parent's descriptor table (CLONE_FILES).
    pub const SHARED_FILES: u16 = 4;
    /// The descriptor table is shared, so another thread or process may have changed the
    /// descriptor between the call and this record; or which descriptor it was stood in the caller's
    /// memory (socketcall).
    pub const RACY: u16 = 8;
    /// The acting thread has a descriptor table of its own, other than its group's leader.
    pub const PRIVATE_FILES: u16 = 16;
    /// Done by an io_uring; `argument` is what the descriptor alone tells.
    pub const IO_URING: u16 = 32;
    /// The remote address is the caller's word, read from its memory after the call.
    pub const AS_GIVEN: u16 = 64;
    /// The process or one it descends from has opened a secret.
    pub const TAINTED: u16 = 128;
    /// A script: [`crate::kernel_abi::ExecRecord::given`] is its path.
    pub const SCRIPT: u16 = 256;
    /// The environment is longer than what was searched.
    pub const ENVIRONMENT_TRUNCATED: u16 = 512;
    /// The acting process has another pid namespace than the loader: pids in `argument` are not those
    /// of records.
    pub const FOREIGN_PIDS: u16 = 1024;
    /// Sends to other addresses since the last record of this descriptor had none of their own.
    pub const SKIPPED: u16 = 2048;
    /// The descriptor that the record tells of can be read from.
    pub const READS: u16 = 4096;
    /// The descriptor that the record tells of can be written to.
    pub const WRITES: u16 = 8192;
    /// The child shares its parent's memory (CLONE_VM), as it does until its exec after vfork(2).
    pub const SHARED_MEMORY: u16 = 16384;
}

/// Bits of [`super::ExecRecord::trust`] and [`super::ProcessRecord::trust`]: what speaks for a program being the one that
/// root installed at its path. Only all of them together do.
pub mod trust {
    /// The path is the kernel's own and whole, and root in the initial user namespace owns the file and each
    /// directory on the way to it, mount points included; neither group nor others may write to any of them.
    pub const PATH_OF_ROOT: u16 = 1;
    /// The process's root directory is the host's, and the path begins there. The host's root is the one
    /// that process 1 of the loader's pid namespace had when the loader began.
    pub const HOST_ROOT: u16 = 2;
    /// The mounts of the process's root directory and of the executable belong to a mount namespace that the
    /// initial user namespace owns.
    pub const HOST_MOUNTS: u16 = 4;
    /// The process's credentials are those of the initial user namespace.
    pub const HOST_USERS: u16 = 8;
}
