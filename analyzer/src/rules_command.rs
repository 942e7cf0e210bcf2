//! `sentinel rules`: what is looked for, and whether files of rules are sound.

use std::{fmt::Write as _, path::PathBuf};

use crate::{
    command_line::RulesCommand,
    patterns::reverse_shell,
    rules::{
        LoadError, RuleSet, cases,
        explain::explain,
        language::{Written, unknown},
    },
};

/// Does what is asked; returns what to show, or what is wrong.
///
/// # Errors
/// When a file is not sound, a test fails, or there is no such rule.
pub fn run(command: &RulesCommand) -> Result<String, String> {
    match command {
        RulesCommand::List => Ok(list(&embedded()?)),
        RulesCommand::Check(files) => check(&files.files),
        RulesCommand::Explain(asked) => explain_one(&asked.name, &asked.files),
        RulesCommand::Test(files) => test(&files.files),
    }
}

fn embedded() -> Result<RuleSet, String> {
    RuleSet::embedded().map_err(|error| error.to_string())
}

/// The rules of files, or of the binary where none is given.
fn chosen(files: &[PathBuf]) -> Result<RuleSet, String> {
    if files.is_empty() {
        return embedded();
    }
    let mut set = RuleSet::default();
    let added: Result<(), LoadError> = files.iter().try_for_each(|file| set.add_file(file));
    added.map(|()| set).map_err(|error| error.to_string())
}

fn list(set: &RuleSet) -> String {
    let mut text =
        format!("{:<24} built in  {}\n", reverse_shell::RULE.name, reverse_shell::RULE.mitre);
    for Written { rule, .. } in &set.rules {
        // Writing to a String cannot fail.
        let _written = writeln!(
            text,
            "{:<24} {:<9} {:<10} {}",
            rule.name,
            rule.severity.name(),
            rule.mitre,
            rule.description
        );
    }
    text
}

/// Each file with the embedded rules beside it, so that names cannot clash.
fn check(files: &[PathBuf]) -> Result<String, String> {
    let mut text = String::new();
    let mut wrong = Vec::new();
    let mut set = embedded()?;
    for file in files {
        let before = set.rules.len();
        match set.add_file(file) {
            Ok(()) => {
                let count = set.rules.len() - before;
                let _written = writeln!(text, "{}: ok, {count} rules", file.display());
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if wrong.is_empty() { Ok(text) } else { Err(wrong.join("\nsentinel: ")) }
}

fn explain_one(name: &str, files: &[PathBuf]) -> Result<String, String> {
    let set = chosen(files)?;
    let found = set.rules.iter().find(|written| written.rule.name == name);
    found.map(|written| explain(&written.rule)).ok_or_else(|| {
        unknown("rule", name, set.rules.iter().map(|written| written.rule.name.as_str()))
    })
}

fn test(files: &[PathBuf]) -> Result<String, String> {
    let mut wrong = Vec::new();
    let (mut rules, mut count) = (0, 0);
    for Written { rule, cases } in chosen(files)?.rules {
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
mod tests {
    use std::fs;

    use super::*;
    use crate::command_line::{RuleFiles, RuleName};

    #[test]
    fn embedded_rules_are_listed_explained_and_tested() {
        let listed = run(&RulesCommand::List).unwrap();
        assert!(listed.contains("reverse_shell") && listed.contains("rootkit_module_load"));
        let name = |name: &str| RuleName { name: name.to_owned(), files: Vec::new() };
        let explained = run(&RulesCommand::Explain(name("dropped_file_run"))).unwrap();
        assert!(explained.contains("same object as in step made"), "{explained}");
        assert!(explained.contains("path begins with /dev/shm/"), "{explained}");
        let unknown = run(&RulesCommand::Explain(name("packet_sock"))).unwrap_err();
        assert!(unknown.contains("did you mean `packet_socket`?"), "{unknown}");
        let tested = run(&RulesCommand::Test(RuleFiles { files: Vec::new() })).unwrap();
        assert!(tested.contains("all as they should be"), "{tested}");
    }

    #[test]
    fn files_are_checked_with_place_and_their_tests_run() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("r.toml");
        let text = "[[rule]]\nname = \"mine\"\nseverity = \"info\"\nmitre = \"T1000\"\n\
                    description = \"d\"\nfalse_positives = \"f\"\n[[rule.step]]\nevent = \"exec\"\n\
                    [[rule.test]]\nname = \"nothing\"\nexpect = \"alert\"\nevents = []\n";
        fs::write(&file, text).unwrap();
        let files = || RuleFiles { files: vec![file.clone()] };
        assert!(run(&RulesCommand::Check(files())).unwrap().contains("ok, 1 rules"));
        let failed = run(&RulesCommand::Test(files())).unwrap_err();
        assert!(failed.contains("mine: does not alert: nothing"), "{failed}");
        fs::write(&file, text.replace("\"exec\"", "\"exek\"")).unwrap();
        let wrong = run(&RulesCommand::Check(files())).unwrap_err();
        assert!(wrong.contains("r.toml:8:9: ") && wrong.contains("`exec`"), "{wrong}");
        fs::write(&file, text.replace("mine", "packet_socket")).unwrap();
        assert!(run(&RulesCommand::Check(files())).unwrap_err().contains("another rule"));
    }
}
