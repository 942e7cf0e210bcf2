//! Records and events for tests.

use sentinel_ipc::kernel_abi::RecordHeader;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::{Action, Event, ProcessId, RecordError, Traffic, TrafficReport, take};

/// The header of a native call that returned 0.
pub(super) fn header(kind: u16) -> RecordHeader {
    RecordHeader { tgid: 7, start_time: 9, timestamp: 11, kind, ..RecordHeader::new_zeroed() }
}

/// The action that `record` tells, all of its bytes taken.
pub(super) fn action(record: &(impl IntoBytes + Immutable)) -> Result<Action, RecordError> {
    let (event, rest) = take(record.as_bytes())?;
    assert!(rest.is_empty(), "{} bytes were not taken", rest.len());
    Ok(event.action)
}

impl Traffic {
    /// Traffic of which nothing but why it is told is known.
    pub(crate) fn of(report: TrafficReport) -> Self {
        Self {
            report,
            number: None,
            descriptor: None,
            received: 0,
            sent: 0,
            reads: 0,
            writes: 0,
            class: 0,
            skipped: false,
            closes: false,
        }
    }
}

impl Event {
    /// An event of which nothing but this matters.
    pub(crate) fn of(timestamp: u64, process: ProcessId, action: Action) -> Self {
        Self {
            timestamp,
            process,
            tid: process.tgid,
            uid: 0,
            euid: 0,
            cgroup_id: 1,
            call: None,
            result: 0,
            io_uring: false,
            tainted: false,
            racy: false,
            private_descriptors: false,
            shares_memory: false,
            access: None,
            action,
        }
    }
}
