//! Frames out of a capture, until its end or until it is no longer sound.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::fd::AsFd,
    path::Path,
};

use sentinel_ipc::frame::{PROTOCOL_VERSION, decode};
use zerocopy::FromBytes;

use super::{
    BYTE_ORDER_MARK, CaptureError, Damage, ENTRY_HEAD_BYTES, EntryHead, FORMAT_VERSION, Header,
    MAGIC, MAX_ENTRY_BYTES, PREAMBLE_BYTES, Preamble, checksum,
};
use crate::escape::escape;

/// First bytes of what people may give instead of a capture, and what to tell them.
const STRANGERS: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "it is compressed; `gzip -dc FILE | sentinel replay -` may do"),
    (b"\x28\xb5\x2f\xfd", "it is compressed; `zstd -dc FILE | sentinel replay -` may do"),
    (b"\xfd7zXZ\0", "it is compressed; `xz -dc FILE | sentinel replay -` may do"),
    (b"BZh", "it is compressed; `bzip2 -dc FILE | sentinel replay -` may do"),
    (b"\x7fELF", "it is an ELF file; give a file that `sentinel record` has written"),
    (b"{", "it may be JSON, such as alerts; give a file that `sentinel record` has written"),
];

/// A capture that is being read.
#[derive(Debug)]
pub struct Reader<R: Read> {
    entries: Entries<R>,
    header: Header,
    sentinel: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Streaming,
    Ended,
    Failed(CaptureError),
}

impl Reader<File> {
    /// Opens a capture and reads its header. `-` is standard input.
    ///
    /// # Errors
    /// When it cannot be opened, is no capture, or none that this Sentinel can read.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let file = if path.as_os_str() == "-" {
            io::stdin().as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::open(path)
        };
        Self::new(file.map_err(|error| CaptureError::Unopened { error: error.to_string() })?)
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header from `source`.
    ///
    /// # Errors
    /// When it is no capture, or none that this Sentinel can read.
    pub fn new(source: R) -> Result<Self, CaptureError> {
        let mut entries = Entries {
            source: BufReader::with_capacity(64 * 1024, source),
            offset: 0,
            checksum: 0,
            content: Vec::new(),
        };
        let sentinel = entries.preamble()?;
        let entry = entries.offset;
        let damaged = |error| CaptureError::Damaged { entry, damage: Damage::Header(error) };
        if !entries.advance()? {
            return Err(damaged("the capture ends".to_owned()));
        }
        let header = decode(&entries.content).map_err(|error| damaged(error.to_string()))?;
        Ok(Self { entries, header, sentinel, state: State::Streaming })
    }

    /// Where, when and of what it was made.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Version of the Sentinel that recorded it, escaped.
    pub fn sentinel(&self) -> &str {
        &self.sentinel
    }

    /// The next frame as the loader sent it, or `None` at the end of a capture that is whole.
    ///
    /// # Errors
    /// When the capture is not sound from here on; the frames until here were. Further calls give
    /// the same.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, CaptureError> {
        match &self.state {
            State::Streaming => {}
            State::Ended => return Ok(None),
            State::Failed(error) => return Err(error.clone()),
        }
        match self.entries.advance() {
            Ok(true) => Ok(Some(&self.entries.content)),
            Ok(false) => {
                self.state = State::Ended;
                Ok(None)
            }
            Err(error) => {
                self.state = State::Failed(error.clone());
                Err(error)
            }
        }
    }
}

#[cfg(test)]
impl<R: Read> Reader<R> {
    /// Bytes that are held for an entry.
    pub(super) fn memory(&self) -> usize {
        self.entries.content.capacity()
    }
}

/// The file's entries, one at a time.
#[derive(Debug)]
struct Entries<R: Read> {
    source: BufReader<R>,
    /// Bytes read so far.
    offset: u64,
    /// Of what was read so far.
    checksum: u32,
    /// What was read last.
    content: Vec<u8>,
}

impl<R: Read> Entries<R> {
    /// Reads what the file begins with and gives the version of the Sentinel that recorded it.
    fn preamble(&mut self) -> Result<String, CaptureError> {
        let whole = self.read(PREAMBLE_BYTES)?;
        let start = &self.content;
        if start.is_empty() {
            return Err(CaptureError::Empty);
        }
        if !start.iter().zip(&MAGIC).all(|(byte, expected)| byte == expected) {
            let stranger = STRANGERS.iter().find(|(first, _)| start.starts_with(first));
            return Err(CaptureError::Foreign { instead: stranger.map(|&(_, instead)| instead) });
        }
        let (true, Ok(preamble)) = (whole, Preamble::read_from_bytes(start)) else {
            return Err(CaptureError::Truncated { offset: self.offset, entry: 0 });
        };
        if preamble.checksum.get() != preamble.computed_checksum() {
            return Err(CaptureError::Damaged { entry: 0, damage: Damage::Checksum });
        }
        let sentinel = escape(preamble.sentinel.split(|&byte| byte == 0).next().unwrap_or(&[]));
        let (format, protocol) = (preamble.format.get(), preamble.protocol.get());
        if format != FORMAT_VERSION {
            return Err(CaptureError::OtherFormat { format, sentinel });
        }
        if protocol != PROTOCOL_VERSION {
            return Err(CaptureError::OtherProtocol { protocol, sentinel });
        }
        if preamble.byte_order != BYTE_ORDER_MARK.to_ne_bytes() {
            return Err(CaptureError::OtherByteOrder { sentinel });
        }
        self.checksum = preamble.checksum.get();
        Ok(sentinel)
    }

    /// Reads the next entry into `content`; `false` at the end mark, if nothing follows it.
    fn advance(&mut self) -> Result<bool, CaptureError> {
        let entry = self.offset;
        let damaged = |damage| CaptureError::Damaged { entry, damage };
        let whole = self.read(ENTRY_HEAD_BYTES)?;
        let (true, Ok(head)) = (whole, EntryHead::read_from_bytes(&self.content)) else {
            return Err(CaptureError::Truncated { offset: self.offset, entry });
        };
        let length = head.length.get();
        if length > MAX_ENTRY_BYTES {
            return Err(damaged(Damage::Length(length)));
        }
        if !self.read(length)? {
            return Err(CaptureError::Truncated { offset: self.offset, entry });
        }
        let expected = checksum(self.checksum, &[&length.to_le_bytes(), &self.content]);
        if head.checksum.get() != expected {
            return Err(damaged(Damage::Checksum));
        }
        self.checksum = expected;
        if length > 0 {
            return Ok(true);
        }
        let end = self.offset;
        if self.read(1)? { Err(CaptureError::Trailing { offset: end }) } else { Ok(false) }
    }

    /// Replaces `content` with the next `length` bytes; `false` if there were fewer. Takes no more
    /// memory than there are bytes.
    fn read(&mut self, length: u32) -> Result<bool, CaptureError> {
        self.content.clear();
        let result = self.source.by_ref().take(u64::from(length)).read_to_end(&mut self.content);
        let read = self.content.len() as u64;
        self.offset += read;
        match result {
            Ok(_) => Ok(read == u64::from(length)),
            Err(error) => {
                Err(CaptureError::Unreadable { offset: self.offset, error: error.to_string() })
            }
        }
    }
}
