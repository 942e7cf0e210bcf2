//! `sentinel status` asks the one that runs.

use std::process::{Command, Output};

use nix::sys::signal::Signal;
use sentinel_tests::{
    bed::Bed,
    sentinel::{Sentinel, program, send},
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
    std::thread::sleep(std::time::Duration::from_secs(1));
    let output = status(&["--json"]);
    assert!(output.status.success(), "{}", errors(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["pid"], sentinel.pid());
    assert!(told["mode"].as_str().unwrap().starts_with("shadow mode"));
    assert!(told["hooks"].as_array().unwrap().contains(&"sys_exit".into()), "{told}");
    assert!(told["blind_to"].as_array().unwrap().is_empty(), "{told}");
    assert!(told["events"]["processed"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(told["events"]["dropped"], 0);
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
    sentinel = Sentinel::start(&bed, &[]);
    let told: Value = serde_json::from_slice(&status(&["--json"]).stdout).unwrap();
    assert_eq!(told["pid"], sentinel.pid());
}
