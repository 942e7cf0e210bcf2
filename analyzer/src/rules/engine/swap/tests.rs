//! After a swap an unchanged rule has seen everything, and a new or changed one what came after.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    cgroups::Cgroups,
    event::{Action, Event, ProcessId},
    lineage::Lineage,
    patterns::Verdicts,
    process_table::ProcessTable,
    rules::{
        language,
        reference::{Words, steps, streams, text},
        rule::Rule,
    },
};

/// A rule of the name `number`.
fn rule(number: usize, steps: &[Words]) -> Rule {
    let text = text(30, steps).replace("name = \"r\"", &format!("name = \"r{number}\""));
    language::parse("r", &text).unwrap().remove(0).rule
}

/// Which rules alert when and about whom, if `second` takes the place of `first` before event `split`;
/// where `first` is `None`, nothing is looked for until then.
fn alerts(
    first: Option<Vec<Rule>>,
    second: Option<Vec<Rule>>,
    split: usize,
    events: &[Event],
) -> Vec<(usize, String, ProcessId)> {
    let (mut processes, cgroups) = (ProcessTable::default(), Cgroups::default());
    let mut engine = Engine::new(Compiled::new(first.unwrap_or_default()));
    let mut lineage = Lineage::default();
    let mut second = second;
    let mut alerts = Vec::new();
    for (place, event) in events.iter().enumerate() {
        if place == split
            && let Some(second) = second.take()
        {
            engine.swap(Compiled::new(second));
        }
        processes.apply(event);
        let mut verdicts = Verdicts::default();
        lineage.observe(event, &processes);
        engine.observe(event, &processes, &cgroups, &mut lineage, &mut verdicts);
        let new = verdicts.findings.into_iter();
        alerts.extend(new.map(|one| (place, one.rule.name.into_owned(), one.process)));
        if matches!(event.action, Action::Exit) {
            processes.forget(event.process);
        }
    }
    alerts.sort();
    alerts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn unchanged_rules_go_on_and_others_begin_anew(
        all in vec(vec(steps(), 1..4), 4),
        other in vec(steps(), 1..4),
        events in streams(),
        split in 3..20_usize,
    ) {
        // 0 goes, 1 and 2 stay at other numbers, 3 is changed, 4 is new.
        let before = || (0..4).map(|number| rule(number, &all[number])).collect::<Vec<_>>();
        let changed = || rule(3, &other);
        let new = || rule(4, &all[0]);
        let after = || vec![new(), rule(2, &all[2]), changed(), rule(1, &all[1])];
        let is_changed = changed() != rule(3, &all[3]);
        let found = alerts(Some(before()), Some(after()), split, &events);
        let mut expected = Vec::new();
        let split_at = split.min(events.len());
        for number in [0, 3] {
            let until = if number == 3 && !is_changed { events.len() } else { split_at };
            expected.extend(alerts(Some(vec![rule(number, &all[number])]), None, 0, &events[..until]));
        }
        for number in [1, 2] {
            expected.extend(alerts(Some(vec![rule(number, &all[number])]), None, 0, &events));
        }
        for late in [Some(new()), is_changed.then(changed)].into_iter().flatten() {
            expected.extend(alerts(None, Some(vec![late]), split, &events));
        }
        expected.sort();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_swap_says_what_it_changed() {
    let one = |number| {
        let step = ("open", None, "same_process", None, None, None, None, None);
        rule(number, &[step, step])
    };
    let mut engine = Engine::new(Compiled::new(vec![one(1), one(2), one(3)]));
    let mut different = one(2);
    different.window += 1;
    let swap = engine.swap(Compiled::new(vec![one(4), one(5), different, one(1)]));
    assert_eq!(
        swap,
        Swap { rules: 4, new: 2, changed: 1, gone: 1, given_up: 0, has_other_clients: false }
    );
    let again = engine.swap(Compiled::new(vec![one(4), one(5), one(1)]));
    assert_eq!(again, Swap { rules: 3, gone: 1, ..Swap::default() });
}
