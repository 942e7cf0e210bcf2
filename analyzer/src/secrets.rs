//! Secret files that are read, and what leaves afterwards from whoever can have them: what the
//! pattern credential_exfil and the correlation engine both rest on.
//!
//! - Opening a secret to read, mapping it, or getting it open from another process is reading it. A
//!   program that reads what is its own ([`own`]) has read nothing, unless the descriptor outlives it, or
//!   it goes elsewhere than to its own service.
//! - Each reading is a source of [`crate::lineage`]; who carries its data and sends, is told with how
//!   much of it counts as data ([`departure`]).

pub mod departure;
pub mod own;
mod reported;
mod straying;
mod tale;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use departure::{Departure, Left, Use, Way, is_a_form_of};
use own::{Clients, KeysAtStart, OwnReadings};
use sentinel_ipc::{
    file_class::{SECRET, class},
    frame::KindSet,
    kernel_abi::{SECRET_WINDOW_NS, kind},
};

pub use reported::Reported;
pub use tale::Tale;

use crate::{
    alert::Severity,
    destinations::{Distance, Networks},
    escape::escape,
    event::{
        Action, Descriptor, DescriptorCall, Event, File, FileCall, Object, ObjectId, ProcessId,
        Traffic, TrafficReport,
    },
    keyed_hash::HashMap,
    lineage::{self, Carried, Lineage, SourceId, Through},
    process_table::{Process, ProcessTable},
    step::Deed,
};

/// What is looked at, beside fork, exec and exit.
pub const NEEDS: KindSet = lineage::NEEDS.with(KindSet::of(&[kind::CONNECT, kind::LISTEN]));

/// How long after it was read a secret is looked for in what leaves, ns.
pub const WINDOW_NS: u64 = SECRET_WINDOW_NS;
/// Connections of one process that are followed, once for each secret that may leave there; beyond it all of
/// its are begun anew.
const MAX_DEPARTURES: usize = 1024;
/// The same of all processes; beyond it those of who has most are forgotten.
const MAX_ALL_DEPARTURES: usize = 65_536;
/// Whoever opens a secret again so soon, ns, has what he had.
const AGAIN_NS: u64 = 1_000_000_000;
/// Secret files that are remembered by their inodes; the oldest is forgotten first.
const MAX_FILES: usize = 4096;
/// Secrets that are shorter are not told by what is sent to services of this host, which is often as short.
const PASSED_SIZE: u64 = 128;
/// State of a listening socket (`TCP_LISTEN`).
const LISTENS: u16 = 10;

/// A secret that was read.
#[derive(Debug, Clone)]
pub struct Secret {
    /// Who read it.
    pub reader: ProcessId,
    /// When; CLOCK_BOOTTIME, ns.
    pub at: u64,
    /// What.
    pub file: SecretFile,
}

/// A secret file.
#[derive(Debug, Clone)]
pub struct SecretFile {
    /// Escaped.
    pub path: String,
    /// Of [`sentinel_ipc::file_class::class`].
    pub class: u32,
    /// Bytes.
    pub size: u64,
    object: ObjectId,
}

/// What went to another host, seen from one secret that can have been among it.
#[derive(Debug, Clone)]
pub struct Outflow {
    /// The secret, and how it came to the sender.
    pub carried: Carried,
    /// Where to.
    pub remote: SocketAddr,
    /// How far away that is.
    pub distance: Distance,
    /// How the socket came by its peer.
    pub way: Way,
    /// Whether data has left, and how much; `None` while it may be a handshake, a question, a request.
    pub left: Option<Left>,
    /// Whether nothing more will go there: it is all that was sent.
    pub is_end: bool,
    class: u32,
}

impl Outflow {
    /// How bad it can be at the worst.
    pub fn worst(&self) -> Severity {
        // A service answers its clients, whoever else asks it for something.
        let is_service = matches!(self.way, Way::Accepted | Way::AcceptedLater);
        let is_exact = matches!(self.left, Some(Left::Exactly(_)));
        let is_weak = |through| match through {
            Through::Socket => is_service,
            // Amounts alone say that it has the secret, and which of its data that is.
            Through::Loopback => is_service || !is_exact,
            // Nothing says yet that it has read its command's output.
            Through::Output => !is_exact,
            _ => false,
        };
        let mut hops = self.carried.trail.hops().into_iter();
        let is_weak = hops.any(|(_, _, through, _)| is_weak(through));
        self.by_amount().min(if is_weak { Severity::High } else { Severity::Critical })
    }

    fn by_amount(&self) -> Severity {
        match (self.distance, self.left) {
            (Distance::Host, _) | (_, None) => Severity::Info,
            (Distance::Private, _) => Severity::Warning,
            (Distance::External, Some(Left::Exactly(_))) => Severity::Critical,
            (Distance::External, Some(Left::Perhaps(_))) => Severity::High,
            // Every service reads its environment and goes on to connect.
            (Distance::External, Some(Left::Enough(_)))
                if self.class == class::ENVIRONMENT_FILE =>
            {
                Severity::High
            }
            (Distance::External, Some(Left::Enough(_))) => Severity::Critical,
        }
    }
}

/// What an event came to.
#[derive(Debug, Default)]
pub struct Seen {
    /// Secrets that were read.
    pub readings: Vec<SourceId>,
    /// What went to other hosts.
    pub outflows: Vec<Outflow>,
}

/// The state: bounded by living processes, the sources of lineage and the constants above.
#[derive(Debug, Default)]
pub struct Secrets {
    read: BTreeMap<SourceId, Secret>,
    departures: HashMap<ProcessId, HashMap<(ObjectId, SourceId), Departure>>,
    clients: Clients,
    own: OwnReadings,
    keys_at_start: KeysAtStart,
    files: HashMap<ObjectId, SecretFile>,
    files_in_order: VecDeque<ObjectId>,
    networks: Networks,
}

impl Secrets {
    /// Takes `networks` for one's own from now on.
    pub fn know(&mut self, networks: Networks) {
        self.networks = networks;
    }

    /// Takes secrets of `clients` for their own from now on; whether these are others than before.
    pub fn know_clients(&mut self, clients: Clients) -> bool {
        let before = std::mem::replace(&mut self.clients, clients);
        before != self.clients
    }

    /// The same networks and clients, and nothing seen yet.
    pub fn begun_anew(&self) -> Self {
        let (networks, clients) = (self.networks.clone(), self.clients.clone());
        Self { networks, clients, ..Self::default() }
    }

    /// How far away `remote` is.
    pub fn distance(&self, remote: SocketAddr) -> Distance {
        self.networks.distance(remote.ip())
    }

    /// The secret that was read.
    pub fn get(&self, source: SourceId) -> Option<&Secret> {
        self.read.get(&source)
    }

    /// Looks at an event that `processes` and `lineage` have followed already.
    pub fn observe(
        &mut self,
        event: &Event,
        processes: &ProcessTable,
        lineage: &mut Lineage,
    ) -> Seen {
        let mut seen = Seen::default();
        let readings = &mut seen.readings;
        match &event.action {
            Action::File(file) => self.file(event, file, processes, lineage, readings),
            Action::Descriptor { call: DescriptorCall::Connect, descriptor: Some(to), .. } => {
                self.connect(event, to, processes, lineage, readings);
            }
            Action::Descriptor { descriptor: Some(descriptor), .. } => {
                // Whoever gets a secret open will read it.
                let known = self.files.get(&descriptor.object.id).cloned();
                if let Some(file) = known {
                    self.read(event, file, processes, lineage, readings);
                }
            }
            Action::Traffic(traffic) => {
                self.traffic(event, traffic, processes, lineage, &mut seen);
            }
            Action::Exit => {
                self.own.forget(event.process);
                self.keys_at_start.forget(event.process);
            }
            Action::Exec(_) => {
                self.own.forget(event.process);
                self.keys_at_start.forget(event.process);
                // Its own or not: to another program it was left.
                for file in self.open_to(event.process, processes) {
                    self.read(event, file, processes, lineage, readings);
                }
            }
            Action::Fork { child, .. } => {
                self.own.fork(event.process, *child);
                self.keys_at_start.fork(event.process, *child);
            }
            _ => {}
        }
        seen
    }

    /// Looks at what time alone decides; `now` is CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, processes: &ProcessTable) {
        self.read.retain(|_, secret| now.saturating_sub(secret.at) <= WINDOW_NS);
        let read = &self.read;
        self.departures.retain(|&process, its| {
            its.retain(|(_, source), _| read.contains_key(source));
            !its.is_empty() && processes.get(process).is_some()
        });
        // An exit may have been lost.
        self.own.keep(|id| processes.get(id).is_some());
        self.keys_at_start.keep(|id| processes.get(id).is_some());
    }

    /// Secrets that the process has open to read.
    fn open_to(&self, process: ProcessId, processes: &ProcessTable) -> Vec<SecretFile> {
        let Some(process) = processes.get(process).filter(|_| !self.files.is_empty()) else {
            return Vec::new();
        };
        let descriptors = process.descriptors.borrow();
        let files = descriptors.iter().filter(|(_, slot)| slot.object.is_file);
        let read = files.filter(|(_, slot)| slot.access.is_none_or(|access| access.reads));
        read.filter_map(|(_, slot)| self.files.get(&slot.object.id).cloned()).collect()
    }

    fn file(
        &mut self,
        event: &Event,
        file: &File,
        processes: &ProcessTable,
        lineage: &mut Lineage,
        readings: &mut Vec<SourceId>,
    ) {
        let is_begun = matches!(file.call, FileCall::Open | FileCall::Map { .. });
        let is_secret = file.class & SECRET != 0 && file.class != SECRET;
        let Some(object) = file.object.filter(|object| object.size > 0) else { return };
        if !(is_secret && file.reads() && is_begun) || event.errno().is_some() {
            return;
        }
        let path = file.path.as_ref().map(|path| escape(&path.bytes)).unwrap_or_default();
        let Object { size, id, .. } = object;
        let found = SecretFile { path, class: file.class, size, object: id };
        self.remember(&found);
        if !self.is_own(event, &found, processes) {
            self.read(event, found, processes, lineage, readings);
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
        readings: &mut Vec<SourceId>,
    ) {
        let in_its_beginning = |process| is_beginning(process, event.timestamp);
        if own::is_servers(file.class) && processes.get(event.process).is_some_and(in_its_beginning)
        {
            self.keys_at_start.note(event.process, &file.path);
        }
        let is_opened = matches!(event.action, Action::File(_));
        let is_known = |secret: &Secret| {
            let since = event.timestamp.saturating_sub(secret.at);
            !is_opened || secret.reader == event.process && since < AGAIN_NS
        };
        if processes.get(event.process).is_none()
            || self.is_own(event, &file, processes)
            || self.has(event, &file, lineage, is_known)
        {
            return;
        }
        readings.push(self.mark(event, event.timestamp, file, processes, lineage));
    }

    /// Whether the process that did `event` has data of `file`, by a reading that is `meant`.
    fn has(
        &self,
        event: &Event,
        file: &SecretFile,
        lineage: &Lineage,
        meant: impl Fn(&Secret) -> bool,
    ) -> bool {
        lineage.carried(event.process).iter().any(|carried| {
            let secret = self.read.get(&carried.source);
            secret.is_some_and(|secret| {
                let is_it = secret.file.object == file.object && meant(secret);
                is_it && is_current(secret, event.timestamp)
            })
        })
    }

    /// Has the data of `file` followed, which was read at `at`, from now on.
    fn mark(
        &mut self,
        event: &Event,
        at: u64,
        file: SecretFile,
        processes: &ProcessTable,
        lineage: &mut Lineage,
    ) -> SourceId {
        let (reader, until) = (event.process, at.saturating_add(WINDOW_NS));
        let source = lineage.mark(reader, event.timestamp, until, processes);
        if self.read.len() >= 2 * lineage::MAX_SOURCES {
            self.read.retain(|&source, _| lineage.has(source));
        }
        self.read.insert(source, Secret { reader, at, file });
        source
    }

    /// What has left by a connection of `process`, if it is followed or `is_begun` now.
    fn departure(
        &mut self,
        process: ProcessId,
        key: (ObjectId, SourceId),
        is_begun: bool,
        begin: impl FnOnce() -> Departure,
    ) -> Option<&mut Departure> {
        let is_known = self.departures.get(&process).is_some_and(|its| its.contains_key(&key));
        if !is_known && !is_begun {
            return None;
        }
        if !is_known
            && self.departures.values().map(HashMap::len).sum::<usize>() >= MAX_ALL_DEPARTURES
        {
            let most = self.departures.iter().max_by_key(|(_, its)| its.len());
            if let Some(crowd) = most.map(|(&process, _)| process) {
                self.departures.remove(&crowd);
            }
        }
        let its = self.departures.entry(process).or_default();
        if !is_known && its.len() >= MAX_DEPARTURES {
            its.clear();
        }
        Some(its.entry(key).or_insert_with(begin))
    }

    fn traffic(
        &mut self,
        event: &Event,
        traffic: &Traffic,
        processes: &ProcessTable,
        lineage: &mut Lineage,
        seen: &mut Seen,
    ) {
        let Some(descriptor) = traffic.descriptor else { return };
        let is_end = traffic.report == TrafficReport::Totals;
        let Some(ends) = descriptor.socket else {
            // Read, however it came by it.
            let known = self.files.get(&descriptor.object.id).cloned();
            if let Some(file) = known.filter(|_| is_end && traffic.received > 0) {
                self.read(event, file, processes, lineage, &mut seen.readings);
            }
            return;
        };
        if traffic.sent > 0 {
            self.stray(event, &descriptor, processes, lineage, &mut seen.readings);
        }
        let Some(process) = processes.get(event.process) else { return };
        let Some(remote) = ends.remote.filter(|_| ends.is_network()) else { return };
        let distance = self.networks.distance(remote.ip());
        if distance == Distance::Host && !departure::NAME_SERVERS.contains(&remote.port()) {
            for source in self.passed(event, process, traffic, lineage) {
                lineage.pass(event.process, source, &descriptor, event.timestamp, processes);
            }
        }
        for one in lineage.carried(event.process) {
            let Some(secret) = self.read.get(&one.source) else { continue };
            if !is_current(secret, event.timestamp) || self.is_servers_own_key(process, secret) {
                continue;
            }
            let key = (descriptor.object.id, one.source);
            let (size, class, at) = (secret.file.size, secret.file.class, secret.at);
            let is_renewed = self.keys_at_start.has(process.id, &secret.file.path);
            let way = way(process, traffic, one.trail.since().min(at), class);
            let begin = || Departure::new(way, ends.kind, remote.port());
            let goes_out = distance != Distance::Host;
            let Some(departure) = self.departure(event.process, key, goes_out, begin) else {
                continue;
            };
            departure.follow(traffic, goes_out);
            let way = departure.way();
            let use_of = match () {
                () if !own::is_servers(class) => Use::None,
                () if serves(process, &descriptor, way)
                    && (is_renewed || is_for_clients(process, way, at)) =>
                {
                    Use::Serves
                }
                () => Use::MayServe,
            };
            let left = departure.left(size, use_of, is_end);
            if is_end && let Some(its) = self.departures.get_mut(&event.process) {
                its.remove(&key);
            }
            if goes_out {
                let carried = one.clone();
                let outflow = Outflow { carried, remote, distance, way, left, is_end, class };
                seen.outflows.push(outflow);
            }
        }
    }
}

impl Secrets {
    /// Secrets of which one send has the very size, or all that was sent has: whoever gets that on this host has the
    /// secret. By less than that each service that others talk to would have theirs.
    fn passed(
        &self,
        event: &Event,
        process: &Process,
        traffic: &Traffic,
        lineage: &Lineage,
    ) -> Vec<SourceId> {
        let sent = match traffic.report {
            TrafficReport::Sent { bytes, calls: 1 } => [bytes, traffic.sent],
            _ => [traffic.sent; 2],
        };
        let carried = lineage.carried(event.process).iter().map(|carried| carried.source);
        let is_passed = |source: &SourceId| {
            let secret = self.read.get(source).filter(|secret| {
                let is_own = self.is_servers_own_key(process, secret);
                is_current(secret, event.timestamp) && !is_own && secret.file.size >= PASSED_SIZE
            });
            let size = secret.map(|secret| secret.file.size);
            size.is_some_and(|size| sent.iter().any(|&sent| is_a_form_of(size, sent)))
        };
        carried.filter(is_passed).collect()
    }
}

/// Whether what a server sends by a connection of this way has nothing to do with a key that it read at `at`:
/// it answers its clients, or has just started.
fn is_for_clients(process: &Process, way: Way, at: u64) -> bool {
    matches!(way, Way::Accepted | Way::AcceptedLater) || is_beginning(process, at)
}

/// Whether the process had not run its program for longer than the window by then.
fn is_beginning(process: &Process, at: u64) -> bool {
    let started = process.image.as_ref().map_or(0, |image| image.started);
    at.saturating_sub(started) <= WINDOW_NS
}

fn is_current(secret: &Secret, now: u64) -> bool {
    now.saturating_sub(secret.at) <= WINDOW_NS
}

/// How the socket of `traffic` came by its peer, seen from a reading of a secret of this class at `since`.
fn way(process: &Process, traffic: &Traffic, since: u64, class: u32) -> Way {
    let descriptors = process.descriptors.borrow();
    let slot = traffic.number.and_then(|number| descriptors.get(number));
    let is_it = |id| traffic.descriptor.is_some_and(|descriptor| descriptor.object.id == id);
    let Some(slot) = slot.filter(|slot| is_it(slot.object.id)) else { return Way::Unknown };
    let accepted = slot.object.history().find(|step| matches!(step.deed, Deed::Accept(_)));
    // Nobody accepts datagrams: who answers the first one that came, and has not connected, serves by them if he has
    // read what a server reads.
    let is_datagram = slot.object.socket().is_some_and(|ends| ends.is_datagram());
    let has_connected = slot.object.history().any(|step| matches!(step.deed, Deed::Connect(_)));
    let answers = traffic.received > 0 && traffic.writes <= 1;
    match accepted {
        Some(step) if step.timestamp > since => Way::AcceptedLater,
        Some(_) => Way::Accepted,
        None if own::is_servers(class) && is_datagram && !has_connected && answers => {
            Way::AcceptedLater
        }
        None => Way::Out,
    }
}

/// Whether the process has a listening socket, or answers by this one.
fn serves(process: &Process, descriptor: &Descriptor, way: Way) -> bool {
    let answers = matches!(way, Way::Accepted | Way::AcceptedLater);
    if answers && descriptor.socket.is_some_and(|ends| ends.is_datagram()) {
        return true;
    }
    let descriptors = process.descriptors.borrow();
    let mut sockets = descriptors.iter().filter_map(|(_, slot)| slot.object.socket());
    sockets.any(|ends| ends.state == LISTENS)
}
