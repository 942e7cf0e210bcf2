//! What was said of connections already: each is reported once, and once more if it turns out worse. What is
//! not certain is said once of a script that serves whoever comes, not of each visit.

use std::{cmp::Ordering, collections::VecDeque, net::SocketAddr};

use super::RULE;
use crate::{
    alert::Severity,
    descriptor_table::{OpenObject, StdioConnection},
    event::{ObjectId, ProcessId},
    keyed_hash::HashMap,
    patterns::{Finding, Verdicts},
    process_table::Process,
    step::Step,
};

/// Reported connections that are remembered; the oldest is forgotten first.
const MAX_REPORTED: usize = 4096;
/// The same of scripts that serve.
const MAX_SERVING: usize = 1024;

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
    serving: VecDeque<Serving>,
}

/// Where a connection was waited for.
#[derive(Debug, PartialEq, Eq)]
enum Service {
    Listener(ObjectId),
    /// Nobody was seen to accept it.
    Local(SocketAddr),
}

/// A program that serves connections.
#[derive(Debug, PartialEq, Eq)]
struct Serving {
    service: Service,
    program: ObjectId,
    script: Option<Box<[u8]>>,
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
        if severity < Severity::Critical && self.is_known_to_serve(process, &stdio.object) {
            return;
        }
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

    /// Whether `process` runs what was reported of another connection to the same service; notes it.
    fn is_known_to_serve(&mut self, process: &Process, connection: &OpenObject) -> bool {
        let Some(serving) = Serving::of(process, connection) else { return false };
        if self.serving.contains(&serving) {
            return true;
        }
        self.serving.push_back(serving);
        if self.serving.len() > MAX_SERVING {
            self.serving.pop_front();
        }
        false
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

impl Serving {
    fn of(process: &Process, connection: &OpenObject) -> Option<Self> {
        if connection.connected_out() {
            return None;
        }
        let local = connection.socket().and_then(|ends| ends.local).map(Service::Local);
        let service = connection.listener().map(Service::Listener).or(local)?;
        let image = process.image.as_ref()?;
        let script = image.identity.asked().map(Box::from);
        Some(Self { service, program: image.object?, script })
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
