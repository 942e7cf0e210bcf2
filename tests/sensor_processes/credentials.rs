//! Changes of ids and capabilities.

use sentinel_ipc::kernel_abi::{Credentials, CredentialsRecord, kind};

use crate::{stage::Stage, truth::Truth};

const PROGRAM: &str = "sensor_processes_rights";

/// Checks every call that the program made; returns the records.
fn check_calls(stage: &mut Stage, truth: &Truth) -> Vec<Option<CredentialsRecord>> {
    let calls: usize = truth.number("calls");
    let told = stage.of(truth.who("self").tgid, kind::CREDENTIALS).len();
    stage.same(&format!("{}: records", truth.case()), told, calls);
    (0..calls).map(|number| check_call(stage, truth, &number.to_string())).collect()
}

fn check_call(stage: &mut Stage, truth: &Truth, key: &str) -> Option<CredentialsRecord> {
    let what = format!("{}, {key}, call {}", truth.case(), truth.text(&format!("{key}.call")));
    let record = stage.told(truth, key, kind::CREDENTIALS)?;
    stage.flags(&what, &record.header, 0);
    let record = record.credentials();
    let CredentialsRecord { header, before, after } = &record;
    // What a thread was before may be unknown, but never wrong.
    if before.user_namespace != 0 || truth.case() != "thread" {
        stage.credentials(&format!("{what}: before"), before, truth, &format!("{key}.before"));
    }
    stage.credentials(&format!("{what}: after"), after, truth, &format!("{key}.after"));
    // Whether the header's are those before or after the call, the contract does not say.
    let ids = |credentials: &Credentials| (credentials.uid[0], credentials.uid[1]);
    let told = (header.uid, header.euid);
    stage.check([ids(before), ids(after)].contains(&told), || {
        format!("{what}: header's uid, euid {told:?}, expected {:?}", ids(after))
    });
    Some(record)
}

/// The levels of the user namespace before and after call `number`.
fn levels(records: &[Option<CredentialsRecord>], number: usize) -> Option<(u32, u32)> {
    let record = records[number].as_ref()?;
    Some((record.before.user_namespace_level, record.after.user_namespace_level))
}

#[test]
fn calls_that_set_groups_are_told_with_before_and_after() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["groups"]);
        stage.catch_up();
        let records = check_calls(stage, &truth);
        stage.same("levels", levels(&records, 0), Some((0, 0)));
    });
}

#[test]
fn calls_that_set_users_are_told_and_so_are_those_that_fail() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["users"]);
        stage.catch_up();
        let records = check_calls(stage, &truth);
        let failed = records.iter().flatten().filter(|record| record.header.result == -1);
        stage.same("failed calls", failed.count(), 6);
    });
}

#[test]
fn calls_that_set_capabilities_are_told_with_before_and_after() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["capabilities"]);
        stage.catch_up();
        check_calls(stage, &truth);
    });
}

#[test]
fn calls_by_the_32_bit_entry_set_ids_too() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["int80"]);
        stage.catch_up();
        check_calls(stage, &truth);
    });
}

#[test]
fn calls_with_16_bit_ids_set_ids_too() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["int80_16"]);
        stage.catch_up();
        check_calls(stage, &truth);
    });
}

#[test]
fn a_thread_has_credentials_of_its_own() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["thread"]);
        stage.catch_up();
        assert_ne!(truth.who("0").tid, truth.who("2").tid);
        check_calls(stage, &truth);
    });
}

#[test]
fn root_in_a_user_namespace_is_told_as_the_user_it_is() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["namespace"]);
        stage.catch_up();
        let records = check_calls(stage, &truth);
        for key in ["unshare", "again"] {
            if let Some(record) = stage.told(&truth, key, kind::UNSHARE) {
                stage.flags(key, &record.header, 0);
            }
        }
        for (number, level) in [(1, 0), (2, 1), (5, 1), (6, 2)] {
            let what = format!("levels at call {number}");
            stage.same(&what, levels(&records, number), Some((level, level)));
        }
        assert_ne!(truth.text("1.after.namespace"), truth.text("2.before.namespace"));
    });
}
