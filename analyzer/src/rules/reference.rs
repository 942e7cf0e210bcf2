//! What the engine is held against: tries every choice of events for a rule's steps, and so is slow
//! and plain. A rule has matched at an event when some choice that ends with it is right.

use std::collections::HashMap;

use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest},
    sample::select,
};

use super::{
    compile::Compiled,
    engine::Engine,
    fields::Seen,
    kinds::EventKind,
    language,
    rule::{Bound, Common, Relation, Rule},
};
use crate::{
    cgroups::Cgroups,
    event::{
        Action, Descriptor, DescriptorCall, Event, Exec, File, FileCall, Object, ObjectId,
        ProcessId,
    },
    lineage::Lineage,
    patterns::Verdicts,
    process_table::ProcessTable,
};

/// What a rule needs to know of an event.
struct Fact {
    time: u64,
    process: ProcessId,
    ancestors: Vec<ProcessId>,
    /// After which event each of the ancestors forked on the way here, nearest first.
    forked: Vec<usize>,
    events: u64,
    steps: Vec<bool>,
    absences: Vec<bool>,
    common: Vec<Option<Bound>>,
}

impl Fact {
    fn of(rule: &Rule, seen: &Seen<'_>, forks: &HashMap<ProcessId, usize>) -> Self {
        let steps = || rule.steps.iter();
        let line: Vec<ProcessId> = std::iter::once(seen.event.process)
            .chain(seen.process.unwrap().ancestors.iter().map(|one| one.id))
            .collect();
        Self {
            time: seen.event.timestamp,
            process: seen.event.process,
            forked: line.iter().filter_map(|one| forks.get(one).copied()).collect(),
            ancestors: line[1..].to_vec(),
            events: seen.process.unwrap().events,
            steps: steps().map(|step| step.event.matches(seen)).collect(),
            absences: steps()
                .map(|step| step.without.as_ref().is_some_and(|one| one.event.matches(seen)))
                .collect(),
            common: Common::ALL.iter().map(|(_, common)| common.of(seen)).collect(),
        }
    }

    /// Whether who did this may take a step after `previous`, which was the event of that place.
    fn relates(&self, relation: Relation, previous: ProcessId, place: usize) -> bool {
        match relation {
            // Nothing but forks hands on data here.
            Relation::Lineage => {
                let above = self.ancestors.iter().position(|one| *one == previous);
                self.process == previous || above.is_some_and(|above| self.forked[above] > place)
            }
            Relation::SameProcess => self.process == previous,
            Relation::Child => self.ancestors.first() == Some(&previous),
            Relation::Tree => self.process == previous || self.ancestors.contains(&previous),
            Relation::Any => true,
        }
    }

    fn common(&self, common: Common) -> Option<Bound> {
        let place = Common::ALL.iter().position(|(_, one)| *one == common);
        self.common[place.unwrap()]
    }
}

/// Whether some choice of events takes all steps of the rule, `last` at the end.
fn matches_at(rule: &Rule, facts: &[Fact], last: usize) -> bool {
    choose(rule, facts, &mut Vec::new(), &mut Vec::new(), last)
}

/// `chosen`: the events of each whole step so far; `part`: those of the step that is being taken.
fn choose(
    rule: &Rule,
    facts: &[Fact],
    chosen: &mut Vec<Vec<usize>>,
    part: &mut Vec<usize>,
    last: usize,
) -> bool {
    let Some(step) = rule.steps.get(chosen.len()) else {
        return chosen.last().unwrap().last() == Some(&last);
    };
    if part.len() == step.repeat.map_or(1, |repeat| repeat.count) {
        if !is_right(rule, facts, chosen, part) {
            return false;
        }
        chosen.push(part.clone());
        let found = choose(rule, facts, chosen, &mut Vec::new(), last);
        chosen.pop();
        return found;
    }
    let before = part.last().or_else(|| chosen.last().and_then(|step| step.last()));
    let from = before.map_or(0, |before| before + 1);
    for next in from..=last {
        if facts[next].steps[chosen.len()] {
            part.push(next);
            let found = choose(rule, facts, chosen, part, last);
            part.pop();
            if found {
                return true;
            }
        }
    }
    false
}

/// Whether the events in `part` may take the step after those in `chosen`.
fn is_right(rule: &Rule, facts: &[Fact], chosen: &[Vec<usize>], part: &[usize]) -> bool {
    let number = chosen.len();
    let step = &rule.steps[number];
    let (first, last) = (&facts[part[0]], &facts[*part.last().unwrap()]);
    let start = chosen.first().map_or(first.time, |step| facts[step[0]].time);
    let is_in_time = last.time - start <= rule.window
        && step.repeat.is_none_or(|repeat| last.time - first.time <= repeat.per);
    let Some(previous) = chosen.last().map(|step| *step.last().unwrap()) else {
        return is_in_time && part.iter().all(|one| facts[*one].process == first.process);
    };
    let before = &facts[previous];
    let is_bound = |fact: &Fact| {
        step.bindings.iter().all(|binding| {
            let earlier = &facts[*chosen[binding.step].last().unwrap()];
            let known = earlier.common(binding.common);
            known.is_some() && known == fact.common(binding.common)
        })
    };
    let between = &facts[previous + 1..*part.last().unwrap()];
    let is_absent = step.without.as_ref().is_none_or(|absence| {
        !between.iter().any(|fact| {
            fact.absences[number] && fact.relates(absence.relation, before.process, previous)
        })
    });
    is_in_time
        && is_absent
        && step.within.is_none_or(|within| last.time - before.time <= within)
        && step
            .distance
            .is_none_or(|distance| last.events.saturating_sub(before.events) <= distance)
        && part
            .iter()
            .map(|one| &facts[*one])
            .all(|one| one.relates(step.relation, before.process, previous) && is_bound(one))
}

/// When the rule alerts, by the reference.
fn by_reference(rule: &Rule, events: &[Event]) -> Vec<(usize, ProcessId)> {
    let (mut processes, cgroups) = (ProcessTable::default(), Cgroups::default());
    let mut facts = Vec::new();
    let mut forks = HashMap::new();
    let mut alerts: Vec<(usize, ProcessId)> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        processes.apply(event);
        let kind = EventKind::of(event).unwrap();
        let process = processes.get(event.process);
        let seen = Seen { event, kind, process, processes: &processes, cgroups: &cgroups };
        facts.push(Fact::of(rule, &seen, &forks));
        if let Action::Fork { child, .. } = &event.action {
            forks.insert(*child, place);
        }
        let is_silent = alerts.iter().any(|(at, process)| {
            *process == event.process && event.timestamp - events[*at].timestamp < rule.window
        });
        if matches_at(rule, &facts, place) && !is_silent {
            alerts.push((place, event.process));
        }
        if matches!(event.action, Action::Exit) {
            processes.forget(event.process);
        }
    }
    alerts
}

/// When the rule alerts, by the engine.
fn by_engine(rule: Rule, events: &[Event]) -> Vec<(usize, ProcessId)> {
    let (mut processes, cgroups) = (ProcessTable::default(), Cgroups::default());
    let mut engine = Engine::new(Compiled::new(vec![rule]));
    let mut lineage = Lineage::default();
    let mut alerts = Vec::new();
    for (place, event) in events.iter().enumerate() {
        processes.apply(event);
        let mut verdicts = Verdicts::default();
        lineage.observe(event, &processes);
        engine.observe(event, &processes, &cgroups, &mut lineage, &mut verdicts);
        alerts.extend(verdicts.findings.iter().map(|finding| (place, finding.process)));
        if matches!(event.action, Action::Exit) {
            processes.forget(event.process);
        }
    }
    assert_eq!((engine.evicted(), lineage.lost()), (0, 0));
    alerts
}

fn id(tgid: u32) -> ProcessId {
    ProcessId { tgid, start_time: 1 }
}

fn action(kind: &str, number: u32, inode: u64) -> Action {
    let object = Object { id: ObjectId { inode, ..ObjectId::default() }, ..Object::default() };
    let (close_on_exec, descriptor) = (false, Some(Descriptor { object, socket: None }));
    match kind {
        "open" => Action::File(Box::new(File {
            call: FileCall::Open,
            number: Some(number),
            object: (inode > 0).then_some(object),
            path: None,
            class: 0,
            open_flags: 0,
            close_on_exec,
        })),
        "connect" => Action::Descriptor {
            call: DescriptorCall::Connect,
            number: Some(number),
            from: None,
            descriptor,
            close_on_exec,
        },
        "exit" => Action::Exit,
        _ => Action::Exec(Box::new(Exec { object: Some(object), ..Exec::default() })),
    }
}

/// Three generations of processes and one beside them, then what they do, close together; some have
/// children still.
pub(super) fn streams() -> impl Strategy<Value = Vec<Event>> {
    let kinds = prop_oneof![
        16 => Just("open"), 16 => Just("connect"), 12 => Just("exec"), 1 => Just("exit"),
        4 => Just("fork")
    ];
    vec((0..4_u64, 1..7_u32, kinds, 3..5_u32, 0..3_u64), 1..20).prop_map(|words| {
        let mut now = 100;
        let fork = |now, parent, child| {
            let (child_cgroup_id, shares_descriptors) = (1, false);
            let (parent, child) = (id(parent), id(child));
            let action = Action::Fork { child, child_cgroup_id, parent, shares_descriptors };
            Event::of(now, parent, action)
        };
        let mut events = vec![fork(100, 1, 2), fork(100, 2, 3), fork(100, 9, 4)];
        let (mut living, mut unborn) = (vec![1, 2, 3, 4], vec![6, 5]);
        for (later, process, kind, number, inode) in words {
            now += later;
            if !living.contains(&process) {
                continue;
            }
            match (kind, unborn.last().copied()) {
                ("fork", None) => {}
                ("fork", Some(child)) => {
                    events.push(fork(now, process, child));
                    living.extend(unborn.pop());
                }
                _ => events.push(Event::of(now, id(process), action(kind, number, inode))),
            }
            living.retain(|one| kind != "exit" || *one != process);
        }
        events
    })
}

/// What is said of a step beside its event.
pub(super) type Words = (
    &'static str,
    Option<u32>,
    &'static str,
    Option<u64>,
    Option<u64>,
    Option<(u64, u64)>,
    Option<(&'static str, bool)>,
    Option<(&'static str, bool)>,
);

pub(super) fn steps() -> impl Strategy<Value = Words> {
    let kinds = || select(vec!["open", "connect", "exec"]);
    (
        kinds(),
        option::weighted(0.2, 3..5_u32),
        select(vec!["same_process", "same_process", "child", "tree", "lineage", "any"]),
        option::weighted(0.25, 1..8_u64),
        option::weighted(0.25, 1..5_u64),
        option::weighted(0.2, (1..4_u64, 1..8_u64)),
        option::weighted(0.3, (kinds(), any::<bool>())),
        option::weighted(0.3, (select(vec!["object", "fd"]), any::<bool>())),
    )
}

/// The text of a rule.
pub(super) fn text(window: u64, steps: &[Words]) -> String {
    let mut text = format!(
        "[[rule]]\nname = \"r\"\nseverity = \"high\"\nmitre = \"T1059\"\ndescription = \"d\"\n\
         false_positives = \"f\"\nwindow = \"{window}ns\"\n"
    );
    for (number, step) in steps.iter().enumerate() {
        let (kind, fd, relation, within, distance, repeat, without, same) = *step;
        text += &format!("[[rule.step]]\nevent = \"{kind}\"\n");
        if let Some(fd) = fd.filter(|_| kind != "exec") {
            text += &format!("where = {{ fd = {fd} }}\n");
        }
        if let Some((count, per)) = repeat {
            text += &format!("count = {count}\nper = \"{per}ns\"\n");
        }
        if number == 0 {
            continue;
        }
        text += &format!("process = \"{relation}\"\n");
        if let Some(within) = within {
            text += &format!("within = \"{within}ns\"\n");
        }
        if let Some(distance) = distance.filter(|_| relation == "same_process") {
            text += &format!("distance = {distance}\n");
        }
        if let Some((kind, is_tree)) = without {
            let relation = if is_tree { "tree" } else { "same_process" };
            text += &format!("without = {{ event = \"{kind}\", process = \"{relation}\" }}\n");
        }
        if let Some((common, is_first)) = same {
            let earlier = if is_first { 1 } else { number };
            text += &format!("same = {{ {common} = {earlier} }}\n");
        }
    }
    text
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1500))]
    #[test]
    fn the_engine_agrees_with_the_reference(
        window in 1..40_u64,
        steps in vec(steps(), 1..4),
        events in streams(),
    ) {
        let text = text(window, &steps);
        let rule = || language::parse("r", &text).unwrap().remove(0).rule;
        prop_assert_eq!(by_engine(rule(), &events), by_reference(&rule(), &events), "{}", text);
    }
}

/// Most random rules match nothing; that some do is what makes the agreement worth something.
#[test]
fn random_rules_match_often_enough_to_say_something() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut matched = [0; 3];
    for _ in 0..600 {
        let steps = vec(steps(), 1..4).new_tree(&mut runner).unwrap().current();
        let events = streams().new_tree(&mut runner).unwrap().current();
        let rule = language::parse("r", &text(30, &steps)).unwrap().remove(0).rule;
        matched[steps.len() - 1] += usize::from(!by_engine(rule, &events).is_empty());
    }
    assert!(matched.iter().all(|count| *count >= 12), "{matched:?}");
}
