use super::*;
use crate::rules::language;

/// What is wrong with the cases of a rule: a directory is removed, and none was made before by the same
/// process.
fn wrong(test: &str) -> Vec<String> {
    let text = format!(
        "[[rule]]\nname = \"r\"\nseverity = \"high\"\nmitre = \"T1059\"\ndescription = \"d\"\n\
         false_positives = \"f\"\nwindow = \"10s\"\n[[rule.step]]\nevent = \"chroot\"\n\
         [[rule.step]]\nevent = \"mkdir\"\n[[rule.step]]\nevent = \"unlink\"\n\
         without = {{ event = \"mkdir\" }}\n[[rule.test]]\nname = \"t\"\n{test}"
    );
    let written = language::parse("dir/r.toml", &text).unwrap().remove(0);
    run(written.rule, &written.cases)
}

#[test]
fn what_may_have_been_lost_is_no_absence() {
    let told = wrong(
        "expect = \"alert\"\nevents = [\
        { event = \"chroot\" }, { event = \"mkdir\" }, { event = \"unlink\" }]",
    );
    assert!(told.is_empty(), "{told:?}");
    for lost in ["none", "alert"] {
        let told = wrong(&format!(
            "expect = \"{lost}\"\nevents = [\
            {{ event = \"chroot\" }}, {{ event = \"mkdir\" }}, {{ event = \"lost\" }}, \
            {{ event = \"unlink\" }}]"
        ));
        assert_eq!(told.is_empty(), lost == "none", "{told:?}");
    }
}

#[test]
fn a_loss_before_the_absence_is_told_with_the_alert() {
    let told = wrong(
        "expect = \"alert\"\nevents = [\
        { event = \"chroot\" }, { event = \"lost\" }, { event = \"mkdir\" }, { event = \"unlink\" }]",
    );
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn a_capture_is_looked_for_beside_the_file() {
    let told = wrong("expect = \"none\"\ncapture = \"x.cap\"");
    assert!(told.len() == 1 && told[0].starts_with("r: dir/x.cap: "), "{told:?}");
    let captures = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/captures");
    let rule = |expect: &str, event: &str| {
        format!(
            "[[rule]]\nname = \"r\"\nseverity = \"high\"\nmitre = \"T1059\"\n\
             description = \"d\"\nfalse_positives = \"f\"\n[[rule.step]]\nevent = \"{event}\"\n\
             [[rule.test]]\nname = \"t\"\nexpect = \"{expect}\"\n\
             capture = \"reverse_shell_of_bash.cap\"\n"
        )
    };
    for (expect, event, right) in
        [("alert", "connect", true), ("none", "connect", false), ("none", "chroot", true)]
    {
        let file = format!("{captures}/r.toml");
        let written = language::parse(&file, &rule(expect, event)).unwrap().remove(0);
        let told = run(written.rule, &written.cases);
        assert_eq!(told.is_empty(), right, "{expect} {event}: {told:?}");
    }
}
