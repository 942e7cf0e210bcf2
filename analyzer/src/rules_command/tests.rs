use std::fs;

use super::*;
use crate::command_line::{RuleArguments, RuleFiles, RuleName};

/// A directory of its own, so that this host's rules and configuration do not matter.
struct Stage(tempfile::TempDir);

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("analyzer.conf"), "").unwrap();
        Self(directory)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, command: RulesCommand) -> Result<String, String> {
        self.run_without(command, &[])
    }

    fn run_without(&self, command: RulesCommand, off: &[&str]) -> Result<String, String> {
        let rules = RuleArguments {
            rules: Some(self.0.path().to_owned()),
            disable_rules: Some(off.iter().map(|&name| name.to_owned()).collect()),
            ..RuleArguments::default()
        };
        let config = Some(self.0.path().join("analyzer.conf"));
        run(&RulesArguments { config, rules, command })
    }
}

fn rule(name: &str, event: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nseverity = \"info\"\nmitre = \"T1000\"\ndescription = \"d\"\n\
         false_positives = \"f\"\n[[rule.step]]\nevent = \"{event}\"\n"
    )
}

fn explained(name: &str) -> RulesCommand {
    RulesCommand::Explain(RuleName { name: name.to_owned(), files: Vec::new() })
}

fn files(files: &[&PathBuf]) -> RuleFiles {
    RuleFiles { files: files.iter().map(|&file| file.clone()).collect() }
}

#[test]
fn rules_of_all_places_are_listed_explained_and_tested() {
    let stage = Stage::new();
    stage.write(
        "mine.toml",
        &(rule("mine", "exec") + "[[allow]]\nrule = \"packet_socket\"\nexe = \"/x\""),
    );
    let listed = stage.run_without(RulesCommand::List, &["rootkit_module_load"]).unwrap();
    let line = |name: &str| listed.lines().find(|line| line.contains(name)).unwrap_or_default();
    assert!(line("reverse_shell").starts_with("on "), "{listed}");
    assert!(line("rootkit_module_load").starts_with("off "), "{listed}");
    assert!(line("mine").contains("mine.toml"), "{listed}");
    let told = stage.run(explained("dropped_file_run")).unwrap();
    assert!(told.contains("same object as in step made"), "{told}");
    assert!(told.contains("path begins with /dev/shm/"), "{told}");
    assert!(stage.run(explained("reverse_shell")).unwrap().contains("written in code"));
    assert!(stage.run(explained("mine")).unwrap().contains("mine.toml, on"));
    let told = stage.run(explained("packet_socket")).unwrap();
    assert!(told.contains("not counted: what /x does"), "{told}");
    let unknown = stage.run(explained("packet_sock")).unwrap_err();
    assert!(unknown.contains("did you mean `packet_socket`?"), "{unknown}");
    let tested = stage.run(RulesCommand::Test(files(&[]))).unwrap();
    assert!(tested.contains("all as they should be"), "{tested}");
}

#[test]
fn files_are_checked_with_place_and_their_tests_run() {
    let stage = Stage::new();
    let test = "[[rule.test]]\nname = \"nothing\"\nexpect = \"alert\"\nevents = []\n";
    let file = stage.write("r.txt", &(rule("mine", "exec") + test));
    let check = || stage.run(RulesCommand::Check(files(&[&file])));
    let told = check().unwrap();
    assert!(told.contains("ok, 1 rules") && told.contains("has no test of a near miss"), "{told}");
    let failed = stage.run(RulesCommand::Test(files(&[&file]))).unwrap_err();
    assert!(
        failed.contains("mine: does not alert: nothing") && failed.contains("1 of 1"),
        "{failed}"
    );
    stage.write("r.txt", &rule("mine", "exek"));
    let wrong = check().unwrap_err();
    assert!(wrong.contains("r.txt:8:9: ") && wrong.contains("`exec`"), "{wrong}");
    stage.write("r.txt", &rule("packet_socket", "exec"));
    let wrong = check().unwrap_err();
    assert!(wrong.contains("r.txt:1:1: ") && wrong.contains("disable that one first"), "{wrong}");
    let command = RulesCommand::Check(files(&[&file]));
    assert!(stage.run_without(command, &["packet_socket"]).is_ok());
    let other = stage.write("other.txt", &rule("packet_socket", "exec"));
    let command = RulesCommand::Check(files(&[&file, &other]));
    let wrong = stage.run_without(command, &["packet_socket"]).unwrap_err();
    assert!(wrong.contains("another rule"), "{wrong}");
}

#[test]
fn clients_are_checked_and_told_with_the_patterns_that_they_are_none_of() {
    let stage = Stage::new();
    let client =
        "[[client]]\nwhy = \"deploys\"\nexe = \"/opt/d\"\nclass = \"ssh_key\"\nport = 22\n";
    let file = stage.write("own.toml", client);
    let told = stage.run(RulesCommand::Check(files(&[&file]))).unwrap();
    assert!(told.ends_with("own.toml: ok, 0 rules, 1 clients\n"), "{told}");
    let told = stage.run(RulesCommand::Check(files(&[]))).unwrap();
    assert!(told.contains("0 rules, 1 clients beside the built-in ones"), "{told}");
    let told = stage.run(explained("credential_exfil")).unwrap();
    let its = "  - deploys: ssh_key of /opt/d, until it goes to another port than 22  (";
    assert!(told.contains(its) && told.contains("of the script npm"), "{told}");
    assert!(
        told.contains(", named .netrc, unless its arguments name the file  (built in)"),
        "{told}"
    );
    assert!(!stage.run(explained("fork_bomb")).unwrap().contains("deploys"));
    stage.write("own.toml", &client.replace("exe", "program"));
    let wrong = stage.run(RulesCommand::Check(files(&[&file]))).unwrap_err();
    assert!(wrong.contains("own.toml:3:1: `program` is no key of a client"), "{wrong}");
}

#[test]
fn what_is_wrong_with_a_choice_is_told() {
    let stage = Stage::new();
    let wrong = stage.run_without(RulesCommand::List, &["packet_sokket"]).unwrap_err();
    assert!(wrong.contains("disable-rules: ") && wrong.contains("`packet_socket`"), "{wrong}");
    let directory = stage.0.path().join("none");
    let rules = RuleArguments { rules: Some(directory), ..RuleArguments::default() };
    let config = Some(stage.0.path().join("analyzer.conf"));
    let wrong = run(&RulesArguments { config, rules, command: RulesCommand::List }).unwrap_err();
    assert!(wrong.contains("none: No such file"), "{wrong}");
}
