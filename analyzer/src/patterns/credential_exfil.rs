//! A private key or credential file is read, and data leaves to an external address after that
//! (MITRE T1552.004), from the reader or from whoever the data can have come to: see
//! [`crate::secrets`] for what counts as either.
//!
//! - The connection may be older; what was sent before the reading does not count. What counts as data is
//!   in [`crate::secrets::departure`]: a TLS handshake, a DNS query or a small request is none, the
//!   secret as it is is.
//! - Sent to an external address: critical. To a private network, where backups and deployments go:
//!   warning. Within the host nothing has left.
//! - Where it is not known how much of it was sent before the reading, and of a service's environment
//!   file that did not leave just as it is: high.
//!
//! Each reading is reported once, and once more if it turns out worse.

use super::{Finding, Rule, Verdicts};
use crate::{
    alert::{Engine, Severity},
    event::Event,
    lineage::Lineage,
    process_table::ProcessTable,
    secrets::{Outflow, Reported, Secrets, Seen},
};

/// The rule's name and number.
pub static RULE: Rule = Rule::of("credential_exfil", "T1552.004", Engine::Patterns);

/// The rule's state: what was said, of secrets that are still looked for.
#[derive(Debug, Default)]
pub struct CredentialExfil {
    reported: Reported,
}

impl CredentialExfil {
    /// Looks at what an event came to, by `secrets`.
    pub fn observe(
        &mut self,
        event: &Event,
        seen: &Seen,
        secrets: &Secrets,
        processes: &ProcessTable,
        lineage: &Lineage,
        verdicts: &mut Verdicts,
    ) {
        let told = seen.outflows.iter().filter(|outflow| outflow.left.is_some());
        let mut worst: Option<&Outflow> = None;
        for outflow in told {
            if worst.is_none_or(|worst| self.rank(outflow) > self.rank(worst)) {
                worst = Some(outflow);
            }
        }
        let Some(outflow) = worst else { return };
        let Some(process) = processes.get(event.process) else { return };
        let Some(tale) = secrets.departed(process, outflow, event) else { return };
        let sources = lineage.carried(process.id).iter().map(|one| one.source);
        let severity = outflow.worst();
        let news = self.reported.news(outflow.carried.source, sources, severity, process.id);
        let Some(repeat) = news else { return };
        let (found, steps) = (RULE.finding(severity, process.id, tale.message), tale.steps);
        let remote = Some(outflow.remote);
        verdicts.findings.push(Finding { steps, remote, repeat, ..found });
    }

    /// Which of several secrets that may be among what was sent is told.
    fn rank(&self, outflow: &Outflow) -> (Severity, bool, bool) {
        let (severity, carried) = (outflow.worst(), &outflow.carried);
        (severity, self.reported.is_fresh(carried.source, severity), carried.trail.is_own())
    }

    /// Looks at what time alone decides.
    pub fn time(&mut self, secrets: &Secrets) {
        self.reported.keep(|source| secrets.get(source).is_some());
    }
}

#[cfg(test)]
mod tests;
