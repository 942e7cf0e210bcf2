//! Calls about names of files: they are made, changed, removed, or come to mean something else.

use sentinel_ipc::kernel_abi::{PathRecord, flag};

use super::{
    Action, Object, Path, RecordError,
    object::object,
    path::{Origin, spanned, until_nul},
    path_class,
};

/// A call about names of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Which.
    pub call: PathCall,
    /// The file that was named.
    pub object: Option<Object>,
    /// The paths, as `call` defines them.
    pub paths: [Option<Path>; 2],
    /// What [`sentinel_ipc::file_class`] says of the file that the call puts in place or acts on; 0 if
    /// nothing.
    pub class: u32,
    /// What it says of the old name of a rename or link, were that written to; 0 if nothing.
    pub source_class: u32,
    /// The file system type of a mount; raw, and maybe cut.
    pub label: Option<Vec<u8>>,
}

/// The calls about names of files, with their other arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathCall {
    /// rename(2) and its kin: old and new path.
    Rename {
        /// `RENAME_*`.
        flags: u32,
    },
    /// link(2), linkat(2): existing and new path.
    Link {
        /// `AT_*`.
        flags: u32,
    },
    /// symlink(2), symlinkat(2): content and path of the link.
    Symlink,
    /// unlink(2), unlinkat(2), rmdir(2): one path.
    Unlink {
        /// `AT_REMOVEDIR` or 0.
        flags: u32,
    },
    /// chmod(2) and its kin: one path.
    Chmod {
        /// The new mode.
        mode: u32,
    },
    /// truncate(2): one path.
    Truncate {
        /// Bytes.
        length: u64,
    },
    /// mount(2), failed ones too: source and mount point.
    Mount {
        /// `MS_*`.
        flags: u64,
    },
    /// move_mount(2): from and to.
    MoveMount {
        /// `MOVE_MOUNT_*`.
        flags: u32,
    },
    /// umount2(2): one path.
    Unmount {
        /// `MNT_*` and `UMOUNT_*`.
        flags: u32,
    },
    /// mkdir(2), mkdirat(2): one path.
    Mkdir {
        /// Its mode before the umask.
        mode: u32,
    },
    /// mknod(2), mknodat(2): one path.
    Mknod {
        /// `S_IF*`, and its permissions before the umask.
        mode: u32,
        /// The device as the caller encoded it (`new_encode_dev`, unlike [`Object::rdev`]).
        device: u32,
    },
    /// chroot(2): one path.
    Chroot,
}

/// A [`PathRecord`] that is about `call`.
pub(super) fn action(call: PathCall, record: &PathRecord) -> Result<Action, RecordError> {
    let truncated = record.header.flags & flag::TRUNCATED != 0;
    let ([first_span, second_span], [first, second]) = (&record.span, &record.path);
    let label = until_nul(&record.label);
    let paths = [spanned(first_span, first, truncated)?, spanned(second_span, second, truncated)?];
    let [first, second] = paths.each_ref().map(Option::as_ref);
    let is_between =
        matches!(call, PathCall::Rename { .. } | PathCall::Link { .. } | PathCall::Symlink);
    let moves = matches!(call, PathCall::Rename { .. } | PathCall::Link { .. });
    Ok(Action::Paths(Box::new(Paths {
        call,
        object: object(&record.object),
        class: class(record.class, if is_between { second } else { first }),
        source_class: class(record.source_class, first.filter(|_| moves)),
        paths,
        label: (!label.is_empty()).then(|| label.to_vec()),
    })))
}

/// What the kernel says, and where it does not know the file, what its path says.
fn class(told: u32, path: Option<&Path>) -> u32 {
    match path {
        Some(path) if told == 0 && path.origin == Origin::Given => path_class::of(&path.bytes),
        _ => told,
    }
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_abi::{RecordHeader, Span, kind, origin};
    use zerocopy::FromZeros;

    use super::*;
    use crate::event::{Origin, fixture};

    fn told(record: &PathRecord) -> Paths {
        match fixture::action(record).unwrap() {
            Action::Paths(paths) => *paths,
            other => panic!("{other:?}"),
        }
    }

    fn span(start: u16, length: u16, origin: u16) -> Span {
        Span { start, length, origin, reserved: 0 }
    }

    #[test]
    fn a_mount_tells_source_target_and_type() {
        let mut record = PathRecord::new_zeroed();
        record.header = RecordHeader { argument: [4096, 0, 0], ..fixture::header(kind::MOUNT) };
        record.header.flags = flag::TRUNCATED;
        record.label[..8].copy_from_slice(b"overlay\0");
        record.path[0][..3].copy_from_slice(b"src");
        record.path[1][1020..].copy_from_slice(b"/mnt");
        record.span = [span(0, 3, origin::GIVEN), span(1020, 4, origin::KERNEL)];
        (record.class, record.object.mode, record.object.inode) = (7, 0o040_755, 12);
        let paths = told(&record);
        assert_eq!(paths.call, PathCall::Mount { flags: 4096 });
        assert_eq!(paths.label.as_deref(), Some(&b"overlay"[..]));
        assert_eq!((paths.class, paths.object.unwrap().id.inode), (7, 12));
        let [source, target] = paths.paths.map(Option::unwrap);
        assert_eq!((source.bytes.as_slice(), source.origin), (&b"src"[..], Origin::Given));
        assert_eq!((target.bytes.as_slice(), target.origin), (&b"/mnt"[..], Origin::Kernel));
        assert!(source.truncated && target.truncated);
    }

    #[test]
    fn each_call_keeps_its_arguments() {
        let length = 0x1_0000_0000;
        let (mode, device) = (0o060_600, 0x801);
        for (kind, argument, call) in [
            (kind::RENAME, [2, 0, 0], PathCall::Rename { flags: 2 }),
            (kind::LINK, [0x400, 0, 0], PathCall::Link { flags: 0x400 }),
            (kind::SYMLINK, [0; 3], PathCall::Symlink),
            (kind::UNLINK, [0x200, 0, 0], PathCall::Unlink { flags: 0x200 }),
            (kind::CHMOD, [0o4755, 0, 0], PathCall::Chmod { mode: 0o4755 }),
            (kind::TRUNCATE, [length, 0, 0], PathCall::Truncate { length }),
            (kind::MOVE_MOUNT, [4, 0, 0], PathCall::MoveMount { flags: 4 }),
            (kind::UNMOUNT, [2, 0, 0], PathCall::Unmount { flags: 2 }),
            (kind::MKDIR, [0o755, 0, 0], PathCall::Mkdir { mode: 0o755 }),
            (kind::MKNOD, [0o060_600, 0x801, 0], PathCall::Mknod { mode, device }),
            (kind::CHROOT, [0; 3], PathCall::Chroot),
        ] {
            let mut record = PathRecord::new_zeroed();
            record.header = RecordHeader { argument, ..fixture::header(kind) };
            let paths = told(&record);
            assert_eq!(paths.call, call);
            assert_eq!((paths.object, paths.label, paths.paths), (None, None, [None, None]));
        }
    }

    #[test]
    fn either_path_outside_its_array_is_refused() {
        let outside = span(1020, 5, origin::KERNEL);
        for spans in [[outside, span(0, 0, 0)], [span(0, 0, 0), outside]] {
            let mut record = PathRecord::new_zeroed();
            record.header = fixture::header(kind::RENAME);
            record.span = spans;
            assert_eq!(fixture::action(&record), Err(RecordError::Field("span")));
        }
    }
}
