//! What the enforcer may do: by its file, and over it by its command line.

use std::path::PathBuf;

use sentinel_ipc::settings::Value;

use crate::protection::is_unit;

/// The keys, for who wrote another one.
const KEYS: &str = "enforce, kills-per-minute, kills-per-minute-and-rule, never-kill-executables, \
                    never-kill-units, scope-cgroups, audit-log";
/// Names in a list, at the most.
const MAX_NAMES: usize = 64;

/// What it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether it may kill at all.
    pub enforce: bool,
    /// Kills within a minute before it stops until an administrator switches it on.
    pub kills_per_minute: u16,
    /// The same for one rule.
    pub kills_per_minute_and_rule: u16,
    /// Paths of executables; who of root's runs one is never killed.
    pub never_kill_executables: Vec<String>,
    /// Names of systemd's units; what runs in one is never killed.
    pub never_kill_units: Vec<String>,
    /// Paths of cgroups in their hierarchy, beneath which may be killed; all, if there are none.
    pub scope_cgroups: Vec<String>,
    /// Where the audit is written to, beside standard error.
    pub audit_log: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            enforce: false,
            kills_per_minute: 10,
            kills_per_minute_and_rule: 5,
            never_kill_executables: list(&[
                "/usr/lib/systemd/systemd",
                "/usr/lib/systemd/systemd-journald",
                "/usr/sbin/sshd",
                "/usr/sbin/rsyslogd",
                // Where /usr/sbin is a link to it (Fedora 42).
                "/usr/bin/sshd",
                "/usr/bin/rsyslogd",
            ]),
            never_kill_units: list(&[
                "init.scope",
                "systemd-journald.service",
                "rsyslog.service",
                "dbus.service",
                "dbus-broker.service",
            ]),
            scope_cgroups: Vec::new(),
            audit_log: None,
        }
    }
}

impl Settings {
    /// Takes one setting.
    ///
    /// # Errors
    /// What is allowed instead.
    pub fn apply(&mut self, key: &str, value: Value) -> Result<(), String> {
        match key {
            "enforce" => self.enforce = switch(key, value)?,
            "kills-per-minute" => self.kills_per_minute = kills(key, value)?,
            "kills-per-minute-and-rule" => self.kills_per_minute_and_rule = kills(key, value)?,
            "never-kill-executables" => self.never_kill_executables = paths(key, value)?,
            "never-kill-units" => self.never_kill_units = units(key, value)?,
            "scope-cgroups" => self.scope_cgroups = paths(key, value)?,
            "audit-log" => self.audit_log = paths(key, value)?.pop().map(PathBuf::from),
            _ => return Err(format!("unknown key {key:?}; known are {KEYS}")),
        }
        Ok(())
    }
}

/// The names in a string, between spaces.
fn names(key: &str, value: Value) -> Result<Vec<String>, String> {
    let Value::Text(text) = value else {
        return Err(format!("{key} is a string of names with spaces between them, not {value}"));
    };
    let names: Vec<String> = text.split_whitespace().map(ToOwned::to_owned).collect();
    match names.len() {
        0..=MAX_NAMES => Ok(names),
        more => Err(format!("{key} has {more} names; {MAX_NAMES} at the most")),
    }
}

fn paths(key: &str, value: Value) -> Result<Vec<String>, String> {
    let names = names(key, value)?;
    match names.iter().find(|name| !name.starts_with('/')) {
        Some(name) => Err(format!("{key}: {name:?} is no absolute path")),
        None => Ok(names),
    }
}

fn units(key: &str, value: Value) -> Result<Vec<String>, String> {
    let names = names(key, value)?;
    match names.iter().find(|name| !is_unit(name.as_bytes())) {
        Some(name) => Err(format!("{key}: {name:?} is no unit with processes, such as x.service")),
        None => Ok(names),
    }
}

fn switch(key: &str, value: Value) -> Result<bool, String> {
    match value {
        Value::Switch(value) => Ok(value),
        other => Err(format!("{key} is true or false, not {other}")),
    }
}

fn kills(key: &str, value: Value) -> Result<u16, String> {
    match value {
        Value::Number(number @ 1..=1000) => {
            u16::try_from(number).map_err(|error| error.to_string())
        }
        other => Err(format!("{key} is a whole number from 1 to 1000, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_shipped_file_says_what_the_defaults_are() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/config/enforcer.toml");
        let mut settings = Settings {
            enforce: true,
            kills_per_minute: 999,
            kills_per_minute_and_rule: 999,
            never_kill_executables: Vec::new(),
            never_kill_units: Vec::new(),
            scope_cgroups: vec!["/x".into()],
            audit_log: None,
        };
        sentinel_ipc::settings::read(&path, |key, value| settings.apply(key, value)).unwrap();
        let audit_log = Some("/var/log/sentinel-enforcer/audit.log".into());
        assert_eq!(settings, Settings { audit_log, ..Settings::default() });
    }

    #[test]
    fn what_is_wrong_is_refused_with_what_is_allowed() {
        for (key, value, words) in [
            ("frob", Value::Switch(true), "known are enforce"),
            ("enforce", Value::Number(1), "true or false, not 1"),
            ("enforce", Value::Text("yes".into()), "not \"yes\""),
            ("kills-per-minute", Value::Number(0), "from 1 to 1000, not 0"),
            ("kills-per-minute", Value::Number(1001), "from 1 to 1000"),
            ("kills-per-minute", Value::Switch(true), "not true"),
            ("kills-per-minute-and-rule", Value::Number(0), "kills-per-minute-and-rule is a whole"),
            ("never-kill-executables", Value::Text("/a b".into()), "\"b\" is no absolute path"),
            ("never-kill-executables", Value::Number(3), "not 3"),
            ("never-kill-units", Value::Text("a.service /b".into()), "\"/b\" is no unit"),
            ("never-kill-units", Value::Text("user.slice".into()), "no unit with processes"),
            ("never-kill-units", Value::Text("a.service ".repeat(65)), "65 names"),
            ("scope-cgroups", Value::Text("user.slice".into()), "no absolute path"),
            ("audit-log", Value::Text("x.log".into()), "no absolute path"),
        ] {
            let mut settings = Settings::default();
            let reason = settings.apply(key, value).unwrap_err();
            assert!(reason.contains(words), "{reason}");
            assert_eq!(settings, Settings::default());
        }
    }
}
