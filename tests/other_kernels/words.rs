//! An event in words that say everything but what differs from run to run: ids, times, ports and
//! addresses in memory. Where it tells something which one it is, they are numbered as they appear.

use std::{collections::HashSet, net::SocketAddr};

use sentinel_analyzer::event::{
    Abi, Action, Addressee, Credentials, CredentialsChange, Descriptor, Event, Exec, File,
    FileCall, Ids, Object, ObjectId, Origin, Path, PathCall, Paths, ProcessId, SocketEnds, Target,
    Traffic,
};
use sentinel_ipc::frame::Limit;

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;

/// Things in the order in which they appeared.
struct Seen<T>(Vec<T>);

impl<T: PartialEq> Seen<T> {
    fn number(&mut self, thing: T) -> usize {
        let known = self.0.iter().position(|seen| *seen == thing);
        known.unwrap_or_else(|| {
            self.0.push(thing);
            self.0.len() - 1
        })
    }
}

/// Family, protocol and number of a port.
type Port = (u16, u16, u16);

/// What appeared so far.
pub struct Words<'a> {
    /// The directory in which the story plays.
    stage: Vec<u8>,
    /// What anybody may be able to do: a container has less than a machine.
    capabilities: u64,
    processes: Vec<ProcessId>,
    objects: Seen<ObjectId>,
    devices: Seen<u32>,
    ports: Seen<Port>,
    cgroups: Seen<u64>,
    limits: &'a HashSet<Limit>,
}

impl<'a> Words<'a> {
    /// For a story in the directory `stage`, with all these capabilities and processes.
    pub fn new(
        stage: Vec<u8>,
        capabilities: u64,
        processes: Vec<ProcessId>,
        limits: &'a HashSet<Limit>,
    ) -> Self {
        Self {
            stage,
            capabilities,
            processes,
            objects: Seen(Vec::new()),
            devices: Seen(Vec::new()),
            ports: Seen(Vec::new()),
            cgroups: Seen(Vec::new()),
            limits,
        }
    }

    /// One line.
    pub fn event(&mut self, event: &Event) -> String {
        let call = event.call.map_or_else(String::new, |call| {
            let abi = match call.abi {
                Abi::Native => "call",
                Abi::Compat => "32-bit call",
                Abi::X32 => "x32 call",
            };
            format!(" by {abi} {}", call.number)
        });
        // Whatever it returned is a number that `action` tells, or an id or address.
        let result = event.errno().map_or_else(String::new, |errno| self.failure(event, errno));
        let who = format!("{}/{}", event.uid, event.euid);
        let thread = if event.tid == event.process.tgid { "" } else { " in a thread" };
        let marks: String = [
            (event.io_uring, " io_uring"),
            (event.tainted, " tainted"),
            (event.racy, " racy"),
            (event.private_descriptors, " own table"),
        ]
        .iter()
        .filter_map(|(is, mark)| is.then_some(*mark))
        .collect();
        let cgroup = self.cgroups.number(event.cgroup_id);
        let action = self.action(event);
        format!("{action}{call}{result}; as {who}{thread} in cgroup {cgroup}{marks}")
    }

    /// Kernels that are made without modules, or want them signed, refuse them with other errors.
    fn failure(&self, event: &Event, errno: u32) -> String {
        match &event.action {
            Action::LoadModule { .. } => " fails".to_owned(),
            Action::File(file) if matches!(file.call, FileCall::LoadModule { .. }) => {
                " fails".to_owned()
            }
            _ => format!(" fails with {errno}"),
        }
    }

    fn action(&mut self, event: &Event) -> String {
        match &event.action {
            Action::Fork { child, child_cgroup_id, parent, shares_descriptors } => format!(
                "fork {}, parent {}, in cgroup {}, shares descriptors {shares_descriptors}",
                self.process(*child),
                self.process(*parent),
                self.cgroups.number(*child_cgroup_id),
            ),
            Action::Exec(exec) => self.exec(exec),
            Action::TcpConnecting { ends, old_state, new_state } => {
                format!("connecting {old_state} to {new_state}, {}", self.ends(ends))
            }
            Action::Descriptor { call, number, from, descriptor, close_on_exec } => format!(
                "{call:?} {number:?} from {from:?}, close on exec {close_on_exec}, {}",
                self.descriptor(descriptor.as_ref()),
            ),
            Action::Setns { number, descriptor, namespaces } => format!(
                "setns {number:?} {namespaces:#x}, {}",
                self.descriptor(descriptor.as_ref()),
            ),
            Action::File(file) => self.file(file),
            Action::Traffic(traffic) => self.traffic(traffic),
            Action::Paths(paths) => self.paths(paths),
            Action::Credentials(change) => {
                format!("rights {}, {}", arguments(event, change.argument), self.rights(change))
            }
            Action::Ptrace { request, target, address } => {
                format!("ptrace {request}, {}, at {address}", self.target(target))
            }
            Action::ProcessMemory { write, target } => {
                format!("process memory, write {write}, {}", self.target(target))
            }
            Action::Kill { signal, target } => format!("kill {signal}, {}", self.target(target)),
            // Nothing in them differs.
            Action::Exit
            | Action::SetCloseOnExec { .. }
            | Action::Close { .. }
            | Action::CloseUnknown
            | Action::MarkCloseOnExec { .. }
            | Action::Unshare { .. }
            | Action::SetName(_)
            | Action::Bpf { .. }
            | Action::LoadModule { .. }
            | Action::Userfaultfd { .. } => format!("{:?}", event.action),
            Action::CgroupMade { .. }
            | Action::CgroupRemoved { .. }
            | Action::CgroupMoved { .. }
            | Action::Running(_)
            | Action::Held { .. }
            | Action::CgroupFound { .. }
            | Action::Canary => panic!("no part of the story: {event:?}"),
        }
    }

    fn exec(&mut self, exec: &Exec) -> String {
        let stdio: Vec<String> =
            exec.stdio.iter().map(|found| self.descriptor(found.as_ref())).collect();
        let text = |bytes: &[u8]| self.text(bytes);
        let arguments: Vec<String> = exec.arguments.iter().map(text).collect();
        let environment: Vec<String> = exec
            .environment
            .iter()
            .map(|(name, value)| format!("{}={}", text(name), text(value)))
            .collect();
        let mut line = format!(
            "exec {} given {}, script {}, {} arguments {arguments:?}, {} variables {environment:?}",
            self.path(exec.path.as_ref()),
            self.path(exec.given.as_ref()),
            exec.script,
            exec.argument_count,
            exec.variable_count,
        );
        line += &format!(
            ", truncated {} {}, trust {:?}, comm {:?}, stdio {stdio:?}, {}, was {}, is {}",
            exec.truncated,
            exec.environment_truncated,
            exec.trust,
            exec.comm,
            self.sized(exec.object.as_ref(), exec.path.as_ref()),
            self.credentials(exec.before.as_ref()),
            self.credentials(exec.after.as_ref()),
        );
        line
    }

    fn file(&mut self, file: &File) -> String {
        format!(
            "{:?} {:?} {}, class {:#x}, flags {:#o}, close on exec {}, {}",
            file.call,
            file.number,
            self.path(file.path.as_ref()),
            file.class,
            file.open_flags,
            file.close_on_exec,
            self.sized(file.object.as_ref(), file.path.as_ref()),
        )
    }

    fn traffic(&mut self, traffic: &Traffic) -> String {
        format!(
            "{:?} {:?}: received {} in {}, sent {} in {}, class {:#x}, skipped {}, closes {}, {}",
            traffic.report,
            traffic.number,
            traffic.received,
            traffic.reads,
            traffic.sent,
            traffic.writes,
            traffic.class,
            traffic.skipped,
            traffic.closes,
            self.descriptor(traffic.descriptor.as_ref()),
        )
    }

    fn paths(&mut self, paths: &Paths) -> String {
        let Paths { call, object, paths: [one, other], class, source_class, label } = paths;
        let label = label.as_ref().map(|label| self.text(label));
        let (one, other) = (self.name(*call, one.as_ref()), self.name(*call, other.as_ref()));
        let object = if self.knows_object(*call) {
            format!(
                "class {class:#x}, of the old name {source_class:#x}, {}",
                self.object(object.as_ref())
            )
        } else {
            "object not told".to_owned()
        };
        format!("{call:?} {one} {other}, label {label:?}, {object}")
    }

    /// Before 6.13 no tracepoint shows which inode a call about a name changed
    /// (docs/architecture.md, "Names and what they mean"): the object is unknown then, and
    /// with it its class. Mounts and roots never were told that way.
    fn knows_object(&self, call: PathCall) -> bool {
        let is_other = matches!(
            call,
            PathCall::Mount { .. }
                | PathCall::MoveMount { .. }
                | PathCall::Unmount { .. }
                | PathCall::Chroot
        );
        is_other || !self.limits.contains(&Limit::FilesOfPathCalls)
    }

    /// For the same reason paths are then the caller's word, behind the kernel's path of the
    /// directory. The story gives none that read differently, so the paths themselves are compared.
    fn name(&self, call: PathCall, path: Option<&Path>) -> String {
        let mut path = path.cloned();
        if let Some(path) = &mut path
            && !self.knows_object(call)
        {
            path.origin = Origin::Given;
        }
        self.path(path.as_ref())
    }

    fn target(&self, target: &Target) -> String {
        let addressee = match target.addressee {
            Addressee::Pid(pid) => match u32::try_from(pid) {
                Ok(1..) => {
                    let same = |process: &&ProcessId| process.tgid == pid.unsigned_abs();
                    let known = self.processes.iter().find(same);
                    known.map_or("an unknown pid".to_owned(), |known| self.process(*known))
                }
                _ => pid.to_string(),
            },
            Addressee::Pidfd(number) => format!("pidfd {number:?}"),
        };
        let process = target.process.map(|process| self.process(process));
        format!("{addressee}: {process:?}, foreign pids {}", target.foreign_pids)
    }

    fn process(&self, process: ProcessId) -> String {
        let number = self.processes.iter().position(|known| *known == process);
        number.map_or("a stranger".to_owned(), |number| format!("process {number}"))
    }

    fn descriptor(&mut self, descriptor: Option<&Descriptor>) -> String {
        let Some(Descriptor { object, socket }) = descriptor else { return "unknown".to_owned() };
        let object = self.object(Some(object));
        let ends = socket.as_ref().map_or_else(String::new, |ends| self.ends(ends));
        format!("{object} {ends}")
    }

    fn ends(&mut self, ends: &SocketEnds) -> String {
        let SocketEnds { family, kind, protocol, state, .. } = *ends;
        let mut address = |address: Option<SocketAddr>| {
            let Some(address) = address else { return "none".to_owned() };
            let port = (address.port() != 0)
                .then(|| self.ports.number((family, protocol, address.port())));
            format!("{} port {port:?}", address.ip())
        };
        let (local, remote) = (address(ends.local), address(ends.remote));
        format!(
            "family {family} type {kind} protocol {protocol} state {state} local {local} remote \
             {remote} as given {} peer {}",
            ends.remote_as_given, ends.has_peer,
        )
    }

    fn object(&mut self, object: Option<&Object>) -> String {
        let Some(object) = object else { return "no object".to_owned() };
        let Object { id, mode, links, owner, rdev, .. } = *object;
        let (number, device) = (self.objects.number(id), self.devices.number(id.device));
        format!(
            "object {number} on {device} mode {mode:o} links {links} owner {owner} rdev {rdev:#x}"
        )
    }

    /// An object and its size, if that is not a matter of the system around.
    fn sized(&mut self, object: Option<&Object>, path: Option<&Path>) -> String {
        let is_ours = path.is_some_and(|path| path.bytes.starts_with(&self.stage));
        let size = object.filter(|object| is_ours && object.mode & S_IFMT == S_IFREG);
        let size = size.map_or_else(String::new, |object| format!(" {} bytes", object.size));
        format!("{}{size}", self.object(object))
    }

    fn path(&self, path: Option<&Path>) -> String {
        let Some(Path { bytes, origin, truncated }) = path else { return "-".to_owned() };
        let cut = if *truncated { " cut" } else { "" };
        format!("{:?} ({origin:?}{cut})", self.text(bytes))
    }

    fn text(&self, bytes: &[u8]) -> String {
        let stage = String::from_utf8_lossy(&self.stage);
        String::from_utf8_lossy(bytes).replace(&*stage, "STAGE")
    }

    fn rights(&self, change: &CredentialsChange) -> String {
        format!(
            "was {}, is {}",
            self.credentials(change.before.as_ref()),
            self.credentials(change.after.as_ref()),
        )
    }

    fn credentials(&self, credentials: Option<&Credentials>) -> String {
        let Some(all) = credentials else { return "unknown".to_owned() };
        let sets = [all.inheritable, all.permitted, all.effective, all.bounding, all.ambient];
        format!(
            "{} {} capabilities {} level {} securebits {:x}",
            ids(&all.user),
            ids(&all.group),
            sets.map(|set| self.capabilities(set)).join(" "),
            all.user_namespace_level,
            all.securebits,
        )
    }

    fn capabilities(&self, set: u64) -> String {
        let missing = self.capabilities & !set;
        match missing.count_ones() {
            0 => "all".to_owned(),
            1..8 => format!("all-but-{missing:x}"),
            _ => format!("{set:x}"),
        }
    }
}

/// As many of a call's arguments as it has, if they are no addresses.
fn arguments(event: &Event, arguments: [u64; 3]) -> String {
    let count = match event.call.map(|call| i64::from(call.number)) {
        Some(libc::SYS_setresuid | libc::SYS_setresgid | libc::SYS_prctl) => 3,
        Some(libc::SYS_setuid | libc::SYS_setfsuid) => 1,
        Some(libc::SYS_capset) => 0,
        other => panic!("no part of the story: {other:?}"),
    };
    format!("{:x?}", &arguments[..count])
}

fn ids(ids: &Ids) -> String {
    format!("{}/{}/{}/{}", ids.real, ids.effective, ids.saved, ids.file_system)
}
