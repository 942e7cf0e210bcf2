//! Somebody with root's rights blinds the sensor: the operator is told.

use std::{fs, process::Command, time::Instant};

use sentinel_tests::{
    bed::Bed,
    sentinel::{PATIENCE, Sentinel},
};

/// Ids of the maps of type prog_array that a process holds.
fn program_arrays_of(pid: u32) -> Vec<u32> {
    const PROG_ARRAY: &str = "3";
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    texts
        .filter(|text| field(text, "map_type:").as_deref() == Some(PROG_ARRAY))
        .filter_map(|text| field(&text, "map_id:")?.parse().ok())
        .collect()
}

fn bpftool(arguments: &[&str]) -> String {
    let output = Command::new("bpftool").args(arguments).output().expect("bpftool");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bpftool {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The map with this name among `ids`, which belong to one loader.
fn named(ids: &[u32], name: &str) -> String {
    let is_named = |id: &&u32| {
        let text = bpftool(&["map", "show", "id", &id.to_string()]);
        text.contains(&format!("name {name} "))
    };
    ids.iter().find(is_named).unwrap_or_else(|| panic!("no map {name}")).to_string()
}

#[test]
fn a_program_that_was_taken_away_is_missed_within_its_canarys_period() {
    let Some(bed) = Bed::new() else { return };
    let mut sentinel = Sentinel::start(&bed, &[]);
    let families = named(&program_arrays_of(sentinel.loader()), "FAMILIES");
    // Family 2, calls about files: the canary passes through all.
    bpftool(&["map", "delete", "id", &families, "key", "2", "0", "0", "0"]);
    sentinel.wait_for("sensor_blind");
    let outcome = sentinel.stop();
    let blind: Vec<_> =
        outcome.alerts.iter().filter(|one| one["pattern_name"] == "sensor_blind").collect();
    assert_eq!(blind.len(), 1, "{}", outcome.output);
    assert_eq!(
        (&blind[0]["severity"], &blind[0]["engine"]),
        (&"critical".into(), &"sensor".into())
    );
}

#[test]
fn an_untouched_sensor_sees_its_canaries() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &["--duration=6"]);
    let begun = Instant::now();
    let outcome = sentinel.wait();
    assert!(begun.elapsed() < PATIENCE);
    assert!(outcome.alerts.is_empty(), "{}", outcome.output);
}
