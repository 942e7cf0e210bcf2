//! The kinds of events that rules speak of, and the classes that gather several of them.

use sentinel_ipc::{frame::KindSet, kernel_abi::kind};

use crate::event::{Action, DescriptorCall, Event, FileCall, PathCall, TrafficReport};

const O_ACCMODE: u32 = 3;
const O_RDONLY: u32 = 0;
const O_WRONLY: u32 = 1;
const O_TRUNC: u32 = 0o1000;
const PROT_WRITE: u64 = 2;
const PROT_READ: u64 = 1;
const MAP_SHARED: u64 = 1;

/// A kind of event, as rules call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum EventKind {
    /// fork(2) and its kin.
    Fork,
    /// execve(2).
    Exec,
    /// A process ended.
    Exit,
    /// socket(2).
    Socket,
    /// connect(2).
    Connect,
    /// accept(2).
    Accept,
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// dup(2) and its kin.
    Dup,
    /// pipe(2).
    Pipe,
    /// socketpair(2).
    Socketpair,
    /// A descriptor came from another process.
    Received,
    /// setns(2).
    Setns,
    /// open(2) and its kin.
    Open,
    /// memfd_create(2).
    Memfd,
    /// mmap(2) of a file.
    Mmap,
    /// fchmod(2).
    Fchmod,
    /// ftruncate(2).
    Ftruncate,
    /// finit_module(2).
    LoadModuleFile,
    /// init_module(2).
    LoadModule,
    /// Bytes were sent.
    Sent,
    /// A descriptor's totals.
    Traffic,
    /// rename(2).
    Rename,
    /// link(2).
    Link,
    /// symlink(2).
    Symlink,
    /// unlink(2), rmdir(2).
    Unlink,
    /// chmod(2).
    Chmod,
    /// truncate(2).
    Truncate,
    /// mount(2).
    Mount,
    /// move_mount(2).
    MoveMount,
    /// umount2(2).
    Unmount,
    /// mkdir(2).
    Mkdir,
    /// mknod(2).
    Mknod,
    /// chroot(2).
    Chroot,
    /// setuid(2), capset(2) and their kin.
    Credentials,
    /// ptrace(2).
    Ptrace,
    /// process_vm_readv(2), process_vm_writev(2).
    ProcessMemory,
    /// kill(2) and its kin.
    Kill,
    /// unshare(2).
    Unshare,
    /// bpf(2).
    Bpf,
    /// userfaultfd(2).
    Userfaultfd,
}

/// What there is to know of a kind.
#[derive(Debug)]
pub struct KindEntry {
    /// Which.
    pub kind: EventKind,
    /// As rules name it.
    pub name: &'static str,
    /// One line.
    pub doc: &'static str,
    /// What the sensor must be asked for.
    pub needs: KindSet,
}

const fn entry(kind: EventKind, name: &'static str, needs: &[u16], doc: &'static str) -> KindEntry {
    KindEntry { kind, name, doc, needs: KindSet::of(needs) }
}

/// All kinds, each at the place of its number.
pub static KINDS: [KindEntry; 41] = [
    entry(
        EventKind::Fork,
        "fork",
        &[kind::FORK],
        "a process made another; `target` is the new one",
    ),
    entry(EventKind::Exec, "exec", &[kind::EXEC], "a process started a program"),
    entry(EventKind::Exit, "exit", &[kind::EXIT], "a process ended"),
    entry(EventKind::Socket, "socket", &[kind::SOCKET], "a socket was made"),
    entry(
        EventKind::Connect,
        "connect",
        &[kind::CONNECT],
        "a socket was connected, or begins to be",
    ),
    entry(EventKind::Accept, "accept", &[kind::ACCEPT], "a connection was accepted"),
    entry(EventKind::Bind, "bind", &[kind::BIND], "a socket was bound to an address"),
    entry(EventKind::Listen, "listen", &[kind::LISTEN], "a socket listens"),
    entry(EventKind::Dup, "dup", &[kind::DUP], "a descriptor was put on another number"),
    entry(EventKind::Pipe, "pipe", &[kind::PIPE], "a pipe was made; once for each end"),
    entry(
        EventKind::Socketpair,
        "socketpair",
        &[kind::SOCKETPAIR],
        "a socketpair was made; once for each end",
    ),
    entry(
        EventKind::Received,
        "received",
        &[kind::RECEIVED],
        "a descriptor came from another process",
    ),
    entry(EventKind::Setns, "setns", &[kind::SETNS], "a namespace was joined"),
    entry(EventKind::Open, "open", &[kind::OPEN], "a file of a class was opened"),
    entry(EventKind::Memfd, "memfd", &[kind::MEMFD], "a file in memory was made"),
    entry(EventKind::Mmap, "mmap", &[kind::MAP], "a file of a class was mapped"),
    entry(
        EventKind::Fchmod,
        "fchmod",
        &[kind::FCHMOD],
        "an open file was made executable, setuid or setgid",
    ),
    entry(EventKind::Ftruncate, "ftruncate", &[kind::FTRUNCATE], "an open file was cut"),
    entry(
        EventKind::LoadModuleFile,
        "load_module_file",
        &[kind::LOAD_MODULE_FILE],
        "a kernel module was loaded from a file",
    ),
    entry(
        EventKind::LoadModule,
        "load_module",
        &[kind::LOAD_MODULE],
        "a kernel module was loaded from memory",
    ),
    entry(
        EventKind::Sent,
        "sent",
        &[kind::SENT, kind::ALL_TRAFFIC],
        "bytes were sent through a socket",
    ),
    entry(
        EventKind::Traffic,
        "traffic",
        &[kind::TRAFFIC, kind::ALL_TRAFFIC],
        "a descriptor was closed; what went through it; of a file of no class only after a secret was read",
    ),
    entry(EventKind::Rename, "rename", &[kind::RENAME], "a file got another name"),
    entry(EventKind::Link, "link", &[kind::LINK], "a file got one more name"),
    entry(EventKind::Symlink, "symlink", &[kind::SYMLINK], "a symbolic link was made"),
    entry(EventKind::Unlink, "unlink", &[kind::UNLINK], "a file or directory was removed"),
    entry(
        EventKind::Chmod,
        "chmod",
        &[kind::CHMOD],
        "a file was made executable, setuid or setgid by its path",
    ),
    entry(EventKind::Truncate, "truncate", &[kind::TRUNCATE], "a file was cut by its path"),
    entry(EventKind::Mount, "mount", &[kind::MOUNT], "something was mounted"),
    entry(EventKind::MoveMount, "move_mount", &[kind::MOVE_MOUNT], "a mount was moved or attached"),
    entry(EventKind::Unmount, "unmount", &[kind::UNMOUNT], "something was unmounted"),
    entry(EventKind::Mkdir, "mkdir", &[kind::MKDIR], "a directory was made"),
    entry(EventKind::Mknod, "mknod", &[kind::MKNOD], "a device, fifo or the like was made"),
    entry(EventKind::Chroot, "chroot", &[kind::CHROOT], "the root directory was changed"),
    entry(
        EventKind::Credentials,
        "credentials",
        &[kind::CREDENTIALS],
        "ids or capabilities were set",
    ),
    entry(EventKind::Ptrace, "ptrace", &[kind::PTRACE], "a process was traced"),
    entry(
        EventKind::ProcessMemory,
        "process_memory",
        &[kind::PROCESS_MEMORY],
        "another process's memory was read or written",
    ),
    entry(EventKind::Kill, "kill", &[kind::KILL, kind::PIDFD_KILL], "a signal was sent"),
    entry(EventKind::Unshare, "unshare", &[kind::UNSHARE], "namespaces were left"),
    entry(EventKind::Bpf, "bpf", &[kind::BPF], "bpf(2) was called"),
    entry(
        EventKind::Userfaultfd,
        "userfaultfd",
        &[kind::USERFAULTFD],
        "page faults are handled in user space",
    ),
];

impl EventKind {
    /// Which kind an event is of; `None` for what rules do not speak of.
    pub fn of(event: &Event) -> Option<Self> {
        Some(match &event.action {
            Action::Fork { .. } => Self::Fork,
            Action::Exec(_) => Self::Exec,
            Action::Exit => Self::Exit,
            Action::Descriptor { call, .. } => match call {
                DescriptorCall::Socket => Self::Socket,
                DescriptorCall::Connect => Self::Connect,
                DescriptorCall::Accept => Self::Accept,
                DescriptorCall::Bind => Self::Bind,
                DescriptorCall::Listen => Self::Listen,
                DescriptorCall::Dup => Self::Dup,
                DescriptorCall::Pipe => Self::Pipe,
                DescriptorCall::Socketpair => Self::Socketpair,
                DescriptorCall::Received => Self::Received,
            },
            Action::Setns { .. } => Self::Setns,
            Action::File(file) => match file.call {
                FileCall::Open => Self::Open,
                FileCall::Memfd { .. } => Self::Memfd,
                FileCall::Map { .. } => Self::Mmap,
                FileCall::Fchmod { .. } => Self::Fchmod,
                FileCall::Ftruncate { .. } => Self::Ftruncate,
                FileCall::LoadModule { .. } => Self::LoadModuleFile,
                FileCall::Held | FileCall::Script { .. } => return None,
            },
            Action::Traffic(traffic) => match traffic.report {
                TrafficReport::Sent { .. } => Self::Sent,
                TrafficReport::Totals => Self::Traffic,
            },
            Action::Paths(paths) => Self::of_path_call(&paths.call),
            Action::Credentials(_) => Self::Credentials,
            Action::Ptrace { .. } => Self::Ptrace,
            Action::ProcessMemory { .. } => Self::ProcessMemory,
            Action::Kill { .. } => Self::Kill,
            Action::Unshare { .. } => Self::Unshare,
            Action::Bpf { .. } => Self::Bpf,
            Action::LoadModule { .. } => Self::LoadModule,
            Action::Userfaultfd { .. } => Self::Userfaultfd,
            Action::Running(_)
            | Action::Held { .. }
            | Action::CgroupMade { .. }
            | Action::CgroupRemoved { .. }
            | Action::CgroupMoved { .. }
            | Action::CgroupFound { .. }
            | Action::Canary
            | Action::TcpConnecting { .. }
            | Action::SetCloseOnExec { .. }
            | Action::Close { .. }
            | Action::CloseUnknown
            | Action::MarkCloseOnExec { .. }
            | Action::SetName(_) => return None,
        })
    }

    fn of_path_call(call: &PathCall) -> Self {
        match call {
            PathCall::Rename { .. } => Self::Rename,
            PathCall::Link { .. } => Self::Link,
            PathCall::Symlink => Self::Symlink,
            PathCall::Unlink { .. } => Self::Unlink,
            PathCall::Chmod { .. } => Self::Chmod,
            PathCall::Truncate { .. } => Self::Truncate,
            PathCall::Mount { .. } => Self::Mount,
            PathCall::MoveMount { .. } => Self::MoveMount,
            PathCall::Unmount { .. } => Self::Unmount,
            PathCall::Mkdir { .. } => Self::Mkdir,
            PathCall::Mknod { .. } => Self::Mknod,
            PathCall::Chroot => Self::Chroot,
        }
    }

    /// Its place in [`KINDS`].
    pub const fn number(self) -> usize {
        self as usize
    }

    /// What there is to know of it.
    pub fn entry(self) -> Option<&'static KindEntry> {
        KINDS.get(self.number())
    }

    /// As rules name it.
    pub fn name(self) -> &'static str {
        self.entry().map_or("?", |entry| entry.name)
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds(u64);

impl Kinds {
    /// These.
    pub const fn of(kinds: &[EventKind]) -> Self {
        let mut bits = 0;
        let mut rest = kinds;
        while let [first, others @ ..] = rest {
            bits |= 1 << first.number();
            rest = others;
        }
        Self(bits)
    }

    /// Every one.
    pub const ALL: Self = Self((1 << KINDS.len()) - 1);

    /// Whether `kind` is among them.
    pub const fn has(self, kind: EventKind) -> bool {
        self.0 >> kind.number() & 1 != 0
    }

    /// What is in one of the two.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the two have something in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = &'static KindEntry> {
        KINDS.iter().filter(move |entry| self.has(entry.kind))
    }

    /// What the sensor must be asked for.
    pub fn needs(self) -> KindSet {
        self.iter().fold(KindSet::default(), |needs, entry| needs.with(entry.needs))
    }
}

/// Which events of a class's kinds are meant; `None` for all.
pub type Only = Option<fn(&Event) -> bool>;

/// Kinds that are asked for together.
#[derive(Debug)]
pub struct Class {
    /// As rules name it.
    pub name: &'static str,
    /// Which.
    pub kinds: Kinds,
    /// Which of their events.
    pub only: Only,
    /// One line.
    pub doc: &'static str,
}

const fn class(name: &'static str, kinds: &[EventKind], doc: &'static str) -> Class {
    Class { name, kinds: Kinds::of(kinds), only: None, doc }
}

/// All classes.
pub static CLASSES: &[Class] = &{
    use EventKind as E;
    [
        class("process_create", &[E::Fork, E::Exec], "a process or program was started"),
        class(
            "network",
            &[E::Socket, E::Connect, E::Accept, E::Bind, E::Listen, E::Sent],
            "sockets",
        ),
        Class {
            name: "file_read",
            kinds: Kinds::of(&[E::Open, E::Mmap]),
            only: Some(reads),
            doc: "a file of a class was opened or mapped to be read",
        },
        Class {
            name: "file_write",
            kinds: Kinds::of(&[
                E::Open,
                E::Mmap,
                E::Ftruncate,
                E::Truncate,
                E::Rename,
                E::Link,
                E::Symlink,
            ]),
            only: Some(writes),
            doc: "a file was opened or mapped to be written, cut, or put in place under a name",
        },
        class("file_delete", &[E::Unlink], "a file or directory was removed"),
        class("file_mode", &[E::Chmod, E::Fchmod], "a file was made executable, setuid or setgid"),
        class("privilege", &[E::Credentials], "ids or capabilities were set"),
        class("kernel_module", &[E::LoadModule, E::LoadModuleFile], "a kernel module was loaded"),
        class("debug", &[E::Ptrace, E::ProcessMemory], "a process reached into another one"),
        class("namespace", &[E::Setns, E::Unshare, E::Chroot], "namespaces were joined or left"),
        class("mounts", &[E::Mount, E::MoveMount, E::Unmount], "mounts were changed"),
        class("signal", &[E::Kill], "a signal was sent"),
        class("relay", &[E::Pipe, E::Socketpair, E::Dup, E::Received], "descriptors were wired"),
    ]
};

/// Whether the event opens or maps a file so that it can be read.
pub fn reads(event: &Event) -> bool {
    match &event.action {
        Action::File(file) => match file.call {
            FileCall::Open => file.open_flags & O_ACCMODE != O_WRONLY,
            FileCall::Map { protection, .. } => protection & PROT_READ != 0,
            _ => false,
        },
        _ => false,
    }
}

/// Whether the event changes a file's content, opens or maps it so that it can be changed, or puts
/// one in place under a name.
pub fn writes(event: &Event) -> bool {
    match &event.action {
        Action::File(file) => match file.call {
            FileCall::Open => {
                file.open_flags & O_ACCMODE != O_RDONLY || file.open_flags & O_TRUNC != 0
            }
            FileCall::Map { protection, flags } => {
                protection & PROT_WRITE != 0 && flags & MAP_SHARED != 0
            }
            FileCall::Ftruncate { .. } => true,
            _ => false,
        },
        Action::Paths(paths) => matches!(
            paths.call,
            PathCall::Truncate { .. }
                | PathCall::Rename { .. }
                | PathCall::Link { .. }
                | PathCall::Symlink
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_stands_at_its_number() {
        for (place, entry) in KINDS.iter().enumerate() {
            assert_eq!(entry.kind.number(), place, "{}", entry.name);
        }
    }

    #[test]
    fn no_class_is_called_as_a_kind() {
        for class in CLASSES {
            assert!(KINDS.iter().all(|entry| entry.name != class.name), "{}", class.name);
        }
    }
}
