//! What is embedded is sound, and what is not sound is refused whole.

use super::*;
use crate::rules::{
    Choice,
    cases::{self, Coverage},
};

#[test]
fn embedded_rules_do_what_their_tests_say() {
    let set = RuleSet::embedded().unwrap();
    for Written { rule, cases, .. } in set.rules {
        assert_eq!(Coverage::of(&cases).lack(), None, "{}", rule.name);
        let name = rule.name.clone();
        assert_eq!(cases::run(rule, &cases), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn every_file_of_the_library_is_embedded() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut files: Vec<String> = fs::read_dir(library)
        .unwrap()
        .map(|entry| format!("rules/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    files.sort();
    let mut embedded = EMBEDDED.map(|(file, _)| file.to_owned()).to_vec();
    embedded.sort();
    assert_eq!(files, embedded);
}

fn rule(name: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\nseverity = \"info\"\nmitre = \"T1000\"\n\
         description = \"d\"\nfalse_positives = \"f\"\n[[rule.step]]\nevent = \"exec\"\n"
    )
}

/// The rules of one file beside those of the binary.
fn load(text: &str, enabled: &[&str], disabled: &[&str]) -> Result<RuleSet, String> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("r.toml"), text).unwrap();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let (enabled, disabled) = (names(enabled), names(disabled));
    let choice = Choice { directory: Some(directory.path().to_owned()), enabled, disabled };
    RuleSet::load(&choice).map_err(|error| error.to_string())
}

fn is_on(set: &RuleSet, name: &str) -> bool {
    set.rules.iter().any(|one| one.rule.name == name && one.is_on)
}

#[test]
fn rules_are_on_unless_they_or_the_operator_say_otherwise() {
    let noisy = rule("loud").replace("severity", "default = \"off\"\nseverity");
    let text = rule("a") + &noisy;
    let set = load(&text, &[], &[]).unwrap();
    assert!(is_on(&set, "a") && is_on(&set, "packet_socket") && !is_on(&set, "loud"));
    let set = load(&text, &["loud"], &["a", "packet_socket", "reverse_shell"]).unwrap();
    assert!(!is_on(&set, "a") && !is_on(&set, "packet_socket") && is_on(&set, "loud"));
    let active = set.activate();
    assert!(active.exceptions.has_off("reverse_shell"));
    assert!(!active.rules.rules().iter().any(|one| one.rule.name == "packet_socket"));
}

#[test]
fn a_choice_of_what_is_not_there_is_refused() {
    let told = |enabled: &[&str], disabled: &[&str]| {
        load(&rule("a"), enabled, disabled).map(drop).unwrap_err()
    };
    assert!(told(&["aa"], &[]).starts_with("enable-rules: `aa` is no rule: did you mean `a`?"));
    assert!(told(&[], &["reverse_shel"]).contains("did you mean `reverse_shell`?"));
    assert!(told(&["a"], &["a"]).contains("by enable-rules and by disable-rules"));
}

#[test]
fn a_name_of_the_binary_is_taken_unless_that_rule_is_off() {
    let told = |name: &str, disabled: &[&str]| load(&rule(name), &[], disabled).map(drop);
    assert!(
        told("packet_socket", &[]).unwrap_err().contains("r.toml:1:1: `packet_socket` is built in")
    );
    let set = load(&rule("packet_socket"), &[], &["packet_socket"]).unwrap();
    let on: Vec<&Written> =
        set.rules.iter().filter(|one| one.rule.name == "packet_socket" && one.is_on).collect();
    assert!(on.len() == 1 && !on[0].is_embedded);
    let in_code = told("reverse_shell", &["reverse_shell"]).unwrap_err();
    assert!(in_code.contains("is built in"), "{in_code}");
}

#[test]
fn what_operators_allow_is_added_to_rules_of_any_file() {
    let allow = |rest: &str| format!("[[allow]]\n{rest}\n");
    let set = load(
        &(allow("rule = \"packet_socket\"\nexe = \"/usr/sbin/x\"\nwhere = { family = 17 }")
            + &allow("rule = \"reverse_shell\"\nexe = \"/bin/sh\"\nparent = \"/usr/sbin/y\"")),
        &[],
        &[],
    )
    .unwrap();
    let allowed = |set: &RuleSet| {
        let found = set.rules.iter().find(|one| one.rule.name == "packet_socket").unwrap();
        found.rule.allow.iter().filter(|one| one.exe == ["/usr/sbin/x"]).count()
    };
    assert_eq!((allowed(&set), set.allow.len()), (1, 1));
    let told = |text: &str| load(text, &[], &[]).map(drop).unwrap_err();
    let unknown = told(&("\n".to_owned() + &allow("rule = \"packet\"\nexe = \"/x\"")));
    assert!(unknown.contains("r.toml:3:8: `packet` is no rule"), "{unknown}");
    let no_field = told(&allow("rule = \"packet_socket\"\nexe = \"/x\"\nwhere = { signal = 1 }"));
    assert!(no_field.contains("r.toml:4:11: "), "{no_field}");
    let of_code = told(&allow("rule = \"reverse_shell\"\nexe = \"/x\"\nwhere = { fd = 1 }"));
    assert!(of_code.contains("r.toml:4:9: `where` asks about an event"), "{of_code}");
    assert!(told(&allow("rule = \"packet_socket\"")).contains("`exe` is missing"));
}

#[test]
fn only_the_default_directory_may_be_missing() {
    let directory = Some(PathBuf::from("/nonexistent"));
    let error = RuleSet::load(&Choice { directory, ..Choice::default() }).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent: No such file or directory (os error 2)");
}

#[test]
fn a_directory_is_read_in_order_and_refused_whole() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("b.toml"), rule("b")).unwrap();
    fs::write(directory.path().join("a.toml"), rule("a")).unwrap();
    fs::write(directory.path().join("c.txt"), "no rule").unwrap();
    let mut set = RuleSet::default();
    set.add_directory(directory.path()).unwrap();
    let names: Vec<&str> = set.rules.iter().map(|one| one.rule.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    fs::write(directory.path().join("c.toml"), rule("a")).unwrap();
    let refused = RuleSet::default().add_directory(directory.path()).unwrap_err();
    assert!(refused.to_string().contains("another rule `a` in "), "{refused}");
    assert!(RuleSet::default().add_directory(Path::new("/nonexistent")).is_err());
    assert!(RuleSet::default().add_file(Path::new("/dev/null")).is_err());
}
