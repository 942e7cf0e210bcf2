//! What the analyzer is told to do: options before the configuration file before defaults.
//!
//! The file is root's; its bytes are checked all the same, and errors name line, key and what is
//! allowed. It is read again on SIGHUP, inside the sandbox, and [`Configuration::take_over`] says what
//! of it holds from then on.

use std::{
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use sentinel_ipc::confinement::{Directory, Rights};

use crate::rules::Choice;

pub use error::ConfigurationError;
pub use settings::{Settings, SyslogTarget};

mod error;
mod file;
mod settings;
#[cfg(test)]
mod tests;

/// The file, if no other is named.
pub const FILE: &str = "/etc/sentinel/analyzer.toml";
/// Where `enable-json-log` writes.
pub const JSON_LOG: &str = "/var/log/sentinel/alerts.json";

/// What holds, with all defaults filled in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Whether critical alerts are to be enforced (`grimoire-enforce`).
    pub enforce: bool,
    /// Whether to tell how rules get on (`grimoire-debug`).
    pub debug: bool,
    /// Which rules are looked for (`rules`, `enable-rules`, `disable-rules`).
    pub rules: Choice,
    /// Log of the pattern engine (`grimoire-log`).
    pub patterns_log: Option<PathBuf>,
    /// Log of all engines (`enable-json-log`, `json-log-path`).
    pub json_log: Option<PathBuf>,
    /// Where syslog is (`enable-syslog`, `syslog`).
    pub syslog: Option<SyslogTarget>,
}

impl Configuration {
    /// What options and file come to. The file is the one that is `named`, which must be there then,
    /// or else [`FILE`], which need not.
    ///
    /// # Errors
    /// When the file cannot be read or is wrong, or when it and the options contradict each other.
    pub fn load(named: Option<&Path>, options: &Settings) -> Result<Self, ConfigurationError> {
        let found = match named {
            Some(path) => Settings::read(path)?,
            None => match Settings::read(Path::new(FILE)) {
                Err(error) if error.is_missing() => Settings::default(),
                found => found?,
            },
        };
        Self::of(options.clone().or(found))
    }

    /// What `settings` come to.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn of(settings: Settings) -> Result<Self, ConfigurationError> {
        // The others of the contract are not there yet.
        if settings.enable_grimoire == Some(false) {
            return Err(ConfigurationError::Contradiction(
                "enable-grimoire is false, and there is no other engine: leave it out, or give true",
            ));
        }
        for (place, switch, sentence) in [
            (
                settings.json_log_path.is_some(),
                settings.enable_json_log,
                "json-log-path has no effect without enable-json-log = true: add that, or \
                 enable-json-log = false",
            ),
            (
                settings.syslog.is_some(),
                settings.enable_syslog,
                "syslog has no effect without enable-syslog = true: add that, or enable-syslog = false",
            ),
        ] {
            if place && switch.is_none() {
                return Err(ConfigurationError::Contradiction(sentence));
            }
        }
        let wanted = |wanted: Option<bool>| wanted.unwrap_or(false);
        let json_log = settings.json_log_path.unwrap_or_else(|| JSON_LOG.into());
        let configuration = Self {
            enforce: wanted(settings.grimoire_enforce),
            debug: wanted(settings.grimoire_debug),
            rules: Choice {
                directory: settings.rules,
                enabled: settings.enable_rules.unwrap_or_default(),
                disabled: settings.disable_rules.unwrap_or_default(),
            },
            patterns_log: settings.grimoire_log,
            json_log: wanted(settings.enable_json_log).then_some(json_log),
            syslog: wanted(settings.enable_syslog).then(|| settings.syslog.unwrap_or_default()),
        };
        if configuration.json_log.is_some() && configuration.json_log == configuration.patterns_log
        {
            return Err(ConfigurationError::Contradiction(
                "grimoire-log and json-log-path are one file, which would have each alert twice: \
                 give two, or only json-log-path",
            ));
        }
        Ok(configuration)
    }

    /// Takes over from `new` what can change while Sentinel runs, and says what changed, and what
    /// would have but for a restart: logs, sockets and the rules' directory are opened before the sandbox
    /// closes.
    pub fn take_over(&mut self, new: &Self) -> Changes {
        // Without `..`, so that a key that is new here must find its place.
        let Self { enforce, debug, rules, patterns_log, json_log, syslog } = new;
        let mut changes = Changes::default();
        let mut note = |list: fn(&mut Changes) -> &mut Vec<&'static str>, key, differs| {
            if differs {
                list(&mut changes).push(key);
            }
        };
        note(|all| &mut all.applied, "grimoire-enforce", self.enforce != *enforce);
        note(|all| &mut all.applied, "grimoire-debug", self.debug != *debug);
        note(|all| &mut all.applied, "enable-rules", self.rules.enabled != rules.enabled);
        note(|all| &mut all.applied, "disable-rules", self.rules.disabled != rules.disabled);
        note(|all| &mut all.needs_restart, "rules", self.rules.directory != rules.directory);
        let switched = self.json_log.is_some() != json_log.is_some();
        let key = if switched { "enable-json-log" } else { "json-log-path" };
        note(|all| &mut all.needs_restart, "grimoire-log", self.patterns_log != *patterns_log);
        note(|all| &mut all.needs_restart, key, self.json_log != *json_log);
        let switched = self.syslog.is_some() != syslog.is_some();
        let key = if switched { "enable-syslog" } else { "syslog" };
        note(|all| &mut all.needs_restart, key, self.syslog != *syslog);
        (self.enforce, self.debug) = (*enforce, *debug);
        self.rules.enabled.clone_from(&rules.enabled);
        self.rules.disabled.clone_from(&rules.disabled);
        changes
    }
}

/// The directory that has to stay open to read the configuration again: that of the `named` file, or
/// of [`FILE`]. `None` if it is not there.
///
/// # Errors
/// When it cannot be opened.
pub fn directory(named: Option<&Path>) -> io::Result<Option<Directory>> {
    let file = named.unwrap_or(Path::new(FILE));
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match File::open(directory) {
        Ok(descriptor) => {
            Ok(Some(Directory { descriptor: descriptor.into(), rights: Rights::Read }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What came of reading the configuration again; keys of the file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// What holds from now on.
    pub applied: Vec<&'static str>,
    /// What stays as it was until Sentinel is started again.
    pub needs_restart: Vec<&'static str>,
}

impl fmt::Display for Changes {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { applied, needs_restart } = self;
        match applied.as_slice() {
            [] => write!(to, "configuration read again: nothing to change while it runs")?,
            keys => write!(to, "configuration read again: {} changed", keys.join(", "))?,
        }
        match needs_restart.as_slice() {
            [] => Ok(()),
            keys => write!(to, "; {} change with a restart of the service", keys.join(", ")),
        }
    }
}
