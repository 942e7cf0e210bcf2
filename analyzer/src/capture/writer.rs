//! Frames into a capture.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    os::fd::AsFd,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};
use sentinel_ipc::frame::encode;
use zerocopy::IntoBytes;

use super::{EntryHead, Header, MAX_ENTRY_BYTES, Preamble, checksum};

/// More than the longest entry, so that none is written in pieces of its own.
const BUFFER_BYTES: usize = 256 * 1024;
const _: () = assert!(BUFFER_BYTES > MAX_ENTRY_BYTES as usize + size_of::<EntryHead>());

const ONTO_A_TERMINAL: &str =
    "cannot record onto a terminal: redirect standard output, or give -o the path of a new file";

/// A capture that is being written.
#[derive(Debug)]
pub struct Writer<W: Write> {
    sink: BufWriter<W>,
    /// Of what was written so far.
    checksum: u32,
    /// An entry may not be whole, so that nothing can follow it.
    torn: bool,
}

impl Writer<File> {
    /// Creates `path`, which must not exist, for its owner alone (0600: a capture holds command
    /// lines and paths), and writes the header. No component may be a symbolic link. `-` is
    /// standard output.
    ///
    /// # Errors
    /// A sentence with the path and what to do.
    pub fn create(path: &Path, header: &Header) -> Result<Self, String> {
        let refused = |why: &str| format!("cannot record into {}: {why}", path.display());
        let file = if path.as_os_str() == "-" {
            let output = io::stdout();
            if output.is_terminal() {
                return Err(ONTO_A_TERMINAL.to_owned());
            }
            output.as_fd().try_clone_to_owned().map_err(|error| refused(&error.to_string()))?
        } else {
            let how = OpenHow::new()
                .flags(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC)
                .mode(Mode::S_IRUSR | Mode::S_IWUSR)
                .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
            openat2(AT_FDCWD, path, how).map_err(|errno| refused(&reason(errno)))?
        };
        Self::new(File::from(file), header).map_err(|error| refused(&error.to_string()))
    }
}

/// Why a file cannot be created, and what to do.
fn reason(errno: Errno) -> String {
    let hint = match errno {
        Errno::EEXIST => {
            return "there is something of this name, and a capture replaces nothing; give another \
                    name or delete it first"
                .to_owned();
        }
        Errno::ENOENT => "create its directory first",
        Errno::ELOOP | Errno::ENOTDIR => "no part of it may be a symbolic link or file",
        _ => "give the path of a new file in a directory that can be written to",
    };
    format!("{}; {hint}", errno.desc())
}

impl<W: Write> Writer<W> {
    /// Writes the header to `sink`, through to the end, so that a sink that takes nothing is found
    /// at once.
    ///
    /// # Errors
    /// When the sink refuses, or the header is longer than an entry can be.
    pub fn new(sink: W, header: &Header) -> io::Result<Self> {
        let preamble = Preamble::ours();
        let mut sink = BufWriter::with_capacity(BUFFER_BYTES, sink);
        sink.write_all(preamble.as_bytes())?;
        let mut writer = Self { sink, checksum: preamble.checksum.get(), torn: false };
        let mut content = Vec::new();
        encode(header, &mut content).map_err(io::Error::other)?;
        writer.frame(&content)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Adds a frame as the loader sent it. It may stay in memory until [`Self::flush`] or
    /// [`Self::finish`].
    ///
    /// # Errors
    /// When the frame is empty or longer than `MAX_FRAME_BYTES`, which leaves the capture as it was;
    /// or when the sink refuses, now or before: the capture then cannot be continued, and what is in
    /// the sink can be replayed up to its last whole entry.
    pub fn frame(&mut self, frame: &[u8]) -> io::Result<()> {
        match u32::try_from(frame.len()) {
            Ok(length @ 1..=MAX_ENTRY_BYTES) => self.entry(length, frame),
            Ok(_) | Err(_) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("an entry of {} bytes does not fit into a capture", frame.len()),
            )),
        }
    }

    /// Hands the sink everything that is still in memory.
    ///
    /// # Errors
    /// When the sink refuses.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush().inspect_err(|_error| self.torn = true)
    }

    /// Writes the end mark and gives back the sink, which has everything.
    ///
    /// # Errors
    /// When the sink refuses, now or before.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(0, &[])?;
        self.sink.into_inner().map_err(io::IntoInnerError::into_error)
    }

    fn entry(&mut self, length: u32, content: &[u8]) -> io::Result<()> {
        if self.torn {
            return Err(io::Error::other("an earlier write failed"));
        }
        let checksum = checksum(self.checksum, &[&length.to_le_bytes(), content]);
        let head = EntryHead { length: length.into(), checksum: checksum.into() };
        self.torn = true;
        self.sink.write_all(head.as_bytes())?;
        self.sink.write_all(content)?;
        self.torn = false;
        self.checksum = checksum;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, symlink},
    };

    use super::{
        super::{CaptureError, Reader, tests::header},
        *,
    };

    /// Takes so many bytes, as a disk does.
    #[derive(Debug)]
    struct Disk {
        content: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room - self.content.len());
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.content.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_can_be_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture");
        let mut writer = Writer::create(&path, &header()).unwrap();
        writer.frame(b"frame").unwrap();
        writer.finish().unwrap().sync_all().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o177, 0);
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.next_frame(), Ok(Some(&b"frame"[..])));
        assert_eq!(reader.next_frame(), Ok(None));
    }

    #[test]
    fn what_is_there_already_is_left_alone_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "content").unwrap();
        let error = Writer::create(&path, &header()).unwrap_err();
        assert!(error.contains("precious") && error.contains("another name"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }

    #[test]
    fn no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        let link = directory.path().join("link");
        symlink(&target, &link).unwrap();
        assert!(Writer::create(&link, &header()).is_err());
        assert!(!target.exists());
        let linked = directory.path().join("linked");
        symlink(directory.path(), &linked).unwrap();
        let error = Writer::create(&linked.join("target"), &header()).unwrap_err();
        assert!(error.contains("symbolic link"), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn a_missing_directory_is_said() {
        let error = Writer::create(Path::new("/nowhere/at/all"), &header()).unwrap_err();
        assert_eq!(
            error,
            "cannot record into /nowhere/at/all: No such file or directory; create its directory \
             first"
        );
    }

    #[test]
    fn a_disk_that_is_full_is_found_at_the_start() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = Writer::new(full, &header()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_disk_that_fills_up_ends_the_capture_where_it_can_be_replayed() {
        for flushing in [true, false] {
            let mut disk = Disk { content: Vec::new(), room: 1000 };
            let mut writer = Writer::new(&mut disk, &header()).unwrap();
            let full = loop {
                let written = writer.frame(&[7; 100]);
                if let Err(error) =
                    written.and_then(|()| if flushing { writer.flush() } else { Ok(()) })
                {
                    break error;
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::StorageFull);
            assert_eq!(writer.frame(b"more").unwrap_err().to_string(), "an earlier write failed");
            assert_eq!(writer.finish().unwrap_err().to_string(), "an earlier write failed");
            assert_eq!(disk.content.len(), 1000);
            let mut reader = Reader::new(&disk.content[..]).unwrap();
            let mut frames = 0;
            let error = loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => assert_eq!(frame, [7; 100]),
                    Ok(None) => panic!("no end mark fits"),
                    Err(error) => break error,
                }
                frames += 1;
            };
            assert!(frames > 5);
            assert!(matches!(error, CaptureError::Truncated { offset: 1000, .. }), "{error:?}");
        }
    }

    #[test]
    fn a_frame_that_does_not_fit_is_refused_and_the_capture_goes_on() {
        let mut writer = Writer::new(Vec::new(), &header()).unwrap();
        let too_long = vec![0; MAX_ENTRY_BYTES as usize + 1];
        for bad in [&[], &too_long[..]] {
            assert_eq!(writer.frame(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        writer.frame(&too_long[1..]).unwrap();
        let capture = writer.finish().unwrap();
        let mut reader = Reader::new(&capture[..]).unwrap();
        assert_eq!(reader.next_frame(), Ok(Some(&too_long[1..])));
        assert_eq!(reader.next_frame(), Ok(None));
    }

    #[test]
    fn what_was_flushed_can_be_read_before_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture");
        let mut writer = Writer::create(&path, &header()).unwrap();
        assert!(Reader::open(&path).is_ok());
        writer.frame(b"frame").unwrap();
        writer.flush().unwrap();
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.next_frame(), Ok(Some(&b"frame"[..])));
        assert!(matches!(reader.next_frame(), Err(CaptureError::Truncated { .. })));
    }
}
