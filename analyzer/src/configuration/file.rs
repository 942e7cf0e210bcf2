//! Settings from a file, with the line of what is wrong.

use std::path::Path;

use sentinel_ipc::small_file;

use super::{ConfigurationError, Settings};
use crate::{escape::escape, rules::language::unknown};

/// More than any configuration has.
const MAX_BYTES: u64 = 1 << 20;

impl Settings {
    /// Reads `path`.
    ///
    /// # Errors
    /// When it cannot be read, or a line is wrong; nothing of it is used then.
    pub fn read(path: &Path) -> Result<Self, ConfigurationError> {
        let bytes = small_file::read(path, MAX_BYTES).map_err(ConfigurationError::File)?;
        Self::parse(&bytes)
            .map_err(|(line, why)| ConfigurationError::Wrong(path.to_owned(), line, why))
    }

    /// Reads a file's content.
    ///
    /// # Errors
    /// The line that is wrong, counted from 1, and why.
    pub fn parse(bytes: &[u8]) -> Result<Self, (usize, String)> {
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let line = line_at(bytes, error.valid_up_to());
                return Err((line, "it is not UTF-8 text".to_owned()));
            }
        };
        toml::from_str(text).map_err(|error| {
            let line = line_at(bytes, error.span().map_or(0, |span| span.start));
            // A line of the reason is one of several things that may stand there.
            let why: Vec<String> =
                error.message().lines().map(|line| escape(line.as_bytes())).collect();
            let why = why.join("; ");
            let why = unknown_key(&why).unwrap_or(why);
            match key_of(text.lines().nth(line - 1).unwrap_or_default()) {
                Some(key) if !why.contains(key) => (line, format!("{key}: {why}")),
                _ => (line, why),
            }
        })
    }
}

/// What to say instead of serde's sentence on a key that is none.
fn unknown_key(why: &str) -> Option<String> {
    let mut quoted = why.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let given = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    Some(unknown("key", given, known.into_iter()))
}

/// The line of the byte at `place`, counted from 1.
fn line_at(bytes: &[u8], place: usize) -> usize {
    let before = bytes.get(..place).unwrap_or(bytes);
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// What stands before the equals sign, if it can be a key.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let is_bare = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    (!key.is_empty() && key.chars().all(is_bare)).then_some(key)
}
