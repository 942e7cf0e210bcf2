//! Which rules are looked for: those of the binary and of one directory, less what is switched off.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use sentinel_ipc::confinement::{Directory, Rights};

use super::{LoadError, RuleSet, language::unknown};
use crate::patterns;

/// Where operators put rules, if no other directory is named.
pub const DIRECTORY: &str = "/etc/sentinel/rules.d";

/// What the operator says about rules.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Where more rules are; it must be there. `None`: in [`DIRECTORY`], which need not be.
    pub directory: Option<PathBuf>,
    /// Names of rules that are off unless they are asked for.
    pub enabled: Vec<String>,
    /// Names of rules that are not to be looked for.
    pub disabled: Vec<String>,
}

impl Choice {
    /// The directory, opened for the sandbox to leave it open; `None` if it need not be there and is
    /// not.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self) -> Result<Option<Directory>, LoadError> {
        let path = self.directory();
        match File::open(path) {
            Ok(file) => Ok(Some(Directory { descriptor: file.into(), rights: Rights::Read })),
            Err(error) if self.may_miss(&error) => Ok(None),
            Err(error) => Err(LoadError::Unreadable(path.to_owned(), error)),
        }
    }

    /// The directory's name.
    pub fn directory(&self) -> &Path {
        self.directory.as_deref().unwrap_or(Path::new(DIRECTORY))
    }

    fn may_miss(&self, error: &io::Error) -> bool {
        self.directory.is_none() && error.kind() == io::ErrorKind::NotFound
    }

    fn says(&self, name: &str) -> Option<bool> {
        let is_in = |names: &[String]| names.iter().any(|one| one == name);
        match (is_in(&self.disabled), is_in(&self.enabled)) {
            (true, _) => Some(false),
            (false, true) => Some(true),
            (false, false) => None,
        }
    }
}

impl RuleSet {
    /// The rules of the binary and of the directory, each on or off as `choice` says.
    ///
    /// # Errors
    /// When something in the directory is not sound, or `choice` names what is not there.
    pub fn load(choice: &Choice) -> Result<Self, LoadError> {
        let mut set = Self::of_binary(choice)?;
        match set.add_directory(choice.directory()) {
            Err(LoadError::Unreadable(_, error)) if choice.may_miss(&error) => {}
            result => result?,
        }
        set.settle(choice)?;
        Ok(set)
    }

    /// The rules of the binary, each on or off as `choice` says.
    ///
    /// # Errors
    /// Never, which a test shows.
    pub fn of_binary(choice: &Choice) -> Result<Self, LoadError> {
        let mut set = Self::embedded()?;
        for written in &mut set.rules {
            written.is_on = choice.says(&written.rule.name).unwrap_or(written.is_on);
        }
        set.replaceable = choice.disabled.clone();
        set.off =
            choice.disabled.iter().filter(|name| patterns::is_built_in(name)).cloned().collect();
        Ok(set)
    }

    /// Switches rules of files on or off, adds what operators allow, and makes sure that all names in
    /// `choice` are names of rules. To be called when all files have been added.
    ///
    /// # Errors
    /// When something is not sound.
    pub fn settle(&mut self, choice: &Choice) -> Result<(), LoadError> {
        if let Some(name) = choice.enabled.iter().find(|name| choice.disabled.contains(name)) {
            let why = format!("`{name}` is named by enable-rules and by disable-rules");
            return Err(LoadError::Choice(why));
        }
        let names: Vec<String> = self.names().map(str::to_owned).collect();
        for (key, chosen) in
            [("enable-rules", &choice.enabled), ("disable-rules", &choice.disabled)]
        {
            if let Some(name) = chosen.iter().find(|name| !names.contains(name)) {
                let why = unknown("rule", name, names.iter().map(String::as_str));
                return Err(LoadError::Choice(format!("{key}: {why}")));
            }
        }
        let of_binary: Vec<String> = self
            .rules
            .iter()
            .filter(|written| written.is_embedded)
            .map(|written| written.rule.name.clone())
            .collect();
        for written in self.rules.iter_mut().filter(|written| !written.is_embedded) {
            let name = &written.rule.name;
            // One that takes the place of the binary's is meant to be on: its name switches that off.
            if !of_binary.contains(name) {
                written.is_on = choice.says(name).unwrap_or(written.is_on);
            }
        }
        self.extend()
    }
}
