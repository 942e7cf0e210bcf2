//! What the analyzer's service may do in the directories that stay open to it, and what not.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use nix::{
    fcntl::{AT_FDCWD, renameat},
    unistd::{UnlinkatFlags, unlinkat},
};
use sentinel_analyzer::{
    configuration::Settings,
    json_log::JsonLog,
    privileges::{self, Connections},
};
use sentinel_ipc::confinement::{ConfinementError, Directory, Rights};

/// Logs that were opened before.
pub(crate) struct Logs {
    renamed: JsonLog,
    homeless: JsonLog,
}

/// Opens what the service opens in `stage`, lets logs be renamed and their directory be replaced, and
/// drops privileges as the service does.
pub(crate) fn drop_privileges(stage: &Path) -> Result<Logs, ConfinementError> {
    let log = |name: &str| JsonLog::open_to_rotate(&stage.join(name)).expect("a log");
    let (renamed, homeless) = (log("logs/alerts.json"), log("gone/alerts.json"));
    fs::rename(stage.join("logs/alerts.json"), stage.join("logs/alerts.json.1")).expect("rename");
    fs::remove_dir_all(stage.join("gone")).expect("removal");
    fs::create_dir(stage.join("gone")).expect("another directory");
    let kept = |directory: &File, rights| {
        let descriptor = directory.try_clone().expect("a descriptor").into();
        Directory { descriptor, rights }
    };
    let configuration = File::open(stage.join("configuration")).expect("a directory");
    privileges::drop_privileges(
        vec![
            kept(renamed.directory().expect("its directory"), Rights::Write),
            kept(homeless.directory().expect("its directory"), Rights::Write),
            kept(&configuration, Rights::Read),
        ],
        Connections::None,
    )?;
    Ok(Logs { renamed, homeless })
}

/// Tries it all; a name and a result for each.
pub(crate) fn tries(stage: &Path, mut logs: Logs) -> Vec<(&'static str, String)> {
    let at = |name: &str| stage.join(name);
    let append = || OpenOptions::new().append(true).create(true).clone();
    let write = || OpenOptions::new().write(true).clone();
    let open = |options: &mut OpenOptions, name: &str| told(options.open(at(name)));
    vec![
        ("make_log", open(&mut append(), "logs/new")),
        ("append_to_log", open(&mut append(), "logs/old")),
        ("read_log", open(OpenOptions::new().read(true), "logs/old")),
        ("overwrite_log", open(&mut write(), "logs/old")),
        ("empty_log", open(write().truncate(true), "logs/old")),
        ("remove_log", told(fs::remove_file(at("logs/old")))),
        ("rename_log", told(fs::rename(at("logs/old"), at("logs/other")))),
        ("make_directory", told(fs::create_dir(at("logs/directory")))),
        ("make_link", told(std::os::unix::fs::symlink("/etc/passwd", at("logs/link")))),
        ("follow_link_out", open(&mut append(), "logs/out")),
        ("walk_out", open(&mut append(), "logs/../outside")),
        ("make_outside", open(&mut append(), "new")),
        ("write_to_new_directory", open(&mut append(), "gone/new")),
        ("read_configuration", open(OpenOptions::new().read(true), "configuration/analyzer.toml")),
        ("list_rules", told(fs::read_dir(at("configuration")).map(Iterator::count))),
        ("list_logs", told(fs::read_dir(at("logs")).map(Iterator::count))),
        ("write_configuration", open(&mut append(), "configuration/analyzer.toml")),
        ("make_configuration", open(&mut append(), "configuration/new")),
        ("load_configuration", {
            let read = Settings::read(&at("configuration/analyzer.toml"));
            read.map_or_else(|error| error.to_string(), |_| "ok".to_owned())
        }),
        ("reopen_renamed", logs.renamed.reopen().map_or_else(|why| why, |()| "ok".to_owned())),
        ("reopen_homeless", logs.homeless.reopen().map_or_else(|why| why, |()| "ok".to_owned())),
    ]
}

/// Drops privileges as the analyzer does that keeps baselines in `stage` and has no other directory.
pub(crate) fn drop_to_replace(stage: &Path) -> Result<(), ConfinementError> {
    let descriptor = File::open(stage.join("baselines")).expect("a directory").into();
    let kept = Directory { descriptor, rights: Rights::Replace };
    privileges::drop_privileges(vec![kept], Connections::None).map(|_| ())
}

/// Tries what a directory of baselines is for, and what not; a name and a result for each.
pub(crate) fn tries_to_replace(stage: &Path) -> Vec<(&'static str, String)> {
    let at = |name: &str| stage.join(name);
    let make = || OpenOptions::new().write(true).create_new(true).clone();
    let open = |options: &mut OpenOptions, name: &str| told(options.open(at(name)));
    let rename = |from: &str, to: &str| {
        told(renameat(AT_FDCWD, &at(from), AT_FDCWD, &at(to)).map_err(io::Error::from))
    };
    let remove = |name: &str| {
        told(unlinkat(AT_FDCWD, &at(name), UnlinkatFlags::NoRemoveDir).map_err(io::Error::from))
    };
    vec![
        ("make", open(&mut make(), "baselines/new")),
        ("replace", rename("baselines/new", "baselines/old")),
        ("read", open(OpenOptions::new().read(true), "baselines/old")),
        ("overwrite", open(OpenOptions::new().write(true), "baselines/old")),
        ("append", open(OpenOptions::new().append(true), "baselines/old")),
        ("make_outside", open(&mut make(), "new")),
        ("remove_outside", remove("outside")),
        ("read_outside", open(OpenOptions::new().read(true), "outside")),
        ("rename_outside", rename("outside", "other")),
        ("move_out", rename("baselines/old", "old")),
        ("move_in", rename("outside", "baselines/outside")),
        ("walk_out", rename("baselines/old", "baselines/../old")),
        ("remove", remove("baselines/old")),
    ]
}

fn told<T>(result: io::Result<T>) -> String {
    match result.map_err(|error| error.raw_os_error()) {
        Ok(_) => "ok".to_owned(),
        Err(errno) => format!("{:?}", nix::errno::Errno::from_raw(errno.unwrap_or_default())),
    }
}
