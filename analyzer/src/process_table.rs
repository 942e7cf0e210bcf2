//! The living processes that events told of: program, parents, user, descriptors.
//!
//! An entry lives from a process's first event to its exit, or until its pid comes back as another
//! process; so the kernel's own limit on processes bounds the table.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use crate::{
    descriptor_table::DescriptorTable,
    escape::{command_line, escape},
    event::{Action, Event, Exec, ProcessId},
    program::Program,
};

/// Generations of ancestors that are kept.
const MAX_ANCESTORS: usize = 16;
/// unshare(2): the process gets a descriptor table of its own.
const CLONE_FILES: u64 = 0x400;

/// The program that a process runs; strings are escaped.
#[derive(Debug)]
pub struct Image {
    /// Kernel-resolved path of the executable.
    pub path: String,
    /// Its arguments on one line.
    pub command_line: String,
    /// The name that the kernel shows; anyone can set it.
    pub comm: String,
    /// What kind of program it is.
    pub program: Program,
    /// When it was started; CLOCK_BOOTTIME, ns.
    pub started: u64,
}

impl Image {
    fn of(exec: &Exec, started: u64) -> Rc<Self> {
        let mut path = escape(exec.path_bytes());
        if exec.is_unlinked() {
            path.push_str(" (deleted)");
        }
        Rc::new(Self {
            path,
            command_line: command_line(&exec.arguments),
            comm: exec.comm.clone(),
            program: Program::of(exec.path_bytes(), &exec.arguments),
            started,
        })
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
    /// What it runs; `None` until an exec is seen or inherited.
    pub image: Option<Rc<Image>>,
    /// Real user id at its last event.
    pub uid: u32,
    /// Cgroup v2 id at its last event.
    pub cgroup_id: u64,
    /// Shared with others after CLONE_FILES.
    pub descriptors: Rc<RefCell<DescriptorTable>>,
}

impl Process {
    fn new(id: ProcessId, descriptors: DescriptorTable) -> Self {
        let descriptors = Rc::new(RefCell::new(descriptors));
        Self { id, ancestors: Rc::new([]), image: None, uid: 0, cgroup_id: 0, descriptors }
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
    by_tgid: HashMap<u32, Process>,
    /// Descriptors that all tables hold.
    descriptors: Rc<Cell<usize>>,
}

impl ProcessTable {
    /// The process, if it lives.
    pub fn get(&self, id: ProcessId) -> Option<&Process> {
        self.by_tgid.get(&id.tgid).filter(|process| process.id == id)
    }

    /// How many processes are known.
    pub fn len(&self) -> usize {
        self.by_tgid.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.by_tgid.is_empty()
    }

    /// Follows an event. A process that exits stays until [`Self::forget`], so that engines can
    /// look at it.
    pub fn apply(&mut self, event: &Event) {
        if self.follow_cgroups(event) {
            return;
        }
        let process = self.entry(event.process);
        (process.uid, process.cgroup_id) = (event.uid, event.cgroup_id);
        match &event.action {
            Action::Fork { child, child_cgroup_id, parent, shares_descriptors } => {
                self.fork(event, (*child, *child_cgroup_id), *parent, *shares_descriptors);
            }
            Action::Exec(exec) => {
                process.image = Some(Image::of(exec, event.timestamp));
                process.unshare_descriptors();
                process.descriptors.borrow_mut().apply_exec(event.timestamp, event.process, exec);
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
            | Action::SetCloseOnExec { .. }
            | Action::Close { .. }
            | Action::MarkCloseOnExec { .. } => process.descriptors.borrow_mut().apply(event),
            Action::Exit
            | Action::CgroupMade { .. }
            | Action::CgroupRemoved { .. }
            | Action::CgroupMoved { .. }
            | Action::TcpConnecting { .. }
            | Action::CloseUnknown
            | Action::Setns { .. }
            | Action::File(_)
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
                let moved = process.and_then(|moved| {
                    self.by_tgid.get_mut(&moved.tgid).filter(|known| known.id == moved)
                });
                if let Some(moved) = moved {
                    moved.cgroup_id = *cgroup_id;
                }
                true
            }
            Action::CgroupMade { .. } | Action::CgroupRemoved { .. } => true,
            _ => false,
        }
    }

    /// Removes a process that exited.
    pub fn forget(&mut self, id: ProcessId) {
        if self.get(id).is_some() {
            self.by_tgid.remove(&id.tgid);
        }
    }

    fn entry(&mut self, id: ProcessId) -> &mut Process {
        let new = || Process::new(id, DescriptorTable::new(Rc::clone(&self.descriptors)));
        let process = self.by_tgid.entry(id.tgid).or_insert_with(new);
        if process.id != id {
            *process = new();
        }
        process
    }

    fn fork(
        &mut self,
        event: &Event,
        (child, cgroup_id): (ProcessId, u64),
        parent: ProcessId,
        shares: bool,
    ) {
        let Some(caller) = self.get(event.process) else { return };
        let descriptors = if shares {
            Rc::clone(&caller.descriptors)
        } else {
            Rc::new(RefCell::new(caller.descriptors.borrow().clone()))
        };
        let above = self.get(parent).map(|parent| (parent.image.clone(), &parent.ancestors[..]));
        let (parent_image, grandparents) = above.unwrap_or_default();
        let nearest = Ancestor { id: parent, image: parent_image };
        let ancestors: Rc<[Ancestor]> = std::iter::once(nearest)
            .chain(grandparents.iter().take(MAX_ANCESTORS - 1).cloned())
            .collect();
        let process = Process {
            id: child,
            ancestors,
            image: caller.image.clone(),
            uid: event.uid,
            cgroup_id,
            descriptors,
        };
        self.by_tgid.insert(child.tgid, process);
    }
}

#[cfg(test)]
mod tests;
