//! What is recorded can be replayed by anybody, and gives the same alerts every time.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use sentinel_tests::{
    bed::Bed,
    peer::{self, Peer},
    sentinel::{PATIENCE, alerts, program, send, within},
};

/// Records a reverse shell and some honest work in the bed.
fn record(bed: &Bed) -> PathBuf {
    let capture = bed.path("attack.cap");
    let mut child = Command::new(program())
        .args(["record", "-o"])
        .arg(&capture)
        .arg(format!("--scope-cgroup={}", bed.cgroup().display()))
        .stdin(Stdio::null())
        .stdout(fs::File::create(bed.path("output")).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = |text: &str| fs::read_to_string(bed.path("output")).unwrap().contains(text);
    assert!(within(PATIENCE, || output("hooks attached")));
    let peer = Peer::listen("127.0.0.1");
    let mut shell = peer::reverse_shell(bed, &peer);
    peer.shell().exit();
    shell.wait().unwrap();
    let work = bed.command("sh").args(["-c", "ls / | sort | head -3 >/dev/null"]).status();
    assert!(work.unwrap().success());
    assert!(within(Duration::from_secs(5), || output("CRITICAL")), "it detects as run does");
    send(child.id(), Signal::SIGINT);
    assert!(child.wait().unwrap().success());
    capture
}

/// Replays as a user without any right.
fn replay(files: &[&Path], alerts: Option<&Path>) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
    command.arg(program()).arg("replay").args(files);
    command.args(alerts.map(|path| format!("--alerts={}", path.display())));
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory in which that user may write, and the capture there for it to read.
fn handed_over(bed: &Bed, capture: &Path) -> PathBuf {
    let directory = capture.parent().unwrap();
    for path in [directory, capture] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    bed.path("replayed")
}

#[test]
fn a_recorded_attack_is_found_again_and_every_time_alike() {
    let Some(bed) = Bed::new() else { return };
    let capture = record(&bed);
    let mode = fs::metadata(&capture).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may read it");
    let replayed = handed_over(&bed, &capture);
    let one = replayed.with_extension("1");
    let outputs: Vec<(String, String)> = ["1", "2", "3"]
        .map(|number| {
            let log = replayed.with_extension(number);
            let output = replay(&[&capture], Some(&log));
            assert!(output.status.success(), "{}", text(&output.stderr));
            // The name of the log is in the banner.
            let shown = text(&output.stdout).replace(log.to_str().unwrap(), "LOG");
            (fs::read_to_string(&log).unwrap(), shown)
        })
        .into();
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:#?}");
    let alerts = alerts(&one);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["pattern_name"], "reverse_shell");
    assert_eq!(alerts[0]["action"], "logged");
    assert!(outputs[0].1.contains("replay: detects in what was recorded"), "{}", outputs[0].1);
}

#[test]
fn what_comes_before_damage_is_used() {
    let Some(bed) = Bed::new() else { return };
    let capture = record(&bed);
    let replayed = handed_over(&bed, &capture);
    let whole = fs::read(&capture).unwrap();
    // The attack lies before, the end does not.
    let cut = bed.path("cut.cap");
    fs::write(&cut, &whole[..whole.len() - 10]).unwrap();
    let output = replay(&[&cut], Some(&replayed));
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    let at = format!("is cut off at byte {}", whole.len() - 10);
    assert!(errors.contains("cut.cap") && errors.contains(&at), "{errors}");
    assert_eq!(alerts(&replayed).len(), 1);
    assert!(text(&output.stdout).contains("Summary"));
    // One byte of the last third is another.
    let mut bytes = whole.clone();
    let place = whole.len() - 40;
    bytes[place] ^= 1;
    fs::write(&cut, bytes).unwrap();
    let output = replay(&[&cut], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is damaged at byte"), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_capture_is_told() {
    let Some(bed) = Bed::new() else { return };
    for (file, words) in [
        ("/usr/bin/true", "is no Sentinel capture"),
        ("/dev/null", "is empty"),
        ("/nonexistent", "cannot be opened"),
    ] {
        let output = replay(&[Path::new(file)], None);
        assert_eq!(output.status.code(), Some(1), "{file}");
        let errors = text(&output.stderr);
        assert!(errors.contains(file) && errors.contains(words), "{errors}");
    }
    let there = bed.path("there");
    fs::write(&there, "precious").unwrap();
    let output = Command::new(program()).args(["record", "-o"]).arg(&there).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("a capture replaces nothing"));
    assert_eq!(fs::read_to_string(&there).unwrap(), "precious");
}

/// Captures of real attacks and real work, made by `tests/captures/renew`.
#[test]
fn golden_captures_give_the_alerts_that_they_gave() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let captures: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|name| name == "cap")).collect();
    assert!(captures.len() >= 5, "{captures:?}");
    for capture in captures {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("alerts.json");
        let output = Command::new(program())
            .arg("replay")
            .arg(&capture)
            .arg(format!("--alerts={}", log.display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {}", capture.display(), text(&output.stderr));
        let given = fs::read_to_string(&log).unwrap_or_default();
        let golden = fs::read_to_string(capture.with_extension("json")).unwrap();
        assert_eq!(given, golden, "{}", capture.display());
    }
}
