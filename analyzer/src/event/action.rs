//! What an event can be about.

use super::{
    CredentialsChange, Descriptor, DescriptorCall, Exec, File, Path, Paths, ProcessId, Running,
    SocketEnds, Target, Traffic,
};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A new process.
    Fork {
        /// The child.
        child: ProcessId,
        /// Cgroup v2 id of the child.
        child_cgroup_id: u64,
        /// Its parent: the caller, unless CLONE_PARENT was given.
        parent: ProcessId,
        /// Whether the two share one descriptor table.
        shares_descriptors: bool,
    },
    /// A new program in the process.
    Exec(Box<Exec>),
    /// The process ended.
    Exit,
    /// A cgroup was made.
    CgroupMade {
        /// Its v2 id.
        id: u64,
        /// Its path within the hierarchy.
        path: Option<Path>,
    },
    /// A cgroup was removed.
    CgroupRemoved {
        /// Its v2 id.
        id: u64,
        /// Its path within the hierarchy.
        path: Option<Path>,
    },
    /// A process, not necessarily the one that did it, came into another cgroup.
    CgroupMoved {
        /// Which.
        process: Option<ProcessId>,
        /// The cgroup's v2 id.
        cgroup_id: u64,
    },
    /// A process was found running by a snapshot.
    Running(Box<Running>),
    /// A pipe or socket that a process was found to have open.
    Held {
        /// Its number.
        number: u32,
        /// What it refers to; `None` if it was closed meanwhile.
        descriptor: Option<Descriptor>,
        /// Inode of the unix socket at its other end.
        peer: Option<u64>,
        /// Whether it closes on exec.
        close_on_exec: bool,
    },
    /// The cgroup of a process that was found running.
    CgroupFound {
        /// Its v2 id.
        id: u64,
        /// Its path within the hierarchy.
        path: Option<Path>,
    },
    /// The loader's own call, made so that it arrives here.
    Canary,
    /// A TCP socket begins to connect.
    TcpConnecting {
        /// Its ends.
        ends: SocketEnds,
        /// State that it left, `TCP_*`.
        old_state: u32,
        /// State that it entered, `TCP_*`.
        new_state: u32,
    },
    /// A descriptor was made or used.
    Descriptor {
        /// By which call.
        call: DescriptorCall,
        /// Its number; `None` when only the object behind it is known (io_uring), or when it is in
        /// an io_uring's own table.
        number: Option<u32>,
        /// The number it came from: the old one of a dup, the listener of an accept, the socket or
        /// pidfd that a received one came through; for one end of a pair, the other end.
        from: Option<u32>,
        /// What it refers to; `None` if it was closed meanwhile by another thread.
        descriptor: Option<Descriptor>,
        /// Whether it closes on exec.
        close_on_exec: bool,
    },
    /// A descriptor's close-on-exec flag was set or cleared.
    SetCloseOnExec {
        /// Its number.
        number: u32,
        /// The flag.
        close_on_exec: bool,
    },
    /// Descriptors from `first` to `last` were closed.
    Close {
        /// The lowest number.
        first: u32,
        /// The highest number.
        last: u32,
        /// Whether the process first got a table of its own.
        unshare: bool,
    },
    /// A descriptor was closed, and it is not known which.
    CloseUnknown,
    /// Descriptors from `first` to `last` were marked close-on-exec.
    MarkCloseOnExec {
        /// The lowest number.
        first: u32,
        /// The highest number.
        last: u32,
        /// Whether the process first got a table of its own.
        unshare: bool,
    },
    /// setns(2).
    Setns {
        /// Number of the descriptor.
        number: Option<u32>,
        /// The namespace's file or the process's pidfd.
        descriptor: Option<Descriptor>,
        /// `CLONE_NEW*`; 0 for whatever kind the descriptor is of.
        namespaces: u32,
    },
    /// A call about one open file.
    File(Box<File>),
    /// Bytes went through a descriptor.
    Traffic(Box<Traffic>),
    /// A call about names of files.
    Paths(Box<Paths>),
    /// A call that sets ids or capabilities, failed ones too.
    Credentials(Box<CredentialsChange>),
    /// ptrace(2), failed ones too.
    Ptrace {
        /// `PTRACE_*`.
        request: u64,
        /// Whom.
        target: Target,
        /// Where in its memory, if the request is about that.
        address: u64,
    },
    /// process_vm_readv(2) or process_vm_writev(2), failed ones too.
    ProcessMemory {
        /// Whether it was the latter.
        write: bool,
        /// Whose memory.
        target: Target,
    },
    /// kill(2), tkill(2), tgkill(2) or pidfd_send_signal(2), failed ones too.
    Kill {
        /// Its number; 0 only asks whether the target exists.
        signal: i32,
        /// Whom.
        target: Target,
    },
    /// unshare(2).
    Unshare {
        /// `CLONE_*`.
        flags: u64,
    },
    /// The thread gave itself a name; escaped, for display only.
    SetName(String),
    /// bpf(2), failed ones too.
    Bpf {
        /// `BPF_*`.
        command: u32,
        /// The first eight bytes of its attributes.
        attributes: u64,
    },
    /// init_module(2), failed ones too: a kernel module from memory. For one from a file see
    /// [`super::FileCall::LoadModule`].
    LoadModule {
        /// Bytes.
        length: u64,
    },
    /// userfaultfd(2).
    Userfaultfd {
        /// `O_*` and `UFFD_*`.
        flags: u32,
    },
}
