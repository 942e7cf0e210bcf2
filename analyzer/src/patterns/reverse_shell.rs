//! A shell, or an interpreter that takes commands, whose input and output are one network
//! connection (MITRE T1059).
//!
//! What counts is the state of descriptors 0, 1 and 2, not the calls that led there:
//!
//! - a shell or interpreter that was given no script and no code starts with input and output on a
//!   connection, and so takes its commands from there: critical;
//! - one that holds a connection as input and output (or any program that connected out) starts a
//!   shell on a terminal (pty relay): critical;
//! - one that put a connection on its own input and output lets commands run there (a shell one
//!   command, an interpreter that connected out two): critical;
//! - a shell takes its input from a connection, if only through a pipe, lets commands answer to it,
//!   and does so again: critical (`dialogue`);
//! - a shell that was given a script or commands starts like that, or a shell or interpreter goes on
//!   like that by its own doing (an interpreter only if it connected out): high, since an honest
//!   service may do so.
//!
//! Not meant: a redirection in passing, a program on a connection that is no shell (inetd), a shell
//! that only reads from or only writes to a connection. One connection is reported once, and once
//! more if it turns out worse.

mod dialogue;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, VecDeque},
    rc::Rc,
};

use dialogue::Dialogues;
use sentinel_ipc::{frame::KindSet, kernel_abi::kind};

use super::{Finding, Rule, Verdicts};
use crate::{
    alert::{Engine, Severity},
    descriptor_table::{DescriptorTable, OpenObject, StdioConnection},
    event::{Action, DescriptorCall, Event, ObjectId, ProcessId},
    process_table::{Image, Process, ProcessTable},
    program::Program,
    step::{Deed, Step},
};

/// What the rule looks at, beside fork, exec and exit.
pub const NEEDS: KindSet = KindSet::of(&[
    kind::SOCKET,
    kind::CONNECT,
    kind::ACCEPT,
    kind::DUP,
    kind::CLOSE,
    kind::CLOSE_RANGE,
    kind::PIPE,
    kind::SOCKETPAIR,
    kind::RECEIVED,
]);

/// The rule's name and number.
pub static RULE: Rule = Rule::of("reverse_shell", "T1059", Engine::Patterns);

/// How long a redirection may last before it is more than one in passing, ns. A forked child has
/// become its program long before.
const HOLD_NS: u64 = 1_000_000_000;
/// Reported connections that are remembered; the oldest is forgotten first.
const MAX_REPORTED: usize = 4096;

/// A shell or interpreter that has put a connection on its own input and output.
#[derive(Debug)]
struct Armed {
    connection: ObjectId,
    since: u64,
    /// That it lasts is noted already.
    held: bool,
    /// Commands that it ran there.
    commands: u32,
}

/// The rule's state: bounded by the processes that live.
#[derive(Debug, Default)]
pub struct ReverseShell {
    armed: BTreeMap<ProcessId, Armed>,
    dialogues: Dialogues,
    reported: HashMap<ObjectId, Reported>,
    reported_in_order: VecDeque<ObjectId>,
}

/// What was said of a connection.
#[derive(Debug)]
struct Reported {
    severity: Severity,
    /// The last process it was said of.
    process: ProcessId,
}

impl ReverseShell {
    /// Looks at an event that `processes` has followed already.
    pub fn observe(&mut self, event: &Event, processes: &ProcessTable, verdicts: &mut Verdicts) {
        let Some(process) = processes.get(event.process) else { return };
        match &event.action {
            Action::Exec(_) => self.exec(event, process, processes, verdicts),
            Action::Running(_) => self.running(event, process, processes, verdicts),
            Action::Exit => {
                self.armed.remove(&event.process);
                self.dialogues.forget(event.process);
            }
            _ if event.private_descriptors => {}
            Action::Descriptor { call, number, .. } => {
                let on_stdio = number.is_some_and(|number| number <= 2);
                if on_stdio || *call == DescriptorCall::Connect {
                    self.redirection(event, process, *call, *number, verdicts);
                }
            }
            Action::Close { first, .. } if *first <= 2 => self.rearm(event, process, verdicts),
            _ => {}
        }
    }

    /// Looks at what time alone decides; `now` is CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, processes: &ProcessTable, verdicts: &mut Verdicts) {
        // An exit may have been lost.
        self.armed.retain(|&id, _| processes.get(id).is_some());
        self.dialogues.retain(|id| processes.get(id).is_some());
        let due: Vec<(ProcessId, u64)> = self
            .armed
            .iter()
            .filter(|(_, armed)| !armed.held && now.saturating_sub(armed.since) >= HOLD_NS)
            .map(|(&process, armed)| (process, armed.since))
            .collect();
        for (id, since) in due {
            if let Some(armed) = self.armed.get_mut(&id) {
                armed.held = true;
            }
            let Some(process) = processes.get(id) else { continue };
            let Some(stdio) = process.descriptors.borrow().stdio_connection() else { continue };
            let took_itself_there = match process.program() {
                Program::Shell { .. } => true,
                Program::Interpreter { .. } => stdio.object.connected_out(),
                Program::Other => false,
            };
            if took_itself_there {
                let held = Deed::Held(now.saturating_sub(since) / 1_000_000);
                let step = Step { timestamp: now, process: id, deed: held };
                let message = "keeps its input and output on the connection";
                self.report(process, &stdio, Severity::High, message, &step, verdicts);
            }
        }
    }

    fn exec(
        &mut self,
        event: &Event,
        process: &Process,
        processes: &ProcessTable,
        verdicts: &mut Verdicts,
    ) {
        // Whatever the old program had begun is over.
        self.armed.remove(&process.id);
        self.dialogues.forget(process.id);
        self.dialogues.started(&process.descriptors.borrow());
        let step = exec_step(event, process);
        let own = process.descriptors.borrow().stdio_connection();
        // The parent first: of a shell and its commands on one connection the shell is the news.
        if let Some(parent) = process.parent().and_then(|parent| processes.get(parent)) {
            self.command_of(parent, process, own.as_ref(), &step, verdicts);
        }
        if let Some(stdio) = &own {
            let severity = at_work_on_a_connection(process.program());
            if severity == Some(Severity::High) && stdio.object.connected_out() {
                // Nobody handed it this connection: its first command makes it worse.
                let connection = stdio.object.id;
                let armed = Armed { connection, since: event.timestamp, held: true, commands: 0 };
                self.armed.insert(process.id, armed);
            }
            if let Some(severity) = severity {
                let message = "started with its input and output on the connection";
                self.report(process, stdio, severity, message, &step, verdicts);
            }
        }
    }

    /// A snapshot found the process: what its program was started with counts as at its start.
    fn running(
        &mut self,
        event: &Event,
        process: &Process,
        processes: &ProcessTable,
        verdicts: &mut Verdicts,
    ) {
        let is_new = process.image.as_ref().is_some_and(|image| image.started == event.timestamp);
        if !is_new {
            return;
        }
        let (path, command_line) = words(process);
        let deed = Deed::Running { path, command_line };
        let step = Step { timestamp: event.timestamp, process: process.id, deed };
        let own = process.descriptors.borrow().stdio_connection();
        if let Some(parent) = process.parent().and_then(|parent| processes.get(parent)) {
            self.command_of(parent, process, own.as_ref(), &step, verdicts);
        }
        if let (Some(stdio), Some(severity)) = (&own, at_work_on_a_connection(process.program())) {
            let message = "was running already, with its input and output on the connection";
            self.report(process, stdio, severity, message, &step, verdicts);
        }
    }

    /// A child of `parent` has started a program: what does that say about the parent?
    fn command_of(
        &mut self,
        parent: &Process,
        child: &Process,
        child_stdio: Option<&StdioConnection>,
        step: &Step,
        verdicts: &mut Verdicts,
    ) {
        if let Some(stdio) = parent.descriptors.borrow().stdio_connection() {
            let shell_on_terminal = matches!(child.program(), Program::Shell { .. })
                && on_terminal(&child.descriptors.borrow());
            let same = child_stdio.is_some_and(|own| own.object.id == stdio.object.id);
            let runs_commands = same && self.runs_commands(parent, &stdio);
            // A login service may hold a connection that it accepted; none connects out for that.
            let may_serve = parent.image.is_some()
                && parent.program() == Program::Other
                && !stdio.object.connected_out();
            if shell_on_terminal && !may_serve {
                let message = "relays between the connection and a shell on a terminal";
                self.report(parent, &stdio, Severity::Critical, message, step, verdicts);
            } else if runs_commands {
                let message = "runs commands with input and output on the connection";
                self.report(parent, &stdio, Severity::Critical, message, step, verdicts);
            }
            return;
        }
        if !matches!(parent.program(), Program::Shell { .. }) {
            return;
        }
        let answer = self.dialogues.command(parent, &child.descriptors.borrow());
        let Some(answer) = answer else { return };
        verdicts.note(|| {
            format!("{} answered {} time(s) to what it read", name(parent), answer.rounds)
        });
        if answer.is_dialogue {
            let stdio = StdioConnection {
                object: answer.object,
                arrivals: answer.slot.arrived.into_iter().collect(),
                placed: step.timestamp,
            };
            let message = "runs commands between reading from and answering to the connection";
            self.report(parent, &stdio, Severity::Critical, message, step, verdicts);
        }
    }

    /// Notes one more command of `parent` on the connection that it put itself on: is that enough?
    fn runs_commands(&mut self, parent: &Process, stdio: &StdioConnection) -> bool {
        let Some(armed) = self.armed.get_mut(&parent.id) else { return false };
        armed.commands += 1;
        match parent.program() {
            Program::Shell { .. } => true,
            // One program may be a helper that serves the connection.
            Program::Interpreter { .. } => stdio.object.connected_out() && armed.commands >= 2,
            Program::Other => false,
        }
    }

    fn redirection(
        &mut self,
        event: &Event,
        process: &Process,
        call: DescriptorCall,
        number: Option<u32>,
        verdicts: &mut Verdicts,
    ) {
        self.rearm(event, process, verdicts);
        if number != Some(0) || call != DescriptorCall::Dup {
            return;
        }
        let is_shell = matches!(process.program(), Program::Shell { .. });
        let descriptors = process.descriptors.borrow();
        let input = descriptors.get(0).filter(|slot| slot.object.is_connection());
        if let (true, Some(input)) = (is_shell, input) {
            self.dialogues.input(process.id, input.object.id);
        }
    }

    /// Notes whether the process has now a connection as its input and output by its own doing: it
    /// came to descriptor 0 since the program was started.
    fn rearm(&mut self, event: &Event, process: &Process, verdicts: &mut Verdicts) {
        if process.program() == Program::Other {
            return;
        }
        match process.descriptors.borrow().stdio_connection() {
            Some(stdio) => {
                let started = process.image.as_ref().map_or(0, |image| image.started);
                if stdio.placed <= started {
                    return;
                }
                let connection = stdio.object.id;
                let known = self.armed.get(&process.id);
                if known.is_none_or(|armed| armed.connection != connection) {
                    let since = event.timestamp;
                    self.armed
                        .insert(process.id, Armed { connection, since, held: false, commands: 0 });
                    verdicts.note(|| {
                        format!("{} has its input and output on a connection", name(process))
                    });
                }
            }
            None => {
                if self.armed.remove(&process.id).is_some() {
                    verdicts.note(|| format!("{} took them off again", name(process)));
                }
            }
        }
    }

    fn report(
        &mut self,
        process: &Process,
        stdio: &StdioConnection,
        severity: Severity,
        message: &str,
        last: &Step,
        verdicts: &mut Verdicts,
    ) {
        let repeat = match self.novelty(stdio.object.id, severity, process.id) {
            Novelty::News => false,
            Novelty::AnotherProcess => true,
            Novelty::Known => return,
        };
        let remote = stdio.object.socket().and_then(|ends| ends.remote);
        let mut steps: Vec<Step> =
            stdio.object.history().chain(stdio.arrivals.clone()).chain([last.clone()]).collect();
        steps.sort_by_key(|step| step.timestamp);
        let peer = peer(&stdio.object);
        let message = format!("{} {message} to {peer}", name(process));
        let process = process.id;
        let rule = RULE.clone();
        verdicts.findings.push(Finding { rule, severity, process, message, steps, remote, repeat });
    }

    fn novelty(&mut self, connection: ObjectId, severity: Severity, process: ProcessId) -> Novelty {
        let Some(known) = self.reported.get_mut(&connection) else {
            self.reported.insert(connection, Reported { severity, process });
            self.reported_in_order.push_back(connection);
            if self.reported_in_order.len() > MAX_REPORTED
                && let Some(oldest) = self.reported_in_order.pop_front()
            {
                self.reported.remove(&oldest);
            }
            return Novelty::News;
        };
        let novelty = match severity.cmp(&known.severity) {
            Ordering::Greater => Novelty::News,
            Ordering::Equal if process != known.process => Novelty::AnotherProcess,
            Ordering::Equal | Ordering::Less => return Novelty::Known,
        };
        *known = Reported { severity, process };
        novelty
    }
}

/// Whether something was said already.
enum Novelty {
    News,
    AnotherProcess,
    Known,
}

fn peer(object: &OpenObject) -> String {
    match object.socket().and_then(|ends| ends.remote) {
        Some(remote) => remote.to_string(),
        None => "a peer without an IP address".to_owned(),
    }
}

fn name(process: &Process) -> String {
    let path = process.image.as_ref().map_or("?", |image| image.path.as_str());
    format!("{path} (pid {})", process.id.tgid)
}

/// How bad it is that a program has a connection as its input and output from its start.
fn at_work_on_a_connection(program: Program) -> Option<Severity> {
    match program {
        Program::Shell { reads_input: true } | Program::Interpreter { reads_input: true } => {
            Some(Severity::Critical)
        }
        Program::Shell { reads_input: false } => Some(Severity::High),
        Program::Interpreter { reads_input: false } | Program::Other => None,
    }
}

/// Path and command line of the process's program.
fn words(process: &Process) -> (String, String) {
    let words = |image: &Rc<Image>| (image.path.clone(), image.command_line.clone());
    process.image.as_ref().map(words).unwrap_or_default()
}

fn exec_step(event: &Event, process: &Process) -> Step {
    let (path, command_line) = words(process);
    let deed = Deed::Exec { path, command_line };
    Step { timestamp: event.timestamp, process: process.id, deed }
}

fn on_terminal(descriptors: &DescriptorTable) -> bool {
    [0, 1].iter().all(|&number| descriptors.get(number).is_some_and(|slot| slot.object.is_terminal))
}

#[cfg(test)]
mod tests;
