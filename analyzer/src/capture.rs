//! Capture files: what the loader sent, kept for a replay.
//!
//! `sentinel record` hands the loader's frames to a [`Writer`] unread, `sentinel replay` takes them
//! from a [`Reader`] into the same tables and engines. Frames are opaque bytes here: only their
//! bounds and checksums are looked at. Losses need no marks of their own, since the frames carry the
//! loader's counters. The layout, byte by byte: `docs/capture-format.md`.
//!
//! A capture may come from anywhere. No length in it is believed before it was compared with a
//! bound, and a reader holds one frame at a time. The checksums find damage, not forgery.

mod error;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::{fs, io};

use sentinel_ipc::frame::{Clock, MAX_FRAME_BYTES, PROTOCOL_VERSION, Subscription};
use serde::{Deserialize, Serialize};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, Unaligned,
    little_endian::{U16, U32},
};

pub use self::{
    error::{CaptureError, Damage},
    reader::Reader,
    writer::Writer,
};

/// What a capture begins with; its last byte keeps it apart from text.
pub const MAGIC: [u8; 8] = *b"SENTCAP\0";
/// Raised whenever the layout or [`Header`] changes. Changes of the frames raise
/// [`PROTOCOL_VERSION`].
pub const FORMAT_VERSION: u16 = 1;
/// Bytes of an entry's content, at most.
pub const MAX_ENTRY_BYTES: u32 = 128 * 1024;

const _: () = assert!(MAX_ENTRY_BYTES as usize == MAX_FRAME_BYTES);

/// Bytes of the version of Sentinel in a [`Preamble`].
const SENTINEL_BYTES: usize = 32;
/// Stands in a [`Preamble`] in the byte order of the machine that recorded.
const BYTE_ORDER_MARK: u32 = 0x0102_0304;
const OUR_VERSION: &str = env!("CARGO_PKG_VERSION");

const _: () = assert!(OUR_VERSION.len() <= SENTINEL_BYTES);

/// What every version of the format begins with, so that each can say what it was given.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Preamble {
    /// [`MAGIC`].
    magic: [u8; 8],
    /// [`FORMAT_VERSION`].
    format: U16,
    /// [`PROTOCOL_VERSION`] of the frames.
    protocol: U16,
    /// [`BYTE_ORDER_MARK`].
    byte_order: [u8; 4],
    /// Version of the Sentinel that recorded; zeros behind it.
    sentinel: [u8; SENTINEL_BYTES],
    /// Of what stands before it.
    checksum: U32,
}

const PREAMBLE_BYTES: u32 = 52;
const _: () = assert!(size_of::<Preamble>() == PREAMBLE_BYTES as usize);

impl Preamble {
    /// The one that this Sentinel writes.
    fn ours() -> Self {
        let mut sentinel = [0; SENTINEL_BYTES];
        for (to, from) in sentinel.iter_mut().zip(OUR_VERSION.bytes()) {
            *to = from;
        }
        Self {
            magic: MAGIC,
            format: FORMAT_VERSION.into(),
            protocol: PROTOCOL_VERSION.into(),
            byte_order: BYTE_ORDER_MARK.to_ne_bytes(),
            sentinel,
            checksum: 0.into(),
        }
        .with_checksum()
    }

    fn with_checksum(self) -> Self {
        Self { checksum: self.computed_checksum().into(), ..self }
    }

    fn computed_checksum(&self) -> u32 {
        let Self { magic, format, protocol, byte_order, sentinel, checksum: _ } = self;
        checksum(0, &[magic, format.as_bytes(), protocol.as_bytes(), byte_order, sentinel])
    }
}

/// What stands before each entry's content.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct EntryHead {
    /// Bytes of the content; 0 marks the end of the capture.
    length: U32,
    /// Of everything up to here and of the content, without the checksums.
    checksum: U32,
}

const ENTRY_HEAD_BYTES: u32 = 8;
const _: () = assert!(size_of::<EntryHead>() == ENTRY_HEAD_BYTES as usize);

/// CRC-32 of what led to the checksum `before`, and `parts` behind it. So an entry that is missing,
/// doubled or out of its place is found as well.
fn checksum(before: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// Where, when and of what the capture was made. Texts of a capture that was read are as they stand
/// in the file: [`crate::escape::escape`] them before they are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The kernel's release, as `uname -r` has it.
    pub kernel: String,
    /// The machine's architecture, as Rust calls it.
    pub machine: String,
    /// Id of the boot, as `/proc/sys/kernel/random/boot_id` has it.
    pub boot_id: String,
    /// Clocks when the recording began.
    pub started: Clock,
    /// The operator's scope, in words.
    pub scope: String,
    /// What the loader was asked to tell.
    pub subscription: Subscription,
}

impl Header {
    /// For a recording on this machine. Reads two files of `/proc`, so it belongs before the
    /// sandbox.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of_this_machine(
        started: Clock,
        scope: String,
        subscription: Subscription,
    ) -> io::Result<Self> {
        let read = |path| Ok::<_, io::Error>(fs::read_to_string(path)?.trim_end().to_owned());
        Ok(Self {
            kernel: read("/proc/sys/kernel/osrelease")?,
            machine: std::env::consts::ARCH.to_owned(),
            boot_id: read("/proc/sys/kernel/random/boot_id")?,
            started,
            scope,
            subscription,
        })
    }
}
