//! How far a running program's path can be believed: as far as when it was started.

use std::{fs, process::Command};

use sentinel_ipc::{
    frame::KindSet,
    kernel_abi::{
        kind,
        trust::{HOST_MOUNTS, HOST_ROOT, HOST_USERS, PATH_OF_ROOT},
    },
};
use sentinel_tests::{bed::Bed, programs::compiled, tap::Tap};

use crate::stage::{Actor, Snapshot, sensor_of};

const ALL: u16 = PATH_OF_ROOT | HOST_ROOT | HOST_MOUNTS | HOST_USERS;

#[test]
fn a_running_program_is_trusted_as_by_its_exec() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start_with(&bed, KindSet::of(&[kind::EXEC, kind::EXIT]));
    let place = tempfile::tempdir_in("/opt").unwrap();
    let program = place.path().join("snapshot");
    let copied = Command::new("cp").arg(compiled("snapshot")).arg(&program).status();
    assert!(copied.unwrap().success());
    let start = |before: &[&str]| {
        let mut command = bed.command("env");
        command.args(before).arg(&program);
        Actor::start_as(&bed, command, &["wait"])
    };
    let mapped = ["unshare", "--user", "--map-root-user"];
    let actors = [
        (start(&[]), ALL),
        (start(&["unshare", "--mount"]), ALL),
        (start(&mapped), ALL & !HOST_USERS),
        (start(&[&mapped[..], &["--mount"]].concat()), PATH_OF_ROOT | HOST_ROOT),
    ];
    // As an upgrade does.
    fs::remove_file(&program).unwrap();
    tap.catch_up();
    let snapshot = Snapshot::take(&mut sensor_of(&bed));
    for (actor, expected) in &actors {
        let exec = tap.of(actor.id(), kind::EXEC).last().unwrap().exec();
        assert_eq!((exec.trust, snapshot.process(actor.id()).trust), (*expected, *expected));
    }
}
