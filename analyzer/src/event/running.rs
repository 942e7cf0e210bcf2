//! What a snapshot found: processes that began before, and what they hold.

use sentinel_ipc::kernel_abi::{HeldRecord, ProcessRecord, flag};

use super::{
    Action, Exec, ProcessId, RecordError, Trust,
    argument::low,
    credentials::credentials,
    object::{descriptor, object},
    path::{spanned, until_nul},
};
use crate::escape::escape;

/// A process that was running when a snapshot came to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Its program, as far as that can still be told: no arguments, no environment, and no script's own
    /// path. Its root directory and user namespace, and so its [`Trust`], are what they are now: a process
    /// that has changed them itself is trusted less than by its exec.
    pub program: Exec,
    /// Its parent, unless that is outside of the loader's pid namespace.
    pub parent: Option<ProcessId>,
}

pub(super) fn process(record: &ProcessRecord) -> Result<Action, RecordError> {
    let truncated = record.header.flags & flag::TRUNCATED != 0;
    let parent = ProcessId { tgid: record.parent_tgid, start_time: record.parent_start_time };
    let program = Exec {
        object: object(&record.executable),
        path: spanned(&record.span, &record.path, truncated)?,
        truncated,
        comm: escape(until_nul(&record.comm)).into(),
        stdio: record.stdio.map(|found| descriptor(&found, false)),
        calling_thread: record.header.tgid,
        after: credentials(&record.credentials),
        trust: Trust::of(record.trust),
        ..Exec::default()
    };
    let parent = (parent.tgid != 0 && parent.start_time != 0).then_some(parent);
    Ok(Action::Running(Box::new(Running { program, parent })))
}

pub(super) fn held(record: &HeldRecord) -> Action {
    let [number, ..] = record.header.argument;
    Action::Held {
        number: low(number),
        descriptor: descriptor(&record.descriptor, false),
        peer: (record.peer != 0).then_some(record.peer),
        close_on_exec: record.header.flags & flag::CLOSE_ON_EXEC != 0,
    }
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_abi::{kind, origin, trust};
    use zerocopy::FromZeros;

    use super::*;
    use crate::event::fixture;

    #[test]
    fn a_running_process_tells_what_can_still_be_known() {
        let mut record = ProcessRecord::new_zeroed();
        record.header = fixture::header(kind::PROCESS);
        record.path[503..].copy_from_slice(b"/bin/bash");
        (record.span.start, record.span.length, record.span.origin) = (503, 9, origin::KERNEL);
        (record.parent_tgid, record.parent_start_time) = (3, 4);
        (record.stdio[0].object.mode, record.stdio[0].object.inode) = (0o140_777, 5);
        let Ok(Action::Running(running)) = fixture::action(&record) else { panic!() };
        assert_eq!(running.program.path_bytes(), b"/bin/bash");
        assert!(running.program.stdio[0].is_some() && running.program.stdio[1].is_none());
        assert_eq!(running.parent, Some(ProcessId { tgid: 3, start_time: 4 }));
        assert_eq!(running.program.trust, Trust::default());
        (record.parent_start_time, record.trust) = (0, trust::HOST_ROOT);
        let Ok(Action::Running(running)) = fixture::action(&record) else { panic!() };
        assert_eq!(running.parent, None);
        assert!(running.program.trust.has(trust::HOST_ROOT));
        record.span.start = 504;
        assert_eq!(fixture::action(&record), Err(RecordError::Field("span")));
    }

    #[test]
    fn what_is_held_tells_its_peer() {
        let mut record = HeldRecord::new_zeroed();
        record.header = fixture::header(kind::HELD);
        record.header.argument[0] = 7;
        record.header.flags = flag::CLOSE_ON_EXEC;
        assert!(matches!(fixture::action(&record), Ok(Action::Held { descriptor: None, .. })));
        (record.descriptor.object.mode, record.descriptor.socket.family) = (0o140_777, 1);
        record.peer = 9;
        let Ok(Action::Held { number, peer, close_on_exec, .. }) = fixture::action(&record) else {
            panic!()
        };
        assert_eq!((number, peer, close_on_exec), (7, Some(9), true));
    }
}
