//! Calls about one open file.

use sentinel_ipc::{
    file_class::class,
    kernel_abi::{self, FileRecord, flag},
};

use super::{
    Action, Object, Origin, Path, RecordError, Trust,
    argument::{low, number},
    object::object,
    path::spanned,
};

/// include/uapi/asm-generic/fcntl.h.
const O_TRUNC: u32 = 0o1000;
const O_ACCMODE: u32 = 3;
const O_WRONLY: u32 = 1;
const O_PATH: u32 = 0o10_000_000;
/// mmap(2); MAP_SHARED_VALIDATE has the same bit.
const MAP_SHARED: u64 = 1;

/// A call about one open file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Which.
    pub call: FileCall,
    /// Number of the descriptor: the new one of [`FileCall::Open`] and [`FileCall::Memfd`], else
    /// the one that was given. `None` if it is not known, or in an io_uring's own table.
    pub number: Option<u32>,
    /// The file after the call.
    pub object: Option<Object>,
    /// Its path.
    pub path: Option<Path>,
    /// What [`sentinel_ipc::file_class`] says of it; 0 if nothing.
    pub class: u32,
    /// How it is open, `O_*`; of [`FileCall::Open`] with `O_TRUNC` if it was cut.
    pub open_flags: u32,
    /// Whether the descriptor closes on exec.
    pub close_on_exec: bool,
}

/// The calls about one open file, with their other arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileCall {
    /// open(2) and its kin.
    Open,
    /// None: a snapshot found it open.
    Held,
    /// memfd_create(2).
    Memfd {
        /// `MFD_*`.
        flags: u32,
    },
    /// mmap(2).
    Map {
        /// `PROT_*`.
        protection: u64,
        /// `MAP_*`.
        flags: u64,
    },
    /// fchmod(2).
    Fchmod {
        /// The new mode.
        mode: u32,
    },
    /// ftruncate(2).
    Ftruncate {
        /// Bytes.
        length: u64,
    },
    /// An interpreter opened the script that it was started for.
    Script {
        /// What speaks for its being what root installed at its path.
        trust: Trust,
    },
    /// finit_module(2), failed ones too.
    LoadModule {
        /// `MODULE_INIT_*`.
        flags: u32,
    },
}

impl File {
    /// Whether it is open so that it can be read.
    pub fn reads(&self) -> bool {
        self.open_flags & O_ACCMODE != O_WRONLY && self.open_flags & O_PATH == 0
    }

    /// Whether it is open so that it can be written.
    pub fn writes(&self) -> bool {
        self.open_flags & O_ACCMODE != 0 && self.open_flags & O_PATH == 0
    }

    /// Whether the call mapped memory that is shared with whoever else maps the file.
    pub fn is_shared_map(&self) -> bool {
        matches!(self.call, FileCall::Map { flags, .. } if flags & MAP_SHARED != 0)
    }
}

impl FileCall {
    pub(super) fn memfd([_, flags, _]: [u64; 3]) -> Self {
        Self::Memfd { flags: low(flags) }
    }

    pub(super) fn map([_, protection, flags]: [u64; 3]) -> Self {
        Self::Map { protection, flags }
    }

    pub(super) fn fchmod([_, mode, _]: [u64; 3]) -> Self {
        Self::Fchmod { mode: low(mode) }
    }

    pub(super) fn ftruncate([_, length, _]: [u64; 3]) -> Self {
        Self::Ftruncate { length }
    }

    pub(super) fn load_module([_, flags, _]: [u64; 3]) -> Self {
        Self::LoadModule { flags: low(flags) }
    }
}

/// A [`FileRecord`] about a script that was opened.
pub(super) fn script(record: &FileRecord) -> Result<Action, RecordError> {
    action(FileCall::Script { trust: Trust::of(record.span.reserved) }, record)
}

/// A [`FileRecord`] that is about `call`.
pub(super) fn action(call: FileCall, record: &FileRecord) -> Result<Action, RecordError> {
    let header = &record.header;
    let object = object(&record.object);
    let [first, ..] = header.argument;
    let number = match call {
        // One in an io_uring's own table has no number, and its result is 0.
        FileCall::Open if header.flags & flag::IO_URING != 0 && object.is_none() => None,
        FileCall::Open | FileCall::Memfd { .. } => u32::try_from(header.result).ok(),
        FileCall::Held
        | FileCall::Map { .. }
        | FileCall::Fchmod { .. }
        | FileCall::Ftruncate { .. }
        | FileCall::Script { .. }
        | FileCall::LoadModule { .. } => number(first),
    };
    let path = spanned(&record.span, &record.path, header.flags & flag::TRUNCATED != 0)?;
    let class = class_of(record.class, path.as_ref(), &record.object);
    Ok(Action::File(Box::new(File {
        call,
        number,
        object,
        path,
        class,
        open_flags: record.open_flags
            | if call == FileCall::Open { low(first) & O_TRUNC } else { 0 },
        close_on_exec: header.flags & flag::CLOSE_ON_EXEC != 0,
    })))
}

/// The kernel's class, unless it is a key that the path says to be the public half of one: ssh's programs give it
/// that name where they keep keys, and a careful umask hides it like the other. Of a file with other names that
/// says nothing.
fn class_of(class: u32, path: Option<&Path>, object: &kernel_abi::Object) -> u32 {
    let path = path.filter(|path| path.origin == Origin::Kernel && object.links == 1);
    let bytes = path.map_or(&[][..], |path| &path.bytes);
    let mut names = bytes.rsplit(|&byte| byte == b'/');
    let (name, directory) = (names.next().unwrap_or_default(), names.next());
    let is_kept_there = match class {
        class::SSH_KEY => directory == Some(b".ssh"),
        class::SSH_HOST_KEY => bytes.starts_with(b"/etc/ssh/"),
        _ => false,
    };
    if is_kept_there && name.ends_with(b".pub") { class::ORDINARY } else { class }
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_abi::{RecordHeader, Span, kind, origin};
    use zerocopy::FromZeros;

    use super::*;
    use crate::event::{ObjectId, Origin, fixture};

    fn record(kind: u16, argument: [u64; 3], result: i64) -> FileRecord {
        let mut record = FileRecord::new_zeroed();
        record.header = RecordHeader { argument, result, ..fixture::header(kind) };
        record.object.mode = 0o100_640;
        record
    }

    fn told(record: &FileRecord) -> File {
        match fixture::action(record).unwrap() {
            Action::File(file) => *file,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_public_half_of_a_key_is_no_secret_whoever_may_read_it() {
        let linked = |class, path: &[u8], links| {
            let mut record = record(kind::OPEN, [9, 9, 9], 4);
            (record.class, record.object.links) = (class, links);
            record.path[..path.len()].copy_from_slice(path);
            let length = u16::try_from(path.len()).unwrap();
            record.span = Span { length, origin: origin::KERNEL, ..record.span };
            told(&record).class
        };
        let class = |class, path: &[u8]| linked(class, path, 1);
        assert_eq!(class(class::SSH_KEY, b"/home/u/.ssh/id_rsa"), class::SSH_KEY);
        assert_eq!(class(class::SSH_KEY, b"/home/u/.ssh/id_rsa.pub"), class::ORDINARY);
        let host_key = b"/etc/ssh/ssh_host_rsa_key.pub";
        assert_eq!(class(class::SSH_HOST_KEY, host_key), class::ORDINARY);
        assert_eq!(class(class::PASSWORD_HASHES, b"/srv/ssh/shadow.pub"), class::PASSWORD_HASHES);
        assert_eq!(class(class::SSH_KEY, b"/tmp/moved.pub"), class::SSH_KEY, "known by its inode");
        assert_eq!(linked(class::SSH_KEY, b"/tmp/.ssh/linked.pub", 2), class::SSH_KEY);
    }

    #[test]
    fn an_open_tells_the_file_and_how_it_is_open() {
        let mut record = record(kind::OPEN, [9, 9, 9], 4);
        record.header.flags = flag::CLOSE_ON_EXEC;
        record.object.inode = 77;
        (record.object.size, record.object.links, record.object.owner) = (1200, 1, 33);
        record.path[500..].copy_from_slice(b"/etc/shadow\0");
        (record.span.start, record.span.length, record.span.origin) = (500, 11, origin::KERNEL);
        (record.class, record.open_flags) = (3 | 1 << 16, 0o100_000);
        let file = told(&record);
        assert_eq!((file.call, file.number), (FileCall::Open, Some(4)));
        let path = file.path.unwrap();
        assert_eq!((path.bytes.as_slice(), path.origin), (&b"/etc/shadow"[..], Origin::Kernel));
        assert!(!path.truncated && file.close_on_exec);
        assert_eq!((file.class, file.open_flags), (3 | 1 << 16, 0o100_000));
        let id = ObjectId { inode: 77, ..ObjectId::default() };
        let object = Object { id, mode: 0o100_640, size: 1200, links: 1, owner: 33, rdev: 0 };
        assert_eq!(file.object, Some(object));
    }

    #[test]
    fn a_file_in_an_io_urings_own_table_has_no_number() {
        let mut record = record(kind::OPEN, [0; 3], 0);
        record.object.mode = 0;
        record.header.flags = flag::IO_URING | flag::AS_GIVEN;
        record.path[..4].copy_from_slice(b"/tmp");
        (record.span.length, record.span.origin) = (4, origin::GIVEN);
        let file = told(&record);
        assert_eq!((file.number, file.object), (None, None));
        assert_eq!(file.path.unwrap().origin, Origin::Given);
    }

    #[test]
    fn each_call_keeps_its_arguments() {
        let length = 0x1_0000_0000;
        for (kind, argument, call, number) in [
            (kind::MEMFD, [9, 3, 0], FileCall::Memfd { flags: 3 }, Some(6)),
            (kind::MAP, [5, 5, 2], FileCall::Map { protection: 5, flags: 2 }, Some(5)),
            (kind::FCHMOD, [5, 0o4755, 0], FileCall::Fchmod { mode: 0o4755 }, Some(5)),
            (kind::FTRUNCATE, [5, length, 0], FileCall::Ftruncate { length }, Some(5)),
            (kind::LOAD_MODULE_FILE, [u64::MAX, 4, 0], FileCall::LoadModule { flags: 4 }, None),
        ] {
            let file = told(&record(kind, argument, 6));
            assert_eq!((file.call, file.number), (call, number));
            assert_eq!(file.path, None);
        }
    }

    #[test]
    fn a_path_outside_its_array_is_refused() {
        let mut record = record(kind::OPEN, [0; 3], 4);
        (record.span.start, record.span.length, record.span.origin) = (510, 3, origin::KERNEL);
        assert_eq!(fixture::action(&record), Err(RecordError::Field("span")));
    }
}
