//! Secrets in arguments, variables and addresses are taken out of an alert as it is made, before it goes to
//! anybody: console, logs, syslog, status, and the enforcer's audit. Rules and engines see what was there.

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use crate::alert::{Alert, AlertAncestor, AlertStep};

pub use pattern::Pattern;

mod built_in;
mod pattern;
mod words;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

static BUILT_IN: LazyLock<BuiltIn> = LazyLock::new(BuiltIn::read);

/// The built-in patterns, ready for an alert that is to become a kill: nearly none of its texts has one, and that is
/// told by one look at each of its bytes.
struct BuiltIn {
    patterns: Vec<Pattern>,
    /// Their places by the byte that they begin with, in lower case.
    beginning_with: [Vec<usize>; 256],
}

impl BuiltIn {
    fn read() -> Self {
        // A test shows that all of them are sound.
        let patterns: Vec<Pattern> =
            built_in::PATTERNS.iter().filter_map(|text| text.parse().ok()).collect();
        let mut beginning_with = [const { Vec::new() }; 256];
        for (place, pattern) in patterns.iter().enumerate() {
            if let Some(places) = beginning_with.get_mut(usize::from(pattern.first_byte())) {
                places.push(place);
            }
        }
        Self { patterns, beginning_with }
    }

    /// Those that may find something.
    fn that_may_match(&self, text: &[u8]) -> Vec<&Pattern> {
        let mut found: BTreeSet<usize> = BTreeSet::new();
        for (at, byte) in text.iter().enumerate() {
            let places = self.beginning_with.get(usize::from(byte.to_ascii_lowercase()));
            let rest = text.get(at..).unwrap_or_default();
            let begins =
                |place: &usize| self.patterns.get(*place).is_some_and(|it| it.begins(rest));
            found.extend(places.into_iter().flatten().copied().filter(begins));
        }
        found.into_iter().filter_map(|place| self.patterns.get(place)).collect()
    }
}

/// What is taken for a secret: what the built-in patterns find, and these.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Redaction {
    own: Vec<Pattern>,
}

impl Redaction {
    /// These patterns beside the built-in ones.
    pub fn with(own: Vec<Pattern>) -> Self {
        Self { own }
    }

    /// Reads the built-in patterns now, for which the first alert would have to wait.
    pub fn prepare() {
        LazyLock::force(&BUILT_IN);
    }

    /// `text` without secrets. Time grows with its length and with the number of patterns; a sensor's text has
    /// some hundred bytes.
    pub fn text(&self, text: String) -> String {
        let mut patterns = BUILT_IN.that_may_match(text.as_bytes());
        patterns.extend(self.own.iter().filter(|pattern| pattern.may_match(text.as_bytes())));
        if patterns.is_empty() {
            return text;
        }
        let arguments = words::quoted(text.as_bytes());
        let patterns = patterns.into_iter();
        let mut secrets: Vec<Range<usize>> =
            patterns.flat_map(|pattern| pattern.secrets(text.as_bytes(), &arguments)).collect();
        secrets.sort_by_key(|secret| secret.start);
        let mut told = String::with_capacity(text.len());
        let mut end = 0;
        for secret in secrets {
            // One that reaches into the one before is a part of it.
            if secret.start >= end {
                told.push_str(text.get(end..secret.start).unwrap_or_default());
                told.push_str(REDACTED);
            }
            end = end.max(secret.end);
        }
        told.push_str(text.get(end..).unwrap_or_default());
        told
    }

    /// `alert` without secrets in any text that a process may have chosen.
    pub fn alert(&self, mut alert: Alert) -> Alert {
        let redact = |text: &mut String| *text = self.text(std::mem::take(text));
        // Without `..`, so that a text that is new must find its place here.
        let Alert {
            comm,
            exe,
            cmdline,
            script,
            ancestors,
            container_id,
            cgroup,
            unit,
            message,
            steps,
            correlated,
            figures,
            // Numbers, and what Sentinel itself has named.
            timestamp: _,
            timestamp_boot: _,
            engine: _,
            pattern_id: _,
            pattern_name: _,
            severity: _,
            mitre: _,
            pid: _,
            start_time: _,
            ppid: _,
            uid: _,
            exe_trusted: _,
            action: _,
            gap_in_window: _,
            remote_ip: _,
            remote_port: _,
            repeated: _,
            withheld: _,
            counters: _,
            // Never told.
            objects: _,
            repeat: _,
            tree: _,
        } = &mut alert;
        let of_process = [comm, exe, cmdline, script, container_id, cgroup, unit];
        of_process.into_iter().flatten().for_each(redact);
        redact(message);
        for AlertAncestor { pid: _, exe, exe_trusted: _ } in ancestors {
            exe.iter_mut().for_each(redact);
        }
        for AlertStep { timestamp_boot: _, pid: _, event: _, detail } in steps {
            redact(detail);
        }
        if let Some(correlated) = correlated {
            redact(&mut correlated.file);
        }
        if let Some(figures) = figures {
            redact(&mut figures.syscall);
        }
        alert
    }
}

#[cfg(test)]
mod tests;
