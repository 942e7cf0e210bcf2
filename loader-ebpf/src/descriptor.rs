//! Descriptor number → file → inode and socket, as the kernel holds them.

use sentinel_ipc::{
    kernel_abi::{Descriptor, DescriptorRecord, Object, Socket, flag, kind},
    kernel_fields::Field,
};

use crate::{
    emit::{Facts, header, is_urgent, scratch, send, send_urgent},
    fields::has,
    held::{note_connected, peer_of},
    kernel::{Address, Piece, Task, forget},
};

/// The bits of a mode that tell the type (include/uapi/linux/stat.h), and types.
pub const S_IFMT: u32 = 0o170_000;
pub const S_IFSOCK: u32 = 0o140_000;
pub const S_IFLNK: u32 = 0o120_000;
pub const S_IFREG: u32 = 0o100_000;
pub const S_IFBLK: u32 = 0o060_000;
pub const S_IFCHR: u32 = 0o020_000;
pub const S_IFIFO: u32 = 0o010_000;
pub const S_IFDIR: u32 = 0o040_000;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;

/// An object that is not known.
pub const NO_OBJECT: Object =
    Object { inode: 0, size: 0, device: 0, generation: 0, mode: 0, rdev: 0, links: 0, owner: 0 };
const NO_SOCKET: Socket = Socket {
    family: 0,
    kind: 0,
    protocol: 0,
    state: 0,
    local_port: 0,
    remote_port: 0,
    peer: 0,
    local_address: [0; 16],
    remote_address: [0; 16],
};

/// A task's descriptor table.
#[derive(Clone, Copy)]
pub struct Table {
    size: u32,
    files: Address,
    close_on_exec: Address,
    users: i32,
}

impl Table {
    /// The current task's.
    #[inline(always)]
    pub fn current() -> Self {
        Self::of(Task::current())
    }

    /// That of `task`; empty once it has ended.
    #[inline(always)]
    pub fn of(task: Task) -> Self {
        let mut room = [0; 5];
        let files = Piece::copied(task.follow(Field::TaskFiles), 0, &mut room);
        let mut room = [0; 3];
        let table = Piece::copied(files.follow(Field::FilesTable), 0, &mut room);
        Self {
            size: table.read(Field::TableSize),
            files: table.follow(Field::TableFiles),
            close_on_exec: table.follow(Field::TableCloseOnExec),
            users: files.read(Field::FilesCount),
        }
    }

    /// The `struct file` behind `number`; null if none is open.
    #[inline(always)]
    pub fn file(self, number: u32) -> Address {
        if number >= self.size {
            return Address(0);
        }
        Address(self.files.read_at(number as usize * 8))
    }

    /// Threads that use it, of whatever process.
    #[inline(always)]
    pub fn users(self) -> i32 {
        self.users
    }

    /// The bits in [`flag`] that hold for `number`.
    #[inline(always)]
    pub fn flags(self, number: u32) -> u16 {
        // Behind the table's end stands something else.
        let is_inside = number < self.size;
        let word: u64 =
            if is_inside { self.close_on_exec.read_at((number as usize / 64) * 8) } else { 0 };
        let close_on_exec = ((word >> (number & 63)) & 1) as u16 * flag::CLOSE_ON_EXEC;
        let racy = if self.users > 1 { flag::RACY } else { 0 };
        close_on_exec | forget(racy, word)
    }

    /// Fills `to` with what `number` refers to.
    #[inline(always)]
    pub fn describe(self, number: u32, to: *mut Descriptor) {
        describe(self.file(number), to);
    }
}

/// Fills `to` with what `file` is; with nothing if it is null.
#[inline(always)]
pub fn describe(file: Address, to: *mut Descriptor) {
    // SAFETY: `to` points into a record or a map value; the verifier proves it. The mode is read
    // back, so that nothing else of the object stays on the stack.
    unsafe {
        let object = &raw mut (*to).object;
        object.write(if file.is_null() { NO_OBJECT } else { object_of(file) });
        let is_socket = (&raw const (*object).mode).read_volatile() & S_IFMT == S_IFSOCK;
        (&raw mut (*to).socket).write(if is_socket {
            socket_of(file.follow(Field::FilePrivateData).follow(Field::SocketSock))
        } else {
            NO_SOCKET
        });
    }
}

/// What the file behind a non-null `struct file` is.
#[inline(always)]
pub fn object_of(file: Address) -> Object {
    object_of_inode(file.follow(Field::FileInode))
}

/// What a non-null `struct inode` is.
#[inline(always)]
pub fn object_of_inode(inode: Address) -> Object {
    let inode = Piece::nothing(inode);
    completed(identity_of(&inode), &inode)
}

/// Which file and of what type an inode is; the rest as in [`NO_OBJECT`].
#[inline(always)]
pub fn identity_of(inode: &Piece) -> Object {
    Object {
        inode: inode.read(Field::InodeNumber),
        device: inode.follow(Field::InodeSuperBlock).read(Field::SuperBlockDevice),
        generation: inode.read(Field::InodeGeneration),
        mode: inode.read::<u16>(Field::InodeMode) as u32,
        rdev: inode.read(Field::InodeRdev),
        ..NO_OBJECT
    }
}

/// All that is told of an inode, of which [`identity_of`] has told the first part.
#[inline(always)]
pub fn completed(object: Object, inode: &Piece) -> Object {
    Object {
        size: inode.read(Field::InodeSize),
        links: inode.read(Field::InodeLinks),
        owner: inode.read(Field::InodeOwner),
        ..object
    }
}

/// The ends of a `struct sock`.
#[inline(always)]
pub fn socket_of(sock: Address) -> Socket {
    let mut socket = Socket {
        family: sock.read(Field::SockFamily),
        kind: sock.read(Field::SockType),
        protocol: if has(Field::SockProtocol) { sock.read(Field::SockProtocol) } else { 0 },
        state: sock.read::<u8>(Field::SockState) as u16,
        ..NO_SOCKET
    };
    if is_connection(&socket) {
        socket.local_port = sock.read(Field::SockLocalPort);
        socket.remote_port = u16::from_be(sock.read(Field::SockRemotePort));
    }
    if socket.family == AF_INET {
        put_v4(&mut socket.local_address, sock.read(Field::SockLocalV4));
        put_v4(&mut socket.remote_address, sock.read(Field::SockRemoteV4));
    } else if socket.family == AF_INET6 && has(Field::SockLocalV6) {
        socket.local_address = sock.read(Field::SockLocalV6);
        socket.remote_address = sock.read(Field::SockRemoteV6);
    }
    socket
}

#[inline(always)]
fn put_v4(to: &mut [u8; 16], address: [u8; 4]) {
    to[0] = address[0];
    to[1] = address[1];
    to[2] = address[2];
    to[3] = address[3];
}

/// The bits in [`flag`] that tell what `file` is open for; none if it is null.
#[inline(always)]
pub fn access_of(file: Address) -> u16 {
    const READS_AT: u32 = flag::READS.trailing_zeros();
    const { assert!(flag::WRITES == flag::READS << 1, "as in f_mode: FMODE_READ, FMODE_WRITE") };
    ((file.read::<u32>(Field::FileMode) & 3) << READS_AT) as u16
}

/// Emits a call that made or used descriptor `number`.
#[inline(always)]
pub fn emit(facts: Facts, number: u32) {
    let table = Table::current();
    let facts = Facts { flags: facts.flags | table.flags(number), ..facts };
    // A standard stream may become something else.
    emit_with(facts, table.file(number), number <= 2);
}

/// Emits an event about `file`, which may be null.
#[inline(always)]
pub fn emit_file(facts: Facts, file: Address) {
    emit_with(facts, file, false);
}

#[inline(always)]
fn emit_with(facts: Facts, file: Address, is_standard: bool) {
    let Some(record) = scratch::<DescriptorRecord>() else { return };
    let facts = Facts { flags: facts.flags | access_of(file), ..facts };
    // SAFETY: the scratch memory has room for exactly this type; both fields get written.
    unsafe {
        (&raw mut (*record).header).write(header(facts));
        describe(file, &raw mut (*record).descriptor);
        if facts.kind == kind::ACCEPT {
            (&raw mut (*record).descriptor.socket.peer).write(peer_of(file) as u32);
        } else if facts.kind == kind::CONNECT {
            note_connected(file);
        }
    }
    if is_standard {
        // SAFETY: written above.
        send_urgent(record, is_connection(unsafe { &(*record).descriptor.socket }));
    } else {
        send(record, is_urgent(facts.kind));
    }
}

/// Whether it is a socket of a network. As a standard stream it may be where somebody's commands come from, and each
/// moment counts.
#[inline(always)]
pub fn is_connection(socket: &Socket) -> bool {
    socket.family == AF_INET || socket.family == AF_INET6
}
