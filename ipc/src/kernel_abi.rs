//! The layout that the eBPF object and user space share: records, map values, offset slots.
//!
//! Integers and fixed arrays only, in the machine's byte order, without padding (asserted below).
//! A record's `kind` decides its type and thereby its length. Bytes become these types in the
//! analyzer only, and a `kind` it does not know is an error there.

/// Bytes kept of a kernel-resolved path; of a longer one the tail is kept.
pub const PATH_BYTES: usize = 512;
/// Bytes kept of an argument vector; of a longer one the head is kept.
pub const ARGV_BYTES: usize = 512;
/// Bytes of a task's `comm`, terminator included (`TASK_COMM_LEN`).
pub const COMM_BYTES: usize = 16;
/// Bytes of the longest record.
pub const MAX_RECORD_BYTES: usize = size_of::<ExecRecord>();

macro_rules! shared_layout {
    ($($(#[$meta:meta])* struct $name:ident: $bytes:literal {
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        #[cfg_attr(
            feature = "user",
            derive(Debug, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)
        )]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }
        const _: () = assert!(size_of::<$name>() == $bytes);
        const _: () = assert!($bytes == 0 $(+ size_of::<$type>())*, "padding");
    )*};
}

shared_layout! {
    /// What every record begins with: who did it, when, and how it ended.
    struct RecordHeader: 64 {
        /// CLOCK_BOOTTIME, ns.
        timestamp: u64,
        /// Start of the thread group's leader, ns since boot (`task_struct.start_boottime`).
        start_time: u64,
        /// Cgroup v2 id of the acting task.
        cgroup_id: u64,
        /// The call's return value; 0 for records that are no syscall.
        result: i64,
        /// The call's arguments, as `kind` defines them.
        argument: [u64; 2],
        /// Thread group id, in the initial pid namespace.
        tgid: u32,
        /// Thread id, in the initial pid namespace.
        tid: u32,
        /// Real user id, in the initial user namespace.
        uid: u32,
        /// One of the values in [`kind`].
        kind: u16,
        /// One of the values in [`abi`].
        abi: u8,
        /// Bits in [`flag`].
        flags: u8,
    }

    /// Identity of a file, pipe or socket: its inode.
    struct Object: 24 {
        /// `inode.i_ino`; for a socket the number in `socket:[…]`.
        inode: u64,
        /// `super_block.s_dev`, the kernel's own encoding: major << 20 | minor.
        device: u32,
        /// `inode.i_generation`.
        generation: u32,
        /// `inode.i_mode`, type bits included; 0 means that no such descriptor is open.
        mode: u32,
        /// `inode.i_rdev` of a device file, encoded like `device`.
        rdev: u32,
    }

    /// A socket's ends as the kernel holds them; all zero for what is no socket.
    struct Socket: 48 {
        /// `AF_*`.
        family: u16,
        /// `SOCK_*`.
        kind: u16,
        /// `IPPROTO_*`.
        protocol: u16,
        /// `sk_state` (`TCP_ESTABLISHED` = 1, `TCP_LISTEN` = 10), used by other families too.
        state: u16,
        /// Host byte order.
        local_port: u16,
        /// Host byte order; 0 when there is no peer.
        remote_port: u16,
        /// Always 0.
        reserved: u32,
        /// Network byte order; IPv4 in the first four bytes.
        local_address: [u8; 16],
        /// Network byte order; IPv4 in the first four bytes.
        remote_address: [u8; 16],
    }

    /// What a descriptor refers to.
    struct Descriptor: 72 {
        /// The inode behind it.
        object: Object,
        /// Filled when the inode is a socket.
        socket: Socket,
    }

    /// A call about one descriptor. `kind` says which number is where.
    struct DescriptorRecord: 136 {
        /// Who, when, result.
        header: RecordHeader,
        /// The descriptor that the call made or used, read after the call.
        descriptor: Descriptor,
    }

    /// A new process (not a thread). The header is the parent's.
    struct ForkRecord: 96 {
        /// The process that called fork, vfork, clone or clone3.
        header: RecordHeader,
        /// Start of the child, ns since boot.
        child_start_time: u64,
        /// Cgroup v2 id of the child.
        child_cgroup_id: u64,
        /// Thread group id of the child.
        child_tgid: u32,
        /// Thread group id of the child's parent; differs from the caller with CLONE_PARENT.
        parent_tgid: u32,
        /// Start of that parent, ns since boot.
        parent_start_time: u64,
    }

    /// A successful exec. The header is the new program's.
    struct ExecRecord: 1360 {
        /// Who, when.
        header: RecordHeader,
        /// What runs now; for a script its interpreter.
        executable: Object,
        /// Descriptors 0, 1 and 2 as the new program finds them.
        stdio: [Descriptor; 3],
        /// `task_struct.comm`, for display only.
        comm: [u8; COMM_BYTES],
        /// Hard links to the executable; 0 means deleted or memfd.
        links: u32,
        /// Where in `path` the path begins.
        path_start: u16,
        /// Bytes of the path.
        path_length: u16,
        /// Bytes of the argument vector.
        argv_length: u16,
        /// Always 0.
        reserved: [u16; 3],
        /// Path of `executable`, not terminated.
        path: [u8; PATH_BYTES],
        /// Arguments, each ended by a NUL.
        argv: [u8; ARGV_BYTES],
    }

    /// Value of the map `PROCESS_FACTS` (by tgid): what the kernel knows of a reported process.
    struct ProcessFacts: 48 {
        /// Start of the thread group's leader, ns since boot.
        start_time: u64,
        /// Cgroup v2 id.
        cgroup_id: u64,
        /// What it runs; all zero before its first exec.
        executable: Object,
        /// Real user id.
        uid: u32,
        /// 1 for a thread of the kernel.
        kernel_thread: u32,
    }

    /// Per-CPU counters of the sensor.
    struct SensorCounters: 32 {
        /// Times a program of ours ran.
        seen: u64,
        /// Of those, how often the event was wanted: kind monitored, process in scope.
        passed: u64,
        /// Records put into the ring.
        emitted: u64,
        /// Records lost because the ring was full.
        dropped: u64,
    }
}

/// Values of [`RecordHeader::kind`]; the comment names the record type and the arguments.
pub mod kind {
    /// [`super::ForkRecord`].
    pub const FORK: u16 = 1;
    /// [`super::ExecRecord`].
    pub const EXEC: u16 = 2;
    /// [`super::RecordHeader`]: the last thread of a process ended.
    pub const EXIT: u16 = 3;
    /// [`super::DescriptorRecord`]: `result` is the new descriptor.
    pub const SOCKET: u16 = 4;
    /// [`super::DescriptorRecord`]: `argument[0]` is the descriptor.
    pub const CONNECT: u16 = 5;
    /// [`super::DescriptorRecord`]: `result` is the new descriptor, `argument[0]` the listener.
    pub const ACCEPT: u16 = 6;
    /// [`super::DescriptorRecord`]: `argument[0]` is the descriptor.
    pub const BIND: u16 = 7;
    /// [`super::DescriptorRecord`]: `argument[0]` is the descriptor.
    pub const LISTEN: u16 = 8;
    /// [`super::DescriptorRecord`]: `result` is the new descriptor, `argument[0]` the old one.
    /// dup, dup2, dup3 and fcntl(F_DUPFD, F_DUPFD_CLOEXEC).
    pub const DUP: u16 = 9;
    /// Only in the syscall table: becomes [`DUP`] or [`SET_DESCRIPTOR_FLAGS`] by its command.
    pub const FCNTL: u16 = 10;
    /// [`super::RecordHeader`]: fcntl(F_SETFD); `argument` is descriptor and flags.
    pub const SET_DESCRIPTOR_FLAGS: u16 = 11;
    /// [`super::RecordHeader`]: `argument[0]` is the descriptor.
    pub const CLOSE: u16 = 12;
    /// [`super::RecordHeader`]: `argument` is the first descriptor, and the last | flags << 32.
    pub const CLOSE_RANGE: u16 = 13;
    /// [`super::DescriptorRecord`], one for each end: `argument` is this end's descriptor and the
    /// other's.
    pub const PIPE: u16 = 14;
    /// [`super::DescriptorRecord`], one for each end: `argument` as for [`PIPE`].
    pub const SOCKETPAIR: u16 = 15;
    /// [`super::RecordHeader`]: unshare(CLONE_FILES).
    pub const UNSHARE_FILES: u16 = 16;
    /// Only in the syscall table: the 32-bit socketcall(2) becomes what its first argument says.
    pub const SOCKETCALL: u16 = 17;
}

/// Values of [`RecordHeader::abi`].
pub mod abi {
    /// The machine's own system call numbers.
    pub const NATIVE: u8 = 0;
    /// 32-bit system calls (`int 0x80`, `sysenter`) on a 64-bit kernel.
    pub const COMPAT: u8 = 1;
    /// How many there are.
    pub const COUNT: usize = 2;
}

/// Bits of [`RecordHeader::flags`].
pub mod flag {
    /// A path or argument vector did not fit.
    pub const TRUNCATED: u8 = 1;
    /// The descriptor closes on exec.
    pub const CLOSE_ON_EXEC: u8 = 2;
    /// The child shares its parent's descriptor table (CLONE_FILES).
    pub const SHARED_FILES: u8 = 4;
    /// The descriptor table is shared, so another thread or process may have changed the
    /// descriptor between the call and this record.
    pub const RACY: u8 = 8;
    /// The acting thread has a descriptor table of its own, other than its group's leader.
    pub const PRIVATE_FILES: u8 = 16;
}

/// Entries of the map `PROCESS_CLASS`, eight tgids each: `PID_MAX_LIMIT` of 64-bit kernels / 8.
pub const PROCESS_CLASS_ENTRIES: u32 = 4_194_304 / 8;

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
}

/// Slots of the map `CONTROL`.
pub mod control {
    /// 1: processes are reported unless they are our own; 0: only those in scope.
    pub const SCOPE_IS_EVERYTHING: u32 = 0;
    /// Cgroup v2 id whose subtree is the scope; 0: none.
    pub const SCOPE_CGROUP: u32 = 1;
    /// 1: events are put into the ring; 0: scope and facts are kept up to date, and nothing else.
    pub const REPORTING: u32 = 2;
    /// How many there are.
    pub const COUNT: u32 = 3;
}

/// Highest system call number + 1 that the syscall table has room for, for one ABI.
pub const SYSCALLS_PER_ABI: usize = 512;
/// Value of the one-element map `SYSCALLS`: kind by `abi * SYSCALLS_PER_ABI + number`, 0 if not
/// monitored.
pub type SyscallTable = [u8; SYSCALLS_PER_ABI * abi::COUNT];

/// The offset of a field that this kernel does not have.
pub const NO_SUCH_FIELD: u32 = u32::MAX;

macro_rules! kernel_fields {
    ($($slot:ident = $structure:literal . $path:literal,)*) => {
        /// A field of a kernel structure; its offset is `OFFSETS[field as usize]` in the object.
        #[derive(Clone, Copy)]
        #[repr(usize)]
        #[expect(missing_docs, reason = "the kernel's own names say it")]
        pub enum Field { $($slot,)* }
        /// Structure and path of each [`Field`], as BTF names them.
        pub const KERNEL_FIELDS: &[(&str, &str)] = &[$(($structure, $path),)*];
    };
}

kernel_fields! {
    TaskTgid = "task_struct"."tgid",
    TaskGroupLeader = "task_struct"."group_leader",
    TaskRealParent = "task_struct"."real_parent",
    TaskStartBoottime = "task_struct"."start_boottime",
    TaskFiles = "task_struct"."files",
    TaskMm = "task_struct"."mm",
    TaskComm = "task_struct"."comm",
    TaskFlags = "task_struct"."flags",
    TaskSignal = "task_struct"."signal",
    TaskCgroups = "task_struct"."cgroups",
    TaskThreadStatus = "task_struct"."thread_info.status",
    SignalLive = "signal_struct"."live.counter",
    CssSetDefaultCgroup = "css_set"."dfl_cgrp",
    CgroupParent = "cgroup"."self.parent",
    CgroupKernfsNode = "cgroup"."kn",
    KernfsNodeId = "kernfs_node"."id",
    FilesCount = "files_struct"."count.counter",
    FilesTable = "files_struct"."fdt",
    TableFiles = "fdtable"."fd",
    TableSize = "fdtable"."max_fds",
    TableCloseOnExec = "fdtable"."close_on_exec",
    FileInode = "file"."f_inode",
    FileMount = "file"."f_path.mnt",
    FileDentry = "file"."f_path.dentry",
    FilePrivateData = "file"."private_data",
    InodeSuperBlock = "inode"."i_sb",
    InodeNumber = "inode"."i_ino",
    InodeGeneration = "inode"."i_generation",
    InodeMode = "inode"."i_mode",
    InodeRdev = "inode"."i_rdev",
    InodeLinks = "inode"."i_nlink",
    SuperBlockDevice = "super_block"."s_dev",
    DentryParent = "dentry"."d_parent",
    DentryNameLength = "dentry"."d_name.len",
    DentryName = "dentry"."d_name.name",
    MountVfsmount = "mount"."mnt",
    MountParent = "mount"."mnt_parent",
    MountMountpoint = "mount"."mnt_mountpoint",
    VfsmountRoot = "vfsmount"."mnt_root",
    SocketSock = "socket"."sk",
    SockFamily = "sock"."__sk_common.skc_family",
    SockState = "sock"."__sk_common.skc_state",
    SockLocalPort = "sock"."__sk_common.skc_num",
    SockRemotePort = "sock"."__sk_common.skc_dport",
    SockLocalV4 = "sock"."__sk_common.skc_rcv_saddr",
    SockRemoteV4 = "sock"."__sk_common.skc_daddr",
    SockLocalV6 = "sock"."__sk_common.skc_v6_rcv_saddr",
    SockRemoteV6 = "sock"."__sk_common.skc_v6_daddr",
    SockType = "sock"."sk_type",
    SockProtocol = "sock"."sk_protocol",
    MmArgStart = "mm_struct"."arg_start",
    MmArgEnd = "mm_struct"."arg_end",
    BinprmFile = "linux_binprm"."file",
}

/// How many [`Field`]s there are.
pub const FIELD_COUNT: usize = KERNEL_FIELDS.len();
/// Value of the object's constant `OFFSETS`, bytes.
pub type Offsets = [u32; FIELD_COUNT];
