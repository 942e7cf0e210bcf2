//! Kernel records as typed events. Every record is checked here, and nowhere else is one read.
//!
//! [`take`] reads one record; each family of kinds has a file, with its types and how a record
//! becomes them. What the kernel did not know is `None` here, never zero.

mod action;
mod argument;
mod arguments;
mod cgroup;
mod credentials;
mod descriptor;
mod exec;
mod file;
#[cfg(test)]
mod fixture;
mod naming;
mod object;
mod path;
mod path_class;
mod process;
mod record;
mod running;
mod traffic;
mod trust;

pub use action::Action;
pub use arguments::Arguments;
pub use credentials::{Credentials, CredentialsChange, Ids};
pub use descriptor::DescriptorCall;
pub use exec::{Exec, Variable};
pub use file::{File, FileCall};
pub use naming::{PathCall, Paths};
pub use object::{Descriptor, Object, ObjectId, SocketEnds};
pub use path::{Origin, Path};
pub use process::{Addressee, Target};
pub use record::{RecordError, take};
pub use running::Running;
pub use traffic::{Traffic, TrafficReport};
pub use trust::Trust;

/// Highest errno + 1 (include/linux/err.h, `MAX_ERRNO`).
const ERRNO_END: i64 = 4096;

/// Who a process is: a pid that came back has another start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Thread group id.
    pub tgid: u32,
    /// Start of the group's leader, ns since boot.
    pub start_time: u64,
}

/// By which numbers a system call is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// The machine's own.
    Native,
    /// 32-bit ones on a 64-bit kernel.
    Compat,
    /// x32, without the bit 30.
    X32,
}

/// A system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemCall {
    /// Whose number it is.
    pub abi: Abi,
    /// Its number there.
    pub number: u16,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// CLOCK_BOOTTIME, ns.
    pub timestamp: u64,
    /// Who did it.
    pub process: ProcessId,
    /// Which of its threads.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Cgroup v2 id of the process.
    pub cgroup_id: u64,
    /// By which call; `None` for what is none.
    pub call: Option<SystemCall>,
    /// What the call returned; 0 for what is none.
    pub result: i64,
    /// Whether an io_uring did it.
    pub io_uring: bool,
    /// Whether the process or one it descends from has opened a secret.
    pub tainted: bool,
    /// Whether another thread or process may have changed the descriptor since the call.
    pub racy: bool,
    /// Whether the thread has a descriptor table other than its process's; what that holds, nobody
    /// follows.
    pub private_descriptors: bool,
    /// Of a fork: whether parent and child share their memory.
    pub shares_memory: bool,
    /// What the descriptor that it tells of is open for, if that is known.
    pub access: Option<Access>,
    /// What.
    pub action: Action,
}

/// What a descriptor is open for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// It can be read.
    pub reads: bool,
    /// It can be written.
    pub writes: bool,
}

impl Event {
    /// Whether a snapshot found it, and no hook.
    pub fn is_of_snapshot(&self) -> bool {
        match &self.action {
            Action::Running(_) | Action::Held { .. } | Action::CgroupFound { .. } => true,
            Action::File(file) => file.call == FileCall::Held,
            _ => false,
        }
    }

    /// The close that this one, the totals of a descriptor, tells as well: it comes after it.
    pub fn closing(&self) -> Option<Self> {
        let Action::Traffic(traffic) = &self.action else { return None };
        traffic.closes.then(|| Self { action: descriptor::closed(traffic.number), ..*self })
    }

    /// With which errno the call failed; `None` if it did not.
    pub fn errno(&self) -> Option<u32> {
        let errno = self.result.checked_neg().filter(|errno| (1..ERRNO_END).contains(errno))?;
        u32::try_from(errno).ok()
    }
}
