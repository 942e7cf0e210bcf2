//! The settings that options and the configuration file have in common, under the same names.

use std::{num::NonZero, ops::RangeInclusive, path::PathBuf, str::FromStr};

use clap::Args;
use serde::{Deserialize, Deserializer, de::Error};

use super::SyslogTarget;
use crate::{redaction::Pattern, rules::rule::Network, secrets};

/// What was said, by options or by a file; `None` is unsaid. A key of the file is the option's name.
#[derive(Debug, Default, Clone, PartialEq, Args, Deserialize)]
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

    /// Look for secrets that are read and leave [default: on when no engine is named]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = "Correlation"
    )]
    pub enable_correlation: Option<bool>,

    /// Points from which data that left is critical [default: 100]
    #[arg(long, value_name = "N", help_heading = "Correlation")]
    pub correlation_threshold: Option<NonZero<u32>>,

    /// How long one step may follow the other, up to 60000 ms [default: 5000]
    #[arg(long, value_name = "MS", help_heading = "Correlation")]
    pub correlation_timeout: Option<Timeout>,

    /// Bytes that count as what was read, however much that was [default: 512]
    #[arg(long, value_name = "N", help_heading = "Correlation")]
    pub min_exfil_bytes: Option<NonZero<u32>>,

    /// Networks of one's own, which data may leave to with a warning at most unless the bytes match, as
    /// 10.0.0.0/8 [default: private, link-local and multicast ranges]
    #[arg(long, value_name = "NETWORK,…", value_delimiter = ',', help_heading = "Correlation")]
    #[serde(deserialize_with = "networks")]
    pub local_networks: Option<Vec<Network>>,

    /// End the process behind a critical alert of the correlation engine, as --grimoire-enforce does for
    /// patterns
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = "Correlation"
    )]
    pub auto_terminate: Option<bool>,

    /// Append alerts of the correlation engine to this file, as JSON lines
    #[arg(long, value_name = "PATH", help_heading = "Correlation")]
    #[serde(deserialize_with = "absolute")]
    pub correlation_log: Option<PathBuf>,
    /// Learn how often each program does what, and tell when it does something else or much more
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Baselines")]
    pub enable_baseline: Option<bool>,

    /// Seconds in which a program has to run until it is known [default: 300]
    #[arg(long, value_name = "S", requires = "enable_baseline", help_heading = "Baselines")]
    #[arg(value_parser = clap::value_parser!(u32).range(i64::from(LEAST_LEARNING)..))]
    #[serde(deserialize_with = "learning_period")]
    pub learning_period: Option<u32>,

    /// Standard deviations from the mean from which on a rate is unusual [default: 3.0]
    #[arg(long, value_name = "SIGMA", requires = "enable_baseline", help_heading = "Baselines")]
    #[arg(value_parser = parsed_threshold)]
    #[serde(deserialize_with = "threshold")]
    pub detection_threshold: Option<f64>,

    /// Do not learn programs that are not known yet
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Baselines")]
    #[arg(requires = "enable_baseline")]
    pub no_learning: Option<bool>,

    /// Do not judge programs that are known: only learn
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Baselines")]
    #[arg(requires = "enable_baseline")]
    pub no_detection: Option<bool>,

    /// Keep what was learned in this directory [default: none under `sentinel run`;
    /// /var/lib/sentinel/baselines as a service]
    #[arg(long, value_name = "DIR", requires = "enable_baseline", help_heading = "Baselines")]
    #[serde(deserialize_with = "absolute")]
    pub baseline_path: Option<PathBuf>,

    /// Begin anew instead of with what was learned before, which is then replaced
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Baselines")]
    #[arg(requires = "enable_baseline")]
    pub no_load_baselines: Option<bool>,

    /// Append alerts of all engines to a file, as JSON lines
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Alerts")]
    pub enable_json_log: Option<bool>,

    /// The file for --enable-json-log [default: /var/log/sentinel/alerts.json]
    #[arg(long, value_name = "PATH", requires = "enable_json_log", help_heading = "Alerts")]
    #[serde(deserialize_with = "absolute")]
    pub json_log_path: Option<PathBuf>,

    /// Wait until each line of --enable-json-log is on the disk; in the file only
    #[arg(skip)]
    pub json_log_sync: Option<bool>,

    /// Send alerts of all engines to syslog, facility authpriv
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", hide_possible_values = true, help_heading = "Alerts")]
    pub enable_syslog: Option<bool>,

    /// Where --enable-syslog sends: to a local socket as RFC 3164, to a server as RFC 5424 with structured
    /// data; an IPv6 address stands in brackets [default: unix:/dev/log]
    #[arg(long, requires = "enable_syslog", help_heading = "Alerts")]
    #[arg(value_name = "unix:PATH|udp:HOST:PORT|tcp:HOST:PORT")]
    pub syslog: Option<SyslogTarget>,

    /// Take out of all alerts what stands for {} in this, as "badge={}", beside usual passwords, tokens and
    /// keys; may be given several times
    #[arg(long, value_name = "PATTERN", help_heading = "Alerts")]
    pub redact: Option<Vec<Pattern>>,

    /// Write numbers for Prometheus to this file every 15 seconds, for node_exporter's textfile collector;
    /// Sentinel's user must be able to make files in its directory [default: none]
    #[arg(long, value_name = "PATH", help_heading = "Alerts")]
    #[serde(deserialize_with = "absolute")]
    pub metrics_file: Option<PathBuf>,
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
            enable_correlation: self.enable_correlation.or(other.enable_correlation),
            correlation_threshold: self.correlation_threshold.or(other.correlation_threshold),
            correlation_timeout: self.correlation_timeout.or(other.correlation_timeout),
            min_exfil_bytes: self.min_exfil_bytes.or(other.min_exfil_bytes),
            local_networks: self.local_networks.or(other.local_networks),
            auto_terminate: self.auto_terminate.or(other.auto_terminate),
            correlation_log: self.correlation_log.or(other.correlation_log),
            enable_baseline: self.enable_baseline.or(other.enable_baseline),
            learning_period: self.learning_period.or(other.learning_period),
            detection_threshold: self.detection_threshold.or(other.detection_threshold),
            no_learning: self.no_learning.or(other.no_learning),
            no_detection: self.no_detection.or(other.no_detection),
            baseline_path: self.baseline_path.or(other.baseline_path),
            no_load_baselines: self.no_load_baselines.or(other.no_load_baselines),
            enable_json_log: self.enable_json_log.or(other.enable_json_log),
            json_log_path: self.json_log_path.or(other.json_log_path),
            json_log_sync: self.json_log_sync.or(other.json_log_sync),
            metrics_file: self.metrics_file.or(other.metrics_file),
            enable_syslog: self.enable_syslog.or(other.enable_syslog),
            syslog: self.syslog.or(other.syslog),
            redact: self.redact.or(other.redact),
        }
    }
}

impl Settings {
    /// Whether anything is said that is for the baseline engine alone, beside that it is to look.
    pub(super) fn is_for_baseline(&self) -> bool {
        let switches = [self.no_learning, self.no_detection, self.no_load_baselines];
        self.learning_period.is_some()
            || self.detection_threshold.is_some()
            || self.baseline_path.is_some()
            || switches.iter().any(Option::is_some)
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

fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Network>>, D::Error> {
    let named = Vec::<String>::deserialize(from)?;
    let parse =
        |text: &String| text.parse().map_err(|why| D::Error::custom(format!("\"{text}\": {why}")));
    named.iter().map(parse).collect::<Result<_, _>>().map(Some)
}

/// How long one step of a sequence may follow the other, ms: no longer than secrets are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Timeout(u64);

impl Timeout {
    /// In ms.
    pub fn ms(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Timeout {
    type Error = String;

    fn try_from(ms: u64) -> Result<Self, String> {
        let most = secrets::WINDOW_NS / 1_000_000;
        if (1..=most).contains(&ms) {
            Ok(Self(ms))
        } else {
            Err(format!("{ms} is not from 1 to {most} ms"))
        }
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ms = text.parse::<u64>().map_err(|_| "it must be a number of ms".to_owned())?;
        Self::try_from(ms)
    }
}

/// Less would be chance.
const LEAST_LEARNING: u32 = 10;
/// Less would alarm all the time, more never.
const THRESHOLDS: RangeInclusive<f64> = 1.0..=100.0;

fn learning_period<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let seconds = u32::deserialize(from)?;
    if seconds >= LEAST_LEARNING {
        Ok(Some(seconds))
    } else {
        Err(D::Error::custom(format!("{seconds} s are too few: give {LEAST_LEARNING} or more")))
    }
}

fn in_range(threshold: f64) -> Result<f64, String> {
    if THRESHOLDS.contains(&threshold) {
        Ok(threshold)
    } else {
        let (least, most) = (THRESHOLDS.start(), THRESHOLDS.end());
        Err(format!("{threshold} must be from {least} to {most}"))
    }
}

fn parsed_threshold(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "it must be a number, as in 3.0".to_owned()).and_then(in_range)
}

fn threshold<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    in_range(f64::deserialize(from)?).map(Some).map_err(D::Error::custom)
}
