//! What stands below the options in `--help`, as sections of a page: examples as they are to be typed, exit status, and
//! what else there is to say.

use crate::roff::{escaped, verbatim};

/// How the paragraph about it begins.
const EXIT_STATUS: &str = "Exit status: ";
/// And the one of examples.
const EXAMPLES: &str = "Examples:";

/// The sections, those that there are.
pub(crate) fn to_roff(text: &str) -> String {
    let [mut notes, mut examples, mut status] = [const { String::new() }; 3];
    for paragraph in text.trim().split("\n\n") {
        if let Some(lines) = paragraph.strip_prefix(EXAMPLES) {
            let lines: Vec<&str> = lines.trim_matches('\n').lines().map(str::trim_start).collect();
            examples = section("EXAMPLES", &verbatim(&lines));
        } else if let Some(sentence) = paragraph.strip_prefix(EXIT_STATUS) {
            status = section("EXIT STATUS", &(escaped(sentence) + "\n"));
        } else if notes.is_empty() {
            notes = section("NOTES", &(escaped(paragraph) + "\n"));
        } else {
            notes += &format!(".PP\n{}\n", escaped(paragraph));
        }
    }
    notes + &examples + &status
}

fn section(title: &str, text: &str) -> String {
    format!(".SH {title}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_stay_as_they_are_and_the_rest_is_text() {
        let roff = to_roff("Examples:\n  a  -b | c\n  d\n\nOne.\n\nTwo.\n\nExit status: 0 or 1.");
        let expected = ".SH NOTES\nOne.\n.PP\nTwo.\n.SH EXAMPLES\n.PP\n.RS 4\n.nf\na  \\-b | c\nd\n.fi\n.RE\n\
                        .SH EXIT STATUS\n0 or 1.\n";
        assert_eq!(roff, expected);
        assert_eq!(to_roff("Exit status: 0."), ".SH EXIT STATUS\n0.\n");
    }
}
