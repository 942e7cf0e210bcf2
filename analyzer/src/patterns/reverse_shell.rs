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
//!   and does so again: critical, but for a script that root installed, which may speak a protocol: high, unless
//!   they have their input or errors there as well (`dialogue`);
//! - a shell lets its own output and errors, or a command's, go to a connection that it sought and holds on
//!   another number, and waits in between: critical, or high if it may wait for something else (`answers`);
//! - a shell or interpreter keeps a connection as its input and output by its own doing (an interpreter only
//!   if it connected out): critical if it was given no script and no code, or is an interpreter that has its
//!   errors there as well, else high, since an honest service may do so; a shell that was given a script or
//!   commands and starts with one there: high as well;
//! - a shell's input and output are pipes, unix sockets or a terminal, or only its output is, and at their
//!   other ends is one network peer, whoever is in between (`relay`): critical if somebody here sought that peer, the
//!   shell was given no script, and it waits before it runs commands (`fed`); else high;
//! - any program lets commands have a connection which it sought (`commands`): high, and critical if
//!   it goes on.
//!
//! Not meant: a redirection in passing, a program on a connection that is no shell (inetd), a shell
//! that only reads from or only writes to a connection, a program that reads what its commands say
//! (popen), what login services start (`login_services`). One connection is reported once, and once
//! more if it turns out worse; what is high only, once of all connections that one script serves.
//! Two connections that were sought at one host count as one.

mod answers;
mod commands;
mod dialogue;
mod fed;
mod login_services;
mod relay;
mod reports;

use std::{collections::BTreeMap, rc::Rc};

use answers::{Answers, Turns};
use commands::Commands;
use dialogue::Dialogues;
use fed::{FedShells, Judgement};
use login_services::is_login_service;
use relay::is_sought;
use reports::{Reports, name};
use sentinel_ipc::{frame::KindSet, kernel_abi::kind};

use super::{Rule, Verdicts};
use crate::{
    alert::{Engine, Severity},
    descriptor_table::{DescriptorTable, OpenObject, Slot, StdioConnection},
    event::{Action, DescriptorCall, Event, ObjectId, ProcessId},
    process_table::{Process, ProcessTable},
    program::Program,
    step::{Deed, Step},
};

/// What the rule looks at, beside fork, exec and exit.
pub const NEEDS: KindSet = KindSet::of(&[
    kind::SOCKET,
    kind::CONNECT,
    kind::ACCEPT,
    kind::BIND,
    kind::LISTEN,
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
    answers: Answers,
    fed: FedShells,
    commands: Commands,
    reports: Reports,
}

impl ReverseShell {
    /// Looks at an event that `processes` has followed already.
    pub fn observe(&mut self, event: &Event, processes: &ProcessTable, verdicts: &mut Verdicts) {
        // Most of what happens is nothing to it, and not worth a look for the process.
        if matches!(
            event.action,
            Action::Traffic(_)
                | Action::File(_)
                | Action::Paths(_)
                | Action::SetCloseOnExec { .. }
                | Action::Close { first: 3.., .. }
        ) {
            return;
        }
        let Some(process) = processes.get(event.process) else { return };
        match &event.action {
            Action::Exec(_) => self.exec(event, process, processes, verdicts),
            Action::Running(_) => self.running(event, process, processes, verdicts),
            Action::Exit => {
                self.armed.remove(&event.process);
                self.dialogues.forget(event.process);
                self.answers.forget(event.process);
                self.fed.forget(event.process);
                if let Some(parent) = process.parent() {
                    self.answers.child_ended(parent, event.timestamp);
                    self.fed.child_ended(parent, event.timestamp);
                }
            }
            Action::Fork { .. } => {
                self.answers.forked(event.process, event.timestamp);
                self.fed.forked(event.process, event.timestamp);
                self.look(event, processes, verdicts);
            }
            _ if event.private_descriptors => {}
            Action::Descriptor { call, number, from, .. } => {
                let on_stdio = number.is_some_and(|number| number <= 2);
                if on_stdio || *call == DescriptorCall::Connect {
                    self.redirection(event, process, *call, (*number, *from), verdicts);
                }
            }
            Action::Close { first, .. } if *first <= 2 => self.rearm(event, process, verdicts),
            _ => {}
        }
    }

    /// Looks at what time alone decides; `now` is CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, processes: &ProcessTable, verdicts: &mut Verdicts) {
        for judgement in self.fed.look_at_all(now, processes) {
            self.fed_shell(judgement, processes, verdicts);
        }
        // An exit may have been lost.
        self.armed.retain(|&id, _| processes.get(id).is_some());
        self.dialogues.retain(|id| processes.get(id).is_some());
        self.answers.retain(|id| processes.get(id).is_some());
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
            let descriptors = process.descriptors.borrow();
            let Some(stdio) = descriptors.stdio_connection() else { continue };
            let severity = match process.program() {
                Program::Interpreter { .. } if !stdio.object.connected_out() => continue,
                Program::Other => continue,
                program if program.reads_input() => Severity::Critical,
                // Errors are for somebody who reads them; a protocol has no place for them.
                Program::Interpreter { .. } if has_errors(&descriptors, &stdio) => {
                    Severity::Critical
                }
                Program::Shell { .. } | Program::Interpreter { .. } => Severity::High,
            };
            let held = Deed::Held(now.saturating_sub(since) / 1_000_000);
            let step = Step { timestamp: now, process: id, deed: held };
            let message = "keeps its input and output on the connection";
            self.reports.report(process, &stdio, severity, message, &step, verdicts);
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
        self.answers.forget(process.id);
        self.dialogues.started(&process.descriptors.borrow());
        self.fed.watch(process, event.timestamp);
        let Some(image) = &process.image else { return };
        let deed = Deed::Exec(Rc::clone(image));
        let step = Step { timestamp: event.timestamp, process: process.id, deed };
        let own = process.descriptors.borrow().stdio_connection();
        // The parent first: of a shell and its commands on one connection the shell is the news.
        if let Some(parent) = process.parent().and_then(|parent| processes.get(parent)) {
            self.command_of(parent, process, own.as_ref(), &step, verdicts);
            self.fed.command(parent, &process.descriptors.borrow(), event.timestamp);
            if let Some(judgement) = self.fed.look(parent.id, event.timestamp, processes) {
                self.fed_shell(judgement, processes, verdicts);
            }
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
                self.reports.report(process, stdio, severity, message, &step, verdicts);
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
        let image = process.image.as_ref().filter(|image| image.started == event.timestamp);
        let Some(image) = image else { return };
        self.fed.watch(process, event.timestamp);
        let deed = Deed::Running(Rc::clone(image));
        let step = Step { timestamp: event.timestamp, process: process.id, deed };
        let own = process.descriptors.borrow().stdio_connection();
        if let Some(parent) = process.parent().and_then(|parent| processes.get(parent)) {
            self.command_of(parent, process, own.as_ref(), &step, verdicts);
        }
        if let (Some(stdio), Some(severity)) = (&own, at_work_on_a_connection(process.program())) {
            let message = "was running already, with its input and output on the connection";
            self.reports.report(process, stdio, severity, message, &step, verdicts);
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
        let own = parent.descriptors.borrow().stdio_connection();
        if let Some(stdio) = &own {
            let shell_on_terminal = matches!(child.program(), Program::Shell { .. })
                && on_terminal(&child.descriptors.borrow());
            let is_served = is_login_service(parent);
            let same = child_stdio.is_some_and(|own| own.object.id == stdio.object.id);
            let runs_commands = same && self.runs_commands(parent, stdio);
            if shell_on_terminal && !is_served {
                // Some service may hold a connection that it accepted; none connects out for that.
                let may_serve = parent.image.is_some()
                    && parent.program() == Program::Other
                    && !is_sought(&stdio.object, step.timestamp);
                let severity = if may_serve { Severity::High } else { Severity::Critical };
                let message = "relays between the connection and a shell on a terminal";
                self.reports.report(parent, stdio, severity, message, step, verdicts);
                return;
            }
            if runs_commands {
                let message = "runs commands with input and output on the connection";
                self.reports.report(parent, stdio, Severity::Critical, message, step, verdicts);
                return;
            }
        }
        self.command_on_connection(parent, child, step, verdicts);
        if !parent.program().is_shell() {
            return;
        }
        let turns = self.answers.command(parent, &child.descriptors.borrow(), step.timestamp);
        self.answering(parent, turns, verdicts);
        let answer = self.dialogues.command(parent, &child.descriptors.borrow());
        let Some(answer) = answer else { return };
        verdicts.note(|| {
            format!("{} answered {} time(s) to what it read", name(parent), answer.rounds)
        });
        if let Some(severity) = answer.severity {
            let may_serve = !took_itself_there(parent, &answer.object);
            let severity = if may_serve { Severity::High } else { severity };
            let stdio = StdioConnection {
                // Of two that count as one, the one that was told already.
                object: own.map_or(answer.object, |stdio| stdio.object),
                arrivals: answer.slot.arrived.into_iter().collect(),
            };
            let message = "runs commands between reading from and answering to the connection";
            self.reports.report(parent, &stdio, severity, message, step, verdicts);
        }
    }

    fn answering(&mut self, shell: &Process, found: Option<Turns>, verdicts: &mut Verdicts) {
        if let Some(Turns { stdio, severity, last }) = found {
            let message = "answers turn by turn, with output and errors on the connection";
            self.reports.report(shell, &stdio, severity, message, &last, verdicts);
        }
    }

    /// A child of `parent` has started a program: on a connection that the parent sought?
    fn command_on_connection(
        &mut self,
        parent: &Process,
        child: &Process,
        step: &Step,
        verdicts: &mut Verdicts,
    ) {
        let seen = self.commands.started(parent, &child.descriptors.borrow(), step.timestamp);
        if let Some((stdio, severity)) = seen {
            let message = "runs commands that answer to the connection";
            self.reports.report(parent, &stdio, severity, message, step, verdicts);
        }
    }

    /// Looks at the process of `event`, if it is a shell that is fed and something has come of it.
    fn look(&mut self, event: &Event, processes: &ProcessTable, verdicts: &mut Verdicts) {
        if let Some(judgement) = self.fed.look(event.process, event.timestamp, processes) {
            self.fed_shell(judgement, processes, verdicts);
        }
    }

    fn fed_shell(&mut self, found: Judgement, processes: &ProcessTable, verdicts: &mut Verdicts) {
        let Some(shell) = processes.get(found.shell) else { return };
        let relay = processes.get(found.relay.process).map(name).unwrap_or_default();
        let arrivals = |slot: Option<&Slot>| slot.and_then(|slot| slot.arrived.clone());
        let descriptors = shell.descriptors.borrow();
        let arrivals = [0, 1].into_iter().filter_map(|number| arrivals(descriptors.get(number)));
        let stdio =
            StdioConnection { object: found.relay.connection, arrivals: arrivals.collect() };
        let input = descriptors.get(fed::input_of(shell));
        let is_direct = input.is_some_and(|slot| slot.object.is_connection());
        let message = if is_direct {
            format!("has its input from a connection, and its output goes by {relay}")
        } else {
            format!("has its input and output from {relay}, which relays them")
        };
        self.reports.report(shell, &stdio, found.severity, &message, &found.last, verdicts);
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
        (number, from): (Option<u32>, Option<u32>),
        verdicts: &mut Verdicts,
    ) {
        self.rearm(event, process, verdicts);
        if call != DescriptorCall::Dup {
            return;
        }
        if number != Some(0) {
            // A shell keeps what it will put back where no command finds it.
            let descriptors = process.descriptors.borrow();
            if from.and_then(|from| descriptors.get(from)).is_some_and(Slot::closes_on_exec) {
                return;
            }
            let turns = self.answers.redirected(process, event.timestamp);
            self.answering(process, turns, verdicts);
            return;
        }
        let is_shell = process.program().is_shell();
        if is_shell && fed::input_of(process) == 0 {
            self.fed.watch(process, event.timestamp);
        }
        let descriptors = process.descriptors.borrow();
        let input = descriptors.get(0).filter(|slot| slot.object.is_connection());
        if let (true, Some(input)) = (is_shell, input) {
            self.dialogues.input(process.id, &input.object);
        }
    }

    /// Notes whether the process has now a connection as its input and output by its own doing.
    fn rearm(&mut self, event: &Event, process: &Process, verdicts: &mut Verdicts) {
        if process.program() == Program::Other {
            return;
        }
        match process.descriptors.borrow().stdio_connection() {
            Some(stdio) => {
                if !took_itself_there(process, &stdio.object) {
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
}

/// Whether `process`, whose input and output are `connection`, put itself there. Who was given his input by a
/// service may take it off and put it back, and may have to answer there, unless he takes his commands from it.
fn took_itself_there(process: &Process, connection: &OpenObject) -> bool {
    let was_given_it =
        process.image.as_ref().is_some_and(|image| image.input == Some(connection.id));
    !was_given_it || connection.connected_out() || process.program().reads_input()
}

/// Whether output and errors both go to the connection.
fn has_errors(descriptors: &DescriptorTable, stdio: &StdioConnection) -> bool {
    let is_there = |number| {
        descriptors.get(number).is_some_and(|slot: &Slot| slot.object.id == stdio.object.id)
    };
    is_there(1) && is_there(2)
}

/// How bad it is that a program has a connection as its input and output from its start.
fn at_work_on_a_connection(program: Program) -> Option<Severity> {
    match program {
        _ if program.reads_input() => Some(Severity::Critical),
        Program::Shell { .. } => Some(Severity::High),
        Program::Interpreter { .. } | Program::Other => None,
    }
}

fn on_terminal(descriptors: &DescriptorTable) -> bool {
    [0, 1].iter().all(|&number| descriptors.get(number).is_some_and(|slot| slot.object.is_terminal))
}

#[cfg(test)]
mod tests;
