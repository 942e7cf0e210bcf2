//! Whether an executable's path says what the program is: that nobody but root could have put another file
//! there, have the path lead elsewhere, or have the program load libraries of his own.
//!
//! Real root may mount what it likes where it likes, and is trusted. Others may mount and chroot(2) in a user
//! namespace of their own only. What they make there can also be reached from outside (through a descriptor
//! that was passed, or /proc/PID/root): so it is the executable's own mount that is looked at. And a program
//! takes its dynamic linker and its libraries from its root directory: so that is looked at as well, with its
//! mount, whatever mount namespace the process is counted to. Who shares his root directory with another
//! process of his user namespace (CLONE_FS) may have had it changed while the program was loaded: so it
//! matters which one he is in.

use sentinel_ipc::{
    kernel_abi::{control, origin, trust},
    kernel_fields::Field,
};

use crate::{
    descriptor::S_IFMT,
    kernel::{Address, Task, forget, is_equal, opaque},
    path::{self, Location, Written, outer_mount},
    scope::control_value,
};

/// `PROC_USER_INIT_INO` (include/linux/proc_ns.h): inode of the initial user namespace.
const INITIAL_USERS: u32 = 0xefff_fffd;
/// `S_IWGRP | S_IWOTH`; a POSIX ACL shows in the group's bits, which are its mask.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What a walk from a file to the root has met. Without branches, so that the verifier walks it once.
struct Marks {
    /// Not 0 if others than root may have changed what the path leads to.
    others: u32,
    /// Where the path began when the walk last came by the host's root.
    host_root: usize,
}

impl Marks {
    #[inline(always)]
    fn pass(&mut self, at: &Location, start: usize) {
        let inode = at.dentry.follow(Field::DentryInode);
        let mode = inode.read::<u16>(Field::InodeMode) as u32;
        let owner: u32 = inode.read(Field::InodeOwner);
        // What cannot be read is 0, and no file has a mode without a type: the highest bit is set then.
        let kind = opaque(mode & S_IFMT);
        let unread = kind.wrapping_sub(1) & 1 << 31;
        self.others |= owner | mode & WRITABLE_BY_OTHERS | unread;
        let [number, device] = identity(inode);
        let [host_number, host_device] = host_root();
        let difference = number ^ host_number | device ^ host_device;
        // All ones, or 0 for the root.
        let other = forget(is_equal(difference, 0).wrapping_sub(1) as usize, difference);
        self.host_root = self.host_root & other | start & !other;
    }
}

/// Number of an inode; and its device and, in the upper half, its generation.
#[inline(always)]
fn identity(inode: Address) -> [u64; 2] {
    let device: u32 = inode.follow(Field::InodeSuperBlock).read(Field::SuperBlockDevice);
    let generation: u32 = inode.read(Field::InodeGeneration);
    [inode.read(Field::InodeNumber), device as u64 | (generation as u64) << 32]
}

/// The [`identity`] of the host's root directory. On btrfs two subvolumes may have the same; to make one of
/// them somebody's root takes root's rights, or else a user namespace, which shows.
#[inline(always)]
fn host_root() -> [u64; 2] {
    [control_value(control::HOST_ROOT_INODE), control_value(control::HOST_ROOT_DEVICE)]
}

/// The [`identity`] of the root directory of the task at `task`.
#[inline(always)]
pub fn root_directory(task: Address) -> [u64; 2] {
    identity(task.follow(Field::TaskFs).follow(Field::FsRootDentry).follow(Field::DentryInode))
}

/// Whether the user namespace at `users` is the initial one. By its number: a level that cannot be read would
/// be 0, the initial one's.
#[inline(always)]
fn is_initial(users: Address) -> bool {
    users.read::<u32>(Field::UserNamespaceInode) == INITIAL_USERS
}

/// Whether the mount of `mount`, a `struct vfsmount`, is in a namespace that the initial user namespace owns.
/// One that is attached nowhere is in none, or in one of its maker's.
#[inline(always)]
fn is_of_host(mount: Address) -> bool {
    is_initial(outer_mount(mount).follow(Field::MountNamespace).follow(Field::MountNamespaceUsers))
}

/// Writes the path of `executable` as [`path::walk`] does, and tells what speaks for it being what `task` runs.
#[inline(always)]
pub fn walk(task: Task, executable: Location, buffer: *mut u8) -> (Written, u16) {
    let unknown = executable.dentry.0;
    let mut marks = Marks { others: forget(0, unknown), host_root: forget(usize::MAX, unknown) };
    let written = path::walk_past(executable, buffer, |at, start| marks.pass(at, start));
    let root = root_directory(task.address());
    let root_mount = task.follow(Field::TaskFs).follow(Field::FsRootMount);
    let users = task.follow(Field::TaskCred).follow(Field::CredUserNamespace);
    let is_whole = written.flags == 0 && written.span.origin == origin::KERNEL;
    // Forgotten one by one, so that their combinations are not walked each.
    let bit = |set: bool, bit: u16| forget(if set { bit } else { 0 }, unknown);
    let trust = bit(is_whole && marks.others == 0, trust::PATH_OF_ROOT)
        | bit(
            marks.host_root == written.span.start as usize && root == host_root() && root[0] != 0,
            trust::HOST_ROOT,
        )
        | bit(is_of_host(executable.mount) && is_of_host(root_mount), trust::HOST_MOUNTS)
        | bit(is_initial(users), trust::HOST_USERS);
    (written, trust)
}
