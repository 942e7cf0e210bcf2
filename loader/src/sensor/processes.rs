//! Which processes are watched, and what the kernel says of one.

use aya::Ebpf;
use sentinel_ipc::{
    channel::Channel,
    frame::{Description, Identity, Member, Selection, Target},
    kernel_abi::{class, control, pass},
};

use super::{Facts, Sensor, SensorError, program, refused};
use crate::{arguments::Scope, hooks, lineage, scope::ScopeError, snapshot};

/// Runs of the iterator that mark processes, at the most: each that changes something is followed by
/// another one, for the children of those that it marked.
const MAX_MARKING_RUNS: u32 = 1000;

impl Sensor {
    /// Never report `tgid`.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn exclude(&self, tgid: u32) -> Result<(), SensorError> {
        self.classes.add(tgid, class::OWN)
    }

    /// Never report `tgid`, which is at the other end of `channel`. If it is there no more, its number may
    /// have passed on already.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn exclude_peer(&self, tgid: u32, channel: &Channel) -> Result<(), SensorError> {
        self.exclude(tgid)?;
        if channel.is_hung_up() { self.classes.take(tgid, class::OWN) } else { Ok(()) }
    }

    /// Attaches what keeps the scope true, and marks the processes that are in it already.
    ///
    /// # Errors
    /// When the kernel refuses, or the process to attach to has ended.
    pub fn follow_scope(&mut self) -> Result<(), SensorError> {
        for name in hooks::SCOPE {
            program(&mut self.ebpf, name)?.attach().map_err(refused(name))?;
        }
        match self.scope {
            Scope::Everything => Ok(()),
            Scope::Cgroup(_) => self.mark(pass::MARK_SCOPE, 0),
            Scope::Tree(root) => {
                self.mark(pass::MARK_SCOPE, root)?;
                if self.classes.get(root)? & class::IN_SCOPE == 0 {
                    return Err(SensorError::Scope(ScopeError::NoProcess(root)));
                }
                Ok(())
            }
        }
    }

    /// Reports from now on only processes that are in `selection` as well as in the scope. A selection
    /// that names nothing that exists is no error, for it may have ended just now: it is empty, and nothing
    /// is reported. While it changes, the whole scope is selected, so that no event of it gets lost.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn select(&mut self, selection: Selection) -> Result<(), SensorError> {
        self.selection = selection;
        self.set_control(&[(control::SELECTION, 0), (control::SELECTION_CGROUP, 0)])?;
        self.classes.take_from_all(class::SELECTED)?;
        let (cgroup, root) = match selection {
            Selection::All => return Ok(()),
            Selection::Cgroup(id) => (id, 0),
            Selection::Tree(root) => (0, root),
        };
        self.set_control(&[(control::SELECTION_CGROUP, cgroup)])?;
        self.mark(pass::MARK_SELECTION, root)?;
        self.set_control(&[(control::SELECTION, 1)])
    }

    /// Has an iterator mark processes until nothing changes any more: those in the subtree of the cgroup
    /// that is set or, without one, `root` and what descends from it.
    fn mark(&mut self, pass: u64, root: u32) -> Result<(), SensorError> {
        self.set_control(&[(control::PASS, pass), (control::MARK_ROOT, u64::from(root))])?;
        let mut runs = (0..MAX_MARKING_RUNS).map(|_| snapshot::run(&mut self.ebpf, usize::MAX));
        let end = runs.find(|changes| changes.as_ref().map_or(true, Vec::is_empty));
        self.set_control(&[(control::PASS, pass::DESCRIBE), (control::MARK_ROOT, 0)])?;
        end.unwrap_or(Ok(Vec::new())).map(|_| ())
    }

    /// What `tgid` runs at this moment, and where; `None` if it is not in the scope.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn describe(&mut self, tgid: u32) -> Result<Option<Description>, SensorError> {
        let told = self.tell(pass::DESCRIBE_ONE, tgid, |ebpf| snapshot::run_over(ebpf, tgid))?;
        Ok(lineage::description(&told))
    }

    /// Who of `user`'s descends from `root`, and itself; without a user, of whose the oldest is.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tree(
        &mut self,
        root: Target,
        user: Option<u32>,
    ) -> Result<(Option<u32>, Vec<Member>), SensorError> {
        let told =
            self.tell(pass::TELL_LINES, 0, |ebpf| snapshot::run(ebpf, lineage::MAX_BYTES))?;
        Ok(lineage::tree(&told, root, user))
    }

    /// What the iterator over tasks writes when it looks for this.
    fn tell(
        &mut self,
        pass: u64,
        tgid: u32,
        run: impl FnOnce(&mut Ebpf) -> Result<Vec<u8>, SensorError>,
    ) -> Result<Vec<u8>, SensorError> {
        self.set_control(&[(control::PASS, pass), (control::MARK_ROOT, u64::from(tgid))])?;
        let told = run(&mut self.ebpf);
        self.set_control(&[(control::PASS, pass::DESCRIBE), (control::MARK_ROOT, 0)])?;
        told
    }

    /// Who `tgid` is; `None` if the kernel noted nothing of it.
    ///
    /// # Errors
    /// When its class cannot be looked at.
    pub fn identity(&self, tgid: u32) -> Result<Option<Identity>, SensorError> {
        let Ok(Facts(facts)) = self.facts.get(&tgid, 0) else { return Ok(None) };
        let class = self.classes.get(tgid)?;
        let object = facts.executable;
        Ok(Some(Identity {
            start_time: facts.start_time,
            cgroup_id: facts.cgroup_id,
            executable: (object.device, object.inode, object.generation),
            uid: facts.uid,
            kernel_thread: facts.kernel_thread != 0,
            in_scope: class & class::OWN == 0 && (self.everything || class & class::IN_SCOPE != 0),
        }))
    }

    /// Has each send of `process` told from now on, if it is still that one and in scope.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn follow(&self, process: Target) -> Result<(), SensorError> {
        let known = self.identity(process.tgid)?;
        if known.is_some_and(|known| known.in_scope && known.start_time == process.start_time) {
            self.classes.add(process.tgid, class::TAINTED)?;
        }
        Ok(())
    }
}
