//! Captures as they should be.

mod damage;
mod refusals;

use std::io::Read;

use proptest::prelude::*;
use sentinel_ipc::{
    frame::{Counters, KindSet, LoaderMessage, Selection, encode},
    kernel_abi::kind,
};

use super::*;

/// Of a recording that never was.
pub(super) fn header() -> Header {
    Header {
        kernel: "6.18.5".to_owned(),
        machine: "x86_64".to_owned(),
        boot_id: "6f1c2f3e-8d0b-4b53-9d3c-0d5f5f0f8d11".to_owned(),
        started: Clock { boot_ns: 5_000_000_000, wall_offset_ns: 1_700_000_000_000_000_000 },
        scope: "process 4711 and its descendants".to_owned(),
        subscription: Subscription {
            number: 1,
            reporting: true,
            kinds: KindSet::of(&[kind::EXEC, kind::OPEN]),
            classes: 3,
            selection: Selection::Tree(4711),
            counts: true,
        },
    }
}

fn small_frames() -> Vec<Vec<u8>> {
    [
        LoaderMessage::Events { records: &[1; 40] },
        LoaderMessage::Drained {
            records: &[1; 40],
            until: 6_000_000_000,
            now: 6_000_000_001,
            dropped: [0, 3],
        },
        LoaderMessage::Events { records: &[0] },
        LoaderMessage::Finished { counters: Counters::default() },
    ]
    .iter()
    .map(|message| {
        let mut frame = Vec::new();
        encode(message, &mut frame).unwrap();
        frame
    })
    .collect()
}

fn capture_of(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    for frame in frames {
        writer.frame(frame).unwrap();
    }
    writer.finish().unwrap()
}

/// Where the entries of a sound capture begin, header and end mark included.
fn entries_of(capture: &[u8]) -> Vec<usize> {
    let mut entries = vec![PREAMBLE_BYTES as usize];
    while let Some(&entry) = entries.last() {
        let head = EntryHead::read_from_bytes(&capture[entry..entry + 8]).unwrap();
        if head.length.get() == 0 {
            break;
        }
        entries.push(entry + 8 + head.length.get() as usize);
    }
    entries
}

/// The frames that come before the end or before what is wrong.
fn replay(capture: impl Read) -> (Vec<Vec<u8>>, Result<(), CaptureError>) {
    let mut frames = Vec::new();
    let mut reader = match Reader::new(capture) {
        Ok(reader) => reader,
        Err(error) => return (frames, Err(error)),
    };
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push(frame.to_owned()),
            Ok(None) => {
                assert_eq!(reader.next_frame(), Ok(None));
                return (frames, Ok(()));
            }
            Err(error) => {
                assert_eq!(reader.next_frame(), Err(error.clone()), "it does not go on");
                return (frames, Err(error));
            }
        }
    }
}

#[test]
fn header_and_frames_come_back_as_they_were() {
    let capture = capture_of(&small_frames());
    let reader = Reader::new(&capture[..]).unwrap();
    assert_eq!(reader.header(), &header());
    assert_eq!(reader.sentinel(), env!("CARGO_PKG_VERSION"));
    assert_eq!(replay(&capture[..]), (small_frames(), Ok(())));
}

#[test]
fn the_layout_is_the_documented_one() {
    let capture = capture_of(&[vec![0xaa, 0xbb]]);
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    assert_eq!(&capture[..8], b"SENTCAP\0");
    assert_eq!(capture[8..10], 1_u16.to_le_bytes());
    assert_eq!(capture[10..12], PROTOCOL_VERSION.to_le_bytes());
    assert_eq!(capture[12..16], 0x0102_0304_u32.to_ne_bytes());
    assert_eq!(&capture[16..16 + version.len()], version);
    assert!(capture[16 + version.len()..48].iter().all(|&byte| byte == 0));
    assert_eq!(capture[48..52], crc32fast::hash(&capture[..48]).to_le_bytes());
    let mut content = Vec::new();
    encode(&header(), &mut content).unwrap();
    let length = u32::try_from(content.len()).unwrap();
    assert_eq!(capture[52..56], length.to_le_bytes());
    assert_eq!(&capture[60..60 + content.len()], content);
    let mut covered = [&capture[..48], &capture[52..56], &content].concat();
    assert_eq!(capture[56..60], crc32fast::hash(&covered).to_le_bytes());
    let rest = &capture[60 + content.len()..];
    assert_eq!(rest[..4], 2_u32.to_le_bytes());
    covered.extend([2, 0, 0, 0, 0xaa, 0xbb]);
    assert_eq!(rest[4..8], crc32fast::hash(&covered).to_le_bytes());
    assert_eq!(rest[8..10], [0xaa, 0xbb]);
    assert_eq!(rest[10..14], [0; 4]);
    covered.extend([0; 4]);
    assert_eq!(rest[14..], crc32fast::hash(&covered).to_le_bytes());
}

#[test]
fn memory_does_not_grow_with_the_capture() {
    let capture = capture_of(&vec![vec![7; MAX_ENTRY_BYTES as usize]; 50]);
    let mut reader = Reader::new(&capture[..]).unwrap();
    while reader.next_frame().unwrap().is_some() {}
    assert!(reader.memory() <= 2 * MAX_ENTRY_BYTES as usize, "{}", reader.memory());
}

#[test]
fn this_machine_has_a_header() {
    let Header { started, scope, subscription, .. } = header();
    let ours = Header::of_this_machine(started, scope, subscription).unwrap();
    assert!(!ours.kernel.is_empty() && !ours.kernel.contains('\n'));
    assert_eq!(ours.boot_id.len(), 36);
}

fn any_frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..600), 0..20)
}

proptest! {
    #[test]
    fn any_frames_survive_the_way(frames in any_frames()) {
        prop_assert_eq!(replay(&capture_of(&frames)[..]), (frames, Ok(())));
    }

    #[test]
    fn the_same_frames_make_the_same_file(frames in any_frames()) {
        prop_assert_eq!(capture_of(&frames), capture_of(&frames));
    }
}
