//! Where alerts go beside the console: three logs and syslog. All are opened before the sandbox closes.

use std::io;

use sentinel_ipc::confinement::{Directory, Rights};

use crate::{
    alert::{Alert, Engine},
    configuration::Configuration,
    json_log::JsonLog,
    privileges::Connections,
};

pub mod syslog;

use self::syslog::{Syslog, SyslogState};

/// Whether logs are opened anew while Sentinel runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// They are: their directories stay open.
    Possible,
    /// Never.
    None,
}

/// The sinks that are wanted.
#[derive(Debug, Default)]
pub struct Sinks {
    patterns_log: Option<JsonLog>,
    correlation_log: Option<JsonLog>,
    json_log: Option<JsonLog>,
    syslog: Option<Syslog>,
}

impl Sinks {
    /// Opens what `configuration` names.
    ///
    /// # Errors
    /// A sentence with the path and what to do.
    pub fn open(configuration: &Configuration, rotation: Rotation) -> Result<Self, String> {
        let open = match rotation {
            Rotation::Possible => JsonLog::open_to_rotate,
            Rotation::None => JsonLog::open,
        };
        let mut syslog = configuration.syslog.as_ref().map(Syslog::start).transpose()?;
        // Who starts Sentinel by hand wants to know at once; a service must not wait for its syslog.
        if let (Some(syslog), Rotation::None) = (&mut syslog, rotation) {
            syslog.await_first()?;
        }
        Ok(Self {
            patterns_log: configuration.patterns_log.as_deref().map(open).transpose()?,
            correlation_log: configuration.correlation_log.as_deref().map(open).transpose()?,
            json_log: configuration
                .json_log
                .as_deref()
                .map(|path| open(path).map(|log| log.synced(configuration.json_log_sync)))
                .transpose()?,
            syslog,
        })
    }

    /// One log for everything.
    pub fn of_log(log: JsonLog) -> Self {
        Self { json_log: Some(log), ..Self::default() }
    }

    /// The directories that must stay open to open logs anew.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn directories(&self) -> io::Result<Vec<Directory>> {
        let directories = self.logs().filter_map(JsonLog::directory);
        let kept = |directory: &std::fs::File| {
            let descriptor = directory.try_clone()?.into();
            Ok(Directory { descriptor, rights: Rights::Write })
        };
        directories.map(kept).collect()
    }

    /// Whether connections are passed to this process.
    pub fn connections(&self) -> Connections {
        if self.syslog.is_some() { Connections::Passed } else { Connections::None }
    }

    /// The sinks in words.
    pub fn names(&self) -> Vec<String> {
        let logs = self.logs().map(|log| log.path().display().to_string());
        logs.chain(self.syslog.iter().map(|syslog| format!("syslog {}", syslog.target()))).collect()
    }

    /// Passes `alert` to all that it is for; returns what failed, in words.
    pub fn write(&mut self, alert: &Alert) -> Vec<String> {
        // Without a wildcard: another engine has a log of its own. What is missing is said in each.
        let (is_of_patterns, is_of_correlation) = match alert.engine {
            Engine::Patterns => (true, false),
            Engine::Correlation => (false, true),
            Engine::Sensor => (true, true),
            Engine::Baseline => (false, false),
        };
        let patterns = self.patterns_log.as_mut().filter(|_| is_of_patterns);
        let correlation = self.correlation_log.as_mut().filter(|_| is_of_correlation);
        let logs = patterns.into_iter().chain(correlation).chain(&mut self.json_log);
        let failed = |log: &mut JsonLog| {
            let error = log.write(alert).err()?;
            Some(format!("{}: alert not written: {error}", log.path().display()))
        };
        let failed = logs.filter_map(failed).collect();
        if let Some(syslog) = &mut self.syslog {
            syslog.send(alert);
        }
        failed
    }

    /// Appends a line to the log of all engines that is no alarm; returns what failed, in words.
    pub fn note(&mut self, line: &Alert) -> Option<String> {
        let log = self.json_log.as_mut()?;
        let error = log.write(line).err()?;
        Some(format!("{}: counters not written: {error}", log.path().display()))
    }

    /// How many lines each log did not take.
    pub fn failures(&self) -> Vec<(String, u64)> {
        self.logs().map(|log| (log.path().display().to_string(), log.failures())).collect()
    }

    /// What is wrong with logs as they were found, in words.
    pub fn findings(&self) -> Vec<String> {
        let torn = self.logs().filter(|log| log.is_torn());
        let told = |log: &JsonLog| {
            format!(
                "{}: its last line is not whole, as after a crash; the next one begins on its own",
                log.path().display()
            )
        };
        torn.map(told).collect()
    }

    /// Sends what syslog takes now of what it did not take before.
    pub fn advance(&mut self) {
        if let Some(syslog) = &mut self.syslog {
            syslog.advance();
        }
    }

    /// How syslog gets on, if there is one.
    pub fn syslog(&self) -> Option<SyslogState> {
        self.syslog.as_ref().map(Syslog::state)
    }

    /// What has not been said yet about the way to syslog and alerts that it did not take; once in a while at
    /// most, unless it is the `last` time.
    pub fn take_losses(&mut self, last: bool) -> Option<String> {
        self.syslog.as_mut()?.take_losses(last)
    }

    /// Opens the logs anew; returns what failed, in words.
    pub fn reopen(&mut self) -> Vec<String> {
        let own = self.patterns_log.iter_mut().chain(&mut self.correlation_log);
        let logs = own.chain(&mut self.json_log);
        logs.filter_map(|log| log.reopen().err()).collect()
    }

    fn logs(&self) -> impl Iterator<Item = &JsonLog> {
        self.patterns_log.iter().chain(&self.correlation_log).chain(&self.json_log)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::analysis::Analysis;

    #[test]
    fn all_logs_get_an_alert_and_are_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let configuration = Configuration {
            patterns_log: Some(path("patterns.json")),
            json_log: Some(path("alerts.json")),
            ..Configuration::default()
        };
        let mut sinks = Sinks::open(&configuration, Rotation::Possible).unwrap();
        assert_eq!(sinks.directories().unwrap().len(), 2);
        assert_eq!(sinks.names().len(), 2);
        let alert = Analysis::new(false).breaker_tripped(1);
        assert!(sinks.write(&alert).is_empty());
        for name in ["patterns.json", "alerts.json"] {
            fs::rename(path(name), path(name).with_extension("1")).unwrap();
        }
        assert!(sinks.reopen().is_empty());
        assert!(sinks.write(&alert).is_empty());
        for name in ["patterns.json", "patterns.1", "alerts.json", "alerts.1"] {
            assert_eq!(fs::read_to_string(path(name)).unwrap().lines().count(), 1, "{name}");
        }
    }

    #[test]
    fn a_log_that_a_crash_has_torn_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let (torn, whole) = (directory.path().join("torn"), directory.path().join("whole"));
        fs::write(&torn, "{").unwrap();
        let configuration = Configuration {
            patterns_log: Some(torn.clone()),
            json_log: Some(whole),
            ..Configuration::default()
        };
        let found = Sinks::open(&configuration, Rotation::None).unwrap().findings();
        let [found] = found.as_slice() else { panic!("{found:?}") };
        assert!(found.starts_with(torn.to_str().unwrap()), "{found}");
    }

    #[test]
    fn each_engine_has_a_log_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let configuration = Configuration {
            patterns_log: Some(path("patterns")),
            correlation_log: Some(path("correlation")),
            json_log: Some(path("all")),
            ..Configuration::default()
        };
        let mut sinks = Sinks::open(&configuration, Rotation::None).unwrap();
        let alert = Analysis::new(false).breaker_tripped(1);
        for engine in [Engine::Patterns, Engine::Sensor, Engine::Correlation] {
            assert!(sinks.write(&Alert { engine, ..alert.clone() }).is_empty());
        }
        for (name, lines) in [("patterns", 2), ("correlation", 2), ("all", 3)] {
            assert_eq!(fs::read_to_string(path(name)).unwrap().lines().count(), lines, "{name}");
        }
    }

    #[test]
    fn a_log_that_fails_does_not_keep_the_other_from_being_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let configuration = Configuration {
            patterns_log: Some(path("a/patterns.json")),
            json_log: Some(path("alerts.json")),
            ..Configuration::default()
        };
        let mut sinks = Sinks::open(&configuration, Rotation::Possible).unwrap();
        fs::remove_dir_all(path("a")).unwrap();
        fs::remove_file(path("alerts.json")).unwrap();
        let errors = sinks.reopen();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("a/patterns.json"), "{errors:?}");
        assert!(path("alerts.json").exists());
    }

    #[test]
    fn what_is_never_rotated_keeps_no_directory() {
        let directory = tempfile::tempdir().unwrap();
        let json_log = Some(directory.path().join("alerts.json"));
        let configuration = Configuration { json_log, ..Configuration::default() };
        let sinks = Sinks::open(&configuration, Rotation::None).unwrap();
        assert!(sinks.directories().unwrap().is_empty());
    }
}
