//! Rights in the initial user namespace that a process had no way to (MITRE T1548.001).
//!
//! - A process with no uid 0 among its own (real, effective, saved) starts a program and is root then, or has
//!   capabilities that would not have outlived the exec, by a setuid bit or file capabilities, and the program is
//!   none that is installed for that ([`allowed`]): critical. A helper in a system directory that is not on the
//!   list is high: a package may have brought it. Capabilities that lead neither to root nor to everybody's files
//!   ([`gain`]) are a warning where root alone can have put the program.
//! - Such a process has rights without having started a program, and no call gives them, so the kernel was
//!   led to. What tells it is the next event, whichever it is: critical.
//! - The classic: a program reads hashed passwords or sudoers, makes itself root (set*uid(0), be it root
//!   already), and starts a program: critical, but for those whose work that is.
//!
//! What a process gets in a user namespace of its own (bubblewrap, rootless containers) counts for
//! nothing.

mod allowed;
mod gain;

use std::rc::Rc;

use sentinel_ipc::{
    file_class::class,
    frame::KindSet,
    kernel_abi::{kind, trust},
};

use super::{Finding, Rule, Verdicts};
use crate::{
    alert::{Engine, Severity},
    escape::escape,
    event::{Action, Credentials, CredentialsChange, Event, Exec, File, FileCall, ProcessId},
    keyed_hash::HashMap,
    process_table::{Process, ProcessTable},
    program::Program,
    rules::identity,
    step::{Deed, Step},
};

use gain::Gain;

/// What the rule looks at, beside fork, exec and exit.
pub const NEEDS: KindSet = KindSet::of(&[kind::CREDENTIALS, kind::OPEN]);

/// The rule's name and number.
pub static RULE: Rule = Rule::of("privilege_escalation", "T1548.001", Engine::Patterns);

/// How long after the credential file was read the program is started, in the classic; ns.
const WINDOW_NS: u64 = 60_000_000_000;
/// Access mode of open(2), and the one that does not read.
const O_ACCMODE: u32 = 3;
const O_WRONLY: u32 = 1;

/// How far the classic has come in a process.
#[derive(Debug, Clone, Default)]
struct Classic {
    /// A credential file was read.
    read: Option<Step>,
    /// And then root was become.
    became_root: Option<Step>,
}

/// What is known of a process.
#[derive(Debug, Clone, Default)]
struct Known {
    /// What it may act as; `None` while that is not known. Most share it with who forked them.
    credentials: Option<Rc<Credentials>>,
    /// Whether its program was started with more rights than the one before it had: then the dynamic
    /// linker minds no LD_PRELOAD (ld.so(8), secure-execution mode).
    is_raised: bool,
    classic: Option<Box<Classic>>,
}

impl Known {
    fn credentials(&self) -> Option<Credentials> {
        self.credentials.as_deref().copied()
    }

    /// It may act as this now, if that was told.
    fn may_act_as(&mut self, now: Option<Credentials>) {
        if now.is_some() && now != self.credentials() {
            self.credentials = now.map(Rc::new);
        }
    }
}

/// The rule's state: bounded by the processes that live.
#[derive(Debug, Default)]
pub struct PrivilegeEscalation {
    known: HashMap<ProcessId, Known>,
}

impl PrivilegeEscalation {
    /// Looks at an event that `processes` has followed already.
    pub fn observe(&mut self, event: &Event, processes: &ProcessTable, verdicts: &mut Verdicts) {
        match &event.action {
            Action::Exec(exec) => self.exec(event, exec, processes, verdicts),
            Action::Credentials(change) => self.credentials(event, change, processes, verdicts),
            Action::Running(running) => {
                let known = self.known.entry(event.process).or_default();
                known.may_act_as(known.credentials().or(running.program.after));
            }
            Action::Exit => {
                self.known.remove(&event.process);
            }
            // Who moves another one to a cgroup may be out of scope, and what a snapshot or an
            // io_uring tells has other credentials than the process's own.
            Action::CgroupMoved { .. }
            | Action::CgroupMade { .. }
            | Action::CgroupRemoved { .. }
            | Action::CgroupFound { .. }
            | Action::Held { .. }
            | Action::Canary => {}
            _ if event.io_uring || event.is_of_snapshot() => {}
            Action::Fork { child, .. } => {
                self.without_a_call(event, processes, verdicts);
                if let Some(parents) = self.known.get(&event.process).cloned() {
                    self.known.insert(*child, parents);
                }
            }
            Action::File(file) => {
                self.without_a_call(event, processes, verdicts);
                self.read(event, file, processes);
            }
            _ => self.without_a_call(event, processes, verdicts),
        }
    }

    /// Looks at what time alone decides: an exit may have been lost.
    pub fn time(&mut self, processes: &ProcessTable) {
        self.known.retain(|&id, _| processes.get(id).is_some());
    }

    fn exec(
        &mut self,
        event: &Event,
        exec: &Exec,
        processes: &ProcessTable,
        verdicts: &mut Verdicts,
    ) {
        let known = self.known.entry(event.process).or_default();
        let before = exec.before.or(known.credentials());
        known.may_act_as(exec.after);
        known.is_raised = before.zip(exec.after).is_some_and(|(before, after)| {
            before.user.real == after.user.real && before.user.effective != after.user.effective
        });
        let classic = known.classic.take();
        let Some(process) = processes.get(event.process) else { return };
        let Some(image) = &process.image else { return };
        let deed = Deed::Exec(Rc::clone(image));
        let step = Step { timestamp: event.timestamp, process: process.id, deed };
        if let (Some(before), Some(after)) = (before, exec.after)
            && let Some(gain) = Gain::by_exec(&before, &after)
            && let Some(severity) = gained_by_program(exec, process, &gain)
        {
            let what = format!(
                "started {} and is {} now, without a right to that before ({})",
                name(process),
                rights(&after),
                rights(&before)
            );
            verdicts.findings.push(finding(process, severity, what, vec![step]));
        } else if let Some(Classic { read: Some(read), became_root: Some(became_root) }) =
            classic.as_deref()
            && event.timestamp.saturating_sub(read.timestamp) <= WINDOW_NS
            && exec.after.is_none_or(|after| after.user.effective == 0)
        {
            let what =
                format!("read a credential file, made itself root and started {}", name(process));
            let steps = vec![read.clone(), became_root.clone(), step];
            verdicts.findings.push(finding(process, Severity::Critical, what, steps));
        }
    }

    fn credentials(
        &mut self,
        event: &Event,
        change: &CredentialsChange,
        processes: &ProcessTable,
        verdicts: &mut Verdicts,
    ) {
        let known = self.known.entry(event.process).or_default();
        // Of another thread it is not known what it could act as.
        let is_first = event.tid == event.process.tgid;
        let of_any = change.before.or(known.credentials());
        let before = of_any.filter(|_| is_first);
        if is_first {
            known.may_act_as(change.after);
        }
        let (Some(process), Some(after)) = (processes.get(event.process), change.after) else {
            return;
        };
        let detail = format!("called for other rights and is {} now", rights(&after));
        let deed = Deed::Seen { event: "credentials", detail };
        let step = Step { timestamp: event.timestamp, process: event.process, deed };
        if let Some(before) = before
            && Gain::by_call(&before, &after).is_some()
        {
            let what = format!(
                "{} is {} now, which no call gives to one that was {}",
                name(process),
                rights(&after),
                rights(&before),
            );
            verdicts.findings.push(finding(process, Severity::Critical, what, vec![step]));
            return;
        }
        // Who takes root from its real uid gives up something.
        let was_root = of_any.is_some_and(|before| before.user.real == 0);
        let gives_up = was_root && after.user.real != 0;
        if after.user.effective == 0
            && !gives_up
            && event.errno().is_none()
            && is_set_uid(event)
            && let Some(classic) = &mut known.classic
            && classic.became_root.is_none()
        {
            classic.became_root = Some(step);
        }
    }

    /// Anything else that the process did: has it rights that nothing gave it?
    fn without_a_call(&mut self, event: &Event, processes: &ProcessTable, verdicts: &mut Verdicts) {
        if event.euid != 0 || event.tid != event.process.tgid {
            return;
        }
        let Some(known) = self.known.get_mut(&event.process) else { return };
        let is_bound =
            |it: &&Rc<Credentials>| !gain::may_be_root(it) && it.user_namespace_level == 0;
        let Some(before) = known.credentials.as_ref().filter(is_bound) else { return };
        let before = **before;
        let (real, effective) = (event.uid, event.euid);
        let user = crate::event::Ids { real, effective, ..before.user };
        known.may_act_as(Some(Credentials { user, ..before }));
        let Some(process) = processes.get(event.process) else { return };
        let detail = format!("acted with uid {real} and effective uid 0");
        let deed = Deed::Seen { event: "credentials", detail };
        let step = Step { timestamp: event.timestamp, process: event.process, deed };
        let what = format!(
            "{} is root now, without a call or a program that gave it that (before: {})",
            name(process),
            rights(&before)
        );
        verdicts.findings.push(finding(process, Severity::Critical, what, vec![step]));
    }

    /// The process has opened a file: the classic may begin.
    fn read(&mut self, event: &Event, file: &File, processes: &ProcessTable) {
        let is_credentials = matches!(file.class, class::PASSWORD_HASHES | class::SUDOERS);
        let reads = file.open_flags & O_ACCMODE != O_WRONLY;
        let is_open = file.call == FileCall::Open && event.errno().is_none();
        if !is_credentials || !reads || !is_open {
            return;
        }
        let Some(process) = processes.get(event.process) else { return };
        let known = self.known.entry(event.process).or_default();
        if is_reader(process, known.is_raised) {
            return;
        }
        let path = file.path.as_ref().map(|path| escape(&path.bytes)).unwrap_or_default();
        let deed = Deed::Seen { event: "file_read", detail: format!("opened {path} to read") };
        let step = Step { timestamp: event.timestamp, process: event.process, deed };
        let classic = known.classic.get_or_insert_default();
        **classic = Classic { read: Some(step), became_root: None };
    }
}

/// How bad it is that this program gave rights; `None` if it is there for that.
fn gained_by_program(exec: &Exec, process: &Process, gain: &Gain) -> Option<Severity> {
    let path = exec.path_bytes();
    // The dynamic linker minds no LD_PRELOAD for such a program, so that does not count here.
    let is_sound = exec.identity().is_some() && !exec.is_unlinked();
    let is_listed = allowed::may_give(path, gain);
    // A container's or a chroot's: another sudo, but one that root installed there.
    let of_root = trust::PATH_OF_ROOT | trust::HOST_MOUNTS | trust::HOST_USERS;
    let is_helper = allowed::is_helpers_place(path) && process.program() == Program::Other;
    match (is_sound, is_listed) {
        (true, true) => None,
        (true, false) if !gain.leads_on() => Some(Severity::Warning),
        (true, false) if is_helper => Some(Severity::High),
        (false, true) if exec.trust.has(of_root) && !exec.is_unlinked() => Some(Severity::High),
        _ => Some(Severity::Critical),
    }
}

/// Whether to read credential files is the process's work.
fn is_reader(process: &Process, is_raised: bool) -> bool {
    let is_listed = |path: &&str| {
        identity::is_trusted_as(process, path.as_bytes())
            || is_raised
                && !process.was_traced
                && process.image.as_ref().is_some_and(|image| {
                    image.trust.is_whole()
                        && identity::is_listed_as(image.path.as_bytes(), path.as_bytes())
                })
    };
    allowed::READERS.iter().any(is_listed)
}

/// Whether the call was setuid, setreuid or setresuid, by whatever numbers.
fn is_set_uid(event: &Event) -> bool {
    event.call.is_some_and(|call| allowed::SET_UID.contains(&(call.abi, call.number)))
}

fn name(process: &Process) -> String {
    let path = process.image.as_ref().map_or("?", |image| image.path.as_str());
    format!("{path} (pid {})", process.id.tgid)
}

fn rights(of: &Credentials) -> String {
    let user = of.user;
    format!(
        "uid {}/{}/{} with capabilities {:#x}",
        user.real,
        user.effective,
        user.saved,
        of.permitted | of.effective
    )
}

fn finding(process: &Process, severity: Severity, message: String, steps: Vec<Step>) -> Finding {
    Finding { steps, ..RULE.finding(severity, process.id, message) }
}

#[cfg(test)]
mod tests;
