//! Captures that something happened to: what came before it is still given, and nothing wrong is.

use std::io::{self, Read};

use proptest::prelude::*;

use super::{super::*, any_frames, capture_of, entries_of, replay, small_frames};

#[test]
fn cut_off_anywhere_it_gives_every_whole_entry_and_says_where() {
    let frames = small_frames();
    let capture = capture_of(&frames);
    let entries = entries_of(&capture);
    assert_eq!(entries.len(), frames.len() + 2);
    assert_eq!(replay(&[][..]), (Vec::new(), Err(CaptureError::Empty)));
    for length in 1..capture.len() {
        let (given, end) = replay(&capture[..length]);
        // The first entry is the header, and an entry is whole where the next one begins.
        let whole = entries.iter().skip(2).filter(|&&next| next <= length).count();
        assert_eq!(given, frames[..whole], "cut off at {length}");
        let entry = entries.iter().rev().find(|&&entry| entry <= length).copied().unwrap_or(0);
        let expected = CaptureError::Truncated { offset: length as u64, entry: entry as u64 };
        assert_eq!(end, Err(expected));
    }
}

#[test]
fn any_changed_byte_ends_it_before_the_entry_that_holds_it() {
    let frames = small_frames();
    let capture = capture_of(&frames);
    let entries = entries_of(&capture);
    for offset in 0..capture.len() {
        let whole = entries.iter().skip(2).filter(|&&next| next <= offset).count();
        let entry = entries.iter().rev().find(|&&entry| entry <= offset).copied().unwrap_or(0);
        for change in 1..=u8::MAX {
            let mut damaged = capture.clone();
            damaged[offset] ^= change;
            let (given, end) = replay(&damaged[..]);
            assert_eq!(given, frames[..whole], "byte {offset} changed by {change:#x}");
            match end {
                Err(CaptureError::Foreign { .. }) => assert!(offset < MAGIC.len()),
                Err(
                    CaptureError::Damaged { entry: told, .. }
                    | CaptureError::Truncated { entry: told, .. },
                ) => assert_eq!(told, entry as u64),
                end => panic!("byte {offset} changed by {change:#x}: {end:?}"),
            }
        }
    }
}

#[test]
fn entries_that_are_missing_doubled_or_exchanged_are_found() {
    let frames = vec![vec![1, 2, 3], vec![1, 2, 3], vec![4, 5, 6], vec![7]];
    let capture = capture_of(&frames);
    let entries = entries_of(&capture);
    let part = |number: usize| &capture[entries[number]..entries[number + 1]];
    let end = &capture[entries[5]..];
    let start = &capture[..entries[1]];
    for order in
        [&[2, 3, 4][..], &[1, 3, 4], &[1, 2, 4], &[1, 2, 3], &[1, 1, 2, 3, 4], &[2, 1, 3, 4]]
    {
        let mut parts = vec![start];
        parts.extend(order.iter().map(|&number| part(number)));
        parts.push(end);
        let (given, end) = replay(&parts.concat()[..]);
        assert!(frames.starts_with(&given));
        assert!(matches!(end, Err(CaptureError::Damaged { .. })), "{order:?}: {end:?}");
    }
}

#[test]
fn what_follows_the_end_is_said_after_all_frames() {
    let frames = small_frames();
    let capture = capture_of(&frames);
    let (given, end) = replay(&[&capture[..], &capture[..]].concat()[..]);
    assert_eq!(given, frames);
    assert_eq!(end, Err(CaptureError::Trailing { offset: capture.len() as u64 }));
}

#[test]
fn zeros_that_a_crash_left_at_the_end_are_no_end_mark() {
    let frames = small_frames();
    let mut capture = capture_of(&frames);
    let end = *entries_of(&capture).last().unwrap();
    capture.truncate(end);
    capture.extend([0; 4096]);
    let (given, result) = replay(&capture[..]);
    assert_eq!(given, frames);
    let damage = Damage::Checksum;
    assert_eq!(result, Err(CaptureError::Damaged { entry: end as u64, damage }));
}

#[test]
fn a_length_is_not_believed() {
    let mut capture = capture_of(&small_frames());
    let entry = entries_of(&capture)[2];
    capture[entry..entry + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let (given, end) = replay(&capture[..]);
    assert_eq!(given, small_frames()[..1]);
    let error = CaptureError::Damaged { entry: entry as u64, damage: Damage::Length(u32::MAX) };
    assert_eq!(end, Err(error.clone()));
    assert!(error.to_string().contains("claims 4294967295 bytes"), "{error}");

    // The longest that is allowed takes no more memory than the file has bytes.
    capture[entry..entry + 4].copy_from_slice(&MAX_ENTRY_BYTES.to_le_bytes());
    let mut reader = Reader::new(&capture[..]).unwrap();
    reader.next_frame().unwrap();
    assert!(matches!(reader.next_frame(), Err(CaptureError::Truncated { .. })));
    assert!(reader.memory() < 4096, "{}", reader.memory());
}

/// Gives single bytes, with interruptions, and fails at the end if it is to.
struct Dribble<'a> {
    rest: &'a [u8],
    interrupt: bool,
    fails: bool,
}

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut piece = self.rest;
        match piece.read(buffer.get_mut(..1).unwrap_or_default())? {
            0 if self.fails => Err(io::Error::from_raw_os_error(5)),
            count => {
                self.rest = piece;
                Ok(count)
            }
        }
    }
}

#[test]
fn a_pipe_that_dribbles_gives_the_same() {
    let capture = capture_of(&small_frames());
    let source = Dribble { rest: &capture, interrupt: false, fails: false };
    assert_eq!(replay(source), (small_frames(), Ok(())));
}

#[test]
fn a_disk_that_fails_is_said_after_what_it_gave() {
    let capture = capture_of(&small_frames());
    let offset = entries_of(&capture)[3] + 9;
    let source = Dribble { rest: &capture[..offset], interrupt: false, fails: true };
    let (given, end) = replay(source);
    assert_eq!(given, small_frames()[..2]);
    let error = end.unwrap_err();
    assert!(
        matches!(error, CaptureError::Unreadable { offset: told, .. } if told == offset as u64),
        "{error:?}"
    );
    assert!(error.to_string().contains("Input/output error"), "{error}");
}

proptest! {
    #[test]
    fn damage_of_any_extent_gives_no_wrong_frame(
        frames in any_frames(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let capture = capture_of(&frames);
        let mut damaged = capture.clone();
        for (place, byte) in damage {
            *place.get_mut(&mut damaged) = byte;
        }
        let (given, end) = replay(&damaged[..]);
        prop_assert!(frames.starts_with(&given));
        prop_assert_eq!(end.is_ok(), damaged == capture);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let (given, end) = replay(&bytes[..]);
        prop_assert!(given.is_empty() && end.is_err());
    }

    #[test]
    fn arbitrary_bytes_behind_a_header_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..500),
        small in any::<bool>(),
    ) {
        let mut capture = capture_of(&[]);
        capture.truncate(*entries_of(&capture).last().unwrap());
        capture.extend(&bytes);
        if let (true, Some(high)) = (small, capture.len().checked_sub(bytes.len())) {
            // A length that is within bounds.
            for byte in capture.iter_mut().skip(high + 1).take(3) {
                *byte = 0;
            }
        }
        let (given, end) = replay(&capture[..]);
        prop_assert!(given.is_empty() && end.is_err());
    }
}
