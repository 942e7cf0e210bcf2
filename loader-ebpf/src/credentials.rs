//! Who a task may act as.

use sentinel_ipc::{
    kernel_abi::{Credentials, CredentialsRecord},
    kernel_fields::Field,
};

use crate::{
    emit::{Facts, header, scratch, send},
    facts,
    kernel::Task,
    pid::current_ids,
    scope::count,
};

/// Credentials that are not known.
pub const UNKNOWN: Credentials = Credentials {
    uid: [0; 4],
    gid: [0; 4],
    inheritable: 0,
    permitted: 0,
    effective: 0,
    bounding: 0,
    ambient: 0,
    user_namespace: 0,
    user_namespace_level: 0,
    securebits: 0,
    reserved: 0,
};

/// The task's own, which it acts as.
#[inline(always)]
pub fn of(task: Task) -> Credentials {
    let cred = task.follow(Field::TaskCred);
    let namespace = cred.follow(Field::CredUserNamespace);
    Credentials {
        uid: [
            cred.read(Field::CredUid),
            cred.read(Field::CredEuid),
            cred.read(Field::CredSuid),
            cred.read(Field::CredFsuid),
        ],
        gid: [
            cred.read(Field::CredGid),
            cred.read(Field::CredEgid),
            cred.read(Field::CredSgid),
            cred.read(Field::CredFsgid),
        ],
        inheritable: cred.read(Field::CredInheritable),
        permitted: cred.read(Field::CredPermitted),
        effective: cred.read(Field::CredEffective),
        bounding: cred.read(Field::CredBounding),
        ambient: cred.read(Field::CredAmbient),
        user_namespace: namespace.read(Field::UserNamespaceInode),
        user_namespace_level: namespace.read(Field::UserNamespaceLevel),
        securebits: cred.read(Field::CredSecurebits),
        reserved: 0,
    }
}

/// Reports a call that may have changed the current thread's. What was before is known of a
/// process's first thread only, and only since its last fork, exec or change.
#[inline(always)]
pub fn report(facts: Facts) {
    let (tgid, tid) = current_ids();
    let Some(record) = scratch::<CredentialsRecord>() else { return };
    count(|counters| counters.passed += 1);
    // SAFETY: the scratch memory has room for exactly this type; all of it is written.
    unsafe {
        (&raw mut (*record).header).write(header(facts));
        (&raw mut (*record).before).write(UNKNOWN);
        (&raw mut (*record).after).write(of(Task::current()));
        if tid == tgid {
            facts::credentials_before(tgid, &raw mut (*record).before);
            facts::note_credentials(tgid, &raw const (*record).after);
        }
    }
    send(record, true);
}

/// Notes those of the current thread, after a call that is told by another record.
#[inline(always)]
pub fn note() {
    let (tgid, tid) = current_ids();
    if tid == tgid {
        let credentials = of(Task::current());
        // SAFETY: a live value.
        unsafe { facts::note_credentials(tgid, &raw const credentials) };
    }
}
