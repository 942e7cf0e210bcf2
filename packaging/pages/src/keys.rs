//! A shipped configuration file as a page: what stands before a key explains it.

use crate::roff::{bold, escaped, item};

/// All of `file`, whose first block of comments is about the file itself.
pub(crate) fn to_roff(file: &str) -> String {
    let mut page = String::from(".SH DESCRIPTION\n");
    let mut comment: Vec<&str> = Vec::new();
    let mut is_first = true;
    for line in file.lines() {
        if let Some((key, value)) = setting(line) {
            let words = format!("{} = {}", bold(key), escaped(value));
            page += &item(&words, &escaped(&comment.join(" ")));
            comment.clear();
        } else if let Some(heading) = line.strip_prefix("# --- ") {
            page += &format!(".SH {}\n", escaped(&heading.to_uppercase()));
        } else if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if is_first && !comment.is_empty() {
            is_first = false;
            let parts = comment.split(|line| line.is_empty());
            for part in parts {
                page += &format!(".PP\n{}\n", escaped(&part.join(" ")));
            }
            if !file.contains("\n# --- ") {
                page += ".SH KEYS\n";
            }
            comment.clear();
        }
    }
    page
}

/// A key and its value, whether it is commented out or not.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?;
    let is_key = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    (!key.is_empty() && key.bytes().all(is_key)).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_what_stands_before_it() {
        let page = to_roff(
            "# The file.\n#\n# More.\n\n# --- Part\n\n# What it is,\n# and why.\n#a-b = 1\n\n# Other.\nc = 2\n",
        );
        for roff in [
            ".PP\nThe file.\n.PP\nMore.\n",
            ".SH PART\n.TP\n\\fBa\\-b\\fR = 1\nWhat it is, and why.\n",
            ".TP\n\\fBc\\fR = 2\nOther.\n",
        ] {
            assert!(page.contains(roff), "{roff} in {page}");
        }
    }
}
