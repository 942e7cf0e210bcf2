//! The object of a call that names files, and its paths as the kernel knows them.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::{
    kernel_abi::{Object, PATH_BYTES, PathRecord, Span, kind},
    kernel_fields::Field,
};

use crate::{
    descriptor::object_of_inode,
    emit::{scratch, send},
    file_class,
    inode_change::{self, Changed},
    kernel::{Address, copy_kernel, forget},
    path::{Location, walk},
    path_calls::ROOM,
    scope::count,
};

/// Its place among the families' programs.
pub const PROGRAM: u32 = kind::FAMILIES + 1;

/// Runs in the place of `sys_exit`, behind [`crate::path_calls`], whose record it completes.
#[btf_tracepoint(function = "sys_exit")]
pub fn path_object(_: BtfTracePointContext) -> i32 {
    if let Some(record) = scratch::<PathRecord>() {
        if let Some(changed) = inode_change::changed() {
            complete(record, changed);
        }
        count(|counters| counters.passed += 1);
        send(record);
    }
    inode_change::end();
    0
}

/// Writes what the kernel knows over what the caller said.
#[inline(always)]
fn complete(record: *mut PathRecord, changed: *const Changed) {
    // SAFETY: `record` was built by `path_calls`; only addresses are taken.
    let (kind, object_at, class_at, spans, paths) = unsafe {
        (
            (*record).header.kind,
            &raw mut (*record).object,
            &raw mut (*record).class,
            (&raw mut (*record).span).cast::<Span>(),
            (&raw mut (*record).path).cast::<u8>(),
        )
    };
    let is_new = matches!(kind, kind::SYMLINK | kind::MKDIR | kind::MKNOD);
    let is_moved = matches!(kind, kind::RENAME | kind::LINK);
    let is_removed = kind == kind::UNLINK;
    // The path that the object has now stands second, if the call has two.
    let second = (is_moved || kind == kind::SYMLINK) as usize & 1;
    // What comes next is verified once, not once for each kind of call.
    let unknown = kind as u64;
    let forget_bit = |value: bool| forget(value as usize, unknown) & 1 != 0;
    let (is_new, is_moved, is_removed) =
        (forget_bit(is_new), forget_bit(is_moved), forget_bit(is_removed));
    let second = forget(second, unknown) & 1;
    // SAFETY: a live map value that only this thread uses.
    let (first, last, before) =
        unsafe { ((*changed).inode[0], (*changed).inode[1], (*changed).span) };
    let mut inode = first;
    if is_new || is_moved {
        // SAFETY: `second` < 2.
        let (path, span) = unsafe { (paths.add(second * ROOM), *spans.add(second)) };
        if is_named(last, path, span) {
            inode = last;
        } else if !is_named(first, path, span) {
            return;
        }
    }
    let inode = Address(forget(inode.0 as usize, unknown) as u64);
    // SAFETY: a live map value; `name_length` is that of the path's last component.
    let (name_length, path_before) =
        unsafe { ((*changed).name_length, (&raw const (*changed).path) as u64) };
    if is_removed {
        let name = Address((path_before + PATH_BYTES as u64).wrapping_sub(name_length as u64));
        // SAFETY: the record's first span.
        if !ends_in(paths, unsafe { *spans }, name_length, name) {
            return;
        }
    }
    if inode == first && before.length > 0 && (is_removed || is_moved) {
        // SAFETY: both have PATH_BYTES bytes.
        unsafe {
            copy_kernel(paths, PATH_BYTES as u32, Address(path_before));
            spans.write(before);
        }
    }
    // SAFETY: live map values and the record's own field.
    let object = unsafe {
        object_at.write(object_of_inode(inode));
        let old: *const Object = if inode == first {
            &raw const (*changed).object[0]
        } else {
            &raw const (*changed).object[1]
        };
        // An inode that was freed meanwhile holds something else.
        if (*object_at).inode != (*old).inode || (*object_at).device != (*old).device {
            object_at.write(old.read());
            (&raw mut (*object_at).links).write(0);
        }
        &*object_at
    };
    // SAFETY: a live map value.
    let mut class = if inode == first { unsafe { (*changed).class } } else { 0 };
    if is_removed {
        if object.links == 0 {
            file_class::forget_file(object);
        }
    } else {
        let location = inode_change::location_of(inode, Location::working_directory().mount);
        // SAFETY: `second` < 2; what is behind the first half gives the walk the room it asks for.
        unsafe {
            let path = paths.add(second * ROOM);
            let written = walk(location, path);
            if written.span.length > 0 {
                spans.add(second).write(written.span);
            }
            if class == 0 {
                class = file_class::classify(object, location, path, written.span);
            }
        }
        if is_moved && file_class::is_secret(class) && file_class::has_content(object) {
            file_class::learn(object, class);
        }
    }
    // SAFETY: the record's own field.
    unsafe { class_at.write(class) };
}

/// Whether a path ends in the newest name of `inode`.
#[inline(always)]
fn is_named(inode: Address, path: *const u8, span: Span) -> bool {
    let dentry = inode_change::location_of(inode, Address(0)).dentry;
    let length = dentry.read::<u32>(Field::DentryNameLength);
    ends_in(path, span, length, dentry.follow(Field::DentryName))
}

/// Whether a path's last component is the name of `length` bytes at `name`; of a long one 64 bytes
/// are compared.
#[inline(always)]
fn ends_in(path: *const u8, span: Span, length: u32, name: Address) -> bool {
    let in_path = span.length as u64;
    let length = length as u64;
    if length == 0 || length > in_path {
        return false;
    }
    let at = (path as u64).wrapping_add(span.start as u64 + in_path - length);
    let separator: u8 = Address(at.wrapping_sub(1)).read_at(0);
    let compared = core::hint::black_box(if length > 64 { 64 } else { length }) & 127;
    if compared > 64 {
        return false;
    }
    let mut words = [[0_u64; 8]; 2];
    copy_kernel(words[0].as_mut_ptr().cast(), compared as u32, name);
    copy_kernel(words[1].as_mut_ptr().cast(), compared as u32, Address(at));
    let mut difference = 0;
    let mut index = 0;
    while index < 8 {
        difference |= words[0][index] ^ words[1][index];
        index += 1;
    }
    difference == 0 && (separator == b'/' || length == in_path)
}
