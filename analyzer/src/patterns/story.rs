//! What processes do, told briefly, and what the analysis says to it: for tests.

use std::{net::SocketAddr, sync::LazyLock};

use crate::{
    alert::{Alert, Severity},
    analysis::Analysis,
    event::{
        Abi, Access, Action, Credentials, CredentialsChange, Descriptor, DescriptorCall, Event,
        Exec, File, FileCall, Ids, Object, ObjectId, Origin, Path, ProcessId, SocketEnds,
        SystemCall, Traffic, TrafficReport, Trust,
    },
    rules::{Active, RuleSet},
    secrets::own::{Client, Clients},
};

pub(crate) const MS: u64 = 1_000_000;
const PIPE: u32 = 0o010_600;
const SOCKET: u32 = 0o140_777;

/// Those of the binary.
static CLIENTS: LazyLock<Vec<Client>> = LazyLock::new(|| {
    let set = RuleSet::embedded().unwrap();
    set.clients.into_iter().map(|written| written.client).collect()
});

/// Feeds events, 1 ms apart, to an analysis without rules of files.
pub(crate) struct Story {
    pub(crate) analysis: Analysis,
    pub(crate) now: u64,
    pub(crate) alerts: Vec<Alert>,
    /// Real and effective user of the events that follow.
    pub(crate) user: (u32, u32),
}

impl Default for Story {
    fn default() -> Self {
        let clients = Clients::new(CLIENTS.clone());
        let analysis = Analysis::with_rules(Active { clients, ..Active::default() }, false);
        Self { analysis, now: 0, alerts: Vec::new(), user: (0, 0) }
    }
}

/// A program that is started.
pub(crate) struct Started {
    pub(crate) path: &'static str,
    pub(crate) inode: u64,
    pub(crate) line: &'static str,
    pub(crate) stdio: [Descriptor; 3],
    pub(crate) trust: u16,
    pub(crate) rights: Option<(Credentials, Credentials)>,
    pub(crate) environment: &'static str,
    pub(crate) script: Option<&'static str>,
}

impl Started {
    /// A program that root installed.
    pub(crate) fn at(path: &'static str) -> Self {
        let trust = u16::MAX;
        let (stdio, rights, environment, script) = ([file(10), file(11), file(11)], None, "", None);
        // Another one for each path.
        let inode = path.bytes().fold(1, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte));
        Self { path, inode, line: path, stdio, trust, rights, environment, script }
    }

    pub(crate) fn with(self, stdio: [Descriptor; 3]) -> Self {
        Self { stdio, ..self }
    }
}

pub(crate) fn id(pid: u32) -> ProcessId {
    ProcessId { tgid: pid, start_time: u64::from(pid) * MS }
}

fn object(inode: u64, mode: u32) -> Object {
    let id = ObjectId { device: 8, inode, generation: 0 };
    Object { id, mode, links: 1, ..Object::default() }
}

pub(crate) fn file(inode: u64) -> Descriptor {
    Descriptor { object: object(inode, 0o100_644), socket: None }
}

pub(crate) fn pipe(inode: u64) -> Descriptor {
    Descriptor { object: object(inode, PIPE), socket: None }
}

pub(crate) fn unix_socket(inode: u64) -> Descriptor {
    let ends = SocketEnds { family: 1, has_peer: true, ..SocketEnds::default() };
    Descriptor { object: object(inode, SOCKET), socket: Some(ends) }
}

/// A TCP socket with this peer.
pub(crate) fn connection(inode: u64, remote: &str) -> Descriptor {
    let remote: SocketAddr = remote.parse().unwrap();
    let family = if remote.is_ipv4() { 2 } else { 10 };
    let (has_peer, kind, state) = (true, 1, 1);
    let remote = Some(remote);
    let ends = SocketEnds { family, kind, state, remote, has_peer, ..SocketEnds::default() };
    Descriptor { object: object(inode, SOCKET), socket: Some(ends) }
}

pub(crate) fn listener(inode: u64) -> Descriptor {
    let ends = SocketEnds { family: 2, kind: 1, state: 10, ..SocketEnds::default() };
    Descriptor { object: object(inode, SOCKET), socket: Some(ends) }
}

/// Credentials of a user in the initial user namespace.
pub(crate) fn user(real: u32, effective: u32, saved: u32, capabilities: u64) -> Credentials {
    let ids = Ids { real, effective, saved, file_system: effective };
    Credentials {
        user: ids,
        group: ids,
        inheritable: 0,
        permitted: capabilities,
        effective: capabilities,
        bounding: u64::MAX,
        ambient: 0,
        user_namespace: 1,
        user_namespace_level: 0,
        securebits: 0,
    }
}

impl Story {
    pub(crate) fn happens(&mut self, pid: u32, action: Action) -> &mut Self {
        self.now += MS;
        let (uid, euid) = self.user;
        let event = Event { uid, euid, ..Event::of(self.now, id(pid), action) };
        self.analysis.event(&event, &mut self.alerts);
        self
    }

    pub(crate) fn passes(&mut self, ms: u64) -> &mut Self {
        self.now += ms * MS;
        self.analysis.time(self.now, &mut self.alerts);
        self
    }

    pub(crate) fn fork(&mut self, parent: u32, child: u32) -> &mut Self {
        let (child, by) = (id(child), parent);
        let (child_cgroup_id, shares_descriptors, parent) = (1, false, id(parent));
        self.happens(by, Action::Fork { child, child_cgroup_id, parent, shares_descriptors })
    }

    pub(crate) fn exec(&mut self, pid: u32, started: Started) -> &mut Self {
        let origin = Origin::Kernel;
        let path = Path { bytes: started.path.as_bytes().to_vec(), origin, truncated: false };
        let variable = started.environment.split_once('=');
        let variable = variable.map(|(name, value)| (name.into(), value.into()));
        let bytes = started.script.unwrap_or(started.path).as_bytes().to_vec();
        let given = Some(Path { bytes, origin: Origin::Given, truncated: false });
        let exec = Exec {
            object: Some(Object { links: 1, ..object(started.inode, 0o100_755) }),
            path: Some(path),
            given,
            script: started.script.is_some(),
            arguments: started.line.split(' ').collect(),
            environment: variable.into_iter().collect(),
            stdio: started.stdio.map(Some),
            trust: Trust::of(started.trust),
            before: started.rights.map(|(before, _)| before),
            after: started.rights.map(|(_, after)| after),
            ..Exec::default()
        };
        self.happens(pid, Action::Exec(Box::new(exec)))
    }

    pub(crate) fn exit(&mut self, pid: u32) -> &mut Self {
        self.happens(pid, Action::Exit)
    }

    pub(crate) fn call(
        &mut self,
        pid: u32,
        call: DescriptorCall,
        number: u32,
        descriptor: Descriptor,
    ) -> &mut Self {
        let (number, from, descriptor) = (Some(number), None, Some(descriptor));
        let close_on_exec = false;
        self.happens(pid, Action::Descriptor { call, number, from, descriptor, close_on_exec })
    }

    /// Makes a pipe, with 3 to read from and 4 to write to.
    pub(crate) fn pipe(&mut self, pid: u32, inode: u64) -> &mut Self {
        for (number, reads) in [(3, true), (4, false)] {
            self.now += MS;
            let (call, close_on_exec) = (DescriptorCall::Pipe, false);
            let (number, from, descriptor) = (Some(number), None, Some(pipe(inode)));
            let action = Action::Descriptor { call, number, from, descriptor, close_on_exec };
            let access = Some(Access { reads, writes: !reads });
            let event = Event { access, ..Event::of(self.now, id(pid), action) };
            self.analysis.event(&event, &mut self.alerts);
        }
        self
    }

    pub(crate) fn close(&mut self, pid: u32, number: u32) -> &mut Self {
        self.happens(pid, Action::Close { first: number, last: number, unshare: false })
    }

    /// Opens a file of `class` with `size` bytes; its inode is its size.
    pub(crate) fn opens(&mut self, pid: u32, path: &str, class: u32, size: u64) -> &mut Self {
        let number = Some(9);
        let object = Object { size, ..object(1_000_000 + size, 0o100_600) };
        let bytes = path.as_bytes().to_vec();
        let path = Some(Path { bytes, origin: Origin::Kernel, truncated: false });
        let (call, open_flags, close_on_exec) = (FileCall::Open, 0, false);
        let object = Some(object);
        let file = File { call, number, object, path, class, open_flags, close_on_exec };
        self.happens(pid, Action::File(Box::new(file)))
    }

    /// The interpreter opens its script, which nobody but root can have put there if it is in /usr.
    pub(crate) fn opens_script(&mut self, pid: u32, path: &str) -> &mut Self {
        let trust = Trust::of(if path.starts_with("/usr/") { u16::MAX } else { 0 });
        let bytes = path.as_bytes().to_vec();
        let file = File {
            call: FileCall::Script { trust },
            number: Some(3),
            object: Some(Object { links: 1, ..object(77, 0o100_755) }),
            path: Some(Path { bytes, origin: Origin::Kernel, truncated: false }),
            class: 0,
            open_flags: 0,
            close_on_exec: true,
        };
        self.file(pid, file)
    }

    pub(crate) fn file(&mut self, pid: u32, file: File) -> &mut Self {
        self.happens(pid, Action::File(Box::new(file)))
    }

    /// A record of traffic; `total` and `received` so far, `report` since the last one.
    pub(crate) fn traffic(
        &mut self,
        pid: u32,
        (number, descriptor): (u32, Descriptor),
        report: TrafficReport,
        (total, received): (u64, u64),
    ) -> &mut Self {
        let traffic = Traffic {
            number: Some(number),
            descriptor: Some(descriptor),
            received,
            sent: total,
            reads: u32::from(received > 0),
            writes: u32::from(total > 0),
            ..Traffic::of(report)
        };
        self.happens(pid, Action::Traffic(Box::new(traffic)))
    }

    pub(crate) fn credentials(
        &mut self,
        pid: u32,
        number: u16,
        (before, after): (Credentials, Credentials),
    ) -> &mut Self {
        self.now += MS;
        let (before, after) = (Some(before), Some(after));
        let change = CredentialsChange { argument: [0; 3], before, after };
        let action = Action::Credentials(Box::new(change));
        let call = Some(SystemCall { abi: Abi::Native, number });
        let euid = after.map_or(0, |after| after.user.effective);
        let event = Event { call, euid, ..Event::of(self.now, id(pid), action) };
        self.analysis.event(&event, &mut self.alerts);
        self
    }

    /// Alerts of one rule: pid and severity.
    pub(crate) fn found(&self, rule: &str) -> Vec<(u32, Severity)> {
        let its = self.alerts.iter().filter(|alert| alert.pattern_name == rule && !alert.repeat);
        its.map(|alert| (alert.pid, alert.severity)).collect()
    }
}
