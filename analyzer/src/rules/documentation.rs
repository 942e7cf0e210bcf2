//! The reference in docs/rules.md is what the tables say. `UPDATE_DOCS=1 cargo test -p sentinel-analyzer
//! documentation` writes it.

use std::{fmt::Write as _, fs, path::Path};

use super::{
    fields::{FIELDS, FILE_CLASSES, Field, FieldType},
    kinds::{CLASSES, KINDS, Kinds},
};

const BEGIN: &str = "<!-- from the code: begin -->\n";
const END: &str = "<!-- from the code: end -->\n";

fn names(kinds: Kinds) -> String {
    if kinds.iter().count() == KINDS.len() {
        return "all".to_owned();
    }
    kinds.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}

fn values(field: &Field) -> String {
    let named = |names: &[(&str, i128)]| {
        names.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(" ")
    };
    match field.of {
        FieldType::Integer([]) => "number".to_owned(),
        FieldType::Integer(names) => format!("number, or {}", named(names)),
        FieldType::Text => "text".to_owned(),
        FieldType::Address => "IP address".to_owned(),
        FieldType::Flag => "true, false".to_owned(),
        FieldType::Class => "class of files".to_owned(),
    }
}

fn reference() -> String {
    let mut text = String::from("### Events\n\n| event | what happened |\n|---|---|\n");
    for entry in &KINDS {
        let _infallible = writeln!(text, "| `{}` | {} |", entry.name, entry.doc);
    }
    text += "\n### Classes of events\n\n| class | events | which |\n|---|---|---|\n";
    for class in CLASSES {
        let (name, kinds, doc) = (class.name, names(class.kinds), class.doc);
        let _infallible = writeln!(text, "| `{name}` | {kinds} | {doc} |");
    }
    text += "\n### Fields\n\n| field | values | what it is | events that have it |\n|---|---|---|---|\n";
    for field in FIELDS {
        let (name, values, kinds) = (field.name, values(field), names(field.kinds));
        let _infallible = writeln!(text, "| `{name}` | {values} | {} | {kinds} |", field.doc);
    }
    text += "\n### Classes of files\n\n";
    let classes: Vec<String> = FILE_CLASSES.iter().map(|(name, _)| format!("`{name}`")).collect();
    let _infallible = writeln!(text, "{}", classes.join(", "));
    text
}

#[test]
fn the_reference_in_the_documentation_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let whole = fs::read_to_string(&path).unwrap();
    let (before, rest) = whole.split_once(BEGIN).expect("where the reference begins");
    let (written, after) = rest.split_once(END).expect("where it ends");
    if std::env::var_os("UPDATE_DOCS").is_some_and(|wanted| wanted == "1") {
        fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", reference())).unwrap();
        return;
    }
    let hint = "run UPDATE_DOCS=1 cargo test -p sentinel-analyzer documentation";
    assert!(written == reference(), "docs/rules.md is not what the code says: {hint}");
}
