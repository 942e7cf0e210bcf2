//! Attacker-chosen bytes as text that is safe on a terminal and in a log, and unambiguous.

use std::{borrow::Cow, fmt::Write as _};

use crate::event::Arguments;

/// Printable text stays; control and invisible formatting characters, invalid UTF-8 and the
/// backslash itself are written as escapes.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    push_escaped(&mut text, bytes);
    text
}

fn push_escaped(text: &mut String, bytes: &[u8]) {
    // Nearly all there is. Without a branch, many bytes are looked at at once.
    let is_plain = |&byte: &u8| (b' '..=b'~').contains(&byte) & (byte != b'\\');
    if bytes.iter().fold(true, |all, byte| all & is_plain(byte))
        && let Ok(plain) = std::str::from_utf8(bytes)
    {
        return text.push_str(plain);
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push(text, character);
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _written = write!(text, "\\x{byte:02x}");
        }
    }
}

fn push(text: &mut String, character: char) {
    match character {
        '\\' => text.push_str("\\\\"),
        '\n' => text.push_str("\\n"),
        '\t' => text.push_str("\\t"),
        '\r' => text.push_str("\\r"),
        _ if character.is_control() || is_invisible(character) => {
            let _written = write!(text, "\\u{{{:x}}}", u32::from(character));
        }
        _ => text.push(character),
    }
}

/// Characters that change how others are shown, or show nothing: Unicode's categories Cf, Zl, Zp and Zs but
/// for the space, fillers, variation selectors, and what is for private use.
pub fn is_invisible(character: char) -> bool {
    matches!(
        u32::from(character),
        0xa0 | 0xad | 0x034f | 0x0600..=0x0605 | 0x061c | 0x06dd | 0x070f | 0x0890..=0x0891 | 0x08e2
            | 0x115f..=0x1160 | 0x1680 | 0x17b4..=0x17b5 | 0x180b..=0x180f | 0x2000..=0x200f
            | 0x2028..=0x202f | 0x205f..=0x206f | 0x2800 | 0x3000 | 0x3164 | 0xe000..=0xf8ff
            | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xffff | 0x110bd | 0x110cd
            | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0x10_ffff
    )
}

/// `text`, which should have been escaped, and in which whatever steers a terminal or hides something is
/// replaced if it was not.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_bad = |character: char| character.is_control() || is_invisible(character);
    match text.contains(is_bad) {
        true => text.replace(is_bad, "?").into(),
        false => text.into(),
    }
}

/// An argument vector on one line; an argument that a shell would not take as it is stands in
/// quotes.
pub fn command_line(arguments: &Arguments) -> String {
    let words = arguments.iter().map(|argument| match std::str::from_utf8(argument) {
        Ok(text) if !text.is_empty() && text.bytes().all(is_plain) => Cow::Borrowed(text),
        _ => format!("'{}'", escape(argument).replace('\'', "'\\''")).into(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a shell takes it as it is: letters, digits and `%+,-./:=@_`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        | (b'+'..=b':').contains(&byte)
        | (byte == b'%')
        | (byte == b'=')
        | (byte == b'@')
        | (byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_passes() {
        assert_eq!(escape(b"a\x1b[2Jb\n\x07"), "a\\u{1b}[2Jb\\n\\u{7}");
        assert_eq!(escape("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert_eq!(escape(b"\xff\\"), "\\xff\\\\");
        assert_eq!(escape("größe".as_bytes()), "größe");
    }

    #[test]
    fn arguments_keep_their_bounds() {
        let line = |arguments: &[&str]| command_line(&arguments.iter().collect());
        assert_eq!(line(&["sh", "-c", "echo 'a b'", ""]), r"sh -c 'echo '\''a b'\''' ''");
    }

    proptest! {
        #[test]
        fn escaped_text_is_printable(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(!escape(&bytes).chars().any(|c| c.is_control() || is_invisible(c)));
        }

        #[test]
        fn different_bytes_stay_different(
            one in proptest::collection::vec(any::<u8>(), 0..20),
            other in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            prop_assert_eq!(one == other, escape(&one) == escape(&other));
        }
    }
}
