//! What processes do to others and to the system.

use std::{os::unix::ffi::OsStrExt, path::Path, process::Command};

use sentinel_ipc::kernel_abi::{CgroupRecord, NameRecord, flag, kind, origin};
use sentinel_tests::tap::spanned;

use crate::{
    stage::{Stage, bytes_of, run},
    truth::Truth,
};

const PROGRAM: &str = "sensor_processes_others";
const O_ACCMODE: u32 = 3;

/// Checks the calls of one kind about another process.
fn check_targets(stage: &mut Stage, truth: &Truth, kind: u16, keys: &[&str], flags: u16) {
    for key in keys {
        if let Some(record) = stage.told_of(truth, key, kind) {
            stage.flags(&format!("{}, {key}", truth.case()), &record.header, flags);
        }
    }
}

/// Checks the calls of one kind that a header alone tells.
fn check_plain(stage: &mut Stage, truth: &Truth, kind: u16, keys: &[&str]) {
    for key in keys {
        if let Some(record) = stage.told(truth, key, kind) {
            stage.flags(&format!("{}, {key}", truth.case()), &record.header, 0);
        }
    }
}

#[test]
fn tracing_is_told_with_whom_it_is_about() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["trace"]);
        let by_child = stage.play(PROGRAM, &["trace_me"]);
        stage.catch_up();
        let keys = ["attach", "poke", "bad_poke", "seize", "missing"];
        check_targets(stage, &truth, kind::PTRACE, &keys, 0);
        stage.told(&by_child, "me", kind::PTRACE);
    });
}

#[test]
fn access_to_memory_is_told_with_whose_it_is() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["memory"]);
        stage.catch_up();
        check_targets(stage, &truth, kind::PROCESS_MEMORY, &["write", "read", "missing"], 0);
    });
}

#[test]
fn signals_are_told_with_whom_they_are_for() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["signals"]);
        let by_pidfd = stage.play(PROGRAM, &["pidfd"]);
        stage.catch_up();
        let keys = [
            "kill", "probe", "tkill", "thread", "tgkill", "queue", "tgqueue", "group", "missing",
            "invalid", "self", "int80", "end",
        ];
        check_targets(stage, &truth, kind::KILL, &keys, 0);
        check_plain(stage, &by_pidfd, kind::PIDFD_KILL, &["signal", "closed"]);
    });
}

#[test]
fn pids_of_another_namespace_are_never_taken_for_ones_own() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["foreign"]);
        stage.catch_up();
        check_targets(stage, &truth, kind::KILL, &["kill", "missing"], flag::FOREIGN_PIDS);
        check_targets(stage, &truth, kind::PTRACE, &["attach"], flag::FOREIGN_PIDS);
        check_targets(stage, &truth, kind::PROCESS_MEMORY, &["read"], flag::FOREIGN_PIDS);
    });
}

#[test]
fn new_namespaces_and_moves_to_others_are_told() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["namespaces"]);
        stage.catch_up();
        check_plain(stage, &truth, kind::UNSHARE, &["files", "uts", "both"]);
        for key in ["back", "any", "pidfd"] {
            if let Some(record) = stage.told(&truth, key, kind::SETNS) {
                let mut object = record.descriptor().descriptor.object;
                if key == "pidfd" {
                    // stat(2) hides the type of a pidfd.
                    object.mode &= 0o7777;
                }
                stage.object(&format!("setns, {key}"), &object, truth.object(key));
            }
        }
    });
}

#[test]
fn new_names_of_threads_are_told() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["names"]);
        stage.catch_up();
        let own = truth.who("short");
        let told = stage.of(own.tgid, kind::SET_NAME);
        stage.same("names", told.len(), 3);
        let expected =
            [("short", "kworker/0:1"), ("long", "a name of more "), ("thread", "a thread")];
        for (record, (key, name)) in told.iter().zip(expected) {
            stage.header(key, &record.header, truth.who(key));
            let call = (record.header.call, record.header.result, record.header.abi);
            stage.same(key, call, (truth.number(&format!("{key}.call")), 0, 0));
            let mut comm = name.as_bytes().to_vec();
            comm.resize(16, 0);
            stage.same_bytes(key, &record.as_type::<NameRecord>().comm, &comm);
        }
    });
}

#[test]
fn bpf_modules_and_faults_are_told_even_if_they_fail() {
    Stage::with(|stage| {
        let path = stage.path("module.ko");
        let bpf = stage.play(PROGRAM, &["bpf"]);
        let modules = stage.play(PROGRAM, &["modules".as_ref(), path.as_os_str()]);
        let faults = stage.play(PROGRAM, &["faults"]);
        stage.catch_up();
        check_plain(stage, &bpf, kind::BPF, &["map", "unknown", "refused"]);
        check_plain(stage, &faults, kind::USERFAULTFD, &["faults", "kernel"]);
        check_plain(stage, &modules, kind::LOAD_MODULE, &["image"]);
        check_modules(stage, &modules, bytes_of(&path));
    });
}

fn check_modules(stage: &mut Stage, truth: &Truth, path: &[u8]) {
    if let Some(record) = stage.told(truth, "file", kind::LOAD_MODULE_FILE) {
        let record = record.file();
        stage.object("module", &record.object, truth.object("file"));
        stage.same_bytes("module's path", spanned(&record.path, &record.span), path);
        stage.same("module's path's origin", record.span.origin, origin::KERNEL);
        stage.same("module's access mode", record.open_flags & O_ACCMODE, 0);
    }
    if let Some(record) = stage.told(truth, "memfd", kind::LOAD_MODULE_FILE) {
        let record = record.file();
        stage.object("module in memory", &record.object, truth.object("memfd"));
        stage.same("module in memory: links", record.object.links, 0);
        let path = spanned(&record.path, &record.span).to_vec();
        let named = path.windows(14).any(|window| window == b"memfd:a module");
        stage.check(named, || format!("module in memory: b\"{}\"", path.escape_ascii()));
    }
    if let Some(record) = stage.told(truth, "closed", kind::LOAD_MODULE_FILE) {
        let record = record.file();
        stage.same("no module", (record.object.mode, record.span.length), (0, 0));
    }
}

#[test]
fn cgroups_in_scope_are_told_whoever_makes_and_removes_them() {
    Stage::with(|stage| {
        // By processes that are not watched, as systemd is not in the scope of its units.
        let inside = stage.sub_cgroup("from-outside");
        // The scope is all beds.
        let scope = inside.parent().and_then(Path::parent).unwrap();
        let outside = scope.with_file_name(format!("sentinel-{}-beside", std::process::id()));
        for path in [&inside, &outside] {
            run(Command::new("mkdir").arg(path));
            run(Command::new("rmdir").arg(path));
        }
        stage.catch_up();
        let above = inside.parent().unwrap().file_name().unwrap().as_bytes();
        let end = [b"/", above, b"/from-outside"].concat();
        for kind in [kind::CGROUP_MADE, kind::CGROUP_REMOVED] {
            let paths: Vec<Vec<u8>> = stage
                .all(kind)
                .iter()
                .map(|record| {
                    let record: CgroupRecord = record.as_type();
                    spanned(&record.path, &record.span).to_vec()
                })
                .collect();
            let told = paths.iter().filter(|path| path.ends_with(&end)).count();
            stage.same("told of the one inside", told, 1);
            stage.check(!paths.iter().any(|path| path.ends_with(b"-beside")), || {
                "the one beside the scope is told as well".to_owned()
            });
        }
    });
}

#[test]
fn cgroups_are_told_when_they_come_and_go_and_who_moves_whom() {
    Stage::with(|stage| {
        let made = stage.sub_cgroup("made");
        let truth = stage.play(PROGRAM, &["cgroups".as_ref(), made.as_os_str()]);
        stage.catch_up();
        let (mover, id) = (truth.who("mover"), truth.number::<u64>("id"));
        let above = made.parent().unwrap().file_name().unwrap().as_bytes();
        let end = [b"/", above, b"/made"].concat();
        for (what, kind) in [("made", kind::CGROUP_MADE), ("removed", kind::CGROUP_REMOVED)] {
            // One alone: the cgroup of another hierarchy is not told.
            let told = stage.of(mover.tgid, kind);
            let Some(record) = stage.only(what, &told) else { continue };
            stage.header(what, &record.header, mover);
            stage.no_call(what, &record.header);
            let record: CgroupRecord = record.as_type();
            stage.same(&format!("{what}: id"), record.id, id);
            stage.same(&format!("{what}: origin"), record.span.origin, origin::KERNEL);
            let path = spanned(&record.path, &record.span).to_vec();
            stage.check(path.ends_with(&end) && path.starts_with(b"/"), || {
                format!("{what}: b\"{}\", expected …{}", path.escape_ascii(), end.escape_ascii())
            });
        }
        let moves = stage.of(mover.tgid, kind::CGROUP_MOVED);
        let there = moves.iter().filter(|record| record.header.argument[0] == id);
        let told: Vec<_> = there.cloned().collect();
        if let Some(record) = stage.only("moved", &told) {
            stage.header("moved", &record.header, mover);
            stage.no_call("moved", &record.header);
            stage.target("moved", &record.target(), truth.process("victim"));
        }
    });
}
