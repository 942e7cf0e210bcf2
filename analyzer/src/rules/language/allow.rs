//! Programs whose events are no steps of a rule: `allow` in the rule, and `[[allow]]` tables that add to
//! rules of any file.

use super::{
    condition,
    error::Wrong,
    matching,
    table::{Item, Table, one_or_more, text, unlike},
};
use crate::rules::{glob::Glob, kinds::Kinds, rule::Allowed};

const PROGRAM: [&str; 5] = ["exe", "parent", "script", "argv", "where"];

/// A program that is added to those that a rule allows.
#[derive(Debug)]
pub struct Extension {
    /// Name of the rule.
    pub rule: String,
    /// The program.
    pub allowed: Allowed,
}

/// A program that may do events of `kinds`.
pub(super) fn parse(item: &Item<'_>, kinds: Kinds) -> Result<Allowed, Wrong> {
    program(&Table::of(item, "an allowed program", &PROGRAM)?, kinds)
}

/// A program, and the rule that it is no matter of.
pub(super) fn extension(
    item: &Item<'_>,
    kinds_of: &dyn Fn(&str) -> Result<Option<Kinds>, String>,
) -> Result<Extension, Wrong> {
    let [exe, parent, script, argv, conditions] = PROGRAM;
    let known = ["rule", exe, parent, script, argv, conditions];
    let table = Table::of(item, "an allowed program", &known)?;
    let name = table.required("rule")?;
    let rule = text(name)?;
    let kinds = kinds_of(rule).map_err(|why| Wrong::new(name.span(), why))?;
    if let (None, Some(item)) = (kinds, table.get(conditions)) {
        let why = format!("`where` asks about an event, and `{rule}` is not about single ones");
        return Err(Wrong::new(item.span(), why));
    }
    let allowed = program(&table, kinds.unwrap_or_default())?;
    Ok(Extension { rule: rule.to_owned(), allowed })
}

fn program(table: &Table<'_>, kinds: Kinds) -> Result<Allowed, Wrong> {
    table.required("exe")?;
    let paths = |key| {
        let items = table.get(key).map(one_or_more).unwrap_or_default();
        let path = |item| matching(item, is_path, "a whole path, which begins with /");
        match (items.is_empty(), table.get(key)) {
            (true, Some(item)) => Err(Wrong::new(item.span(), "the list is empty")),
            _ => items.iter().map(path).collect::<Result<Vec<_>, _>>(),
        }
    };
    let argv = table.get("argv").map(|item| {
        Glob::new(text(item)?).ok_or_else(|| unlike(item, "a glob of at most 127 characters"))
    });
    Ok(Allowed {
        exe: paths("exe")?,
        parent: paths("parent")?,
        script: paths("script")?,
        argv: argv.transpose()?,
        conditions: table
            .get("where")
            .map_or(Ok(Vec::new()), |item| condition::of_some(item, kinds))?,
    })
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
}
