//! Fork and exit.

use std::collections::BTreeSet;

use sentinel_ipc::kernel_abi::{ForkRecord, flag, kind};
use sentinel_tests::tap::Record;

use crate::{
    stage::Stage,
    truth::{Truth, Who},
};

const PROGRAM: &str = "sensor_processes_life";

/// Checks the one fork of the process `key` by `parent`, and its one exit.
fn check_child(
    stage: &mut Stage,
    truth: &Truth,
    parent: Who,
    key: &str,
    flags: u16,
) -> Option<ForkRecord> {
    let what = format!("{}, {key}", truth.case());
    let (tgid, ticks) = truth.process(key).expect("a process");
    let of_child = |record: &Record| record.fork().child_tgid == tgid;
    let forks: Vec<_> = stage.all(kind::FORK).into_iter().filter(of_child).collect();
    let record = stage.only(&format!("{what}: fork"), &forks)?;
    stage.header(&format!("{what}: fork"), &record.header, parent);
    stage.no_call(&format!("{what}: fork"), &record.header);
    stage.flags(&format!("{what}: fork"), &record.header, flags);
    let fork = record.fork();
    stage.started(&format!("{what}: child"), fork.child_start_time, ticks);
    let exits = stage.of(tgid, kind::EXIT);
    if let Some(exit) = stage.only(&format!("{what}: exit"), &exits) {
        check_exit(stage, &format!("{what}: exit"), &exit, &fork);
    }
    Some(fork)
}

fn check_exit(stage: &mut Stage, what: &str, exit: &Record, fork: &ForkRecord) {
    stage.no_call(what, &exit.header);
    stage.same(&format!("{what}: start"), exit.header.start_time, fork.child_start_time);
    stage.same(&format!("{what}: cgroup"), exit.header.cgroup_id, fork.child_cgroup_id);
    let (ended, forked) = (exit.header.timestamp, fork.header.timestamp);
    stage.check(ended > forked, || format!("{what}: at {ended}, forked at {forked}"));
}

/// The child has the parent that called, and the same cgroup.
fn check_descent(stage: &mut Stage, truth: &Truth, fork: &ForkRecord) {
    let what = truth.case();
    stage.same(&format!("{what}: parent"), fork.parent_tgid, fork.header.tgid);
    let (start, own) = (fork.parent_start_time, fork.header.start_time);
    stage.same(&format!("{what}: parent's start"), start, own);
    stage.same(&format!("{what}: child's cgroup"), fork.child_cgroup_id, stage.cgroup());
}

#[test]
fn a_new_process_is_told_with_its_parent_however_it_is_made() {
    Stage::with(|stage| {
        let cases = [
            ("fork", 0),
            ("vfork", flag::SHARED_MEMORY),
            ("spawn", flag::SHARED_MEMORY),
            ("sharing_files", flag::SHARED_FILES),
        ];
        let truths = cases.map(|(case, flags)| (stage.play(PROGRAM, &[case]), flags));
        stage.catch_up();
        for (truth, flags) in &truths {
            let own = truth.who("self");
            if let Some(fork) = check_child(stage, truth, own, "child", *flags) {
                check_descent(stage, truth, &fork);
            }
            let forks = stage.of(own.tgid, kind::FORK);
            stage.only(&format!("{}: forks", truth.case()), &forks);
            let exits = stage.of(own.tgid, kind::EXIT);
            if let Some(exit) = stage.only(&format!("{}: own exit", truth.case()), &exits) {
                stage.header(&format!("{}: own exit", truth.case()), &exit.header, own);
                stage.flags(&format!("{}: own exit", truth.case()), &exit.header, 0);
            }
        }
        for (truth, _) in truths.iter().filter(|(truth, _)| truth.case().ends_with("spawn")) {
            let (child, ticks) = truth.process("child").unwrap();
            let execs = stage.of(child, kind::EXEC);
            if let Some(exec) = stage.only("exec of a spawned child", &execs) {
                stage.same(
                    "caller of a spawned child's exec",
                    exec.header.argument[0],
                    child.into(),
                );
                stage.started("exec of a spawned child", exec.header.start_time, ticks);
            }
        }
    });
}

#[test]
fn a_child_in_another_cgroup_is_told_with_it() {
    Stage::with(|stage| {
        let nested = stage.sub_cgroup("nested");
        let truth = stage.play(PROGRAM, &["into_cgroup".as_ref(), nested.as_os_str()]);
        stage.catch_up();
        let fork = check_child(stage, &truth, truth.who("self"), "child", 0).expect("a fork");
        stage.same("child's cgroup", fork.child_cgroup_id, truth.number("cgroup"));
        stage.same("parent", fork.parent_tgid, fork.header.tgid);
    });
}

#[test]
fn a_child_for_the_parent_is_told_with_caller_and_parent() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["for_the_parent"]);
        stage.catch_up();
        let middle = check_child(stage, &truth, truth.who("self"), "middle", 0).expect("a fork");
        check_descent(stage, &truth, &middle);
        let child = check_child(stage, &truth, truth.who("middle"), "child", 0).expect("a fork");
        stage.same("parent", child.parent_tgid, truth.who("self").tgid);
        stage.same("parent's start", child.parent_start_time, middle.header.start_time);
    });
}

#[test]
fn threads_are_no_processes_but_can_make_some() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["threads"]);
        stage.catch_up();
        let (own, thread) = (truth.who("self"), truth.who("thread"));
        assert_ne!(own.tid, thread.tid);
        let fork = check_child(stage, &truth, thread, "child", 0);
        if let Some(fork) = fork {
            check_descent(stage, &truth, &fork);
        }
        let forks = stage.of(own.tgid, kind::FORK);
        stage.only("forks of a process with threads", &forks);
        let exits = stage.of(own.tgid, kind::EXIT);
        stage.only("exits of a process with threads", &exits);
    });
}

#[test]
fn a_pid_that_comes_back_is_another_process() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["reuse"]);
        stage.catch_up();
        let own = truth.who("self");
        let children = ["0", "1", "2", "3"].map(|key| truth.process(key).unwrap());
        let pid = children[0].0;
        assert!(children.iter().all(|child| child.0 == pid), "{children:?}");
        let forks = stage.of(own.tgid, kind::FORK);
        let exits = stage.of(pid, kind::EXIT);
        stage.same("forks and exits", (forks.len(), exits.len()), (4, 4));
        for (at, (fork, exit)) in forks.iter().zip(&exits).enumerate() {
            let what = format!("process {at} with the pid {pid}");
            stage.header(&what, &fork.header, own);
            let fork = fork.fork();
            stage.same(&format!("{what}: pid"), fork.child_tgid, pid);
            stage.started(&what, fork.child_start_time, children[at].1);
            check_exit(stage, &what, exit, &fork);
        }
    });
}

#[test]
fn each_of_many_short_processes_has_its_fork_and_its_exit() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["burst"]);
        stage.catch_up();
        let children: BTreeSet<u64> = truth.numbers("children").into_iter().collect();
        assert_eq!(children.len(), 300);
        let forks = stage.of(truth.who("self").tgid, kind::FORK);
        stage.same("forks", forks.len(), 300);
        let forked: BTreeSet<u64> =
            forks.iter().map(|fork| fork.fork().child_tgid.into()).collect();
        stage.same("children", &forked, &children);
        for fork in forks.iter().map(Record::fork) {
            let exits = stage.of(fork.child_tgid, kind::EXIT);
            if let Some(exit) = stage.only(&format!("exits of {}", fork.child_tgid), &exits) {
                check_exit(stage, "a short process", &exit, &fork);
            }
        }
    });
}

#[test]
fn a_process_killed_amid_its_calls_exits_once() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["killed"]);
        stage.catch_up();
        if let Some(fork) = check_child(stage, &truth, truth.who("self"), "child", 0) {
            check_descent(stage, &truth, &fork);
        }
    });
}

#[test]
fn a_process_ends_with_its_last_thread_not_with_its_leader() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["leader_first"]);
        stage.catch_up();
        let (own, last) = (truth.who("self"), truth.who("last"));
        assert_ne!(own.tid, last.tid);
        let exits = stage.of(own.tgid, kind::EXIT);
        let exit = stage.only("exits", &exits).expect("an exit");
        stage.header("exit", &exit.header, last);
        let (ended, alive) = (exit.header.timestamp, truth.number::<u64>("alive"));
        stage.check(ended >= alive, || format!("exit at {ended}, alive at {alive}"));
    });
}

#[test]
fn pids_are_those_of_the_initial_namespace() {
    Stage::with(|stage| {
        let truth = stage.play(PROGRAM, &["foreign"]);
        stage.catch_up();
        let (own, child) = (truth.who("self"), truth.who("child"));
        let grandchild = truth.who("grandchild");
        let told = |parent: Who| stage.of(parent.tgid, kind::FORK);
        let (first, second) = (told(own), told(child));
        let first = stage.only("fork of the namespace's first", &first).expect("a fork");
        stage.same("the first one's pid", first.fork().child_tgid, child.tgid);
        let second = stage.only("fork in the namespace", &second).expect("a fork");
        stage.header("fork in the namespace", &second.header, child);
        stage.same("the second one's pid", second.fork().child_tgid, grandchild.tgid);
        stage.same("the second one's parent", second.fork().parent_tgid, child.tgid);
        let execs = stage.of(grandchild.tgid, kind::EXEC);
        let exec = stage.only("exec in the namespace", &execs).expect("an exec");
        stage.header("exec in the namespace", &exec.header, grandchild);
        stage.same("caller of exec", exec.header.argument[0], grandchild.tid.into());
        for who in [child, grandchild] {
            let exits = stage.of(who.tgid, kind::EXIT);
            stage.only("exit in the namespace", &exits);
        }
    });
}
