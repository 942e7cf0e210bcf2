//! What is running, as records: read from the kernel's iterators, piece by piece.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    mem::offset_of,
    ops::Range,
    os::fd::AsFd as _,
};

use aya::{Ebpf, programs::Iter};
use sentinel_ipc::kernel_abi::{CgroupRecord, ProcessRecord, RecordHeader, record_bytes};
use zerocopy::FromBytes;

use crate::{sensor::SensorError, task_iterator};

/// Bytes that a snapshot tells at the most.
pub const MAX_SNAPSHOT_BYTES: usize = 32 << 20;
/// Of these, what the processes may take, so that there is room for what they hold.
const MAX_PROCESS_BYTES: usize = MAX_SNAPSHOT_BYTES / 4 * 3;
/// Bytes of a read(2). The kernel collects 32 KiB (`bpf_seq_read`) and hands over what fits: with room
/// for all of it, these are whole records.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of a read(2) that tells of one process: more than its records are. A kill waits for it.
const ONE_BYTES: usize = 4 << 10;
const _: () = assert!(size_of::<CgroupRecord>() + size_of::<ProcessRecord>() <= ONE_BYTES);
/// A run that only marks: so often the kernel may ask to be read again without having told anything,
/// which it does every million tasks.
const MAX_READS: u32 = 1 << 16;

/// Reads of one snapshot: some sixteen million descriptors.
const MAX_SNAPSHOT_READS: u32 = 4096;

/// The iterator over descriptors.
const HELD: &str = "held";

/// The iterator over tasks.
const RUNNING: &str = "running";

/// The iterators, each with what it goes over.
pub const ITERATORS: [(&str, &str); 2] = [(RUNNING, "task"), (HELD, "task_file")];

/// Runs the iterator over tasks; returns what it wrote, or as much of it as `most` bytes are and a piece.
///
/// # Errors
/// When the kernel refuses.
pub fn run(ebpf: &mut Ebpf, most: usize) -> Result<Vec<u8>, SensorError> {
    read_all(open(ebpf, RUNNING)?, PIECE_BYTES, most)
}

/// The same for the process `tgid`, and no others where the kernel can leave them out; the program has to.
///
/// # Errors
/// When the kernel refuses.
pub fn run_over(ebpf: &mut Ebpf, tgid: u32) -> Result<Vec<u8>, SensorError> {
    let fd = program(ebpf, RUNNING)?.fd().map_err(|error| SensorError::Program(RUNNING, error))?;
    let narrowed = task_iterator::over(fd.as_fd(), tgid);
    read_all(narrowed.or_else(|_| open(ebpf, RUNNING))?, ONE_BYTES, 0)
}

/// Reads what the iterator writes by pieces of so many bytes, until it ends or has written more than `most`.
fn read_all(mut file: File, piece_bytes: usize, most: usize) -> Result<Vec<u8>, SensorError> {
    let mut piece = vec![0; piece_bytes];
    let mut written = Vec::new();
    for _ in 0..MAX_READS {
        match read(&mut file, &mut piece)? {
            Some(0) => break,
            Some(bytes) => written.extend_from_slice(piece.get(..bytes).unwrap_or_default()),
            None => {}
        }
        if written.len() > most {
            break;
        }
    }
    Ok(written)
}

/// Runs the iterator over tasks for an answer, which is what it writes first.
///
/// # Errors
/// When the kernel refuses, or there is no answer.
pub fn answer<const WORDS: usize>(ebpf: &mut Ebpf) -> Result<[u64; WORDS], SensorError> {
    let written = run(ebpf, 0)?;
    let (words, _) = <[u64; WORDS]>::read_from_prefix(&written)
        .map_err(|_| SensorError::Mismatch("answer in an iterator's output"))?;
    Ok(words)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Iter, SensorError> {
    let program = ebpf.program_mut(name).ok_or(SensorError::Mismatch(name))?;
    program.try_into().map_err(|error| SensorError::Program(name, error))
}

/// A file that tells what the iterator `name` says, once. What it is attached by ends with it.
fn open(ebpf: &mut Ebpf, name: &'static str) -> Result<File, SensorError> {
    let refused = |error| SensorError::Program(name, error);
    let program = program(ebpf, name)?;
    let link = program.attach().map_err(refused)?;
    let link = program.take_link(link).map_err(refused)?;
    link.into_file().map_err(|error| SensorError::Iterator(io::Error::other(error)))
}

/// Fills `piece`; `None` when the kernel wants to be asked again.
fn read(file: &mut File, piece: &mut [u8]) -> Result<Option<usize>, SensorError> {
    match file.read(piece) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(SensorError::Iterator(error)),
    }
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// There may be more.
    More,
    /// All has been told.
    Done {
        /// Or rather all that [`MAX_SNAPSHOT_BYTES`] allow.
        is_cut: bool,
    },
}

/// A snapshot that is being taken.
///
/// It is no single moment: each record says when it was made. What happens meanwhile is told by events,
/// whose hooks have to be attached before.
pub struct Snapshot {
    /// What is still to be read, the next one last, and how many bytes there may be by its end.
    sources: Vec<(File, usize)>,
    /// What was read last.
    piece: Vec<u8>,
    /// What of it is still to be handed on.
    waiting: Range<usize>,
    /// Bytes that were read in all.
    total: usize,
    reads: u32,
    is_cut: bool,
}

impl Snapshot {
    /// Prepares everything and reads nothing yet.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self, SensorError> {
        let running = open(ebpf, RUNNING)?;
        let held = open(ebpf, HELD)?;
        let sources = vec![(held, MAX_SNAPSHOT_BYTES), (running, MAX_PROCESS_BYTES)];
        let piece = vec![0; PIECE_BYTES];
        Ok(Self { sources, piece, waiting: 0..0, total: 0, reads: 0, is_cut: false })
    }

    /// Appends whole records to `records`, `room` bytes at the most, which has to be enough for the
    /// longest of them. Makes one read(2) at the most, which may find nothing.
    ///
    /// # Errors
    /// When the kernel refuses, or what it says is no record.
    pub fn read(&mut self, records: &mut Vec<u8>, room: usize) -> Result<Progress, SensorError> {
        if self.waiting.is_empty() {
            self.waiting = 0..self.refill()?;
        }
        let waiting = self.piece.get(self.waiting.clone()).unwrap_or_default();
        let bytes = whole_records(waiting, room)?;
        records.extend_from_slice(waiting.get(..bytes).unwrap_or_default());
        self.waiting.start += bytes;
        Ok(if self.waiting.is_empty() && self.sources.is_empty() {
            Progress::Done { is_cut: self.is_cut }
        } else {
            Progress::More
        })
    }

    /// Reads the next piece; returns how many bytes it has.
    fn refill(&mut self) -> Result<usize, SensorError> {
        self.reads += 1;
        if self.reads > MAX_SNAPSHOT_READS && !self.sources.is_empty() {
            self.is_cut = true;
            self.sources.clear();
        }
        let Some((file, limit)) = self.sources.last_mut() else { return Ok(0) };
        let Some(bytes) = read(file, &mut self.piece)? else { return Ok(0) };
        let fits = self.total + bytes <= *limit;
        self.is_cut |= !fits;
        if bytes == 0 || !fits {
            self.sources.pop();
            return Ok(0);
        }
        self.total += bytes;
        Ok(bytes)
    }
}

/// Bytes of the whole records that `records` begins with, `room` at the most.
fn whole_records(records: &[u8], room: usize) -> Result<usize, SensorError> {
    let mut end = 0;
    while let Some(rest) = records.get(end..).filter(|rest| !rest.is_empty()) {
        let bytes = kind_of(rest).and_then(record_bytes).filter(|&bytes| bytes <= rest.len());
        let bytes = bytes.ok_or(SensorError::Mismatch("record in an iterator's output"))?;
        if end + bytes > room {
            break;
        }
        end += bytes;
    }
    Ok(end)
}

fn kind_of(record: &[u8]) -> Option<u16> {
    const AT: usize = offset_of!(RecordHeader, kind);
    Some(u16::from_ne_bytes(record.get(AT..AT + size_of::<u16>())?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_abi::{HeldRecord, kind};

    use super::*;

    fn record(kind: u16) -> Vec<u8> {
        let mut bytes = vec![0; record_bytes(kind).unwrap()];
        let at = offset_of!(RecordHeader, kind);
        bytes[at..at + 2].copy_from_slice(&kind.to_ne_bytes());
        bytes
    }

    #[test]
    fn records_are_handed_on_whole_as_far_as_there_is_room() {
        let held = size_of::<HeldRecord>();
        let process = record(kind::PROCESS);
        let records = [record(kind::HELD), process.clone(), record(kind::HELD)].concat();
        assert_eq!(whole_records(&records, usize::MAX).unwrap(), records.len());
        assert_eq!(whole_records(&records, records.len() - 1).unwrap(), held + process.len());
        assert_eq!(whole_records(&records, held + 1).unwrap(), held);
        assert_eq!(whole_records(&records, held - 1).unwrap(), 0);
        assert_eq!(whole_records(&[], 10).unwrap(), 0);
    }

    #[test]
    fn what_is_cut_or_unknown_is_an_error() {
        let records = record(kind::HELD);
        assert!(whole_records(&records[..records.len() - 1], usize::MAX).is_err());
        assert!(whole_records(&records[..10], usize::MAX).is_err());
        let unknown = vec![0xff; 200];
        assert!(whole_records(&unknown, usize::MAX).is_err());
    }
}
