//! The Markdown of Sentinel's own documents as roff: headings, paragraphs, tables, lists, code.

use crate::roff::{bold, escaped, item, verbatim};

/// All of `text` below its title.
pub(crate) fn to_roff(text: &str) -> String {
    let mut page = String::from(".SH DESCRIPTION\n");
    let mut paragraph: Vec<&str> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let goes_on = !line.trim().is_empty() && !line.starts_with(['#', '|', '`', '<'])
            || line.starts_with('`') && !line.starts_with("```");
        if goes_on && !line.starts_with("- ") {
            paragraph.push(line.trim());
            continue;
        }
        end(&mut paragraph, &mut page);
        if line.starts_with("```") {
            let mut code = Vec::new();
            for line in lines.by_ref().take_while(|line| !line.starts_with("```")) {
                code.push(line);
            }
            page += &verbatim(&code);
        } else if let Some(heading) = line.strip_prefix("### ") {
            page += &format!(".SS {}\n", inline(heading));
        } else if let Some(heading) = line.strip_prefix("## ") {
            page += &format!(".SH {}\n", inline(&heading.to_uppercase()));
        } else if line.starts_with('|') {
            // The first row names the columns, the second one is a rule.
            let is_row = |next: &&str| next.starts_with('|');
            while let Some(row) = lines.next_if(is_row) {
                let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
                if let [first, rest @ ..] = cells.as_slice()
                    && !first.starts_with("---")
                {
                    page += &item(&inline(first), &inline(&rest.join(" \u{2014} ")));
                }
            }
        } else if let Some(point) = line.strip_prefix("- ") {
            paragraph.push("\u{2022}");
            paragraph.push(point);
        }
    }
    end(&mut paragraph, &mut page);
    page
}

fn end(paragraph: &mut Vec<&str>, page: &mut String) {
    if !paragraph.is_empty() {
        *page += &format!(".PP\n{}\n", inline(&paragraph.join(" ")));
        paragraph.clear();
    }
}

/// Code in bold, as man(1) shows what is typed; of links the words.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (number, part) in text.split('`').enumerate() {
        out += &match number % 2 {
            1 => bold(part),
            _ => escaped(&without_links(&part.replace("**", ""))),
        };
    }
    out
}

fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        out += before;
        let Some((words, (_, after))) = link
            .split_once("](")
            .and_then(|(words, target)| Some((words, target.split_once(')')?)))
            .filter(|(words, _)| !words.contains(']'))
        else {
            out.push('[');
            rest = link;
            continue;
        };
        out += words;
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_documents_use_is_there() {
        let page = to_roff(
            "# Title\n\nSee [rules](r.md), `a-b`\nand [[x]].\n\n## Part\n\n| key | what |\n|---|---|\n\
             | `k` | one |\n\n```toml\n[[rule]]\n.x\n```\n- point",
        );
        for roff in [
            ".PP\nSee rules, \\fBa\\-b\\fR and [[x]].\n",
            ".SH PART\n",
            ".TP\n\\fBk\\fR\none\n",
            ".nf\n[[rule]]\n\\&.x\n.fi\n",
            ".PP\n\u{2022} point\n",
        ] {
            assert!(page.contains(roff), "{roff} in {page}");
        }
        assert!(!page.contains("Title") && !page.contains("---"));
    }
}
