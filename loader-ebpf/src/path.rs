//! The absolute path of an open file, by walking its dentries and mounts towards the root.

use sentinel_ipc::kernel_abi::{Field, PATH_BYTES};

use crate::kernel::{Address, copy_kernel, copy_kernel_string, offset};

/// Steps (components and mounts) that a walk takes at the most.
const MAX_STEPS: usize = 64;
/// Longest name of one directory entry (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// Where a path lies in the buffer of [`walk`].
#[derive(Clone, Copy)]
pub struct Span {
    /// First byte.
    pub start: u16,
    /// Bytes.
    pub length: u16,
    /// The front is missing: too long, or too many components.
    pub truncated: bool,
}

/// The same value, of which the verifier knows nothing any more; `unknown` is something it knows
/// nothing about either. Rounds of a loop then look alike to it, and it walks one instead of all.
#[inline(always)]
fn forget(value: usize, unknown: u64) -> usize {
    core::hint::black_box(value ^ unknown as usize) ^ unknown as usize
}

/// Writes the path of `file` to the end of `buffer` and says where it begins.
///
/// `buffer` must have `PATH_BYTES` + 256 writable bytes: the walk stays within the first
/// `PATH_BYTES`, but the verifier can bound a name only by its mask. An object outside any directory
/// (memfd, pipe) gets its bare name.
#[inline(always)]
pub fn walk(file: Address, buffer: *mut u8) -> Span {
    let mut dentry = file.follow(Field::FileDentry);
    let mut mount = file.follow(Field::FileMount);
    let mut start = PATH_BYTES;
    let mut truncated = true;
    for _ in 0..MAX_STEPS {
        start = forget(start, dentry.0) & (2 * PATH_BYTES - 1);
        let parent = dentry.follow(Field::DentryParent);
        if dentry == mount.follow(Field::VfsmountRoot) || dentry == parent {
            let outer = Address(mount.0.wrapping_sub(offset(Field::MountVfsmount) as u64));
            let above = outer.follow(Field::MountParent);
            if above == outer {
                truncated = false;
                break;
            }
            dentry = outer.follow(Field::MountMountpoint);
            mount = Address(above.0.wrapping_add(offset(Field::MountVfsmount) as u64));
            continue;
        }
        let length = dentry.read::<u32>(Field::DentryNameLength) as usize & NAME_MAX;
        let name_start = core::hint::black_box(start.wrapping_sub(length + 1));
        if name_start >= PATH_BYTES {
            break;
        }
        // LLVM drops masks that it proves redundant, and the verifier then misses them.
        let name_start = core::hint::black_box(name_start) & (PATH_BYTES - 1);
        let length = core::hint::black_box(length) & NAME_MAX;
        // SAFETY: name_start < PATH_BYTES, so the slash and at most 255 bytes more fit.
        unsafe { buffer.add(name_start).write(b'/') };
        // SAFETY: as above.
        copy_kernel(
            unsafe { buffer.add(name_start + 1) },
            length as u32,
            dentry.follow(Field::DentryName),
        );
        start = name_start;
        dentry = parent;
    }
    if start >= PATH_BYTES {
        // The root itself ("/"), or an object of a file system without directories.
        let length = copy_kernel_string(buffer, NAME_MAX as u32, dentry.follow(Field::DentryName));
        return Span { start: 0, length: length as u16, truncated: false };
    }
    Span { start: start as u16, length: (PATH_BYTES - start) as u16, truncated }
}
