//! Where arguments stand in a text: [`crate::escape::command_line`] puts those in quotes that a shell would
//! not take as they are, and a secret may have spaces.

use std::ops::Range;

/// How a quote within an argument is written.
pub(super) const INNER_QUOTE: &[u8] = b"'\\''";

/// What stands between two quotes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quoted {
    /// Without the quotes.
    pub(super) place: Range<usize>,
    /// The option before it.
    pub(super) behind: Behind,
}

/// Whether an argument is a program's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// It is, as in `sh -c`: what it runs is to be seen.
    Command,
    /// It may be: `perl -e`, but also `docker run -e`.
    Either,
    /// It is not.
    Other,
}

/// The arguments in quotes, in order. A quote within a word of a sentence is an apostrophe.
pub(super) fn quoted(text: &[u8]) -> Vec<Quoted> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let before = text.get(..at).unwrap_or_default();
        let is_in_word = before.last().is_some_and(u8::is_ascii_alphanumeric);
        at += 1;
        if byte == b'\'' && !is_in_word {
            let start = at;
            at = end(text, start);
            found.push(Quoted { place: start..at, behind: behind(before) });
            at += 1;
        }
    }
    found
}

/// The quote that closes what begins at `start`, or the end of the text.
fn end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        match rest {
            _ if rest.starts_with(INNER_QUOTE) => at += INNER_QUOTE.len(),
            [b'\'', ..] => break,
            _ => at += 1,
        }
    }
    at
}

/// What the last word before an argument makes of it.
fn behind(before: &[u8]) -> Behind {
    let mut words = before.split(u8::is_ascii_whitespace);
    match words.rfind(|word| !word.is_empty()) {
        Some([b'-', b'-', ..]) => Behind::Other,
        Some([b'-', .., b'c']) => Behind::Command,
        Some([b'-', .., b'e']) => Behind::Either,
        Some(_) | None => Behind::Other,
    }
}
