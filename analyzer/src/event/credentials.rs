//! Who a process may act as.

use sentinel_ipc::kernel_abi::{self, CredentialsRecord};

use super::Action;

/// User or group ids, in the initial user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Real.
    pub real: u32,
    /// Effective.
    pub effective: u32,
    /// Saved.
    pub saved: u32,
    /// For access to files.
    pub file_system: u32,
}

/// Who a process may act as. Capabilities are one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// User ids.
    pub user: Ids,
    /// Group ids, without the supplementary ones.
    pub group: Ids,
    /// Capabilities that exec hands on, if the file agrees.
    pub inheritable: u64,
    /// Capabilities that it may make effective.
    pub permitted: u64,
    /// Capabilities that it has.
    pub effective: u64,
    /// Capabilities that it can ever get from a file.
    pub bounding: u64,
    /// Capabilities that exec hands on to any program.
    pub ambient: u64,
    /// Inode number of the user namespace in which the capabilities hold.
    pub user_namespace: u32,
    /// How deep that namespace is nested; 0 is the initial one.
    pub user_namespace_level: u32,
    /// `SECBIT_*`.
    pub securebits: u32,
}

/// A call that sets ids or capabilities; [`super::Event::call`] says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsChange {
    /// The call's arguments.
    pub argument: [u64; 3],
    /// What the thread could act as before.
    pub before: Option<Credentials>,
    /// What it can act as now.
    pub after: Option<Credentials>,
}

pub(super) fn action(record: &CredentialsRecord) -> Action {
    Action::Credentials(Box::new(CredentialsChange {
        argument: record.header.argument,
        before: credentials(&record.before),
        after: credentials(&record.after),
    }))
}

/// `None` if the kernel did not know them.
pub(super) fn credentials(raw: &kernel_abi::Credentials) -> Option<Credentials> {
    let ids = |[real, effective, saved, file_system]: [u32; 4]| Ids {
        real,
        effective,
        saved,
        file_system,
    };
    (raw.user_namespace != 0).then(|| Credentials {
        user: ids(raw.uid),
        group: ids(raw.gid),
        inheritable: raw.inheritable,
        permitted: raw.permitted,
        effective: raw.effective,
        bounding: raw.bounding,
        ambient: raw.ambient,
        user_namespace: raw.user_namespace,
        user_namespace_level: raw.user_namespace_level,
        securebits: raw.securebits,
    })
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_abi::{RecordHeader, kind};
    use zerocopy::FromZeros;

    use super::*;
    use crate::event::fixture;

    #[test]
    fn a_change_tells_before_and_after() {
        let mut record = CredentialsRecord::new_zeroed();
        record.header = RecordHeader { argument: [1, 2, 3], ..fixture::header(kind::CREDENTIALS) };
        record.after.user_namespace = 0xf000_0000;
        record.after.user_namespace_level = 1;
        (record.after.uid, record.after.gid) = ([1, 2, 3, 4], [5, 6, 7, 8]);
        (record.after.inheritable, record.after.permitted) = (1, 2);
        (record.after.effective, record.after.bounding, record.after.ambient) = (3, 4, 5);
        record.after.securebits = 6;
        let told = fixture::action(&record).unwrap();
        let Action::Credentials(change) = told else { panic!("{told:?}") };
        assert_eq!((change.argument, change.before), ([1, 2, 3], None));
        let after = Credentials {
            user: Ids { real: 1, effective: 2, saved: 3, file_system: 4 },
            group: Ids { real: 5, effective: 6, saved: 7, file_system: 8 },
            inheritable: 1,
            permitted: 2,
            effective: 3,
            bounding: 4,
            ambient: 5,
            user_namespace: 0xf000_0000,
            user_namespace_level: 1,
            securebits: 6,
        };
        assert_eq!(change.after, Some(after));
    }
}
