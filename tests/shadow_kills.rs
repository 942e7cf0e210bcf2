//! In shadow mode each process that enforcement would have ended is counted, also where it does the very same as
//! one before it: in the log, the metrics, the summary and the shadow report.

use std::{fs, io::Write as _, process::Command};

use sentinel_tests::{
    bed::Bed,
    peer::{self, Peer, Shell},
    sentinel::{Sentinel, alerts, lines, program},
};

#[test]
fn a_shell_within_a_shell_is_one_kill_more() {
    let Some(bed) = Bed::new() else { return };
    let (log, metrics) = (bed.path("all.json"), bed.path("metrics/sentinel.prom"));
    let options = [
        "--enable-json-log".to_owned(),
        format!("--json-log-path={}", log.display()),
        format!("--metrics-file={}", metrics.display()),
    ];
    let mut sentinel = Sentinel::start(&bed, &options.each_ref().map(String::as_str));
    let peer = Peer::listen("127.0.0.1");
    let mut child = peer::reverse_shell(&bed, &peer);
    let mut stream = peer.accept();
    let mut shell = Shell::on(stream.try_clone().unwrap());
    let outer = shell.pid();
    stream.write_all(b"bash\n").unwrap();
    let inner = shell.pid();
    assert_ne!(outer, inner);
    stream.write_all(b"exit\n").unwrap();
    shell.exit();
    child.wait().unwrap();
    sentinel.wait_for("CRITICAL");
    let outcome = sentinel.stop();

    let [first, folded] = outcome.alerts.as_slice() else { panic!("{:#?}", outcome.alerts) };
    assert_eq!((&first["pid"], &first["severity"]), (&outer.into(), &"critical".into()));
    assert_eq!(first.get("count"), None);
    let told = (&folded["count"], &folded["pids"], &folded["action"]);
    assert_eq!(told, (&1.into(), &vec![inner].into(), &"logged".into()), "{folded}");
    assert_eq!(alerts(&log), outcome.alerts);
    let counted = lines(&log).pop().unwrap();
    assert_eq!(counted["counters"]["alerts_folded"], 1, "{counted}");
    assert!(outcome.output.contains("critical 2 "), "{}", outcome.output);
    let numbers = fs::read_to_string(&metrics).unwrap();
    assert!(numbers.contains("\nsentinel_alerts_total{severity=\"critical\"} 2\n"), "{numbers}");

    let report = Command::new(program()).arg("shadow-report").arg(&log).output().unwrap();
    let text = String::from_utf8(report.stdout).unwrap();
    for words in ["critical 2 ", "2 kills would have been asked for", "2 of 2 critical alerts"] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
}
