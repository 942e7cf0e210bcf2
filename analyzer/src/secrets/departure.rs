//! How much of what leaves through a connection counts as data, told by amounts alone.
//!
//! All of it counts from the reading on, except
//!
//! - a TLS handshake: a first flight of 100 to 2,048 bytes (4,096 over UDP, for QUIC) that is answered
//!   and followed by another one, and 128 bytes of that. While that may still come, nothing is said; a
//!   connection that ends without it had none;
//! - questions to a name server (ports 53, 853, 5353, 5355): sends of at most 300 bytes each, up to 4,096
//!   together.
//!
//! Data has left
//!
//! - when one send, all that went before the first answer, or all of it at the end, has exactly the size
//!   of the secret: as it is, with a newline more or without its own, in hexadecimal or in base64; or of a TLS
//!   record with it;
//! - when more than a small request (256 bytes) and half of the secret (16 to 512 bytes) count;
//! - when a connection ends that was never answered, and half of the secret (16 to 512 bytes) counts: a
//!   request is answered.
//!
//! Of a connection that was accepted after the reading, and of datagrams with which a server answers the first one that
//! came, only what goes before the client has said anything counts, and the exact size of what no server has for
//! itself: a server reads its key, and its clients speak first.

use crate::event::{Traffic, TrafficReport};

/// Sizes that a ClientHello has, bytes.
const HELLO: std::ops::RangeInclusive<u64> = 100..=2048;
const HELLO_OVER_UDP: std::ops::RangeInclusive<u64> = 100..=4096;
/// The client's second flight in a handshake: Finished, perhaps a key exchange.
const FINISHED: u64 = 128;
/// A request without anything in it.
const REQUEST: u64 = 256;
/// Half of the secret, but no less and no more than this.
const SHARE: std::ops::RangeInclusive<u64> = 16..=512;
/// Secrets that are shorter are not told by their exact size.
const TELLING_SIZE: u64 = 16;
/// What TLS puts around a record's content: 1.2 with ChaCha20, 1.3, 1.2 with AES-GCM; bytes.
const RECORD: [u64; 3] = [21, 22, 29];
/// Secrets that are shorter are not told by a record's size, which a handshake's may have.
const RECORDED_SIZE: u64 = 128;
/// Ports at which names are asked for.
pub const NAME_SERVERS: [u16; 4] = [53, 853, 5353, 5355];
/// A question to a name server, and all questions that are none of our business.
const QUESTION: u64 = 300;
const QUESTIONS: u64 = 4096;
/// Descriptors of one socket that are told apart.
const MAX_DESCRIPTORS: usize = 8;
/// SOCK_DGRAM.
const DATAGRAM: u16 = 2;

/// How a socket got its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The process connected, or just sends.
    Out,
    /// It was accepted before the secret was read.
    Accepted,
    /// It was accepted after that.
    AcceptedLater,
    /// Not known: it is closed already.
    Unknown,
}

/// What a server has a secret for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Nothing: servers have no such secrets for themselves.
    None,
    /// To present itself to its clients; but nothing says that the process is one.
    MayServe,
    /// The same, of a process that serves.
    Serves,
}

/// That data has left, and how many bytes after the reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// What has the size of the secret was among it.
    Exactly(u64),
    /// Enough to have it among it.
    Enough(u64),
    /// At the most: some of it may have left before.
    Perhaps(u64),
}

impl Left {
    /// How many bytes that is.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Exactly(bytes) | Self::Enough(bytes) | Self::Perhaps(bytes) => bytes,
        }
    }
}

/// What left through a socket after a secret was read.
#[derive(Debug)]
pub struct Departure {
    way: Way,
    is_datagram: bool,
    to_name_server: bool,
    is_followed: bool,
    /// Bytes for sure, and bytes that may be older.
    sent: u64,
    perhaps: u64,
    /// Bytes of small questions.
    questions: u64,
    /// Bytes that went before anything was received.
    unheard: u64,
    is_heard: bool,
    /// Bytes of the last send, if it is known to be one.
    last: Option<u64>,
    /// Totals of the descriptors that refer to it, each at its last record, the latest last.
    totals: Vec<Total>,
}

/// What went through a descriptor so far.
#[derive(Debug)]
struct Total {
    number: Option<u32>,
    bytes: u64,
    calls: u32,
}

impl Departure {
    /// Through a socket of this kind (`SOCK_*`), to this port.
    pub fn new(way: Way, kind: u16, remote_port: u16) -> Self {
        Self {
            way,
            is_datagram: kind == DATAGRAM,
            to_name_server: NAME_SERVERS.contains(&remote_port),
            is_followed: false,
            sent: 0,
            perhaps: 0,
            questions: 0,
            unheard: 0,
            is_heard: false,
            last: None,
            totals: Vec::new(),
        }
    }

    /// How the socket got its peer.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Follows a record of the socket's traffic; what does not go outside only counts as gone.
    pub fn follow(&mut self, traffic: &Traffic, goes_out: bool) {
        let is_first = !self.is_followed;
        self.is_followed = true;
        let before = self.note_total(traffic);
        // Sends between two records, which nobody wanted told, are in the totals.
        let (more_bytes, more_calls) = before.as_ref().map_or((0, 0), |before| {
            let calls = traffic.writes.saturating_sub(before.calls);
            (traffic.sent.saturating_sub(before.bytes), u64::from(calls))
        });
        // Calls that were not told one by one, up to the first record, may have been before.
        let (bytes, calls, is_sure, last) = match traffic.report {
            TrafficReport::Sent { bytes, calls } => {
                let is_sure = !is_first || calls <= 1 || bytes == traffic.sent;
                let last = (calls == 1).then_some(bytes);
                (bytes.max(more_bytes), calls.max(more_calls), is_sure, last)
            }
            TrafficReport::Totals if before.is_some() => (more_bytes, more_calls, true, None),
            TrafficReport::Totals => (traffic.sent, u64::from(traffic.writes), false, None),
        };
        self.last = None;
        if !goes_out || bytes == 0 {
            self.is_heard |= traffic.received > 0;
            return;
        }
        if self.to_name_server && bytes <= QUESTION.saturating_mul(calls.max(1)) {
            self.questions = self.questions.saturating_add(bytes);
        } else if is_sure {
            self.sent = self.sent.saturating_add(bytes);
            self.last = last;
        } else {
            self.perhaps = self.perhaps.saturating_add(bytes);
        }
        if traffic.received == 0 {
            self.unheard = self.sent;
        }
        self.is_heard |= traffic.received > 0;
    }

    /// Keeps the totals of a descriptor; those that it had at its last record.
    fn note_total(&mut self, traffic: &Traffic) -> Option<Total> {
        let Traffic { number, sent: bytes, writes: calls, .. } = *traffic;
        let known = self.totals.iter().position(|total| total.number == number);
        let before = known.map(|place| self.totals.remove(place));
        if self.totals.len() >= MAX_DESCRIPTORS {
            self.totals.remove(0);
        }
        self.totals.push(Total { number, bytes, calls });
        before
    }

    /// Whether data has left, of a secret of `size` bytes.
    pub fn left(&self, size: u64, use_of: Use, is_end: bool) -> Option<Left> {
        let share = (size / 2).clamp(*SHARE.start(), *SHARE.end());
        let asked_much = self.questions > QUESTIONS;
        let sent = if asked_much { self.sent + self.questions } else { self.sent };
        let counts = if self.way == Way::AcceptedLater { self.unheard } else { sent };
        let is_match = is_a_form_of(size, self.unheard)
            || (self.way != Way::AcceptedLater || use_of == Use::None)
                && (self.last.is_some_and(|last| is_a_form_of(size, last))
                    || self.is_heard && self.last.is_some_and(|last| is_a_record_of(size, last))
                    || is_end && is_a_form_of(size, sent));
        if is_match {
            return Some(Left::Exactly(sent));
        }
        if use_of == Use::Serves {
            return None;
        }
        let unanswered = is_end && !self.is_heard && counts >= share;
        if unanswered || self.beyond_handshake(counts, is_end) >= REQUEST + share {
            return Some(Left::Enough(sent));
        }
        let perhaps = counts + self.perhaps;
        let is_perhaps = self.perhaps > 0 && self.way != Way::AcceptedLater;
        (is_perhaps && self.beyond_handshake(perhaps, is_end) >= REQUEST + share)
            .then_some(Left::Perhaps(perhaps))
    }

    fn beyond_handshake(&self, sent: u64, is_end: bool) -> u64 {
        let sizes = if self.is_datagram { HELLO_OVER_UDP } else { HELLO };
        if self.way == Way::AcceptedLater || !sizes.contains(&self.unheard) {
            return sent;
        }
        if sent > self.unheard && self.is_heard {
            sent - self.unheard.saturating_add(FINISHED).min(sent)
        } else if is_end {
            sent
        } else {
            0
        }
    }
}

/// Whether `bytes` is what a secret of `size` bytes takes up, as it is or in a usual code.
pub fn is_a_form_of(size: u64, bytes: u64) -> bool {
    // As it is, and without a newline at its end.
    size >= TELLING_SIZE
        && [size, size - 1].into_iter().any(|size| {
            let base64 = size.div_ceil(3).saturating_mul(4);
            let lines = base64.saturating_add(base64.div_ceil(76));
            let hexadecimal = size.saturating_mul(2);
            let forms = [size, size + 1, hexadecimal, hexadecimal + 1, base64, base64 + 1, lines];
            forms.contains(&bytes)
        })
}

/// Whether `bytes` is one TLS record with a secret of `size` bytes in it, or with a newline after that.
fn is_a_record_of(size: u64, bytes: u64) -> bool {
    let is_plain = |plain: u64| plain.abs_diff(size) <= 1;
    size >= RECORDED_SIZE
        && RECORD.iter().any(|around| bytes.checked_sub(*around).is_some_and(is_plain))
}

#[cfg(test)]
mod tests;
