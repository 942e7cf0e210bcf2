//! Every way to open, map and change a file, and to change its names: the records tell what a
//! program that did it knows to be true.

#[path = "sensor_files/truth.rs"]
mod truth;

use std::{path::Path, process::Command};

use sentinel_tests::{bed::Bed, programs::compiled, tap::Tap};

use crate::truth::{compare, hold, told_by};

/// Runs cases of the program sensor_files and compares.
fn files(cases: &[&str]) {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    hold(&bed, &mut tap, "sensor_files", cases, &bed.path(""));
}

#[test]
fn a_file_is_told_by_its_own_path_whatever_it_is_opened_by() {
    files(&["names_of_a_file"]);
}

#[test]
fn files_of_all_kinds_and_open_in_all_ways_are_told() {
    files(&["kinds_of_files"]);
}

#[test]
fn files_that_have_no_name_are_told() {
    files(&["nameless"]);
}

#[test]
fn what_fails_is_not_told() {
    files(&["failures"]);
}

#[test]
fn names_are_kept_byte_by_byte() {
    files(&["names"]);
}

#[test]
fn of_long_paths_the_tail_is_kept() {
    files(&["lengths"]);
}

#[test]
fn of_deep_paths_the_tail_is_kept() {
    files(&["depths"]);
}

#[test]
fn threads_children_and_other_users_are_told_apart() {
    files(&["tasks"]);
}

#[test]
fn files_opened_by_32_bit_calls_are_told() {
    files(&["low_calls"]);
}

#[test]
fn only_maps_of_files_of_a_class_are_told() {
    files(&["maps"]);
}

#[test]
fn changes_of_mode_and_length_by_descriptor_are_told() {
    files(&["changes"]);
}

#[test]
fn files_in_other_mounts_and_roots_are_told() {
    files(&["mounts"]);
}

#[test]
fn files_opened_by_a_ring_are_told() {
    files(&["rings"]);
}

#[test]
fn a_descriptor_may_have_a_high_number() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    // It moves into the cgroup itself.
    let mut command = Command::new(compiled("sensor_files"));
    command.arg("high_descriptors").arg(bed.path("high")).arg(bed.cgroup().join("cgroup.procs"));
    let truths = told_by(&mut command);
    tap.catch_up();
    compare(&bed, &tap, &truths);
}

/// Runs cases of the program sensor_files_paths on one file system and compares.
fn paths(home: &Path, cases: &[&str]) {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    hold(&bed, &mut tap, "sensor_files_paths", cases, home);
}

/// On the file system of the temporary directory, such as ext4, and on tmpfs.
fn on_both(cases: &[&str]) {
    for parent in [std::env::temp_dir().as_path(), Path::new("/dev/shm")] {
        let home = tempfile::tempdir_in(parent).unwrap();
        paths(home.path(), cases);
    }
}

#[test]
fn renames_are_told() {
    on_both(&["renames"]);
}

#[test]
fn links_are_told() {
    on_both(&["links", "symlinks"]);
}

#[test]
fn removals_are_told() {
    on_both(&["removals"]);
}

#[test]
fn changes_of_mode_and_length_by_path_are_told() {
    on_both(&["attributes"]);
}

#[test]
fn new_directories_and_nodes_are_told() {
    on_both(&["creations"]);
}

#[test]
fn names_changed_by_32_bit_calls_are_told() {
    on_both(&["low_calls"]);
}

#[test]
fn changes_of_the_root_are_told() {
    on_both(&["roots"]);
}

#[test]
fn mounts_are_told() {
    on_both(&["mounts"]);
}
