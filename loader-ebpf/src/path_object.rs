//! The object of a call that names files, and its paths as the kernel knows them: after the call
//! ([`path_object`]), and before it ([`path_before`]).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::kernel_abi::{Object, PathRecord, Span, kind};

use crate::{
    descriptor::object_of_inode,
    emit::{scratch, send},
    file_class,
    inode_change::{self, Changed},
    kernel::{Address, copy_kernel, forget},
    path::walk,
    path_calls::ROOM,
    scope::count,
    syscall::FAMILIES,
};

/// Place of [`path_object`] among the families' programs.
pub const OBJECT_PROGRAM: u32 = kind::FAMILIES + 1;
/// Place of [`path_before`].
const BEFORE_PROGRAM: u32 = kind::FAMILIES + 2;

/// The parts of a record that is being completed.
struct Parts {
    kind: u16,
    object: *mut Object,
    class: *mut u32,
    spans: *mut Span,
    paths: *mut u8,
}

impl Parts {
    #[inline(always)]
    fn of(record: *mut PathRecord) -> Self {
        // SAFETY: `record` was built by `path_calls`; only addresses and its kind are taken.
        unsafe {
            Self {
                kind: (*record).header.kind,
                object: &raw mut (*record).object,
                class: &raw mut (*record).class,
                spans: (&raw mut (*record).span).cast::<Span>(),
                paths: (&raw mut (*record).path).cast::<u8>(),
            }
        }
    }

    /// Place of the path that the object has after the call: second, if the call has two.
    #[inline(always)]
    fn second(&self) -> usize {
        let second = matches!(self.kind, kind::RENAME | kind::LINK | kind::SYMLINK);
        forget(second as usize, self.kind as u64) & 1
    }
}

/// Runs in the place of `sys_exit`, behind [`crate::path_calls`], whose record it completes.
#[btf_tracepoint(function = "sys_exit")]
pub fn path_object(context: BtfTracePointContext) -> i32 {
    let Some(record) = scratch::<PathRecord>() else { return 0 };
    if let Some(changed) = inode_change::changed()
        && complete(&Parts::of(record), changed)
    {
        // SAFETY: as in `syscall`. Does not come back.
        unsafe { FAMILIES.tail_call(&context, BEFORE_PROGRAM) };
    }
    finish(record);
    0
}

/// Runs in the place of `sys_exit`, behind [`path_object`].
#[btf_tracepoint(function = "sys_exit")]
pub fn path_before(_: BtfTracePointContext) -> i32 {
    let Some(record) = scratch::<PathRecord>() else { return 0 };
    if let Some(changed) = inode_change::changed() {
        look_back(&Parts::of(record), changed);
    }
    finish(record);
    0
}

#[inline(always)]
fn finish(record: *mut PathRecord) {
    inode_change::end();
    count(|counters| counters.passed += 1);
    send(record);
}

/// Writes what the kernel knows over what the caller said; true if the object had another name
/// before.
#[inline(always)]
fn complete(parts: &Parts, changed: *mut Changed) -> bool {
    let is_removed = parts.kind == kind::UNLINK;
    let is_new = matches!(
        parts.kind,
        kind::SYMLINK | kind::MKDIR | kind::MKNOD | kind::RENAME | kind::LINK
    );
    let second = parts.second();
    // SAFETY: a live map value that only this thread uses; `second` < 2.
    let (first, last, path, span) = unsafe {
        let path = parts.paths.add(second * ROOM);
        ((*changed).inode[0], (*changed).inode[1], path, *parts.spans.add(second))
    };
    let mut inode = first;
    if is_removed {
        // SAFETY: as above.
        let (length, name) = unsafe { ((*changed).length, &raw const (*changed).name) };
        if !ends_in(path, span, length, Address(name as u64)) {
            return false;
        }
    } else if is_new {
        if is_named(last, path, span) {
            inode = last;
        } else if !is_named(first, path, span) {
            return false;
        }
    }
    let inode = Address(forget(inode.0 as usize, first.0) as u64);
    // SAFETY: live map values and the record's own field.
    let object = unsafe {
        parts.object.write(object_of_inode(inode));
        let old: *const Object = if inode == first {
            &raw const (*changed).object[0]
        } else {
            &raw const (*changed).object[1]
        };
        // An inode that was freed meanwhile holds something else.
        if (*parts.object).inode != (*old).inode || (*parts.object).device != (*old).device {
            parts.object.write(old.read());
            (&raw mut (*parts.object).links).write(0);
        }
        &*parts.object
    };
    if !is_removed {
        let location = inode_change::location_of(inode);
        let written = walk(location, path);
        if written.span.length > 0 {
            // SAFETY: the record's own fields; `second` < 2.
            unsafe {
                parts.spans.add(second).write(written.span);
                parts.class.write(file_class::classify(object, location, path, written.span));
            }
        }
    }
    inode == first && matches!(parts.kind, kind::RENAME | kind::LINK | kind::UNLINK)
}

/// Writes the path that the object had before the call, and what it says of its class.
#[inline(always)]
fn look_back(parts: &Parts, changed: *mut Changed) {
    // SAFETY: a live map value that only this thread uses, and the record's own field.
    let (before, object) = unsafe { ((*changed).before(), &*parts.object) };
    if before.length == 0 {
        return;
    }
    let written = walk(before, parts.paths);
    let class = file_class::classify(object, before, parts.paths, written.span);
    // SAFETY: the record's own fields.
    unsafe {
        parts.spans.write(written.span);
        if class != 0 {
            parts.class.write(class);
        }
    }
    if parts.kind == kind::UNLINK {
        if object.links == 0 {
            file_class::forget_file(object);
        }
    } else if file_class::is_secret(class) && file_class::has_content(object) {
        file_class::learn(object, class);
    }
}

/// Whether a path ends in the newest name of `inode`.
#[inline(always)]
fn is_named(inode: Address, path: *const u8, span: Span) -> bool {
    let location = inode_change::location_of(inode);
    ends_in(path, span, location.length, location.name)
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
