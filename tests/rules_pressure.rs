//! Who begins more sequences than there is room for is told, and everything else goes on.

use std::fs;

use sentinel_tests::{
    bed::Bed,
    sentinel::{PATIENCE, Sentinel, alerts, within},
};

/// Files in memory that are cut later, by whomever.
const RULE: &str = r#"
[[rule]]
name = "cut"
severity = "info"
mitre = "T1620"
description = "d"
false_positives = "f"
window = "10m"
[[rule.step]]
event = "memfd"
[[rule.step]]
event = "ftruncate"
process = "any"
same = { object = 1 }
"#;

/// Has 100 processes make 20 files each, one after the other, and says so; then cuts one of its own.
const CROWD: &str = "
import os, sys
for _ in range(100):
    child = os.fork()
    if child == 0:
        for number in range(20):
            os.memfd_create(str(number))
        os._exit(0)
    os.waitpid(child, 0)
os.ftruncate(os.memfd_create('own'), 1)
sys.stdin.read()
";

#[test]
fn a_crowd_of_begun_sequences_is_an_alert_and_hides_nothing_new() {
    let Some(bed) = Bed::new() else { return };
    let rules = bed.path("rules.d");
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("cut.toml"), RULE).unwrap();
    let sentinel = Sentinel::start(&bed, &[&format!("--rules={}", rules.display())]);
    let mut crowd = bed.command("python3");
    let mut crowd = crowd.args(["-c", CROWD]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let of = |name: &str| -> Vec<serde_json::Value> {
        let all = alerts(sentinel.log()).into_iter();
        all.filter(|alert| alert["pattern_name"] == name).collect()
    };
    let came = within(PATIENCE, || !of("cut").is_empty());
    let told = of("pattern_state_exhausted");
    drop(crowd.stdin.take());
    crowd.wait().unwrap();
    assert!(came, "the newest is still seen");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["pid"], crowd.id(), "whose children they were: {}", told[0]);
    assert_eq!(told[0]["severity"], "high");
    assert_eq!(told[0]["mitre"], "T1562.001");
    let output = sentinel.stop().output;
    // 2001 were begun, and 1024 have room with one step.
    assert!(output.contains(" under way at the end, 977 made room"), "{output}");
}
