//! The object of a call that names files ([`path_object`]), and its paths as the kernel knows them:
//! after the call ([`path_after`]), and before it ([`path_before`]).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::{
    file_class::SECRET,
    kernel_abi::{Object, PathRecord, Span, kind, origin, stage},
    kernel_fields::Field,
};

use crate::{
    descriptor::{S_IFDIR, S_IFMT, object_of_inode},
    emit::{scratch, send},
    file_class::{self, Found},
    inode_change::{self, Changed},
    kernel::{Address, copy_kernel, forget, is_equal, number_of, opaque},
    path::walk,
    path_calls::ROOM,
    scope::count,
    syscall::FAMILIES,
};

/// Slashes behind a directory's name that are overlooked.
const MAX_SLASHES: u32 = 3;

/// The parts of a record that is being completed.
struct Parts {
    kind: u16,
    object: *mut Object,
    class: *mut u32,
    source_class: *mut u32,
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
                source_class: &raw mut (*record).source_class,
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
    let parts = Parts::of(record);
    // What a mount makes is not what its paths name.
    let has_object = parts.kind < kind::MOUNT || matches!(parts.kind, kind::MKDIR | kind::MKNOD);
    if has_object
        && let Some(changed) = inode_change::changed()
        && find(&parts, changed)
    {
        // SAFETY: as in `syscall`. Does not come back.
        unsafe { FAMILIES.tail_call(&context, stage::AFTER) };
    }
    finish(record);
    0
}

/// Runs in the place of `sys_exit`, behind [`path_object`].
#[btf_tracepoint(function = "sys_exit")]
pub fn path_after(context: BtfTracePointContext) -> i32 {
    let Some(record) = scratch::<PathRecord>() else { return 0 };
    let parts = Parts::of(record);
    if let Some(changed) = inode_change::changed() {
        if parts.kind != kind::UNLINK {
            look_now(&parts, changed);
        }
        // SAFETY: a live map value that only this thread uses.
        let is_first = unsafe { (*changed).chosen == (*changed).inode[0] };
        if is_first && matches!(parts.kind, kind::RENAME | kind::LINK | kind::UNLINK) {
            // SAFETY: as in `syscall`. Does not come back.
            unsafe { FAMILIES.tail_call(&context, stage::BEFORE) };
        }
    }
    finish(record);
    0
}

/// Runs in the place of `sys_exit`, behind [`path_after`].
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
    send(record, false);
}

/// Finds the inode that the call was about among those that it changed, and describes it; false if
/// that cannot be told.
#[inline(always)]
fn find(parts: &Parts, changed: *mut Changed) -> bool {
    let is_new =
        matches!(parts.kind, kind::SYMLINK | kind::MKDIR | kind::MKNOD | kind::RENAME | kind::LINK);
    let second = parts.second();
    // SAFETY: a live map value that only this thread uses; `second` < 2.
    let (inodes, path, span, length, name, cell, directory) = unsafe {
        (
            (*changed).inode,
            parts.paths.add(second * ROOM),
            *parts.spans.add(second),
            (*changed).length,
            Address((*changed).name.as_ptr() as u64),
            &raw mut (*changed).cell,
            (*changed).directory,
        )
    };
    let said = number_of(path, cell);
    let [first, next, last] = inodes;
    let is_only_one = first == next && directory == 0;
    let mut inode = first;
    if parts.kind == kind::UNLINK {
        if !ends_in(said, span, length, name) {
            return false;
        }
    } else if is_new && !is_only_one {
        inode = Address(0);
        // A loop, so that the object holds the comparison once. On overlayfs the last is the one
        // that descriptors tell; where there are two the third is the first.
        let mut candidates = [last, first, next];
        if last != first {
            candidates = [first, next, last];
        }
        for _ in 0..3 {
            let [a, b, c] = candidates;
            let named = forget(is_named(a, said, span) as usize, a.0) & 1;
            let keep = 0_u64.wrapping_sub(named as u64);
            inode = Address((a.0 & keep) | (inode.0 & !keep));
            candidates = [b, c, a];
        }
        if inode.is_null() {
            return false;
        }
    }
    let inode = Address(forget(inode.0, first.0));
    // SAFETY: live map values and the record's own field.
    unsafe {
        (*changed).chosen = inode;
        parts.object.write(object_of_inode(inode));
        let old: *const Object = if inode == first {
            &raw const (*changed).object[0]
        } else if inode == next {
            &raw const (*changed).object[1]
        } else {
            &raw const (*changed).object[2]
        };
        // An inode that was freed meanwhile holds something else.
        if (*parts.object).inode != (*old).inode || (*parts.object).device != (*old).device {
            parts.object.write(old.read());
            (&raw mut (*parts.object).links).write(0);
        }
    }
    true
}

/// Writes the path that the object has after the call, and its class.
#[inline(always)]
fn look_now(parts: &Parts, changed: *mut Changed) {
    let second = parts.second();
    // SAFETY: a live map value that only this thread uses; `second` < 2.
    let (inode, path, span, cell, object) = unsafe {
        (
            (*changed).chosen,
            parts.paths.add(second * ROOM),
            parts.spans.add(second),
            &raw mut (*changed).cell,
            &*parts.object,
        )
    };
    let location = inode_change::location_of(inode);
    let Some(keys) = file_class::keys() else { return };
    keys.names.read(location);
    let found = Found::of(keys, object, location);
    let said = number_of(path, cell);
    // Of a file with several names, the newest need not be the one that was meant.
    // SAFETY: the record's own field.
    let named = ends_in(said, unsafe { *span }, location.length, location.name);
    // By arithmetic: what comes next is verified once, not once for each reason.
    let is_directory = is_equal((object.mode & S_IFMT) as u64, S_IFDIR as u64);
    let alone = opaque((object.links as u64).wrapping_sub(2)) >> 63 | is_directory;
    if named as u64 | alone == 0 {
        return;
    }
    let written = walk(location, path);
    if written.span.length > 0 {
        // SAFETY: the record's own fields.
        unsafe {
            span.write(written.span);
            let classes = found.complete(keys, object, location, path, written.span);
            parts.class.write(classes.told(true));
        }
    }
}

/// Writes the path that the object had before the call, and what that says of its classes: of a removed file
/// they are what the record tells.
#[inline(always)]
fn look_back(parts: &Parts, changed: *mut Changed) {
    // SAFETY: a live map value that only this thread uses, and the record's own field.
    let (before, said, object) = unsafe {
        let said = number_of(parts.paths, &raw mut (*changed).cell);
        ((*changed).before(), said, &*parts.object)
    };
    let Some(keys) = file_class::keys() else { return };
    keys.names.read(before);
    let found = Found::of(keys, object, before);
    if before.length == 0 {
        return;
    }
    // SAFETY: the record's first span.
    let given = unsafe { *parts.spans };
    let meant = ends_in(said, given, before.length, before.name);
    // A file with several names need not be told by the one that was meant; then the caller's word
    // stays, and what the walk would overwrite with it.
    let mut span = Span { start: 0, length: 0, origin: origin::NONE, reserved: 0 };
    if meant {
        span = walk(before, parts.paths).span;
        // SAFETY: the record's own field.
        unsafe { parts.spans.write(span) };
    }
    let classes = found.complete(keys, object, before, parts.paths, span);
    let (class, of_secret) = (classes.told(true), classes.always() & SECRET);
    let is_link = parts.kind == kind::LINK;
    // SAFETY: the record's own fields.
    unsafe {
        if parts.kind == kind::UNLINK {
            parts.class.write(class);
        } else {
            parts.source_class.write(class);
            let now = parts.class.read();
            parts.class.write(if now == 0 && of_secret != 0 { class } else { now | of_secret });
        }
    }
    // Who has a removed file open still knows it, and a file that has two names is written by both.
    let is_known = of_secret != 0 && file_class::has_content(object);
    if is_known || (is_link && classes.written() != 0) {
        file_class::learn(object, classes);
    }
}

/// Whether a path ends in the newest name of `inode`.
#[inline(always)]
fn is_named(inode: Address, path: Address, span: Span) -> bool {
    let location = inode_change::name_of(inode);
    // A name that was replaced is no longer in its directory's table.
    let is_there = !location.dentry.follow(Field::DentryHash).is_null();
    let named = ends_in(path, span, location.length, location.name);
    forget((is_there & named) as usize, location.dentry.0) & 1 != 0
}

/// Whether a path's last component is the name of `length` bytes at `name`; of a long one 64 bytes
/// are compared.
#[inline(always)]
pub fn ends_in(path: Address, span: Span, length: u32, name: Address) -> bool {
    let begin = path.0.wrapping_add(span.start as u64);
    let mut in_path = span.length as u64;
    let mut slashes = 0;
    while slashes < MAX_SLASHES {
        let last: u8 = Address(begin.wrapping_add(in_path).wrapping_sub(1)).read_at(0);
        in_path = in_path.wrapping_sub(opaque((last == b'/') as u64));
        slashes += 1;
    }
    // A copy, so that what is compared here is not known of the caller's.
    let length = forget(length as u64, path.0);
    let at = begin.wrapping_add(in_path).wrapping_sub(length);
    let separator: u8 = Address(at.wrapping_sub(1)).read_at(0);
    let compared = opaque(if length > 64 { 64 } else { length }) & 127;
    let compared = if compared > 64 { 64 } else { compared };
    let mut words = [[0_u64; 8]; 2];
    copy_kernel(words[0].as_mut_ptr().cast(), compared as u32, name);
    copy_kernel(words[1].as_mut_ptr().cast(), compared as u32, Address(at));
    let mut difference = 0;
    let mut index = 0;
    while index < 8 {
        difference |= words[0][index] ^ words[1][index];
        index += 1;
    }
    let begins = (separator == b'/') | (length == in_path);
    let ends = (difference == 0) & begins & (length != 0) & (length <= in_path);
    // What comes next is verified once, not once for each answer.
    forget(ends as usize, difference) & 1 != 0
}
