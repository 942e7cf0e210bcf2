//! Kernel records as typed events. Every record is checked here, and nowhere else is one read.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use sentinel_ipc::kernel_abi::{
    self, DescriptorRecord, ExecRecord, ForkRecord, RecordHeader, abi, flag, kind,
};
use zerocopy::FromBytes;

use crate::escape::escape;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFSOCK: u32 = 0o140_000;
const TCP_ESTABLISHED: u16 = 1;
const CLOSE_RANGE_UNSHARE: u64 = 2;
const CLOSE_RANGE_CLOEXEC: u64 = 4;
const FD_CLOEXEC: u64 = 1;
/// Character device majors of Unix 98 pseudo terminals, slave side (Documentation/admin-guide/
/// devices.txt).
const PTS_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// Who a process is: a pid that came back has another start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Thread group id.
    pub tgid: u32,
    /// Start of the group's leader, ns since boot.
    pub start_time: u64,
}

/// Which file, pipe or socket something is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectId {
    /// The kernel's device number of the file system.
    pub device: u32,
    /// Inode number.
    pub inode: u64,
    /// Inode generation.
    pub generation: u32,
}

/// A socket's ends, as the kernel held them at the time of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketEnds {
    /// `AF_*`.
    pub family: u16,
    /// For IPv4 and IPv6.
    pub local: Option<SocketAddr>,
    /// For IPv4 and IPv6 with a peer.
    pub remote: Option<SocketAddr>,
    /// Whether there is a peer, whatever the family.
    pub has_peer: bool,
}

impl SocketEnds {
    /// Whether it reaches beyond the host's own IPC. Loopback does: the address says little about
    /// who listens there.
    pub fn is_network(&self) -> bool {
        !matches!(self.family, 0 | AF_UNIX | AF_NETLINK)
    }
}

/// What a descriptor refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Identity.
    pub object: ObjectId,
    /// Set for a socket.
    pub socket: Option<SocketEnds>,
    /// Whether it is the slave side of a pseudo terminal.
    pub is_terminal: bool,
    /// Whether it is a pipe or a fifo.
    pub is_pipe: bool,
}

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
}

/// A program that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Identity of the executable; of a script's interpreter.
    pub object: ObjectId,
    /// Raw path.
    pub path: Vec<u8>,
    /// Raw arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Whether path or arguments are incomplete.
    pub truncated: bool,
    /// Whether no directory entry leads to the executable: deleted, or a memfd.
    pub unlinked: bool,
    /// Escaped, for display only.
    pub comm: String,
    /// Descriptors 0, 1 and 2 as the program finds them.
    pub stdio: [Option<Descriptor>; 3],
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A new process.
    Fork {
        /// The child.
        child: ProcessId,
        /// Its parent: the caller, unless CLONE_PARENT was given.
        parent: ProcessId,
        /// Whether the two share one descriptor table.
        shares_descriptors: bool,
    },
    /// A new program in the process.
    Exec(Box<Exec>),
    /// The process ended.
    Exit,
    /// A descriptor was made or used.
    Descriptor {
        /// By which call.
        call: DescriptorCall,
        /// Its number.
        number: u32,
        /// The number it was made from: the old one of a dup, the listener of an accept.
        from: Option<u32>,
        /// What it refers to; `None` if it was closed meanwhile by another thread.
        descriptor: Option<Descriptor>,
        /// Whether it closes on exec.
        close_on_exec: bool,
        /// 0, or a positive errno.
        errno: u32,
    },
    /// A descriptor's close-on-exec flag was set or cleared.
    SetCloseOnExec {
        /// Its number.
        number: u32,
        /// The flag.
        close_on_exec: bool,
    },
    /// Descriptors from `first` to `last` were closed.
    Close {
        /// The lowest number.
        first: u32,
        /// The highest number.
        last: u32,
        /// Whether the process first got a table of its own.
        unshare: bool,
    },
    /// The process got a descriptor table of its own.
    UnshareDescriptors,
    /// A thread changed a descriptor table that is not its process's; whose, nobody follows.
    PrivateDescriptors,
    /// Descriptors from `first` to `last` were marked close-on-exec.
    MarkCloseOnExec {
        /// The lowest number.
        first: u32,
        /// The highest number.
        last: u32,
        /// Whether the process first got a table of its own.
        unshare: bool,
    },
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// CLOCK_BOOTTIME, ns.
    pub timestamp: u64,
    /// Who did it.
    pub process: ProcessId,
    /// Real user id.
    pub uid: u32,
    /// What.
    pub action: Action,
}

/// Why bytes are no record.
#[derive(Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Fewer bytes are left than the record's kind needs.
    Truncated {
        /// Bytes it needs.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// No such kind.
    Kind(u16),
    /// No such ABI.
    Abi(u8),
    /// A field's value is impossible.
    Field(&'static str),
}

impl fmt::Display for RecordError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, found } => {
                write!(to, "a record of {needed} bytes has {found}")
            }
            Self::Kind(kind) => write!(to, "unknown record kind {kind}"),
            Self::Abi(abi) => write!(to, "unknown system call ABI {abi}"),
            Self::Field(name) => write!(to, "impossible value in a record's {name}"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Takes the first record off `bytes`.
///
/// # Errors
/// When `bytes` does not begin with a whole, sound record; what follows cannot be told then.
pub fn take(bytes: &[u8]) -> Result<(Event, &[u8]), RecordError> {
    let (header, _) = prefix::<RecordHeader>(bytes)?;
    if usize::from(header.abi) >= abi::COUNT {
        return Err(RecordError::Abi(header.abi));
    }
    let (action, rest) = match header.kind {
        kind::FORK => {
            let (record, rest) = prefix::<ForkRecord>(bytes)?;
            (fork(&record), rest)
        }
        kind::EXEC => {
            let (record, rest) = prefix::<ExecRecord>(bytes)?;
            (Action::Exec(Box::new(exec(&record)?)), rest)
        }
        kind::EXIT => (Action::Exit, prefix::<RecordHeader>(bytes)?.1),
        kind::SET_DESCRIPTOR_FLAGS | kind::CLOSE | kind::CLOSE_RANGE | kind::UNSHARE_FILES => {
            (plain(&header)?, prefix::<RecordHeader>(bytes)?.1)
        }
        other => {
            let call = descriptor_call(other)?;
            let (record, rest) = prefix::<DescriptorRecord>(bytes)?;
            (descriptor_action(call, &record)?, rest)
        }
    };
    let on_descriptors = !matches!(action, Action::Fork { .. } | Action::Exec(_) | Action::Exit);
    let private = header.flags & flag::PRIVATE_FILES != 0;
    let action = if on_descriptors && private { Action::PrivateDescriptors } else { action };
    let process = ProcessId { tgid: header.tgid, start_time: header.start_time };
    Ok((Event { timestamp: header.timestamp, process, uid: header.uid, action }, rest))
}

fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), RecordError> {
    T::read_from_prefix(bytes)
        .map_err(|_| RecordError::Truncated { needed: size_of::<T>(), found: bytes.len() })
}

fn descriptor_call(kind: u16) -> Result<DescriptorCall, RecordError> {
    Ok(match kind {
        kind::SOCKET => DescriptorCall::Socket,
        kind::CONNECT => DescriptorCall::Connect,
        kind::ACCEPT => DescriptorCall::Accept,
        kind::BIND => DescriptorCall::Bind,
        kind::LISTEN => DescriptorCall::Listen,
        kind::DUP => DescriptorCall::Dup,
        kind::PIPE => DescriptorCall::Pipe,
        kind::SOCKETPAIR => DescriptorCall::Socketpair,
        other => return Err(RecordError::Kind(other)),
    })
}

fn fork(record: &ForkRecord) -> Action {
    Action::Fork {
        child: ProcessId { tgid: record.child_tgid, start_time: record.child_start_time },
        parent: ProcessId { tgid: record.parent_tgid, start_time: record.parent_start_time },
        shares_descriptors: record.header.flags & flag::SHARED_FILES != 0,
    }
}

fn exec(record: &ExecRecord) -> Result<Exec, RecordError> {
    let start = usize::from(record.path_start);
    let path = record
        .path
        .get(start..start + usize::from(record.path_length))
        .ok_or(RecordError::Field("path_length"))?;
    let argv = record
        .argv
        .get(..usize::from(record.argv_length))
        .ok_or(RecordError::Field("argv_length"))?;
    let comm = record.comm.split(|&byte| byte == 0).next().unwrap_or_default();
    let argv = argv.strip_suffix(&[0]).unwrap_or(argv);
    Ok(Exec {
        object: object(&record.executable),
        path: path.to_vec(),
        arguments: if argv.is_empty() {
            Vec::new()
        } else {
            argv.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
        },
        truncated: record.header.flags & flag::TRUNCATED != 0,
        unlinked: record.links == 0,
        comm: escape(comm),
        stdio: record.stdio.map(|found| descriptor(&found)),
    })
}

fn descriptor_action(
    call: DescriptorCall,
    record: &DescriptorRecord,
) -> Result<Action, RecordError> {
    let header = &record.header;
    let number = |value: u64| u32::try_from(value).map_err(|_| RecordError::Field("argument"));
    let first = number(header.argument[0] & u64::from(u32::MAX))?;
    let result = || u32::try_from(header.result).map_err(|_| RecordError::Field("result"));
    let (number, from) = match call {
        DescriptorCall::Socket => (result()?, None),
        DescriptorCall::Accept | DescriptorCall::Dup => (result()?, Some(first)),
        DescriptorCall::Connect
        | DescriptorCall::Bind
        | DescriptorCall::Listen
        | DescriptorCall::Pipe
        | DescriptorCall::Socketpair => (first, None),
    };
    Ok(Action::Descriptor {
        call,
        number,
        from,
        descriptor: descriptor(&record.descriptor),
        close_on_exec: header.flags & flag::CLOSE_ON_EXEC != 0,
        errno: if header.result < 0 {
            u32::try_from(header.result.unsigned_abs()).map_err(|_| RecordError::Field("result"))?
        } else {
            0
        },
    })
}

fn plain(header: &RecordHeader) -> Result<Action, RecordError> {
    let low = |value: u64| {
        u32::try_from(value & u64::from(u32::MAX)).map_err(|_| RecordError::Field("argument"))
    };
    let [one, two] = header.argument;
    let (first, last) = (low(one)?, low(two)?);
    Ok(match header.kind {
        kind::SET_DESCRIPTOR_FLAGS => {
            Action::SetCloseOnExec { number: first, close_on_exec: two & FD_CLOEXEC != 0 }
        }
        kind::UNSHARE_FILES => Action::UnshareDescriptors,
        kind::CLOSE_RANGE => {
            let flags = two >> 32;
            let unshare = flags & CLOSE_RANGE_UNSHARE != 0;
            if flags & CLOSE_RANGE_CLOEXEC != 0 {
                Action::MarkCloseOnExec { first, last, unshare }
            } else {
                Action::Close { first, last, unshare }
            }
        }
        _ => Action::Close { first, last: first, unshare: false },
    })
}

fn object(raw: &kernel_abi::Object) -> ObjectId {
    ObjectId { device: raw.device, inode: raw.inode, generation: raw.generation }
}

fn descriptor(raw: &kernel_abi::Descriptor) -> Option<Descriptor> {
    let file_type = raw.object.mode & S_IFMT;
    (raw.object.mode != 0).then(|| Descriptor {
        object: object(&raw.object),
        socket: (file_type == S_IFSOCK).then(|| ends(&raw.socket)),
        is_terminal: file_type == S_IFCHR && PTS_MAJORS.contains(&(raw.object.rdev >> 20)),
        is_pipe: file_type == S_IFIFO,
    })
}

fn ends(raw: &kernel_abi::Socket) -> SocketEnds {
    let remote = address(raw.family, raw.remote_address, raw.remote_port)
        .filter(|remote| remote.port() != 0);
    SocketEnds {
        family: raw.family,
        local: address(raw.family, raw.local_address, raw.local_port),
        remote,
        has_peer: match raw.family {
            AF_INET | AF_INET6 => remote.is_some(),
            _ => raw.state == TCP_ESTABLISHED,
        },
    }
}

/// An IPv4 address in IPv6 clothes counts as what it is.
fn address(family: u16, raw: [u8; 16], port: u16) -> Option<SocketAddr> {
    let ip = match family {
        AF_INET => {
            let [a, b, c, d, ..] = raw;
            IpAddr::from(Ipv4Addr::new(a, b, c, d))
        }
        AF_INET6 => IpAddr::from(Ipv6Addr::from(raw)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    fn header(kind: u16) -> RecordHeader {
        RecordHeader { tgid: 7, start_time: 9, timestamp: 11, kind, ..RecordHeader::new_zeroed() }
    }

    #[test]
    fn a_connect_tells_its_peer() {
        let mut record = DescriptorRecord::new_zeroed();
        record.header = header(kind::CONNECT);
        record.header.argument[0] = 3;
        record.header.result = -115;
        record.descriptor.object.mode = S_IFSOCK | 0o777;
        record.descriptor.socket.family = AF_INET6;
        record.descriptor.socket.remote_port = 443;
        record.descriptor.socket.remote_address =
            Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets();
        let (event, rest) = take(record.as_bytes()).unwrap();
        assert!(rest.is_empty());
        assert_eq!(event.process, ProcessId { tgid: 7, start_time: 9 });
        let Action::Descriptor { call, number, descriptor: Some(found), errno, .. } = event.action
        else {
            panic!("{event:?}");
        };
        assert_eq!((call, number, errno), (DescriptorCall::Connect, 3, 115));
        let socket = found.socket.unwrap();
        assert_eq!(socket.remote, Some("192.0.2.1:443".parse().unwrap()));
        assert!(socket.has_peer && socket.is_network());
    }

    #[test]
    fn an_exec_tells_path_and_arguments() {
        let mut record = ExecRecord::new_zeroed();
        record.header = header(kind::EXEC);
        let path = b"/usr/bin/env";
        let start = record.path.len() - path.len();
        record.path[start..].copy_from_slice(path);
        (record.path_start, record.path_length) = (500, 12);
        record.argv[..8].copy_from_slice(b"env\0\0a b");
        record.argv_length = 8;
        let (event, _) = take(record.as_bytes()).unwrap();
        let Action::Exec(exec) = event.action else { panic!("{event:?}") };
        assert_eq!(exec.path, path);
        assert_eq!(exec.arguments, [&b"env"[..], b"", b"a b"]);
        assert!(exec.unlinked);
        assert_eq!(exec.stdio, [None, None, None]);
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let mut record = ExecRecord::new_zeroed();
        record.header = header(kind::EXEC);
        record.path_start = 510;
        record.path_length = 10;
        assert_eq!(take(record.as_bytes()), Err(RecordError::Field("path_length")));
        let mut record = DescriptorRecord::new_zeroed();
        record.header = header(kind::DUP);
        record.header.result = -9;
        assert_eq!(take(record.as_bytes()), Err(RecordError::Field("result")));
    }

    #[test]
    fn unknown_kinds_and_cuts_are_refused() {
        assert_eq!(take(header(999).as_bytes()), Err(RecordError::Kind(999)));
        assert_eq!(take(header(kind::FCNTL).as_bytes()), Err(RecordError::Kind(kind::FCNTL)));
        let whole = header(kind::EXIT);
        let cut = take(&whole.as_bytes()[..63]);
        assert_eq!(cut, Err(RecordError::Truncated { needed: 64, found: 63 }));
        let mut foreign = header(kind::EXIT);
        foreign.abi = 2;
        assert_eq!(take(foreign.as_bytes()), Err(RecordError::Abi(2)));
    }

    #[test]
    fn a_terminal_is_told_by_its_device_number() {
        let mut raw = kernel_abi::Descriptor::new_zeroed();
        raw.object.mode = S_IFCHR | 0o620;
        raw.object.rdev = 136 << 20 | 4;
        assert!(descriptor(&raw).unwrap().is_terminal);
        raw.object.rdev = 1 << 20 | 3;
        assert!(!descriptor(&raw).unwrap().is_terminal);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            kind in 0_u16..20,
            bytes in proptest::collection::vec(any::<u8>(), 0..1500),
        ) {
            let mut bytes = bytes;
            if let Some(slot) = bytes.get_mut(60..62) {
                slot.copy_from_slice(&kind.to_ne_bytes());
            }
            let _ = take(&bytes);
        }
    }
}
