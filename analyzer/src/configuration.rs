//! What the analyzer is told to do: options before the configuration file before defaults.
//!
//! The file is root's; its bytes are checked all the same, and errors name line, key and what is
//! allowed. It is read again on SIGHUP, inside the sandbox, and [`Configuration::take_over`] says what
//! of it holds from then on.

use std::{
    fmt,
    fs::File,
    io,
    num::NonZero,
    path::{Path, PathBuf},
};

use sentinel_ipc::confinement::{Directory, Rights};

use crate::{
    alert::Engine, analysis::Engines, baseline::program::Judgement, correlation::Policy,
    redaction::Redaction, rules::Choice,
};

pub use error::ConfigurationError;
pub use settings::{Settings, Timeout};
pub use syslog_target::{Server, SyslogTarget};

mod error;
mod file;
mod settings;
mod syslog_target;
#[cfg(test)]
mod tests;

/// The file, if no other is named.
pub const FILE: &str = "/etc/sentinel/analyzer.toml";
/// Where `enable-json-log` writes.
pub const JSON_LOG: &str = "/var/log/sentinel/alerts.json";

/// Where a service keeps what it learned, if `baseline-path` is not set: its own state directory.
pub const BASELINES: &str = "/var/lib/sentinel/baselines";

/// Seconds, if `learning-period` is not set.
const LEARNING_PERIOD: u64 = 300;
/// Standard deviations, if `detection-threshold` is not set.
const THRESHOLD: f64 = 3.0;

/// What holds, with all defaults filled in.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Configuration {
    /// Which engines look, and by what (`enable-grimoire`, `enable-correlation`, `enable-baseline` and
    /// their numbers, `local-networks`).
    pub engines: Engines,
    /// Whose critical alerts are to be enforced (`grimoire-enforce`, `auto-terminate`).
    pub enforced: Enforced,
    /// Whether to tell how rules get on (`grimoire-debug`).
    pub debug: bool,
    /// Which rules are looked for (`rules`, `enable-rules`, `disable-rules`).
    pub rules: Choice,
    /// Where what is learned is kept (`baseline-path`), if that was said.
    pub baselines: Option<PathBuf>,
    /// Whether learning begins with nothing (`no-load-baselines`).
    pub begins_anew: bool,
    /// Log of the pattern engine (`grimoire-log`).
    pub patterns_log: Option<PathBuf>,
    /// Log of the correlation engine (`correlation-log`).
    pub correlation_log: Option<PathBuf>,
    /// Log of all engines (`enable-json-log`, `json-log-path`).
    pub json_log: Option<PathBuf>,
    /// Whether each line of it waits for the disk (`json-log-sync`).
    pub json_log_sync: bool,
    /// Numbers for Prometheus (`metrics-file`).
    pub metrics_file: Option<PathBuf>,
    /// Where syslog is (`enable-syslog`, `syslog`).
    pub syslog: Option<SyslogTarget>,
    /// What alerts do not tell (`redact`).
    pub redaction: Redaction,
}

/// Whose critical alerts are to be enforced.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Enforced {
    /// The patterns'.
    pub patterns: bool,
    /// The correlation engine's.
    pub correlation: bool,
}

impl Enforced {
    /// Whether any are.
    pub fn any(self) -> bool {
        self.patterns || self.correlation
    }

    /// Whether those of `engine` are; what is about Sentinel itself is about no process.
    pub fn has(self, engine: Engine) -> bool {
        match engine {
            Engine::Patterns => self.patterns,
            Engine::Correlation => self.correlation,
            Engine::Baseline | Engine::Sensor => false,
        }
    }
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
        let engines = engines(&settings)?;
        for (place, switch, sentence) in [
            (
                settings.json_log_path.is_some() || settings.json_log_sync.is_some(),
                settings.enable_json_log,
                "json-log-path and json-log-sync have no effect without enable-json-log = true: add that, or \
                 enable-json-log = false",
            ),
            (
                settings.is_for_baseline(),
                settings.enable_baseline,
                "learning-period, detection-threshold, no-learning, no-detection, baseline-path and \
                 no-load-baselines have no effect without enable-baseline = true: add that, or \
                 enable-baseline = false",
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
            enforced: Enforced {
                patterns: wanted(settings.grimoire_enforce),
                correlation: wanted(settings.auto_terminate),
            },
            engines,
            baselines: settings.baseline_path,
            begins_anew: wanted(settings.no_load_baselines),
            correlation_log: settings.correlation_log,
            debug: wanted(settings.grimoire_debug),
            rules: Choice {
                directory: settings.rules,
                enabled: settings.enable_rules.unwrap_or_default(),
                disabled: settings.disable_rules.unwrap_or_default(),
            },
            patterns_log: settings.grimoire_log,
            json_log: wanted(settings.enable_json_log).then_some(json_log),
            json_log_sync: wanted(settings.json_log_sync),
            metrics_file: settings.metrics_file,
            syslog: wanted(settings.enable_syslog).then(|| settings.syslog.unwrap_or_default()),
            redaction: Redaction::with(settings.redact.unwrap_or_default()),
        };
        let Self { patterns_log, correlation_log, json_log, .. } = &configuration;
        for (one, other, sentence) in [
            (
                json_log,
                patterns_log,
                "grimoire-log and json-log-path are one file, which would have each alert twice: \
                 give two, or only json-log-path",
            ),
            (
                json_log,
                correlation_log,
                "correlation-log and json-log-path are one file, which would have each alert twice: \
                 give two, or only json-log-path",
            ),
            (
                patterns_log,
                correlation_log,
                "grimoire-log and correlation-log are one file: give two, or only json-log-path",
            ),
        ] {
            if one.is_some() && one == other {
                return Err(ConfigurationError::Contradiction(sentence));
            }
        }
        Ok(configuration)
    }

    /// Takes over from `new` what can change while Sentinel runs, and says what changed, and what
    /// would have but for a restart: logs, sockets and the rules' directory are opened before the sandbox
    /// closes.
    pub fn take_over(&mut self, new: &Self) -> Changes {
        // Without `..`, so that a key that is new here must find its place.
        let Self {
            engines,
            enforced,
            debug,
            rules,
            baselines,
            begins_anew,
            patterns_log,
            correlation_log,
            json_log,
            json_log_sync,
            metrics_file,
            syslog,
            redaction,
        } = new;
        let mut changes = Changes::default();
        let mut note = |list: fn(&mut Changes) -> &mut Vec<&'static str>, key, differs| {
            if differs {
                list(&mut changes).push(key);
            }
        };
        let now = self.enforced;
        note(|all| &mut all.applied, "grimoire-enforce", now.patterns != enforced.patterns);
        note(|all| &mut all.applied, "auto-terminate", now.correlation != enforced.correlation);
        note(|all| &mut all.applied, "grimoire-debug", self.debug != *debug);
        note(|all| &mut all.applied, "enable-rules", self.rules.enabled != rules.enabled);
        note(|all| &mut all.applied, "disable-rules", self.rules.disabled != rules.disabled);
        note(|all| &mut all.applied, "redact", self.redaction != *redaction);
        note(|all| &mut all.needs_restart, "rules", self.rules.directory != rules.directory);
        let later: fn(&mut Changes) -> &mut Vec<&'static str> = |all| &mut all.needs_restart;
        note(later, "enable-grimoire", self.engines.patterns != engines.patterns);
        match (&self.engines.correlation, &engines.correlation) {
            (Some(now), Some(new)) => {
                note(later, "correlation-threshold", now.threshold != new.threshold);
                note(later, "correlation-timeout", now.timeout_ms != new.timeout_ms);
                note(later, "min-exfil-bytes", now.min_bytes != new.min_bytes);
            }
            (now, new) => note(later, "enable-correlation", now.is_some() != new.is_some()),
        }
        match (&self.engines.baseline, &engines.baseline) {
            (Some(now), Some(new)) => {
                note(later, "learning-period", now.learning_period != new.learning_period);
                note(later, "detection-threshold", now.threshold != new.threshold);
                note(later, "no-learning", now.learns != new.learns);
                note(later, "no-detection", now.detects != new.detects);
            }
            (now, new) => note(later, "enable-baseline", now.is_some() != new.is_some()),
        }
        note(later, "baseline-path", self.baselines != *baselines);
        note(later, "no-load-baselines", self.begins_anew != *begins_anew);
        note(later, "local-networks", self.engines.own_networks != engines.own_networks);
        note(later, "correlation-log", self.correlation_log != *correlation_log);
        let switched = self.json_log.is_some() != json_log.is_some();
        let key = if switched { "enable-json-log" } else { "json-log-path" };
        note(|all| &mut all.needs_restart, "grimoire-log", self.patterns_log != *patterns_log);
        note(|all| &mut all.needs_restart, key, self.json_log != *json_log);
        note(later, "json-log-sync", self.json_log_sync != *json_log_sync);
        note(later, "metrics-file", self.metrics_file != *metrics_file);
        let switched = self.syslog.is_some() != syslog.is_some();
        let key = if switched { "enable-syslog" } else { "syslog" };
        note(|all| &mut all.needs_restart, key, self.syslog != *syslog);
        (self.enforced, self.debug) = (*enforced, *debug);
        self.rules.enabled.clone_from(&rules.enabled);
        self.rules.disabled.clone_from(&rules.disabled);
        self.redaction.clone_from(redaction);
        changes
    }
}

/// Which engines look: those that are asked for, or all that are not switched off.
fn engines(settings: &Settings) -> Result<Engines, ConfigurationError> {
    let said = [settings.enable_grimoire, settings.enable_correlation];
    let learns_or_judges = settings.enable_baseline == Some(true);
    let is_named = said.contains(&Some(true)) || learns_or_judges;
    let [patterns, correlation] = said.map(|said| said.unwrap_or(!is_named));
    let is_for_correlation = settings.auto_terminate == Some(true)
        || settings.correlation_log.is_some()
        || settings.correlation_threshold.is_some()
        || settings.correlation_timeout.is_some()
        || settings.min_exfil_bytes.is_some();
    let sentence = match () {
        () if !patterns && !correlation && !learns_or_judges => {
            "enable-grimoire and enable-correlation are false, and no other engine is enabled: give true \
             to one, or to enable-baseline"
        }
        () if !patterns && settings.grimoire_enforce == Some(true) => {
            "grimoire-enforce has no effect without enable-grimoire = true: add that, or leave it out"
        }
        () if !correlation && is_for_correlation => {
            "auto-terminate, correlation-log, correlation-threshold, correlation-timeout and \
             min-exfil-bytes have no effect without enable-correlation = true: add that, or leave \
             them out"
        }
        () => {
            let usual = Policy::default();
            let policy = Policy {
                threshold: settings.correlation_threshold.map_or(usual.threshold, NonZero::get),
                timeout_ms: settings.correlation_timeout.map_or(usual.timeout_ms, Timeout::ms),
                min_bytes: settings.min_exfil_bytes.map_or(usual.min_bytes, |it| it.get().into()),
            };
            let correlation = correlation.then_some(policy);
            let baseline = learns_or_judges.then(|| judgement(settings));
            let own_networks = settings.local_networks.clone();
            return Ok(Engines { patterns, correlation, baseline, own_networks });
        }
    };
    Err(ConfigurationError::Contradiction(sentence))
}

/// How programs are learned and judged.
fn judgement(settings: &Settings) -> Judgement {
    Judgement {
        learning_period: settings.learning_period.map_or(LEARNING_PERIOD, u64::from),
        threshold: settings.detection_threshold.unwrap_or(THRESHOLD),
        learns: settings.no_learning != Some(true),
        detects: settings.no_detection != Some(true),
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
