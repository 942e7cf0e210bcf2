//! The files that calls about names change: where the kernel tells of a change of an inode's ctime
//! (6.13 and later), the call that is under way knows its object.
//!
//! A name in a call's arguments is the caller's word. The file that the kernel changed in that very
//! call, while it was under way, is the truth: its name before the change is kept here, and [`crate::path_object`] reads the
//! one after it.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::LruHashMap,
    programs::BtfTracePointContext,
};
use sentinel_ipc::{
    kernel_abi::{Object, kind},
    kernel_fields::Field,
};

use crate::{
    call::kind_of,
    descriptor::{S_IFDIR, S_IFLNK, S_IFMT, object_of_inode},
    emit::scratch,
    fields::{has, offset},
    kernel::{Address, Task, copy_kernel, current_registers, forget, number_of, opaque},
    path::{Location, NAME_MAX, outer_mount},
    pid::current_ids,
    registers::Registers,
    scope::{class_of, is_reported, is_reporting},
};

/// Inodes that are kept of one call: a rename changes two directories and what it moves.
const MOST: usize = 3;

/// Mounts of a file system that are looked at.
const MAX_MOUNTS: usize = 16;

/// What a call under way has changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Changed {
    /// Different inodes that are no directories, in the order of their change; while there is none,
    /// directories. Where there are fewer the first is repeated.
    pub inode: [Address; MOST],
    pub object: [Object; MOST],
    /// How many there are.
    count: u64,
    /// The first one's name before the change: its dentry, its directory's, and the name itself.
    dentry: Address,
    parent: Address,
    pub length: u32,
    /// 1 while only directories were changed.
    pub directory: u32,
    /// For [`number_of`].
    pub cell: Address,
    /// The one that the call was about; see [`crate::path_object`].
    pub chosen: Address,
    pub name: [u8; NAME_MAX + 1],
}

/// By thread (tgid and tid).
#[map]
static CHANGED: LruHashMap<u64, Changed> = LruHashMap::with_max_entries(1024, 0);

#[inline(always)]
fn this_thread() -> u64 {
    let (tgid, tid) = current_ids();
    (tgid as u64) << 32 | tid as u64
}

/// `TP_PROTO(struct inode *inode, struct timespec64 *ctime)`: to the time of a clock tick.
#[btf_tracepoint(function = "inode_set_ctime_to_ts")]
pub fn inode_set_ctime_to_ts(context: BtfTracePointContext) -> i32 {
    note(Address(context.arg(0)))
}

/// `TP_PROTO(struct inode *inode, u32 old, u32 new, u32 cur)`: in a file system with finer times.
#[btf_tracepoint(function = "ctime_ns_xchg")]
pub fn ctime_ns_xchg(context: BtfTracePointContext) -> i32 {
    note(Address(context.arg(0)))
}

/// `TP_PROTO(struct inode *inode, struct timespec64 *ctime)`: in such a file system, to the time that
/// it has already.
#[btf_tracepoint(function = "ctime_xchg_skip")]
pub fn ctime_xchg_skip(context: BtfTracePointContext) -> i32 {
    note(Address(context.arg(0)))
}

#[inline(always)]
fn note(inode: Address) -> i32 {
    let (tgid, _) = current_ids();
    if !is_reporting() || !is_reported(class_of(tgid)) {
        return 0;
    }
    let registers = Registers::of(Task::current(), current_registers());
    let call = kind_of(registers) & !kind::AT;
    // On the way out of a call, signals and faults change other files.
    if call >> kind::FAMILY_SHIFT != kind::RENAME >> kind::FAMILY_SHIFT || !registers.is_under_way()
    {
        return 0;
    }
    let object = object_of_inode(inode);
    let of_type = object.mode & S_IFMT;
    let directory = (of_type == S_IFDIR) as u32;
    // A file that has no name is only being read into memory, unless the call makes it; and a link
    // is passed through by calls that cannot be about one.
    let may_be_meant = match call {
        kind::SYMLINK => of_type == S_IFLNK || directory != 0,
        kind::MKDIR => directory != 0,
        kind::MKNOD => of_type != S_IFLNK,
        kind::CHMOD | kind::TRUNCATE => of_type != S_IFLNK && has_name(inode),
        _ => has_name(inode),
    };
    if !may_be_meant {
        return 0;
    }
    let thread = this_thread();
    if let Some(changed) = CHANGED.get_ptr_mut(&thread) {
        // SAFETY: a live map value that only this thread uses.
        let changed = unsafe { &mut *changed };
        if changed.directory == 0 || directory != 0 {
            let known = inode == changed.inode[0] || inode == changed.inode[1];
            if changed.directory == directory && !known {
                changed.add(inode, object);
            }
            return 0;
        }
    }
    begin(thread, inode, object, directory);
    0
}

#[inline(always)]
fn has_name(inode: Address) -> bool {
    !inode.follow(Field::InodeAliases).is_null()
}

#[inline(always)]
fn begin(thread: u64, inode: Address, object: Object, directory: u32) {
    let Some(fresh) = scratch::<Changed>() else { return };
    let now = name_of(inode);
    // SAFETY: the scratch memory has room for it; everything is written but the rest of the name,
    // which was written when the map was made.
    unsafe {
        (&raw mut (*fresh).inode).write([inode; MOST]);
        (&raw mut (*fresh).object[0]).write(object);
        (&raw mut (*fresh).object[1]).write(object);
        (&raw mut (*fresh).object[2]).write(object);
        (&raw mut (*fresh).count).write(1);
        (&raw mut (*fresh).dentry).write(now.dentry);
        (&raw mut (*fresh).parent).write(now.parent);
        (&raw mut (*fresh).length).write(now.length);
        (&raw mut (*fresh).directory).write(directory);
        (&raw mut (*fresh).cell).write(Address(0));
        (&raw mut (*fresh).chosen).write(Address(0));
        let length = opaque(now.length as usize) & NAME_MAX;
        copy_kernel((&raw mut (*fresh).name).cast(), length as u32, now.name);
        let _lru_makes_room = CHANGED.insert(&thread, &*fresh, 0);
    }
}

impl Changed {
    /// Adds another inode, if there is room.
    #[inline(always)]
    fn add(&mut self, inode: Address, object: Object) {
        if self.count == 1 {
            self.inode[1] = inode;
            self.object[1] = object;
            self.count = 2;
        } else if self.count == 2 {
            self.inode[2] = inode;
            self.object[2] = object;
            self.count = 3;
        }
    }

    /// The first one's name before the change; of length 0 if it had none.
    #[inline(always)]
    pub fn before(&mut self) -> Location {
        let name = number_of(self.name.as_ptr(), &raw mut self.cell);
        let super_block = self.inode[0].follow(Field::InodeSuperBlock);
        Location {
            dentry: self.dentry,
            parent: self.parent,
            mount: mount_of(super_block),
            name,
            length: self.length,
        }
    }
}

/// What the current thread's call has changed.
#[inline(always)]
pub fn changed() -> Option<*mut Changed> {
    CHANGED.get_ptr_mut(&this_thread())
}

/// The call is over.
#[inline(always)]
pub fn end() {
    let _nothing_was = CHANGED.remove(&this_thread());
}

/// The newest of the names of `inode`, in whatever mount.
#[inline(always)]
pub fn name_of(inode: Address) -> Location {
    let alias = inode.follow(Field::InodeAliases);
    let dentry = if alias.is_null() {
        Address(0)
    } else {
        Address(alias.0.wrapping_sub(offset(Field::DentryAlias) as u64))
    };
    // The inode itself may be a pointer that the verifier lets nobody reckon with.
    let unknown = inode.follow(Field::InodeSuperBlock).0;
    Location::of(Address(forget(dentry.0, unknown)), Address(0))
}

/// Where `inode` is, by the newest of its names.
#[inline(always)]
pub fn location_of(inode: Address) -> Location {
    let mount = mount_of(inode.follow(Field::InodeSuperBlock));
    Location { mount, ..name_of(inode) }
}

/// A mount of that file system: the working directory's or the root's, if they are of it; else one of
/// the mount namespace's, of all of it rather than of a part; null if there is none among the first.
#[inline(always)]
fn mount_of(super_block: Address) -> Address {
    let fs = Task::current().follow(Field::TaskFs);
    let (working, root) = (fs.follow(Field::FsWorkingMount), fs.follow(Field::FsRootMount));
    let mut mount = Address(0);
    if working.follow(Field::VfsmountSuperBlock) == super_block {
        mount = working;
    } else if root.follow(Field::VfsmountSuperBlock) == super_block {
        mount = root;
    }
    let mut mount = forget(mount.0, super_block.0);
    if mount == 0 {
        mount = mount_in_namespace(super_block, outer_mount(root).follow(Field::MountNamespace)).0;
    }
    Address(forget(mount, super_block.0))
}

/// Of the file system's first mounts one that is in the namespace. All of it is arithmetic: branches
/// would multiply what the verifier has to walk.
#[inline(always)]
fn mount_in_namespace(super_block: Address, namespace: Address) -> Address {
    let whole = super_block.follow(Field::SuperBlockRoot);
    let is_list = !has(Field::MountNextOfSuperBlock);
    let (link, back) = if is_list {
        (offset(Field::MountInstance), offset(Field::MountInstance) as u64)
    } else {
        (offset(Field::MountNextOfSuperBlock), 0)
    };
    let mut at = super_block.follow(Field::SuperBlockMounts);
    let mut found = 0_u64;
    let mut index = 0;
    while index < MAX_MOUNTS {
        let outer = Address(forget(at.0.wrapping_sub(back), super_block.0));
        let mount = Address(outer.0.wrapping_add(offset(Field::MountVfsmount) as u64));
        let is_here = (outer.follow(Field::MountNamespace) == namespace) as u64;
        let is_of_it = (mount.follow(Field::VfsmountSuperBlock) == super_block) as u64;
        let is_whole = (mount.follow(Field::VfsmountRoot) == whole) as u64;
        let is_better = opaque(is_here & is_of_it & (is_whole | (found == 0) as u64));
        let take = 0_u64.wrapping_sub(is_better & 1);
        found = (mount.0 & take) | (found & !take);
        found = forget(found, super_block.0);
        at = Address(outer.read_at(link));
        index += 1;
    }
    Address(found)
}
