//! The absolute path of a file, by walking its dentries and mounts towards the root.

use sentinel_ipc::{
    kernel_abi::{PATH_BYTES, Span, flag, origin},
    kernel_fields::Field,
};

use crate::{
    fields::offset,
    kernel::{Address, Piece, Task, copy_kernel, copy_kernel_string, forget, opaque},
};

/// Steps (components and mounts) that a walk takes at the most.
const MAX_STEPS: usize = 64;
/// Longest name of one directory entry (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// A name in a directory, as it is seen through a mount.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Location {
    /// `struct dentry`.
    pub dentry: Address,
    /// That of its directory; the same for the root of a file system.
    pub parent: Address,
    /// `struct vfsmount`; null if it is not known.
    pub mount: Address,
    /// Where the name stands in kernel memory.
    pub name: Address,
    /// Bytes of the name.
    pub length: u32,
}

impl Location {
    /// The name of `dentry`.
    #[inline(always)]
    pub fn of(dentry: Address, mount: Address) -> Self {
        let mut room = [0; 3];
        let copied = Piece::copied(dentry, offset(Field::DentryParent), &mut room);
        Self {
            dentry,
            parent: copied.follow(Field::DentryParent),
            mount,
            name: copied.follow(Field::DentryName),
            length: copied.read(Field::DentryNameLength),
        }
    }

    /// Where the file behind a `struct file` is.
    #[inline(always)]
    pub fn of_file(file: Address) -> Self {
        Self::of(file.follow(Field::FileDentry), file.follow(Field::FileMount))
    }

    /// The current task's working directory.
    #[inline(always)]
    pub fn working_directory() -> Self {
        let fs = Task::current().follow(Field::TaskFs);
        Self::of(fs.follow(Field::FsWorkingDentry), fs.follow(Field::FsWorkingMount))
    }

    /// Whether it is the root of its file system, and so has no name.
    #[inline(always)]
    pub fn is_root(&self) -> bool {
        self.dentry == self.parent
    }

    /// The mount point of the mount it is seen through, a dentry, and the mount that is in; `None` at the topmost
    /// mount.
    #[inline(always)]
    pub fn mount_point(&self) -> Option<(Address, Address)> {
        let outer = outer_mount(self.mount);
        let above = outer.follow(Field::MountParent);
        // Of a copy, so that this is not known of the mount's own address afterwards.
        if above == outer || forget(self.mount.0, above.0) == 0 {
            return None;
        }
        let mount = Address(above.0.wrapping_add(offset(Field::MountVfsmount) as u64));
        Some((outer.follow(Field::MountMountpoint), mount))
    }
}

/// The `struct mount` around a `struct vfsmount`.
#[inline(always)]
pub fn outer_mount(mount: Address) -> Address {
    Address(mount.0.wrapping_sub(offset(Field::MountVfsmount) as u64))
}

/// A path that was written into a buffer.
#[derive(Clone, Copy)]
pub struct Written {
    /// Where it lies.
    pub span: Span,
    /// Whether its front is missing: too long, or too many components; [`flag::TRUNCATED`] or 0.
    pub flags: u16,
}

/// Writes a slash and the `length` bytes at `name`, [`NAME_MAX`] at the most, in front of what begins at `start` in
/// `buffer`, which is as [`walk`] asks for; where they begin, or `None` if they do not fit.
#[inline(always)]
pub fn prepend(buffer: *mut u8, start: usize, name: Address, length: usize) -> Option<usize> {
    let begin = opaque(start.wrapping_sub(length + 1));
    if begin >= PATH_BYTES {
        return None;
    }
    // LLVM drops masks that it proves redundant, and the verifier then misses them.
    let begin = opaque(begin) & (PATH_BYTES - 1);
    let length = opaque(length) & NAME_MAX;
    // SAFETY: begin < PATH_BYTES, so the slash and at most 255 bytes more fit.
    unsafe { buffer.add(begin).write(b'/') };
    // SAFETY: as above.
    copy_kernel(unsafe { buffer.add(begin + 1) }, length as u32, name);
    Some(begin)
}

/// Writes the path of `location` to the end of the first `PATH_BYTES` of `buffer`.
///
/// `buffer` must have `PATH_BYTES` + 256 writable bytes: the walk stays within the first
/// `PATH_BYTES`, but the verifier can bound a name only by its mask. An object outside any directory
/// (memfd, pipe) gets its bare name.
#[inline(always)]
pub fn walk(location: Location, buffer: *mut u8) -> Written {
    walk_past(location, buffer, |_, _| ())
}

/// As [`walk`]; `past` is told each place that it comes by, mount points and the roots of mounts included,
/// and where the path that is written so far begins. The verifier walks it once if it does not branch.
#[inline(always)]
pub fn walk_past(
    location: Location,
    buffer: *mut u8,
    mut past: impl FnMut(&Location, usize),
) -> Written {
    let mut at = location;
    let mut root = at.mount.follow(Field::VfsmountRoot);
    let mut start = PATH_BYTES;
    let mut flags = flag::TRUNCATED;
    let mut origin = origin::KERNEL;
    for _ in 0..MAX_STEPS {
        start = forget(start, at.dentry.0) & (2 * PATH_BYTES - 1);
        past(&at, start);
        let (mut dentry, mut mount) = (at.parent, at.mount);
        if at.dentry == root {
            let Some(outside) = at.mount_point() else {
                flags = 0;
                break;
            };
            (dentry, mount) = outside;
            root = mount.follow(Field::VfsmountRoot);
        } else {
            if at.is_root() {
                // The mount does not lead there.
                origin = origin::FILE_SYSTEM;
                flags = 0;
                break;
            }
            let length = at.length as usize & NAME_MAX;
            let Some(begin) = prepend(buffer, start, at.name, length) else { break };
            start = begin;
        }
        at = Location::of(dentry, mount);
    }
    // The root itself ("/"), or an object of a file system without directories.
    let bare = start >= PATH_BYTES;
    let (start, length) = if bare {
        (0, copy_kernel_string(buffer, NAME_MAX as u32, at.name) as usize)
    } else {
        (start, PATH_BYTES - start)
    };
    let flags = if bare { 0 } else { flags };
    // What comes next is verified once, not once for each way to here.
    let forget = |value: u16| forget(value, at.dentry.0);
    let (start, length) = (forget(start as u16), forget(length as u16));
    let (origin, flags) = (forget(origin), forget(flags));
    Written { span: Span { start, length, origin, reserved: 0 }, flags }
}
