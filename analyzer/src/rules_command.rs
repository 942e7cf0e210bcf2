//! `sentinel rules`: what is looked for, whether files of rules are sound, and that they are read again.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::{
    command_line::{RulesArguments, RulesCommand},
    configuration::Configuration,
    control,
    escape::harmless,
    patterns::{self, BuiltIn},
    rules::{
        Choice, LoadError, RuleSet, WrittenClient,
        cases::{self, Coverage},
        explain::{explain, explain_client},
        language::{Written, unknown},
    },
};

/// Does what is asked; returns what to show, or what is wrong.
///
/// # Errors
/// When a file is not sound, a test fails, there is no such rule, or nobody runs whose rules could be read
/// again.
pub fn run(arguments: &RulesArguments) -> Result<String, String> {
    let choice = || choice(arguments);
    match &arguments.command {
        RulesCommand::List => Ok(list(&all(&choice()?)?)),
        RulesCommand::Check(files) => check(&files.files, &choice()?),
        RulesCommand::Explain(asked) => explain_one(&asked.name, &asked.files, &choice()?),
        RulesCommand::Test(files) => test(&files.files, &choice()?),
        RulesCommand::Reload => {
            let came = control::reload_rules(Path::new(control::SOCKET));
            // The analyzer is not trusted with somebody's terminal.
            let shown = |told: String| told.lines().map(harmless).collect::<Vec<_>>().join("\n");
            let came = came.map_err(|error| error.to_string())?;
            came.map(|told| shown(told) + "\n").map_err(shown)
        }
    }
}

/// What options and configuration say about rules.
fn choice(arguments: &RulesArguments) -> Result<Choice, String> {
    Configuration::load(arguments.config.as_deref(), &arguments.rules.settings())
        .map(|configuration| configuration.rules)
        .map_err(|error| error.to_string())
}

fn all(choice: &Choice) -> Result<RuleSet, String> {
    RuleSet::load(choice).map_err(|error| error.to_string())
}

/// The rules of files, beside those of the binary; of the rules' directory where none is given.
fn chosen(files: &[PathBuf], choice: &Choice) -> Result<RuleSet, String> {
    if files.is_empty() {
        return all(choice);
    }
    let added = || -> Result<RuleSet, LoadError> {
        let mut set = RuleSet::of_binary(choice)?;
        files.iter().try_for_each(|file| set.add_file(file).map(drop))?;
        set.extend()?;
        Ok(set)
    };
    added().map_err(|error| error.to_string())
}

fn list(set: &RuleSet) -> String {
    let mut text = String::new();
    let mut line = |on: bool, name: &str, severity: &str, mitre: &str, place: &str, what: &str| {
        let on = if on { "on " } else { "off" };
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{on} {name:<26} {severity:<8} {mitre:<9} {place:<9} {what}");
    };
    for BuiltIn { name, severity, mitre, description, .. } in patterns::BUILT_IN {
        line(!set.has_off(name), name, severity.name(), mitre, "built in", description);
    }
    for Written { rule, is_on, is_embedded, file, .. } in &set.rules {
        let place = match file.rsplit('/').next() {
            Some(file) if !is_embedded => file,
            _ => "built in",
        };
        line(*is_on, &rule.name, rule.severity.name(), &rule.mitre, place, &rule.description);
    }
    text
}

/// Each file with the rules of the binary beside it, so that names cannot clash.
fn check(files: &[PathBuf], choice: &Choice) -> Result<String, String> {
    if files.is_empty() {
        let set = all(choice)?;
        let directory = choice.directory().display();
        let text = format!("{directory}: ok, {} beside the built-in ones\n", count(&set));
        return Ok(text + &warnings(&set));
    }
    let mut text = String::new();
    let mut wrong = Vec::new();
    for file in files {
        match chosen(std::slice::from_ref(file), choice) {
            Ok(set) => {
                let _written = writeln!(text, "{}: ok, {}", file.display(), count(&set));
                text.push_str(&warnings(&set));
            }
            Err(error) => wrong.push(error),
        }
    }
    // Each file is sound; whether they are together is another question.
    if wrong.is_empty() && files.len() > 1 {
        wrong.extend(chosen(files, choice).err());
    }
    if wrong.is_empty() { Ok(text) } else { Err(wrong.join("\nsentinel: ")) }
}

/// How many rules and clients are of files.
fn count(set: &RuleSet) -> String {
    let rules = set.rules.iter().filter(|written| !written.is_embedded).count();
    match set.clients.iter().filter(|written| !written.is_embedded).count() {
        0 => format!("{rules} rules"),
        clients => format!("{rules} rules, {clients} clients"),
    }
}

/// What rules of files lack, a line each.
fn warnings(set: &RuleSet) -> String {
    let own = set.rules.iter().filter(|written| !written.is_embedded);
    let lacks = own.filter_map(|written| {
        let lack = Coverage::of(&written.cases).lack()?;
        Some(format!("warning: {}: `{}` {lack}\n", written.file, written.rule.name))
    });
    lacks.collect()
}

fn explain_one(name: &str, files: &[PathBuf], choice: &Choice) -> Result<String, String> {
    if let Some(one) = patterns::BUILT_IN.iter().find(|one| one.name == name) {
        let mut text = explain_built_in(one);
        if patterns::ABOUT_SECRETS.contains(&name) {
            explain_clients(&chosen(files, choice)?, &mut text);
        }
        return Ok(text);
    }
    let set = chosen(files, choice)?;
    let found = set.rules.iter().rfind(|written| written.rule.name == name);
    let written = found.ok_or_else(|| unknown("rule", name, set.names()))?;
    let place = match written.is_embedded {
        true => "built in".to_owned(),
        false => format!("from {}", written.file),
    };
    let state = if written.is_on { "on" } else { "off" };
    Ok(format!("{}  {place}, {state}\n", explain(&written.rule)))
}

/// Whose secrets of their own are none to the patterns that are about secrets.
fn explain_clients(set: &RuleSet, text: &mut String) {
    text.push_str("  not counted: what these read of their own\n");
    for WrittenClient { client, file, is_embedded } in &set.clients {
        let place = if *is_embedded { "built in" } else { file };
        // Writing to a String cannot fail.
        let _written = writeln!(text, "  - {}  ({place})", explain_client(client));
    }
}

fn explain_built_in(one: &BuiltIn) -> String {
    let BuiltIn { name, severity, mitre, description, false_positives } = one;
    format!(
        "{name}  {}  {mitre}\n  {description}\n  wrong when: {false_positives}\n  written in code: a file \
         can neither change nor replace it; disable-rules switches it off, [[allow]] makes exceptions\n",
        severity.name()
    )
}

fn test(files: &[PathBuf], choice: &Choice) -> Result<String, String> {
    let mut wrong = Vec::new();
    let (mut rules, mut count) = (0, 0);
    for Written { rule, cases, .. } in
        chosen(files, choice)?.rules.into_iter().filter(|one| files.is_empty() || !one.is_embedded)
    {
        rules += 1;
        count += cases.len();
        wrong.extend(cases::run(rule, &cases));
    }
    if wrong.is_empty() {
        return Ok(format!("{rules} rules, {count} tests: all as they should be\n"));
    }
    Err(format!("{} of {count} tests fail:\n  {}", wrong.len(), wrong.join("\n  ")))
}

#[cfg(test)]
mod tests;
