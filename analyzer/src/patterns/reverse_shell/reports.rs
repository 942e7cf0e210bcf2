//! What was said of connections already: each is reported once, and once more if it turns out worse.

use std::{
    cmp::Ordering,
    collections::{HashMap, VecDeque},
};

use super::RULE;
use crate::{
    alert::Severity,
    descriptor_table::{OpenObject, StdioConnection},
    event::{ObjectId, ProcessId},
    patterns::{Finding, Verdicts},
    process_table::Process,
    step::Step,
};

/// Reported connections that are remembered; the oldest is forgotten first.
const MAX_REPORTED: usize = 4096;

/// What was said of a connection.
#[derive(Debug)]
struct Reported {
    severity: Severity,
    /// The last process it was said of.
    process: ProcessId,
}

/// Whether something was said already.
enum Novelty {
    News,
    AnotherProcess,
    Known,
}

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Reports {
    by_connection: HashMap<ObjectId, Reported>,
    in_order: VecDeque<ObjectId>,
}

impl Reports {
    /// Says that `process` does what `message` tells with the connection `stdio`; `last` is what showed
    /// it.
    pub(super) fn report(
        &mut self,
        process: &Process,
        stdio: &StdioConnection,
        severity: Severity,
        message: &str,
        last: &Step,
        verdicts: &mut Verdicts,
    ) {
        let repeat = match self.novelty(stdio.object.id, severity, process.id) {
            Novelty::News => false,
            Novelty::AnotherProcess => true,
            Novelty::Known => return,
        };
        let remote = stdio.object.remote();
        let arrivals = stdio.arrivals.iter().map(|step| Step::clone(step));
        let mut steps: Vec<Step> =
            stdio.object.history().chain(arrivals).chain([last.clone()]).collect();
        steps.sort_by_key(|step| step.timestamp);
        let peer = peer(&stdio.object);
        let message = format!("{} {message} to {peer}", name(process));
        let found = RULE.finding(severity, process.id, message);
        verdicts.findings.push(Finding { steps, remote, repeat, ..found });
    }

    fn novelty(&mut self, connection: ObjectId, severity: Severity, process: ProcessId) -> Novelty {
        let Some(known) = self.by_connection.get_mut(&connection) else {
            self.by_connection.insert(connection, Reported { severity, process });
            self.in_order.push_back(connection);
            if self.in_order.len() > MAX_REPORTED
                && let Some(oldest) = self.in_order.pop_front()
            {
                self.by_connection.remove(&oldest);
            }
            return Novelty::News;
        };
        let novelty = match severity.cmp(&known.severity) {
            Ordering::Greater => Novelty::News,
            Ordering::Equal if process != known.process => Novelty::AnotherProcess,
            Ordering::Equal | Ordering::Less => return Novelty::Known,
        };
        *known = Reported { severity, process };
        novelty
    }
}

fn peer(object: &OpenObject) -> String {
    match object.remote() {
        Some(remote) => remote.to_string(),
        None => "a peer without an IP address".to_owned(),
    }
}

/// A process's program and number.
pub(super) fn name(process: &Process) -> String {
    let path = process.image.as_ref().map_or("?", |image| image.path.as_str());
    format!("{path} (pid {})", process.id.tgid)
}
