//! Families 4 and 6: calls that name files. What the caller said is put down here, what the kernel
//! knows of it in [`crate::path_object`].

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::kernel_abi::{
    COMM_BYTES, PATH_BYTES, PathRecord, Span, abi, flag, kind, origin, stage,
};

use crate::{
    call::Call,
    descriptor::{NO_OBJECT, Table},
    emit::{Facts, header, scratch},
    file_calls::POWERFUL_MODE,
    inode_change,
    kernel::{copy_user_string, forget},
    path::{Location, walk},
    scope::{count, is_wanted},
    syscall::{FAMILIES, pass_on_canary},
};

const AT_FDCWD: i32 = -100;
const AT_REMOVEDIR: u64 = 0x200;
const PERMISSIONS: u64 = 0o7777;
/// Bytes of one of a record's two paths.
pub const ROOM: usize = 2 * PATH_BYTES;
const NO_SPAN: Span = Span { start: 0, length: 0, origin: origin::NONE, reserved: 0 };

/// A path in a call's arguments.
#[derive(Clone, Copy)]
struct Given {
    /// The descriptor of the directory from which it starts.
    directory: i32,
    /// Where it stands in the caller's memory; 0 if the call has no such path.
    at: u64,
    /// It is a text that starts nowhere: a link's content, a mount's source.
    free: bool,
}

impl Given {
    #[inline(always)]
    fn forgotten(self, unknown: u64) -> Self {
        Self {
            directory: forget(self.directory, unknown),
            at: forget(self.at, unknown),
            free: forget(self.free as usize, unknown) & 1 != 0,
        }
    }
}

const NOTHING: Given = Given { directory: AT_FDCWD, at: 0, free: false };

/// Runs in the place of `sys_exit`.
#[btf_tracepoint(function = "sys_exit")]
pub fn path_calls(context: BtfTracePointContext) -> i32 {
    let call = Call::of(&context);
    pass_on_canary(&context, call.facts.kind, kind::CREDENTIALS);
    if describe(&call) {
        // SAFETY: as in `syscall`. Does not come back, unless that program was not loaded.
        unsafe { FAMILIES.tail_call(&context, stage::OBJECT) };
    }
    inode_change::end();
    0
}

/// Builds the record in the scratch memory, with what the caller said; false if it is not wanted.
#[inline(always)]
fn describe(call: &Call) -> bool {
    let with_directories = call.facts.kind >= kind::RENAME + kind::AT;
    let kind = if with_directories { call.facts.kind - kind::AT } else { call.facts.kind };
    let mounts = matches!(kind, kind::MOUNT | kind::MOVE_MOUNT | kind::UNMOUNT);
    if !is_wanted(kind) || (call.facts.result < 0 && !mounts) {
        return false;
    }
    let (given, argument) = arguments(call, kind, with_directories);
    // What comes next is verified once, not once for each kind of call.
    let unknown = call.facts.result as u64;
    let facts = Facts { kind, argument, ..call.facts }.forgotten(unknown);
    let (kind, argument) = (facts.kind, facts.argument);
    let given = given.map(|path| path.forgotten(unknown));
    if kind == kind::CHMOD && argument[0] & POWERFUL_MODE == 0 {
        return false;
    }
    let Some(record) = scratch::<PathRecord>() else { return false };
    // SAFETY: the scratch memory has room for the record and 256 bytes more; only addresses are
    // taken.
    let (header_at, object_at, span_at, class_at, source_class_at, label_at, path_at) = unsafe {
        (
            &raw mut (*record).header,
            &raw mut (*record).object,
            (&raw mut (*record).span).cast::<Span>(),
            &raw mut (*record).class,
            &raw mut (*record).source_class,
            (&raw mut (*record).label).cast::<[u8; COMM_BYTES]>(),
            (&raw mut (*record).path).cast::<u8>(),
        )
    };
    let mut flags = 0;
    // A loop, so that the object holds the walk once.
    for index in 0..2_usize {
        // SAFETY: index < 2, the number of spans and of paths.
        unsafe {
            let written = write_given(given[index & 1], path_at.add(index * ROOM));
            span_at.add(index).write(written.0);
            flags |= written.1;
        }
    }
    // SAFETY: the addresses of the record's own fields, taken above.
    unsafe {
        label_at.write([0; COMM_BYTES]);
        if kind == kind::MOUNT {
            let _none = copy_user_string(label_at.cast(), COMM_BYTES as u32, call.arguments[2]);
        }
        header_at.write(header(Facts { flags, ..facts }));
        object_at.write(NO_OBJECT);
        class_at.write(0);
        source_class_at.write(0);
    }
    true
}

/// Where a call's paths stand, and what else it was given.
#[inline(always)]
fn arguments(call: &Call, kind: u16, with_directories: bool) -> ([Given; 2], [u64; 3]) {
    let [a, b, c, d, e, _] = call.arguments;
    let here = |at| Given { at, ..NOTHING };
    let from = |directory: u64, at| Given { directory: directory as i32, at, ..NOTHING };
    let free = |at| Given { at, free: true, ..NOTHING };
    let number = call.facts.call;
    // Numbers: rmdir, and the old calls that take no flags.
    let small = call.facts.abi == abi::COMPAT;
    let is_rmdir = number == if small { 40 } else { 84 };
    let is_renameat = number == if small { 302 } else { 264 };
    let is_old_umount = small && number == 22;
    let is_truncate64 = small && number == 193;
    match (kind, with_directories) {
        (kind::RENAME, true) => {
            let flags = if is_renameat { 0 } else { e as u32 as u64 };
            ([from(a, b), from(c, d)], [flags, 0, 0])
        }
        (kind::LINK, true) => ([from(a, b), from(c, d)], [e as u32 as u64, 0, 0]),
        (kind::MOVE_MOUNT, _) => ([from(a, b), from(c, d)], [e as u32 as u64, 0, 0]),
        (kind::SYMLINK, true) => ([free(a), from(b, c)], [0; 3]),
        (kind::SYMLINK, false) => ([free(a), here(b)], [0; 3]),
        (kind::RENAME | kind::LINK, false) => ([here(a), here(b)], [0; 3]),
        (kind::UNLINK, true) => ([from(a, b), NOTHING], [c as u32 as u64, 0, 0]),
        (kind::UNLINK, false) => {
            ([here(a), NOTHING], [if is_rmdir { AT_REMOVEDIR } else { 0 }, 0, 0])
        }
        (kind::CHMOD | kind::MKDIR, true) => ([from(a, b), NOTHING], [c & PERMISSIONS, 0, 0]),
        (kind::CHMOD | kind::MKDIR, false) => ([here(a), NOTHING], [b & PERMISSIONS, 0, 0]),
        (kind::MKNOD, true) => ([from(a, b), NOTHING], [c as u32 as u64, d, 0]),
        (kind::MKNOD, false) => ([here(a), NOTHING], [b as u32 as u64, c, 0]),
        (kind::TRUNCATE, _) => {
            let length = if is_truncate64 { b | c << 32 } else { b };
            ([here(a), NOTHING], [length, 0, 0])
        }
        (kind::MOUNT, _) => ([free(a), here(b)], [d, 0, 0]),
        (kind::UNMOUNT, _) => {
            ([here(a), NOTHING], [if is_old_umount { 0 } else { b as u32 as u64 }, 0, 0])
        }
        _ => ([here(a), NOTHING], [0; 3]),
    }
}

/// Writes a path as it was given, behind the path of the directory from which it starts; says where
/// it lies, and [`flag::TRUNCATED`] or 0.
#[inline(always)]
fn write_given(given: Given, to: *mut u8) -> (Span, u16) {
    if given.at == 0 {
        return (NO_SPAN, 0);
    }
    let base = if given.directory == AT_FDCWD {
        Location::working_directory()
    } else {
        Location::of_file(Table::current().file(given.directory as u32))
    };
    let written = walk(base, to);
    // SAFETY: `to` has ROOM = 2 * PATH_BYTES bytes: the walk's half, and this one.
    let text = unsafe { to.add(PATH_BYTES + 1) };
    let Some(length) = copy_user_string(text, PATH_BYTES as u32 - 1, given.at) else {
        count(|counters| counters.unreadable += 1);
        return (NO_SPAN, 0);
    };
    let length = length as u16;
    // SAFETY: as above.
    let first = unsafe {
        text.sub(1).write(b'/');
        text.read()
    };
    let flags = if length as usize >= PATH_BYTES - 2 { flag::TRUNCATED } else { 0 };
    let free = given.free || (length > 0 && first == b'/');
    let base = written.span;
    let at_end = base.start as usize + base.length as usize == PATH_BYTES;
    let (start, length) = if free {
        (PATH_BYTES as u16 + 1, length)
    } else if length == 0 {
        // The descriptor itself (AT_EMPTY_PATH).
        return (base, written.flags);
    } else if at_end {
        (base.start, base.length + 1 + length)
    } else {
        (PATH_BYTES as u16, 1 + length)
    };
    let flags = if free { flags } else { flags | written.flags };
    (Span { start, length, origin: origin::GIVEN, reserved: 0 }, flags)
}
