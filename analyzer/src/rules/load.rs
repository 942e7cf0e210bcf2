//! Where rules come from: the binary, files, directories of files.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use sentinel_ipc::small_file::{self, SmallFileError};

use super::{
    compile::Compiled,
    language::{self, Extension, LanguageError, Written, Wrong, unknown},
    rule::Allowed,
};
use crate::{
    patterns::{self, Exceptions},
    secrets::own::{Client, Clients},
};

/// Clients that are always there.
const CLIENTS: (&str, &str) = ("rules/clients.toml", include_str!("../../rules/clients.toml"));
/// Rules that are always there, with the names of their files.
const EMBEDDED: [(&str, &str); 9] = [
    CLIENTS,
    ("rules/kernel.toml", include_str!("../../rules/kernel.toml")),
    ("rules/processes.toml", include_str!("../../rules/processes.toml")),
    ("rules/execution.toml", include_str!("../../rules/execution.toml")),
    ("rules/credentials.toml", include_str!("../../rules/credentials.toml")),
    ("rules/accounts.toml", include_str!("../../rules/accounts.toml")),
    ("rules/persistence.toml", include_str!("../../rules/persistence.toml")),
    ("rules/tracks.toml", include_str!("../../rules/tracks.toml")),
    ("rules/containers.toml", include_str!("../../rules/containers.toml")),
];

/// More than any rule file has, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Files of one directory at the most.
const MAX_FILES: usize = 1024;
/// Bytes of one directory's files at the most.
const MAX_TOTAL: usize = 16 << 20;
/// Rules of a set at the most, and clients.
const MAX_RULES: usize = 4096;

/// Rules with their tests; of those that are on, no two of the same name.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// In the order of their files.
    pub rules: Vec<Written>,
    /// In the order of their files.
    pub clients: Vec<WrittenClient>,
    /// Names of rules of the binary that others may take.
    pub(super) replaceable: Vec<String>,
    /// Names of patterns written in code that are off, and what they are not about.
    pub(super) off: Vec<String>,
    pub(super) allow: Vec<Extension>,
    /// Files that add to rules, and what they say.
    additions: Vec<(String, String)>,
}

/// A client, and where it is from.
#[derive(Debug)]
pub struct WrittenClient {
    /// The client.
    pub client: Client,
    /// The file that it stands in.
    pub file: String,
    /// Whether it is one of the binary's.
    pub is_embedded: bool,
}

/// What is looked for.
#[derive(Debug, Default)]
pub struct Active {
    /// The rules that are on.
    pub rules: Compiled,
    /// What of the patterns written in code is not told.
    pub exceptions: Exceptions,
    /// Whose secrets of their own are none.
    pub clients: Clients,
}

/// Why rules are not used.
#[derive(Debug)]
pub enum LoadError {
    /// A file is not read.
    File(SmallFileError),
    /// A directory cannot be read.
    Unreadable(PathBuf, io::Error),
    /// There are more files, rules or clients than anybody reads.
    TooMany(PathBuf),
    /// A file is no text.
    NotText(PathBuf),
    /// Something in a file is wrong.
    Wrong(LanguageError),
    /// The configuration says something about rules that cannot be.
    Choice(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(to),
            Self::Unreadable(path, error) => write!(to, "{}: {error}", path.display()),
            Self::TooMany(path) => {
                let path = path.display();
                write!(
                    to,
                    "{path}: more than {MAX_FILES} files, {MAX_RULES} rules, {MAX_RULES} clients or {MAX_TOTAL} bytes"
                )
            }
            Self::NotText(path) => write!(to, "{}: it is not UTF-8 text", path.display()),
            Self::Wrong(error) => error.fmt(to),
            Self::Choice(why) => write!(to, "{why}"),
        }
    }
}

impl std::error::Error for LoadError {}

impl RuleSet {
    /// The rules of the binary.
    ///
    /// # Errors
    /// Never, which a test shows.
    pub fn embedded() -> Result<Self, LoadError> {
        let mut set = Self::default();
        for (file, text) in EMBEDDED {
            set.add_text(file, text)?;
        }
        for written in &mut set.rules {
            written.is_embedded = true;
        }
        for written in &mut set.clients {
            written.is_embedded = true;
        }
        Ok(set)
    }

    /// Adds the rules of `*.toml` in a directory, in the order of their names.
    ///
    /// # Errors
    /// When one cannot be read or is not sound; the set is of no use then.
    pub fn add_directory(&mut self, directory: &Path) -> Result<(), LoadError> {
        let unreadable = |error| LoadError::Unreadable(directory.to_owned(), error);
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
            if files.len() > MAX_FILES {
                return Err(LoadError::TooMany(directory.to_owned()));
            }
        }
        files.sort();
        let mut total = 0;
        for file in files {
            total += self.add_file(&file)?;
            if total > MAX_TOTAL {
                return Err(LoadError::TooMany(directory.to_owned()));
            }
        }
        Ok(())
    }

    /// Adds the rules of a file; returns its length in bytes.
    ///
    /// # Errors
    /// When it cannot be read or is not sound; the set is of no use then.
    pub fn add_file(&mut self, path: &Path) -> Result<usize, LoadError> {
        let bytes = small_file::read(path, MAX_BYTES).map_err(LoadError::File)?;
        let text = str::from_utf8(&bytes).map_err(|_| LoadError::NotText(path.to_owned()))?;
        self.add_text(&path.display().to_string(), text)?;
        Ok(text.len())
    }

    /// Adds the rules and clients in `text`, which the file of this name holds.
    ///
    /// # Errors
    /// When something in it is wrong.
    pub fn add_text(&mut self, file: &str, text: &str) -> Result<(), LoadError> {
        for written in language::parse(file, text).map_err(LoadError::Wrong)? {
            if let Some(why) = self.obstacle(&written.rule.name) {
                let wrong = Wrong::new(written.span, why);
                return Err(LoadError::Wrong(LanguageError::new(file, text, wrong)));
            }
            if self.rules.len() >= MAX_RULES {
                return Err(LoadError::TooMany(PathBuf::from(file)));
            }
            self.rules.push(written);
        }
        for client in language::clients(file, text).map_err(LoadError::Wrong)? {
            if self.clients.len() >= MAX_RULES {
                return Err(LoadError::TooMany(PathBuf::from(file)));
            }
            self.clients.push(WrittenClient { client, file: file.to_owned(), is_embedded: false });
        }
        self.additions.push((file.to_owned(), text.to_owned()));
        Ok(())
    }

    /// Why there can be no other rule of this name.
    fn obstacle(&self, name: &str) -> Option<String> {
        if patterns::is_built_in(name) {
            return Some(format!("`{name}` is built in: give this rule another name"));
        }
        let known = self.rules.iter().rfind(|known| known.rule.name == name)?;
        let is_replaceable = self.replaceable.iter().any(|one| one == name);
        match known.is_embedded {
            true if is_replaceable => None,
            true => Some(format!(
                "`{name}` is built in: give this rule another name, or disable that one first \
                 (disable-rules)"
            )),
            false => Some(format!(
                "there is another rule `{name}` in {}: give this one another name",
                known.file
            )),
        }
    }

    /// Programs that `rule` is not about, as the rule itself and `[[allow]]` tables say.
    pub fn allowed<'a>(&'a self, rule: &'a str) -> impl Iterator<Item = &'a Allowed> {
        let of_rules = self.rules.iter().filter(move |one| one.rule.name == rule);
        let of_rules = of_rules.flat_map(|one| &one.rule.allow);
        let of_patterns = self.allow.iter().filter(move |one| one.rule == rule);
        of_rules.chain(of_patterns.map(|one| &one.allowed))
    }

    /// Whether this pattern written in code is off.
    pub fn has_off(&self, name: &str) -> bool {
        self.off.iter().any(|off| off == name)
    }

    /// Whether nobody looks for what has this name and is known: a rule, or a pattern written in code.
    pub fn is_off(&self, name: &str) -> bool {
        let mut of_name = self.rules.iter().filter(|one| one.rule.name == name).peekable();
        self.has_off(name) || of_name.peek().is_some() && of_name.all(|one| !one.is_on)
    }

    /// Names of all rules, on or off, and of the patterns written in code.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let in_code = patterns::BUILT_IN.iter().map(|one| one.name);
        in_code.chain(self.rules.iter().map(|written| written.rule.name.as_str()))
    }

    /// Adds to rules what `[[allow]]` tables say.
    ///
    /// # Errors
    /// When something in them is wrong.
    pub fn extend(&mut self) -> Result<(), LoadError> {
        for (file, text) in std::mem::take(&mut self.additions) {
            let kinds_of = |name: &str| match self.rules.iter().rfind(|one| one.rule.name == name) {
                Some(written) => Ok(Some(written.rule.kinds())),
                None if patterns::is_built_in(name) => Ok(None),
                None => Err(unknown("rule", name, self.names())),
            };
            let extensions =
                language::extensions(&file, &text, &kinds_of).map_err(LoadError::Wrong)?;
            for extension in extensions {
                let is_meant = |one: &&mut Written| one.rule.name == extension.rule;
                match self.rules.iter_mut().rfind(is_meant) {
                    Some(written) => written.rule.allow.push(extension.allowed),
                    None => self.allow.push(extension),
                }
            }
        }
        Ok(())
    }

    /// What is on, ready to be looked for.
    pub fn activate(self) -> Active {
        let on = self.rules.into_iter().filter(|written| written.is_on);
        let clients = self.clients.into_iter().map(|written| written.client).collect();
        Active {
            clients: Clients::new(clients),
            rules: Compiled::new(on.map(|written| written.rule).collect()),
            exceptions: Exceptions::new(self.off, self.allow),
        }
    }
}

#[cfg(test)]
mod tests;
