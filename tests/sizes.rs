//! The sizes of what is trusted are those that the README states.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// How much less than stated it may be, before the README is to say so.
const SLACK: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Lines of a crate that are no comment, not empty, and no test. Tests stand at the end of a file, or in one of that name.
fn lines(of: &str) -> usize {
    let mut files = Vec::new();
    sources(&root().join(of).join("src"), &mut files);
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let code = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let program = text.lines().take_while(|line| *line != "#[cfg(test)]");
        program.filter(is_code).count()
    };
    files.iter().map(code).sum()
}

/// Crates of others that it is made with, those that only its build needs included.
fn crates(of: &str) -> usize {
    let tree = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--locked", "--edges=normal,build", "--prefix=none"])
        .args(["--no-dedupe", "--package", of])
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    // Name and version: two versions of one are two.
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let names: BTreeSet<String> = tree.lines().map(name).collect();
    names.iter().filter(|name| !name.is_empty() && !name.starts_with("sentinel-")).count()
}

/// The numbers in the README's row about `part`.
fn stated(part: &str) -> Vec<usize> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let start = format!("| {part} |");
    let row = readme.lines().find(|line| line.starts_with(&start));
    let row = row.unwrap_or_else(|| panic!("no row {start} in the README"));
    let numbers =
        row[start.len()..].split('|').filter_map(|cell| cell.trim().replace(',', "").parse().ok());
    numbers.collect()
}

#[test]
fn what_is_trusted_is_as_small_as_the_readme_says() {
    for part in ["loader", "enforcer", "ipc", "loader-ebpf"] {
        let lines = lines(part);
        let stated = stated(part);
        let [most_lines, ref most_crates @ ..] = stated[..] else { panic!("{part}: {stated:?}") };
        assert!(
            (most_lines.saturating_sub(SLACK)..=most_lines).contains(&lines),
            "the {part} has {lines} lines, the README says at most {most_lines}"
        );
        // Those of the other two are among these.
        if ["loader", "enforcer"].contains(&part) {
            let crates = crates(&format!("sentinel-{part}"));
            assert_eq!(most_crates, [crates], "crates that the {part} is made with");
        }
    }
}

#[test]
fn the_rule_of_counting_counts_what_it_should() {
    assert!(lines("enforcer") > 500 && lines("loader") > 500 && crates("sentinel-loader") > 20);
}
