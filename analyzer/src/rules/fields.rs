//! The one table of what rules can ask of an event: parser, matcher, `sentinel rules explain` and
//! the documentation go by it.

use std::net::IpAddr;

use sentinel_ipc::file_class::{SECRET, class};

use super::{
    identity::Identity,
    kinds::{EventKind as E, Kinds, writes},
};
use crate::{
    cgroups::{Cgroups, Place},
    event::{
        Action, Credentials, Event, Exec, FileCall, Object, ObjectId, Origin, Path, PathCall,
        ProcessId, SocketEnds, Target, TrafficReport,
    },
    process_table::{Image, Process, ProcessTable},
};

/// An event and what is known around it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What happened.
    pub event: &'a Event,
    /// Of which kind it is.
    pub kind: E,
    /// Who did it, after the event; `None` if that is not known.
    pub process: Option<&'a Process>,
    /// All that live.
    pub processes: &'a ProcessTable,
    /// Where processes run.
    pub cgroups: &'a Cgroups,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Of any width and sign that the kernel has.
    Integer(i128),
    /// Raw bytes, but for what the field's line says.
    Text(&'a [u8]),
    /// An IP address.
    Address(IpAddr),
    /// Yes or no.
    Flag(bool),
}

/// Which values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// A number; some have names as well.
    Integer(&'static [(&'static str, i128)]),
    /// Text.
    Text,
    /// An IP address.
    Address,
    /// Yes or no.
    Flag,
    /// A class of files, by name.
    Class,
}

/// A field.
#[derive(Debug)]
pub struct Field {
    /// As rules name it.
    pub name: &'static str,
    /// What it holds.
    pub of: FieldType,
    /// Events that have it.
    pub kinds: Kinds,
    /// One line.
    pub doc: &'static str,
    /// Its value; `None` if the kernel did not know it.
    pub read: for<'a> fn(&Seen<'a>) -> Option<Value<'a>>,
}

/// Names of file classes; `secret` is all of those that hold secrets.
pub static FILE_CLASSES: &[(&str, u32)] = &[
    ("accounts", class::ACCOUNTS),
    ("password_hashes", class::PASSWORD_HASHES),
    ("sudoers", class::SUDOERS),
    ("ssh_host_key", class::SSH_HOST_KEY),
    ("ssh_key", class::SSH_KEY),
    ("cloud_credentials", class::CLOUD_CREDENTIALS),
    ("client_credentials", class::CLIENT_CREDENTIALS),
    ("private_key", class::PRIVATE_KEY),
    ("password_store", class::PASSWORD_STORE),
    ("browser_store", class::BROWSER_STORE),
    ("environment_file", class::ENVIRONMENT_FILE),
    ("loader_config", class::LOADER_CONFIG),
    ("scheduled_task", class::SCHEDULED_TASK),
    ("service_unit", class::SERVICE_UNIT),
    ("shell_startup", class::SHELL_STARTUP),
    ("authentication", class::AUTHENTICATION),
    ("authorized_keys", class::AUTHORIZED_KEYS),
    ("log", class::LOG),
    ("shell_history", class::SHELL_HISTORY),
    ("kernel_tunable", class::KERNEL_TUNABLE),
    ("release_agent", class::RELEASE_AGENT),
    ("process_memory", class::PROCESS_MEMORY),
    ("process_environment", class::PROCESS_ENVIRONMENT),
    ("kernel_memory", class::KERNEL_MEMORY),
    ("block_device", class::BLOCK_DEVICE),
    ("system_program", class::SYSTEM_PROGRAM),
    ("package_database", class::PACKAGE_DATABASE),
    ("boot", class::BOOT),
    ("sentinel", class::SENTINEL),
    ("exchange", class::EXCHANGE),
    ("sensitive", class::SENSITIVE),
    ("secret", SECRET),
];

const PLAIN: FieldType = FieldType::Integer(&[]);
/// include/linux/socket.h.
const FAMILIES: FieldType = FieldType::Integer(&[
    ("unix", 1),
    ("inet", 2),
    ("inet6", 10),
    ("netlink", 16),
    ("packet", 17),
    ("alg", 38),
    ("vsock", 40),
    ("xdp", 44),
]);
/// include/linux/net.h.
const SOCKET_TYPES: FieldType =
    FieldType::Integer(&[("stream", 1), ("datagram", 2), ("raw", 3), ("seqpacket", 5)]);
/// include/uapi/linux/ptrace.h.
const REQUESTS: FieldType = FieldType::Integer(&[
    ("traceme", 0),
    ("peektext", 1),
    ("peekdata", 2),
    ("poketext", 4),
    ("pokedata", 5),
    ("cont", 7),
    ("setregs", 13),
    ("attach", 16),
    ("detach", 17),
    ("setregset", 0x4205),
    ("seize", 0x4206),
]);
/// signal(7).
const SIGNALS: FieldType = FieldType::Integer(&[
    ("hup", 1),
    ("int", 2),
    ("quit", 3),
    ("abrt", 6),
    ("kill", 9),
    ("segv", 11),
    ("term", 15),
    ("cont", 18),
    ("stop", 19),
    ("tstp", 20),
]);
/// include/uapi/linux/bpf.h.
const BPF_COMMANDS: FieldType = FieldType::Integer(&[
    ("map_create", 0),
    ("prog_load", 5),
    ("obj_get", 7),
    ("prog_attach", 8),
    ("raw_tracepoint_open", 17),
    ("link_create", 28),
]);

const FILES: &[E] = &[E::Open, E::Memfd, E::Mmap, E::Fchmod, E::Ftruncate, E::LoadModuleFile];
const PATHS: &[E] = &[
    E::Rename,
    E::Link,
    E::Symlink,
    E::Unlink,
    E::Chmod,
    E::Truncate,
    E::Mount,
    E::MoveMount,
    E::Unmount,
    E::Mkdir,
    E::Mknod,
    E::Chroot,
];
const SOCKETS: &[E] = &[
    E::Socket,
    E::Connect,
    E::Accept,
    E::Bind,
    E::Listen,
    E::Dup,
    E::Socketpair,
    E::Received,
    E::Sent,
    E::Traffic,
];
const DESCRIPTORS: Kinds =
    Kinds::of(SOCKETS).with(Kinds::of(FILES)).with(Kinds::of(&[E::Pipe, E::Setns]));
const TARGETS: Kinds = Kinds::of(&[E::Ptrace, E::ProcessMemory, E::Kill]);
const NAMED: Kinds = Kinds::of(FILES).with(Kinds::of(PATHS));

/// All fields, those of every event first.
#[rustfmt::skip]
pub static FIELDS: &[Field] = &[
    field("uid", PLAIN, Kinds::ALL, "real user id of the process", |seen| integer(seen.event.uid)),
    field("euid", PLAIN, Kinds::ALL, "effective user id of the process", |seen| integer(seen.event.euid)),
    field("result", PLAIN, Kinds::ALL, "what the call returned; -errno if it failed", |seen| integer(seen.event.result)),
    field("errno", PLAIN, Kinds::ALL, "with which errno the call failed; unknown if it did not", |seen| integer(seen.event.errno()?)),
    field("tainted", FieldType::Flag, Kinds::ALL, "whether the process or one that it descends from opened a secret", |seen| flag(seen.event.tainted)),
    field("io_uring", FieldType::Flag, Kinds::ALL, "whether an io_uring did it", |seen| flag(seen.event.io_uring)),
    field("exe", FieldType::Text, Kinds::ALL, "kernel-resolved path of the process's program; of exec, of the new one", |seen| text(identity(seen)?.path())),
    field("parent_exe", FieldType::Text, Kinds::ALL, "kernel-resolved path of what the parent ran at the fork", |seen| text(parent(seen)?.identity.path())),
    field("script", FieldType::Text, Kinds::ALL, "kernel-resolved path of the script that the program was started for, once it has opened it", |seen| text(identity(seen)?.script()?)),
    field("cmdline", FieldType::Text, Kinds::ALL, "arguments of the process on one line, escaped; anyone can choose them", |seen| text(image(seen)?.command_line.as_str().as_bytes())),
    field("comm", FieldType::Text, Kinds::ALL, "for display only: anyone can set it; no ground to trust a process", |seen| text(image(seen)?.comm.as_bytes())),
    field("unit", FieldType::Text, Kinds::ALL, "systemd unit of the process", |seen| text(place(seen)?.unit.as_ref()?.as_bytes())),
    field("container", FieldType::Text, Kinds::ALL, "id of the container of the process", |seen| text(place(seen)?.container_id.as_ref()?.as_bytes())),
    field("cgroup", FieldType::Text, Kinds::ALL, "path of the process's cgroup", |seen| text(place(seen)?.cgroup.as_ref()?.as_bytes())),
    field("preloaded", FieldType::Flag, Kinds::ALL, "whether the program was started with LD_PRELOAD, LD_AUDIT or LD_LIBRARY_PATH", |seen| flag(identity(seen)?.is_preloaded())),
    field("traced", FieldType::Flag, Kinds::ALL, "whether another process traced this one, or wrote to its memory, since it started its program", |seen| flag(seen.process?.was_traced)),

    field("path", FieldType::Text, NAMED.with(Kinds::of(&[E::Exec])), "path of the file; of rename, link and symlink the new name, of mounts the mount point", |seen| text(&path(seen)?.bytes)),
    field("source", FieldType::Text, Kinds::of(&[E::Rename, E::Link, E::Symlink, E::Mount, E::MoveMount]), "the old name, the link's content, or what is mounted", |seen| text(&source(seen)?.bytes)),
    field("resolved", FieldType::Flag, NAMED.with(Kinds::of(&[E::Exec])), "whether `path` is whole and the kernel's own word, not the caller's", |seen| { let path = path(seen)?; flag(path.origin == Origin::Kernel && !path.truncated) }),
    field("given", FieldType::Text, Kinds::of(&[E::Exec]), "the path that was given to exec; of a script, its own", |seen| text(&exec(seen)?.given.as_ref()?.bytes)),
    field("is_script", FieldType::Flag, Kinds::of(&[E::Exec]), "whether a script was started", |seen| flag(exec(seen)?.script)),
    field("unlinked", FieldType::Flag, NAMED.with(Kinds::of(&[E::Exec])), "whether no name leads to the file: deleted, or in memory only", |seen| flag(object(seen)?.links == 0)),
    field("class", FieldType::Class, NAMED.with(Kinds::of(&[E::Sent, E::Traffic])), "class of the file; of rename and link what the new name makes it, of what is written what that changes", |seen| integer(file_class(seen)?)),
    field("source_class", FieldType::Class, Kinds::of(&[E::Rename, E::Link]), "class of what has the old name", |seen| match &seen.event.action { Action::Paths(paths) => integer(paths.source_class), _ => None }),
    field("writes", FieldType::Flag, NAMED, "whether the file is changed, opened or mapped to be, or put in place under a name", |seen| flag(writes(seen.event))),
    field("open_flags", PLAIN, Kinds::of(FILES), "O_* of the open file", |seen| integer(file(seen)?.open_flags)),
    field("mode", PLAIN, Kinds::of(&[E::Chmod, E::Fchmod, E::Mkdir, E::Mknod]), "the new mode: permissions, and 0o4000 setuid, 0o2000 setgid", |seen| integer(new_mode(seen)?)),
    field("file_mode", PLAIN, NAMED.with(Kinds::of(&[E::Exec])), "the file's type and permissions after the call", |seen| integer(object(seen)?.mode)),
    field("owner", PLAIN, NAMED.with(Kinds::of(&[E::Exec])), "user id of the file's owner", |seen| integer(object(seen)?.owner)),
    field("size", PLAIN, NAMED.with(Kinds::of(&[E::Exec])), "bytes of the file after the call", |seen| integer(object(seen)?.size)),
    field("length", PLAIN, Kinds::of(&[E::Truncate, E::Ftruncate, E::LoadModule]), "bytes that the call asks for", |seen| integer(length(seen)?)),
    field("flags", PLAIN, Kinds::of(&[E::Memfd, E::Mmap, E::LoadModuleFile, E::Rename, E::Link, E::Unlink, E::Mount, E::MoveMount, E::Unmount, E::Unshare, E::Setns, E::Userfaultfd]), "the call's flags, as its manual page has them", |seen| integer(flags(seen)?)),
    field("protection", PLAIN, Kinds::of(&[E::Mmap]), "PROT_*", |seen| match file(seen)?.call { FileCall::Map { protection, .. } => integer(protection), _ => None }),
    field("fs_type", FieldType::Text, Kinds::of(&[E::Mount]), "type of the file system", |seen| match &seen.event.action { Action::Paths(paths) => text(paths.label.as_ref()?), _ => None }),

    field("fd", PLAIN, DESCRIPTORS, "number of the descriptor", |seen| integer(fd(seen)?)),
    field("from_fd", PLAIN, Kinds::of(&[E::Dup, E::Accept, E::Received]), "number that the descriptor came from", |seen| match seen.event.action { Action::Descriptor { from, .. } => integer(from?), _ => None }),
    field("family", FAMILIES, Kinds::of(SOCKETS), "AF_* of the socket", |seen| integer(socket(seen)?.family)),
    field("socket_type", SOCKET_TYPES, Kinds::of(SOCKETS), "SOCK_* of the socket", |seen| integer(socket(seen)?.kind)),
    field("protocol", PLAIN, Kinds::of(SOCKETS), "IPPROTO_* of the socket", |seen| integer(socket(seen)?.protocol)),
    field("address", FieldType::Address, Kinds::of(SOCKETS), "the peer's IP address", |seen| Some(Value::Address(socket(seen)?.remote?.ip()))),
    field("port", PLAIN, Kinds::of(SOCKETS), "the peer's port", |seen| integer(socket(seen)?.remote?.port())),
    field("local_address", FieldType::Address, Kinds::of(SOCKETS), "the socket's own IP address", |seen| Some(Value::Address(socket(seen)?.local?.ip()))),
    field("local_port", PLAIN, Kinds::of(SOCKETS), "the socket's own port", |seen| integer(socket(seen)?.local?.port())),
    field("bytes", PLAIN, Kinds::of(&[E::Sent]), "bytes sent since this descriptor was told of last", |seen| match &seen.event.action { Action::Traffic(traffic) => match traffic.report { TrafficReport::Sent { bytes, .. } => integer(bytes), TrafficReport::Totals => None }, _ => None }),
    field("sent", PLAIN, Kinds::of(&[E::Sent, E::Traffic]), "bytes sent or written in total", |seen| match &seen.event.action { Action::Traffic(traffic) => integer(traffic.sent), _ => None }),
    field("received", PLAIN, Kinds::of(&[E::Sent, E::Traffic]), "bytes received or read in total", |seen| match &seen.event.action { Action::Traffic(traffic) => integer(traffic.received), _ => None }),

    field("request", REQUESTS, Kinds::of(&[E::Ptrace]), "PTRACE_*", |seen| match seen.event.action { Action::Ptrace { request, .. } => integer(request), _ => None }),
    field("write", FieldType::Flag, Kinds::of(&[E::ProcessMemory]), "whether the memory is written", |seen| match seen.event.action { Action::ProcessMemory { write, .. } => flag(write), _ => None }),
    field("signal", SIGNALS, Kinds::of(&[E::Kill]), "the signal", |seen| match seen.event.action { Action::Kill { signal, .. } => integer(signal), _ => None }),
    field("target_exe", FieldType::Text, TARGETS, "kernel-resolved path of the target's program", |seen| text(target_process(seen)?.image.as_ref()?.identity.path())),
    field("target_is_descendant", FieldType::Flag, TARGETS, "whether the target is the process itself or descends from it", |seen| { let (target, own) = (target_process(seen)?, seen.event.process); flag(target.id == own || target.ancestors.iter().any(|above| above.id == own)) }),
    field("target_is_sentinel", FieldType::Flag, TARGETS, "whether the target is one of Sentinel's own processes; not known of signals through a pidfd", |seen| flag(target_of(seen)?.is_sentinel)),
    field("command", BPF_COMMANDS, Kinds::of(&[E::Bpf]), "BPF_*", |seen| match seen.event.action { Action::Bpf { command, .. } => integer(command), _ => None }),

    field("old_euid", PLAIN, Kinds::of(&[E::Credentials, E::Exec]), "effective user id before", |seen| integer(credentials(seen)?.0?.user.effective)),
    field("new_euid", PLAIN, Kinds::of(&[E::Credentials, E::Exec]), "effective user id now", |seen| integer(credentials(seen)?.1?.user.effective)),
    field("new_uid", PLAIN, Kinds::of(&[E::Credentials, E::Exec]), "real user id now", |seen| integer(credentials(seen)?.1?.user.real)),
    field("gained_capabilities", PLAIN, Kinds::of(&[E::Credentials, E::Exec]), "effective capabilities that it did not have before, one bit each", |seen| { let (before, after) = credentials(seen)?; integer(after?.effective & !before?.effective) }),
    field("user_namespace_level", PLAIN, Kinds::of(&[E::Credentials, E::Exec]), "how deep its user namespace is nested; 0 is the initial one", |seen| integer(credentials(seen)?.1?.user_namespace_level)),
];

const fn field(
    name: &'static str,
    of: FieldType,
    kinds: Kinds,
    doc: &'static str,
    read: for<'a> fn(&Seen<'a>) -> Option<Value<'a>>,
) -> Field {
    Field { name, of, kinds, doc, read }
}

/// The field of this name.
pub fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

#[expect(clippy::unnecessary_wraps, reason = "as the table's other readers")]
fn flag<'a>(is: bool) -> Option<Value<'a>> {
    Some(Value::Flag(is))
}

#[expect(clippy::unnecessary_wraps, reason = "as the table's other readers")]
fn integer<'a>(number: impl Into<i128>) -> Option<Value<'a>> {
    Some(Value::Integer(number.into()))
}

/// An empty one is not known.
fn text(bytes: &[u8]) -> Option<Value<'_>> {
    (!bytes.is_empty()).then_some(Value::Text(bytes))
}

fn image<'a>(seen: &Seen<'a>) -> Option<&'a Image> {
    seen.process?.image.as_deref()
}

fn identity<'a>(seen: &Seen<'a>) -> Option<&'a Identity> {
    Some(&image(seen)?.identity)
}

fn parent<'a>(seen: &Seen<'a>) -> Option<&'a Image> {
    seen.process?.ancestors.first()?.image.as_deref()
}

fn place<'a>(seen: &Seen<'a>) -> Option<&'a Place> {
    seen.cgroups.place(seen.process?.cgroup_id)
}

fn exec<'a>(seen: &Seen<'a>) -> Option<&'a Exec> {
    match &seen.event.action {
        Action::Exec(exec) => Some(exec),
        _ => None,
    }
}

fn file<'a>(seen: &Seen<'a>) -> Option<&'a crate::event::File> {
    match &seen.event.action {
        Action::File(file) => Some(file),
        _ => None,
    }
}

fn path<'a>(seen: &Seen<'a>) -> Option<&'a Path> {
    match &seen.event.action {
        Action::File(file) => file.path.as_ref(),
        Action::Exec(exec) => exec.path.as_ref(),
        Action::Paths(paths) => {
            let [first, second] = &paths.paths;
            let has_two = matches!(
                paths.call,
                PathCall::Rename { .. }
                    | PathCall::Link { .. }
                    | PathCall::Symlink
                    | PathCall::Mount { .. }
                    | PathCall::MoveMount { .. }
            );
            if has_two { second.as_ref() } else { first.as_ref() }
        }
        _ => None,
    }
}

fn source<'a>(seen: &Seen<'a>) -> Option<&'a Path> {
    match &seen.event.action {
        Action::Paths(paths) => {
            let [first, _] = &paths.paths;
            first.as_ref()
        }
        _ => None,
    }
}

fn object(seen: &Seen<'_>) -> Option<Object> {
    match &seen.event.action {
        Action::File(file) => file.object,
        Action::Exec(exec) => exec.object,
        Action::Paths(paths) => paths.object,
        Action::Descriptor { descriptor, .. } | Action::Setns { descriptor, .. } => {
            descriptor.map(|descriptor| descriptor.object)
        }
        Action::Traffic(traffic) => traffic.descriptor.map(|descriptor| descriptor.object),
        _ => None,
    }
}

fn file_class(seen: &Seen<'_>) -> Option<u32> {
    match &seen.event.action {
        Action::File(file) => Some(file.class),
        Action::Paths(paths) => Some(paths.class),
        Action::Traffic(traffic) => Some(traffic.class),
        _ => None,
    }
}

fn new_mode(seen: &Seen<'_>) -> Option<u32> {
    match &seen.event.action {
        Action::File(file) => match file.call {
            FileCall::Fchmod { mode } => Some(mode),
            _ => None,
        },
        Action::Paths(paths) => match paths.call {
            PathCall::Chmod { mode } | PathCall::Mkdir { mode } | PathCall::Mknod { mode, .. } => {
                Some(mode)
            }
            _ => None,
        },
        _ => None,
    }
}

fn length(seen: &Seen<'_>) -> Option<u64> {
    match &seen.event.action {
        Action::LoadModule { length } => Some(*length),
        Action::File(file) => match file.call {
            FileCall::Ftruncate { length } => Some(length),
            _ => None,
        },
        Action::Paths(paths) => match paths.call {
            PathCall::Truncate { length } => Some(length),
            _ => None,
        },
        _ => None,
    }
}

fn flags(seen: &Seen<'_>) -> Option<u64> {
    match &seen.event.action {
        Action::Unshare { flags } => Some(*flags),
        Action::Setns { namespaces, .. } => Some(u64::from(*namespaces)),
        Action::Userfaultfd { flags } => Some(u64::from(*flags)),
        Action::File(file) => match file.call {
            FileCall::Memfd { flags } | FileCall::LoadModule { flags } => Some(u64::from(flags)),
            FileCall::Map { flags, .. } => Some(flags),
            _ => None,
        },
        Action::Paths(paths) => match paths.call {
            PathCall::Rename { flags }
            | PathCall::Link { flags }
            | PathCall::Unlink { flags }
            | PathCall::MoveMount { flags }
            | PathCall::Unmount { flags } => Some(u64::from(flags)),
            PathCall::Mount { flags } => Some(flags),
            _ => None,
        },
        _ => None,
    }
}

fn socket(seen: &Seen<'_>) -> Option<SocketEnds> {
    match &seen.event.action {
        Action::Descriptor { descriptor, .. } => (*descriptor)?.socket,
        Action::Traffic(traffic) => traffic.descriptor?.socket,
        _ => None,
    }
}

fn target_process<'a>(seen: &Seen<'a>) -> Option<&'a Process> {
    seen.processes.get(target(seen)?)
}

fn credentials(seen: &Seen<'_>) -> Option<(Option<Credentials>, Option<Credentials>)> {
    match &seen.event.action {
        Action::Credentials(change) => Some((change.before, change.after)),
        Action::Exec(exec) => Some((exec.before, exec.after)),
        _ => None,
    }
}

/// Number of the descriptor that the event is about.
pub fn fd(seen: &Seen<'_>) -> Option<u32> {
    match &seen.event.action {
        Action::Descriptor { number, .. } | Action::Setns { number, .. } => *number,
        Action::File(file) => file.number,
        Action::Traffic(traffic) => traffic.number,
        _ => None,
    }
}

/// The file, pipe or socket that the event is about; of exec the program's.
pub fn object_id(seen: &Seen<'_>) -> Option<ObjectId> {
    object(seen).map(|object| object.id)
}

/// The peer's address.
pub fn address(seen: &Seen<'_>) -> Option<IpAddr> {
    Some(socket(seen)?.remote?.ip())
}

fn target_of(seen: &Seen<'_>) -> Option<Target> {
    match seen.event.action {
        Action::Ptrace { target, .. }
        | Action::ProcessMemory { target, .. }
        | Action::Kill { target, .. } => Some(target),
        _ => None,
    }
}

/// The process that the event is about, beside who did it.
pub fn target(seen: &Seen<'_>) -> Option<ProcessId> {
    match seen.event.action {
        Action::Fork { child, .. } => Some(child),
        _ => target_of(seen)?.process,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_kinds_not_empty() {
        for (place, field) in FIELDS.iter().enumerate() {
            assert!(FIELDS[place + 1..].iter().all(|other| other.name != field.name));
            assert!(field.kinds.meets(Kinds::ALL), "{}", field.name);
        }
    }
}
