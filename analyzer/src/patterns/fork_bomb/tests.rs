//! Trees that grow: bombs, and what only looks like one.

use crate::{
    alert::Severity,
    event::DescriptorCall,
    patterns::story::{Started, Story, listener},
};

const RULE: &str = "fork_bomb";

fn begun(program: &'static str) -> Story {
    let mut story = Story::default();
    story.exec(10, Started::at(program));
    story
}

#[test]
fn every_process_forking_on_is_a_bomb_named_by_its_root_and_told_once() {
    let mut story = begun("/usr/bin/bash");
    let mut living = vec![10];
    let mut next = 100;
    for _ in 0..8 {
        for parent in living.clone() {
            story.fork(parent, next);
            living.push(next);
            next += 1;
        }
    }
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
    let alert = &story.alerts[0];
    assert!(alert.message.contains("spreads"), "{}", alert.message);
    assert!(alert.steps[1].detail.contains("generations deep"), "{:?}", alert.steps);
}

#[test]
fn a_founder_that_is_faster_than_its_children_does_not_hide_a_bomb() {
    // Five generations only, when three hundred live: as measured on two processors.
    let mut story = begun("/home/u/bomb");
    let mut next = 100;
    let mut generation = vec![10];
    for width in [12, 60, 93, 84, 42] {
        let parents = generation;
        generation = Vec::new();
        for child in 0..width {
            story.fork(parents[child % parents.len()], next);
            generation.push(next);
            next += 1;
        }
    }
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

#[test]
fn parents_that_end_do_not_hide_a_bomb() {
    // `:(){ :|:& };:`: each generation begins two of the next and ends.
    let mut story = begun("/usr/bin/bash");
    story.fork(10, 100).fork(10, 101);
    let (mut generation, mut next) = (vec![100, 101], 200);
    for _ in 0..8 {
        let mut children = Vec::new();
        for parent in generation {
            story.fork(parent, next).fork(parent, next + 1).exit(parent);
            children.extend([next, next + 1]);
            next += 2;
        }
        generation = children;
    }
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

#[test]
fn a_slow_bomb_is_found_as_well() {
    let mut story = begun("/home/u/slow");
    let (mut living, mut next) = (vec![10], 100);
    for _ in 0..8 {
        for parent in living.clone() {
            story.fork(parent, next);
            living.push(next);
            next += 1;
        }
        story.passes(5_000);
    }
    assert_eq!(story.found(RULE).len(), 1);
}

#[test]
fn a_chain_that_leaves_few_alive_is_a_bomb_named_by_one_that_lives() {
    let mut story = begun("/home/u/chain");
    for pid in 11..200 {
        story.fork(if pid == 11 { 10 } else { pid - 1 }, pid).exit(pid - 1);
    }
    let found = story.found(RULE);
    assert_eq!(found.len(), 1);
    assert!(found[0].0 > 100, "the first ones have ended: {found:?}");
}

#[test]
fn a_chain_is_one_under_whatever_names_and_in_whatever_order_its_members_end() {
    let mut story = begun("/home/u/chain");
    for pid in (10..210).step_by(2) {
        story.fork(pid, pid + 1).exec(pid + 1, Started::at(named(pid + 1)));
        story.fork(pid + 1, pid + 2).exit(pid + 1).exit(pid);
    }
    assert_eq!(story.found(RULE).len(), 1);
}

#[test]
fn a_program_that_starts_itself_anew_stays_what_it_is() {
    let mut story = begun("/home/u/bomb");
    let (mut living, mut next) = (vec![10], 100);
    for _ in 0..8 {
        for parent in living.clone() {
            story.fork(parent, next).exec(next, Started::at("/home/u/bomb"));
            living.push(next);
            next += 1;
        }
    }
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

#[test]
fn two_programs_that_start_each_other_are_one_bomb() {
    // bomb.py → sh → bomb.py, as system(3) does.
    let mut story = begun("/usr/bin/python3");
    let (mut living, mut next) = (vec![10], 100);
    for _ in 0..8 {
        for parent in living.clone() {
            let (shell, bomb) = (next, next + 1);
            story.fork(parent, shell).exec(shell, Started::at("/bin/sh"));
            story.fork(shell, bomb).exec(bomb, Started::at("/usr/bin/python3"));
            living.push(bomb);
            next += 2;
        }
    }
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

#[test]
fn a_wide_bomb_is_found_and_a_server_with_three_hundred_workers_is_none() {
    let mut story = begun("/usr/sbin/apache2");
    story.call(10, DescriptorCall::Listen, 3, listener(5));
    for worker in 100..400 {
        story.fork(10, worker);
    }
    assert_eq!(story.found(RULE), []);
    let mut story = begun("/home/u/wide");
    for child in 100..700 {
        story.fork(10, child);
    }
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

#[test]
fn a_server_may_have_many_connections_at_once_but_not_without_end() {
    let mut story = begun("/usr/bin/postgres");
    story.call(10, DescriptorCall::Listen, 3, listener(5));
    for child in 100..1500 {
        story.fork(10, child);
    }
    assert_eq!(story.found(RULE), []);
    for child in 1500..2500 {
        story.fork(10, child);
    }
    assert_eq!(story.found(RULE).len(), 1);
}

#[test]
fn programs_that_are_started_and_stay_are_a_bomb_when_they_are_too_many() {
    let mut story = begun("/usr/bin/bash");
    for child in 100..1200 {
        story.fork(10, child).exec(child, Started::at("/usr/bin/sleep"));
    }
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

#[test]
fn ten_thousand_short_commands_are_none() {
    let mut story = begun("/usr/bin/bash");
    for child in 100..10_100 {
        story.fork(10, child).exec(child, Started::at("/usr/bin/true")).exit(child);
    }
    for subshell in 20_000..30_000 {
        story.fork(10, subshell).exit(subshell);
    }
    assert_eq!(story.found(RULE), []);
}

#[test]
fn make_with_64_jobs_and_recursion_is_none() {
    let mut story = begun("/usr/bin/make");
    let mut next = 100;
    for _directory in 0..4 {
        let (shell, make) = (next, next + 1);
        story.fork(10, shell).exec(shell, Started::at("/bin/sh"));
        story.fork(shell, make).exec(make, Started::at("/usr/bin/make"));
        next += 2;
        for _ in 0..3 {
            for job in next..next + 64 {
                let compiler = 10_000 + 2 * job;
                story.fork(make, job).exec(job, Started::at("/bin/sh"));
                story.fork(job, compiler).exec(compiler, Started::at("/usr/bin/gcc"));
                story.fork(compiler, compiler + 1);
                story.exec(compiler + 1, Started::at("/usr/libexec/cc1"));
            }
            for job in next..next + 64 {
                story.exit(10_000 + 2 * job + 1).exit(10_000 + 2 * job).exit(job);
            }
            next += 64;
        }
    }
    assert_eq!(story.found(RULE), []);
}

/// Doubles eight times, each process under the name that `next` gives it.
fn doubles(mut next: impl FnMut(u32) -> Started) -> Story {
    let mut story = begun("/home/u/bomb");
    let (mut generation, mut pid) = (vec![10], 100);
    for _ in 0..8 {
        let mut children = Vec::new();
        for parent in generation {
            for child in [pid, pid + 1] {
                story.fork(parent, child).exec(child, next(child));
                children.push(child);
            }
            pid += 2;
        }
        generation = children;
    }
    story
}

fn named(pid: u32) -> &'static str {
    Box::leak(format!("/tmp/b{pid}").into_boxed_str())
}

#[test]
fn a_bomb_under_changing_names_is_one() {
    let of_links = doubles(|pid| Started { inode: 7, ..Started::at(named(pid)) });
    let of_copies = doubles(|pid| Started::at(named(pid)));
    for story in [of_links, of_copies] {
        let found = story.found(RULE);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!([10, 100, 101].contains(&found[0].0), "{found:?}");
    }
}

#[test]
fn a_line_of_programs_that_wait_for_each_other_is_a_bomb_of_its_first() {
    let mut story = begun("/usr/sbin/sshd");
    story.fork(10, 11).exec(11, Started::at("/usr/bin/bash"));
    let mut last = 11;
    for _ in 0..60 {
        for program in ["/usr/bin/timeout", "/usr/bin/flock", "/usr/bin/bash"] {
            story.fork(last, last + 1).exec(last + 1, Started::at(program));
            last += 1;
        }
    }
    let found = story.found(RULE);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!((11..20).contains(&found[0].0), "{found:?}");
}

#[test]
fn who_hands_over_to_a_new_one_for_days_is_none() {
    let mut story = begun("/usr/bin/updater");
    for pid in 10..400 {
        story.fork(pid, pid + 1).exec(pid + 1, Started::at("/usr/bin/updater")).exit(pid);
        story.passes(60_000);
    }
    assert_eq!(story.found(RULE), []);
}

#[test]
fn test_runners_with_pools_servers_and_subshells_are_none() {
    // 20 workers, each with a program that has a pool of four; and 90 chains of three forks.
    let mut story = begun("/usr/bin/python3");
    let mut next = 100;
    for _ in 0..20 {
        let (worker, suite) = (next, next + 1);
        story.fork(10, worker).fork(worker, suite).exec(suite, Started::at("/usr/bin/python3"));
        for child in next + 2..next + 6 {
            story.fork(suite, child);
        }
        next += 6;
    }
    assert_eq!(story.found(RULE), []);
    let mut story = begun("/usr/bin/perl");
    for first in (100..1000).step_by(10) {
        story.fork(10, first).fork(first, first + 1).fork(first + 1, first + 2);
    }
    assert_eq!(story.found(RULE), []);
    // Jobs of a shell, each with subshells, pipelines and scripts in pipelines.
    let mut story = begun("/usr/bin/bash");
    for job in (100..100 + 32 * 20).step_by(20) {
        story.fork(10, job).exec(job, Started::at("/usr/bin/bash"));
        story.fork(job, job + 1).fork(job, job + 2);
        for script in [job + 3, job + 9] {
            story.fork(job + 1, script).exec(script, Started::at("/usr/bin/bash"));
            story.fork(script, script + 1).fork(script, script + 2).fork(script + 1, script + 3);
            story.fork(script + 3, script + 4).exec(script + 4, Started::at("/usr/bin/sleep"));
        }
    }
    assert_eq!(story.found(RULE), []);
}

#[test]
fn a_function_that_calls_itself_in_subshells_is_none() {
    let mut story = begun("/usr/bin/bash");
    for pid in 10..180 {
        story.fork(pid, pid + 1);
    }
    for pid in (10..180).rev() {
        story.exit(pid + 1);
    }
    assert_eq!(story.found(RULE), []);
}

#[test]
fn state_lives_no_longer_than_the_processes() {
    use super::ForkBomb;
    use crate::{
        event::{Action, Event},
        patterns::{Verdicts, story::id},
        process_table::ProcessTable,
    };
    let (mut bomb, mut processes) = (ForkBomb::default(), ProcessTable::default());
    let mut happens = |pid: u32, action: Action| {
        let event = Event::of(1, id(pid), action);
        processes.apply(&event);
        bomb.observe(&event, &processes, &mut Verdicts::default());
        if matches!(event.action, Action::Exit) {
            processes.forget(event.process);
        }
        (bomb.tree.members().count(), bomb.clans.len(), bomb.tree.size().0)
    };
    for pid in 10..200 {
        let (child, parent) = (id(pid + 1), id(pid));
        happens(pid, Action::Fork { child, child_cgroup_id: 1, parent, shares_descriptors: false });
        let path = format!("/usr/bin/{pid}");
        let origin = crate::event::Origin::Kernel;
        let path = crate::event::Path { bytes: path.into(), origin, truncated: false };
        let exec = crate::event::Exec { path: Some(path), ..Default::default() };
        happens(pid + 1, Action::Exec(Box::new(exec)));
    }
    for pid in 10..200 {
        happens(pid, Action::Exit);
    }
    assert_eq!(happens(200, Action::Exit), (0, 0, 0));
}

#[test]
fn a_bomb_that_starts_itself_as_a_program_is_one_whatever_its_depth() {
    // Each starts 25 of its own kind, three levels deep.
    let mut story = begun("/home/u/bomb");
    let (mut parents, mut next) = (vec![10], 100);
    for _ in 0..3 {
        let mut children = Vec::new();
        for parent in parents {
            for child in next..next + 25 {
                story.fork(parent, child).exec(child, Started::at("/home/u/bomb"));
                children.push(child);
            }
            next += 25;
        }
        parents = children;
    }
    assert_eq!(story.found(RULE).len(), 1, "{:?}", story.found(RULE));
}

#[test]
fn a_build_beside_a_bomb_is_not_of_it() {
    let mut story = begun("/usr/bin/tmux");
    story.fork(10, 11).exec(11, Started::at("/usr/bin/make"));
    let mut next = 1000;
    for job in 100..132 {
        story.fork(11, job).exec(job, Started::at("/usr/bin/make"));
        for shell in [next, next + 4] {
            story.fork(job, shell).exec(shell, Started::at("/usr/bin/dash"));
            story.fork(shell, shell + 1).exec(shell + 1, Started::at("/usr/bin/gcc"));
            story.fork(shell + 1, shell + 2).fork(shell + 1, shell + 3);
        }
        next += 8;
    }
    story.fork(10, 12).exec(12, Started::at("/home/u/bomb"));
    let (mut parents, mut next) = (vec![12], 10_000);
    for _ in 0..7 {
        let mut all = parents.clone();
        for parent in parents {
            story.fork(parent, next);
            all.push(next);
            next += 1;
        }
        parents = all;
    }
    assert_eq!(story.found(RULE), [(12, Severity::Critical)]);
}

#[test]
fn many_that_have_ended_take_no_room_and_who_is_left_stays_in_his_place() {
    use super::tree::Tree;
    use crate::patterns::story::id;
    let mut tree = Tree::default();
    let clan = super::Clans::default().found(id(10)).unwrap();
    let member = super::Member { clan, generation: 0, left: None };
    let mut forks = |parent, child| {
        let parent = tree.known_or_new(id(parent), None).unwrap();
        tree.fork(parent, id(child), member)
    };
    for child in 11..20_000 {
        forks(10, child);
    }
    let line = [10, 19_000, 30_000, 30_001, 30_002];
    for (parent, child) in line.iter().zip(&line[1..]).skip(1) {
        forks(*parent, *child);
    }
    let ends = |tree: &mut Tree, pid| {
        let place = tree.place(id(pid)).unwrap();
        tree.take_member(place);
        tree.exit(place, 1);
    };
    for pid in (11..20_000).filter(|pid| !line.contains(pid)) {
        ends(&mut tree, pid);
    }
    assert!(tree.size().1 > 10_000);
    tree.time(2);
    let (kept, room) = tree.size();
    assert!(kept == line.len() && room < 100, "{kept} {room}");
    let left: Vec<_> = (0..).zip(line).map(|(generation, pid)| (id(pid), generation)).collect();
    assert_eq!(tree.below(id(10)), left);
    for pid in line.into_iter().rev() {
        ends(&mut tree, pid);
    }
    assert_eq!(tree.size().0, 0);
}

#[test]
fn who_says_that_he_is_his_own_child_is_nobodys() {
    use super::ForkBomb;
    use crate::{
        event::{Action, Event},
        patterns::{Verdicts, story::id},
        process_table::ProcessTable,
    };
    let mut bomb = ForkBomb::default();
    let action = Action::Fork {
        child: id(10),
        child_cgroup_id: 1,
        parent: id(10),
        shares_descriptors: false,
    };
    let event = Event::of(1, id(10), action);
    bomb.observe(&event, &ProcessTable::default(), &mut Verdicts::default());
    assert_eq!((bomb.clans.len(), bomb.tree.size().0), (0, 0));
}
