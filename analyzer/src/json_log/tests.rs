use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use proptest::prelude::*;

use super::*;
use crate::analysis::Analysis;

#[test]
fn file_and_directory_are_made_and_closed_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/alerts.json");
    JsonLog::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o137, 0);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o027, 0);
}

fn alert(message: &str) -> Alert {
    Alert { message: message.to_owned(), ..Analysis::new(false).breaker_tripped(1) }
}

proptest! {
    /// Even of what nobody escaped: one line of printable text, which means what was given.
    #[test]
    fn a_line_is_printable_and_says_all(
        text in "(?s)[\u{0}-\u{ff}\u{202a}-\u{202e}\u{2028}\u{e0041}\"a-z]{0,100}|(?s).{0,100}",
    ) {
        let one = TEMPLATE.get_or_init(|| alert(""));
        let one = Alert { message: text.clone(), unit: Some(text.clone()), ..one.clone() };
        let mut line = Vec::new();
        serialize(&one, &mut line).unwrap();
        let line = String::from_utf8(line).unwrap();
        prop_assert!(!line.contains(|c: char| c.is_control() || is_invisible(c)), "{:?}", line);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&read["message"], &text);
        prop_assert_eq!(&read["unit"], &text);
    }
}

static TEMPLATE: std::sync::OnceLock<Alert> = std::sync::OnceLock::new();

#[test]
fn a_line_that_waits_for_the_disk_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.json");
    let mut log = JsonLog::open(&path).unwrap().synced(true);
    log.write(&alert("one")).unwrap();
    assert_eq!(lines(&path), 1);
}

fn lines(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| assert!(line.starts_with('{'), "{text}")).count()
}

#[test]
fn a_renamed_log_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rotated) = (directory.path().join("x.json"), directory.path().join("x.1"));
    let mut log = JsonLog::open_to_rotate(&path).unwrap();
    log.write(&alert("one")).unwrap();
    fs::rename(&path, &rotated).unwrap();
    log.write(&alert("still there")).unwrap();
    assert!(!path.exists());
    log.reopen().unwrap();
    log.write(&alert("two")).unwrap();
    log.reopen().unwrap();
    log.write(&alert("three")).unwrap();
    assert_eq!((lines(&rotated), lines(&path)), (2, 2));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o137, 0);
}

#[test]
fn a_log_that_ends_within_a_line_goes_on_with_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.json");
    fs::write(&path, "{}\n{\"timesta").unwrap();
    let mut log = JsonLog::open_to_rotate(&path).unwrap();
    assert!(log.is_torn());
    log.write(&alert("one")).unwrap();
    log.write(&alert("two")).unwrap();
    assert!(!log.is_torn());
    assert_eq!(lines(&path), 4);
    drop(log);
    assert!(!JsonLog::open(&path).unwrap().is_torn(), "it is whole now");
    let fresh = JsonLog::open(&directory.path().join("fresh")).unwrap();
    assert!(!fresh.is_torn() && fresh.failures() == 0);
}

#[test]
fn half_a_line_in_the_old_file_does_not_touch_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.json");
    let mut log = JsonLog::open_to_rotate(&path).unwrap();
    log.torn = true;
    log.reopen().unwrap();
    log.write(&alert("whole")).unwrap();
    assert_eq!(lines(&path), 1);
}

#[test]
fn a_log_that_cannot_be_opened_anew_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rotated) = (directory.path().join("x.json"), directory.path().join("x.1"));
    let mut log = JsonLog::open_to_rotate(&path).unwrap();
    fs::rename(&path, &rotated).unwrap();
    symlink("/dev/null", &path).unwrap();
    let error = log.reopen().unwrap_err();
    assert!(error.contains("x.json") && error.contains("symbolic link"), "{error}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(log.reopen().unwrap_err().contains("x.json"));
    log.write(&alert("one")).unwrap();
    assert_eq!(lines(&rotated), 1);
}

#[test]
fn a_directory_that_was_replaced_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs/x.json");
    let mut log = JsonLog::open_to_rotate(&path).unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    fs::create_dir(path.parent().unwrap()).unwrap();
    let error = log.reopen().unwrap_err();
    assert!(error.contains("was removed") && error.contains("restart"), "{error}");
    log.write(&alert("one")).unwrap();
}

#[test]
fn links_and_fifos_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "").unwrap();
    let link = directory.path().join("link");
    symlink(&target, &link).unwrap();
    assert!(JsonLog::open(&link).unwrap_err().contains("symbolic link"));
    let linked = directory.path().join("linked");
    symlink(directory.path(), &linked).unwrap();
    assert!(JsonLog::open(&linked.join("x")).unwrap_err().contains("symbolic link"));
    assert!(!directory.path().join("x").exists());
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(JsonLog::open(&fifo).is_err());
    assert!(JsonLog::open(directory.path()).is_err());
}
