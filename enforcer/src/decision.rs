//! From a request to its verdict: hold the process, ask who it is and what it runs, compare, kill.

use nix::errno::Errno;
use sentinel_ipc::{
    clock::boot_ns,
    frame::{Description, Identity, Refusal, Verdict},
};

use crate::{
    budget::Killed,
    conversation::Request,
    guard::Guard,
    loader::{Loader, NoAnswer},
    process::{Process, ProcessError},
};

/// What came of a request.
#[derive(Debug)]
pub enum Decision {
    /// This.
    Final(Verdict),
    /// The process is to be ended, if that is paid for.
    One(Process),
    /// Likewise its tree.
    Tree,
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        Self::Final(verdict)
    }
}

impl From<Refusal> for Decision {
    fn from(refusal: Refusal) -> Self {
        Self::Final(Verdict::Refused(refusal))
    }
}

/// Decides on a request; and writes into `found`, for the audit, what there was.
///
/// # Errors
/// When there is no clock.
pub fn decide(
    request: &Request,
    guard: &mut Guard,
    loader: Option<&mut Loader>,
    found: &mut String,
) -> Result<Decision, Errno> {
    let &Request { number, target, rule, deadline, .. } = request;
    if let Err(refusal) = guard.admit(number, target, rule, deadline, boot_ns()?) {
        return Ok(refusal.into());
    }
    let killed = if request.is_tree { Killed::Tree } else { Killed::One };
    if guard.budget.has_killed(target, killed) {
        found.push_str(" duplicate=true");
        return Ok(Verdict::Terminated.into());
    }
    // From here on the number cannot pass to another process unnoticed.
    let process = match Process::open(target.tgid) {
        Ok(process) => Some(process),
        // Its children may live.
        Err(ProcessError::Exited) if request.is_tree => None,
        Err(error) => return Ok(verdict(error).into()),
    };
    let Some(loader) = loader else { return Ok(Refusal::NoLoader.into()) };
    if let Some(process) = &process {
        let checked = look(request, guard, loader, found);
        // Alive after the answers, so they were about the process that is held.
        let is_alive = !process.has_exited();
        if let Err(verdict) = may_go_on(checked, request.is_tree, is_alive) {
            return Ok(verdict.into());
        }
    }
    Ok(process.filter(|_| !request.is_tree).map_or(Decision::Tree, Decision::One))
}

/// Whether to go on after a look at the process that has the number now. Also without the root of a tree, if
/// that has ended: then nobody has its number, or another process.
fn may_go_on(checked: Result<(), Refusal>, is_tree: bool, is_alive: bool) -> Result<(), Verdict> {
    match checked {
        Ok(()) if is_alive || is_tree => Ok(()),
        Err(Refusal::OtherProcess) if is_tree => Ok(()),
        Err(Refusal::UnknownProcess) if is_tree && !is_alive => Ok(()),
        Err(refusal) if is_alive => Err(Verdict::Refused(refusal)),
        Ok(()) | Err(_) => Err(Verdict::AlreadyExited),
    }
}

/// Whether the process is the one that was meant and may be killed.
fn look(
    request: &Request,
    guard: &Guard,
    loader: &mut Loader,
    found: &mut String,
) -> Result<(), Refusal> {
    let target = request.target;
    let silent = |error: NoAnswer| {
        found.push_str(&format!(" problem=\"{error}\""));
        Refusal::NoLoader
    };
    // In one question: each way there and back is time for whoever is to be killed.
    let (identity, description) = loader.who_is(target.tgid).map_err(silent)?;
    match guard.identify(target, identity) {
        // The description is also of whom the kernel's table had no room for.
        Ok(()) | Err(Refusal::UnknownProcess) => {}
        Err(refusal) => {
            note(found, identity, None);
            return Err(refusal);
        }
    }
    note(found, identity, description.as_ref());
    let description = description.ok_or(Refusal::UnknownProcess)?;
    if description.start_time != target.start_time {
        return Err(Refusal::OtherProcess);
    }
    guard.protection.check(&description)
}

fn note(found: &mut String, identity: Option<Identity>, description: Option<&Description>) {
    if let Some(Identity { start_time, uid, cgroup_id, .. }) = identity {
        found.push_str(&format!(" found_start={start_time} uid={uid} cgroup_id={cgroup_id}"));
    }
    if let Some(Description { path, cgroup, is_sound, .. }) = description {
        let (path, cgroup) = (path.escape_ascii(), cgroup.escape_ascii());
        found.push_str(&format!(" exe=\"{path}\" sound={is_sound} cgroup=\"{cgroup}\""));
    }
}

/// What a signal that was not sent means.
pub fn verdict(error: ProcessError) -> Verdict {
    match error {
        ProcessError::Exited => Verdict::AlreadyExited,
        ProcessError::Refused(errno) => Verdict::Failed(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_goes_on_without_its_root_only_if_that_has_ended() {
        let unknown = Err(Refusal::UnknownProcess);
        let refused = |refusal| Err(Verdict::Refused(refusal));
        assert_eq!(may_go_on(Ok(()), true, true), Ok(()));
        assert_eq!(may_go_on(Ok(()), true, false), Ok(()), "it was seen");
        assert_eq!(may_go_on(Err(Refusal::OtherProcess), true, true), Ok(()), "a later one");
        assert_eq!(may_go_on(unknown, true, false), Ok(()));
        assert_eq!(may_go_on(unknown, true, true), refused(Refusal::UnknownProcess));
        for refusal in [Refusal::Protected, Refusal::OutsideScope, Refusal::KernelThread] {
            assert_eq!(may_go_on(Err(refusal), true, true), refused(refusal));
            assert_eq!(may_go_on(Err(refusal), true, false), Err(Verdict::AlreadyExited));
        }
        for refusal in [Refusal::OtherProcess, Refusal::UnknownProcess] {
            assert_eq!(may_go_on(Err(refusal), false, true), refused(refusal));
        }
        assert_eq!(may_go_on(Ok(()), false, false), Err(Verdict::AlreadyExited));
    }
}
