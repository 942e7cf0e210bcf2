//! Files that are no captures, or none for this Sentinel.

use sentinel_ipc::frame::encode;

use super::{super::*, header};

fn refusal_of(capture: &[u8]) -> CaptureError {
    Reader::new(capture).unwrap_err()
}

/// A sound capture without frames, by Sentinel 9.8.7 but for the `change`.
fn with_preamble(change: impl FnOnce(&mut Preamble)) -> Vec<u8> {
    let mut preamble = Preamble { sentinel: [0; SENTINEL_BYTES], ..Preamble::ours() };
    preamble.sentinel[..5].copy_from_slice(b"9.8.7");
    change(&mut preamble);
    let mut content = Vec::new();
    encode(&header(), &mut content).unwrap();
    with_entries(preamble.with_checksum(), &[&content, &[]])
}

fn with_entries(preamble: Preamble, contents: &[&[u8]]) -> Vec<u8> {
    let mut capture = preamble.as_bytes().to_vec();
    let mut before = preamble.checksum.get();
    for content in contents {
        let length = u32::try_from(content.len()).unwrap();
        before = checksum(before, &[&length.to_le_bytes(), content]);
        let head = EntryHead { length: length.into(), checksum: before.into() };
        capture.extend([head.as_bytes(), content].concat());
    }
    capture
}

#[test]
fn other_files_are_told_for_what_they_are() {
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03";
    let elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
    for (foreign, said) in [
        (&gzip[..], "gzip -dc FILE"),
        (elf, "ELF"),
        (b"{\"timestamp\":1}\n", "JSON"),
        (b"Dear Sentinel,\n", "give a file that `sentinel record`"),
        (b"SENTCAP is how a capture begins\n", "give a file that `sentinel record`"),
        (b"x", "give a file that `sentinel record`"),
    ] {
        let error = refusal_of(foreign);
        assert!(matches!(error, CaptureError::Foreign { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
    }
    assert_eq!(refusal_of(b"").to_string(), "is empty: nothing was recorded into it");
}

#[test]
fn captures_of_other_versions_and_machines_name_the_sentinel_that_can_read_them() {
    let sentinel = || "9.8.7".to_owned();
    let capture = with_preamble(|preamble| preamble.format = (FORMAT_VERSION + 1).into());
    let error = CaptureError::OtherFormat { format: FORMAT_VERSION + 1, sentinel: sentinel() };
    assert_eq!(refusal_of(&capture), error);
    assert!(error.to_string().ends_with("replay it with Sentinel 9.8.7"), "{error}");

    for protocol in [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1] {
        let capture = with_preamble(|preamble| preamble.protocol = protocol.into());
        let error = CaptureError::OtherProtocol { protocol, sentinel: sentinel() };
        assert_eq!(refusal_of(&capture), error);
        assert!(error.to_string().ends_with("replay it with Sentinel 9.8.7"), "{error}");
    }

    let capture = with_preamble(|preamble| preamble.byte_order.reverse());
    let error = CaptureError::OtherByteOrder { sentinel: sentinel() };
    assert_eq!(refusal_of(&capture), error);
    assert!(error.to_string().contains("another byte order"), "{error}");
}

#[test]
fn a_capture_of_another_sentinel_that_speaks_the_same_is_read() {
    let capture = with_preamble(|_| ());
    let mut reader = Reader::new(&capture[..]).unwrap();
    assert_eq!(reader.sentinel(), "9.8.7");
    assert_eq!(reader.header(), &header());
    assert_eq!(reader.next_frame(), Ok(None));
}

#[test]
fn a_version_from_a_file_steers_no_terminal() {
    let capture = with_preamble(|preamble| {
        preamble.sentinel[..4].copy_from_slice(b"\x1b[2J");
        preamble.format = 7.into();
    });
    assert!(!refusal_of(&capture).to_string().contains('\x1b'));
}

#[test]
fn a_header_that_is_whole_but_none_is_refused() {
    for content in [&b"\xff\xff\xff\xff\x0f"[..], b"", &[0; 500]] {
        let error = refusal_of(&with_entries(Preamble::ours(), &[content]));
        assert!(
            matches!(error, CaptureError::Damaged { entry: 52, damage: Damage::Header(_) }),
            "{error:?}"
        );
        assert!(error.to_string().ends_with("nothing of it can be used"), "{error}");
    }
}

#[test]
fn what_cannot_be_opened_or_is_a_directory_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let error = Reader::open(&directory.path().join("missing")).unwrap_err();
    assert!(error.to_string().starts_with("cannot be opened: No such file"), "{error}");
    let error = Reader::open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("Is a directory"), "{error}");
}
