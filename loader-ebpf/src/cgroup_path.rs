//! The path of a cgroup within the hierarchy, by walking its nodes in kernfs towards the root. Of one that is too
//! long the outermost levels count, and the path ends with a slash: whoever may make cgroups nests them in his own.

use sentinel_ipc::{
    kernel_abi::{PATH_BYTES, Span, flag, origin},
    kernel_fields::Field,
};

use crate::{
    kernel::{Address, copy_kernel_string, forget},
    path::{NAME_MAX, Written, prepend},
    scope::outermost,
};

/// Levels that a path tells at the most.
const MAX_LEVELS: usize = 64;
/// Levels that a walk takes at the most: it begins at the outermost of them, where the kernel tells that (6.1+).
const MAX_WALK: usize = 128;
/// Room for one name and its NUL.
pub type Name = [u8; NAME_MAX + 1];

/// Writes the path of `cgroup` to the end of the first `PATH_BYTES` of `buffer`, which must have 256
/// writable bytes more, as for [`crate::path::walk`]. Kernfs keeps no lengths, so each name goes through
/// `name` first.
#[inline(always)]
pub fn write(cgroup: Address, name: &mut Name, buffer: *mut u8) -> Written {
    let outer = outermost(cgroup, MAX_LEVELS);
    let (mut node, is_cut) = fitting(outer.follow(Field::CgroupKernfsNode), name);
    let is_cut = is_cut | (outer.0 != cgroup.0);
    let mut start = PATH_BYTES;
    if is_cut {
        start -= 1;
        // SAFETY: within the buffer.
        unsafe { buffer.add(start).write(b'/') };
    }
    let mut flags = flag::TRUNCATED;
    for _ in 0..MAX_LEVELS {
        start = forget(start, node.0) & (2 * PATH_BYTES - 1);
        let parent = node.follow(Field::KernfsNodeParent);
        if parent.is_null() {
            flags = 0;
            break;
        }
        let from = node.follow(Field::KernfsNodeName);
        let length = copy_kernel_string(name.as_mut_ptr(), name.len() as u32, from) as usize;
        let length = forget(length, node.0) & NAME_MAX;
        let Some(begin) = prepend(buffer, start, Address(name.as_ptr() as u64), length) else {
            break;
        };
        start = begin;
        node = parent;
    }
    if start >= PATH_BYTES {
        // SAFETY: within the buffer.
        unsafe { buffer.add(PATH_BYTES - 1).write(b'/') };
        start = PATH_BYTES - 1;
    }
    let start = forget(start, node.0) as u16;
    let length = PATH_BYTES as u16 - start;
    let flags = forget(flags, node.0);
    Written { span: Span { start, length, origin: origin::KERNEL, reserved: 0 }, flags }
}

/// The lowest node above or at `node` whose path has room, and whether that is another one.
#[inline(always)]
fn fitting(node: Address, name: &mut Name) -> (Address, bool) {
    let (mut bytes, mut levels) = (0, 0);
    let mut above = node;
    for _ in 0..MAX_WALK {
        let parent = above.follow(Field::KernfsNodeParent);
        if parent.is_null() {
            break;
        }
        bytes = forget(bytes + room(above, name), above.0);
        levels = forget(levels + 1, above.0);
        above = parent;
    }
    let mut lowest = node;
    for _ in 0..MAX_WALK {
        // With room for the slash at the end, and for the look that finds that the root has no parent.
        if bytes < PATH_BYTES && levels < MAX_LEVELS {
            break;
        }
        bytes = forget(bytes.wrapping_sub(room(lowest, name)), lowest.0);
        levels = forget(levels.wrapping_sub(1), lowest.0);
        lowest = lowest.follow(Field::KernfsNodeParent);
    }
    (lowest, lowest.0 != node.0)
}

/// Bytes that a node's name and its slash take.
#[inline(always)]
fn room(node: Address, name: &mut Name) -> usize {
    let from = node.follow(Field::KernfsNodeName);
    copy_kernel_string(name.as_mut_ptr(), name.len() as u32, from) as usize + 1
}
