//! What is right is read, and what is wrong is told with its place.

use super::*;

/// A rule with `step` as the text of its steps.
fn written(steps: &str) -> Result<Vec<Written>, LanguageError> {
    let head = "[[rule]]\nname = \"r\"\nseverity = \"high\"\nmitre = \"T1059.004\"\n\
                description = \"d\"\nfalse_positives = \"none\"\nwindow = \"10s\"\n";
    parse("r.toml", &format!("{head}{steps}"))
}

#[test]
fn a_rule_with_everything_is_read() {
    let steps = r#"
allow = [{ exe = "/usr/bin/ssh", parent = "/usr/bin/git", argv = "ssh **" }]
references = ["https://example.org"]
[[rule.step]]
name = "dropped"
event = ["file_write", "memfd"]
where = { path = { prefix = ["/tmp/", "/var/tmp/"], suffix = ".so" }, uid = { ge = 0x10 } }
not = { path = { glob = "/tmp/ok/**" } }
[[rule.step]]
event = "exec"
process = "tree"
same = { object = "dropped" }
within = "500us"
without = { event = "unlink", where = { path = "/tmp/x" } }
count = 3
per = "1s"
[[rule.step]]
event = "connect"
where = { address = { cidr = "10.0.0.0/8" }, family = "inet", errno = 111 }
same = { object = 1 }
process = "same_process"
distance = 100
"#;
    let rules = written(steps).unwrap();
    let rule = &rules[0].rule;
    assert_eq!((rule.steps.len(), rule.window), (3, 10_000_000_000));
    assert_eq!(rule.steps[1].bindings[0].step, 0);
    assert_eq!(rule.allow[0].exe, ["/usr/bin/ssh"]);
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_would_be_right() {
    for (steps, place, told) in [
        ("", "1:1", "no [[rule.step]]"),
        ("[[rule.step]]\nevent = \"opne\"", "9:9", "did you mean `open`?"),
        ("[[rule.step]]\nevnt = \"open\"", "9:1", "did you mean `event`?"),
        ("[[rule.step]]\nevent = \"open\"\nwhere = { pth = 1 }", "10:11", "did you mean `path`?"),
        ("[[rule.step]]\nevent = \"open\"\nwhere = { signal = 1 }", "10:11", "no field of open"),
        ("[[rule.step]]\nevent = \"open\"\nwhere = { path = 1 }", "10:18", "a text in quotes"),
        (
            "[[rule.step]]\nevent = \"open\"\nwhere = { path = { gt = 1 } }",
            "10:20",
            "no operator of `path`",
        ),
        ("[[rule.step]]\nevent = \"open\"\nwhere = { class = \"ssh\" }", "10:19", "ssh_key"),
        ("[[rule.step]]\nevent = \"open\"\nwithin = \"1s\"", "10:10", "first step"),
        (
            "[[rule.step]]\nevent = \"open\"\n[[rule.step]]\nevent = \"exec\"\nwithin = \"soon\"",
            "12:10",
            "\"soon\"",
        ),
        (
            "[[rule.step]]\nevent = \"open\"\n[[rule.step]]\nevent = \"exec\"\nsame = { fd = 2 }",
            "12:15",
            "earlier step",
        ),
        ("[[rule.step]]\nevent = \"open\"\ncount = 3", "10:9", "per"),
        ("[[rule.step]\nevent = \"open\"", "8:", ""),
        (
            "[[rule.step]]\nevent = \"connect\"\nwhere = { address = { cidr = \"1/8\" } }",
            "10:30",
            "network",
        ),
    ] {
        let error = written(steps).unwrap_err().to_string();
        assert!(error.starts_with(&format!("r.toml:{place}")), "{steps}: {error}");
        assert!(error.contains(told), "{steps}: {error}");
    }
}

#[test]
fn heads_are_checked() {
    let rule = |name: &str, mitre: &str| {
        let text = format!(
            "[[rule]]\nname = \"{name}\"\nseverity = \"info\"\nmitre = \"{mitre}\"\n\
             description = \"d\"\nfalse_positives = \"f\"\n[[rule.step]]\nevent = \"exec\"\n"
        );
        parse("r", &text).map(|rules| rules.len()).map_err(|error| error.to_string())
    };
    assert_eq!(rule("a_1", "T1059"), Ok(1));
    assert!(rule("A", "T1059").unwrap_err().contains("a name of a-z"));
    assert!(rule("a", "1059").unwrap_err().contains("a technique"));
    assert!(rule("a", "T1059.1").unwrap_err().contains("r:4:9"));
    // Commented out, perhaps.
    assert!(["", "# [[rule]]\n"].iter().all(|text| parse("r", text).unwrap().is_empty()));
}
