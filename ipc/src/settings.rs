//! The configuration files of loader and enforcer: `key = value` lines, a small part of TOML, so that the
//! two that are trusted need no parser for the rest of it.
//!
//! A value is `true`, `false`, a whole number, or a string in double quotes without escapes. Anything behind
//! a `#` outside of a string is a comment. No key comes twice.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::small_file::{self, SmallFileError};

/// More than any sensible file holds.
const MAX_BYTES: u64 = 64 << 10;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A whole number.
    Number(u64),
    /// A string.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(value) => value.fmt(to),
            Self::Number(value) => value.fmt(to),
            Self::Text(value) => write!(to, "{value:?}"),
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its number, from 1.
    pub line: usize,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Value,
}

/// Why a file is of no use.
#[derive(Debug)]
pub enum SettingsError {
    /// It is not read.
    File(SmallFileError),
    /// This line of it is wrong (0 for the whole file), for this reason.
    Wrong(PathBuf, usize, String),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(to),
            Self::Wrong(path, 0, reason) => write!(to, "{}: {reason}", path.display()),
            Self::Wrong(path, line, reason) => write!(to, "{}:{line}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for SettingsError {}

/// Reads the file at `path` and has `apply` take each of its settings.
///
/// # Errors
/// When the file cannot be read, a line is no setting, or `apply` refuses one, with its reason.
pub fn read(
    path: &Path,
    mut apply: impl FnMut(&str, Value) -> Result<(), String>,
) -> Result<(), SettingsError> {
    let failed = |line, reason| SettingsError::Wrong(path.to_owned(), line, reason);
    let bytes = small_file::read(path, MAX_BYTES).map_err(SettingsError::File)?;
    let text = String::from_utf8(bytes).map_err(|error| failed(0, error.to_string()))?;
    for setting in parse(&text).map_err(|(line, reason)| failed(line, reason))? {
        apply(&setting.key, setting.value).map_err(|reason| failed(setting.line, reason))?;
    }
    Ok(())
}

/// The settings in `text`, or the number of the first bad line and what is bad about it.
fn parse(text: &str) -> Result<Vec<Setting>, (usize, String)> {
    let mut settings: Vec<Setting> = Vec::new();
    for (line, written) in (1..).zip(text.lines()) {
        let Some((key, value)) = split(written).map_err(|reason| (line, reason))? else { continue };
        if let Some(first) = settings.iter().find(|setting| setting.key == key) {
            return Err((line, format!("{key} is set in line {} already", first.line)));
        }
        settings.push(Setting { line, key: key.to_owned(), value });
    }
    Ok(settings)
}

/// Key and value of a line, if it holds any.
fn split(line: &str) -> Result<Option<(&str, Value)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (key, value) = line.split_once('=').ok_or_else(|| format!("{line:?} is no key = value"))?;
    let key = key.trim();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if key.is_empty() || !key.bytes().all(is_plain) {
        return Err(format!("{key:?} is no key"));
    }
    let value = value.trim_start();
    if let Some(text) = value.strip_prefix('"') {
        let (text, rest) =
            text.split_once('"').ok_or_else(|| format!("{key}: the string does not end"))?;
        if text.contains('\\') || text.contains(char::is_control) {
            return Err(format!("{key}: {text:?} has escapes or control characters"));
        }
        let rest = rest.trim_start();
        return match rest.is_empty() || rest.starts_with('#') {
            true => Ok(Some((key, Value::Text(text.to_owned())))),
            false => Err(format!("{key}: {rest:?} behind the string")),
        };
    }
    let word = value.split('#').next().unwrap_or_default().trim_end();
    let value = match word {
        "true" => Value::Switch(true),
        "false" => Value::Switch(false),
        // As in TOML, "+5" and "007" are none.
        _ => match word.parse() {
            Ok(number) if format!("{number}") == word => Value::Number(number),
            _ => {
                return Err(format!(
                    "{key}: {word:?} is neither true nor false, nor a whole number, nor in double quotes"
                ));
            }
        },
    };
    Ok(Some((key, value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_values_and_comments_are_understood() {
        let text = "# about\n\n a-b = true # yes\nc_1=\"x = # y\"  # z\nd = 12\r\n";
        let found: Vec<(usize, String, Value)> =
            parse(text).unwrap().into_iter().map(|one| (one.line, one.key, one.value)).collect();
        assert_eq!(
            found,
            [
                (3, "a-b".to_owned(), Value::Switch(true)),
                (4, "c_1".to_owned(), Value::Text("x = # y".to_owned())),
                (5, "d".to_owned(), Value::Number(12)),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, word) in [
            ("a = 1\nb", 2, "\"b\""),
            ("[table]", 1, "[table]"),
            ("a = maybe", 1, "maybe"),
            ("a = 'x'", 1, "'x'"),
            ("a = \"x", 1, "does not end"),
            ("a = \"x\" y", 1, "\"y\""),
            ("a = \"\\n\"", 1, "escapes"),
            ("a = -1", 1, "-1"),
            ("a = 007", 1, "007"),
            ("a =", 1, "\"\""),
            ("a = 99999999999999999999", 1, "99999999999999999999"),
            ("a b = 1", 1, "a b"),
            ("= 1", 1, "no key"),
            ("a = 1\n\na = 2", 3, "line 1"),
        ] {
            let (at, reason) = parse(text).unwrap_err();
            assert!(at == line && reason.contains(word), "{text:?}: {at}: {reason}");
        }
    }

    #[test]
    fn a_file_is_read_and_refused_with_path_and_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        let refuse = |key: &str, _| Err(format!("unknown key {key}"));
        assert!(read(&path, refuse).unwrap_err().to_string().contains("x.toml: No such file"));
        std::fs::write(&path, "\nfrob = 1\n").unwrap();
        let error = read(&path, refuse).unwrap_err().to_string();
        assert!(error.ends_with("x.toml:2: unknown key frob"), "{error}");
        std::fs::write(&path, "#".repeat(70_000)).unwrap();
        assert!(read(&path, refuse).unwrap_err().to_string().contains("longer"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read(&path, refuse).unwrap_err().to_string().contains("utf-8"));
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&fifo, refuse).unwrap_err().to_string().contains("regular file"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_written_is_read(key in "[a-z][a-z-]{0,9}", number: u64, text in "[^\"\\\\\\pC]{0,20}") {
            let lines = format!("{key} = {number}\nX{key} = \"{text}\"");
            let values: Vec<Value> =
                parse(&lines).unwrap().into_iter().map(|setting| setting.value).collect();
            prop_assert_eq!(values, [Value::Number(number), Value::Text(text)]);
        }
    }
}
