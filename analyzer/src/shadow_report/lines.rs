//! Lines of a log, one after the other: as long as a line is, and as many as there are, memory is bounded.

use std::{
    borrow::Cow,
    io::{self, BufRead},
};

use serde::Deserialize;

use crate::{escape::escape, status::Alerts, status::Period};

/// Longest line that is read; Sentinel's own are far shorter.
const MAX_LINE: usize = 1 << 20;
/// Of a line that is wrong so much is shown, characters.
const MAX_SHOWN: usize = 120;

/// What the report needs to know of a line.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) timestamp: u64,
    pub(super) engine: String,
    pub(super) pattern_name: String,
    pub(super) severity: Degree,
    #[serde(default)]
    pub(super) pid: u32,
    #[serde(default)]
    pub(super) exe: Option<String>,
    #[serde(default)]
    pub(super) exe_trusted: bool,
    #[serde(default)]
    pub(super) cmdline: Option<String>,
    #[serde(default)]
    pub(super) script: Option<String>,
    #[serde(default)]
    pub(super) ancestors: Vec<Above>,
    pub(super) action: String,
    pub(super) message: String,
    #[serde(default)]
    pub(super) count: Option<u64>,
    #[serde(default)]
    pub(super) pids: Vec<u32>,
    #[serde(default)]
    pub(super) withheld: Option<Held>,
    #[serde(default)]
    pub(super) counters: Option<Period>,
}

/// A severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Degree {
    Debug,
    Info,
    Warning,
    High,
    Critical,
}

/// An ancestor.
#[derive(Debug, Deserialize)]
pub(super) struct Above {
    pub(super) exe: Option<String>,
    #[serde(default)]
    pub(super) exe_trusted: bool,
}

/// Alerts that were told as a count.
#[derive(Debug, Deserialize)]
pub(super) struct Held {
    pub(super) pattern_name: String,
    #[serde(flatten)]
    pub(super) alerts: Alerts,
}

/// Reads a log; gives each line, or a sentence on what is wrong with it, with its number.
///
/// # Errors
/// When it cannot be read further.
pub(super) fn each(
    mut from: impl BufRead,
    mut take: impl FnMut(u64, Result<Line, String>),
) -> io::Result<()> {
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let length = read_line(&mut from, &mut text)?;
        if length == 0 {
            break;
        }
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        if length > MAX_LINE {
            let why = format!("it is longer than {MAX_LINE} bytes: {}", shown(line));
            take(number, Err(why));
        } else if !line.is_empty() {
            take(number, parse(line));
        }
    }
    Ok(())
}

/// Reads a line, and keeps no more of it than may be; returns its whole length, 0 at the end.
fn read_line(from: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<usize> {
    let mut length = 0_usize;
    loop {
        let some = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            some => some?,
        };
        if some.is_empty() {
            return Ok(length);
        }
        let end = some.iter().position(|&byte| byte == b'\n').map(|place| place + 1);
        let taken = end.unwrap_or(some.len());
        let room = (MAX_LINE + 1).saturating_sub(text.len());
        text.extend(some.iter().take(taken.min(room)));
        length = length.saturating_add(taken);
        from.consume(taken);
        if end.is_some() {
            return Ok(length);
        }
    }
}

fn parse(line: &[u8]) -> Result<Line, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{why}: {}", shown(line));
    let read: Line = serde_json::from_slice(line).map_err(|error| {
        // The place is within the line; its number is told beside.
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default().to_owned();
        wrong(&format_args!(
            "no alert of Sentinel: {} (column {})",
            escape(why.as_bytes()),
            error.column()
        ))
    })?;
    let name = read.withheld.as_ref().map_or(&read.pattern_name, |held| &held.pattern_name);
    for name in [name, &read.pattern_name] {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || name.len() > 128 || !name.bytes().all(is_name) {
            return Err(wrong(&"its pattern_name is none"));
        }
    }
    Ok(read)
}

/// The beginning of a line, harmless to a terminal.
fn shown(line: &[u8]) -> Cow<'static, str> {
    let start = line.get(..MAX_SHOWN).unwrap_or(line);
    let more = if start.len() < line.len() { "…" } else { "" };
    format!("`{}{more}`", escape(start)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"timestamp":1,"engine":"patterns","pattern_name":"x","severity":"high","action":"logged","message":"m"}"#;

    fn read(text: &[u8]) -> Vec<(u64, Result<Line, String>)> {
        let mut all = Vec::new();
        // A small buffer, so that lines are put together.
        let from = io::BufReader::with_capacity(7, text);
        each(from, |number, line| all.push((number, line))).unwrap();
        all
    }

    #[test]
    fn a_bad_line_is_told_with_its_number_and_the_rest_is_read() {
        let text = format!("{GOOD}\n{{\"x\":\u{1b}}}\n\n{GOOD}\n[1]\n{GOOD}");
        let all = read(text.as_bytes());
        let numbers: Vec<u64> = all.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 4, 5, 6]);
        let sound: Vec<bool> = all.iter().map(|(_, line)| line.is_ok()).collect();
        assert_eq!(sound, [true, false, true, false, true]);
        let why = all[1].1.as_ref().unwrap_err();
        assert!(why.contains("\\u{1b}") && why.contains("column"), "{why}");
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for name in ["", "a b", "a\\u001b", "é"] {
            let text = GOOD.replace("\"x\"", &format!("\"{name}\""));
            assert!(read(text.as_bytes())[0].1.is_err(), "{name}");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_one_may() {
        let long = [b"x".repeat(3 * MAX_LINE), b"\n".to_vec(), GOOD.into()].concat();
        let all = read(&long);
        assert!(all[0].1.as_ref().unwrap_err().contains("longer than"));
        assert!(all[1].1.is_ok());
        let mut text = Vec::new();
        read_line(&mut &long[..], &mut text).unwrap();
        assert_eq!(text.len(), MAX_LINE + 1);
    }
}
