//! Text as roff, for man(7).

/// A line of text as roff: nothing in it is a request or an escape.
pub(crate) fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let text = text
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// The same in bold.
pub(crate) fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

/// The beginning of a page of section 5.
pub(crate) fn begin(name: &str, what: &str) -> String {
    let title = name.to_uppercase();
    format!(".TH {} 5\n.SH NAME\n{} \\- {}\n", escaped(&title), escaped(name), escaped(what))
}

/// Lines as they are.
pub(crate) fn verbatim(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| escaped(line) + "\n").collect();
    format!(".PP\n.RS 4\n.nf\n{lines}.fi\n.RE\n")
}

/// An item and what is said of it.
pub(crate) fn item(tag: &str, text: &str) -> String {
    format!(".TP\n{tag}\n{text}\n")
}
