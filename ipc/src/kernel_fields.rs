//! Which fields of kernel structures the eBPF object reads; the loader puts the offset of each into the object's
//! instructions.

/// The offset of a field that this kernel does not have. Positive, because instructions extend its sign.
pub const NO_SUCH_FIELD: u32 = i32::MAX as u32;

macro_rules! kernel_fields {
    ($dollar:tt: $($slot:ident = $structure:literal . $path:literal $(| $older:literal)?,)*) => {
        /// A field of a kernel structure.
        #[derive(Clone, Copy)]
        #[repr(usize)]
        #[expect(missing_docs, reason = "the kernel's own names say it")]
        pub enum Field { $($slot,)* }
        /// Structure and path of each [`Field`], as BTF names them; behind the path the one that
        /// older kernels know it by.
        pub const KERNEL_FIELDS: &[(&str, &[&str])] =
            &[$(($structure, &[$path $(, $older)?]),)*];
        /// Gives the names of all [`Field`]s to a macro.
        #[macro_export]
        macro_rules! with_fields {
            ($dollar then:ident) => {
                $dollar then! { $($slot)* }
            };
        }
    };
}

kernel_fields! { $:
    TaskPid = "task_struct"."pid",
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
    TaskCred = "task_struct"."cred",
    TaskThreadPid = "task_struct"."thread_pid",
    TaskFs = "task_struct"."fs",
    TaskThreadStatus = "task_struct"."thread_info.status",
    PidLevel = "pid"."level",
    PidNumbers = "pid"."numbers",
    NumberValue = "upid"."nr",
    NumberNamespace = "upid"."ns",
    PidNamespaceInode = "pid_namespace"."ns.inum",
    PidNamespaceReaper = "pid_namespace"."child_reaper",
    FsRootDentry = "fs_struct"."root.dentry",
    FsRootMount = "fs_struct"."root.mnt",
    FsWorkingDentry = "fs_struct"."pwd.dentry",
    FsWorkingMount = "fs_struct"."pwd.mnt",
    CredUid = "cred"."uid",
    CredGid = "cred"."gid",
    CredEuid = "cred"."euid",
    CredEgid = "cred"."egid",
    CredSuid = "cred"."suid",
    CredSgid = "cred"."sgid",
    CredFsuid = "cred"."fsuid",
    CredFsgid = "cred"."fsgid",
    CredSecurebits = "cred"."securebits",
    CredInheritable = "cred"."cap_inheritable",
    CredPermitted = "cred"."cap_permitted",
    CredEffective = "cred"."cap_effective",
    CredBounding = "cred"."cap_bset",
    CredAmbient = "cred"."cap_ambient",
    CredUserNamespace = "cred"."user_ns",
    UserNamespaceInode = "user_namespace"."ns.inum",
    UserNamespaceLevel = "user_namespace"."level",
    TaskThreadNode = "task_struct"."thread_node",
    SignalPids = "signal_struct"."pids",
    SignalLive = "signal_struct"."live.counter",
    SignalThreads = "signal_struct"."nr_threads",
    CssSetDefaultCgroup = "css_set"."dfl_cgrp",
    CgroupParent = "cgroup"."self.parent",
    CgroupLevel = "cgroup"."level",
    // Before 6.1 their ids alone.
    CgroupAncestors = "cgroup"."ancestors",
    CgroupRoot = "cgroup"."root",
    CgroupRootHierarchy = "cgroup_root"."hierarchy_id",
    CgroupKernfsNode = "cgroup"."kn",
    KernfsNodeId = "kernfs_node"."id",
    KernfsNodeName = "kernfs_node"."name",
    // Renamed in 6.15.
    KernfsNodeParent = "kernfs_node"."__parent" | "parent",
    FilesCount = "files_struct"."count.counter",
    FilesTable = "files_struct"."fdt",
    TableFiles = "fdtable"."fd",
    TableSize = "fdtable"."max_fds",
    TableCloseOnExec = "fdtable"."close_on_exec",
    FileFlags = "file"."f_flags",
    FileMode = "file"."f_mode",
    FileInode = "file"."f_inode",
    FileMount = "file"."f_path.mnt",
    FileDentry = "file"."f_path.dentry",
    FilePrivateData = "file"."private_data",
    InodeSuperBlock = "inode"."i_sb",
    InodeNumber = "inode"."i_ino",
    InodeGeneration = "inode"."i_generation",
    InodeMode = "inode"."i_mode",
    InodeRdev = "inode"."i_rdev",
    InodeSize = "inode"."i_size",
    InodeOwner = "inode"."i_uid",
    InodeAliases = "inode"."i_dentry.first",
    InodeLinks = "inode"."i_nlink",
    SuperBlockDevice = "super_block"."s_dev",
    SuperBlockMagic = "super_block"."s_magic",
    ProcInodePid = "proc_inode"."pid",
    ProcInodeInode = "proc_inode"."vfs_inode",
    DentryAlias = "dentry"."d_u.d_alias",
    DentryHash = "dentry"."d_hash.pprev",
    DentryInode = "dentry"."d_inode",
    DentryParent = "dentry"."d_parent",
    DentryNameLength = "dentry"."d_name.len",
    DentryName = "dentry"."d_name.name",
    SuperBlockRoot = "super_block"."s_root",
    SuperBlockMounts = "super_block"."s_mounts",
    // A list's member before 6.18.
    MountNextOfSuperBlock = "mount"."mnt_next_for_sb",
    MountInstance = "mount"."mnt_instance",
    MountVfsmount = "mount"."mnt",
    MountParent = "mount"."mnt_parent",
    MountMountpoint = "mount"."mnt_mountpoint",
    MountNamespace = "mount"."mnt_ns",
    MountNamespaceUsers = "mnt_namespace"."user_ns",
    VfsmountSuperBlock = "vfsmount"."mnt_sb",
    VfsmountRoot = "vfsmount"."mnt_root",
    SocketSock = "socket"."sk",
    SocketAllocSocket = "socket_alloc"."socket",
    SocketAllocInode = "socket_alloc"."vfs_inode",
    SockSocket = "sock"."sk_socket",
    UnixSockPeer = "unix_sock"."peer",
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
    MmExecutable = "mm_struct"."exe_file",
    BinprmFile = "linux_binprm"."file",
    BinprmFilename = "linux_binprm"."filename",
    BinprmInterpreter = "linux_binprm"."interp",
    BinprmArgumentCount = "linux_binprm"."argc",
    BinprmVariableCount = "linux_binprm"."envc",
    MmEnvironmentStart = "mm_struct"."env_start",
    MmEnvironmentEnd = "mm_struct"."env_end",
    RingRequestFile = "io_kiocb"."file",
    RingRequestFlags = "io_kiocb"."flags",
    RingRequestResult = "io_kiocb"."cqe.res",
    RingRequestNumber = "io_kiocb"."cqe.fd",
    RingCloseSlot = "io_close"."file_slot",
    RingCloseNumber = "io_close"."fd",
    RingRequestOpcode = "io_kiocb"."opcode",
    RingOpenSlot = "io_open"."file_slot",
    RingOpenFlags = "io_open"."how.flags",
    RingAcceptSlot = "io_accept"."file_slot",
    RingSocketSlot = "io_socket"."file_slot",
}

/// How many [`Field`]s there are.
pub const FIELD_COUNT: usize = KERNEL_FIELDS.len();
/// By [`Field`], bytes.
pub type Offsets = [u32; FIELD_COUNT];
