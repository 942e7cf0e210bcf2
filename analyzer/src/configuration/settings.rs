//! The settings that options and the configuration file have in common, under the same names.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use serde::{Deserialize, Deserializer, de::Error};

/// What was said, by options or by a file; `None` is unsaid. A key of the file is the option's name.
#[derive(Debug, Default, Clone, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Look for attack patterns [default: on when no engine is named]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Patterns")]
    pub enable_grimoire: Option<bool>,

    /// End the process behind a critical alert, after the enforcer has made sure who it is;
    /// GRIMOIRE_ENFORCE=0 in the environment keeps it from doing so
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Patterns")]
    pub grimoire_enforce: Option<bool>,

    /// Append alerts of the pattern engine, and those on the sensor itself, to this file, as JSON
    /// lines
    #[arg(long, value_name = "PATH", help_heading = "Patterns")]
    #[serde(deserialize_with = "absolute")]
    pub grimoire_log: Option<PathBuf>,

    /// Tell on standard error how rules get on
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Patterns")]
    pub grimoire_debug: Option<bool>,

    /// Take more rules from the *.toml files of this directory [default: /etc/sentinel/rules.d, if it is
    /// there]
    #[arg(long, value_name = "DIR", help_heading = "Patterns")]
    #[serde(deserialize_with = "absolute")]
    pub rules: Option<PathBuf>,

    /// Look for these rules too, which are off by default
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Patterns")]
    pub enable_rules: Option<Vec<String>>,

    /// Do not look for these rules
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Patterns")]
    pub disable_rules: Option<Vec<String>>,

    /// Append alerts of all engines to a file, as JSON lines
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Alerts")]
    pub enable_json_log: Option<bool>,

    /// The file for --enable-json-log [default: /var/log/sentinel/alerts.json]
    #[arg(long, value_name = "PATH", requires = "enable_json_log", help_heading = "Alerts")]
    #[serde(deserialize_with = "absolute")]
    pub json_log_path: Option<PathBuf>,

    /// Send alerts of all engines to syslog, facility authpriv
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Alerts")]
    pub enable_syslog: Option<bool>,

    /// Where --enable-syslog sends: a local socket [default: unix:/dev/log]
    #[arg(long, value_name = "unix:PATH", requires = "enable_syslog", help_heading = "Alerts")]
    pub syslog: Option<SyslogTarget>,
}

impl Settings {
    /// What is said here, and where nothing is, what is said in `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            enable_grimoire: self.enable_grimoire.or(other.enable_grimoire),
            grimoire_enforce: self.grimoire_enforce.or(other.grimoire_enforce),
            grimoire_log: self.grimoire_log.or(other.grimoire_log),
            grimoire_debug: self.grimoire_debug.or(other.grimoire_debug),
            rules: self.rules.or(other.rules),
            enable_rules: self.enable_rules.or(other.enable_rules),
            disable_rules: self.disable_rules.or(other.disable_rules),
            enable_json_log: self.enable_json_log.or(other.enable_json_log),
            json_log_path: self.json_log_path.or(other.json_log_path),
            enable_syslog: self.enable_syslog.or(other.enable_syslog),
            syslog: self.syslog.or(other.syslog),
        }
    }
}

/// A service has no directory of its own to begin at.
fn absolute<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if path.is_absolute() {
        Ok(Some(path))
    } else {
        let path = path.display();
        Err(D::Error::custom(format!("\"{path}\" must be an absolute path: begin it with /")))
    }
}

/// Where syslog is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SyslogTarget {
    /// A datagram socket of this path.
    Unix(PathBuf),
}

impl Default for SyslogTarget {
    fn default() -> Self {
        Self::Unix("/dev/log".into())
    }
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(to, "unix:{}", path.display()),
        }
    }
}

impl FromStr for SyslogTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("unix", path)) if Path::new(path).is_absolute() => Ok(Self::Unix(path.into())),
            Some(("unix", _)) => Err("the path behind unix: must begin with /".to_owned()),
            Some(("udp" | "tcp", _)) => Err("sending to another host is not there yet: give \
                                             unix:PATH, and let the daemon behind it forward"
                .to_owned()),
            _ => Err("it must be unix:PATH, as in unix:/dev/log".to_owned()),
        }
    }
}

impl TryFrom<String> for SyslogTarget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|why| format!("\"{text}\": {why}"))
    }
}
