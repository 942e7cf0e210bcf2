//! What can be wrong with a capture, as a sentence for who wants to replay it.

use std::fmt;

use sentinel_ipc::frame::PROTOCOL_VERSION;

use super::{FORMAT_VERSION, MAX_ENTRY_BYTES, OUR_VERSION, PREAMBLE_BYTES};

/// Why a capture cannot be read, or not to its end. Offsets are bytes from the beginning of the
/// file. The sentence goes behind the file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaptureError {
    /// The file cannot be opened.
    Unopened {
        /// What the system says.
        error: String,
    },
    /// Reading failed.
    Unreadable {
        /// As far as it went.
        offset: u64,
        /// What the system says.
        error: String,
    },
    /// There is nothing in the file.
    Empty,
    /// It is no capture.
    Foreign {
        /// What it is instead, if that is plain, and what to do with it.
        instead: Option<&'static str>,
    },
    /// It has another layout.
    OtherFormat {
        /// The file's version of the format.
        format: u16,
        /// Version of the Sentinel that recorded it, escaped.
        sentinel: String,
    },
    /// It has other frames.
    OtherProtocol {
        /// The frames' version.
        protocol: u16,
        /// Version of the Sentinel that recorded it, escaped.
        sentinel: String,
    },
    /// Its records have another byte order.
    OtherByteOrder {
        /// Version of the Sentinel that recorded it, escaped.
        sentinel: String,
    },
    /// It ends without an end mark.
    Truncated {
        /// Where it ends.
        offset: u64,
        /// Where the entry that is missing or not whole begins.
        entry: u64,
    },
    /// An entry is not as it was written.
    Damaged {
        /// Where it begins; 0 for the first bytes of the file.
        entry: u64,
        /// What is wrong with it.
        damage: Damage,
    },
    /// There is something behind the end mark.
    Trailing {
        /// Where it begins.
        offset: u64,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Its bytes do not match the checksum.
    Checksum,
    /// No entry can be as long as this one says.
    Length(u32),
    /// It is whole, but no header.
    Header(String),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unopened { error } => write!(to, "cannot be opened: {error}"),
            Self::Unreadable { offset, error } => {
                write!(to, "cannot be read beyond byte {offset}: {error}")
            }
            Self::Empty => write!(to, "is empty: nothing was recorded into it"),
            Self::Foreign { instead: None } => {
                write!(to, "is no Sentinel capture: give a file that `sentinel record` has written")
            }
            Self::Foreign { instead: Some(instead) } => {
                write!(to, "is no Sentinel capture: {instead}")
            }
            Self::OtherFormat { format, sentinel } => write!(
                to,
                "was recorded by Sentinel {sentinel} in format {format}, but this is Sentinel \
                 {OUR_VERSION}, which reads format {FORMAT_VERSION} only: replay it with Sentinel \
                 {sentinel}"
            ),
            Self::OtherProtocol { protocol, sentinel } => write!(
                to,
                "was recorded by Sentinel {sentinel} with records of version {protocol}, but this \
                 is Sentinel {OUR_VERSION}, which reads version {PROTOCOL_VERSION} only: replay it \
                 with Sentinel {sentinel}"
            ),
            Self::OtherByteOrder { sentinel } => write!(
                to,
                "was recorded by Sentinel {sentinel} on a machine with another byte order: replay \
                 it on such a machine"
            ),
            Self::Truncated { offset, entry } => {
                write!(
                    to,
                    "is cut off at byte {offset}: the recording was ended by force or goes on, the \
                     disk was full, or the copy is not complete; {}",
                    Remains(*entry)
                )
            }
            Self::Damaged { entry, damage } => {
                write!(
                    to,
                    "is damaged at byte {entry}: {damage}; copy it once more from where it was \
                     recorded; {}",
                    Remains(*entry)
                )
            }
            Self::Trailing { offset } => write!(
                to,
                "is followed by something else at byte {offset}: was anything appended to it? {}",
                Remains(*offset)
            ),
        }
    }
}

impl std::error::Error for CaptureError {}

impl fmt::Display for Damage {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum => write!(to, "what is there does not match its checksum"),
            Self::Length(bytes) => write!(
                to,
                "the entry there claims {bytes} bytes, and none is longer than {MAX_ENTRY_BYTES}"
            ),
            Self::Header(error) => write!(to, "there should be a header, but: {error}"),
        }
    }
}

/// What is left of a capture that is sound up to the entry at this offset.
struct Remains(u64);

impl fmt::Display for Remains {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The header is the first entry.
        if self.0 <= PREAMBLE_BYTES.into() {
            write!(to, "nothing of it can be used")
        } else {
            write!(to, "what stands before byte {} is whole", self.0)
        }
    }
}
