//! What was missed is made good: after a loss, a snapshot puts the tables right. The only test here,
//! because it asks the one that runs.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    sentinel::{PATIENCE, Sentinel, program, send, within},
};
use serde_json::Value;

/// How many processes the running sentinel believes to live.
fn believed_alive() -> Option<u64> {
    let output = Command::new(program()).args(["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).ok()?;
    status["processes"].as_u64()
}

#[test]
fn after_a_loss_the_tables_are_made_true_again() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let mut sleepers: Vec<Child> =
        (0..20).map(|_| bed.command("sleep").arg("100").spawn().unwrap()).collect();
    assert!(within(PATIENCE, || believed_alive() == Some(20)), "{:?}", believed_alive());
    send(sentinel.loader(), Signal::SIGSTOP);
    // The ring is full when they end.
    let mut flood = bed.command(compiled("flood"));
    flood.args(["1", "150000"]).stdin(Stdio::null()).stdout(Stdio::null());
    assert!(flood.status().unwrap().success());
    for sleeper in &mut sleepers {
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
    send(sentinel.loader(), Signal::SIGCONT);
    assert!(within(PATIENCE, || believed_alive() == Some(0)), "{:?}", believed_alive());
    let outcome = sentinel.stop();
    let names: Vec<&str> =
        outcome.alerts.iter().map(|alert| alert["pattern_name"].as_str().unwrap()).collect();
    // A loader that was stopped for more than four seconds was silent as well.
    let names: Vec<&str> = names.into_iter().filter(|name| *name != "sensor_silent").collect();
    assert_eq!(names, ["sensor_loss"], "{}", outcome.output);
}
