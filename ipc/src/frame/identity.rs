//! Enforcer and loader: who a process is.

use serde::{Deserialize, Serialize};

use super::Target;

/// Enforcer → loader.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityQuestion {
    /// The first message.
    Hello {
        /// [`super::PROTOCOL_VERSION`] of the enforcer.
        version: u16,
        /// The enforcer's own process, which the sensor leaves out.
        tgid: u32,
    },
    /// Who is this process, what does it run, and where?
    WhoIs {
        /// Comes back with the answer.
        question: u64,
        /// Thread group id.
        tgid: u32,
    },
    /// The second half of that.
    Describe {
        /// Comes back with the answer.
        question: u64,
        /// Thread group id.
        tgid: u32,
    },
    /// Who descends from this process?
    Tree {
        /// Comes back with the answer.
        question: u64,
        /// The root, which may have ended.
        root: Target,
        /// Real user id of whom it is; `None` for the oldest's.
        user: Option<u32>,
    },
}

/// Loader → enforcer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityAnswer {
    /// Answer to [`IdentityQuestion::Hello`].
    Ready {
        /// [`super::PROTOCOL_VERSION`] of the loader.
        version: u16,
        /// The loader's own process.
        tgid: u32,
    },
    /// Answer to [`IdentityQuestion::WhoIs`].
    Is {
        /// The question's number.
        question: u64,
        /// `None` if the kernel has noted nothing of such a process.
        identity: Option<Identity>,
        /// As in [`Self::Described`].
        description: Option<Description>,
    },
    /// Answer to [`IdentityQuestion::Describe`].
    Described {
        /// The question's number.
        question: u64,
        /// `None` if there is no such process in the scope.
        description: Option<Description>,
    },
    /// Answer to [`IdentityQuestion::Tree`].
    Members {
        /// The question's number.
        question: u64,
        /// Whose they are; `None` if there is nobody and it was not given.
        user: Option<u32>,
        /// The oldest first; [`super::MAX_TREE`] at the most.
        members: Vec<Member>,
    },
}

/// What the kernel says of a living process when it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Start of the group's leader, ns since boot.
    pub start_time: u64,
    /// Real user id.
    pub uid: u32,
    /// Path of its executable; of one that was replaced, the path that it had.
    pub path: Vec<u8>,
    /// Whether the path is whole and nobody but root could have put another file there ([`trust`](crate::kernel_abi::trust)).
    pub is_sound: bool,
    /// Whether its pid namespace is another one than the loader's: a container's.
    pub has_own_pids: bool,
    /// Path of its cgroup within the hierarchy. Of a long one the start, which ends with a slash; empty if it is
    /// not known.
    pub cgroup: Vec<u8>,
}

/// A process of a tree, in the scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    pub process: Target,
    /// Device, inode number and generation of its executable.
    pub executable: (u32, u64, u32),
    /// Cgroup v2 id.
    pub cgroup_id: u64,
}

/// What the kernel noted of a process at its last fork, exec or move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Start of the group's leader, ns since boot.
    pub start_time: u64,
    /// Cgroup v2 id.
    pub cgroup_id: u64,
    /// Device, inode number and generation of its executable; zeros before its first exec.
    pub executable: (u32, u64, u32),
    /// Real user id.
    pub uid: u32,
    /// Whether it is a thread of the kernel.
    pub kernel_thread: bool,
    /// Whether it is in the sensor's scope at this moment.
    pub in_scope: bool,
}
