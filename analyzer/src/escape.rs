//! Attacker-chosen bytes as text that is safe on a terminal and in a log, and unambiguous.

use std::fmt::Write as _;

/// Printable text stays; control and invisible formatting characters, invalid UTF-8 and the
/// backslash itself are written as escapes.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push(&mut text, character);
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _written = write!(text, "\\x{byte:02x}");
        }
    }
    text
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

/// Characters that change how others are shown, or show nothing (Unicode categories Cf, Zl, Zp).
fn is_invisible(character: char) -> bool {
    matches!(
        u32::from(character),
        0xad | 0x061c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff
            | 0xfff9..=0xfffb | 0xe0000..=0xe007f
    )
}

/// An argument vector on one line; an argument that a shell would not take as it is stands in
/// quotes.
pub fn command_line(arguments: &[Vec<u8>]) -> String {
    let mut line = String::new();
    for argument in arguments {
        if !line.is_empty() {
            line.push(' ');
        }
        let text = escape(argument);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
        if !text.is_empty() && text.bytes().all(plain) {
            line.push_str(&text);
        } else {
            line.push('\'');
            line.push_str(&text.replace('\'', "'\\''"));
            line.push('\'');
        }
    }
    line
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
        let line = |arguments: &[&str]| {
            command_line(&arguments.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>())
        };
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
