//! What is counted of alerts, for metrics.

use std::{borrow::Cow, collections::BTreeMap};

use super::histogram::Histogram;
use crate::alert::{Alert, Severity};

/// Rules and severities that are counted apart; those of rules that come later, by reloads, are counted
/// together as `other`.
const MAX_KINDS: usize = 8192;

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Alerts by rule and severity.
    pub alerts: BTreeMap<(Cow<'static, str>, Severity), u64>,
    /// By what was done, such as `logged` or `kill_refused:budget`.
    pub actions: BTreeMap<String, u64>,
    /// From an event to the alert on it.
    pub alert_latency: Histogram,
    /// From an event to the enforcer's word that it has killed.
    pub kill_latency: Histogram,
}

impl Tally {
    /// An alert with its last action.
    pub fn add(&mut self, alert: &Alert) {
        let mut kind = (alert.pattern_name.clone(), alert.severity);
        if self.alerts.len() >= MAX_KINDS && !self.alerts.contains_key(&kind) {
            kind.0 = "other".into();
        }
        *self.alerts.entry(kind).or_default() += 1;
        *self.actions.entry(alert.action.to_string()).or_default() += 1;
    }
}
