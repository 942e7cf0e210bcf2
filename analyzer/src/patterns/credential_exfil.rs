//! A private key or credential file is read, and data leaves to an external address after that
//! (MITRE T1552.004), from the reader or from whoever the data can have come to ([`crate::lineage`]).
//!
//! - Opening a secret to read, mapping it, or getting it open from another process is reading it. A
//!   program that reads what is its own ([`own`]) has read nothing, unless the descriptor outlives it.
//! - The connection may be older; what was sent before the reading does not count. What counts as data is
//!   in [`departure`]: a TLS handshake, a DNS query or a small request is none, the secret as it is
//!   is.
//! - Sent to an external address: critical. To a private network, where backups and deployments go:
//!   warning. Within the host nothing has left.
//! - Where it is not known how much of it was sent before the reading, and of a service's environment
//!   file that did not leave just as it is: high.
//!
//! Each reading is reported once, and once more if it turns out worse.

mod departure;
mod own;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use departure::{Departure, Left, Way};
use sentinel_ipc::{
    file_class::{SECRET, class},
    frame::KindSet,
    kernel_abi::kind,
};

use super::{Finding, Rule, Verdicts};
use crate::{
    alert::{Engine, Severity},
    destinations::Distance,
    escape::escape,
    event::{Action, Event, File, FileCall, Object, ObjectId, ProcessId, Traffic, TrafficReport},
    lineage::{self, Carried, Lineage, SourceId},
    process_table::{Process, ProcessTable},
    rules::fields::FILE_CLASSES,
    step::{Deed, Step},
};

/// What the rule looks at, beside fork, exec and exit.
pub const NEEDS: KindSet = lineage::NEEDS.with(KindSet::of(&[
    kind::OPEN,
    kind::MAP,
    kind::SENT,
    kind::TRAFFIC,
    kind::CONNECT,
    kind::ACCEPT,
    kind::LISTEN,
    kind::SET_DESCRIPTOR_FLAGS,
]));

/// The rule's name and number.
pub static RULE: Rule = Rule::of("credential_exfil", "T1552.004", Engine::Patterns);

/// How long after it was read a secret is looked for in what leaves, ns. A server sends for days what has
/// nothing to do with the key that it read at its start.
const WINDOW_NS: u64 = 60_000_000_000;
/// Connections that are followed, one for each secret that may leave there.
const MAX_DEPARTURES: usize = 16_384;
/// Secret files that are remembered by their inodes; the oldest is forgotten first.
const MAX_FILES: usize = 4096;
/// Access mode of open(2), the one that does not read, and a descriptor that only names (O_PATH).
const O_ACCMODE: u32 = 3;
const O_WRONLY: u32 = 1;
const O_PATH: u32 = 0o10_000_000;
/// State of a listening socket (`TCP_LISTEN`).
const LISTENS: u16 = 10;

/// A secret that was read.
#[derive(Debug, Clone)]
struct Secret {
    reader: ProcessId,
    at: u64,
    file: SecretFile,
    /// What was said of it.
    reported: Option<(Severity, ProcessId)>,
}

/// A secret file.
#[derive(Debug, Clone)]
struct SecretFile {
    /// Escaped.
    path: String,
    class: u32,
    size: u64,
    object: ObjectId,
}

/// A secret that its own program has open.
#[derive(Debug, Clone)]
struct Kept {
    number: u32,
    close_on_exec: bool,
    file: SecretFile,
}

/// The rule's state: bounded by living processes, the sources of lineage and the constants above.
#[derive(Debug, Default)]
pub struct CredentialExfil {
    secrets: BTreeMap<SourceId, Secret>,
    departures: HashMap<(ProcessId, ObjectId, SourceId), Departure>,
    kept: HashMap<ProcessId, Vec<Kept>>,
    files: HashMap<ObjectId, SecretFile>,
    files_in_order: std::collections::VecDeque<ObjectId>,
}

impl CredentialExfil {
    /// Looks at an event that `processes` and `lineage` have followed already.
    pub fn observe(
        &mut self,
        event: &Event,
        processes: &ProcessTable,
        lineage: &mut Lineage,
        verdicts: &mut Verdicts,
    ) {
        match &event.action {
            Action::File(file) => self.file(event, file, processes, lineage),
            Action::Descriptor { descriptor: Some(descriptor), .. } => {
                // Whoever gets a secret open will read it.
                let known = self.files.get(&descriptor.object.id).cloned();
                if let Some(file) = known {
                    self.read(event, file, processes, lineage);
                }
            }
            Action::Traffic(traffic) => self.traffic(event, traffic, processes, lineage, verdicts),
            Action::Exit => {
                self.kept.remove(&event.process);
            }
            Action::Exec(exec) => {
                let kept = self.kept.remove(&event.process).unwrap_or_default();
                let open =
                    kept.into_iter().filter(|kept| !kept.close_on_exec).map(|kept| kept.file);
                let stdio = exec.stdio.iter().flatten();
                let on_stdio = stdio.filter_map(|found| self.files.get(&found.object.id).cloned());
                let found: Vec<SecretFile> = open.chain(on_stdio).collect();
                for file in found {
                    self.read(event, file, processes, lineage);
                }
            }
            _ if self.kept.is_empty() => {}
            Action::Fork { child, .. } => {
                if let Some(kept) = self.kept.get(&event.process).cloned() {
                    self.kept.insert(*child, kept);
                }
            }
            Action::Close { first, last, .. } => {
                self.keep(event.process, |kept| !(*first..=*last).contains(&kept.number));
            }
            Action::SetCloseOnExec { number, close_on_exec } => {
                let kept = self.kept.get_mut(&event.process).into_iter().flatten();
                for one in kept.filter(|kept| kept.number == *number) {
                    one.close_on_exec = *close_on_exec;
                }
            }
            _ => {}
        }
    }

    /// Looks at what time alone decides; `now` is CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, processes: &ProcessTable) {
        self.secrets.retain(|_, secret| now.saturating_sub(secret.at) <= WINDOW_NS);
        let secrets = &self.secrets;
        self.departures.retain(|(process, _, source), _| {
            secrets.contains_key(source) && processes.get(*process).is_some()
        });
        // An exit may have been lost.
        self.kept.retain(|&id, _| processes.get(id).is_some());
    }

    fn keep(&mut self, process: ProcessId, keep: impl Fn(&Kept) -> bool) {
        if let Some(kept) = self.kept.get_mut(&process) {
            kept.retain(keep);
            if kept.is_empty() {
                self.kept.remove(&process);
            }
        }
    }

    fn file(
        &mut self,
        event: &Event,
        file: &File,
        processes: &ProcessTable,
        lineage: &mut Lineage,
    ) {
        let reads = file.open_flags & O_ACCMODE != O_WRONLY && file.open_flags & O_PATH == 0;
        let is_begun = matches!(file.call, FileCall::Open | FileCall::Map { .. });
        let is_secret = file.class & SECRET != 0 && file.class != SECRET;
        let Some(object) = file.object.filter(|object| object.size > 0) else { return };
        if !(is_secret && reads && is_begun) || event.errno().is_some() {
            return;
        }
        let path = file.path.as_ref().map(|path| escape(&path.bytes)).unwrap_or_default();
        let Object { size, id, .. } = object;
        let found = SecretFile { path, class: file.class, size, object: id };
        self.remember(&found);
        let is_own = processes.get(event.process).is_some_and(|it| own::is_own(it, file.class));
        if !is_own {
            self.read(event, found, processes, lineage);
        } else if let (FileCall::Open, Some(number)) = (file.call, file.number) {
            let kept = self.kept.entry(event.process).or_default();
            kept.retain(|one| one.number != number);
            kept.push(Kept { number, close_on_exec: file.close_on_exec, file: found });
        }
    }

    fn remember(&mut self, file: &SecretFile) {
        if self.files.insert(file.object, file.clone()).is_some() {
            return;
        }
        self.files_in_order.push_back(file.object);
        if self.files_in_order.len() > MAX_FILES
            && let Some(oldest) = self.files_in_order.pop_front()
        {
            self.files.remove(&oldest);
        }
    }

    /// The process has `file` open, to read; nothing new if it, or whom it has data of, did so just now.
    fn read(
        &mut self,
        event: &Event,
        file: SecretFile,
        processes: &ProcessTable,
        lineage: &mut Lineage,
    ) {
        let Some(process) = processes.get(event.process) else { return };
        let is_known = |carried: &Carried| {
            let secret = self.secrets.get(&carried.source);
            secret.is_some_and(|secret| {
                secret.file.object == file.object && self.is_current(secret, event.timestamp)
            })
        };
        let is_told_again = !matches!(event.action, Action::File(_));
        if own::is_own(process, file.class)
            || is_told_again && lineage.carried(event.process).iter().any(is_known)
        {
            return;
        }
        let (reader, at) = (event.process, event.timestamp);
        let source = lineage.mark(reader, at, at.saturating_add(WINDOW_NS), processes);
        self.secrets.insert(source, Secret { reader, at, file, reported: None });
    }

    fn is_current(&self, secret: &Secret, now: u64) -> bool {
        now.saturating_sub(secret.at) <= WINDOW_NS
    }

    fn traffic(
        &mut self,
        event: &Event,
        traffic: &Traffic,
        processes: &ProcessTable,
        lineage: &mut Lineage,
        verdicts: &mut Verdicts,
    ) {
        let Some(descriptor) = traffic.descriptor else { return };
        let is_end = traffic.report == TrafficReport::Totals;
        let Some(ends) = descriptor.socket else {
            // Read, however it came by it.
            let known = self.files.get(&descriptor.object.id).cloned();
            if let Some(file) = known.filter(|_| is_end && traffic.received > 0) {
                self.read(event, file, processes, lineage);
            }
            return;
        };
        let Some(process) = processes.get(event.process) else { return };
        let Some(remote) = ends.remote.filter(|_| ends.is_network()) else { return };
        let distance = Distance::of(remote.ip());
        let carried = lineage.carried(event.process);
        if carried.is_empty() {
            return;
        }
        let mut worst: Option<(Severity, Left, &Carried)> = None;
        for one in carried {
            let Some(secret) = self.secrets.get(&one.source) else { continue };
            if !self.is_current(secret, event.timestamp) || is_own_key_of_a_server(process, secret)
            {
                continue;
            }
            let key = (event.process, descriptor.object.id, one.source);
            let is_new = !self.departures.contains_key(&key);
            if is_new && self.departures.len() >= MAX_DEPARTURES {
                continue;
            }
            let departure = self.departures.entry(key).or_insert_with(|| {
                let way = way(process, traffic, one.trail.since().min(secret.at));
                Departure::new(way, ends.kind, remote.port())
            });
            departure.follow(traffic, distance != Distance::Host);
            let is_key = own::is_servers(secret.file.class) && serves(process);
            let left = departure.left(secret.file.size, is_key, is_end);
            if is_end {
                self.departures.remove(&key);
            }
            let Some(left) = left else { continue };
            let severity = match (distance, left) {
                (Distance::Host, _) => continue,
                (Distance::Private, _) => Severity::Warning,
                (Distance::External, Left::Exactly(_)) => Severity::Critical,
                (Distance::External, Left::Perhaps(_)) => Severity::High,
                // Every service reads its environment and goes on to connect.
                (Distance::External, Left::Enough(_))
                    if secret.file.class == class::ENVIRONMENT_FILE =>
                {
                    Severity::High
                }
                (Distance::External, Left::Enough(_)) => Severity::Critical,
            };
            if worst.as_ref().is_none_or(|(worst, ..)| severity > *worst) {
                worst = Some((severity, left, one));
            }
        }
        let Some((severity, left, carried)) = worst else { return };
        let story = self.story(process, carried, traffic, left, remote, event.timestamp);
        let all: Vec<SourceId> =
            lineage.carried(event.process).iter().map(|one| one.source).collect();
        self.report(&all, severity, process.id, story, verdicts);
    }

    /// What happened, in a sentence and in steps.
    fn story(
        &self,
        process: &Process,
        carried: &Carried,
        traffic: &Traffic,
        left: Left,
        remote: SocketAddr,
        now: u64,
    ) -> Option<Story> {
        let secret = self.secrets.get(&carried.source)?;
        let SecretFile { path, class, size, .. } = &secret.file;
        let class = FILE_CLASSES.iter().find(|(_, one)| one == class).map_or("secret", |one| one.0);
        let seen = |event, detail| Deed::Seen { event, detail };
        let read = seen("file_read", format!("opened {path} to read ({class}, {size} bytes)"));
        let mut steps = vec![Step { timestamp: secret.at, process: secret.reader, deed: read }];
        let hops = carried.trail.hops();
        for &(from, timestamp, through, to) in &hops {
            let detail = format!("had data of pid {} {through}", from.tgid);
            steps.push(Step { timestamp, process: to, deed: seen("lineage", detail) });
        }
        let slot = traffic.number.and_then(|number| {
            process.descriptors.borrow().get(number).map(|slot| std::rc::Rc::clone(&slot.object))
        });
        let is_it = |id| traffic.descriptor.is_some_and(|descriptor| descriptor.object.id == id);
        let history = slot.iter().filter(|object| is_it(object.id)).flat_map(|one| one.history());
        steps.extend(history);
        let bytes = left.bytes();
        let certainty =
            if matches!(left, Left::Perhaps(_)) { ", some of it perhaps before" } else { "" };
        let sent = seen("send", format!("sent {bytes} bytes to {remote}{certainty}"));
        steps.push(Step { timestamp: now, process: process.id, deed: sent });
        steps.sort_by_key(|step| step.timestamp);
        let name = process.image.as_ref().map_or("?", |image| image.path.as_str());
        let way = if hops.is_empty() { "" } else { ", which came to it from another process," };
        let message = format!(
            "{name} (pid {}) sent {bytes} bytes to {remote} after {path}{way} was read{certainty}",
            process.id.tgid
        );
        Some(Story { message, steps, remote })
    }

    fn report(
        &mut self,
        sources: &[SourceId],
        severity: Severity,
        process: ProcessId,
        story: Option<Story>,
        verdicts: &mut Verdicts,
    ) {
        let known = sources.iter().filter_map(|source| self.secrets.get(source)?.reported);
        let known = known.max_by_key(|(severity, _)| *severity);
        let repeat = match known {
            Some((before, _)) if before > severity => return,
            Some((before, who)) if before == severity => {
                if who == process {
                    return;
                }
                true
            }
            _ => false,
        };
        for source in sources {
            if let Some(secret) = self.secrets.get_mut(source) {
                secret.reported = Some((severity, process));
            }
        }
        let Some(Story { message, steps, remote }) = story else { return };
        let (rule, remote) = (RULE.clone(), Some(remote));
        verdicts.findings.push(Finding { rule, severity, process, message, steps, remote, repeat });
    }
}

/// A finding's words.
struct Story {
    message: String,
    steps: Vec<Step>,
    remote: SocketAddr,
}

/// How the socket of `traffic` came by its peer, seen from a reading at `since`.
fn way(process: &Process, traffic: &Traffic, since: u64) -> Way {
    let descriptors = process.descriptors.borrow();
    let slot = traffic.number.and_then(|number| descriptors.get(number));
    let is_it = |id| traffic.descriptor.is_some_and(|descriptor| descriptor.object.id == id);
    let Some(slot) = slot.filter(|slot| is_it(slot.object.id)) else { return Way::Unknown };
    let accepted = slot.object.history().find(|step| matches!(step.deed, Deed::Accept(_)));
    match accepted {
        Some(step) if step.timestamp > since => Way::AcceptedLater,
        Some(_) => Way::Accepted,
        None => Way::Out,
    }
}

/// Whether the process has a listening socket.
fn serves(process: &Process) -> bool {
    let descriptors = process.descriptors.borrow();
    let mut sockets = descriptors.iter().filter_map(|(_, slot)| slot.object.socket());
    sockets.any(|ends| ends.state == LISTENS)
}

/// Whether a server, by its identity, has forked from the one that read its key.
fn is_own_key_of_a_server(process: &Process, secret: &Secret) -> bool {
    own::is_servers(secret.file.class) && own::is_own(process, secret.file.class)
}

#[cfg(test)]
mod tests;
