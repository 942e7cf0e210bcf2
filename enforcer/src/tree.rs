//! A tree of processes that is being ended. Sweep by sweep: the loader lists it, who is new is held, who
//! is held and listed once more – so the list was about the process that is held – is stopped, and who is listed
//! as stopped is still whom one may kill. When nobody is new and all are stopped, nothing can appear any more, and
//! all are killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use nix::errno::Errno;
use sentinel_ipc::frame::{Description, MAX_TREE, Member, Mode, Refusal, Target, Verdict};

use crate::{
    audit::Audit,
    conversation::Request,
    guard::Guard,
    loader::{Loader, NoAnswer},
    marker::Begun,
    process::{Process, ProcessError},
};

/// How long the sweeps may take; then who is stopped is killed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Kinds of processes that one sweep asks about, so that the kill switch comes between.
const MAX_DESCRIBED: u32 = 16;

/// A process of the tree.
struct Held {
    process: Process,
    is_stopped: bool,
    /// Whether it was a member that may be killed at a look after it was stopped: it cannot change any more.
    is_seen_stopped: bool,
    is_killed: bool,
}

impl Held {
    fn new(process: Process) -> Self {
        Self { process, is_stopped: false, is_seen_stopped: false, is_killed: false }
    }
}

/// Programs by device, inode and generation, and cgroups by id.
type Kind = ((u32, u64, u32), u64);

/// What is to be ended, and how far that is.
pub struct Tree {
    /// What asked for it.
    pub request: Request,
    /// What was found of its root.
    pub found: String,
    /// Whether the analyzer that asked is gone: its number means nothing to the next one.
    pub is_orphaned: bool,
    /// Whether an enforcer that has ended began it, and may have left somebody stopped.
    is_taken_over: bool,
    /// Whose it is: the root's, as long as it lives.
    user: Option<u32>,
    held: BTreeMap<Target, Held>,
    /// Whether processes of a program in a cgroup may be killed.
    kinds: BTreeMap<Kind, bool>,
    begun: Instant,
    sweeps: u32,
    killed: usize,
    /// Whether all that can be done next is to kill.
    is_settled: bool,
    /// Whether there were more at the last look than can be held.
    is_cut: bool,
    /// The verdict on who is not stopped, if nobody can look once more: somebody of the tree may be left.
    late: Option<Verdict>,
}

impl Tree {
    /// The tree that `request` names.
    pub fn new(request: Request, found: String) -> Self {
        Self {
            request,
            found,
            is_orphaned: false,
            is_taken_over: false,
            user: None,
            held: BTreeMap::new(),
            kinds: BTreeMap::new(),
            begun: Instant::now(),
            sweeps: 0,
            killed: 0,
            is_settled: false,
            is_cut: false,
            late: None,
        }
    }

    /// The tree that an enforcer before this one was ending, which was paid for.
    pub fn taken_over((target, user): Begun) -> Self {
        let reason = "begun by an enforcer that has ended".to_owned();
        let request =
            Request { number: 0, target, is_tree: true, rule: 0, deadline: u64::MAX, reason };
        let tree = Self::new(request, String::new());
        Self { is_orphaned: true, is_taken_over: true, user: Some(user), ..tree }
    }

    /// What an enforcer that takes it over has to know.
    pub fn begun(&self) -> Option<Begun> {
        self.user.map(|user| (self.request.target, user))
    }

    /// Makes one sweep; the verdict when there is nothing left to do.
    pub fn sweep(
        &mut self,
        guard: &Guard,
        loader: Option<&mut Loader>,
        audit: &Audit,
    ) -> Option<Verdict> {
        if matches!(guard.mode(), Mode::Shadow | Mode::SwitchedOff) {
            return Some(self.let_go(loader, Refusal::KillSwitch));
        }
        if std::mem::take(&mut self.is_settled) {
            return self.kill(audit);
        }
        self.sweeps += 1;
        self.is_settled = match loader.map(|loader| self.look(guard, loader)) {
            Some(Ok(is_done)) => {
                // They come and go faster than anybody looks.
                let late = (!is_done || self.is_cut) && self.begun.elapsed() >= PATIENCE;
                self.late = late.then_some(Verdict::Failed(Errno::ESRCH as i32));
                is_done || late
            }
            // Who was looked at once stopped is known for sure.
            Some(Err(_)) | None => {
                self.late = Some(Verdict::Refused(Refusal::NoLoader));
                true
            }
        };
        // Killed at the next turn: administrators come first.
        None
    }

    /// Holds who is new, stops who was not, and looks at who is stopped once more; true if there is nobody else
    /// that can be held. Who is no member any more goes on.
    fn look(&mut self, guard: &Guard, loader: &mut Loader) -> Result<bool, NoAnswer> {
        self.held.retain(|_, held| !held.process.has_exited());
        let (mut is_done, mut described) = (true, 0);
        let members = loader.tree(self.request.target, &mut self.user)?;
        self.is_cut = members.len() >= MAX_TREE;
        let listed: BTreeSet<Target> = members.iter().map(|member| member.process).collect();
        self.held.retain(|target, held| {
            let stays = held.is_killed || listed.contains(target);
            stays || !held.is_stopped || held.process.resume().is_err()
        });
        for member in members {
            if self.begun.elapsed() >= PATIENCE {
                return Ok(false);
            }
            let target = member.process;
            if guard.own.contains(target.tgid) || target.tgid == 1 {
                continue;
            }
            // As it is now: it may have started another program since it was held, or have been moved.
            let kind = (member.executable, member.cgroup_id);
            let known = self.kinds.get(&kind).copied();
            if known.is_none() && described >= MAX_DESCRIBED {
                is_done = false;
                continue;
            }
            if known.is_none() {
                described += 1;
                let Some(may_die) = may_die(guard, loader, target, self.user)? else { continue };
                self.kinds.insert(kind, may_die);
            }
            let may_die = self.kinds.get(&kind) == Some(&true);
            if let Some(held) = self.held.get_mut(&target) {
                if !may_die {
                    // If that fails it has ended.
                    let _goes_on = held.is_stopped && held.process.resume().is_ok();
                    self.held.remove(&target);
                } else if !held.is_stopped && !held.is_killed && !held.process.has_exited() {
                    held.is_stopped = held.process.stop().is_ok();
                    is_done = false;
                } else {
                    held.is_seen_stopped = held.is_stopped;
                }
                continue;
            }
            if !may_die {
                continue;
            }
            if self.held.len() >= MAX_TREE {
                self.is_cut = true;
                continue;
            }
            match Process::open(target.tgid) {
                Ok(process) if !process.has_exited() => {
                    self.held.insert(target, Held::new(process));
                }
                Ok(_) | Err(ProcessError::Exited) => continue,
                Err(ProcessError::Refused(_)) => {}
            }
            is_done = false;
        }
        Ok(is_done)
    }

    /// Kills who was looked at once stopped. Then one looks once more: who was just being made when its parent was
    /// stopped is found then; and who could not be held with them. The verdict, if there is nobody any more, or
    /// nobody can look.
    fn kill(&mut self, audit: &Audit) -> Option<Verdict> {
        let mut is_over = !self.is_cut;
        let due = || self.held.iter().filter(|(_, held)| held.is_seen_stopped);
        let pids: Vec<String> = due().map(|(target, _)| target.tgid.to_string()).collect();
        audit.tree(&self.request, &pids);
        for held in self.held.values_mut().filter(|held| held.is_seen_stopped) {
            (held.is_stopped, held.is_seen_stopped, held.is_killed) = (false, false, true);
            is_over = false;
            match held.process.kill() {
                Ok(()) => self.killed += 1,
                Err(ProcessError::Exited) => {}
                Err(ProcessError::Refused(errno)) => self.late = Some(Verdict::Failed(errno)),
            }
        }
        if !is_over && self.late.is_none() {
            return None;
        }
        self.note("killed", self.killed);
        self.resume();
        Some(match (self.late, self.killed) {
            (Some(verdict), 0) => verdict,
            (Some(_), _) => Verdict::Failed(Errno::ETIMEDOUT as i32),
            (None, 0) => Verdict::AlreadyExited,
            (None, _) => Verdict::Terminated,
        })
    }

    /// Has who is stopped go on; of a tree that another enforcer began everybody, as far as a loader knows them.
    fn let_go(&mut self, loader: Option<&mut Loader>, refusal: Refusal) -> Verdict {
        if let Some(loader) = loader.filter(|_| self.is_taken_over) {
            let members = loader.tree(self.request.target, &mut self.user).unwrap_or_default();
            for Member { process, .. } in members {
                if let Ok(held) = Process::open(process.tgid) {
                    self.held.insert(process, Held { is_stopped: true, ..Held::new(held) });
                }
            }
        }
        self.resume();
        Verdict::Refused(refusal)
    }

    fn resume(&mut self) {
        let stopped = self.held.values().filter(|held| held.is_stopped);
        let released = stopped.filter(|held| held.process.resume().is_ok()).count();
        self.note("released", released);
    }

    fn note(&mut self, what: &str, count: usize) {
        let is_cut = self.late.is_some() || self.is_cut;
        let sweeps = self.sweeps;
        self.found.push_str(&format!(" tree_{what}={count} sweeps={sweeps} cut={is_cut}"));
    }
}

/// Whether processes like `target` may be killed; `None` if it is gone, or `user`'s no more. In doubt whether the
/// path of one of them is what it seems, for not all of them are looked at, it counts as that.
fn may_die(
    guard: &Guard,
    loader: &mut Loader,
    target: Target,
    user: Option<u32>,
) -> Result<Option<bool>, NoAnswer> {
    let description = loader.describe(target.tgid)?.filter(|one| {
        one.start_time == target.start_time && user.is_none_or(|user| one.uid == user)
    });
    let of_all = |one: Description| Description { is_sound: true, ..one };
    Ok(description.map(|one| guard.protection.check(&of_all(one)).is_ok()))
}
