//! The correlation engine: a secret that is read, a connection to another host, and data that leaves
//! there, in any order and whoever did each, add up to a score.
//!
//! The state belongs to the data: each reading ([`crate::secrets`]) has a score for whoever its data can
//! have come to. A connection that is open counts however old it is; from a reading on, each step must
//! follow the one before it within a window, which each step begins anew. What is slower is left to the
//! pattern credential_exfil.
//!
//! - A sensitive read beside an open connection to an external address makes 90 points: warning.
//! - Once data has left (not a handshake, a question or a small request) and the threshold is reached:
//!   critical. To private networks at most warning, unless the bytes match; what credential_exfil holds
//!   for high at most is high here too.
//!
//! Each reading is reported once, and once more if it turns out worse.

mod score;

use std::rc::Rc;

pub use score::{Contribution, Correlated, Policy, Stage, Stages};

use crate::{
    alert::{Engine, Severity},
    descriptor_table::OpenObject,
    destinations::Distance,
    event::{Action, DescriptorCall, Event, ProcessId},
    keyed_hash::HashMap,
    lineage::{Carried, Lineage, SourceId},
    patterns::{Finding, Rule, Verdicts},
    process_table::{Process, ProcessTable},
    secrets::{Outflow, Reported, Secret, Secrets, Seen, Tale, departure},
};
use score::Score;

/// The engine's one rule.
pub static RULE: Rule = Rule::of("data_exfiltration", "T1048", Engine::Correlation);

/// Points from which a read beside a connection is a warning.
const WARNING_AT: u32 = 90;

/// The engine's state: bounded by the secrets that are looked for.
#[derive(Debug, Default)]
pub struct Correlation {
    policy: Policy,
    /// When the last step with the data of a reading was taken; CLOCK_BOOTTIME, ns.
    advanced: HashMap<SourceId, u64>,
    reported: Reported,
    stages: Stages,
}

impl Correlation {
    /// An engine that has seen nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// The same policy, and nothing seen yet.
    pub fn begun_anew(&self) -> Self {
        Self::new(self.policy.clone())
    }

    /// How often each stage was reached.
    pub fn stages(&self) -> Stages {
        self.stages
    }

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
        let connects =
            matches!(event.action, Action::Descriptor { call: DescriptorCall::Connect, .. });
        // Nearly always.
        if !connects && seen.readings.is_empty() && seen.outflows.is_empty() {
            return;
        }
        let Some(process) = processes.get(event.process) else { return };
        let view = View { event, process, secrets, lineage };
        if let Action::Descriptor { call: DescriptorCall::Connect, number: Some(number), .. } =
            &event.action
        {
            let descriptors = process.descriptors.borrow();
            let connection = descriptors.get(*number).map(|slot| Rc::clone(&slot.object));
            drop(descriptors);
            if let Some(connection) = connection.filter(|one| is_way_out(one, secrets)) {
                self.stages.network_opened += 1;
                self.connected(&view, &connection, verdicts);
            }
        }
        for &source in &seen.readings {
            self.stages.file_read += 1;
            self.advanced.insert(source, event.timestamp);
            let carried = view.carried().iter().find(|one| one.source == source);
            if let (Some(carried), Some(connection)) = (carried, view.connection()) {
                self.stand_beside(&view, carried, &connection, Stage::FileRead, verdicts);
            }
        }
        self.sent(&view, seen, verdicts);
    }

    /// Looks at what time alone decides.
    pub fn time(&mut self, secrets: &Secrets) {
        self.reported.keep(|source| secrets.get(source).is_some());
        self.advanced.retain(|&source, _| secrets.get(source).is_some());
    }

    /// Who has data of secrets has connected to another host.
    fn connected(&mut self, view: &View<'_>, connection: &OpenObject, verdicts: &mut Verdicts) {
        let mut newest = None;
        for one in view.carried() {
            if self.is_in_time(one, view.event.timestamp) {
                self.advanced.insert(one.source, view.event.timestamp);
                newest = Some(one);
            }
        }
        if let Some(carried) = newest {
            self.stand_beside(view, carried, connection, Stage::NetworkOpened, verdicts);
        }
    }

    /// A secret and a connection are there together.
    fn stand_beside(
        &mut self,
        view: &View<'_>,
        carried: &Carried,
        connection: &OpenObject,
        stage: Stage,
        verdicts: &mut Verdicts,
    ) {
        let score = Score::beside_a_connection();
        if score.total() < WARNING_AT {
            return;
        }
        let Some(secret) = view.secrets.get(carried.source) else { return };
        let tale = view.secrets.stands_beside(view.process, carried, connection);
        let remote = connection.remote();
        let correlated = score.told(stage, secret, remote, 0);
        self.report(view, (carried.source, Severity::Warning), tale, correlated, verdicts);
    }

    /// What was sent, if it was.
    fn sent(&mut self, view: &View<'_>, seen: &Seen, verdicts: &mut Verdicts) {
        let mut worst: Option<(Rank, Score, &Outflow, &Secret)> = None;
        for outflow in &seen.outflows {
            if !self.is_in_time(&outflow.carried, view.event.timestamp) {
                continue;
            }
            let source = outflow.carried.source;
            self.advanced.insert(source, view.event.timestamp);
            let (Some(left), Some(secret)) = (outflow.left, view.secrets.get(source)) else {
                continue;
            };
            let score = Score::of(outflow, left, secret, &self.policy);
            let Some(severity) = self.severity(&score, outflow) else { continue };
            let rank = Rank {
                severity,
                is_fresh: self.reported.is_fresh(source, severity),
                points: score.total(),
                is_own: outflow.carried.trail.is_own(),
            };
            if worst.as_ref().is_none_or(|(best, ..)| rank > *best) {
                worst = Some((rank, score, outflow, secret));
            }
        }
        let Some((Rank { severity, .. }, score, outflow, secret)) = worst else { return };
        let bytes = outflow.left.map_or(0, departure::Left::bytes);
        let correlated = score.told(Stage::DataSent, secret, Some(outflow.remote), bytes);
        let tale = view.secrets.departed(view.process, outflow, view.event);
        let told = (outflow.carried.source, severity);
        if self.report(view, told, tale, correlated, verdicts) {
            self.stages.data_sent += 1;
        }
    }

    fn severity(&self, score: &Score, outflow: &Outflow) -> Option<Severity> {
        let total = score.total();
        let is_own_network = outflow.distance == Distance::Private;
        match () {
            () if total < WARNING_AT.min(self.policy.threshold) => None,
            () if total < self.policy.threshold => Some(Severity::Warning),
            () if is_own_network && score.has_match() => Some(Severity::Critical),
            () => Some(outflow.worst()),
        }
    }

    /// Whether the last step with these data is no longer ago than the window.
    fn is_in_time(&self, carried: &Carried, now: u64) -> bool {
        let advanced = self.advanced.get(&carried.source);
        advanced.is_some_and(|&at| {
            // A hop is a step as well.
            now.saturating_sub(at.max(carried.trail.since())) <= self.policy.window_ns()
        })
    }

    /// Whether it is news.
    fn report(
        &mut self,
        view: &View<'_>,
        (source, severity): (SourceId, Severity),
        tale: Option<Tale>,
        correlated: Correlated,
        verdicts: &mut Verdicts,
    ) -> bool {
        let process: ProcessId = view.process.id;
        let carried = view.carried().iter().map(|one| one.source);
        let Some(Tale { message, steps }) = tale else { return false };
        let news = self.reported.news(source, carried, severity, process);
        let Some(repeat) = news else { return false };
        let message = format!("{message}: {} points", correlated.score);
        let (found, remote) = (RULE.finding(severity, process, message), correlated.remote);
        let correlated = Some(Box::new(correlated));
        verdicts.findings.push(Finding { steps, remote, repeat, correlated, ..found });
        !repeat
    }
}

/// Which of several secrets that may be among what was sent is told.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    severity: Severity,
    is_fresh: bool,
    points: u32,
    is_own: bool,
}

/// An event, and what is known of who did it.
struct View<'a> {
    event: &'a Event,
    process: &'a Process,
    secrets: &'a Secrets,
    lineage: &'a Lineage,
}

impl View<'_> {
    /// Secrets whose data can have come to it.
    fn carried(&self) -> &[Carried] {
        self.lineage.carried(self.process.id)
    }

    /// A connection to another host that it has open.
    fn connection(&self) -> Option<Rc<OpenObject>> {
        let descriptors = self.process.descriptors.borrow();
        let found = descriptors.iter().map(|(_, slot)| &slot.object);
        found.filter(|object| is_way_out(object, self.secrets)).map(Rc::clone).next()
    }
}

/// Whether it was connected to an external address, by whoever, and not to ask for a name.
fn is_way_out(object: &OpenObject, secrets: &Secrets) -> bool {
    let is_far = |remote| secrets.distance(remote) == Distance::External;
    object.is_connection()
        && object.connected_out()
        && object.remote().is_some_and(|remote| {
            is_far(remote) && !departure::NAME_SERVERS.contains(&remote.port())
        })
}

#[cfg(test)]
mod tests;
