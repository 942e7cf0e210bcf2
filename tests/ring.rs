//! The loader's reading of a ring that the kernel fills.

use aya::maps::{Array, Map};
use sentinel_loader::ring::{Ring, RingError};
use sentinel_tests::{
    bed::Bed,
    kernel::{self, Kind, Program},
};

/// Four windows of the reader's.
const BYTES: u32 = 1 << 20;
/// What the kernel puts before an item.
const ITEM_HEADER_BYTES: usize = 8;

/// A ring, and what fills it with items of `N` bytes.
struct Line<const N: usize> {
    ring: Ring,
    value: Array<aya::maps::MapData, [u8; N]>,
    filler: Program,
}

impl<const N: usize> Line<N> {
    fn new() -> Self {
        let ring = kernel::ring(BYTES).unwrap();
        let array = kernel::array(u32::try_from(N).unwrap()).unwrap();
        let code = kernel::filling(&ring, &array, u32::try_from(N).unwrap());
        let filler = Program::load(Kind::SocketFilter, &code).unwrap();
        let value = Array::try_from(Map::Array(array)).unwrap();
        Self { ring: Ring::new(Map::RingBuf(ring), "ring").unwrap(), value, filler }
    }

    /// Puts the item of that number into the ring, or finds it full.
    fn put(&mut self, number: usize) {
        self.value.set(0, item::<N>(number), 0).unwrap();
        kernel::run(&self.filler, 1).unwrap();
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.ring.record().unwrap().map(<[u8]>::to_vec)
    }
}

/// Another one than its neighbours in each byte.
fn item<const N: usize>(number: usize) -> [u8; N] {
    std::array::from_fn(|at| u8::try_from((number * 7 + at) % 251).unwrap())
}

#[test]
fn each_item_comes_once_whole_and_in_order() {
    let Some(_bed) = Bed::new() else { return };
    // Items begin and end in other places of a window each time, and go on behind it and behind the ring's end.
    let mut line = Line::<648>::new();
    let (mut put, mut taken) = (0, 0);
    for batch in (1..400).chain([1000; 4]) {
        for _ in 0..batch {
            line.put(put);
            put += 1;
        }
        while let Some(record) = line.take() {
            assert!(record == item::<648>(taken), "item {taken}");
            taken += 1;
        }
        assert_eq!(taken, put);
    }
    assert!(put * 648 > 50 * BYTES as usize, "{put} items are not enough to go round");
}

#[test]
fn what_is_read_is_kept_until_it_is_released() {
    let Some(_bed) = Bed::new() else { return };
    let mut line = Line::<80>::new();
    // One byte always stays free.
    let room = (BYTES as usize - 1) / (80 + ITEM_HEADER_BYTES);
    (0..room).for_each(|number| line.put(number));
    for number in 0..100 {
        assert_eq!(line.take().unwrap(), item::<80>(number));
    }
    line.put(room);
    assert!(line.ring.release());
    assert!(!line.ring.release(), "there was nothing more to release");
    line.put(room + 1);
    let rest: Vec<_> = std::iter::from_fn(|| line.take()).collect();
    assert_eq!(rest.len(), room - 100 + 1, "what came when the ring was full is lost");
    assert_eq!(rest.last().unwrap(), &item::<80>(room + 1));
}

#[test]
fn an_item_that_cannot_be_a_record_is_an_error() {
    let Some(_bed) = Bed::new() else { return };
    let mut line = Line::<16>::new();
    line.put(1);
    assert!(matches!(line.ring.record(), Err(RingError::NotARecord(16))));
}
