//! Exec.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt, fs::symlink},
    path::Path,
};

use sentinel_ipc::kernel_abi::{ARGV_BYTES, ENVIRONMENT, ExecRecord, flag, kind, origin, trust};
use sentinel_tests::tap::{Record, spanned};

use crate::{
    stage::{Stage, bytes_of},
    truth::Truth,
};

pub const PROGRAM: &str = "sensor_processes_exec";
/// Bit of cap_net_raw.
const NET_RAW: u64 = 1 << 13;

/// The words as arguments.
fn words<'a>(words: &[&'a dyn AsRef<OsStr>]) -> Vec<&'a OsStr> {
    words.iter().map(|word| (*word).as_ref()).collect()
}

/// The execs of what `truth` tells, but not that of the shell before it.
fn execs(stage: &Stage, truth: &Truth) -> Vec<Record> {
    let records = stage.of(truth.who("self").tgid, kind::EXEC).into_iter();
    records.filter(|record| !record.exec().comm.starts_with(b"sh\0")).collect()
}

/// Checks the second exec, the one that the program did, against all that the new one tells.
pub fn check_exec(stage: &mut Stage, truth: &Truth, flags: u16) -> Option<ExecRecord> {
    let exec = check_exec_but_flags(stage, truth)?;
    stage.flags(truth.case(), &exec.header, flags);
    Some(exec)
}

/// The same with any flags.
pub fn check_exec_but_flags(stage: &mut Stage, truth: &Truth) -> Option<ExecRecord> {
    let told = execs(stage, truth);
    stage.same(&format!("{}: execs", truth.case()), told.len(), 2);
    let exec = told.get(1)?.exec();
    check(stage, truth, &exec);
    Some(exec)
}

fn check(stage: &mut Stage, truth: &Truth, exec: &ExecRecord) {
    let what = truth.case();
    let own = truth.who("self");
    stage.header(what, &exec.header, own);
    stage.no_call(what, &exec.header);
    stage.object(&format!("{what}: executable"), &exec.executable, truth.object("executable"));
    for (number, stream) in exec.stdio.iter().enumerate() {
        let key = format!("fd{number}");
        stage.object(&format!("{what}: {key}"), &stream.object, truth.object(&key));
    }
    stage.credentials(&format!("{what}: before"), &exec.before, truth, "before");
    stage.credentials(&format!("{what}: after"), &exec.after, truth, "after");
    let mut comm = truth.bytes("comm");
    comm.resize(exec.comm.len(), 0);
    stage.same_bytes(&format!("{what}: comm"), &exec.comm, &comm);
    check_path(stage, what, exec, &truth.string("path"));
    stage.same_bytes(
        &format!("{what}: given"),
        &exec.given[..usize::from(exec.given_length)],
        &truth.string("given"),
    );
    let argv = truth.bytes("argv");
    let kept = argv.len().min(ARGV_BYTES);
    stage.same_bytes(
        &format!("{what}: argv"),
        &exec.argv[..usize::from(exec.argv_length)],
        &argv[..kept],
    );
    let count = |bytes: &[u8]| u32::try_from(bytes.split(|byte| *byte == 0).count() - 1).unwrap();
    stage.same(&format!("{what}: argument count"), exec.argument_count, count(&argv));
    let environment = truth.bytes("environment");
    stage.same(&format!("{what}: variable count"), exec.variable_count, count(&environment));
    let unknown_trust = exec.trust
        & !(trust::PATH_OF_ROOT | trust::HOST_ROOT | trust::HOST_MOUNTS | trust::HOST_USERS);
    stage.same(&format!("{what}: unknown bits of trust"), unknown_trust, 0);
}

/// The kernel says of a deleted file that it is.
fn check_path(stage: &mut Stage, what: &str, exec: &ExecRecord, expected: &[u8]) {
    let path = spanned(&exec.path, &exec.span);
    let bare = expected.strip_suffix(b" (deleted)").unwrap_or(expected);
    // A memfd's name is that of a root.
    let bare = if bare.starts_with(b"/memfd:") { &bare[1..] } else { bare };
    let told = path.strip_suffix(b" (deleted)").unwrap_or(path);
    let told = if told.starts_with(b"/memfd:") { &told[1..] } else { told };
    stage.same_bytes(&format!("{what}: path"), told, bare);
    let known = [origin::KERNEL, origin::FILE_SYSTEM].contains(&exec.span.origin);
    let right = if bare.starts_with(b"/") { exec.span.origin == origin::KERNEL } else { known };
    stage.check(right, || format!("{what}: path's origin {}", exec.span.origin));
}

/// The variables of [`ENVIRONMENT`] among NUL-ended ones, sorted.
pub fn notable(environment: &[u8]) -> Vec<Vec<u8>> {
    let variables = environment.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    let mut found: Vec<Vec<u8>> = variables
        .filter(|variable| {
            let name = variable.split(|byte| *byte == b'=').next().unwrap();
            ENVIRONMENT.contains(&name)
        })
        .map(<[u8]>::to_vec)
        .collect();
    found.sort();
    found
}

#[test]
fn an_exec_is_told_with_all_that_the_new_program_finds() {
    Stage::with(|stage| {
        let program = stage.copy(PROGRAM, "program", "755");
        let plain = stage.play(PROGRAM, &words(&[&"run", &program, &"a name", &"who"]));
        let streams = stage.play(PROGRAM, &words(&[&"standard_streams", &program, &"x", &"who"]));
        stage.catch_up();
        let exec = check_exec(stage, &plain, 0).expect("an exec");
        stage.same("environment", exec.environment_length, 0);
        let own = u64::from(plain.who("self").tid);
        stage.same("arguments", exec.header.argument, [own, 0, 0]);
        stage.same(
            "level",
            (exec.before.user_namespace_level, exec.after.user_namespace_level),
            (0, 0),
        );
        let first = execs(stage, &plain)[0].exec();
        stage.header("first exec", &first.header, plain.who("self"));
        stage.credentials("first exec: before", &first.before, &plain, "before");
        stage.credentials("first exec: after", &first.after, &plain, "before");
        let exec = check_exec(stage, &streams, 0).expect("an exec");
        stage.same(
            "closed streams",
            (exec.stdio[0].object.mode, exec.stdio[2].object.mode),
            (0, 0),
        );
    });
}

#[test]
fn the_path_is_the_resolved_one_and_the_given_one_as_it_was() {
    Stage::with(|stage| {
        let program = stage.copy(PROGRAM, "program", "755");
        let (link, hard, below) = (stage.path("link"), stage.path("hard"), stage.path("below"));
        fs::create_dir(&below).unwrap();
        symlink(&program, &link).unwrap();
        fs::hard_link(&program, &hard).unwrap();
        let dots = Path::new("../below/.././/program");
        let cases = [
            (stage.play(PROGRAM, &words(&[&"run", &link, &"x", &"who"])), &*program, &*link),
            (stage.play(PROGRAM, &words(&[&"run", &hard, &"x", &"who"])), &*hard, &*hard),
            (stage.play(PROGRAM, &words(&[&"in", &below, &dots, &"x", &"who"])), &*program, dots),
        ];
        stage.catch_up();
        for (truth, path, given) in &cases {
            stage.same_bytes("the truth", &truth.string("path"), bytes_of(path));
            stage.same_bytes("the truth", &truth.string("given"), bytes_of(given));
            let exec = check_exec(stage, truth, 0).expect("an exec");
            stage.same("links", exec.executable.links, 2);
        }
    });
}

#[test]
fn a_program_without_a_name_is_told_as_such() {
    Stage::with(|stage| {
        let program = stage.copy(PROGRAM, "program", "755");
        let gone = stage.copy(PROGRAM, "gone", "755");
        let descriptor = stage.play(PROGRAM, &words(&[&"descriptor", &program, &"x", &"who"]));
        let memory = stage.play(PROGRAM, &words(&[&"memfd", &"a blob", &program, &"x", &"who"]));
        let deleted = stage.play(PROGRAM, &words(&[&"deleted", &gone, &"x", &"who"]));
        stage.catch_up();
        let exec = check_exec(stage, &descriptor, 0).expect("an exec");
        stage.same("links", exec.executable.links, 1);
        for (truth, name) in [(&memory, "memfd:a blob"), (&deleted, "/gone")] {
            let exec = check_exec(stage, truth, 0).expect("an exec");
            stage.same("links", exec.executable.links, 0);
            let path = String::from_utf8_lossy(spanned(&exec.path, &exec.span)).into_owned();
            stage.check(path.contains(name), || format!("{path} has no {name}"));
        }
    });
}

#[test]
fn a_script_is_told_with_its_path_and_its_interpreter() {
    Stage::with(|stage| {
        let program = stage.copy(PROGRAM, "program", "755");
        let inner = stage.script("inner", &format!("#!{} who\n", program.display()));
        let outer = stage.script("outer", &format!("#! {}  an option \n", inner.display()));
        let directory = stage.path("");
        let simple = stage.play(PROGRAM, &words(&[&"run", &inner, &"x", &"extra"]));
        let relative =
            stage.play(PROGRAM, &words(&[&"in", &directory, &"./inner", &"x", &"extra"]));
        let nested = stage.play(PROGRAM, &words(&[&"in", &directory, &"./outer", &"x", &"extra"]));
        let by_link = stage.path("by_link");
        symlink(&inner, &by_link).unwrap();
        let linked = stage.play(PROGRAM, &words(&[&"run", &by_link, &"x", &"extra"]));
        stage.catch_up();
        let joined = |words: &[&Path]| {
            let ended = words.iter().flat_map(|word| [bytes_of(word), b"\0"].concat());
            ended.collect::<Vec<u8>>()
        };
        let (who, option, extra) = (Path::new("who"), Path::new("an option"), Path::new("extra"));
        for (truth, given, argv) in [
            (&simple, &*inner, joined(&[&program, who, &inner, extra])),
            (&relative, "./inner".as_ref(), joined(&[&program, who, "./inner".as_ref(), extra])),
            (
                &nested,
                "./outer".as_ref(),
                joined(&[&program, who, &inner, option, "./outer".as_ref(), extra]),
            ),
            (&linked, &*by_link, joined(&[&program, who, &by_link, extra])),
        ] {
            stage.same_bytes("the truth", &truth.string("path"), bytes_of(&program));
            stage.same_bytes("the truth", &truth.string("given"), bytes_of(given));
            stage.same_bytes("the truth", &truth.bytes("argv"), &argv);
            check_exec(stage, truth, flag::SCRIPT);
        }
        check_outer_object(stage, &outer, &nested);
    });
}

/// What runs is the innermost interpreter, not the script.
fn check_outer_object(stage: &mut Stage, outer: &Path, nested: &Truth) {
    let script = fs::metadata(outer).unwrap().ino();
    let told = execs(stage, nested);
    let inode = told.last().map(|record| record.exec().executable.inode);
    stage.check(inode != Some(script), || "the script is told as the executable".into());
}

#[test]
fn arguments_are_told_as_they_are_and_counted() {
    Stage::with(|stage| {
        let program = stage.copy(PROGRAM, "program", "755");
        let strange = OsStr::from_bytes(b"\xff\xfe\x80 \xc3(\n\t\x1b[31m'\"\\");
        let long = OsString::from("x".repeat(300));
        let mut many = words(&[&"run", &program, &"name", &"who"]);
        many.extend(std::iter::repeat_n(OsStr::new("ab"), 5000));
        // 5 + 4 + 300 + 1 + 199 + 1 and two more bytes make 512.
        let exact = OsString::from("y".repeat(199));
        let cases = [
            (stage.play(PROGRAM, &words(&[&"run", &program])), 0),
            (stage.play(PROGRAM, &words(&[&"run", &program, &""])), 0),
            (stage.play(PROGRAM, &words(&[&"run", &program, &"x", &"", &"", &"y", &""])), 0),
            (stage.play(PROGRAM, &words(&[&"run", &program, &"x", &strange, &"a\nb\n"])), 0),
            (stage.play(PROGRAM, &words(&[&"run", &program, &"x", &long, &long])), flag::TRUNCATED),
            (stage.play(PROGRAM, &many), flag::TRUNCATED),
            (
                stage.play(
                    PROGRAM,
                    &words(&[&"run", &program, &"name", &"who", &long, &exact, &"z"]),
                ),
                0,
            ),
            (
                stage.play(
                    PROGRAM,
                    &words(&[&"run", &program, &"name", &"who", &long, &exact, &"zz"]),
                ),
                flag::TRUNCATED,
            ),
        ];
        stage.catch_up();
        assert_eq!(cases[0].0.bytes("argv"), b"\0", "the kernel gives a name to who has none");
        assert_eq!(cases[6].0.bytes("argv").len(), ARGV_BYTES);
        for (truth, flags) in &cases {
            check_exec(stage, truth, *flags);
        }
    });
}

#[test]
fn a_thread_that_execs_becomes_the_leader() {
    Stage::with(|stage| {
        let program = stage.copy(PROGRAM, "program", "755");
        let truth = stage.play(PROGRAM, &words(&[&"thread", &program, &"x", &"who"]));
        stage.catch_up();
        let exec = check_exec(stage, &truth, 0).expect("an exec");
        let caller: u64 = truth.number("caller");
        let own = truth.who("self");
        assert_ne!(caller, u64::from(own.tid));
        stage.same("caller", exec.header.argument[0], caller);
        let before = execs(stage, &truth)[0].header.start_time;
        stage.same("start before and after", exec.header.start_time, before);
        let exits = stage.of(own.tgid, kind::EXIT);
        stage.only("exits", &exits);
        let forks = stage.of(own.tgid, kind::FORK);
        stage.same("forks", forks.len(), 0);
    });
}

#[test]
fn what_an_exec_adds_to_rights_is_told() {
    Stage::with(|stage| {
        let program = stage.copy(PROGRAM, "program", "755");
        let setuid = stage.copy(PROGRAM, "setuid", "4755");
        let setgid = stage.copy(PROGRAM, "setgid", "2755");
        let capable = stage.copy(PROGRAM, "capable", "755");
        let mut play =
            |how: &str, path: &Path| stage.play(PROGRAM, &words(&[&how, &path, &"x", &"who"]));
        let to_root = play("as_user", &setuid);
        let to_group = play("as_user", &setgid);
        let refused = play("as_user_without_new_privileges", &setuid);
        let raised = play("with_capability", &capable);
        let plain = play("as_user", &program);
        stage.catch_up();
        let exec = check_exec(stage, &to_root, 0).expect("an exec");
        let ids = |exec: &ExecRecord| (exec.before.uid, exec.after.uid);
        stage.same("setuid", ids(&exec), ([1000; 4], [1000, 0, 0, 0]));
        stage.same("setuid: header", (exec.header.uid, exec.header.euid), (1000, 0));
        let effective = (exec.before.effective, exec.after.effective);
        stage.same("setuid: effective", effective, (0, exec.after.bounding));
        stage.same(
            "setuid: mode, owner",
            (exec.executable.mode, exec.executable.owner),
            (0o104_755, 0),
        );
        let exec = check_exec(stage, &to_group, 0).expect("an exec");
        stage.same("setgid", exec.after.gid, [1000, 0, 0, 0]);
        let exec = check_exec(stage, &refused, 0).expect("an exec");
        stage.same("no new privileges", ids(&exec), ([1000; 4], [1000; 4]));
        let exec = check_exec(stage, &raised, 0).expect("an exec");
        let effective = (exec.before.effective, exec.after.effective);
        stage.same("file capabilities", effective, (0, NET_RAW));
        let exec = check_exec(stage, &plain, 0).expect("an exec");
        stage.same("a plain file", (exec.after.effective, exec.after.uid), (0, [1000; 4]));
    });
}

#[test]
fn an_exec_that_fails_is_not_told() {
    Stage::with(|stage| {
        let directory = stage.path("");
        let truth = stage.play(PROGRAM, &words(&[&"fail", &directory]));
        stage.catch_up();
        assert_eq!(truth.text("error"), "8", "ENOEXEC");
        let told = execs(stage, &truth);
        let exec = stage.only("execs", &told).expect("an exec").exec();
        stage.same_bytes("path", spanned(&exec.path, &exec.span), &truth.string("path"));
    });
}
