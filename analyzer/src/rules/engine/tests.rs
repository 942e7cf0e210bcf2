//! What is kept between events: not lost to decoys, not more than there is room for, not longer than
//! needed.

use sentinel_ipc::kernel_abi::kind;

use super::*;
use crate::{
    event::{File, FileCall},
    rules::{language, sequences::MAX_IN_TOTAL},
};

/// The same descriptor is made in memory and then cut, within 1 s, by `relation`.
fn engine(relation: &str) -> Engine {
    let text = format!(
        "[[rule]]\nname = \"r\"\nseverity = \"high\"\nmitre = \"T1059\"\ndescription = \"d\"\n\
         false_positives = \"f\"\nwindow = \"1s\"\n[[rule.step]]\nevent = \"memfd\"\n\
         [[rule.step]]\nevent = \"ftruncate\"\nsame = {{ fd = 1 }}\nprocess = \"{relation}\"\n"
    );
    let rule = language::parse("r", &text).unwrap().remove(0).rule;
    Engine::new(Compiled::new(vec![rule]))
}

#[test]
fn who_follows_data_asks_for_what_goes_through_pipes_whatever_it_is() {
    let asked = |relation| engine(relation).needs();
    let traffic = KindSet::of(&[kind::ALL_TRAFFIC]);
    assert_eq!(asked("lineage"), asked("tree").with(traffic));
    assert_ne!(asked("lineage"), asked("tree"));
}

fn call(now: u64, pid: u32, call: FileCall, number: u32) -> Event {
    let file = File {
        call,
        number: Some(number),
        object: None,
        path: None,
        class: 0,
        open_flags: 0,
        close_on_exec: false,
    };
    Event::of(now, ProcessId { tgid: pid, start_time: 1 }, Action::File(Box::new(file)))
}

fn made(now: u64, pid: u32, number: u32) -> Event {
    call(now, pid, FileCall::Memfd { flags: 0 }, number)
}

fn cut(now: u64, pid: u32, number: u32) -> Event {
    call(now, pid, FileCall::Ftruncate { length: 0 }, number)
}

/// How many alerts an event brings.
fn alerts(engine: &mut Engine, processes: &mut ProcessTable, event: &Event) -> usize {
    findings(engine, processes, event).len()
}

fn findings(engine: &mut Engine, processes: &mut ProcessTable, event: &Event) -> Vec<Finding> {
    let mut verdicts = Verdicts::default();
    processes.apply(event);
    let lineage = &mut Lineage::default();
    engine.observe(event, processes, &Cgroups::default(), lineage, &mut verdicts);
    verdicts.findings
}

fn forks(parent: u32, child: u32) -> Event {
    let id = |tgid| ProcessId { tgid, start_time: 1 };
    let (child_cgroup_id, shares_descriptors) = (1, false);
    let (parent, child) = (id(parent), id(child));
    let action = Action::Fork { child, child_cgroup_id, parent, shares_descriptors };
    Event::of(1, parent, action)
}

#[test]
fn whoever_crowds_out_others_is_told_now_and_then() {
    let (mut engine, mut processes) = (engine("any"), ProcessTable::default());
    let second = 1_000_000_000;
    // 1 is everybody's ancestor, 7 that of the crowd.
    for (parent, child) in
        [(1, 5), (1, 6), (6, 7)].into_iter().chain((100..300).map(|pid| (7, pid)))
    {
        alerts(&mut engine, &mut processes, &forks(parent, child));
    }
    alerts(&mut engine, &mut processes, &made(1, 5, 1));
    let mut told = Vec::new();
    for number in 0..2000 {
        let event = made(1, 100 + number % 200, 10 + number);
        told.extend(findings(&mut engine, &mut processes, &event));
    }
    assert_eq!(told.len(), 1);
    assert_eq!((&*told[0].rule.name, told[0].process.tgid), ("pattern_state_exhausted", 7));
    assert!(told[0].message.starts_with("1 begun sequences"), "{}", told[0].message);
    let mut later = Verdicts::default();
    engine.time(59 * second, &processes, &mut later);
    assert!(later.findings.is_empty());
    engine.time(61 * second, &processes, &mut later);
    assert_eq!(later.findings.len(), 1);
    assert!(later.findings[0].message.starts_with("976 begun"), "{}", later.findings[0].message);
    engine.time(200 * second, &processes, &mut later);
    assert_eq!(later.findings.len(), 1, "nothing new");
}

#[test]
fn decoys_before_and_after_hide_nothing() {
    let (mut engine, mut processes) = (engine("same_process"), ProcessTable::default());
    for number in [3, 4, 5] {
        assert_eq!(alerts(&mut engine, &mut processes, &made(1, 7, number)), 0);
    }
    assert_eq!(alerts(&mut engine, &mut processes, &cut(2, 7, 9)), 0);
    assert_eq!(alerts(&mut engine, &mut processes, &cut(3, 7, 4)), 1);
    assert_eq!(alerts(&mut engine, &mut processes, &cut(4, 7, 5)), 0, "said already");
}

#[test]
fn what_a_process_began_ends_with_it_or_with_its_window() {
    let (mut engine, mut processes) = (engine("same_process"), ProcessTable::default());
    for pid in 1..100 {
        alerts(&mut engine, &mut processes, &made(1, pid, 3));
    }
    assert_eq!(engine.under_way(), 99);
    let end = Event::of(2, ProcessId { tgid: 5, start_time: 1 }, Action::Exit);
    alerts(&mut engine, &mut processes, &end);
    assert_eq!(engine.under_way(), 98);
    engine.time(1_000_000_002, &processes, &mut Verdicts::default());
    assert_eq!((engine.under_way(), engine.evicted()), (0, 0));
}

#[test]
fn many_processes_that_begin_sequences_take_bounded_room() {
    let (mut engine, mut processes) = (engine("tree"), ProcessTable::default());
    let room = u32::try_from(MAX_IN_TOTAL).unwrap();
    for pid in 1..=room + 1000 {
        let told = alerts(&mut engine, &mut processes, &made(u64::from(pid), pid, 3));
        assert_eq!(told, usize::from(pid == room + 1), "the first that had to go is told");
        processes.forget(ProcessId { tgid: pid, start_time: 1 });
    }
    assert_eq!((engine.under_way(), engine.evicted()), (MAX_IN_TOTAL, 1000));
}

/// The word of a shell that runs `cat secret | other`: who reads from the pipe may take the next step, who does not
/// may not.
#[test]
fn a_step_by_lineage_is_taken_by_whoever_has_the_data() {
    use crate::event::{Descriptor, DescriptorCall, Object, ObjectId};

    let object = Object {
        id: ObjectId { inode: 7, ..ObjectId::default() },
        mode: 0o010_600,
        ..Object::default()
    };
    let on = |now, pid, number, call| {
        let descriptor = Some(Descriptor { object, socket: None });
        let (number, from, close_on_exec) = (Some(number), Some(3), false);
        let action = Action::Descriptor { call, number, from, descriptor, close_on_exec };
        Event::of(now, ProcessId { tgid: pid, start_time: 1 }, action)
    };
    let stream = [
        on(1, 1, 3, DescriptorCall::Pipe),
        on(1, 1, 4, DescriptorCall::Pipe),
        forks(1, 2),
        forks(1, 3),
        forks(1, 4),
        on(2, 2, 1, DescriptorCall::Dup),
        on(2, 3, 0, DescriptorCall::Dup),
        made(3, 2, 1),
        cut(4, 4, 1),
        cut(5, 3, 1),
        cut(6, 2, 1),
    ];
    let (mut engine, mut processes) = (engine("lineage"), ProcessTable::default());
    let (mut lineage, mut found) = (Lineage::default(), Vec::new());
    for event in &stream {
        let mut verdicts = Verdicts::default();
        processes.apply(event);
        lineage.observe(event, &processes);
        engine.observe(event, &processes, &Cgroups::default(), &mut lineage, &mut verdicts);
        found.extend(verdicts.findings.iter().map(|finding| finding.process.tgid));
    }
    assert_eq!(found, [3, 2]);
}
