//! The script that an interpreter runs is the file that it opened, not the path that exec was given.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sentinel_ipc::kernel_abi::{
    flag, kind,
    trust::{HOST_MOUNTS, HOST_ROOT, HOST_USERS, PATH_OF_ROOT},
};
use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    tap::{Tap, spanned},
};
use tempfile::TempDir;

const ALL: u16 = PATH_OF_ROOT | HOST_ROOT | HOST_MOUNTS | HOST_USERS;

/// A bed, a loader that tells of it, and a directory to which nobody but root may write.
struct Stage {
    tap: Tap,
    directory: TempDir,
    bed: Bed,
}

/// A script that was told: its path, its inode, and what speaks for the path.
type Told = (PathBuf, u64, u16);

impl Stage {
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        let tap = Tap::start(&bed);
        let directory = tempfile::tempdir_in("/opt").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self { tap, directory, bed })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The scripts that are told of the process `pid`.
    fn scripts(&mut self, pid: u32) -> Vec<Told> {
        self.tap.catch_up();
        let records = self.tap.of(pid, kind::SCRIPT);
        let told = records.iter().map(|record| {
            let file = record.file();
            let path = String::from_utf8(spanned(&file.path, &file.span).to_vec()).unwrap();
            (PathBuf::from(path), file.object.inode, file.span.reserved)
        });
        told.collect()
    }

    /// Runs a command to its end.
    fn run(&mut self, words: &[&str]) -> Vec<Told> {
        let mut command = self.bed.command(words[0]);
        let mut child = command.args(&words[1..]).stdout(Stdio::null()).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        self.scripts(child.id())
    }
}

/// Made by another process: one that is forked from this meanwhile would keep it open for writing.
fn make(path: &Path, text: &str) -> u64 {
    let code = "printf '%s\\n' \"$1\" >\"$0\" && chmod 755 \"$0\"";
    let status = Command::new("sh").arg("-c").arg(code).arg(path).arg(text).status().unwrap();
    assert!(status.success());
    fs::metadata(path).unwrap().ino()
}

#[test]
fn a_script_is_told_with_what_speaks_for_its_path() {
    let Some(mut stage) = Stage::new() else { return };
    let (installed, copy) = (stage.path("tool"), fs::canonicalize(stage.bed.path("")).unwrap());
    let copy = copy.join("tool");
    let inode = make(&installed, "#!/bin/sh\n:");
    let others = make(&copy, "#!/bin/sh\n:");
    let word = installed.to_str().unwrap();
    assert_eq!(stage.run(&[word]), [(installed.clone(), inode, ALL)]);
    let told = stage.run(&[copy.to_str().unwrap()]);
    assert_eq!(told, [(copy, others, ALL & !PATH_OF_ROOT)]);
    // Not by its own name, but as the argument of its interpreter, or through env(1).
    assert_eq!(stage.run(&["sh", word]), [(installed.clone(), inode, ALL)]);
    let through = stage.path("through");
    let inode = make(&through, "#!/usr/bin/env sh\n:");
    assert_eq!(stage.run(&[through.to_str().unwrap()]), [(through, inode, ALL)]);
}

#[test]
fn a_script_is_told_with_the_flags_of_its_descriptor() {
    let Some(mut stage) = Stage::new() else { return };
    let script = stage.path("script");
    make(&script, "1;");
    // Perl opens scripts with O_CLOEXEC, and cat what it is given without.
    for (program, is_marked) in [("perl", true), ("cat", false)] {
        let mut command = stage.bed.command(program);
        let mut child = command.arg(&script).stdout(Stdio::null()).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        stage.tap.catch_up();
        let records = stage.tap.of(child.id(), kind::SCRIPT);
        let [record] = &records[..] else { panic!("{program}: {} records", records.len()) };
        let flags = record.file().header.flags;
        assert_eq!(flags & flag::CLOSE_ON_EXEC != 0, is_marked, "{program}");
    }
}

#[test]
fn what_is_no_script_is_not_told() {
    let Some(mut stage) = Stage::new() else { return };
    let tool = stage.path("tool");
    make(&tool, "#!/bin/sh\ncat /etc/hostname >/dev/null");
    assert_eq!(stage.run(&["sh", "-c", "cat </etc/hostname"]), []);
    // Behind an option it may be anything; and a name that is not a whole path proves nothing.
    assert_eq!(stage.run(&["sh", "-e", tool.to_str().unwrap()]), []);
    assert_eq!(stage.run(&["cat", "/etc/hostname", tool.to_str().unwrap()]).len(), 1);
}

#[test]
fn a_script_that_is_replaced_after_exec_is_the_one_that_was_opened() {
    let Some(mut stage) = Stage::new() else { return };
    let (script, other) = (stage.path("script"), stage.bed.path("other"));
    let first = make(&script, &format!("#!{}", compiled("late_interpreter").display()));
    let mut command = stage.bed.command(&script);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // Another file, and in a place that anybody could have made.
    let second = make(&other, "echo replaced");
    fs::remove_file(&script).unwrap();
    std::os::unix::fs::symlink(stage.bed.path("script"), &script).unwrap();
    fs::rename(&other, stage.bed.path("script")).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
    let told = stage.scripts(child.id());
    assert_ne!(first, second);
    let opened = fs::canonicalize(stage.bed.path("script")).unwrap();
    assert_eq!(told, [(opened, second, ALL & !PATH_OF_ROOT)]);
}
