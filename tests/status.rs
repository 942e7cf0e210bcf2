//! `sentinel status` asks the one that runs.

use std::{
    fs,
    process::{Command, Output},
};

use nix::sys::signal::Signal;
use sentinel_tests::{
    bed::Bed,
    sentinel::{PATIENCE, Sentinel, is_running, program, send, within},
};
use serde_json::Value;

fn status(arguments: &[&str]) -> Output {
    Command::new(program()).arg("status").args(arguments).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn status_tells_what_is_attached_and_what_came_of_it() {
    let Some(bed) = Bed::new() else { return };
    let nobody = status(&[]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(errors(&nobody).contains("is Sentinel running?"), "{}", errors(&nobody));

    let mut sentinel = Sentinel::start(&bed, &[]);
    assert!(bed.command("true").status().unwrap().success());
    let mut told = Value::Null;
    let has_processed = || {
        let output = status(&["--json"]);
        assert!(output.status.success(), "{}", errors(&output));
        told = serde_json::from_slice(&output.stdout).unwrap();
        told["events"]["processed"].as_u64().unwrap() > 0
    };
    assert!(within(PATIENCE, has_processed), "{told}");
    assert_eq!(told["pid"], sentinel.pid());
    assert!(told["mode"].as_str().unwrap().starts_with("shadow mode"));
    assert!(told["hooks"].as_array().unwrap().contains(&"sys_exit".into()), "{told}");
    assert!(told["blind_to"].as_array().unwrap().is_empty(), "{told}");
    assert_eq!(told["events"]["dropped"], 0);
    // What each says of its sandbox is what the kernel says.
    let parts = [
        ("analyzer", sentinel.pid()),
        ("loader", sentinel.loader()),
        ("enforcer", sentinel.enforcer()),
    ];
    for (part, (name, pid)) in told["parts"].as_array().unwrap().iter().zip(parts) {
        let kernel = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let has = |line: String| kernel.lines().any(|one| one.replace('\t', " ") == line);
        let uid = &part["uid"];
        assert!(part["name"] == name && part["pid"] == pid, "{part}");
        assert!(has(format!("Uid: {uid} {uid} {uid} {uid}")), "{part}: {kernel}");
        assert!(has("Seccomp: 2".into()) && has("NoNewPrivs: 1".into()), "{kernel}");
        let (capabilities, set) = if name == "enforcer" { (1, "20") } else { (0, "0") };
        assert_eq!(part["capabilities"].as_array().unwrap().len(), capabilities, "{part}");
        assert!(has(format!("CapEff: {set:0>16}")), "{kernel}");
        let sandbox = part["sandbox"].as_str().unwrap();
        let version =
            sandbox.strip_prefix("landlock ").and_then(|rest| rest.split([' ', ',']).next());
        assert!(version.unwrap().parse::<u32>().unwrap() >= 1, "{sandbox}");
        assert!(sandbox.ends_with(", seccomp, no_new_privs"), "{sandbox}");
    }
    let text = status(&[]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("shadow mode"));

    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let refused = stranger.arg(program()).arg("status").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("only root and the group"), "{}", errors(&refused));

    // A second one leaves the socket to the first.
    let second = Sentinel::start(&bed, &[]);
    assert!(second.stop().output.contains("another Sentinel runs here"));
    // One that is killed leaves its socket behind, and the next one takes its place.
    send(sentinel.pid(), Signal::SIGKILL);
    assert!(within(PATIENCE, || !is_running(sentinel.pid())));
    sentinel = Sentinel::start(&bed, &[]);
    let told: Value = serde_json::from_slice(&status(&["--json"]).stdout).unwrap();
    assert_eq!(told["pid"], sentinel.pid());
}
