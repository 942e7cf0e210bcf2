//! The reader's side of a BPF ring (kernel/bpf/ringbuf.c): of its data only windows are mapped that are in use,
//! for mapped pages count as the loader's memory.
#![expect(unsafe_code, reason = "reads what the kernel wrote into a shared mapping")]

use std::{
    fmt,
    os::fd::{AsFd, AsRawFd, RawFd},
    slice,
    sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering, fence},
    time::{Duration, Instant},
};

use aya::maps::{Map, MapData};
use sentinel_ipc::kernel_abi::{MAX_RECORD_BYTES, RecordHeader};

use crate::{
    mapping::{Access, Mapping, page_bytes},
    sensor::SensorError,
};

/// Bytes of a ring that are mapped at a time, if it has as many.
const WINDOW: usize = 256 << 10;
/// When a window lasts as long, the others are not kept for their next turn: to map one takes some 40 µs.
const SELDOM: Duration = Duration::from_secs(1);
/// What the kernel puts before each item: its length with two flags, and a word of its own.
const HEADER_BYTES: usize = 8;
/// Bit of a length (BPF_RINGBUF_BUSY_BIT): the item is still being written.
const BUSY: u32 = 1 << 31;
/// Bit of a length (BPF_RINGBUF_DISCARD_BIT): the item is to be passed over.
const DISCARD: u32 = 1 << 30;

/// Why a ring cannot be read on.
#[derive(Debug)]
pub enum RingError {
    /// It holds an item that is no record, of so many bytes.
    NotARecord(usize),
    /// Its next part cannot be mapped.
    Window(SensorError),
}

impl fmt::Display for RingError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord(bytes) => write!(to, "a ring holds an item of {bytes} bytes"),
            Self::Window(error) => error.fmt(to),
        }
    }
}

/// A ring of records.
pub struct Ring {
    map: MapData,
    name: &'static str,
    /// Where this side is; each position counts all bytes that ever were in the ring.
    consumer: Mapping<AtomicUsize>,
    /// Where the kernel is.
    producer: Mapping<AtomicUsize>,
    /// Parts of the data, each with what an item at its end may take beyond it.
    windows: Vec<Option<Mapping<AtomicU8>>>,
    /// The one that was used last, and since when.
    current: usize,
    since: Instant,
    page: usize,
    /// Bytes of data, a power of two.
    bytes: usize,
    /// What has been read, of which the kernel knows from [`Self::release`] on.
    read: usize,
    /// How far the kernel was when that was looked at last.
    written: usize,
}

impl Ring {
    /// The ring `map` of that name.
    ///
    /// # Errors
    /// When it is another kind of map, or cannot be mapped.
    pub fn new(map: Map, name: &'static str) -> Result<Self, SensorError> {
        let Map::RingBuf(map) = map else { return Err(SensorError::Mismatch(name)) };
        let page = page_bytes()?;
        let bytes =
            map.info().map_err(|error| SensorError::Map(name, error))?.max_entries() as usize;
        let position = |at, access| Mapping::of(&map, name, at, 1, access);
        let consumer: Mapping<AtomicUsize> = position(0, Access::Write)?;
        let producer = position(page, Access::Read)?;
        let read = consumer.value().load(Ordering::Acquire);
        let windows = (0..(bytes / WINDOW).max(1)).map(|_| None).collect();
        let (current, since, written) = (0, Instant::now(), read);
        Ok(Self {
            map,
            name,
            consumer,
            producer,
            windows,
            current,
            since,
            page,
            bytes,
            read,
            written,
        })
    }

    /// The next record, if one is there; the kernel writes over it after [`Self::release`] only. With `None`
    /// all before it is released, and the kernel calls when the next one comes.
    ///
    /// # Errors
    /// When what is there is no record, or cannot be mapped.
    pub fn record(&mut self) -> Result<Option<&[u8]>, RingError> {
        loop {
            if self.read == self.written {
                self.written = self.producer.value().load(Ordering::Acquire);
            }
            let length = if self.read == self.written { BUSY } else { self.length()? };
            if length & BUSY != 0 {
                if !self.release() {
                    return Ok(None);
                }
                continue;
            }
            let bytes = (length & !DISCARD) as usize;
            if !(size_of::<RecordHeader>()..=MAX_RECORD_BYTES).contains(&bytes) {
                return Err(RingError::NotARecord(bytes));
            }
            let at = self.read;
            self.read += (HEADER_BYTES + bytes).next_multiple_of(HEADER_BYTES);
            if length & DISCARD == 0 {
                let item = self.ahead(at).get(HEADER_BYTES..HEADER_BYTES + bytes);
                let item = item.ok_or(RingError::NotARecord(bytes))?;
                // SAFETY: the same bytes, which the kernel leaves alone from when they are whole until they are
                // released.
                return Ok(Some(unsafe { slice::from_raw_parts(item.as_ptr().cast(), bytes) }));
            }
        }
    }

    /// Lets the kernel write over what was read; whether that is anything.
    pub fn release(&self) -> bool {
        if self.consumer.value().load(Ordering::Relaxed) == self.read {
            return false;
        }
        self.consumer.value().store(self.read, Ordering::Release);
        // Either what comes now is seen by the next look, or its writer sees what was released, and calls.
        fence(Ordering::SeqCst);
        true
    }

    /// The length of the item that comes next, with its flags. From then on it is mapped.
    fn length(&mut self) -> Result<u32, RingError> {
        self.map_ahead()?;
        let Some(header) = self.ahead(self.read).first_chunk::<HEADER_BYTES>() else {
            return Ok(BUSY);
        };
        // SAFETY: items begin at multiples of eight, and the kernel writes this word as one.
        let length = unsafe { &*header.as_ptr().cast::<AtomicU32>() };
        Ok(length.load(Ordering::Acquire))
    }

    /// What is mapped from a position on.
    fn ahead(&self, position: usize) -> &[AtomicU8] {
        let (window, at) = self.place(position);
        let window = self.windows.get(window).and_then(Option::as_ref);
        window.and_then(|window| window.values().get(at..)).unwrap_or_default()
    }

    /// In which window a position is, and where in it.
    fn place(&self, position: usize) -> (usize, usize) {
        let at = position & (self.bytes - 1);
        (at / WINDOW, at % WINDOW)
    }

    /// Maps the window of the item that comes next, if it is not.
    fn map_ahead(&mut self) -> Result<(), RingError> {
        let (number, _) = self.place(self.read);
        if number != self.current {
            if self.since.elapsed() >= SELDOM {
                self.windows.fill_with(|| None);
            }
            (self.current, self.since) = (number, Instant::now());
        }
        if let Some(window @ None) = self.windows.get_mut(number) {
            // An item may go on behind its window, for all data is there twice, one behind the other.
            let tail = (HEADER_BYTES + MAX_RECORD_BYTES).next_multiple_of(self.page);
            let at = 2 * self.page + number * WINDOW;
            let length = WINDOW.min(self.bytes) + tail.min(self.bytes);
            let mapping = Mapping::of(&self.map, self.name, at, length, Access::Read);
            *window = Some(mapping.map_err(RingError::Window)?);
        }
        Ok(())
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.map.fd().as_fd().as_raw_fd()
    }
}
