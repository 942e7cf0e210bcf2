use std::sync::OnceLock;

use proptest::prelude::*;
use sentinel_ipc::frame::Refusal;

use super::*;
use crate::analysis::Analysis;

const SECOND: u64 = 1_000_000_000;
static TEMPLATE: OnceLock<Alert> = OnceLock::new();

/// A warning of the rule `name` at `at` about the process `pid`, which runs `exe`.
fn alert(at: u64, name: &'static str, exe: &str, pid: u32) -> Alert {
    Alert {
        engine: Engine::Patterns,
        timestamp_boot: at,
        timestamp: at,
        pattern_name: name.into(),
        pattern_id: fnv1a(name),
        severity: Severity::Warning,
        exe: Some(exe.to_owned()),
        pid,
        ..TEMPLATE.get_or_init(|| Analysis::new(false).breaker_tripped(0)).clone()
    }
}

fn above(exe: &str) -> AlertAncestor {
    AlertAncestor { pid: 1, exe: Some(exe.to_owned()), exe_trusted: true }
}

fn count(alert: &Alert) -> u64 {
    alert.repeated.as_ref().map_or(0, |repeated| repeated.count)
}

#[test]
fn the_first_is_told_at_once_and_the_rest_as_one_line_with_its_count() {
    let mut hygiene = Hygiene::default();
    assert_eq!(hygiene.pass(alert(1, "x", "/bin/a", 1)).len(), 1);
    for pid in 2..40 {
        assert!(hygiene.pass(alert(u64::from(pid), "x", "/bin/a", pid)).is_empty());
    }
    assert!(hygiene.time(WINDOW_NS).is_empty(), "it is not over yet");
    let told = hygiene.time(WINDOW_NS + 1);
    assert_eq!((told.len(), count(&told[0])), (1, 38));
    assert_eq!(told[0].repeated.as_ref().unwrap().pids.len(), MAX_PIDS);
    assert_eq!(told[0].severity, Severity::Warning);
    assert!(told[0].message.starts_with("the same 38 times more within 60 s: "), "{told:?}");
    assert_eq!(hygiene.pass(alert(2 * WINDOW_NS, "x", "/bin/a", 9)).len(), 1, "it is told anew");
    assert!(hygiene.finish(3 * WINDOW_NS).is_empty(), "nothing was left out since then");
}

#[test]
fn what_is_grave_is_folded_for_one_process_only() {
    let mut hygiene = Hygiene::default();
    for severity in [Severity::High, Severity::Critical] {
        for pid in 1..4 {
            let one = || Alert { severity, ..alert(1, "x", "/bin/a", pid) };
            assert_eq!(hygiene.pass(one()).len(), 1);
            assert_eq!(hygiene.pass(Alert { start_time: 7, ..one() }).len(), 1);
            assert!(hygiene.pass(one()).is_empty());
        }
    }
}

#[test]
fn one_more_process_in_what_was_told_is_counted_with_it() {
    let mut hygiene = Hygiene::default();
    let of = |pid, port| Alert {
        severity: Severity::Critical,
        remote_port: Some(port),
        ..alert(1, "x", "/bin/a", pid)
    };
    let more = |pid, port| Alert { repeat: true, exe: Some("/bin/b".into()), ..of(pid, port) };
    assert_eq!(hygiene.pass(of(1, 80)).len(), 1);
    assert!(hygiene.pass(more(2, 80)).is_empty());
    assert!(hygiene.pass(more(3, 80)).is_empty());
    assert_eq!(hygiene.pass(more(4, 81)).len(), 1, "the first of it is never left out");
    let refused = ActionTaken::Decided(Verdict::Refused(Refusal::Budget));
    assert_eq!(hygiene.pass(Alert { action: refused, ..more(5, 80) }).len(), 1);
    assert_eq!(hygiene.left_out(), (2, 0));
    let told = hygiene.finish(5 * SECOND);
    assert_eq!((told.len(), count(&told[0])), (1, 2));
    assert_eq!((told[0].pid, told[0].severity), (1, Severity::Critical));
    assert_eq!(told[0].timestamp_boot, 5 * SECOND, "no later than it is");
    assert_eq!(told[0].repeated.as_ref().unwrap().pids, [2, 3]);
}

#[test]
fn what_differs_in_anything_that_matters_is_told_by_itself() {
    let mut hygiene = Hygiene::default();
    let first = || alert(1, "x", "/bin/a", 1);
    let others = [
        first(),
        alert(1, "y", "/bin/a", 1),
        alert(1, "x", "/bin/b", 1),
        Alert { severity: Severity::High, ..first() },
        Alert { cmdline: Some("a -b".into()), ..first() },
        Alert { uid: 7, ..first() },
        Alert { cgroup: Some("/x".into()), ..first() },
        Alert { remote_ip: Some("192.0.2.1".into()), ..first() },
        Alert { objects: vec!["open path /etc/shadow".into()], ..first() },
        Alert { ancestors: vec![above("/b")], ..first() },
        Alert { action: ActionTaken::Decided(Verdict::Refused(Refusal::Budget)), ..first() },
    ];
    for other in others {
        assert_eq!(hygiene.pass(other).len(), 1);
    }
    assert!(hygiene.pass(Alert { remote_port: Some(9), pid: 4, ..first() }).is_empty());
}

#[test]
fn kills_and_what_is_about_sentinel_are_never_left_out() {
    let mut hygiene = Hygiene::default();
    let killed = ActionTaken::Decided(Verdict::Terminated);
    for at in 0..2 * MAX_TOLD {
        assert_eq!(hygiene.pass(Alert { action: killed, ..alert(at, "x", "/a", 1) }).len(), 1);
        let about = Alert { engine: Engine::Sensor, ..alert(at, "z", "/a", 1) };
        assert_eq!(hygiene.pass(about).len(), 1);
    }
}

#[test]
fn a_rule_that_says_too_much_is_bounded_and_that_is_told_at_once_and_at_the_end() {
    let mut hygiene = Hygiene::default();
    let of = |severity| {
        move |number: u64| Alert { severity, ..alert(number, "x", &format!("/{number}"), 1) }
    };
    let (high, critical) = (of(Severity::High), of(Severity::Critical));
    let mut told = Vec::new();
    for number in 0..MAX_TOLD + 10 {
        told.extend(hygiene.pass(high(number)));
    }
    assert_eq!(u64::try_from(told.len()).unwrap(), MAX_TOLD + 1);
    let begun = told.pop().unwrap();
    assert_eq!((begun.pattern_name.as_ref(), begun.severity), (WITHHELD, Severity::High));
    assert_eq!(hygiene.pass(critical(900)).len(), 1, "what is worse is told");
    assert_eq!(
        hygiene.pass(Alert { severity: Severity::High, ..alert(901, "y", "/y", 1) }).len(),
        1
    );
    let ended = hygiene.time(WINDOW_NS + 1000);
    let sum = ended.iter().find(|line| line.pattern_name == WITHHELD).unwrap();
    let withheld = sum.withheld.as_ref().unwrap();
    assert_eq!(withheld.alerts, Alerts { high: 10, ..Alerts::default() });
    assert_eq!((withheld.pattern_name.as_ref(), sum.severity), ("x", Severity::High));
    let repeated = sum.repeated.as_ref().unwrap();
    assert_eq!((repeated.count, repeated.pids.as_slice()), (10, [1].as_slice()));
    assert!(sum.message.contains("10 more high alerts of x"), "{}", sum.message);
    assert_eq!(hygiene.left_out(), (0, 10));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever comes, nothing vanishes: told, folded and withheld are all there were, each rule says no
    /// more than it may, and what is kept is bounded.
    #[test]
    fn every_alert_is_told_or_counted_on_a_line_that_is(
        stream in proptest::collection::vec((0_u64..3 * SECOND, 0_usize..3, 0_u32..900), 0..2500),
    ) {
        let (mut hygiene, mut now, mut told) = (Hygiene::default(), 0, Vec::new());
        let (mut critical, names) = (0, ["a", "b", "c"]);
        for (later, rule, kind) in &stream {
            now += later / 8;
            let severity = if kind % 5 == 0 { Severity::Critical } else { Severity::Warning };
            critical += u64::from(severity == Severity::Critical);
            let one = alert(now, names[*rule], &format!("/{kind}"), *kind);
            told.extend(hygiene.pass(Alert { severity, ..one }));
            prop_assert!(hygiene.folds.len() <= MAX_FOLDS && hygiene.rules.len() <= 2 * names.len());
        }
        told.extend(hygiene.finish(now));
        let is_line = |one: &&Alert| one.pattern_name != WITHHELD;
        let of = |wanted: &dyn Fn(Severity) -> bool| -> u64 {
            let lines = told.iter().filter(is_line).filter(|one| wanted(one.severity));
            lines.map(|one| if one.repeated.is_some() { count(one) } else { 1 }).sum()
        };
        let withheld: Vec<_> = told.iter().filter_map(|one| one.withheld.as_ref()).collect();
        let all = u64::try_from(stream.len()).unwrap();
        prop_assert_eq!(of(&|_| true) + withheld.iter().map(|it| it.alerts.sum()).sum::<u64>(), all);
        let withheld_critical: u64 = withheld.iter().map(|it| it.alerts.critical).sum();
        prop_assert_eq!(of(&|it| it == Severity::Critical) + withheld_critical, critical);
        for (index, one) in told.iter().enumerate().filter(|(_, one)| is_line(one)) {
            let near = told.iter().skip(index + 1).filter(|other| {
                is_line(other)
                    && other.repeated.is_none()
                    && other.pattern_name == one.pattern_name
                    && other.severity == one.severity
                    && other.timestamp_boot - one.timestamp_boot < WINDOW_NS
            });
            // Two windows may meet within one such span.
            prop_assert!(u64::try_from(near.count()).unwrap() <= 2 * MAX_TOLD);
        }
    }

    #[test]
    fn what_is_kept_is_bounded_however_many_rules_there_are(kinds in 1_usize..4000) {
        let mut hygiene = Hygiene::default();
        for kind in 0..kinds {
            let name: Cow<'static, str> = format!("rule_{}", kind / 90).into();
            let one = alert(1, "x", &format!("/{kind}"), 1);
            hygiene.pass(Alert { pattern_name: name, ..one });
            prop_assert!(hygiene.folds.len() <= MAX_FOLDS);
        }
    }
}
