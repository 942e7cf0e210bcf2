//! Programs that read secrets of their own, for their own service: `[[client]]` tables in the rules
//! (docs/rules.md), with the reason for each.
//!
//! By path, which counts only where nobody but root could have put another program, and none is
//! preloaded or traced. A program that sends whatever file it is told to has no secret of its own that its
//! arguments name, and none at all if they are longer than what is known of them.

mod arguments;
mod at_start;
mod readings;

use std::rc::Rc;

use sentinel_ipc::file_class::{bit, class};

pub use at_start::KeysAtStart;
pub use readings::{OwnReading, OwnReadings};

use super::SecretFile;
use crate::{
    process_table::Process,
    rules::{fields::FILE_CLASSES, identity::trusted_path},
};

/// Keys that a server presents to its clients.
const SERVERS: u32 = bit(class::PRIVATE_KEY) | bit(class::SSH_HOST_KEY);
/// Where a script stands that is named without its directory.
const DIRECTORIES: [&str; 3] = ["/usr/bin/", "/usr/local/bin/", "/bin/"];

/// Programs to which the same applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Why what they read is no reading, in a sentence.
    pub why: String,
    /// Kernel-resolved paths of the program, any of them; none for any interpreter of the script. One
    /// `*` stands for a part of a directory's name.
    pub exe: Vec<String>,
    /// Kernel-resolved paths of the script that it runs, or names in a directory of programs; none for
    /// whatever it runs.
    pub script: Vec<String>,
    /// Classes of files that are their own: [`bit`]s.
    pub classes: u32,
    /// Only files of these names: the end of a path, or with a slash at the end a directory somewhere in
    /// it; with one at the front from the root. Escaped. None for all of the classes.
    pub file: Vec<String>,
    /// Ports at which other hosts offer their service; none for any.
    pub port: Vec<u16>,
    /// Whether they send whatever file they are told to.
    pub sends_files: bool,
    /// Options whose value names a secret that is used, and not sent.
    pub secret_options: Vec<String>,
}

/// That a secret is a program's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Ports of other hosts at which its service is expected; `None`: any.
    pub ports: Option<Vec<u16>>,
}

/// All of them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Clients(Rc<[Client]>);

impl Clients {
    /// These.
    pub fn new(clients: Vec<Client>) -> Self {
        Self(clients.into())
    }

    /// Whether `file` is what the process's program reads for its own service.
    pub fn own(&self, process: &Process, file: &SecretFile) -> Option<Own> {
        let path = trusted_path(process)?;
        let image = process.image.as_ref()?;
        let script = image.identity.sound_script();
        let line = || image.identity.has_all_arguments().then(|| image.command_line.as_str());
        let mut ports = Vec::new();
        for client in self.0.iter().filter(|client| client.has(file)) {
            if !client.is_run(path, script) || client.may_send(line(), &file.path) {
                continue;
            }
            if client.port.is_empty() {
                return Some(Own { ports: None });
            }
            ports.extend_from_slice(&client.port);
        }
        (!ports.is_empty()).then_some(Own { ports: Some(ports) })
    }
}

impl Client {
    /// Names of the classes of files that are their own.
    pub fn class_names(&self) -> Vec<&'static str> {
        let mut all = FILE_CLASSES.iter();
        all.by_ref().filter(|(_, class)| self.classes & bit(*class) != 0).map(|one| one.0).collect()
    }

    fn has(&self, file: &SecretFile) -> bool {
        self.classes & bit(file.class) != 0
            && (self.file.is_empty() || self.file.iter().any(|name| is_at(&file.path, name)))
    }

    /// Whether the program at `path` is meant, which runs `script`.
    pub fn is_run(&self, path: &[u8], script: Option<&[u8]>) -> bool {
        (self.exe.is_empty() || self.exe.iter().any(|exe| is_program(path, exe)))
            && (self.script.is_empty()
                || script.is_some_and(|runs| self.script.iter().any(|one| is_script(runs, one))))
    }

    /// Whether it sends files, and may have been told to send this one; `line`: its arguments, if all are
    /// known.
    fn may_send(&self, line: Option<&str>, path: &str) -> bool {
        self.sends_files
            && line.is_none_or(|line| arguments::name(line, path, &self.secret_options))
    }
}

/// Whether `path` is one that `name` means: see [`Client::file`].
fn is_at(path: &str, name: &str) -> bool {
    let is_component = |front: &str| front.ends_with('/');
    match (name.starts_with('/'), name.ends_with('/')) {
        (true, true) => path.starts_with(name),
        (true, false) => path == name,
        (false, true) => {
            let mut found = path.match_indices(name);
            found.any(|(at, _)| path.get(..at).is_some_and(is_component))
        }
        (false, false) => path.strip_suffix(name).is_some_and(is_component),
    }
}

fn is_program(path: &[u8], exe: &str) -> bool {
    let Some((front, back)) = exe.split_once('*') else { return path == exe.as_bytes() };
    let rest = path.strip_prefix(front.as_bytes());
    let part = rest.and_then(|rest| rest.strip_suffix(back.as_bytes()));
    part.is_some_and(|part| !part.contains(&b'/'))
}

fn is_script(runs: &[u8], name: &str) -> bool {
    if name.starts_with('/') {
        return runs == name.as_bytes();
    }
    let mut names = DIRECTORIES.iter().filter_map(|one| runs.strip_prefix(one.as_bytes()));
    names.any(|one| one == name.as_bytes())
}

/// Whether a server has secrets of `class` for its clients.
pub fn is_servers(class: u32) -> bool {
    SERVERS & bit(class) != 0
}

#[cfg(test)]
mod tests;
