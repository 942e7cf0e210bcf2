//! What running processes have open when the loader asks: an iterator over descriptors, of the same kind
//! as that of [`crate::snapshot`].

use aya_ebpf::{macros::map, maps::LruHashMap};
use sentinel_ipc::{
    kernel_abi::{CONNECTED_ENTRIES, FileRecord, HeldRecord, Object, flag, kind},
    kernel_fields::Field,
};

use crate::{
    descriptor::{S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK, Table, access_of, describe, object_of},
    fields::{has, offset},
    file_class::{self, Found},
    kernel::{Address, Task, now},
    path::{Location, walk},
    plain_files,
    scope::{class_of, is_reported, taint},
    snapshot::{Meta, Output, Workspace, header, stands_for_process},
};

const AF_UNIX: u16 = 1;
/// Descriptors after which the loader is let go on: the kernel would look at a million before, if none of
/// them is told.
const AT_ONCE: u64 = 4096;
/// What lets it: the kernel comes back with the same descriptor.
const LATER: i32 = 1;

/// `struct bpf_iter__task_file` (kernel/bpf/task_iter.c).
#[repr(C)]
pub struct FileContext {
    meta: *const Meta,
    task: *const u8,
    number: u32,
    file: *const u8,
}

/// Tells sockets, pipes and files of a class.
#[unsafe(link_section = "iter/held")]
#[unsafe(no_mangle)]
pub extern "C" fn held(context: *const FileContext) -> i32 {
    // SAFETY: the context that the kernel gives to iterators over descriptors.
    let (output, task, number, file) = unsafe {
        let context = &*context;
        (Output::of(context.meta), context.task, context.number, context.file)
    };
    // Null when the kernel has come to the end.
    if task.is_null() || file.is_null() {
        return 0;
    }
    let Some(workspace) = Workspace::get() else { return 0 };
    workspace.looked_at += 1;
    if workspace.looked_at > AT_ONCE {
        workspace.looked_at = 0;
        return LATER;
    }
    let task = Task::from_argument(task);
    if !is_reported(class_of(task.tgid())) || !stands_for_process(task) {
        return 0;
    }
    let file = Address(file as u64);
    let mode: u16 = file.follow(Field::FileInode).read(Field::InodeMode);
    match mode as u32 & S_IFMT {
        S_IFSOCK | S_IFIFO => tell_channel(output, task, number, file),
        S_IFREG => tell_file(output, task, number, file),
        _ => {}
    }
    0
}

/// The bits in [`flag`] that hold for the descriptor `number`.
#[inline(always)]
fn flags_of(task: Task, number: u32) -> u16 {
    Table::of(task).flags(number) & flag::CLOSE_ON_EXEC
}

/// Tells a socket or pipe.
#[inline(always)]
fn tell_channel(output: Output, task: Task, number: u32, file: Address) {
    let Some(workspace) = Workspace::get() else { return };
    let record = workspace.record::<HeldRecord>();
    let flags = flags_of(task, number) | access_of(file);
    // SAFETY: the workspace has room for this type, all of which is written.
    unsafe {
        (&raw mut (*record).header).write(header(task, kind::HELD, flags, number as u64));
        describe(file, &raw mut (*record).descriptor);
        (&raw mut (*record).peer).write(peer_of(file));
    }
    plain_files::end(task.tgid(), number);
    if task.has_live_group() {
        output.write(record);
    }
}

/// Inodes of unix sockets that were connected, by the addresses of their `struct sock`: one that is closed before
/// the other end is accepted has none any more. The oldest make room.
#[map]
static CONNECTED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(CONNECTED_ENTRIES, 0);

/// The `struct sock` of the socket `file`.
#[inline(always)]
fn sock_of(file: Address) -> Address {
    file.follow(Field::FilePrivateData).follow(Field::SocketSock)
}

/// The socket `file` was connected.
#[inline(always)]
pub fn note_connected(file: Address) {
    let sock = sock_of(file);
    if sock.read::<u16>(Field::SockFamily) == AF_UNIX {
        let inode: u64 = file.follow(Field::FileInode).read(Field::InodeNumber);
        let _full = CONNECTED.insert(&sock.0, &inode, 0);
    }
}

/// Inode of the unix socket at the other end of the socket `file`; 0 if there is none, or nobody has
/// accepted it yet.
#[inline(always)]
pub fn peer_of(file: Address) -> u64 {
    let sock = sock_of(file);
    if !has(Field::UnixSockPeer) || sock.read::<u16>(Field::SockFamily) != AF_UNIX {
        return 0;
    }
    let peer = sock.follow(Field::UnixSockPeer);
    let socket = peer.follow(Field::SockSocket);
    if socket.is_null() {
        // SAFETY: a copy of eight bytes is taken at once.
        return unsafe { CONNECTED.get(&peer.0) }.copied().unwrap_or(0);
    }
    // Both are members of the same `struct socket_alloc`.
    let outer = socket.0.wrapping_sub(offset(Field::SocketAllocSocket) as u64);
    let inode = Address(outer.wrapping_add(offset(Field::SocketAllocInode) as u64));
    inode.read(Field::InodeNumber)
}

/// Tells a regular file if it is of a class, with what the opening of a secret leads to.
#[inline(always)]
fn tell_file(output: Output, task: Task, number: u32, file: Address) {
    let Some(workspace) = Workspace::get() else { return };
    let record = workspace.record::<FileRecord>();
    let object: Object = object_of(file);
    let location = Location::of_file(file);
    let keys = &mut workspace.keys;
    keys.names.read(location);
    let found = Found::of(keys, &object, location);
    // SAFETY: the workspace has room for this type and what the walk asks for.
    let path = unsafe { (&raw mut (*record).path).cast::<u8>() };
    let written = walk(location, path);
    let classes = found.complete(keys, &object, location, path, written.span);
    let open_flags: u32 = file.read(Field::FileFlags);
    let class = classes.told(file_class::may_write(open_flags));
    if class == 0 {
        return;
    }
    plain_files::end(task.tgid(), number);
    let reads = file_class::may_read(open_flags);
    if file_class::is_secret(class) && reads && file_class::has_content(&object) {
        file_class::learn(&object, classes);
        taint(task.tgid(), now());
    }
    let flags = flags_of(task, number) | written.flags;
    // SAFETY: the record's own fields.
    unsafe {
        (&raw mut (*record).header).write(header(task, kind::HELD_FILE, flags, number as u64));
        (&raw mut (*record).object).write(object);
        (&raw mut (*record).span).write(written.span);
        (&raw mut (*record).class).write(class);
        (&raw mut (*record).open_flags).write(open_flags);
    }
    output.write(record);
}
