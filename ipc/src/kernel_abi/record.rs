//! Records: their types, and which kind has which.

use super::kind;

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
        /// One of the values in [`crate::kernel_abi::abi`].
        abi: u8,
        /// Always 0.
        reserved: u8,
        /// Bits in [`crate::kernel_abi::flag`].
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
        /// One of the values in [`crate::kernel_abi::origin`].
        origin: u16,
        /// Of [`kind::SCRIPT`] bits in [`crate::kernel_abi::trust`]; else 0.
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
        /// Bits in [`crate::kernel_abi::trust`].
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
        /// Bits in [`crate::kernel_abi::trust`]; of the root and the rights as they are now.
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

    /// What [`crate::kernel_abi::pass::TELL_LINES`] writes of each process in the scope.
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
        /// Bits in [`crate::kernel_abi::rule`].
        flags: u16,
    }

    /// Per-CPU counters of the sensor. Pairs are by ring, as [`crate::kernel_abi::ring`] numbers them.
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
