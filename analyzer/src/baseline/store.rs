//! What was learned, on disk: one file, replaced as a whole.
//!
//! The file: the line [`HEADER`], the CRC-32 and the length of what follows (little-endian, 4 and 8 bytes),
//! then the programs as postcard has them. One that cannot be read is set aside under another name, and
//! learning begins anew.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat, renameat},
    sys::stat::Mode,
    unistd::{fchown, geteuid},
};
use sentinel_ipc::confinement::{self, Directory, Rights};

use super::{
    MAX_PROGRAMS,
    program::{Program, ProgramName},
};
use crate::{json_log::walk, replaced_file::make_anew};

/// What the file begins with; another number means another layout.
pub const HEADER: &[u8] = b"sentinel-baseline 2\n";
/// Bytes of CRC and length.
const CHECK_BYTES: usize = 12;
/// More than [`MAX_PROGRAMS`] programs take, bytes.
const MAX_BYTES: u64 = 64 << 20;

const NAME: &str = "baseline";
const NEW_NAME: &str = "baseline.new";
const UNREADABLE_NAME: &str = "baseline.unreadable";

/// Programs by their names.
pub type Programs = HashMap<ProgramName, Program>;

/// The directory that holds the file, opened before the sandbox.
#[derive(Debug)]
pub struct Store {
    directory: File,
    path: PathBuf,
}

/// Why what is there is of no use.
#[derive(Debug)]
pub enum StoreError {
    /// The file cannot be opened, read, written or renamed.
    Io(&'static str, io::Error),
    /// It is longer than any that Sentinel writes.
    TooLong,
    /// It begins with something else.
    Foreign,
    /// It was cut or changed.
    Corrupt(&'static str),
}

impl fmt::Display for StoreError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, error) => write!(to, "cannot {what} it: {error}"),
            Self::TooLong => write!(to, "it is longer than {MAX_BYTES} bytes"),
            Self::Foreign => write!(to, "it was not written by this version of Sentinel"),
            Self::Corrupt(why) => write!(to, "it is damaged: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl Store {
    /// The file in the directory `path`, which is made and given to Sentinel's user where it is missing. No
    /// part of the path may be a symbolic link.
    ///
    /// # Errors
    /// A sentence with the path and what to do.
    pub fn open(path: &Path) -> Result<Self, String> {
        let refused = |why: &dyn fmt::Display| {
            format!(
                "cannot keep baselines in {}: {why}; give a directory that belongs to Sentinel's user \
                 alone, or one that does not exist yet",
                path.display()
            )
        };
        let is_new = !path.exists();
        let path = path.join(NAME);
        let (directory, _) = walk(&path, |_| Ok(())).map_err(|errno| refused(&errno.desc()))?;
        let account = confinement::account("sentinel").map_err(|error| refused(&error))?;
        if is_new && geteuid().is_root() {
            fchown(&directory, Some(account.uid), Some(account.gid))
                .map_err(|errno| refused(&errno.desc()))?;
        }
        let metadata = directory.metadata().map_err(|error| refused(&error))?;
        if metadata.uid() != account.uid.as_raw() {
            return Err(refused(&format_args!("it belongs to user {}", metadata.uid())));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(refused(&"others may write to it"));
        }
        Ok(Self { directory, path })
    }

    /// What must stay open to keep it.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn directory(&self) -> io::Result<Directory> {
        let descriptor = self.directory.try_clone()?.into();
        Ok(Directory { descriptor, rights: Rights::Replace })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what was learned; nothing if there is no file. One that is of no use is set aside, in place of
    /// what was set aside before, which the sentence tells.
    ///
    /// # Errors
    /// When the file cannot be read, which says nothing of what is in it: it must stay.
    pub fn load(&self) -> Result<(Programs, Option<String>), StoreError> {
        let error = match self.read() {
            Ok(programs) => return Ok((programs, None)),
            Err(error @ StoreError::Io(..)) => return Err(error),
            Err(error) => error,
        };
        let path = self.path.display();
        let aside = self.path.with_file_name(UNREADABLE_NAME);
        let sentence = match renameat(&self.directory, NAME, &self.directory, UNREADABLE_NAME) {
            Ok(()) => format!(
                "{path}: {error}; it is kept as {}, and learning begins anew",
                aside.display()
            ),
            Err(errno) => format!(
                "{path}: {error}; it cannot be set aside ({errno}) and will be overwritten, and \
                 learning begins anew"
            ),
        };
        Ok((Programs::new(), Some(sentence)))
    }

    fn read(&self) -> Result<Programs, StoreError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.directory, NAME, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(Programs::new()),
            // A link, a socket.
            Err(Errno::ELOOP | Errno::ENXIO) => return Err(StoreError::Foreign),
            Err(errno) => return Err(StoreError::Io("open", errno.into())),
        };
        let mut bytes = Vec::new();
        let mut limited = file.take(MAX_BYTES + 1);
        limited.read_to_end(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::IsADirectory => StoreError::Foreign,
            _ => StoreError::Io("read", error),
        })?;
        if limited.limit() == 0 {
            return Err(StoreError::TooLong);
        }
        decode(&bytes)
    }

    /// Writes a new file, beside the one that is there. This waits for no disk.
    ///
    /// # Errors
    /// What could not be done.
    pub fn write(&self, programs: &Programs) -> Result<Written, StoreError> {
        let bytes = encode(programs)?;
        let mode = Mode::from_bits_truncate(0o640);
        let mut file = make_anew(&self.directory, OsStr::new(NEW_NAME), mode)
            .map_err(|errno| StoreError::Io("create", errno.into()))?;
        file.write_all(&bytes).map_err(|error| StoreError::Io("write", error))?;
        Ok(Written { file })
    }

    /// Puts a new file in the place of the old one: whatever happens, one of them is there, whole. Waits for
    /// the disk to have it, which takes no time if it was written long ago.
    ///
    /// # Errors
    /// What could not be done; the old file stays.
    pub fn replace(&self, written: &Written) -> Result<(), StoreError> {
        written.file.sync_all().map_err(|error| StoreError::Io("write", error))?;
        renameat(&self.directory, NEW_NAME, &self.directory, NAME)
            .map_err(|errno| StoreError::Io("rename", errno.into()))?;
        self.directory.sync_all().map_err(|error| StoreError::Io("keep", error))
    }

    /// Both.
    ///
    /// # Errors
    /// What could not be done; the old file stays.
    pub fn save(&self, programs: &Programs) -> Result<(), StoreError> {
        self.replace(&self.write(programs)?)
    }
}

/// A new file that has not taken its place yet.
#[derive(Debug)]
pub struct Written {
    file: File,
}

fn encode(programs: &Programs) -> Result<Vec<u8>, StoreError> {
    let sorted: std::collections::BTreeMap<_, _> = programs.iter().collect();
    let payload = postcard::to_allocvec(&sorted)
        .map_err(|_| StoreError::Corrupt("it cannot be put in order"))?;
    let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    let check = crc32fast::hash(&payload).to_le_bytes();
    Ok([HEADER, &check, &length.to_le_bytes(), &payload].concat())
}

/// Reads a file's content.
///
/// # Errors
/// When it is no such file, or damaged.
pub fn decode(bytes: &[u8]) -> Result<Programs, StoreError> {
    let rest = bytes.strip_prefix(HEADER).ok_or(StoreError::Foreign)?;
    let (check, payload) =
        rest.split_at_checked(CHECK_BYTES).ok_or(StoreError::Corrupt("it is cut"))?;
    let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    let expected = [&crc32fast::hash(payload).to_le_bytes()[..], &length.to_le_bytes()].concat();
    if check != expected {
        return Err(StoreError::Corrupt("its checksum is another"));
    }
    let programs: Programs = postcard::from_bytes(payload)
        .map_err(|_| StoreError::Corrupt("it holds something else"))?;
    if programs.len() > MAX_PROGRAMS || !programs.values().all(Program::is_sound) {
        return Err(StoreError::Corrupt("its numbers cannot be"));
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;
    use crate::baseline::{
        measure::Measure,
        program::{Counts, Judgement},
    };

    fn store(directory: &Path) -> Store {
        Store { directory: File::open(directory).unwrap(), path: directory.join(NAME) }
    }

    fn learned() -> Programs {
        let judgement =
            Judgement { learning_period: 10, threshold: 3.0, learns: true, detects: true };
        let mut programs = Programs::new();
        for number in 0..5_u64 {
            let mut program = Program::new(&judgement);
            for second in 0..20 {
                let counts = Counts::from([(Measure::Call(1), second + number)]);
                program.second(&counts, &judgement);
            }
            let path = format!("/usr/bin/{number}").into_bytes();
            programs.insert(ProgramName::Installed(path), program);
        }
        programs
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        assert!(store.load().unwrap().0.is_empty() && store.load().unwrap().1.is_none());
        let programs = learned();
        store.save(&programs).unwrap();
        store.save(&programs).unwrap();
        let (loaded, note) = store.load().unwrap();
        assert_eq!(note, None);
        assert_eq!(encode(&loaded).unwrap(), encode(&programs).unwrap());
        assert_eq!(loaded.len(), 5);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        let bytes = encode(&learned()).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(decode(&other).is_err(), "{at}");
        }
    }

    #[test]
    fn what_is_of_no_use_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        fs::write(store.path(), "something else").unwrap();
        let (programs, note) = store.load().unwrap();
        assert!(programs.is_empty());
        assert!(note.unwrap().contains("baseline.unreadable"), "the sentence says where");
        let aside = directory.path().join(UNREADABLE_NAME);
        assert_eq!(fs::read(aside).unwrap(), b"something else");
        assert!(store.load().unwrap().1.is_none());
    }

    #[test]
    fn what_cannot_be_read_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        fs::create_dir(store.path()).unwrap();
        assert!(store.load().unwrap().1.is_some(), "a directory is no such file");
        store.save(&learned()).unwrap();
        // Whatever the reason: here the directory is none.
        let broken =
            Store { directory: File::open(store.path()).unwrap(), path: store.path.clone() };
        assert!(matches!(broken.load(), Err(StoreError::Io("open", _))));
        assert_eq!(store.load().unwrap().0.len(), 5);
    }

    #[test]
    fn a_new_file_takes_its_place_only_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let written = store.write(&learned()).unwrap();
        assert!(store.load().unwrap().0.is_empty());
        store.replace(&written).unwrap();
        assert_eq!(store.load().unwrap().0.len(), 5);
        // One that is never finished is of no consequence.
        let _unfinished = store.write(&Programs::new()).unwrap();
        store.save(&learned()).unwrap();
        assert_eq!(store.load().unwrap().0.len(), 5);
    }

    #[test]
    fn a_directory_is_made_for_sentinel_and_one_of_others_is_refused() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/baselines");
        Store::open(&path).unwrap();
        Store::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o027, 0);
        assert!(Store::open(directory.path()).unwrap_err().contains("belongs to user 0"));
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(Store::open(&link).unwrap_err().contains("link"));
    }

    #[test]
    fn no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let other = directory.path().join("other");
        fs::write(&other, "kept").unwrap();
        symlink(&other, directory.path().join(NEW_NAME)).unwrap();
        symlink(&other, store.path()).unwrap();
        assert!(store.load().unwrap().1.is_some());
        store.save(&learned()).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"kept");
        assert_eq!(store.load().unwrap().0.len(), 5);
    }
}
