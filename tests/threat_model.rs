//! What the threat model claims is tried: each test that it names is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Names of all functions that are tests, or that expand to one.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for part in ["analyzer", "enforcer", "ipc", "loader", "tests"] {
        sources(&root.join(part), &mut files);
    }
    let mut found = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("fn ")) {
            found.insert(line.split(['(', '<']).next().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn each_test_that_the_threat_model_names_is_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/threat-model.md");
    let model = fs::read_to_string(path).unwrap();
    let is_sentence = |name: &&str| {
        name.matches('_').count() >= 3
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let named: BTreeSet<&str> = model.split('`').skip(1).step_by(2).filter(is_sentence).collect();
    assert!(named.len() > 60, "{}", named.len());
    let tests = tests();
    let missing: Vec<&&str> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
