//! One pattern: text with `{}` where the secret stands. `*` is a run within a word, `**` any run; upper and lower
//! case are the same. Text behind `{}` has to follow the secret.

use std::{ops::Range, str::FromStr};

use serde::Deserialize;

use super::words::{Behind, INNER_QUOTE, Quoted};

/// Parts before the secret at the most: one bit each in a number.
const MAX_PARTS: usize = 120;
/// Where the secret stands.
const SECRET: &str = "{}";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// In lower case.
    Byte(u8),
    Run,
    RunAcross,
}

/// A pattern, ready to find secrets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    /// How what it finds begins, in lower case: nearly every text is without it.
    beginning: Box<str>,
    before: Box<[Part]>,
    /// In lower case.
    after: Box<[u8]>,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((before, after)) = text.split_once(SECRET) else {
            return Err(format!("{SECRET} is missing, which stands for the secret"));
        };
        if after.contains(SECRET) {
            return Err(format!("{SECRET} stands for one secret, and is there twice"));
        }
        if after.contains('*') {
            return Err(format!("* has no meaning behind {SECRET}"));
        }
        if before.starts_with('*') || before.trim().is_empty() {
            return Err(format!("it must begin with text: before {SECRET} there has to be some"));
        }
        let mut parts: Vec<Part> = Vec::new();
        for byte in before.bytes() {
            match (byte, parts.last()) {
                (b'*', Some(Part::RunAcross)) => {}
                (b'*', Some(Part::Run)) => {
                    parts.pop();
                    parts.push(Part::RunAcross);
                }
                (b'*', _) => parts.push(Part::Run),
                _ => parts.push(Part::Byte(byte.to_ascii_lowercase())),
            }
        }
        if parts.len() > MAX_PARTS {
            return Err(format!("more than {MAX_PARTS} bytes stand before {SECRET}"));
        }
        // Up to the first run, or the first space, behind which a quote may stand.
        let beginning = before.split('*').next().unwrap_or_default();
        let beginning = beginning.split_inclusive(' ').next().unwrap_or_default();
        Ok(Self {
            beginning: beginning.to_ascii_lowercase().into(),
            before: parts.into(),
            after: after.to_ascii_lowercase().into_bytes().into(),
        })
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|why| format!("\"{text}\": {why}"))
    }
}

impl Pattern {
    /// The first byte of what it finds, in lower case.
    pub(super) fn first_byte(&self) -> u8 {
        self.beginning.bytes().next().unwrap_or_default()
    }

    /// Whether what it finds can be at the start of a text.
    pub(super) fn begins(&self, text: &[u8]) -> bool {
        let start = text.get(..self.beginning.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(self.beginning.as_bytes()))
    }

    /// Whether there can be anything to find in a text.
    pub(super) fn may_match(&self, text: &[u8]) -> bool {
        (0..text.len()).any(|at| self.begins(text.get(at..).unwrap_or_default()))
    }

    /// Where secrets stand in `text`, in whose `arguments` they may have spaces.
    pub(super) fn secrets(&self, text: &[u8], arguments: &[Quoted]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        // Bit n: the parts before the nth have matched what was read; likewise from an argument's start on.
        let (mut reached, mut from_start) = (0, 0);
        for (at, byte) in text.iter().enumerate() {
            let begins = arguments.iter().any(|argument| argument.place.start == at);
            (reached, from_start) = (
                self.step(self.skip_runs(reached | 1), *byte),
                self.step(self.skip_runs(from_start | u128::from(begins)), *byte),
            );
            let is_whole = |reached: u128| self.skip_runs(reached) >> self.before.len() & 1 != 0;
            let start = at + 1;
            if is_whole(reached) && found.last().is_none_or(|last| last.end <= start) {
                found.extend(self.secret(text, arguments, start, is_whole(from_start)));
            }
        }
        found
    }

    fn step(&self, reached: u128, byte: u8) -> u128 {
        let mut next = 0;
        let mut behind_space = false;
        for (place, part) in self.before.iter().enumerate() {
            let is_here = reached >> place & 1 != 0;
            match *part {
                Part::Byte(wanted) if is_here && wanted == byte.to_ascii_lowercase() => {
                    next |= 2 << place;
                }
                Part::Run if is_here && is_in_word(byte) => next |= 1 << place,
                Part::RunAcross if is_here => next |= 1 << place,
                Part::Byte(_) | Part::Run | Part::RunAcross => {}
            }
            // The next argument may stand in quotes.
            if is_here && behind_space && byte == b'\'' {
                next |= 1 << place;
            }
            behind_space = *part == Part::Byte(b' ');
        }
        next
    }

    /// A run may be empty.
    fn skip_runs(&self, mut reached: u128) -> u128 {
        for (place, part) in self.before.iter().enumerate() {
            if matches!(part, Part::Run | Part::RunAcross) && reached >> place & 1 != 0 {
                reached |= 2 << place;
            }
        }
        reached
    }

    /// The secret that begins at `start`, if one does; `is_from_start`: the pattern begins with an argument.
    fn secret(
        &self,
        text: &[u8],
        arguments: &[Quoted],
        start: usize,
        is_from_start: bool,
    ) -> Option<Range<usize>> {
        // A space begins one only where all of an argument is one.
        let first = *text.get(start).filter(|first| is_from_start || **first != b' ')?;
        let here = |argument: &&Quoted| argument.place.contains(&start);
        let until = |from: usize, most: usize, ends: &dyn Fn(u8) -> bool| {
            let rest = text.get(from..most).unwrap_or_default();
            from + rest.iter().position(|&byte| ends(byte)).unwrap_or(rest.len())
        };
        if !self.after.is_empty() {
            let word = text.get(start..until(start, text.len(), &|byte| !is_in_word(byte)))?;
            let word = word.to_ascii_lowercase();
            let mut places = word.windows(self.after.len()).enumerate();
            let (length, _) = places.rfind(|(_, window)| **window == *self.after)?;
            return (length > 0).then_some(start..start + length);
        }
        let is_in_json = self.before.contains(&Part::Byte(b'"'));
        let secret = match arguments.iter().find(here) {
            Some(Quoted { place, behind }) => {
                let rest = text.get(start..place.end)?;
                let is_command =
                    *behind == Behind::Command || *behind == Behind::Either && !is_from_start;
                let length = match first {
                    b'"' if is_in_json => string(rest),
                    _ if is_command && is_in_quotes(text.get(place.start..start)?) => {
                        until(start, place.end, &ends_command_word) - start
                    }
                    _ if is_command => command_word(rest),
                    _ => rest.len(),
                };
                // What quotes it is no secret, if it ends with it.
                let value = rest.get(..length)?;
                let quote = [b"\"", INNER_QUOTE].into_iter().find(|quote| {
                    (is_in_json || is_command)
                        && value.len() >= 2 * quote.len()
                        && value.starts_with(quote)
                        && value.ends_with(quote)
                });
                let quote = quote.map_or(0, <[u8]>::len);
                start + quote..start + length - quote
            }
            None if first == b'\'' => {
                let next = arguments.iter().find(|argument| argument.place.start == start + 1)?;
                next.place.clone()
            }
            None if first == b'"' => start + 1..until(start + 1, text.len(), &|byte| byte == b'"'),
            None => start..until(start, text.len(), &|byte| byte.is_ascii_whitespace()),
        };
        (!secret.is_empty()).then_some(secret)
    }
}

/// Whether a run goes on over it.
fn is_in_word(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !b"'\"/".contains(&byte)
}

/// Bytes of the string in double quotes that `text` begins with. What is told of an argument has each backslash twice.
fn string(text: &[u8]) -> usize {
    let mut backslashes = 0;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            b'\\' => backslashes += 1,
            b'"' if backslashes % 4 == 0 => return at + 1,
            _ => backslashes = 0,
        }
    }
    text.len()
}

/// Whether a quote that stands before a place in a command is still open there.
fn is_in_quotes(before: &[u8]) -> bool {
    let doubles = before.iter().filter(|byte| **byte == b'"').count();
    let singles = before.windows(INNER_QUOTE.len()).filter(|at| *at == INNER_QUOTE).count();
    doubles % 2 != 0 || singles % 2 != 0
}

/// Bytes of the word of a shell's command that `text` begins with; parts of it may stand in quotes. A quote that is
/// not closed reaches to the end.
fn command_word(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        at += match rest {
            _ if rest.starts_with(INNER_QUOTE) => {
                let inner = rest.get(INNER_QUOTE.len()..).unwrap_or_default();
                let ends = inner.windows(INNER_QUOTE.len()).position(|at| at == INNER_QUOTE);
                ends.map_or(rest.len(), |length| length + 2 * INNER_QUOTE.len())
            }
            [b'"', ..] => string(rest),
            // What stands behind a backslash, of which two are told, is a part of the word.
            [b'\\', b'\\', next @ ..] if next.starts_with(INNER_QUOTE) => 2 + INNER_QUOTE.len(),
            [b'\\', b'\\', b'\\', b'\\', ..] => 4,
            [b'\\', b'\\', _, ..] => 3,
            [byte, ..] if ends_command_word(*byte) => break,
            _ => 1,
        };
    }
    at.min(text.len())
}

/// Whether a word of a shell's command ends before it.
fn ends_command_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"'\"`;&|()<>".contains(&byte)
}
