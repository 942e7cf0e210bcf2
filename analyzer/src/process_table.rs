//! The living processes that events told of: program, parents, user, descriptors.
//!
//! An entry lives from a process's first event to its exit, or until its pid comes back as another
//! process; so the kernel's own limit on processes bounds the table.

mod command_line;
mod living;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use sentinel_ipc::{frame::KindSet, kernel_abi::kind};

pub use command_line::CommandLine;
use living::Living;

use crate::{
    descriptor_table::{DescriptorTable, Objects},
    escape::escape,
    event::{Action, Event, Exec, FileCall, ObjectId, ProcessId, Running, Trust},
    program::{KnownPrograms, Program},
    rules::identity::Identity,
};

/// What the table and its descriptors follow, beside fork, exec and exit.
pub const NEEDS: KindSet = KindSet::of(&[
    kind::SOCKET,
    kind::CONNECT,
    kind::ACCEPT,
    kind::BIND,
    kind::LISTEN,
    kind::DUP,
    kind::SET_DESCRIPTOR_FLAGS,
    kind::CLOSE,
    kind::CLOSE_RANGE,
    kind::PIPE,
    kind::SOCKETPAIR,
    kind::RECEIVED,
    kind::UNSHARE,
    kind::CGROUP_MOVED,
    kind::PTRACE,
    kind::PROCESS_MEMORY,
    kind::SCRIPT,
    kind::OPEN,
    kind::MEMFD,
]);

/// Generations of ancestors that are kept.
const MAX_ANCESTORS: usize = 16;
/// unshare(2): the process gets a descriptor table of its own.
const CLONE_FILES: u64 = 0x400;
/// ptrace(2): the caller is to be traced by its parent.
const PTRACE_TRACEME: u64 = 0;
/// ptrace(2): the target is let go.
const PTRACE_DETACH: u64 = 17;

/// The program that a process runs; its strings are escaped.
#[derive(Debug, PartialEq, Eq)]
pub struct Image {
    /// Kernel-resolved path of the executable.
    pub path: String,
    /// Its arguments on one line.
    pub command_line: CommandLine,
    /// The name that the kernel shows; anyone can set it.
    pub comm: Arc<str>,
    /// What kind of program it is.
    pub program: Program,
    /// The file of the executable; `None` if it is not known.
    pub object: Option<ObjectId>,
    /// By which allow-lists may know it. What becomes of the file later does not change what runs already.
    pub identity: Identity,
    /// What speaks for that path.
    pub trust: Trust,
    /// When it was started, or found running; CLOCK_BOOTTIME, ns.
    pub started: u64,
    /// What its descriptor 0 referred to then.
    pub input: Option<ObjectId>,
}

impl Image {
    fn of(exec: &Exec, program: Program, started: u64) -> Rc<Self> {
        let mut path = escape(exec.path_bytes());
        if exec.is_unlinked() {
            path.push_str(" (deleted)");
        }
        Rc::new(Self {
            path,
            command_line: CommandLine::new(exec.arguments.clone()),
            comm: Arc::clone(&exec.comm),
            program,
            object: exec.object.map(|object| object.id),
            identity: Identity::of(exec, program != Program::Other),
            trust: exec.trust,
            started,
            input: exec.stdio.first().and_then(Option::as_ref).map(|input| input.object.id),
        })
    }

    /// Whether both are one program: the same file, or another one in its place.
    pub fn is_same_program(&self, other: &Self) -> bool {
        let is_same_file = self.object.is_some() && self.object == other.object;
        is_same_file || !self.path.is_empty() && self.path == other.path
    }
}

/// A process further up, as it was when its descendant was forked.
#[derive(Debug, Clone)]
pub struct Ancestor {
    /// Who.
    pub id: ProcessId,
    /// What it ran, if that was seen.
    pub image: Option<Rc<Image>>,
}

/// A living process.
#[derive(Debug)]
pub struct Process {
    /// Who.
    pub id: ProcessId,
    /// Nearest first; empty when its fork was not seen.
    pub ancestors: Rc<[Ancestor]>,
    /// The ancestors of whom it forks now; made with the first of them, and all share it.
    of_children: Option<Rc<[Ancestor]>>,
    /// What it runs; `None` until an exec is seen or inherited.
    pub image: Option<Rc<Image>>,
    /// Real user id at its last event.
    pub uid: u32,
    /// Cgroup v2 id at its last event.
    pub cgroup_id: u64,
    /// Whether another process traced it or wrote to its memory since it started its program.
    pub was_traced: bool,
    /// Whether it is still traced: then the next program is as well.
    is_traced: bool,
    /// Its events so far, of whatever kind.
    pub events: u64,
    /// Shared with others after CLONE_FILES.
    pub descriptors: Rc<RefCell<DescriptorTable>>,
    /// When it was last heard of; CLOCK_BOOTTIME, ns.
    heard_of: u64,
    /// Whether its first event was something else than its fork or a snapshot.
    is_stranger: bool,
}

impl Process {
    fn new(id: ProcessId, descriptors: DescriptorTable) -> Self {
        let descriptors = Rc::new(RefCell::new(descriptors));
        Self {
            id,
            ancestors: Rc::new([]),
            of_children: None,
            image: None,
            uid: 0,
            cgroup_id: 0,
            was_traced: false,
            is_traced: false,
            events: 0,
            descriptors,
            heard_of: 0,
            is_stranger: true,
        }
    }

    fn unshare_descriptors(&mut self) {
        if Rc::strong_count(&self.descriptors) > 1 {
            let own = self.descriptors.borrow().clone();
            self.descriptors = Rc::new(RefCell::new(own));
        }
    }

    /// What kind of program it runs; `Other` while that is not known.
    pub fn program(&self) -> Program {
        self.image.as_ref().map_or(Program::Other, |image| image.program)
    }

    /// Its parent at the time of its fork.
    pub fn parent(&self) -> Option<ProcessId> {
        self.ancestors.first().map(|ancestor| ancestor.id)
    }
}

/// All processes known to live.
#[derive(Debug, Default)]
pub struct ProcessTable {
    living: Living,
    /// Processes met through an event without their fork, since this was asked last.
    strangers: usize,
    /// What all descriptor tables share.
    objects: Rc<Objects>,
    programs: KnownPrograms,
}

impl ProcessTable {
    /// Learns which shells and interpreters this host has.
    pub fn know(&mut self, programs: KnownPrograms) {
        self.programs = programs;
    }

    /// The process, if it lives.
    pub fn get(&self, id: ProcessId) -> Option<&Process> {
        self.of_tgid(id.tgid).filter(|process| process.id == id)
    }

    /// The process that has this number now.
    pub fn of_tgid(&self, tgid: u32) -> Option<&Process> {
        self.living.get(tgid)
    }

    /// All processes, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.living.iter()
    }

    /// How many processes are known.
    pub fn len(&self) -> usize {
        self.living.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Follows an event. A process that exits stays until [`Self::forget`], so that engines can
    /// look at it.
    pub fn apply(&mut self, event: &Event) {
        if self.follow_cgroups(event) {
            return;
        }
        let Some(process) = Self::entry(&mut self.living, &self.objects, event.process) else {
            return;
        };
        // Met for the first time. Who only forks or ends need not be known for that: a thread of the
        // kernel, or one outside.
        let is_asked_for = process.heard_of == 0
            && !event.is_of_snapshot()
            && !matches!(event.action, Action::Fork { .. } | Action::Exit);
        self.strangers += usize::from(is_asked_for);
        (process.uid, process.cgroup_id) = (event.uid, event.cgroup_id);
        process.heard_of = process.heard_of.max(event.timestamp);
        process.events = process.events.saturating_add(1);
        match &event.action {
            Action::Running(running) => self.running(event, running),
            Action::Held { descriptor: None, .. } => {}
            Action::Held { number, descriptor: Some(descriptor), peer, close_on_exec } => {
                let mut descriptors = process.descriptors.borrow_mut();
                descriptors.hold(event, *number, descriptor, *peer, *close_on_exec);
            }
            Action::Fork { child, child_cgroup_id, parent, shares_descriptors } => {
                self.fork(event, (*child, *child_cgroup_id), *parent, *shares_descriptors);
            }
            Action::Exec(exec) => {
                self.programs.learn(exec);
                let program = self.programs.judge(exec);
                process.image = Some(Image::of(exec, program, event.timestamp));
                process.of_children = None;
                process.was_traced = process.is_traced;
                process.unshare_descriptors();
                process.descriptors.borrow_mut().apply_exec(event.timestamp, event.process, exec);
            }
            Action::Ptrace { request, target, .. } if event.errno().is_none() => {
                self.traced(event.process, *request, target.process);
            }
            Action::ProcessMemory { write: true, target } if event.errno().is_none() => {
                if let Some(target) = target.process.filter(|target| *target != event.process) {
                    self.written(target);
                }
            }
            Action::File(file) if matches!(file.call, FileCall::Script { .. }) => {
                if let Some(image) = &process.image {
                    image.identity.opened(file);
                }
            }
            _ if event.private_descriptors => {}
            Action::Unshare { flags } => {
                if flags & CLONE_FILES != 0 && event.errno().is_none() {
                    process.unshare_descriptors();
                }
            }
            Action::Close { unshare: true, .. } | Action::MarkCloseOnExec { unshare: true, .. } => {
                process.unshare_descriptors();
                process.descriptors.borrow_mut().apply(event);
            }
            Action::Descriptor { .. }
            | Action::File(_)
            | Action::SetCloseOnExec { .. }
            | Action::Close { .. }
            | Action::MarkCloseOnExec { .. } => process.descriptors.borrow_mut().apply(event),
            Action::Exit
            | Action::Canary
            | Action::CgroupFound { .. }
            | Action::CgroupMade { .. }
            | Action::CgroupRemoved { .. }
            | Action::CgroupMoved { .. }
            | Action::TcpConnecting { .. }
            | Action::CloseUnknown
            | Action::Setns { .. }
            | Action::Traffic(_)
            | Action::Paths(_)
            | Action::Credentials(_)
            | Action::Ptrace { .. }
            | Action::ProcessMemory { .. }
            | Action::Kill { .. }
            | Action::SetName(_)
            | Action::Bpf { .. }
            | Action::LoadModule { .. }
            | Action::Userfaultfd { .. } => {}
        }
    }

    /// Follows an event about cgroups; false if it is none. Such an event makes nobody known: who
    /// did it may be out of scope, and then nothing will tell its end.
    fn follow_cgroups(&mut self, event: &Event) -> bool {
        match &event.action {
            Action::CgroupMoved { process, cgroup_id } => {
                if let Some(moved) = process.and_then(|moved| self.get_mut(moved)) {
                    moved.cgroup_id = *cgroup_id;
                }
                true
            }
            Action::CgroupMade { .. }
            | Action::CgroupRemoved { .. }
            | Action::CgroupFound { .. } => true,
            _ => false,
        }
    }

    /// `caller` made a request about `target`, which took effect.
    fn traced(&mut self, caller: ProcessId, request: u64, target: Option<ProcessId>) {
        let tracee = if request == PTRACE_TRACEME { Some(caller) } else { target };
        let Some(tracee) = tracee.and_then(|id| self.get_mut(id)) else { return };
        tracee.was_traced = true;
        tracee.is_traced = request != PTRACE_DETACH;
    }

    fn written(&mut self, target: ProcessId) {
        if let Some(process) = self.get_mut(target) {
            process.was_traced = true;
        }
    }

    fn get_mut(&mut self, id: ProcessId) -> Option<&mut Process> {
        self.living.get_mut(id.tgid).filter(|process| process.id == id)
    }

    /// Removes a process that exited.
    pub fn forget(&mut self, id: ProcessId) {
        if self.get(id).is_some() {
            self.living.remove(id.tgid);
        }
    }

    /// The process, which is made known if it is not.
    fn entry<'a>(
        living: &'a mut Living,
        objects: &Rc<Objects>,
        id: ProcessId,
    ) -> Option<&'a mut Process> {
        if living.get(id.tgid).is_none_or(|known| known.id != id) {
            let new = Process::new(id, DescriptorTable::new(Rc::clone(objects)));
            living.insert(Box::new(new));
        }
        living.get_mut(id.tgid)
    }

    /// Fills in what is not known of a process that was found running.
    fn running(&mut self, event: &Event, running: &Running) {
        let ancestors = running.parent.map(|parent| self.ancestors_below(parent));
        let Some(process) = Self::entry(&mut self.living, &self.objects, event.process) else {
            return;
        };
        process.is_stranger = false;
        if process.image.is_none() {
            let program = self.programs.judge(&running.program).with_unknown_arguments();
            process.image = Some(Image::of(&running.program, program, event.timestamp));
        }
        if process.ancestors.is_empty() {
            process.ancestors = ancestors.unwrap_or_default();
        }
        process.of_children = None;
        process.descriptors.borrow_mut().found_running(event, &running.program.stdio);
    }

    /// `parent`, and what is known above it.
    fn ancestors_below(&mut self, parent: ProcessId) -> Rc<[Ancestor]> {
        let Some(known) = self.get_mut(parent) else {
            return Rc::new([Ancestor { id: parent, image: None }]);
        };
        let nearest = Ancestor { id: parent, image: known.image.clone() };
        let above = known.ancestors.iter().take(MAX_ANCESTORS - 1).cloned();
        let all = || std::iter::once(nearest).chain(above).collect();
        Rc::clone(known.of_children.get_or_insert_with(all))
    }

    /// A whole snapshot has been followed that was begun at `begun` (CLOCK_BOOTTIME, ns): who was not
    /// heard of since then has ended unseen, and what was not found any more was closed unseen.
    pub fn settle(&mut self, begun: u64) {
        let ended = self.iter().filter(|process| process.heard_of < begun);
        for tgid in ended.map(|process| process.id.tgid).collect::<Vec<u32>>() {
            self.living.remove(tgid);
        }
        // One that began meanwhile may have been passed over.
        let was_there = |process: &&Process| !process.is_stranger && process.id.start_time < begun;
        for process in self.iter().filter(was_there) {
            process.descriptors.borrow_mut().settle(begun);
        }
        self.complete_ancestors();
    }

    /// Fills in ancestors that came later than their descendants: a child may have a lower number.
    fn complete_ancestors(&mut self) {
        let completed: Vec<(u32, Rc<[Ancestor]>)> = self
            .iter()
            .filter(|process| self.is_incomplete(process))
            .map(|process| (process.id.tgid, self.completed(process)))
            .collect();
        for (tgid, ancestors) in completed {
            if let Some(process) = self.living.get_mut(tgid) {
                process.ancestors = ancestors;
                process.of_children = None;
            }
        }
    }

    fn is_incomplete(&self, process: &Process) -> bool {
        let knows_image =
            |known: &Ancestor| self.get(known.id).is_some_and(|process| process.image.is_some());
        let above = |known: &Ancestor| self.get(known.id).and_then(Process::parent);
        process.ancestors.iter().any(|known| known.image.is_none() && knows_image(known))
            || (process.ancestors.len() < MAX_ANCESTORS
                && process.ancestors.last().is_some_and(|last| above(last).is_some()))
    }

    /// The ancestors of a process, with what is known of them now.
    fn completed(&self, process: &Process) -> Rc<[Ancestor]> {
        let image = |id| self.get(id).and_then(|process| process.image.clone());
        let mut chain: Vec<Ancestor> = process
            .ancestors
            .iter()
            .map(|known| Ancestor { id: known.id, image: known.image.clone().or(image(known.id)) })
            .collect();
        while chain.len() < MAX_ANCESTORS
            && let Some(last) = chain.last()
            && let Some(above) = self.get(last.id).and_then(Process::parent)
            && chain.iter().all(|known| known.id != above)
        {
            chain.push(Ancestor { id: above, image: image(above) });
        }
        chain.into()
    }

    /// How many processes were met without their fork since the last call.
    pub fn take_strangers(&mut self) -> usize {
        std::mem::take(&mut self.strangers)
    }

    fn fork(
        &mut self,
        event: &Event,
        (child, cgroup_id): (ProcessId, u64),
        parent: ProcessId,
        shares: bool,
    ) {
        let ancestors = self.ancestors_below(parent);
        let Some(caller) = self.get(event.process) else { return };
        let descriptors = if shares {
            Rc::clone(&caller.descriptors)
        } else {
            Rc::new(RefCell::new(caller.descriptors.borrow().clone()))
        };
        let process = Process {
            id: child,
            ancestors,
            of_children: None,
            image: caller.image.clone(),
            uid: event.uid,
            cgroup_id,
            was_traced: caller.was_traced,
            is_traced: caller.is_traced,
            events: 0,
            descriptors,
            heard_of: event.timestamp,
            is_stranger: false,
        };
        self.living.insert(Box::new(process));
    }
}

#[cfg(test)]
mod tests;
