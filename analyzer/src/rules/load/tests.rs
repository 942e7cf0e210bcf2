//! What is embedded is sound, and what is not sound is refused whole.

use super::*;
use crate::rules::cases;

#[test]
fn embedded_rules_do_what_their_tests_say() {
    let set = RuleSet::embedded().unwrap();
    for Written { rule, cases } in set.rules {
        let has = |alert| cases.iter().any(|case| case.alert == alert);
        assert!(has(true) && has(false), "{} has tests of both kinds", rule.name);
        let name = rule.name.clone();
        assert_eq!(cases::run(rule, &cases), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_directory_is_read_in_order_and_refused_whole() {
    let directory = tempfile::tempdir().unwrap();
    let rule = |name: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nseverity = \"info\"\nmitre = \"T1000\"\n\
             description = \"d\"\nfalse_positives = \"f\"\n[[rule.step]]\nevent = \"exec\"\n"
        )
    };
    fs::write(directory.path().join("b.toml"), rule("b")).unwrap();
    fs::write(directory.path().join("a.toml"), rule("a")).unwrap();
    fs::write(directory.path().join("c.txt"), "no rule").unwrap();
    let mut set = RuleSet::default();
    set.add_directory(directory.path()).unwrap();
    let names: Vec<&str> = set.rules.iter().map(|one| one.rule.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    fs::write(directory.path().join("c.toml"), rule("a")).unwrap();
    let refused = RuleSet::default().add_directory(directory.path()).unwrap_err();
    assert!(refused.to_string().contains("another rule `a`"), "{refused}");
    assert!(RuleSet::default().add_directory(Path::new("/nonexistent")).is_err());
    assert!(RuleSet::default().add_file(Path::new("/dev/null")).is_err());
}
