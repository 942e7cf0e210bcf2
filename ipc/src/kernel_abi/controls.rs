//! The object's variable through which the loader says what is wanted.

/// Slots of the object's variable `CONTROL`.
pub mod control {
    /// 1: processes are reported unless they are our own; 0: only those in scope.
    pub const SCOPE_IS_EVERYTHING: u32 = 0;
    /// Cgroup v2 id whose subtree is the scope; 0: none.
    pub const SCOPE_CGROUP: u32 = 1;
    /// 1: events are put into the ring; 0: scope and facts are kept up to date, and nothing else.
    pub const REPORTING: u32 = 2;
    /// Kinds that are wanted, one bit each: kinds below 64.
    pub const KINDS_LOW: u32 = 3;
    /// Kinds from 64 on.
    pub const KINDS_HIGH: u32 = 4;
    /// While not 0, files that the process [`LOADER`] opens are entered as files of their classes for good.
    pub const LEARN: u32 = 5;
    /// The loader's own tgid.
    pub const LOADER: u32 = 6;
    /// Classes of files that are wanted, one bit each; see [`crate::file_class::bit`].
    pub const CLASSES: u32 = 7;
    /// 1: only processes of the class [`crate::kernel_abi::class::SELECTED`] are reported.
    pub const SELECTION: u32 = 8;
    /// Cgroup v2 id whose subtree is selected; 0: none.
    pub const SELECTION_CGROUP: u32 = 9;
    /// What the iterator over tasks does: a value in [`crate::kernel_abi::pass`].
    pub const PASS: u32 = 10;
    /// Thread group id of the process from which a marking pass begins; 0: none.
    pub const MARK_ROOT: u32 = 11;
    /// Level of the loader's pid namespace; 0 is the initial one's.
    pub const PID_LEVEL: u32 = 12;
    /// Inode number of the host's root directory; see [`crate::kernel_abi::trust::HOST_ROOT`].
    pub const HOST_ROOT_INODE: u32 = 13;
    /// Device and, in the upper half, inode generation of that.
    pub const HOST_ROOT_DEVICE: u32 = 14;
    /// 1: an urgent record does not wake the loader, which looks by itself; see `loader/src/pace.rs`.
    pub const TOGETHER: u32 = 15;
    /// How often what is wanted has changed.
    pub const CHANGES: u32 = 16;
    /// How many there are.
    pub const COUNT: u32 = 17;
}

/// What the iterator over tasks does with each process; the value of [`control::PASS`].
pub mod pass {
    /// Writes a [`crate::kernel_abi::ProcessRecord`] of each that is reported.
    pub const DESCRIBE: u64 = 0;
    /// Gives and takes [`crate::kernel_abi::class::IN_SCOPE`].
    pub const MARK_SCOPE: u64 = 1;
    /// Gives and takes [`crate::kernel_abi::class::SELECTED`].
    pub const MARK_SELECTION: u64 = 2;
    /// Writes the value of [`crate::kernel_abi::control::PID_LEVEL`], that of the reader.
    pub const TELL_LEVEL: u64 = 3;
    /// Writes the values of [`crate::kernel_abi::control::HOST_ROOT_INODE`] and the slot behind it.
    pub const TELL_ROOT: u64 = 4;
    /// Writes a [`crate::kernel_abi::CgroupRecord`] and a [`crate::kernel_abi::ProcessRecord`] of the process in the slot
    /// [`crate::kernel_abi::control::MARK_ROOT`], if it is in the scope.
    pub const DESCRIBE_ONE: u64 = 5;
    /// Writes a [`crate::kernel_abi::LineRecord`] of each that is in the scope.
    pub const TELL_LINES: u64 = 6;
}

/// Value of the object's variable `CONTROL`, alone in its section `.bss`.
pub type Control = [u64; control::COUNT as usize];

/// What stands in the object's instructions where the loader puts numbers of this kernel; see its `places`.
pub mod place {
    /// In calls: the number of `bpf_rdonly_cast` in BTF. No helper has this one.
    pub const CAST: u32 = 0x7357_4341;
    /// What is put into a register: the number of the structure to which it casts.
    pub const WORD: u32 = 0x7357_5744;
    /// What is put into a register, or added to one: with a [`crate::kernel_fields::Field`] added, its offset.
    pub const OFFSET: u32 = 0x7358_0000;
}
