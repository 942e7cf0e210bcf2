//! Headers, and every kind with every length of bytes.

use proptest::prelude::*;
use zerocopy::{FromZeros, IntoBytes};

use super::*;
use crate::event::{Access, fixture};

/// Kinds that have a record, with its bytes.
const KINDS: &[(u16, usize)] = &[
    (kind::FORK, 112),
    (kind::EXEC, 2392),
    (kind::EXIT, 80),
    (kind::CGROUP_MADE, 608),
    (kind::CGROUP_REMOVED, 608),
    (kind::CGROUP_MOVED, 96),
    (kind::TCP_CONNECTING, 128),
    (kind::PROCESS, 1024),
    (kind::HELD, 176),
    (kind::HELD_FILE, 648),
    (kind::CGROUP_FOUND, 608),
    (kind::SOCKET, 168),
    (kind::CONNECT, 168),
    (kind::ACCEPT, 168),
    (kind::BIND, 168),
    (kind::LISTEN, 168),
    (kind::DUP, 168),
    (kind::SET_DESCRIPTOR_FLAGS, 80),
    (kind::CLOSE, 80),
    (kind::CLOSE_RANGE, 80),
    (kind::PIPE, 168),
    (kind::SOCKETPAIR, 168),
    (kind::RECEIVED, 168),
    (kind::SETNS, 168),
    (kind::CANARY, 80),
    (kind::OPEN, 648),
    (kind::MEMFD, 648),
    (kind::MAP, 648),
    (kind::FCHMOD, 648),
    (kind::FTRUNCATE, 648),
    (kind::SCRIPT, 648),
    (kind::LOAD_MODULE_FILE, 648),
    (kind::SENT, 208),
    (kind::TRAFFIC, 208),
    (kind::RENAME, 2208),
    (kind::LINK, 2208),
    (kind::SYMLINK, 2208),
    (kind::UNLINK, 2208),
    (kind::CHMOD, 2208),
    (kind::TRUNCATE, 2208),
    (kind::MOUNT, 2208),
    (kind::MOVE_MOUNT, 2208),
    (kind::UNMOUNT, 2208),
    (kind::MKDIR, 2208),
    (kind::MKNOD, 2208),
    (kind::CHROOT, 2208),
    (kind::CREDENTIALS, 256),
    (kind::PTRACE, 96),
    (kind::PROCESS_MEMORY, 96),
    (kind::KILL, 96),
    (kind::UNSHARE, 80),
    (kind::SET_NAME, 96),
    (kind::BPF, 80),
    (kind::LOAD_MODULE, 80),
    (kind::USERFAULTFD, 80),
    (kind::PIDFD_KILL, 80),
];
const KIND_AT: usize = std::mem::offset_of!(RecordHeader, kind);
const ABI_AT: usize = std::mem::offset_of!(RecordHeader, abi);

fn length_of(kind: u16) -> Option<usize> {
    KINDS.iter().find(|(known, _)| *known == kind).map(|(_, length)| *length)
}

#[test]
fn the_header_tells_who_and_how() {
    let mut header = fixture::header(kind::EXIT);
    (header.tid, header.uid, header.euid, header.cgroup_id) = (8, 1000, 0, 66);
    (header.call, header.abi, header.result) = (231, abi::X32, -13);
    header.flags = flag::IO_URING | flag::TAINTED | flag::RACY | flag::PRIVATE_FILES;
    header.flags |= flag::SHARED_MEMORY | flag::READS | flag::WRITES;
    header.reserved = 1;
    let event = take(header.as_bytes()).unwrap().0;
    let known = Event {
        timestamp: 11,
        process: ProcessId { tgid: 7, start_time: 9 },
        tid: 8,
        uid: 1000,
        euid: 0,
        cgroup_id: 66,
        call: Some(SystemCall { abi: Abi::X32, number: 231 }),
        result: -13,
        io_uring: true,
        tainted: true,
        racy: true,
        private_descriptors: true,
        shares_memory: true,
        access: Some(Access { reads: true, writes: true }),
        action: Action::Exit,
    };
    assert_eq!(event, known);
    (header.call, header.flags) = (NO_CALL, flag::IO_URING);
    let event = take(header.as_bytes()).unwrap().0;
    let (call, io_uring, tainted) = (None, true, false);
    let rest = Event {
        racy: false,
        private_descriptors: false,
        shares_memory: false,
        access: None,
        ..known
    };
    assert_eq!(event, Event { call, io_uring, tainted, ..rest });
}

#[test]
fn only_results_of_failed_calls_are_errnos() {
    let event = Event::of(1, ProcessId { tgid: 1, start_time: 1 }, Action::Exit);
    for (result, errno) in [
        (-1, Some(1)),
        (-4095, Some(4095)),
        (0, None),
        (7, None),
        (-4096, None),
        (i64::MIN, None),
        (i64::MAX, None),
    ] {
        assert_eq!(Event { result, ..event.clone() }.errno(), errno, "{result}");
    }
}

#[test]
fn every_kind_takes_its_own_bytes_and_no_other_kind_is_known() {
    for kind in (0..=kind::COUNT).chain([999, u16::MAX]) {
        let mut bytes = [0; 3000];
        bytes[KIND_AT..KIND_AT + 2].copy_from_slice(&kind.to_ne_bytes());
        let taken = take(&bytes).map(|(_, rest)| bytes.len() - rest.len());
        let Some(length) = length_of(kind) else {
            assert_eq!(taken, Err(RecordError::Kind(kind)));
            continue;
        };
        assert_eq!(taken, Ok(length), "{kind:#x}");
        let cut = take(&bytes[..length - 1]).map(|_| ());
        assert_eq!(cut, Err(RecordError::Truncated { needed: length, found: length - 1 }));
    }
}

#[test]
fn unknown_abis_and_cut_headers_are_refused() {
    let mut foreign = fixture::header(kind::EXIT);
    foreign.abi = 3;
    assert_eq!(take(foreign.as_bytes()), Err(RecordError::Abi(3)));
    let whole = RecordHeader::new_zeroed();
    let cut = take(&whole.as_bytes()[..79]);
    assert_eq!(cut, Err(RecordError::Truncated { needed: 80, found: 79 }));
    assert_eq!(take(&[]), Err(RecordError::Truncated { needed: 80, found: 0 }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = take(&bytes);
    }

    #[test]
    fn any_body_is_taken_whole_or_refused(
        kind in 0..=kind::COUNT,
        body in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        let mut bytes = body;
        if let Some(slot) = bytes.get_mut(KIND_AT..KIND_AT + 2) {
            slot.copy_from_slice(&kind.to_ne_bytes());
        }
        if let Some(abi) = bytes.get_mut(ABI_AT) {
            *abi %= 3;
        }
        let length = length_of(kind).unwrap_or(size_of::<RecordHeader>());
        match take(&bytes) {
            Ok((_, rest)) => prop_assert_eq!(bytes.len() - rest.len(), length),
            Err(RecordError::Kind(unknown)) => {
                prop_assert_eq!((unknown, length_of(kind)), (kind, None));
            }
            Err(RecordError::Truncated { found, .. }) => {
                prop_assert!(found == bytes.len() && found < length);
            }
            Err(RecordError::Field(_)) => prop_assert!(bytes.len() >= length),
            Err(RecordError::Abi(abi)) => prop_assert!(false, "abi {abi}"),
        }
    }
}
