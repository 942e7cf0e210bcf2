use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::{alert::AlertStep, analysis::Analysis};

#[test]
fn what_was_missed_is_said_only_if_something_was() {
    assert_eq!(missed_line(&Counters { dropped: [5, 0], ..Counters::default() }), None);
    let missed = missed_line(&Counters { untracked: 2, ..Counters::default() }).unwrap();
    assert!(missed.contains("0 events") && missed.contains("2 descriptors"), "{missed}");
}

#[test]
fn numbers_are_short_and_right() {
    assert_eq!(short(999), "999");
    assert_eq!(short(1_250), "1.2k");
    assert_eq!(short(3_499_999), "3.4M");
}

#[test]
fn distances_keep_their_column() {
    for ns in [0, 999_000, 9_999_000, 10_000_000, 9_999_000_000, 10_000_000_000] {
        assert_eq!(before(ns).chars().count(), 10, "{ns}");
    }
}

#[test]
fn time_of_day_is_utc() {
    assert_eq!(clock_time(1_700_000_000_123_456_789), "22:13:20.123Z");
}

#[test]
fn a_line_that_is_too_long_is_broken_below_its_beginning() {
    let mut console = console(Some(40));
    console.entry(Style::new(), "sensor", "24 hooks attached: fork, exec, exit, sys_exit");
    assert_eq!(console.text, "  sensor    24 hooks attached: fork,\n    exec, exit, sys_exit\n");
    console.width = Some(64);
    console.text.clear();
    console.entry(Style::new(), "sensor", &"word ".repeat(14));
    let lines: Vec<&str> = console.text.lines().collect();
    assert!(lines[1].starts_with("            word"), "{lines:?}");
    console.width = None;
    console.text.clear();
    console.entry(Style::new(), "sensor", &"x".repeat(500));
    assert_eq!(console.text.lines().count(), 1, "who reads a pipe wants lines as they are");
}

#[test]
fn the_status_line_is_taken_away_whole_after_the_terminal_has_become_narrower() {
    let mut console = console(Some(40));
    console.status_columns = 70;
    console.line("x");
    assert_eq!(console.text, "\r\x1b[1A\x1b[Jx\n");
    console.text.clear();
    console.line("y");
    assert_eq!(console.text, "y\n", "it is gone already");
}

fn console(width: Option<usize>) -> Console {
    Console { terminal: width.is_some(), colour: width.is_some(), width, ..Console::new() }
}

/// An alert every string of which is somebody else's.
fn alert_of(text: &str) -> Alert {
    let own = || text.to_owned();
    let step = AlertStep { timestamp_boot: 0, pid: 1, event: "exec", detail: own() };
    Alert {
        pid: 1,
        comm: Some(own()),
        exe: Some(own()),
        cmdline: Some(own()),
        cgroup: Some(own()),
        unit: Some(own()),
        container_id: Some(own()),
        message: own(),
        pattern_name: own().into(),
        mitre: own().into(),
        ancestors: vec![AlertAncestor { pid: 1, exe: Some(own()), exe_trusted: true }],
        steps: vec![step],
        ..TEMPLATE.get_or_init(|| Analysis::new(false).breaker_tripped(0)).clone()
    }
}

static TEMPLATE: OnceLock<Alert> = OnceLock::new();

proptest! {
    /// Even what nobody escaped: no escape sequence but those of colours, no line longer than the terminal.
    #[test]
    fn nothing_in_an_alert_steers_the_terminal(
        text in "(?s)[\u{0}-\u{ff}\u{202a}-\u{202e}\u{2028}\u{e0041}a-z 漢]{0,300}|(?s).{0,300}",
        width in proptest::option::of(20_usize..200),
    ) {
        let mut console = console(width);
        console.alert_block(&alert_of(&text));
        let plain = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[7m", "\u{1b}[31m"]
            .iter()
            .fold(console.text, |text, colour| text.replace(colour, ""));
        let is_bad = |c: char| c != '\n' && (c.is_control() || crate::escape::is_invisible(c));
        prop_assert!(!plain.contains(is_bad), "{:?}", plain);
        for line in plain.lines().skip(1) {
            prop_assert!(layout::columns(line) <= width.unwrap_or(usize::MAX), "{:?}", line);
        }
    }
}
