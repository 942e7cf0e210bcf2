//! The files that calls about names change: where the kernel tells of a change of an inode's ctime
//! (6.13 and later), the call that is under way knows its object.
//!
//! A name in a call's arguments is the caller's word. The file that the kernel changed in that very
//! call is the truth: its path before the change is kept here, and [`crate::path_calls`] reads the
//! one after it.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::LruHashMap,
    programs::BtfTracePointContext,
};
use sentinel_ipc::{
    kernel_abi::{Object, PATH_BYTES, Span, kind},
    kernel_fields::Field,
};

use crate::{
    call::kind_of,
    descriptor::object_of_inode,
    emit::scratch,
    file_class,
    kernel::{Address, Task, current_ids, current_registers, forget, offset},
    path::{Location, walk},
    registers::Registers,
    scope::{class_of, is_reported, is_reporting},
};

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;

/// What a call under way has changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Changed {
    /// The first inode that is no directory, and the last; while there is none, a directory.
    pub inode: [Address; 2],
    pub object: [Object; 2],
    /// Class of the first, by its path before the change.
    pub class: u32,
    directory: u32,
    /// Bytes of the last component of `path`.
    pub name_length: u32,
    reserved: u32,
    /// Path of the first before the change; of length 0 if it had none.
    pub span: Span,
    pub path: [u8; PATH_BYTES],
    /// Room that a walk asks for.
    room: [u8; 256],
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
    let under_way = kind_of(Registers::new(current_registers())) as u16;
    if under_way >> kind::FAMILY_SHIFT != kind::RENAME >> kind::FAMILY_SHIFT {
        return 0;
    }
    let object = object_of_inode(inode);
    let directory = (object.mode & S_IFMT == S_IFDIR) as u32;
    let thread = this_thread();
    if let Some(changed) = CHANGED.get_ptr_mut(&thread) {
        // SAFETY: a live map value that only this thread uses.
        let changed = unsafe { &mut *changed };
        if changed.directory == 0 || directory != 0 {
            if directory == 0 {
                changed.inode[1] = inode;
                changed.object[1] = object;
            }
            return 0;
        }
    }
    begin(thread, inode, object, directory);
    0
}

#[inline(always)]
fn begin(thread: u64, inode: Address, object: Object, directory: u32) {
    let Some(fresh) = scratch::<Changed>() else { return };
    let location = location_of(inode, Location::working_directory().mount);
    // SAFETY: the scratch memory has room for it; the walk gets the 256 bytes that it asks for, and
    // everything is written but the rest of the path, which was written when the map was made.
    unsafe {
        let path = (&raw mut (*fresh).path).cast::<u8>();
        let written = walk(location, path);
        let class = file_class::classify(&object, location, path, written.span);
        (&raw mut (*fresh).inode).write([inode, inode]);
        (&raw mut (*fresh).object).write([object, object]);
        (&raw mut (*fresh).class).write(class);
        (&raw mut (*fresh).directory).write(directory);
        (&raw mut (*fresh).name_length).write(location.dentry.read(Field::DentryNameLength));
        (&raw mut (*fresh).reserved).write(0);
        (&raw mut (*fresh).span).write(written.span);
        let _lru_makes_room = CHANGED.insert(&thread, &*fresh, 0);
    }
}

/// What the current thread's call has changed.
#[inline(always)]
pub fn changed() -> Option<*const Changed> {
    CHANGED.get_ptr(&this_thread()).map(<*const Changed>::cast)
}

/// The call is over.
#[inline(always)]
pub fn end() {
    let _nothing_was = CHANGED.remove(&this_thread());
}

/// Where `inode` is, by the newest of its names; seen through `mount` or the root's mount if they
/// are of its file system.
#[inline(always)]
pub fn location_of(inode: Address, mount: Address) -> Location {
    let alias = inode.follow(Field::InodeAliases);
    let dentry = if alias.is_null() {
        Address(0)
    } else {
        Address(alias.0.wrapping_sub(offset(Field::DentryAlias) as u64))
    };
    let super_block = inode.follow(Field::InodeSuperBlock);
    let root = Task::current().follow(Field::TaskFs).follow(Field::FsRootMount);
    let mount = if mount.follow(Field::VfsmountSuperBlock) == super_block {
        mount
    } else if root.follow(Field::VfsmountSuperBlock) == super_block {
        root
    } else {
        Address(0)
    };
    let forget = |value: Address| Address(forget(value.0 as usize, super_block.0) as u64);
    Location { dentry: forget(dentry), mount: forget(mount) }
}
