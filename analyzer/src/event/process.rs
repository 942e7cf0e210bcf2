//! What processes do to themselves and to each other.

use sentinel_ipc::kernel_abi::{
    ForkRecord, NameRecord, RecordHeader, SocketRecord, TargetRecord, flag,
};

use super::{
    Action, ProcessId,
    argument::{low, number, signed},
    object::ends,
    path::until_nul,
};
use crate::escape::escape;

/// How a caller said whom it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressee {
    /// A process or thread; 0 and negative ones mean groups to kill(2). With
    /// [`Target::foreign_pids`] numbered otherwise than in events.
    Pid(i32),
    /// The process behind this descriptor.
    Pidfd(Option<u32>),
}

/// The process that a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// As the caller said it.
    pub addressee: Addressee,
    /// Who that is.
    pub process: Option<ProcessId>,
    /// Whether the caller has another pid namespace than the loader.
    pub foreign_pids: bool,
    /// Whether it is one of Sentinel's own processes, of which nothing else is known here.
    pub is_sentinel: bool,
}

pub(super) fn fork(record: &ForkRecord) -> Action {
    Action::Fork {
        child: ProcessId { tgid: record.child_tgid, start_time: record.child_start_time },
        child_cgroup_id: record.child_cgroup_id,
        parent: ProcessId { tgid: record.parent_tgid, start_time: record.parent_start_time },
        shares_descriptors: record.header.flags & flag::SHARED_FILES != 0,
    }
}

pub(super) fn ptrace(record: &TargetRecord) -> Action {
    let [request, pid, address] = record.header.argument;
    Action::Ptrace { request, target: target(record, pid), address }
}

pub(super) fn memory(record: &TargetRecord) -> Action {
    let [write, pid, _] = record.header.argument;
    Action::ProcessMemory { write: write != 0, target: target(record, pid) }
}

pub(super) fn kill(record: &TargetRecord) -> Action {
    let [signal, pid, _] = record.header.argument;
    Action::Kill { signal: signed(signal), target: target(record, pid) }
}

pub(super) fn pidfd_kill(header: &RecordHeader) -> Action {
    let [signal, pidfd, _] = header.argument;
    let addressee = Addressee::Pidfd(number(pidfd));
    let foreign_pids = header.flags & flag::FOREIGN_PIDS != 0;
    let target = Target { addressee, process: None, foreign_pids, is_sentinel: false };
    Action::Kill { signal: signed(signal), target }
}

fn target(record: &TargetRecord, pid: u64) -> Target {
    Target {
        addressee: Addressee::Pid(signed(pid)),
        process: named(record),
        foreign_pids: record.header.flags & flag::FOREIGN_PIDS != 0,
        is_sentinel: record.target_is_own != 0,
    }
}

/// The process that the record names; `None` if the kernel did not know it.
pub(super) fn named(record: &TargetRecord) -> Option<ProcessId> {
    let (tgid, start_time) = (record.target_tgid, record.target_start_time);
    (tgid != 0 && start_time != 0).then_some(ProcessId { tgid, start_time })
}

pub(super) fn set_name(record: &NameRecord) -> Action {
    Action::SetName(escape(until_nul(&record.comm)))
}

pub(super) fn unshare(header: &RecordHeader) -> Action {
    let [flags, ..] = header.argument;
    Action::Unshare { flags }
}

pub(super) fn bpf(header: &RecordHeader) -> Action {
    let [command, attributes, _] = header.argument;
    Action::Bpf { command: low(command), attributes }
}

pub(super) fn load_module(header: &RecordHeader) -> Action {
    let [length, ..] = header.argument;
    Action::LoadModule { length }
}

pub(super) fn userfaultfd(header: &RecordHeader) -> Action {
    let [flags, ..] = header.argument;
    Action::Userfaultfd { flags: low(flags) }
}

pub(super) fn tcp_connecting(record: &SocketRecord) -> Action {
    let [old_state, new_state, _] = record.header.argument;
    Action::TcpConnecting {
        ends: ends(&record.socket, record.header.flags & flag::AS_GIVEN != 0),
        old_state: low(old_state),
        new_state: low(new_state),
    }
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_abi::kind;
    use zerocopy::FromZeros;

    use super::*;
    use crate::event::fixture;

    fn header(kind: u16, argument: [u64; 3]) -> RecordHeader {
        RecordHeader { argument, ..fixture::header(kind) }
    }

    /// A record about process 20.
    fn about(kind: u16, argument: [u64; 3]) -> TargetRecord {
        let mut record = TargetRecord::new_zeroed();
        record.header = header(kind, argument);
        (record.target_tgid, record.target_start_time) = (20, 30);
        record
    }

    fn pid(pid: i32, process: Option<ProcessId>) -> Target {
        let (foreign_pids, is_sentinel) = (false, false);
        Target { addressee: Addressee::Pid(pid), process, foreign_pids, is_sentinel }
    }

    const TWENTY: Option<ProcessId> = Some(ProcessId { tgid: 20, start_time: 30 });

    #[test]
    fn a_fork_tells_child_and_parent() {
        let mut record = ForkRecord::new_zeroed();
        record.header = fixture::header(kind::FORK);
        record.header.flags = flag::SHARED_FILES;
        (record.child_tgid, record.child_start_time) = (20, 30);
        (record.parent_tgid, record.parent_start_time) = (1, 2);
        record.child_cgroup_id = 40;
        let fork = Action::Fork {
            child: ProcessId { tgid: 20, start_time: 30 },
            child_cgroup_id: 40,
            parent: ProcessId { tgid: 1, start_time: 2 },
            shares_descriptors: true,
        };
        assert_eq!(fixture::action(&record), Ok(fork));
    }

    #[test]
    fn calls_about_another_process_tell_whom() {
        let ptrace = Action::Ptrace { request: 0x4206, target: pid(5, TWENTY), address: u64::MAX };
        let told = fixture::action(&about(kind::PTRACE, [0x4206, 5, u64::MAX]));
        assert_eq!(told, Ok(ptrace));
        let memory = Action::ProcessMemory { write: true, target: pid(5, TWENTY) };
        assert_eq!(fixture::action(&about(kind::PROCESS_MEMORY, [1, 5, 0])), Ok(memory));
        let group = Action::Kill { signal: 9, target: pid(-20, TWENTY) };
        let minus_20 = u64::from((-20_i32).cast_unsigned());
        assert_eq!(fixture::action(&about(kind::KILL, [9, minus_20, 0])), Ok(group));
    }

    #[test]
    fn a_target_that_is_not_known_is_none() {
        let mut record = about(kind::KILL, [9, 5, 0]);
        record.target_start_time = 0;
        record.header.flags = flag::FOREIGN_PIDS;
        let target = Target { foreign_pids: true, ..pid(5, None) };
        assert_eq!(fixture::action(&record), Ok(Action::Kill { signal: 9, target }));
        record = about(kind::KILL, [9, 5, 0]);
        record.target_tgid = 0;
        let kill = Action::Kill { signal: 9, target: pid(5, None) };
        assert_eq!(fixture::action(&record), Ok(kill));
    }

    #[test]
    fn what_the_header_alone_tells() {
        let told = |kind, argument| fixture::action(&header(kind, argument)).unwrap();
        let addressee = Addressee::Pidfd(Some(3));
        let target = Target { addressee, ..pid(0, None) };
        assert_eq!(told(kind::PIDFD_KILL, [15, 3, 0]), Action::Kill { signal: 15, target });
        assert_eq!(told(kind::UNSHARE, [0x400, 0, 0]), Action::Unshare { flags: 0x400 });
        let bpf = Action::Bpf { command: 5, attributes: 29 };
        assert_eq!(told(kind::BPF, [5, 29, 0]), bpf);
        assert_eq!(told(kind::LOAD_MODULE, [99, 0, 0]), Action::LoadModule { length: 99 });
        assert_eq!(told(kind::USERFAULTFD, [1, 0, 0]), Action::Userfaultfd { flags: 1 });
        assert_eq!(told(kind::EXIT, [0; 3]), Action::Exit);
    }

    #[test]
    fn a_name_is_escaped_and_ends_at_its_nul() {
        let mut record = NameRecord::new_zeroed();
        record.header = fixture::header(kind::SET_NAME);
        record.comm = *b"[kworker]\x1b\0abcde";
        assert_eq!(fixture::action(&record), Ok(Action::SetName("[kworker]\\u{1b}".into())));
    }

    #[test]
    fn a_connecting_socket_tells_its_ends() {
        let mut record = SocketRecord::new_zeroed();
        record.header = header(kind::TCP_CONNECTING, [7, 2, 0]);
        (record.socket.family, record.socket.remote_port) = (2, 443);
        record.socket.remote_address[..4].copy_from_slice(&[192, 0, 2, 1]);
        let told = fixture::action(&record).unwrap();
        let Action::TcpConnecting { ends, old_state, new_state } = told else {
            panic!("{told:?}");
        };
        assert_eq!((old_state, new_state), (7, 2));
        assert_eq!(ends.remote, Some("192.0.2.1:443".parse().unwrap()));
    }
}
