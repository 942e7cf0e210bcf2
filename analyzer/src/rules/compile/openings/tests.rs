//! Every rule that begins with an event is found for it.

use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    cgroups::Cgroups,
    event::{Action, Event, File, FileCall, Origin, Path, ProcessId},
    process_table::ProcessTable,
    rules::{compile::Compiled, fields::Seen, kinds::EventKind, language, rule::Rule},
};

/// A rule that begins when a file is opened that is like this.
fn rule(number: usize, conditions: &str) -> Rule {
    let text = format!(
        "[[rule]]\nname = \"r{number}\"\nseverity = \"high\"\nmitre = \"T1059\"\ndescription = \"d\"\n\
         false_positives = \"f\"\n[[rule.step]]\nevent = \"open\"\nwhere = {{ {conditions} }}\n"
    );
    language::parse("r", &text).unwrap().remove(0).rule
}

fn opened(path: &[u8], number: u32) -> Event {
    let path = Path { bytes: path.to_vec(), origin: Origin::Kernel, truncated: false };
    let file = File {
        call: FileCall::Open,
        number: Some(number),
        object: None,
        path: Some(path),
        class: 0,
        open_flags: 0,
        close_on_exec: false,
    };
    Event::of(1, ProcessId { tgid: 1, start_time: 1 }, Action::File(Box::new(file)))
}

fn conditions() -> impl Strategy<Value = String> {
    let text = || "[ab/]{0,3}";
    let operators = select(vec!["eq", "ne", "prefix", "suffix", "contains"]);
    prop_oneof![
        (operators, vec(text(), 1..3))
            .prop_map(|(operator, texts)| format!("path = {{ {operator} = {texts:?} }}")),
        "[ab/*?]{1,4}".prop_map(|glob| format!("path = {{ glob = {glob:?} }}")),
        vec(0..3_u32, 1..3).prop_map(|numbers| format!("fd = {numbers:?}")),
        (0..3_u32, text())
            .prop_map(|(fd, text)| format!("fd = {fd}, path = {{ prefix = {text:?} }}")),
        (0..3_u32).prop_map(|fd| format!("fd = {{ ge = {fd} }}")),
    ]
}

proptest! {
    #[test]
    fn all_rules_that_begin_are_found(
        rules in vec(conditions(), 1..12),
        path in "[ab/]{0,5}",
        number in 0..3_u32,
    ) {
        let rules = rules.iter().enumerate();
        let compiled = Compiled::new(rules.map(|(number, words)| rule(number, words)).collect());
        let event = opened(path.as_bytes(), number);
        let (processes, cgroups) = (ProcessTable::default(), Cgroups::default());
        let kind = EventKind::of(&event).unwrap();
        let seen =
            Seen { event: &event, kind, process: None, processes: &processes, cgroups: &cgroups };
        let mut found = Vec::new();
        compiled.dispatch(kind).unwrap().openings.find(&seen, &mut found);
        prop_assert!(found.is_sorted_by(|one, next| one < next));
        for (number, one) in compiled.rules().iter().enumerate() {
            let begins = one.rule.steps[0].event.matches(&seen);
            prop_assert!(!begins || found.contains(&number), "{:?}", one.rule.steps[0].event);
        }
    }
}

#[test]
fn rules_about_other_texts_are_not_looked_at() {
    let rules =
        (0..100).map(|number| rule(number, &format!("path = {{ prefix = \"/srv/{number}/\" }}")));
    let compiled = Compiled::new(rules.collect());
    let event = opened(b"/srv/17/x", 1);
    let (processes, cgroups) = (ProcessTable::default(), Cgroups::default());
    let kind = EventKind::of(&event).unwrap();
    let seen =
        Seen { event: &event, kind, process: None, processes: &processes, cgroups: &cgroups };
    let mut found = Vec::new();
    compiled.dispatch(kind).unwrap().openings.find(&seen, &mut found);
    assert_eq!(found, [17]);
}
