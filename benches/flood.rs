//! What is lost when far more happens than can be told: of what verdicts rest on nothing, and of the rest what is
//! counted.
//!
//! `cargo build --release && cargo bench -p sentinel-tests --bench flood [-- SECONDS]` as root, for a minute by default.
//! Every processor changes a socket's flags as fast as it can, and every few seconds somebody has a shell on a
//! connection.
//! Panics when an event was neither told nor counted as lost, when one that verdicts rest on was lost, or when
//! a shell has no alert. With 0 seconds it lasts one.

use std::{process::Stdio, thread::sleep, time::Duration};

use sentinel_tests::{
    bed::Bed,
    peer::{self, Peer},
    programs::compiled,
    sentinel::Sentinel,
};

/// From one shell to the next.
const PAUSE: Duration = Duration::from_secs(3);

fn main() {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(60_u32).max(1);
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let mut command = bed.command(compiled("flood"));
    let mut flood = command
        .args([&seconds.to_string(), "0", "flags"])
        .stdin(Stdio::null())
        .spawn()
        .expect("the flood");
    let mut shells = 0;
    while flood.try_wait().expect("a child").is_none() {
        shell(&bed);
        shells += 1;
        sleep(PAUSE.min(Duration::from_secs(seconds.into())));
    }
    let took = f64::from(seconds);
    let outcome = sentinel.stop();
    let [passed, emitted, dropped, urgent, processed] =
        ["after filter ", "emitted ", "dropped ", "urgent ", "processed "]
            .map(|what| outcome.total(what));
    println!("{:>12} events passed the filter: {:.0} a second", passed, as_float(passed) / took);
    println!(
        "{emitted:>12} were told, {processed} of them analyzed: {:.0} a second",
        as_float(processed) / took
    );
    println!(
        "{dropped:>12} were lost and counted: {:.1} %",
        as_float(dropped) / as_float(passed) * 100.0
    );
    println!("{urgent:>12} of them were such as verdicts rest on");
    let found =
        outcome.alerts.iter().filter(|alert| alert["pattern_name"] == "reverse_shell").count();
    println!("{found:>12} of {shells} shells were found");
    assert_eq!(emitted + dropped, passed, "what is not told is counted: {}", outcome.output);
    assert_eq!(processed, emitted, "{}", outcome.output);
    assert_eq!(urgent, 0, "{}", outcome.output);
    assert_eq!(found, shells, "{}", outcome.output);
}

fn shell(bed: &Bed) {
    let peer = Peer::listen("127.0.0.1");
    let mut child = peer::reverse_shell(bed, &peer);
    peer.shell().exit();
    child.wait().expect("its end");
}

#[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
fn as_float(number: u64) -> f64 {
    number as f64
}
