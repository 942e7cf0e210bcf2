//! What is wrong with a rule file, and where.

use std::{fmt, ops::Range};

/// Something wrong in a text, before it is known in which file.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Bytes of the text that are meant.
    pub span: Range<usize>,
    /// What is wrong with them, and what would be right.
    pub why: String,
}

impl Wrong {
    /// `why` is about `span`.
    pub fn new(span: Range<usize>, why: impl Into<String>) -> Self {
        Self { span, why: why.into() }
    }
}

/// Something wrong in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct LanguageError {
    /// The file as it was named.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl LanguageError {
    /// `wrong` in the file of this name, which holds `text`.
    pub fn new(file: &str, text: &str, wrong: Wrong) -> Self {
        let before = text.get(..wrong.span.start).unwrap_or(text);
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: last_line.chars().count() + 1,
            why: wrong.why,
        }
    }
}

impl fmt::Display for LanguageError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, why } = self;
        write!(to, "{file}:{line}:{column}: {why}")
    }
}

impl std::error::Error for LanguageError {}

/// `what` is not one of `known`: says so, names the nearest one, and lists them all.
pub fn unknown<'a>(what: &str, given: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let nearest = known.iter().map(|name| (distance(given, name), *name)).min();
    let hint = match nearest {
        Some((steps, name)) if steps <= 1 + given.len() / 3 => format!("did you mean `{name}`? "),
        _ => String::new(),
    };
    let given = crate::escape::escape(given.as_bytes());
    format!("`{given}` is no {what}: {hint}there are {}", known.join(", "))
}

/// Levenshtein's distance in bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, byte) in one.bytes().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(other.bytes()) {
            let replaced = diagonal + usize::from(byte != other);
            diagonal = *cell;
            *cell = replaced.min(left + 1).min(*cell + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered() {
        let say = |given| unknown("event", given, ["open", "exec"].into_iter());
        assert_eq!(say("opne"), "`opne` is no event: did you mean `open`? there are open, exec");
        assert_eq!(say("clone"), "`clone` is no event: there are open, exec");
        assert_eq!(say("oben"), "`oben` is no event: did you mean `open`? there are open, exec");
        assert_eq!((distance("", "abc"), distance("kitten", "sitting")), (3, 3));
    }
}
