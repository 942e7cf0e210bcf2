//! Where rules come from: the binary, files, directories of files.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use sentinel_ipc::small_file::{self, SmallFileError};

use super::{
    compile::Compiled,
    language::{self, LanguageError, Written},
};

/// Rules that are always there, with the names of their files.
const EMBEDDED: [(&str, &str); 3] = [
    ("rules/kernel.toml", include_str!("../../rules/kernel.toml")),
    ("rules/files.toml", include_str!("../../rules/files.toml")),
    ("rules/programs.toml", include_str!("../../rules/programs.toml")),
];

/// More than any rule file has, bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Files of one directory at the most.
const MAX_FILES: usize = 1024;
/// Rules of a set at the most.
const MAX_RULES: usize = 4096;

/// Rules with their tests, no two of the same name.
#[derive(Debug, Default)]
pub struct RuleSet {
    /// In the order of their files.
    pub rules: Vec<Written>,
}

/// Why rules are not used.
#[derive(Debug)]
pub enum LoadError {
    /// A file is not read.
    File(SmallFileError),
    /// A directory cannot be read.
    Unreadable(PathBuf, io::Error),
    /// There are more files, or rules, than anybody reads.
    TooMany(PathBuf),
    /// A file is no text.
    NotText(PathBuf),
    /// Something in a file is wrong.
    Wrong(LanguageError),
    /// A rule of this file has the name of one that is there already.
    Twice(String, String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(to),
            Self::Unreadable(path, error) => write!(to, "{}: {error}", path.display()),
            Self::TooMany(path) => {
                write!(to, "{}: more than {MAX_FILES} files or {MAX_RULES} rules", path.display())
            }
            Self::NotText(path) => write!(to, "{}: it is not UTF-8 text", path.display()),
            Self::Wrong(error) => error.fmt(to),
            Self::Twice(file, name) => {
                write!(to, "{file}: there is another rule `{name}`: give this one another name")
            }
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
        files.iter().try_for_each(|file| self.add_file(file))
    }

    /// Adds the rules of a file.
    ///
    /// # Errors
    /// When it cannot be read or is not sound; the set is of no use then.
    pub fn add_file(&mut self, path: &Path) -> Result<(), LoadError> {
        let bytes = small_file::read(path, MAX_BYTES).map_err(LoadError::File)?;
        let text = str::from_utf8(&bytes).map_err(|_| LoadError::NotText(path.to_owned()))?;
        self.add_text(&path.display().to_string(), text)
    }

    /// Adds the rules in `text`, which the file of this name holds.
    ///
    /// # Errors
    /// When something in it is wrong.
    pub fn add_text(&mut self, file: &str, text: &str) -> Result<(), LoadError> {
        for written in language::parse(file, text).map_err(LoadError::Wrong)? {
            let name = &written.rule.name;
            if self.rules.iter().any(|known| known.rule.name == *name) {
                return Err(LoadError::Twice(file.to_owned(), name.clone()));
            }
            if self.rules.len() >= MAX_RULES {
                return Err(LoadError::TooMany(PathBuf::from(file)));
            }
            self.rules.push(written);
        }
        Ok(())
    }

    /// The rules, ready to be looked for.
    pub fn compile(self) -> Compiled {
        Compiled::new(self.rules.into_iter().map(|written| written.rule).collect())
    }
}

#[cfg(test)]
mod tests;
