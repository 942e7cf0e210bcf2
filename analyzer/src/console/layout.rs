//! Text in the columns of a terminal. What comes out holds nothing that steers one.

use crate::escape::harmless;

/// Lines of `text`, broken between words (a longer word anywhere) so that none is wider than `width`, if
/// that is limited; of the first one `used` columns are taken already, of the others `indent`.
pub(super) fn wrap(text: &str, width: Option<usize>, used: usize, indent: usize) -> Vec<String> {
    let text = harmless(text);
    let Some(width) = width else { return vec![text.into_owned()] };
    let mut lines = vec![String::new()];
    let mut taken = used;
    for word in text.split_inclusive(' ') {
        let whole = columns(word.trim_end());
        let is_begun = lines.last().is_some_and(|line| !line.is_empty()) || taken > indent;
        if is_begun && taken + whole > width && indent + whole <= width.max(indent + 1) {
            lines.push(String::new());
            taken = indent;
        }
        for character in word.chars() {
            let wide = width_of(character);
            // A space at the end of a row is not seen.
            if taken + wide > width && character != ' ' {
                lines.push(String::new());
                taken = indent;
            }
            if let Some(line) = lines.last_mut() {
                line.push(character);
            }
            taken += wide;
        }
    }
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

/// As many of `parts` as there is room for, and the beginning of the first one at least.
pub(super) fn fitting(parts: &[String], between: &str, room: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let next = if line.is_empty() { part.clone() } else { format!("{line}{between}{part}") };
        if columns(&next) > room && !line.is_empty() {
            break;
        }
        line = next;
    }
    line.chars().take(room).collect()
}

/// Columns that `text` takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// Columns of a character: two of those of East Asian scripts and of pictures, as terminals show them
/// (Unicode Standard Annex 11). Marks that are put over others count as one, which breaks lines early.
fn width_of(character: char) -> usize {
    let is_wide = matches!(
        u32::from(character),
        0x1100..=0x115f | 0x231a..=0x231b | 0x2329..=0x232a | 0x23e9..=0x23ec | 0x25fd..=0x25fe
            | 0x2614..=0x2615 | 0x2648..=0x2653 | 0x267f..=0x2685 | 0x2693..=0x27bf | 0x2b1b..=0x2b55
            | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xa960..=0xa97f | 0xac00..=0xd7a3 | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x16fe0..=0x18aff
            | 0x1b000..=0x1b2ff | 0x1f000..=0x1faff | 0x20000..=0x3ffff
    );
    if is_wide { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_stay_whole_where_they_can() {
        assert_eq!(wrap("one two three", Some(8), 0, 2), ["one two", "three"]);
        assert_eq!(wrap("one", Some(8), 6, 2), ["", "one"]);
        assert_eq!(wrap("123456789", Some(6), 0, 2), ["123456", "789"]);
        assert_eq!(wrap("漢漢漢", Some(5), 0, 1), ["漢漢", "漢"]);
        assert_eq!(wrap("as it is", None, 0, 2), ["as it is"]);
    }

    #[test]
    fn parts_that_do_not_fit_are_left_out_whole() {
        let parts = ["elapsed 3s", "5 ev/s", "dropped 0"].map(str::to_owned);
        assert_eq!(fitting(&parts, " · ", 79), "elapsed 3s · 5 ev/s · dropped 0");
        assert_eq!(fitting(&parts, " · ", 20), "elapsed 3s · 5 ev/s");
        assert_eq!(fitting(&parts, " · ", 4), "elap");
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_word_is_lost(
            text in "[a-z漢 ]{0,200}", width in 20_usize..120, used in 0_usize..20,
        ) {
            let lines = wrap(&text, Some(width), used, 4);
            for (number, line) in lines.iter().enumerate() {
                let before = if number == 0 { used } else { 4 };
                prop_assert!(before + columns(line) <= width, "{:?}", lines);
            }
            let letters = |text: &str| text.replace(' ', "");
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
        }
    }
}
