//! The first record of some bytes: which kind, which type, and what all records have.

use std::fmt;

use sentinel_ipc::kernel_abi::{
    CgroupRecord, CredentialsRecord, DescriptorRecord, ExecRecord, FileRecord, ForkRecord,
    HeldRecord, NO_CALL, NameRecord, PathRecord, ProcessRecord, RecordHeader, SocketRecord,
    TargetRecord, TrafficRecord, abi, flag, kind,
};
use zerocopy::FromBytes;

use super::{
    Abi, Access, Action, DescriptorCall, Event, FileCall, PathCall, ProcessId, SystemCall,
    argument::low, cgroup, credentials, descriptor, exec, file, naming, process, running, traffic,
};

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
            Self::Kind(kind) => write!(to, "unknown record kind {kind:#x}"),
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
    let (header, after_header) = prefix::<RecordHeader>(bytes)?;
    let abi = match header.abi {
        abi::NATIVE => Abi::Native,
        abi::COMPAT => Abi::Compat,
        abi::X32 => Abi::X32,
        other => return Err(RecordError::Abi(other)),
    };
    let (action, rest) = match plain(&header) {
        Some(action) => (action, after_header),
        None => longer(&header, bytes)?,
    };
    let has = |bit| header.flags & bit != 0;
    let event = Event {
        timestamp: header.timestamp,
        process: ProcessId { tgid: header.tgid, start_time: header.start_time },
        tid: header.tid,
        uid: header.uid,
        euid: header.euid,
        cgroup_id: header.cgroup_id,
        call: (header.call != NO_CALL).then_some(SystemCall { abi, number: header.call }),
        result: header.result,
        io_uring: has(flag::IO_URING),
        tainted: has(flag::TAINTED),
        racy: has(flag::RACY),
        private_descriptors: has(flag::PRIVATE_FILES),
        shares_memory: has(flag::SHARED_MEMORY),
        access: (has(flag::READS) || has(flag::WRITES))
            .then(|| Access { reads: has(flag::READS), writes: has(flag::WRITES) }),
        action,
    };
    Ok((event, rest))
}

/// Kinds that are told by the header alone.
fn plain(header: &RecordHeader) -> Option<Action> {
    Some(match header.kind {
        kind::EXIT => Action::Exit,
        kind::CANARY => Action::Canary,
        kind::SET_DESCRIPTOR_FLAGS => descriptor::set_flags(header),
        kind::CLOSE => descriptor::close(header),
        kind::CLOSE_RANGE => descriptor::close_range(header),
        kind::UNSHARE => process::unshare(header),
        kind::BPF => process::bpf(header),
        kind::LOAD_MODULE => process::load_module(header),
        kind::USERFAULTFD => process::userfaultfd(header),
        kind::PIDFD_KILL => process::pidfd_kill(header),
        _ => return None,
    })
}

/// Kinds with a record type of their own.
fn longer<'a>(header: &RecordHeader, bytes: &'a [u8]) -> Result<(Action, &'a [u8]), RecordError> {
    let argument = header.argument;
    let [first, second, _] = argument;
    let on_descriptor =
        |call| as_type(bytes, |record: &DescriptorRecord| descriptor::action(call, record));
    let on_file = |call| as_type(bytes, |record: &FileRecord| file::action(call, record));
    let on_paths = |call| as_type(bytes, |record: &PathRecord| naming::action(call, record));
    let on_target = |decode: fn(&TargetRecord) -> Action| {
        as_type(bytes, |record: &TargetRecord| Ok(decode(record)))
    };
    let on_traffic = |decode: fn(&TrafficRecord) -> Action| {
        as_type(bytes, |record: &TrafficRecord| Ok(decode(record)))
    };
    match header.kind {
        kind::FORK => as_type(bytes, |record: &ForkRecord| Ok(process::fork(record))),
        kind::EXEC => as_type(bytes, |record: &ExecRecord| exec::action(record)),
        kind::CGROUP_MADE => as_type(bytes, |record: &CgroupRecord| cgroup::made(record)),
        kind::CGROUP_REMOVED => as_type(bytes, |record: &CgroupRecord| cgroup::removed(record)),
        kind::CGROUP_MOVED => on_target(cgroup::moved),
        kind::CGROUP_FOUND => as_type(bytes, |record: &CgroupRecord| cgroup::found(record)),
        kind::PROCESS => as_type(bytes, |record: &ProcessRecord| running::process(record)),
        kind::HELD => as_type(bytes, |record: &HeldRecord| Ok(running::held(record))),
        kind::HELD_FILE => on_file(FileCall::Held),
        kind::TCP_CONNECTING => {
            as_type(bytes, |record: &SocketRecord| Ok(process::tcp_connecting(record)))
        }
        kind::SOCKET => on_descriptor(DescriptorCall::Socket),
        kind::CONNECT => on_descriptor(DescriptorCall::Connect),
        kind::ACCEPT => on_descriptor(DescriptorCall::Accept),
        kind::BIND => on_descriptor(DescriptorCall::Bind),
        kind::LISTEN => on_descriptor(DescriptorCall::Listen),
        kind::DUP => on_descriptor(DescriptorCall::Dup),
        kind::PIPE => on_descriptor(DescriptorCall::Pipe),
        kind::SOCKETPAIR => on_descriptor(DescriptorCall::Socketpair),
        kind::RECEIVED => on_descriptor(DescriptorCall::Received),
        kind::SETNS => as_type(bytes, |record: &DescriptorRecord| Ok(descriptor::setns(record))),
        kind::OPEN => on_file(FileCall::Open),
        kind::MEMFD => on_file(FileCall::memfd(argument)),
        kind::MAP => on_file(FileCall::map(argument)),
        kind::FCHMOD => on_file(FileCall::fchmod(argument)),
        kind::FTRUNCATE => on_file(FileCall::ftruncate(argument)),
        kind::SCRIPT => as_type(bytes, file::script),
        kind::LOAD_MODULE_FILE => on_file(FileCall::load_module(argument)),
        kind::SENT => on_traffic(traffic::sent),
        kind::TRAFFIC => on_traffic(traffic::totals),
        kind::RENAME => on_paths(PathCall::Rename { flags: low(first) }),
        kind::LINK => on_paths(PathCall::Link { flags: low(first) }),
        kind::SYMLINK => on_paths(PathCall::Symlink),
        kind::UNLINK => on_paths(PathCall::Unlink { flags: low(first) }),
        kind::CHMOD => on_paths(PathCall::Chmod { mode: low(first) }),
        kind::TRUNCATE => on_paths(PathCall::Truncate { length: first }),
        kind::MOUNT => on_paths(PathCall::Mount { flags: first }),
        kind::MOVE_MOUNT => on_paths(PathCall::MoveMount { flags: low(first) }),
        kind::UNMOUNT => on_paths(PathCall::Unmount { flags: low(first) }),
        kind::MKDIR => on_paths(PathCall::Mkdir { mode: low(first) }),
        kind::MKNOD => on_paths(PathCall::Mknod { mode: low(first), device: low(second) }),
        kind::CHROOT => on_paths(PathCall::Chroot),
        kind::CREDENTIALS => {
            as_type(bytes, |record: &CredentialsRecord| Ok(credentials::action(record)))
        }
        kind::PTRACE => on_target(process::ptrace),
        kind::PROCESS_MEMORY => on_target(process::memory),
        kind::KILL => on_target(process::kill),
        kind::SET_NAME => as_type(bytes, |record: &NameRecord| Ok(process::set_name(record))),
        other => Err(RecordError::Kind(other)),
    }
}

fn as_type<T: FromBytes>(
    bytes: &[u8],
    decode: impl FnOnce(&T) -> Result<Action, RecordError>,
) -> Result<(Action, &[u8]), RecordError> {
    let (record, rest) = prefix::<T>(bytes)?;
    Ok((decode(&record)?, rest))
}

fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), RecordError> {
    T::read_from_prefix(bytes)
        .map_err(|_| RecordError::Truncated { needed: size_of::<T>(), found: bytes.len() })
}

#[cfg(test)]
mod tests;
