//! Globs over bytes: `?` is one byte and `*` a run of them, neither across `/`; `**` is a run of any
//! bytes. There is no escape: these two characters are rare in what rules look at.

use std::fmt;

use crate::escape::escape;

/// Parts of a glob at the most: one bit each in a number.
const MAX_PARTS: usize = 127;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Byte(u8),
    One,
    Run,
    RunAcross,
}

/// A glob, ready to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    parts: Box<[Part]>,
}

impl fmt::Display for Glob {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match *part {
                Part::Byte(byte) => to.write_str(&escape(&[byte]))?,
                Part::One => to.write_str("?")?,
                Part::Run => to.write_str("*")?,
                Part::RunAcross => to.write_str("**")?,
            }
        }
        Ok(())
    }
}

impl Glob {
    /// How all that matches begins.
    pub fn beginning(&self) -> Vec<u8> {
        let bytes = self.parts.iter().map_while(|part| match part {
            Part::Byte(byte) => Some(*byte),
            Part::One | Part::Run | Part::RunAcross => None,
        });
        bytes.collect()
    }

    /// Reads a glob; `None` if it is longer than what can be matched in bounded time.
    pub fn new(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        for byte in text.bytes() {
            match (byte, parts.last()) {
                (b'*', Some(Part::RunAcross)) => {}
                (b'*', Some(Part::Run)) => {
                    parts.pop();
                    parts.push(Part::RunAcross);
                }
                (b'*', _) => parts.push(Part::Run),
                (b'?', _) => parts.push(Part::One),
                _ => parts.push(Part::Byte(byte)),
            }
        }
        (parts.len() <= MAX_PARTS).then(|| Self { parts: parts.into() })
    }

    /// Whether all of `bytes` match; bytes × parts steps at the most, and no allocation.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        // Bit n: the parts before the nth have matched what was read.
        let mut reached = self.skip_runs(1);
        for &byte in bytes {
            let mut next = 0;
            for (place, part) in self.parts.iter().enumerate() {
                if reached >> place & 1 == 0 {
                    continue;
                }
                match *part {
                    Part::Byte(wanted) if wanted == byte => next |= 2 << place,
                    Part::One if byte != b'/' => next |= 2 << place,
                    Part::Run if byte != b'/' => next |= 1 << place,
                    Part::RunAcross => next |= 1 << place,
                    Part::Byte(_) | Part::One | Part::Run => {}
                }
            }
            if next == 0 {
                return false;
            }
            reached = self.skip_runs(next);
        }
        reached >> self.parts.len() & 1 != 0
    }

    /// A run may be empty.
    fn skip_runs(&self, mut reached: u128) -> u128 {
        for (place, part) in self.parts.iter().enumerate() {
            if matches!(part, Part::Run | Part::RunAcross) && reached >> place & 1 != 0 {
                reached |= 2 << place;
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_texts() {
        for (glob, text, is_match) in [
            ("/etc/cron.*/x", "/etc/cron.d/x", true),
            ("/etc/cron.*", "/etc/cron.d/x", false),
            ("/etc/cron**", "/etc/cron.d/x", true),
            ("/home/*/.ssh/*", "/home/a/.ssh/k", true),
            ("/home/*/.ssh/*", "/home/a/b/.ssh/k", false),
            ("**/.ssh/authorized_keys", "/root/.ssh/authorized_keys", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("a*", "a", true),
            ("", "", true),
            ("", "a", false),
            ("*b*b*", "abab", true),
            ("a", "ab", false),
        ] {
            assert_eq!(
                Glob::new(glob).unwrap().matches(text.as_bytes()),
                is_match,
                "{glob} {text}"
            );
        }
    }

    #[test]
    fn a_glob_that_is_too_long_is_none() {
        assert!(
            Glob::new(&"a".repeat(MAX_PARTS))
                .is_some_and(|glob| { glob.matches("a".repeat(MAX_PARTS).as_bytes()) })
        );
        assert_eq!(Glob::new(&"a".repeat(MAX_PARTS + 1)), None);
    }
}
