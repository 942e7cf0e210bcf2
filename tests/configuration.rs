//! Configuration files are checked by the programs that read them, and a wrong one starts nothing.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use sentinel_tests::sentinel::program;

fn check(directory: &Path) -> (Option<i32>, String) {
    let argument = format!("--directory={}", directory.display());
    let output = Command::new(program()).args(["config", "check", &argument]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_shipped_files_are_sound() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/config");
    let (status, report) = check(&shipped);
    for file in ["analyzer.toml", "loader.toml"] {
        assert!(report.contains(&format!("{file}: ok\n")), "{report}");
    }
    assert_eq!(status, Some(0), "{report}");
}

#[test]
fn each_file_is_checked_by_its_own_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (status, report) = check(directory.path());
    assert_eq!(status, Some(0), "defaults hold: {report}");
    for name in ["analyzer.toml", "loader.toml", "enforcer.toml"] {
        assert!(report.contains(&format!("{}: missing", path(name))), "{report}");
    }
    fs::write(path("analyzer.toml"), "# fine\ngrimoire-enforce = 1\n").unwrap();
    fs::write(path("loader.toml"), "frob = 1\n").unwrap();
    fs::write(path("enforcer.toml"), "frob = 1\n").unwrap();
    let (status, report) = check(directory.path());
    assert_eq!(status, Some(1));
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines.len(), 3, "{report}");
    assert!(lines[0].starts_with(&format!("{}:2: grimoire-enforce", path("analyzer.toml"))));
    assert!(lines[1].starts_with(&format!("{}:1: ", path("loader.toml"))), "{report}");
    assert!(lines[1].contains("frob"), "{report}");
    assert!(lines[2].starts_with(&path("enforcer.toml")), "{report}");
    let (status, _) = check(&directory.path().join("nothing"));
    assert_eq!(status, Some(1));
}

fn analyzer(arguments: &[&str]) -> Output {
    Command::new(program().with_file_name("sentinel-analyzer")).args(arguments).output().unwrap()
}

#[test]
fn an_analyzer_does_not_start_with_a_wrong_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("analyzer.toml");
    let argument = format!("--config={}", file.display());
    let told = |output: Output| {
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = told(analyzer(&[&argument]));
    assert!(missing.contains("analyzer.toml: No such file"), "{missing}");
    fs::write(&file, "\nsyslog = \"tcp:loghost\"\n").unwrap();
    let wrong = told(analyzer(&[&argument]));
    assert!(
        wrong.contains("analyzer.toml:2: syslog: ") && wrong.contains("a port is missing"),
        "{wrong}"
    );
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for arguments in [
        &["run", "--enable-grimoire=false", "--enable-correlation=false"][..],
        &["run", "--enable-json-log", "--json-log-path=/tmp/x", "--grimoire-log=/tmp/x"],
        &["run", "--syslog=unix:/dev/log"],
    ] {
        let output = Command::new(program()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
