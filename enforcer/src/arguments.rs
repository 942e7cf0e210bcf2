//! The enforcer's own configuration: its command line, the file that this names, and the environment.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use sentinel_ipc::settings::{self, Value};

use crate::settings::Settings;

/// The environment variable that, set to 0 or anything else but 1, keeps the enforcer from killing.
pub const KILL_SWITCH: &str = "GRIMOIRE_ENFORCE";
/// Where the position of the kill switch is kept.
const MARKER: &str = "/var/lib/sentinel-enforcer/enforcement";

/// What it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// What it may do.
    pub settings: Settings,
    /// The file that said so, if there is one.
    pub file: Option<PathBuf>,
    /// Whether the environment keeps it from killing.
    pub is_off_by_environment: bool,
    /// Where the position of the kill switch is kept.
    pub marker: PathBuf,
    /// The inherited descriptor of a socket on which administrators call.
    pub admins: Option<i32>,
    /// Whether only the arguments and the file are to be looked at.
    pub is_check: bool,
}

impl Arguments {
    /// Parses what follows the program's name, reads the file, and looks at the environment. What the
    /// command line says counts more than what the file says.
    ///
    /// # Errors
    /// A sentence that names the offending argument, or the line of the file.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let switch = std::env::var_os(KILL_SWITCH);
        Self::from(arguments, switch.is_some_and(|value| is_off(&value)))
    }

    fn from(
        arguments: impl Iterator<Item = OsString>,
        is_off_by_environment: bool,
    ) -> Result<Self, String> {
        let mut parsed = Self {
            settings: Settings::default(),
            file: None,
            is_off_by_environment,
            marker: MARKER.into(),
            admins: None,
            is_check: false,
        };
        let mut flags = Vec::new();
        for argument in arguments {
            let text = argument.to_str().ok_or_else(|| format!("{argument:?} is not UTF-8"))?;
            let unknown = || format!("unknown argument {text:?}");
            let option = text.strip_prefix("--").ok_or_else(unknown)?;
            match option.split_once('=') {
                None if option == "check" => parsed.is_check = true,
                None => flags.push((option.to_owned(), Value::Switch(true))),
                Some(("config", path)) => parsed.file = Some(path.into()),
                Some(("marker", path)) => parsed.marker = path.into(),
                Some(("admins", number)) => {
                    parsed.admins = Some(number.parse().map_err(|_| unknown())?);
                }
                Some((key, value)) => flags.push((key.to_owned(), plain(value))),
            }
        }
        if let Some(file) = &parsed.file {
            read(&mut parsed.settings, file)?;
        }
        for (key, value) in flags {
            let applied = parsed.settings.apply(&key, value);
            applied.map_err(|reason| format!("--{key}: {reason}"))?;
        }
        Ok(parsed)
    }
}

/// Whoever sets a kill switch to `off` or `false` means it; in doubt nobody is killed.
fn is_off(value: &OsStr) -> bool {
    value != "1"
}

fn read(into: &mut Settings, file: &Path) -> Result<(), String> {
    settings::read(file, |key, value| into.apply(key, value)).map_err(|error| error.to_string())
}

/// The value of an option.
fn plain(text: &str) -> Value {
    match (text, text.parse()) {
        ("true", _) => Value::Switch(true),
        ("false", _) => Value::Switch(false),
        (_, Ok(number)) => Value::Number(number),
        (_, Err(_)) => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(arguments: &[&str]) -> Result<Arguments, String> {
        Arguments::from(arguments.iter().map(OsString::from), false)
    }

    #[test]
    fn only_a_plain_one_leaves_the_kill_switch_on() {
        for off in ["0", "off", "false", "", "01", "2"] {
            assert!(is_off(off.as_ref()), "{off}");
        }
        assert!(!is_off("1".as_ref()));
    }

    #[test]
    fn without_arguments_it_kills_nobody() {
        let parsed = from(&[]).unwrap();
        assert_eq!(parsed.settings, Settings::default());
        assert_eq!((parsed.file, parsed.admins, parsed.is_check), (None, None, false));
        assert_eq!(parsed.marker, Path::new(MARKER));
    }

    #[test]
    fn the_command_line_counts_more_than_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("enforcer.toml");
        std::fs::write(&path, "enforce = true\nkills-per-minute = 3\n").unwrap();
        let config = format!("--config={}", path.display());
        let read = from(&[&config]).unwrap().settings;
        assert_eq!((read.enforce, read.kills_per_minute), (true, 3));
        let over = from(&["--enforce=false", "--kills-per-minute=4", &config]).unwrap().settings;
        assert_eq!(over, Settings { kills_per_minute: 4, ..Settings::default() });
        std::fs::write(&path, "\nenforce = 1\n").unwrap();
        let error = from(&[&config]).unwrap_err();
        assert!(error.ends_with("enforcer.toml:2: enforce is true or false, not 1"), "{error}");
        drop(directory);
        assert!(from(&[&config]).unwrap_err().contains("No such file"));
    }

    #[test]
    fn what_it_does_not_know_is_refused_by_name() {
        for (argument, word) in [
            ("--enforce=yes", "true or false, not \"yes\""),
            ("--frobnicate", "frobnicate"),
            ("--kills-per-minute=-1", "from 1 to 1000"),
            ("--admins=x", "--admins=x"),
            ("--check=1", "--check"),
            ("enforce", "\"enforce\""),
        ] {
            let error = from(&[argument]).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
