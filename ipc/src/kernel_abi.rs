//! The layout that the eBPF object and user space share: records, map keys and values.
//!
//! Integers and fixed arrays only, in the machine's byte order, without padding (asserted below).
//! A record's `kind` decides its type and thereby its length. Bytes become these types in the
//! analyzer only, and a `kind` it does not know is an error there.

/// Bytes kept of a kernel-resolved path; of a longer one the tail is kept.
pub const PATH_BYTES: usize = 512;
/// Bytes kept of an argument vector; of a longer one the head is kept.
pub const ARGV_BYTES: usize = 512;
/// Bytes kept of the environment variables of [`ENVIRONMENT`].
pub const ENVIRONMENT_BYTES: usize = 512;
/// Bytes kept of a path as a caller gave it; of a longer one the head is kept.
pub const GIVEN_BYTES: usize = 256;
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
    struct RecordHeader: 80 {
        /// CLOCK_BOOTTIME, ns.
        timestamp: u64,
        /// Start of the thread group's leader, ns since boot (`task_struct.start_boottime`).
        start_time: u64,
        /// Cgroup v2 id of the acting task.
        cgroup_id: u64,
        /// The call's return value; 0 for records that are no syscall.
        result: i64,
        /// The call's arguments, as `kind` defines them.
        argument: [u64; 3],
        /// Thread group id, in the loader's pid namespace, as all numbers of processes; 0 if it is
        /// outside of that.
        tgid: u32,
        /// Thread id; 0 if it is outside of the loader's pid namespace.
        tid: u32,
        /// Real user id, in the initial user namespace.
        uid: u32,
        /// Effective user id, in the initial user namespace.
        euid: u32,
        /// One of the values in [`kind`].
        kind: u16,
        /// The system call's number in its ABI, or [`NO_CALL`].
        call: u16,
        /// One of the values in [`abi`].
        abi: u8,
        /// Always 0.
        reserved: u8,
        /// Bits in [`flag`].
        flags: u16,
    }

    /// Identity of a file, pipe or socket, its inode; and what the inode said at the time.
    struct Object: 40 {
        /// `inode.i_ino`; for a socket the number in `socket:[…]`.
        inode: u64,
        /// `inode.i_size`, bytes.
        size: u64,
        /// `super_block.s_dev`, the kernel's own encoding: major << 20 | minor.
        device: u32,
        /// `inode.i_generation`.
        generation: u32,
        /// `inode.i_mode`, type bits included; 0 means that the object is not known, or that no such
        /// descriptor is open.
        mode: u32,
        /// `inode.i_rdev` of a device file, encoded like `device`.
        rdev: u32,
        /// `inode.i_nlink`; 0 means deleted, or a memfd.
        links: u32,
        /// `inode.i_uid`, in the initial user namespace.
        owner: u32,
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
        /// Inode of the unix socket at its other end, of an accepted one; else 0. The kernel numbers
        /// sockets with 32 bits.
        peer: u32,
        /// Network byte order; IPv4 in the first four bytes.
        local_address: [u8; 16],
        /// Network byte order; IPv4 in the first four bytes.
        remote_address: [u8; 16],
    }

    /// What a descriptor refers to.
    struct Descriptor: 88 {
        /// The inode behind it.
        object: Object,
        /// Filled when the inode is a socket.
        socket: Socket,
    }

    /// Where a path lies in a record's array, and where it comes from.
    struct Span: 8 {
        /// First byte.
        start: u16,
        /// Bytes.
        length: u16,
        /// One of the values in [`origin`].
        origin: u16,
        /// Of [`kind::SCRIPT`] bits in [`trust`]; else 0.
        reserved: u16,
    }

    /// Who a process may act as.
    struct Credentials: 88 {
        /// Real, effective, saved and file system user id, in the initial user namespace.
        uid: [u32; 4],
        /// Real, effective, saved and file system group id, in the initial user namespace.
        gid: [u32; 4],
        /// `cap_inheritable`, one bit a capability.
        inheritable: u64,
        /// `cap_permitted`.
        permitted: u64,
        /// `cap_effective`.
        effective: u64,
        /// `cap_bset`.
        bounding: u64,
        /// `cap_ambient`.
        ambient: u64,
        /// Inode number of the user namespace in which the capabilities hold; 0 means that the
        /// credentials are not known.
        user_namespace: u32,
        /// How deep that namespace is nested; 0 is the initial one.
        user_namespace_level: u32,
        /// `SECBIT_*`.
        securebits: u32,
        /// Always 0.
        reserved: u32,
    }

    /// A call about one descriptor. `kind` says which number is where.
    struct DescriptorRecord: 168 {
        /// Who, when, result.
        header: RecordHeader,
        /// The descriptor that the call made or used, read after the call.
        descriptor: Descriptor,
    }

    /// A call about one open file.
    struct FileRecord: 648 {
        /// Who, when, result.
        header: RecordHeader,
        /// The file, read after the call.
        object: Object,
        /// Where in `path` its path lies.
        span: Span,
        /// What [`crate::file_class`] says of it; 0 if nothing.
        class: u32,
        /// `file.f_flags`: how it is open.
        open_flags: u32,
        /// Path of `object`, not terminated.
        path: [u8; PATH_BYTES],
    }

    /// A call about names of files.
    struct PathRecord: 2208 {
        /// Who, when, result.
        header: RecordHeader,
        /// The file that was named, if it is known.
        object: Object,
        /// Where in `path` the two paths lie; `origin` 0 where the call has only one.
        span: [Span; 2],
        /// What [`crate::file_class`] says of the file that the call puts in place or acts on; 0 if
        /// nothing.
        class: u32,
        /// What it says of the old name of a rename or link, if that is written to; 0 if nothing.
        source_class: u32,
        /// A mount's file system type; else zero.
        label: [u8; COMM_BYTES],
        /// The paths, not terminated.
        path: [[u8; 2 * PATH_BYTES]; 2],
    }

    /// Bytes that went through a descriptor.
    struct TrafficRecord: 208 {
        /// Who, when, result.
        header: RecordHeader,
        /// The descriptor when its traffic began; a socket's remote end is that of the last call.
        descriptor: Descriptor,
        /// Bytes read or received since the traffic began.
        received: u64,
        /// Bytes written or sent since the traffic began.
        sent: u64,
        /// Calls that read or received.
        reads: u32,
        /// Calls that wrote or sent.
        writes: u32,
        /// The object's class; see [`crate::file_class`].
        class: u32,
        /// Always 0.
        reserved: [u32; 3],
    }

    /// A new process (not a thread). The header is the parent's.
    struct ForkRecord: 112 {
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
    struct ExecRecord: 2392 {
        /// Who, when; `argument[0]` is the id of the thread that called exec; 0 if that is not
        /// known.
        header: RecordHeader,
        /// What runs now; for a script its interpreter.
        executable: Object,
        /// Descriptors 0, 1 and 2 as the new program finds them.
        stdio: [Descriptor; 3],
        /// What the process could act as before; see [`Credentials::user_namespace`].
        before: Credentials,
        /// What it can act as now.
        after: Credentials,
        /// `task_struct.comm`, for display only.
        comm: [u8; COMM_BYTES],
        /// `linux_binprm.argc`.
        argument_count: u32,
        /// `linux_binprm.envc`.
        variable_count: u32,
        /// Where in `path` the path lies.
        span: Span,
        /// Bytes of `argv`.
        argv_length: u16,
        /// Bytes of `given`.
        given_length: u16,
        /// Bytes of `environment`.
        environment_length: u16,
        /// Bits in [`trust`].
        trust: u16,
        /// Path of `executable`, not terminated.
        path: [u8; PATH_BYTES],
        /// Arguments, each ended by a NUL.
        argv: [u8; ARGV_BYTES],
        /// The path that was given to exec; of a script its own.
        given: [u8; GIVEN_BYTES],
        /// Those variables of [`ENVIRONMENT`] that are set, as `NAME=value`, each ended by a NUL.
        environment: [u8; ENVIRONMENT_BYTES],
    }

    /// Credentials that changed without exec.
    struct CredentialsRecord: 256 {
        /// Who, when, result; `argument` is the call's.
        header: RecordHeader,
        /// What the thread could act as before; see [`Credentials::user_namespace`].
        before: Credentials,
        /// What it can act as now.
        after: Credentials,
    }

    /// A call about another process.
    struct TargetRecord: 96 {
        /// Who, when, result.
        header: RecordHeader,
        /// Start of the process that `argument` names, ns since boot; 0 if it is not known.
        target_start_time: u64,
        /// Its thread group id; 0 if it is not known.
        target_tgid: u32,
        /// 1 if it is one of Sentinel's own, of which nothing else is told; else 0.
        target_is_own: u32,
    }

    /// A thread's new name.
    struct NameRecord: 96 {
        /// Who, when.
        header: RecordHeader,
        /// `task_struct.comm`.
        comm: [u8; COMM_BYTES],
    }

    /// A cgroup that was made or removed.
    struct CgroupRecord: 608 {
        /// Who, when.
        header: RecordHeader,
        /// Its v2 id.
        id: u64,
        /// Where in `path` its path within the hierarchy lies.
        span: Span,
        /// The path, not terminated.
        path: [u8; PATH_BYTES],
    }

    /// A socket whose state changed in its owner's own call.
    struct SocketRecord: 128 {
        /// Who, when; `argument` is the old and the new state.
        header: RecordHeader,
        /// Its ends.
        socket: Socket,
    }

    /// A process that was running when a snapshot came to it. The header is about it, not about
    /// who took the snapshot.
    struct ProcessRecord: 1024 {
        /// Who it is; `timestamp` is when it was looked at.
        header: RecordHeader,
        /// What it runs; for a script its interpreter.
        executable: Object,
        /// Its descriptors 0, 1 and 2.
        stdio: [Descriptor; 3],
        /// What it may act as.
        credentials: Credentials,
        /// Start of its parent, ns since boot; 0 if it has none.
        parent_start_time: u64,
        /// Thread group id of its parent.
        parent_tgid: u32,
        /// Bits in [`trust`]; of the root and the rights as they are now.
        trust: u16,
        /// Always 0.
        reserved: u16,
        /// `task_struct.comm`, for display only.
        comm: [u8; COMM_BYTES],
        /// Where in `path` the path lies.
        span: Span,
        /// Path of `executable`, not terminated.
        path: [u8; PATH_BYTES],
    }

    /// A pipe or socket that a process held when a snapshot came to it. The header is the process's.
    struct HeldRecord: 176 {
        /// Who holds it; `argument[0]` is the descriptor.
        header: RecordHeader,
        /// What it is.
        descriptor: Descriptor,
        /// Inode of the unix socket at its other end; 0 if there is none.
        peer: u64,
    }

    /// Value of the map `PROCESS_FACTS` (by tgid): what the kernel knows of a reported process.
    struct ProcessFacts: 152 {
        /// Start of the thread group's leader, ns since boot.
        start_time: u64,
        /// Cgroup v2 id.
        cgroup_id: u64,
        /// What it runs; all zero before its first exec.
        executable: Object,
        /// As it was at its last fork, exec or change of credentials.
        credentials: Credentials,
        /// Real user id.
        uid: u32,
        /// 1 for a thread of the kernel.
        kernel_thread: u32,
    }

    /// Value of the map `LINEAGE` (by tgid): whom a process descends from, by their starts (ns since boot;
    /// 0 for none). An ancestor that has ended is still one.
    struct Line: 64 {
        /// The one that began the program which the process runs, however many forks ago.
        founder: u64,
        /// The nearest first.
        nearest: [u64; 7],
    }

    /// What [`pass::TELL_LINES`] writes of each process in the scope.
    struct LineRecord: 104 {
        /// Start of the thread group's leader, ns since boot.
        start_time: u64,
        /// Cgroup v2 id.
        cgroup_id: u64,
        /// Inode of what it runs; see [`Object`].
        inode: u64,
        /// Its device.
        device: u32,
        /// Its generation.
        generation: u32,
        /// Thread group id.
        tgid: u32,
        /// Real user id.
        uid: u32,
        /// Whom it descends from.
        line: Line,
    }

    /// Key of the maps `FILE_CLASSES` and `FIRST_FILES`: an inode.
    struct ObjectKey: 16 {
        /// See [`Object`].
        inode: u64,
        /// See [`Object`].
        device: u32,
        /// See [`Object`].
        generation: u32,
    }

    /// Value of the maps `PREFIXES`, `NAMES` and `SUFFIXES`.
    struct ClassRule: 8 {
        /// What a file is that the rule applies to, whatever is done with it.
        class: u32,
        /// What it is when it is written: the number of a class of [`crate::file_class::WRITES`]; 0 if nothing.
        written: u16,
        /// Bits in [`rule`].
        flags: u16,
    }

    /// Per-CPU counters of the sensor. Pairs are by ring, as [`ring`] numbers them.
    struct SensorCounters: 64 {
        /// Times a hook of ours ran, but for those that only help others.
        seen: u64,
        /// Events that were wanted: kind monitored, process in scope. One run may find several.
        passed: u64,
        /// Records put into each ring.
        emitted: [u64; 2],
        /// Records lost because that ring was full.
        dropped: [u64; 2],
        /// Calls of which something was not told: user memory that could not be read, requests and
        /// messages beyond what is looked at.
        unreadable: u64,
        /// Times that traffic was not added up, because its process or all of them had too many
        /// descriptors.
        untracked: u64,
    }
}

/// The environment variables that an exec record tells: each makes the program run code that
/// someone else chose.
pub const ENVIRONMENT: [&[u8]; 12] = [
    b"LD_PRELOAD",
    b"LD_AUDIT",
    b"LD_LIBRARY_PATH",
    b"GLIBC_TUNABLES",
    b"BASH_ENV",
    b"ENV",
    b"PROMPT_COMMAND",
    b"PYTHONSTARTUP",
    b"PYTHONPATH",
    b"PERL5OPT",
    b"RUBYOPT",
    b"NODE_OPTIONS",
];

/// [`RecordHeader::call`] of an event that is no system call.
pub const NO_CALL: u16 = u16::MAX;

/// Values of [`RecordHeader::kind`]; the comment names the record type and the arguments. The upper
/// half of the low byte is the family: the program that handles the call.
pub mod kind {
    /// [`super::ForkRecord`].
    pub const FORK: u16 = 0x01;
    /// [`super::ExecRecord`].
    pub const EXEC: u16 = 0x02;
    /// [`super::RecordHeader`]: the last thread of a process ended.
    pub const EXIT: u16 = 0x03;
    /// [`super::CgroupRecord`].
    pub const CGROUP_MADE: u16 = 0x04;
    /// [`super::CgroupRecord`].
    pub const CGROUP_REMOVED: u16 = 0x05;
    /// [`super::TargetRecord`]: the process that moved; `argument[0]` is the cgroup's v2 id.
    pub const CGROUP_MOVED: u16 = 0x06;
    /// [`super::SocketRecord`]: a TCP socket that begins to connect.
    pub const TCP_CONNECTING: u16 = 0x07;
    /// [`super::ProcessRecord`]: found by a snapshot, as are the next three.
    pub const PROCESS: u16 = 0x08;
    /// [`super::HeldRecord`].
    pub const HELD: u16 = 0x09;
    /// [`super::FileRecord`]: a file of a class that a process has open; `argument[0]` is the
    /// descriptor.
    pub const HELD_FILE: u16 = 0x0a;
    /// [`super::CgroupRecord`]: where a process is.
    pub const CGROUP_FOUND: u16 = 0x0b;

    /// [`super::DescriptorRecord`]: `result` is the new descriptor.
    pub const SOCKET: u16 = 0x10;
    /// [`super::DescriptorRecord`]: `argument[0]` is the descriptor.
    pub const CONNECT: u16 = 0x11;
    /// [`super::DescriptorRecord`]: `result` is the new descriptor, `argument[0]` the listener.
    pub const ACCEPT: u16 = 0x12;
    /// [`super::DescriptorRecord`]: `argument[0]` is the descriptor.
    pub const BIND: u16 = 0x13;
    /// [`super::DescriptorRecord`]: `argument[0]` is the descriptor.
    pub const LISTEN: u16 = 0x14;
    /// [`super::DescriptorRecord`]: `result` is the new descriptor, `argument[0]` the old one.
    /// dup, dup2, dup3 and fcntl(F_DUPFD, F_DUPFD_CLOEXEC).
    pub const DUP: u16 = 0x15;
    /// Only in the syscall table: becomes [`DUP`] or [`SET_DESCRIPTOR_FLAGS`] by its command.
    pub const FCNTL: u16 = 0x16;
    /// [`super::RecordHeader`]: fcntl(F_SETFD); `argument` is descriptor and flags.
    pub const SET_DESCRIPTOR_FLAGS: u16 = 0x17;
    /// [`super::RecordHeader`]: `argument[0]` is the descriptor.
    pub const CLOSE: u16 = 0x18;
    /// [`super::RecordHeader`]: `argument` is the first descriptor, and the last | flags << 32.
    pub const CLOSE_RANGE: u16 = 0x19;
    /// [`super::DescriptorRecord`], one for each end: `argument` is this end's descriptor and the
    /// other's.
    pub const PIPE: u16 = 0x1a;
    /// [`super::DescriptorRecord`], one for each end: `argument` as for [`PIPE`].
    pub const SOCKETPAIR: u16 = 0x1b;
    /// Only in the syscall table: the 32-bit socketcall(2) becomes what its first argument says.
    pub const SOCKETCALL: u16 = 0x1c;
    /// [`super::DescriptorRecord`]: a descriptor that another process gave, `argument[0]`; from
    /// SCM_RIGHTS (`argument[1]` is the socket) or pidfd_getfd(2) (the pidfd).
    pub const RECEIVED: u16 = 0x1d;
    /// [`super::DescriptorRecord`]: setns(2); `argument` is the descriptor and CLONE_NEW*.
    pub const SETNS: u16 = 0x1e;
    /// [`super::RecordHeader`]: the loader's own getsid(2), which shows that its events arrive. It
    /// passes through the programs of all families.
    pub const CANARY: u16 = 0x1f;

    /// [`super::FileRecord`]: `result` is the new descriptor; `argument[0]` is O_TRUNC if the call asked
    /// for that, which its file does not tell. Only files of a class, and those that are not known: gone
    /// again, or opened into an io_uring's own table.
    pub const OPEN: u16 = 0x20;
    /// Only subscribed to: makes [`OPEN`] tell of files without a class as well.
    pub const OPEN_ANY: u16 = 0x21;
    /// [`super::FileRecord`]: `result` is the new descriptor; `argument[1]` is MFD_*.
    pub const MEMFD: u16 = 0x22;
    /// [`super::FileRecord`]: mmap(2) of a file of a class; `argument` is descriptor, PROT_*, MAP_*.
    pub const MAP: u16 = 0x23;
    /// [`super::FileRecord`]: `argument` is descriptor and mode; only if the mode has an execute,
    /// setuid or setgid bit.
    pub const FCHMOD: u16 = 0x24;
    /// [`super::FileRecord`]: `argument` is descriptor and length in bytes.
    pub const FTRUNCATE: u16 = 0x25;
    /// [`super::FileRecord`]: finit_module(2), failed ones too; `argument` is descriptor and flags.
    pub const LOAD_MODULE_FILE: u16 = 0x26;
    /// [`super::FileRecord`]: an interpreter opened the script that it was started for; `argument[0]` is the
    /// descriptor, the span's last word the bits in [`super::trust`] for the script's path.
    pub const SCRIPT: u16 = 0x27;

    /// Only in the syscall table: read and its kin; becomes [`TRAFFIC`].
    pub const READ: u16 = 0x30;
    /// Only in the syscall table: write and its kin.
    pub const WRITE: u16 = 0x31;
    /// Only in the syscall table: sendto(2).
    pub const SENDTO: u16 = 0x32;
    /// Only in the syscall table: sendmsg(2).
    pub const SENDMSG: u16 = 0x33;
    /// Only in the syscall table: sendmmsg(2).
    pub const SENDMMSG: u16 = 0x34;
    /// Only in the syscall table: recvmsg(2); also [`RECEIVED`].
    pub const RECVMSG: u16 = 0x35;
    /// Only in the syscall table: recvmmsg(2); also [`RECEIVED`].
    pub const RECVMMSG: u16 = 0x36;
    /// Only in the syscall table: sendfile(2), to the first descriptor from the second.
    pub const SENDFILE: u16 = 0x37;
    /// Only in the syscall table: splice(2), copy_file_range(2), from the first to the third.
    pub const SPLICE: u16 = 0x38;
    /// Only in the syscall table: tee(2), from the first to the second.
    pub const TEE: u16 = 0x39;
    /// Only in the syscall table: io_submit(2), which is counted as unreadable.
    pub const SUBMIT: u16 = 0x3a;
    /// [`super::TrafficRecord`]: a send; `argument` is the descriptor, the bytes and the calls since
    /// the last record of this descriptor.
    pub const SENT: u16 = 0x3e;
    /// [`super::TrafficRecord`]: totals of a descriptor that was closed, replaced, or open at the
    /// end of its process; `argument[0]` is the descriptor.
    pub const TRAFFIC: u16 = 0x3f;

    /// [`super::PathRecord`]: old and new path; `argument[0]` is RENAME_*.
    pub const RENAME: u16 = 0x40;
    /// [`super::PathRecord`]: existing and new path; `argument[0]` is AT_*.
    pub const LINK: u16 = 0x41;
    /// [`super::PathRecord`]: content and path of a symbolic link.
    pub const SYMLINK: u16 = 0x42;
    /// [`super::PathRecord`]: one path; `argument[0]` is AT_REMOVEDIR or 0.
    pub const UNLINK: u16 = 0x43;
    /// [`super::PathRecord`]: one path; `argument[0]` is the mode. Only if the mode has an execute,
    /// setuid or setgid bit.
    pub const CHMOD: u16 = 0x44;
    /// [`super::PathRecord`]: one path; `argument[0]` is the length in bytes.
    pub const TRUNCATE: u16 = 0x45;
    /// [`super::PathRecord`]: mount(2), failed ones too: source and mount point, `label` is the
    /// type; `argument[0]` is MS_*.
    pub const MOUNT: u16 = 0x46;
    /// [`super::PathRecord`]: move_mount(2), failed ones too: from and to; `argument[0]` is MOVE_MOUNT_*.
    pub const MOVE_MOUNT: u16 = 0x47;
    /// [`super::PathRecord`]: umount2(2), failed ones too: one path; `argument[0]` is MNT_* and UMOUNT_*.
    pub const UNMOUNT: u16 = 0x48;
    /// [`super::PathRecord`]: mkdir(2): one path; `argument[0]` is the mode.
    pub const MKDIR: u16 = 0x49;
    /// [`super::PathRecord`]: mknod(2): one path; `argument` is mode and device.
    pub const MKNOD: u16 = 0x4a;
    /// [`super::PathRecord`]: chroot(2): one path.
    pub const CHROOT: u16 = 0x4b;

    /// [`super::CredentialsRecord`]: a call that set ids or capabilities, failed ones too.
    pub const CREDENTIALS: u16 = 0x50;
    /// [`super::TargetRecord`]: failed ones too; `argument` is PTRACE_*, pid and address.
    pub const PTRACE: u16 = 0x51;
    /// [`super::TargetRecord`]: failed ones too; `argument[0]` is 1 for process_vm_writev(2), 0 for
    /// process_vm_readv(2); `argument[1]` is the pid.
    pub const PROCESS_MEMORY: u16 = 0x52;
    /// [`super::TargetRecord`]: kill, tkill, tgkill, failed ones too; `argument` is signal and pid.
    pub const KILL: u16 = 0x53;
    /// [`super::RecordHeader`]: unshare(2); `argument[0]` is CLONE_*.
    pub const UNSHARE: u16 = 0x54;
    /// [`super::NameRecord`]: prctl(PR_SET_NAME).
    pub const SET_NAME: u16 = 0x55;
    /// Only in the syscall table: becomes [`SET_NAME`] or [`CREDENTIALS`] by its first argument.
    pub const PRCTL: u16 = 0x56;
    /// [`super::RecordHeader`]: failed ones too; `argument` is the command and the first eight
    /// bytes of its attributes.
    pub const BPF: u16 = 0x57;
    /// [`super::RecordHeader`]: init_module(2), failed ones too; `argument[0]` is the length.
    pub const LOAD_MODULE: u16 = 0x58;
    /// [`super::RecordHeader`]: `argument[0]` is the flags.
    pub const USERFAULTFD: u16 = 0x59;
    /// [`super::RecordHeader`]: pidfd_send_signal(2), failed ones too; `argument` is signal and
    /// pidfd.
    pub const PIDFD_KILL: u16 = 0x5a;

    /// Only in the syscall table, added to a kind from [`RENAME`] on: the form of the call that
    /// takes a directory's descriptor before each path.
    pub const AT: u16 = 0x20;

    /// Kinds that go through [`super::ring::ALERT`] whatever else they tell, one bit each: those
    /// below 64, and the others.
    pub const URGENT: [u64; 2] = split(&[
        FORK,
        EXEC,
        SCRIPT,
        CONNECT,
        CANARY,
        LOAD_MODULE_FILE,
        CREDENTIALS,
        PTRACE,
        PROCESS_MEMORY,
        BPF,
        LOAD_MODULE,
    ]);

    const fn split(kinds: &[u16]) -> [u64; 2] {
        let (mut low, mut high) = (0, 0);
        let mut rest = kinds;
        while let [first, others @ ..] = rest {
            if *first < 64 {
                low |= 1 << *first;
            } else {
                high |= 1 << (*first - 64);
            }
            rest = others;
        }
        [low, high]
    }

    /// Highest kind + 1.
    pub const COUNT: u16 = 0x70;
    /// Highest family of a system call + 1; a kind's family is `kind >> FAMILY_SHIFT`.
    pub const FAMILIES: u32 = 7;
    /// See [`FAMILIES`].
    pub const FAMILY_SHIFT: u16 = 4;
}

/// Bytes of a record of `kind`; `None` if there are no records of it.
pub const fn record_bytes(kind: u16) -> Option<usize> {
    Some(match kind {
        kind::FORK => size_of::<ForkRecord>(),
        kind::EXEC => size_of::<ExecRecord>(),
        kind::CGROUP_MADE | kind::CGROUP_REMOVED | kind::CGROUP_FOUND => size_of::<CgroupRecord>(),
        kind::TCP_CONNECTING => size_of::<SocketRecord>(),
        kind::PROCESS => size_of::<ProcessRecord>(),
        kind::HELD => size_of::<HeldRecord>(),
        kind::SOCKET
        | kind::CONNECT
        | kind::ACCEPT
        | kind::BIND
        | kind::LISTEN
        | kind::DUP
        | kind::PIPE
        | kind::SOCKETPAIR
        | kind::RECEIVED
        | kind::SETNS => size_of::<DescriptorRecord>(),
        kind::HELD_FILE
        | kind::OPEN
        | kind::MEMFD
        | kind::MAP
        | kind::FCHMOD
        | kind::FTRUNCATE
        | kind::SCRIPT
        | kind::LOAD_MODULE_FILE => size_of::<FileRecord>(),
        kind::SENT | kind::TRAFFIC => size_of::<TrafficRecord>(),
        kind::RENAME..=kind::CHROOT => size_of::<PathRecord>(),
        kind::CREDENTIALS => size_of::<CredentialsRecord>(),
        kind::CGROUP_MOVED | kind::PTRACE | kind::PROCESS_MEMORY | kind::KILL => {
            size_of::<TargetRecord>()
        }
        kind::SET_NAME => size_of::<NameRecord>(),
        kind::EXIT
        | kind::SET_DESCRIPTOR_FLAGS
        | kind::CLOSE
        | kind::CLOSE_RANGE
        | kind::CANARY
        | kind::UNSHARE
        | kind::BPF
        | kind::LOAD_MODULE
        | kind::USERFAULTFD
        | kind::PIDFD_KILL => size_of::<RecordHeader>(),
        _ => return None,
    })
}

/// Places of the map `FAMILIES` behind those of the families: later stages of a call.
pub mod stage {
    use super::kind::FAMILIES;

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
    /// How many places there are.
    pub const COUNT: u32 = FAMILIES + 7;
}

/// Values of [`Span::origin`].
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
    pub const ALERT_BYTES: u32 = 1 << 20;
    /// Bytes of [`TELEMETRY`].
    pub const TELEMETRY_BYTES: u32 = 8 << 20;
}

/// Values of [`RecordHeader::abi`].
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

/// Bits of [`RecordHeader::flags`].
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
    /// A script: [`super::ExecRecord::given`] is its path.
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

/// Bits of [`ExecRecord::trust`] and [`ProcessRecord::trust`]: what speaks for a program being the one that
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
/// Entries of the map `TRAFFIC`; see [`SensorCounters::untracked`].
pub const TRAFFIC_ENTRIES: u32 = 32_768;

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
    /// It or one it descends from has opened a secret.
    pub const TAINTED: u8 = 8;
    /// Inside the part of the scope that the analyzer selected.
    pub const SELECTED: u8 = 16;
    /// It was started for a script that it has not opened yet.
    pub const AWAITS_SCRIPT: u8 = 32;
}

/// Bits of [`ClassRule::flags`].
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
    /// 1: only processes of the class [`super::class::SELECTED`] are reported.
    pub const SELECTION: u32 = 8;
    /// Cgroup v2 id whose subtree is selected; 0: none.
    pub const SELECTION_CGROUP: u32 = 9;
    /// What the iterator over tasks does: a value in [`super::pass`].
    pub const PASS: u32 = 10;
    /// Thread group id of the process from which a marking pass begins; 0: none.
    pub const MARK_ROOT: u32 = 11;
    /// Level of the loader's pid namespace; 0 is the initial one's.
    pub const PID_LEVEL: u32 = 12;
    /// Inode number of the host's root directory; see [`super::trust::HOST_ROOT`].
    pub const HOST_ROOT_INODE: u32 = 13;
    /// Device and, in the upper half, inode generation of that.
    pub const HOST_ROOT_DEVICE: u32 = 14;
    /// How many there are.
    pub const COUNT: u32 = 15;
}

/// What the iterator over tasks does with each process; the value of [`control::PASS`].
pub mod pass {
    /// Writes a [`super::ProcessRecord`] of each that is reported.
    pub const DESCRIBE: u64 = 0;
    /// Gives and takes [`super::class::IN_SCOPE`].
    pub const MARK_SCOPE: u64 = 1;
    /// Gives and takes [`super::class::SELECTED`].
    pub const MARK_SELECTION: u64 = 2;
    /// Writes the value of [`super::control::PID_LEVEL`], that of the reader.
    pub const TELL_LEVEL: u64 = 3;
    /// Writes the values of [`super::control::HOST_ROOT_INODE`] and the slot behind it.
    pub const TELL_ROOT: u64 = 4;
    /// Writes a [`super::CgroupRecord`] and a [`super::ProcessRecord`] of the process in the slot
    /// [`super::control::MARK_ROOT`], if it is in the scope.
    pub const DESCRIBE_ONE: u64 = 5;
    /// Writes a [`super::LineRecord`] of each that is in the scope.
    pub const TELL_LINES: u64 = 6;
}

/// Value of the object's variable `CONTROL`, alone in its section `.bss`.
pub type Control = [u64; control::COUNT as usize];

/// Highest system call number + 1 that the syscall table has room for, for one ABI.
pub const SYSCALLS_PER_ABI: usize = 1024;
/// Value of the one-element map `SYSCALLS`: kind by `abi * SYSCALLS_PER_ABI + number`, 0 if not
/// monitored.
pub type SyscallTable = [u8; SYSCALLS_PER_ABI * abi::COUNT];
