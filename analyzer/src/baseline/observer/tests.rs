use super::*;
use crate::{
    alert::Severity,
    baseline::program::Judgement,
    event::{File, Object, Origin, Path, Running, Trust},
};

const PROCESS: ProcessId = ProcessId { tgid: 7, start_time: 9 };
const GETPID: u16 = 39;
const PTRACE: u16 = 101;

fn profile(calls: &[(u16, u32)]) -> ProfileCalls {
    ProfileCalls { executable: Some((1, 2, 3)), calls: calls.to_vec() }
}

fn end(observer: &mut Observer, duration: u64, processes: &ProcessTable) -> Vec<Finding> {
    let mut verdicts = Verdicts::default();
    observer.end_second(duration, processes, &mut verdicts);
    verdicts.findings
}

fn runs(process: ProcessId, path: &str, object: Option<Object>, trust: u16) -> Event {
    let bytes = path.as_bytes().to_vec();
    let path = Some(Path { bytes, origin: Origin::Kernel, truncated: false });
    let program = Exec { object, path, trust: Trust::of(trust), ..Exec::default() };
    let running = Running { program, parent: None };
    Event::of(1, process, Action::Running(Box::new(running)))
}

fn known() -> (Observer, ProcessTable) {
    let judgement = Judgement { learning_period: 10, threshold: 3.0, learns: true, detects: true };
    let mut observer = Observer::new(Baseline::new(judgement));
    let mut processes = ProcessTable::default();
    let id = ObjectId { device: 1, inode: 2, generation: 3 };
    let object = Some(Object { id, mode: 0o100_755, links: 1, ..Object::default() });
    let event = runs(PROCESS, "/usr/sbin/server", object, u16::MAX);
    observer.observe(&event, &processes);
    processes.apply(&event);
    for _ in 0..10 {
        observer.count(&[profile(&[(GETPID, 100)])]);
        assert!(end(&mut observer, SECOND, &processes).is_empty());
    }
    (observer, processes)
}

#[test]
fn a_call_that_is_new_is_told_with_its_process_and_numbers() {
    let (mut observer, processes) = known();
    observer.count(&[profile(&[(GETPID, 100)])]);
    assert!(end(&mut observer, SECOND, &processes).is_empty());
    // In two parts, and read late: the rate is what it was.
    observer.count(&[profile(&[(GETPID, 200)])]);
    observer.count(&[profile(&[(PTRACE, 4)])]);
    let found = end(&mut observer, 2 * SECOND, &processes);
    let [finding] = &found[..] else { panic!("{found:?}") };
    let figures = finding.figures.as_ref().unwrap();
    assert_eq!((finding.process, finding.severity), (PROCESS, Severity::High));
    assert_eq!((figures.syscall.as_str(), figures.rate), ("ptrace", 2.0));
    assert!(finding.message.contains("/usr/sbin/server"), "{}", finding.message);
}

#[test]
fn a_path_of_somebody_s_choice_is_nobody_else_s_program() {
    let other = ProcessId { tgid: 8, start_time: 9 };
    let (mut observer, mut processes) = known();
    // Another file, mounted over the path: what it does is not the server's.
    let id = ObjectId { device: 7, inode: 7, generation: 7 };
    let object = Some(Object { id, mode: 0o100_755, links: 1, ..Object::default() });
    processes.apply(&runs(other, "/usr/sbin/server", object, 0));
    let traces = ProfileCalls { executable: Some((7, 7, 7)), calls: vec![(PTRACE, 1)] };
    for _ in 0..20 {
        observer.count(std::slice::from_ref(&traces));
        assert!(end(&mut observer, SECOND, &processes).is_empty());
    }
    assert_eq!(observer.engine().programs().len(), 2);
    // The server's file, under another path: its calls still are the server's.
    let (mut observer, mut processes) = known();
    let id = ObjectId { device: 1, inode: 2, generation: 3 };
    let object = Some(Object { id, mode: 0o100_755, links: 1, ..Object::default() });
    processes.apply(&runs(other, "/a/first/path", object, 0));
    observer.count(&[profile(&[(PTRACE, 1)])]);
    let found = end(&mut observer, SECOND, &processes);
    assert!(matches!(&found[..], [one] if one.process == PROCESS), "{found:?}");
    // And alone it is a program that is not known yet, and stays the same under every path.
    let mut alone = ProcessTable::default();
    for path in ["/a/first/path", "/another"] {
        alone.apply(&runs(other, path, object, 0));
        observer.count(&[profile(&[(PTRACE, 1)])]);
        assert!(end(&mut observer, SECOND, &alone).is_empty());
    }
    assert_eq!(observer.engine().programs().len(), 2);
}

#[test]
fn calls_without_room_are_told_when_they_last_and_once_an_hour() {
    let (mut observer, processes) = known();
    let nobodys = ProfileCalls { executable: None, calls: vec![(GETPID, 5)] };
    let mut told = Vec::new();
    for second in 0..7300 {
        observer.count(std::slice::from_ref(&nobodys));
        let found = end(&mut observer, SECOND, &processes);
        told.extend(found.into_iter().map(|finding| (second, finding.severity)));
    }
    let severity = Severity::Warning;
    assert_eq!(told, [(9, severity), (3609, severity), (7209, severity)]);
}

#[test]
fn what_events_tell_is_counted_to_the_program() {
    let (mut observer, processes) = known();
    let child = ProcessId { tgid: 8, start_time: 10 };
    let fork =
        Action::Fork { child, child_cgroup_id: 1, parent: PROCESS, shares_descriptors: false };
    let mut told = Vec::new();
    for _ in 0..10 {
        (0..500).for_each(|_| observer.observe(&Event::of(2, PROCESS, fork.clone()), &processes));
        observer.count(&[profile(&[(GETPID, 100)])]);
        told.extend(end(&mut observer, SECOND, &processes));
    }
    // The first ones are learned to be possible, then their number is unusual.
    let of_forks = |found: &Finding| {
        found.figures.as_ref().is_some_and(|figures| figures.syscall == "new processes")
    };
    assert!(told.iter().any(of_forks), "{told:?}");
}

#[test]
fn a_secret_counts_once_a_second_and_is_news_to_who_never_opened_one() {
    let (mut observer, processes) = known();
    for _ in 0..9 {
        let id = ObjectId { device: 1, inode: 77, generation: 0 };
        let secret = File {
            call: FileCall::Open,
            number: Some(3),
            object: Some(Object { id, ..Object::default() }),
            path: None,
            class: SECRET,
            open_flags: 0,
            close_on_exec: true,
        };
        let event = Event::of(2, PROCESS, Action::File(Box::new(secret)));
        observer.observe(&event, &processes);
    }
    // Without a call that was counted in the same second.
    let found = end(&mut observer, SECOND, &processes);
    let [finding] = &found[..] else { panic!("{found:?}") };
    let figures = finding.figures.as_ref().unwrap();
    assert_eq!((figures.syscall.as_str(), figures.rate), ("opened secrets", 1.0));
    assert_eq!(finding.severity, Severity::Warning);
}

#[test]
fn calls_without_a_program_are_counted_and_bytes_are_no_calls() {
    let (mut observer, processes) = known();
    let bytes = u16::try_from(profile::WRITTEN_BYTES).unwrap();
    let calls = vec![(GETPID, 5), (bytes, 1000)];
    observer.count(&[
        ProfileCalls { executable: None, calls: calls.clone() },
        ProfileCalls { executable: Some((9, 9, 9)), calls },
    ]);
    assert!(end(&mut observer, SECOND, &processes).is_empty());
    assert_eq!(observer.engine().overview().calls_of_nobody, 10);
}
