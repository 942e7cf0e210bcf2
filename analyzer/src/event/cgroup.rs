//! Cgroups, and who is in them.

use sentinel_ipc::kernel_abi::{CgroupRecord, TargetRecord, flag};

use super::{Action, Path, RecordError, path::spanned, process::named};

pub(super) fn made(record: &CgroupRecord) -> Result<Action, RecordError> {
    Ok(Action::CgroupMade { id: record.id, path: path(record)? })
}

pub(super) fn found(record: &CgroupRecord) -> Result<Action, RecordError> {
    Ok(Action::CgroupFound { id: record.id, path: path(record)? })
}

pub(super) fn removed(record: &CgroupRecord) -> Result<Action, RecordError> {
    Ok(Action::CgroupRemoved { id: record.id, path: path(record)? })
}

pub(super) fn moved(record: &TargetRecord) -> Action {
    let [cgroup_id, ..] = record.header.argument;
    Action::CgroupMoved { process: named(record), cgroup_id }
}

fn path(record: &CgroupRecord) -> Result<Option<Path>, RecordError> {
    spanned(&record.span, &record.path, record.header.flags & flag::TRUNCATED != 0)
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_abi::{kind, origin};
    use zerocopy::FromZeros;

    use super::*;
    use crate::event::{Origin, ProcessId, fixture};

    #[test]
    fn a_cgroup_tells_id_and_path() {
        let mut record = CgroupRecord::new_zeroed();
        record.header = fixture::header(kind::CGROUP_MADE);
        record.id = 55;
        record.path[10..16].copy_from_slice(b"/a/b/c");
        (record.span.start, record.span.length, record.span.origin) = (10, 6, origin::KERNEL);
        let bytes = b"/a/b/c".to_vec();
        let path = Some(Path { bytes, origin: Origin::Kernel, truncated: false });
        let made = Action::CgroupMade { id: 55, path: path.clone() };
        assert_eq!(fixture::action(&record), Ok(made));
        record.header.kind = kind::CGROUP_REMOVED;
        assert_eq!(fixture::action(&record), Ok(Action::CgroupRemoved { id: 55, path }));
        record.span.start = 507;
        assert_eq!(fixture::action(&record), Err(RecordError::Field("span")));
    }

    #[test]
    fn a_move_tells_who_and_where_to() {
        let mut record = TargetRecord::new_zeroed();
        record.header = fixture::header(kind::CGROUP_MOVED);
        record.header.argument[0] = 55;
        let moved = |process| Ok(Action::CgroupMoved { process, cgroup_id: 55 });
        assert_eq!(fixture::action(&record), moved(None));
        (record.target_tgid, record.target_start_time) = (20, 30);
        let process = ProcessId { tgid: 20, start_time: 30 };
        assert_eq!(fixture::action(&record), moved(Some(process)));
    }
}
