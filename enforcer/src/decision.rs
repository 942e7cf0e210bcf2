//! From a request to its verdict: hold the process, ask who it is, compare, kill.

use nix::errno::Errno;
use sentinel_ipc::{
    clock::boot_ns,
    frame::{Refusal, Verdict},
};

use crate::{
    audit::Audit,
    conversation::Request,
    guard::Guard,
    loader::Loader,
    process::{Process, ProcessError},
};

/// Decides on a request and, if all is well, kills.
///
/// # Errors
/// When there is no clock.
pub fn decide(
    request: &Request,
    guard: &mut Guard,
    loader: Option<&mut Loader>,
    audit: &Audit,
) -> Result<Verdict, Errno> {
    let &Request { number, target, deadline, .. } = request;
    if let Err(refusal) = guard.admit(number, target, deadline, boot_ns()?) {
        return Ok(Verdict::Refused(refusal));
    }
    // From here on the number cannot pass to another process unnoticed.
    let process = match Process::open(target.tgid) {
        Ok(process) => process,
        Err(error) => return Ok(verdict(error)),
    };
    let Some(loader) = loader else { return Ok(Verdict::Refused(Refusal::NoLoader)) };
    let identity = match loader.who_is(target.tgid) {
        Ok(identity) => identity,
        Err(error) => {
            audit.line(&error.to_string());
            return Ok(Verdict::Refused(Refusal::NoLoader));
        }
    };
    // Alive after the answer, so the answer was about the process that is held.
    if process.has_exited() {
        return Ok(Verdict::AlreadyExited);
    }
    let time = boot_ns()?;
    let allowed = guard
        .identify(target, identity)
        .and_then(|()| if time > deadline { Err(Refusal::Expired) } else { guard.spend(time) });
    Ok(match allowed {
        Ok(()) => process.kill().map_or_else(verdict, |()| Verdict::Terminated),
        Err(refusal) => Verdict::Refused(refusal),
    })
}

fn verdict(error: ProcessError) -> Verdict {
    match error {
        ProcessError::Exited => Verdict::AlreadyExited,
        ProcessError::Refused(errno) => Verdict::Failed(errno),
    }
}
