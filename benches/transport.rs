//! How many events get from the loader's rings into the analyzer's types in a second, beside bare packets of
//! the same bytes.
//!
//! `cargo bench -p sentinel-tests --bench transport [-- ROUNDS]` as root. A program in the kernel fills a ring before
//! the time begins. Then one thread does what the loader does (ring → batch → frame → packet), and another what the
//! analyzer does (packet → frame → records → events). The limit: packets of the same lengths over the same type of
//! socket, sent from memory and received, and nothing else. They take turns; medians count. With 0 rounds it does
//! everything once, with few records.

use std::{
    hint::black_box,
    os::fd::{AsFd as _, AsRawFd as _},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{Array, Map};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
    time::{ClockId, clock_gettime},
};
use sentinel_analyzer::event;
use sentinel_ipc::{
    channel::{Channel, Received},
    frame::{LoaderMessage, MAX_FRAME_BYTES, decode},
    kernel_abi::{FileRecord, Object, RecordHeader, Span, kind, origin},
};
use sentinel_loader::{
    forward::{Forwarder, Progress},
    ring::Ring,
};
use sentinel_tests::{
    bed::Bed,
    kernel::{self, Kind, Program},
};
use zerocopy::FromZeros as _;

/// Bytes of records in a round.
const BYTES: usize = 48 << 20;
/// What a ring puts before each item.
const ITEM_HEADER_BYTES: usize = 8;
/// A ring has a page at the least.
const SMALLEST_RING: u32 = 4096;

fn main() {
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(9_usize);
    // Whether this is root and may use BPF.
    let Some(_bed) = Bed::new() else { return };
    let bytes = if rounds == 0 { BYTES / 100 } else { BYTES };
    println!("records of            M/s   limit   share   loader ns   analyzer ns");
    measure("80 bytes, a close", rounds.max(1), &mut Line::new(&close(), bytes));
    measure("648 bytes, a path", rounds.max(1), &mut Line::new(&open(), bytes));
}

fn measure(name: &str, rounds: usize, line: &mut Line) {
    let (mut taken, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let round = line.round();
        limits.push(bare(&round.packets));
        taken.push(round);
    }
    taken.sort_by_key(|round| round.time);
    limits.sort();
    let (round, limit) = (&taken[rounds / 2], limits[rounds / 2].as_secs_f64());
    let events = f64::from(line.count);
    let time = round.time.as_secs_f64();
    let each = |time: Duration| time.as_secs_f64() * 1e9 / events;
    println!(
        "{name:<20}{:>5.2}{:>8.2}{:>6.0} %{:>12.0}{:>14.0}",
        events / time / 1e6,
        events / limit / 1e6,
        limit / time * 100.0,
        each(round.loader),
        each(round.analyzer)
    );
}

fn close() -> [u8; size_of::<RecordHeader>()] {
    let header = RecordHeader { kind: kind::CLOSE, tgid: 7, tid: 7, ..RecordHeader::new_zeroed() };
    zerocopy::transmute!(header)
}

fn open() -> [u8; size_of::<FileRecord>()] {
    let mut record = FileRecord::new_zeroed();
    let path = b"/usr/share/zoneinfo/Europe/Copenhagen";
    record.header = RecordHeader { kind: kind::OPEN, tgid: 7, tid: 7, ..record.header };
    record.object = Object { inode: 7, mode: 0o100_644, links: 1, ..record.object };
    let length = u16::try_from(path.len()).expect("short");
    record.span = Span { start: 0, length, origin: origin::KERNEL, reserved: 0 };
    record.path[..path.len()].copy_from_slice(path);
    zerocopy::transmute!(record)
}

/// What a round took, and the lengths of its packets.
struct Round {
    time: Duration,
    loader: Duration,
    analyzer: Duration,
    packets: Vec<usize>,
}

/// From a program that fills a ring to the forwarder that empties it.
struct Line {
    forwarder: Forwarder,
    filler: Program,
    /// Records in a round.
    count: u32,
}

impl Line {
    fn new<const N: usize>(record: &[u8; N], bytes: usize) -> Self {
        let count = u32::try_from(bytes / N).expect("not so many");
        let room = bytes + count as usize * ITEM_HEADER_BYTES;
        let room = u32::try_from(room.next_power_of_two()).expect("a size of a ring");
        let ring = kernel::ring(room).expect("a ring");
        let length = u32::try_from(N).expect("short");
        let array = kernel::array(length).expect("an array");
        let code = kernel::filling(&ring, &array, length);
        let filler = Program::load(Kind::SocketFilter, &code).expect("a program");
        let mut array: Array<_, [u8; N]> = Array::try_from(Map::Array(array)).expect("an array");
        array.set(0, record, 0).expect("its value");
        let unused = kernel::ring(SMALLEST_RING).expect("a ring");
        let rings =
            [unused, ring].map(|ring| Ring::new(Map::RingBuf(ring), "ring").expect("a ring"));
        Self { forwarder: Forwarder::new(rings), filler, count }
    }

    /// All records of a full ring, by the loader's way and the analyzer's.
    fn round(&mut self) -> Round {
        kernel::run(&self.filler, self.count).expect("it runs");
        let (ours, theirs) = Channel::pair().expect("sockets");
        let analyzer = Channel::new(theirs).expect("a socket");
        let begun = Instant::now();
        let analyzer = thread::spawn(move || analyze(analyzer));
        let before = own_time();
        forward(&mut self.forwarder, &ours);
        let loader = own_time() - before;
        let (events, packets, analyzer) = analyzer.join().expect("the analyzer");
        assert_eq!(events, self.count, "events came");
        Round { time: begun.elapsed(), loader, analyzer, packets }
    }
}

fn forward(forwarder: &mut Forwarder, to: &Channel) {
    forwarder.begin(u64::MAX, true);
    loop {
        match forwarder.forward(to, || (0, [0; 2])).expect("records") {
            Progress::Idle => return,
            Progress::More => {}
            Progress::Blocked => wait(to, PollFlags::POLLOUT),
            Progress::Closed => panic!("the analyzer is gone"),
        }
    }
}

/// Until the round's end: how many events, in packets of which lengths, and the thread's own time.
fn analyze(mut from: Channel) -> (u32, Vec<usize>, Duration) {
    let (mut count, mut packets) = (0, Vec::new());
    loop {
        let frame = match from.receive().expect("a socket") {
            Received::Frame(frame) => frame,
            Received::WouldBlock => {
                wait(&from, PollFlags::POLLIN);
                continue;
            }
            Received::Closed => panic!("the loader is gone"),
        };
        packets.push(frame.len());
        let (mut rest, is_last) = match decode(frame).expect("a message") {
            LoaderMessage::Events { records } => (records, false),
            LoaderMessage::Drained { records, .. } => (records, true),
            other => panic!("{other:?}"),
        };
        while !rest.is_empty() {
            let (event, after) = event::take(rest).expect("a record");
            black_box(event);
            (count, rest) = (count + 1, after);
        }
        if is_last {
            return (count, packets, own_time());
        }
    }
}

fn wait(channel: &Channel, wanted: PollFlags) {
    let mut fds = [PollFd::new(channel.as_fd(), wanted)];
    poll(&mut fds, PollTimeout::from(10_000_u16)).expect("the other end");
}

/// Processor time of this thread.
fn own_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock").into()
}

/// Packets of these lengths, sent and received.
fn bare(packets: &[usize]) -> Duration {
    let bytes = vec![7; packets.iter().sum()];
    let kind = SockType::SeqPacket;
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).expect("sockets");
    let begun = Instant::now();
    let receiver = thread::spawn(move || {
        let mut buffer = vec![0; MAX_FRAME_BYTES];
        while recv(theirs.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("a socket") > 0 {}
    });
    let mut rest: &[u8] = &bytes;
    for length in packets {
        let (packet, after) = rest.split_at(*length);
        send(ours.as_raw_fd(), packet, MsgFlags::empty()).expect("a socket");
        rest = after;
    }
    drop(ours);
    receiver.join().expect("the receiver");
    begun.elapsed()
}
