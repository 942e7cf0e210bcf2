//! Bytes that went through descriptors.

use sentinel_ipc::kernel_abi::{TrafficRecord, flag};

use super::{Action, Descriptor, argument::number, object::descriptor};

/// Bytes that went through a descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Why it is told.
    pub report: TrafficReport,
    /// Number of the descriptor.
    pub number: Option<u32>,
    /// The descriptor when its traffic began; a socket's remote end is that of the last call, which
    /// may be the caller's word ([`super::SocketEnds::remote_as_given`]).
    pub descriptor: Option<Descriptor>,
    /// Bytes read or received since its traffic began.
    pub received: u64,
    /// Bytes written or sent since its traffic began.
    pub sent: u64,
    /// Calls that read or received.
    pub reads: u32,
    /// Calls that wrote or sent.
    pub writes: u32,
    /// What [`sentinel_ipc::file_class`] says of the object; 0 if nothing.
    pub class: u32,
    /// Whether there were sends to other addresses since the last record of this descriptor.
    pub skipped: bool,
    /// Whether the call closed the descriptor; see [`super::Event::closing`].
    pub closes: bool,
}

/// Why traffic is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrafficReport {
    /// A send. Several are told as one.
    Sent {
        /// Bytes since the last record of this descriptor, or the last send that nobody wanted told.
        bytes: u64,
        /// Calls since then.
        calls: u64,
    },
    /// The end: the descriptor was closed or replaced, or its process ended.
    Totals,
}

pub(super) fn sent(record: &TrafficRecord) -> Action {
    let [_, bytes, calls] = record.header.argument;
    action(TrafficReport::Sent { bytes, calls }, false, record)
}

pub(super) fn totals(record: &TrafficRecord) -> Action {
    let [_, closes, _] = record.header.argument;
    action(TrafficReport::Totals, closes != 0, record)
}

fn action(report: TrafficReport, closes: bool, record: &TrafficRecord) -> Action {
    let header = &record.header;
    let [first, ..] = header.argument;
    Action::Traffic(Box::new(Traffic {
        report,
        number: number(first),
        descriptor: descriptor(&record.descriptor, header.flags & flag::AS_GIVEN != 0),
        received: record.received,
        sent: record.sent,
        reads: record.reads,
        writes: record.writes,
        class: record.class,
        skipped: header.flags & flag::SKIPPED != 0,
        closes,
    }))
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_abi::{RecordHeader, kind};
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;
    use crate::event::{Event, fixture, take};

    fn told(record: &TrafficRecord) -> Traffic {
        match fixture::action(record).unwrap() {
            Action::Traffic(traffic) => *traffic,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_send_tells_bytes_totals_and_where_to() {
        let mut record = TrafficRecord::new_zeroed();
        record.header = RecordHeader { argument: [3, 900, 2], ..fixture::header(kind::SENT) };
        record.header.flags = flag::AS_GIVEN | flag::SKIPPED;
        record.descriptor.object.mode = 0o140_777;
        record.descriptor.socket.family = 2;
        record.descriptor.socket.remote_port = 53;
        record.descriptor.socket.remote_address[..4].copy_from_slice(&[192, 0, 2, 1]);
        (record.received, record.sent, record.reads, record.writes) = (10, 2000, 1, 5);
        record.class = 8;
        let traffic = told(&record);
        assert_eq!(traffic.report, TrafficReport::Sent { bytes: 900, calls: 2 });
        assert_eq!(traffic.number, Some(3));
        assert_eq!((traffic.received, traffic.sent), (10, 2000));
        assert_eq!((traffic.reads, traffic.writes), (1, 5));
        assert_eq!((traffic.class, traffic.skipped), (8, true));
        let socket = traffic.descriptor.unwrap().socket.unwrap();
        assert_eq!(socket.remote, Some("192.0.2.1:53".parse().unwrap()));
        assert!(socket.remote_as_given && !socket.has_peer);
    }

    #[test]
    fn totals_are_told_apart_from_sends() {
        let mut record = TrafficRecord::new_zeroed();
        record.header = RecordHeader { argument: [4, 9, 9], ..fixture::header(kind::TRAFFIC) };
        let traffic = told(&record);
        assert_eq!((traffic.report, traffic.number), (TrafficReport::Totals, Some(4)));
        assert_eq!((traffic.descriptor, traffic.skipped), (None, false));
    }

    #[test]
    fn totals_may_tell_a_close_as_well() {
        let closing = |argument, kind| {
            let mut record = TrafficRecord::new_zeroed();
            record.header = RecordHeader { argument, result: -5, ..fixture::header(kind) };
            let event = take(record.as_bytes()).unwrap().0;
            event.closing().map(|closing| {
                assert_eq!(Event { action: event.action.clone(), ..closing.clone() }, event);
                closing.action
            })
        };
        let close = Action::Close { first: 4, last: 4, unshare: false };
        assert_eq!(closing([4, 1, 0], kind::TRAFFIC), Some(close));
        assert_eq!(closing([u64::from(u32::MAX), 1, 0], kind::TRAFFIC), Some(Action::CloseUnknown));
        assert_eq!(closing([4, 0, 0], kind::TRAFFIC), None);
        assert_eq!(closing([4, 1, 1], kind::SENT), None);
    }
}
