//! Calls that make, use and close descriptors.

use sentinel_ipc::kernel_abi::{DescriptorRecord, RecordHeader, flag};

use super::{
    Action, RecordError,
    argument::{high, low, number},
    object::descriptor,
};

const CLOSE_RANGE_UNSHARE: u32 = 2;
const CLOSE_RANGE_CLOEXEC: u32 = 4;
const FD_CLOEXEC: u64 = 1;

/// The calls that make or use one descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DescriptorCall {
    /// socket(2).
    Socket,
    /// connect(2), failed ones too.
    Connect,
    /// accept(2), accept4(2).
    Accept,
    /// bind(2), failed ones too.
    Bind,
    /// listen(2), failed ones too.
    Listen,
    /// dup(2), dup2(2), dup3(2), fcntl(2) with F_DUPFD.
    Dup,
    /// One end of pipe(2).
    Pipe,
    /// One end of socketpair(2).
    Socketpair,
    /// Another process gave it: SCM_RIGHTS, or pidfd_getfd(2).
    Received,
}

/// A [`DescriptorRecord`] that is about `call`.
pub(super) fn action(
    call: DescriptorCall,
    record: &DescriptorRecord,
) -> Result<Action, RecordError> {
    let header = &record.header;
    let found = found(record);
    let [first, second, _] = header.argument;
    let (number, from) = match call {
        DescriptorCall::Socket => (made(header, found.is_some())?, None),
        DescriptorCall::Accept | DescriptorCall::Dup => {
            (made(header, found.is_some())?, number(first))
        }
        DescriptorCall::Received | DescriptorCall::Pipe | DescriptorCall::Socketpair => {
            (number(first), number(second))
        }
        DescriptorCall::Connect | DescriptorCall::Bind | DescriptorCall::Listen => {
            (number(first), None)
        }
    };
    let close_on_exec = header.flags & flag::CLOSE_ON_EXEC != 0;
    Ok(Action::Descriptor { call, number, from, descriptor: found, close_on_exec })
}

/// The number that the call returned.
fn made(header: &RecordHeader, is_known: bool) -> Result<Option<u32>, RecordError> {
    let number = u32::try_from(header.result).map_err(|_| RecordError::Field("result"))?;
    // One in an io_uring's own table has no number, and its result is 0.
    let is_direct = header.flags & flag::IO_URING != 0 && !is_known;
    Ok((!is_direct).then_some(number))
}

pub(super) fn setns(record: &DescriptorRecord) -> Action {
    let [first, second, _] = record.header.argument;
    Action::Setns { number: number(first), descriptor: found(record), namespaces: low(second) }
}

fn found(record: &DescriptorRecord) -> Option<super::Descriptor> {
    descriptor(&record.descriptor, record.header.flags & flag::AS_GIVEN != 0)
}

/// fcntl(2) with F_SETFD.
pub(super) fn set_flags(header: &RecordHeader) -> Action {
    let [first, flags, _] = header.argument;
    Action::SetCloseOnExec { number: low(first), close_on_exec: flags & FD_CLOEXEC != 0 }
}

/// close(2).
pub(super) fn close(header: &RecordHeader) -> Action {
    let [first, ..] = header.argument;
    closed(number(first))
}

/// The end of a descriptor, whose number is not known if it is `None`.
pub(super) fn closed(number: Option<u32>) -> Action {
    match number {
        Some(number) => Action::Close { first: number, last: number, unshare: false },
        None => Action::CloseUnknown,
    }
}

/// close_range(2).
pub(super) fn close_range(header: &RecordHeader) -> Action {
    let [first, last_and_flags, _] = header.argument;
    let (first, last, flags) = (low(first), low(last_and_flags), high(last_and_flags));
    let unshare = flags & CLOSE_RANGE_UNSHARE != 0;
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        Action::MarkCloseOnExec { first, last, unshare }
    } else {
        Action::Close { first, last, unshare }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use sentinel_ipc::kernel_abi::kind;
    use zerocopy::FromZeros;

    use super::*;
    use crate::event::fixture;

    const S_IFSOCK: u32 = 0o140_777;

    fn record(kind: u16, argument: [u64; 3], result: i64) -> DescriptorRecord {
        let mut record = DescriptorRecord::new_zeroed();
        record.header = RecordHeader { argument, result, ..fixture::header(kind) };
        record.descriptor.object.mode = S_IFSOCK;
        record
    }

    /// Numbers that the record tells: the descriptor's, and where it came from.
    fn numbers(record: &DescriptorRecord) -> (Option<u32>, Option<u32>) {
        let told = fixture::action(record).unwrap();
        let Action::Descriptor { number, from, .. } = told else { panic!("{told:?}") };
        (number, from)
    }

    #[test]
    fn a_connect_tells_its_peer() {
        let mut record = record(kind::CONNECT, [3, 0, 0], -115);
        record.descriptor.socket.family = 10;
        record.descriptor.socket.protocol = 6;
        record.descriptor.socket.remote_port = 443;
        record.descriptor.socket.remote_address =
            Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets();
        let told = fixture::action(&record).unwrap();
        let Action::Descriptor { call, number, descriptor: Some(found), .. } = told else {
            panic!("{told:?}");
        };
        assert_eq!((call, number), (DescriptorCall::Connect, Some(3)));
        let socket = found.socket.unwrap();
        assert_eq!(socket.remote, Some("192.0.2.1:443".parse().unwrap()));
        assert_eq!(socket.protocol, 6);
        assert!(socket.has_peer && socket.is_network());
    }

    #[test]
    fn each_call_says_where_its_numbers_are() {
        for (kind, told) in [
            (kind::SOCKET, (Some(5), None)),
            (kind::ACCEPT, (Some(5), Some(3))),
            (kind::DUP, (Some(5), Some(3))),
            (kind::RECEIVED, (Some(3), Some(4))),
            (kind::CONNECT, (Some(3), None)),
            (kind::BIND, (Some(3), None)),
            (kind::LISTEN, (Some(3), None)),
            (kind::PIPE, (Some(3), Some(4))),
            (kind::SOCKETPAIR, (Some(3), Some(4))),
        ] {
            assert_eq!(numbers(&record(kind, [3, 4, 0], 5)), told, "{kind:#x}");
        }
        let failed = fixture::action(&record(kind::DUP, [3, 0, 0], -9));
        assert_eq!(failed, Err(RecordError::Field("result")));
    }

    #[test]
    fn an_io_uring_tells_no_number_that_it_does_not_know() {
        let unknown = u64::from(u32::MAX);
        let mut connect = record(kind::CONNECT, [unknown, 0, 0], 0);
        connect.header.flags = flag::IO_URING;
        assert_eq!(numbers(&connect), (None, None));
        let mut accept = record(kind::ACCEPT, [unknown, 0, 0], 7);
        accept.header.flags = flag::IO_URING;
        assert_eq!(numbers(&accept), (Some(7), None));
        accept.header.result = 0;
        accept.descriptor.object.mode = 0;
        assert_eq!(numbers(&accept), (None, None), "in its own table");
        accept.header.flags = 0;
        assert_eq!(numbers(&accept), (Some(0), None), "closed meanwhile");
    }

    #[test]
    fn what_closes_tells_which() {
        let told = |kind, argument| {
            let header = RecordHeader { argument, ..fixture::header(kind) };
            fixture::action(&header).unwrap()
        };
        let close = |first, last, unshare| Action::Close { first, last, unshare };
        assert_eq!(told(kind::CLOSE, [4, 9, 9]), close(4, 4, false));
        assert_eq!(told(kind::CLOSE, [u64::from(u32::MAX), 0, 0]), Action::CloseUnknown);
        let range = |last: u32, flags: u64| [3, u64::from(last) | flags << 32, 0];
        assert_eq!(told(kind::CLOSE_RANGE, range(u32::MAX, 0)), close(3, u32::MAX, false));
        assert_eq!(told(kind::CLOSE_RANGE, range(9, 2)), close(3, 9, true));
        let marked = Action::MarkCloseOnExec { first: 3, last: 9, unshare: true };
        assert_eq!(told(kind::CLOSE_RANGE, range(9, 6)), marked);
        let flagged = Action::SetCloseOnExec { number: 4, close_on_exec: true };
        assert_eq!(told(kind::SET_DESCRIPTOR_FLAGS, [4, 1, 0]), flagged);
    }

    #[test]
    fn a_setns_tells_what_it_joined() {
        let mut record = record(kind::SETNS, [5, 0x2000_0000, 0], 0);
        record.descriptor.object.inode = 0xf000_0001;
        let told = fixture::action(&record).unwrap();
        let Action::Setns { number, descriptor, namespaces } = told else { panic!("{told:?}") };
        assert_eq!((number, namespaces), (Some(5), 0x2000_0000));
        assert_eq!(descriptor.unwrap().object.id.inode, 0xf000_0001);
    }
}
