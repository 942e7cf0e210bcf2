//! Rule files: TOML text becomes [`Rule`]s, or one precise complaint.

use std::ops::Range;

mod allow;
mod client;
mod condition;
pub mod duration;
mod error;
mod step;
pub(super) mod table;

pub use allow::Extension;
pub use error::{LanguageError, Wrong, unknown};
use table::{Item, Table, text, unlike};
use toml::{Spanned, de::DeTable};

use super::{
    cases::{self, Case},
    kinds::Kinds,
    rule::{Rule, Step},
};
use crate::{alert::Severity, secrets::own::Client};

/// Steps of a rule at the most.
const MAX_STEPS: usize = 16;
/// How long a rule of one step stays silent about a process, unless it says so itself; ns.
const DEFAULT_WINDOW: u64 = 10_000_000_000;

const FILE: &[&str] = &["rule", "allow", "client"];
const RULE: &[&str] = &[
    "name",
    "severity",
    "mitre",
    "description",
    "false_positives",
    "default",
    "references",
    "window",
    "step",
    "allow",
    "test",
];
const SEVERITIES: [Severity; 5] =
    [Severity::Debug, Severity::Info, Severity::Warning, Severity::High, Severity::Critical];

/// A rule and its tests.
#[derive(Debug)]
pub struct Written {
    /// The rule.
    pub rule: Rule,
    /// What it must and must not see.
    pub cases: Vec<Case>,
    /// The file that it stands in.
    pub file: String,
    /// Where in the file, in bytes.
    pub span: Range<usize>,
    /// Whether it is looked for: unless it says otherwise, and nobody switches it on or off.
    pub is_on: bool,
    /// Whether it is one of the binary's.
    pub is_embedded: bool,
}

/// Reads the rules in `text`; `file` names it in errors.
///
/// # Errors
/// At the first thing that is wrong.
pub fn parse(file: &str, text: &str) -> Result<Vec<Written>, LanguageError> {
    whole(text)
        .and_then(|whole| rules(file, whole.get_ref()))
        .map_err(|wrong| LanguageError::new(file, text, wrong))
}

/// Reads the `[[allow]]` tables in `text`, which are about rules of any file: `kinds_of` gives the kinds
/// of events that a rule of this name looks at, or what is wrong with the name.
///
/// # Errors
/// At the first thing that is wrong.
pub fn extensions(
    file: &str,
    text: &str,
    kinds_of: &dyn Fn(&str) -> Result<Option<Kinds>, String>,
) -> Result<Vec<Extension>, LanguageError> {
    let all = |whole: &DeTable<'_>| {
        let table = Table::with_keys(whole, 0..0, "a rule file", FILE)?;
        table.list("allow")?.iter().map(|item| allow::extension(item, kinds_of)).collect()
    };
    whole(text)
        .and_then(|whole| all(whole.get_ref()))
        .map_err(|wrong| LanguageError::new(file, text, wrong))
}

/// Reads the `[[client]]` tables in `text`; `file` names it in errors.
///
/// # Errors
/// At the first thing that is wrong.
pub fn clients(file: &str, text: &str) -> Result<Vec<Client>, LanguageError> {
    let all = |whole: &DeTable<'_>| {
        let table = Table::with_keys(whole, 0..0, "a rule file", FILE)?;
        table.list("client")?.iter().map(client::parse).collect()
    };
    whole(text)
        .and_then(|whole| all(whole.get_ref()))
        .map_err(|wrong| LanguageError::new(file, text, wrong))
}

fn whole(text: &str) -> Result<Spanned<DeTable<'_>>, Wrong> {
    DeTable::parse(text).map_err(|error| {
        let why: Vec<&str> = error.message().lines().collect();
        Wrong::new(error.span().unwrap_or_default(), why.join("; "))
    })
}

fn rules(file: &str, whole: &DeTable<'_>) -> Result<Vec<Written>, Wrong> {
    let table = Table::with_keys(whole, 0..0, "a rule file", FILE)?;
    let mut rules: Vec<Written> = Vec::new();
    for item in table.list("rule")? {
        let written = rule(file, item)?;
        if rules.iter().any(|known| known.rule.name == written.rule.name) {
            let why = format!("there is another rule `{}` above", written.rule.name);
            return Err(Wrong::new(item.span(), why));
        }
        rules.push(written);
    }
    Ok(rules)
}

fn rule(file: &str, item: &Item<'_>) -> Result<Written, Wrong> {
    let table = Table::of(item, "a rule", RULE)?;
    let steps = steps(&table, item)?;
    let window = table.duration("window")?;
    if window.is_none() && steps.len() > 1 {
        let why = "a rule of several steps needs a `window`, as window = \"10s\"";
        return Err(Wrong::new(item.span(), why));
    }
    let references: Result<_, _> =
        table.list("references")?.iter().map(|item| text(item).map(ToOwned::to_owned)).collect();
    let kinds = steps.iter().fold(Kinds::default(), |all, step| all.with(step.event.kinds));
    let allow: Result<_, _> =
        table.list("allow")?.iter().map(|item| allow::parse(item, kinds)).collect();
    let cases: Result<_, _> =
        table.list("test")?.iter().map(|item| cases::parse(file, item)).collect();
    let rule = Rule {
        name: matching(table.required("name")?, is_name, "a name of a-z, 0-9 and _")?,
        severity: severity(table.required("severity")?)?,
        mitre: matching(
            table.required("mitre")?,
            is_technique,
            "a technique, as T1059 or T1059.004",
        )?,
        description: matching(table.required("description")?, is_said, "a sentence")?,
        false_positives: matching(table.required("false_positives")?, is_said, "a sentence")?,
        references: references?,
        window: window.unwrap_or(DEFAULT_WINDOW),
        steps,
        allow: allow?,
    };
    let is_on = match table.get("default") {
        None => true,
        Some(item) => match text(item)? {
            "on" => true,
            "off" => false,
            _ => return Err(unlike(item, "\"on\" or \"off\"")),
        },
    };
    let (file, span) = (file.to_owned(), item.span());
    Ok(Written { rule, cases: cases?, file, span, is_on, is_embedded: false })
}

fn steps(table: &Table<'_>, rule: &Item<'_>) -> Result<Vec<Step>, Wrong> {
    let mut steps = Vec::new();
    for item in table.list("step")? {
        let step = step::parse(item, &steps)?;
        steps.push(step);
    }
    match steps.len() {
        1..=MAX_STEPS => Ok(steps),
        0 => Err(Wrong::new(rule.span(), "the rule has no [[rule.step]]")),
        count => {
            let why = format!("{count} steps are more than the {MAX_STEPS} that a rule may have");
            Err(Wrong::new(rule.span(), why))
        }
    }
}

fn matching(item: &Item<'_>, is_right: fn(&str) -> bool, wanted: &str) -> Result<String, Wrong> {
    let given = text(item)?;
    if is_right(given) { Ok(given.to_owned()) } else { Err(unlike(item, wanted)) }
}

fn severity(item: &Item<'_>) -> Result<Severity, Wrong> {
    let name = text(item)?;
    SEVERITIES.into_iter().find(|severity| severity.name() == name).ok_or_else(|| {
        let known = SEVERITIES.into_iter().map(Severity::name);
        Wrong::new(item.span(), unknown("severity", name, known))
    })
}

fn is_name(text: &str) -> bool {
    let is_right = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(is_right)
}

fn is_technique(text: &str) -> bool {
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix('T').is_some_and(|number| match number.split_once('.') {
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
        None => digits(number, 4),
    })
}

fn is_said(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\n')
}

#[cfg(test)]
mod tests;
