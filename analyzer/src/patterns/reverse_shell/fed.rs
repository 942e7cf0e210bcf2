//! Shells whose input or output goes through another process, and how they get on with it.
//!
//! The bytes that pass are not told. What is: when the shell starts commands and when these end. A
//! shell that is given a script starts one command after another; one that is talked to waits in
//! between. Each wait that a command ends is a turn.

use std::{collections::BTreeMap, rc::Rc};

use super::relay::{Relay, Search};
use crate::{
    alert::Severity,
    descriptor_table::{DescriptorTable, OpenObject},
    event::ProcessId,
    process_table::{Process, ProcessTable},
    program::Program,
    step::{Deed, Step},
};

/// From the last sign of a command to the start of the next, before that is a turn, ns.
const TURN_NS: u64 = 200_000_000;
/// The same for a shell that runs a script, which may wait for other things, and with no command left
/// that runs.
const LONG_TURN_NS: u64 = 1_000_000_000;
/// Turns that make a dialogue: on a terminal, elsewhere, and of a shell that runs a script.
const TURNS_ON_TERMINAL: u32 = 1;
const TURNS: u32 = 2;
const LONG_TURNS: u32 = 3;
/// How long a shell has its input and output with a relay before that is worth a word, ns.
const HELD_NS: u64 = 1_000_000_000;
/// Commands after which it is, however soon they come.
const COMMANDS: u32 = 2;
/// From one search that an event asks for to the next, ns; what is asked for in between waits for the
/// next beat of time.
const SEARCH_INTERVAL_NS: u64 = 50_000_000;

/// A shell that is fed.
#[derive(Debug)]
struct Fed {
    /// When it was started, or got that input; CLOCK_BOOTTIME, ns.
    begun: u64,
    /// When it last started a command or one ended, likewise.
    last: u64,
    /// Commands that run.
    alive: u32,
    commands: u32,
    turns: u32,
    long_turns: u32,
    /// Whether it should be looked at.
    is_due: bool,
    /// Whether it was looked at for having lived so long.
    was_held: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct FedShells {
    by_shell: BTreeMap<ProcessId, Fed>,
    next_search: u64,
}

/// What a look at one came to.
pub(super) struct Judgement {
    pub(super) shell: ProcessId,
    pub(super) severity: Severity,
    pub(super) relay: Relay,
    pub(super) last: Step,
}

impl FedShells {
    /// `process` has been started, or has got another input.
    pub(super) fn watch(&mut self, process: &Process, now: u64) {
        let may_be_fed = match process.program() {
            Program::Shell { .. } => true,
            Program::Interpreter { reads } => reads.is_some(),
            Program::Other => false,
        };
        if may_be_fed && is_fed(&process.descriptors.borrow(), input_of(process)) {
            self.by_shell.insert(process.id, Fed::new(now));
        } else {
            self.by_shell.remove(&process.id);
        }
    }

    /// `process` has started another.
    pub(super) fn forked(&mut self, process: ProcessId, now: u64) {
        let Some(fed) = self.by_shell.get_mut(&process) else { return };
        let waited = now.saturating_sub(fed.last);
        if waited >= TURN_NS {
            fed.turns = fed.turns.saturating_add(1);
            fed.is_due = true;
        }
        if waited >= LONG_TURN_NS && fed.alive == 0 {
            fed.long_turns = fed.long_turns.saturating_add(1);
        }
        fed.alive = fed.alive.saturating_add(1);
        fed.last = now;
    }

    /// A child of `process` has ended.
    pub(super) fn child_ended(&mut self, process: ProcessId, now: u64) {
        if let Some(fed) = self.by_shell.get_mut(&process) {
            fed.alive = fed.alive.saturating_sub(1);
            fed.last = now;
        }
    }

    /// `child` of `parent` has started a program. A program that is no known shell is one that is fed if
    /// it lets its commands have its own input and output.
    pub(super) fn command(&mut self, parent: &Process, child: &DescriptorTable, now: u64) {
        let is_new = !self.by_shell.contains_key(&parent.id);
        if is_new && (parent.program() != Program::Other || !shares_stdio(parent, child)) {
            return;
        }
        let begun = parent.image.as_ref().map_or(now, |image| image.started);
        let fed = self.by_shell.entry(parent.id).or_insert_with(|| Fed::new(begun));
        if is_new {
            fed.alive = 1;
            fed.last = now;
        }
        fed.commands = fed.commands.saturating_add(1);
        fed.is_due |= fed.commands == COMMANDS;
    }

    /// It has ended or become another program.
    pub(super) fn forget(&mut self, process: ProcessId) {
        self.by_shell.remove(&process);
    }

    /// Looks at those that an event has made worth it, unless it was done a moment ago.
    pub(super) fn look(
        &mut self,
        shell: ProcessId,
        now: u64,
        processes: &ProcessTable,
    ) -> Option<Judgement> {
        let fed = self.by_shell.get_mut(&shell).filter(|fed| fed.is_due)?;
        if now < self.next_search {
            return None;
        }
        self.next_search = now.saturating_add(SEARCH_INTERVAL_NS);
        fed.is_due = false;
        judge(shell, fed, &Search::of(processes), processes, now)
    }

    /// Looks at all that are worth it; forgets those that do not live any more.
    pub(super) fn look_at_all(&mut self, now: u64, processes: &ProcessTable) -> Vec<Judgement> {
        self.by_shell.retain(|&id, _| processes.get(id).is_some());
        for fed in self.by_shell.values_mut().filter(|fed| !fed.was_held) {
            if now.saturating_sub(fed.begun) >= HELD_NS {
                (fed.was_held, fed.is_due) = (true, true);
            }
        }
        if !self.by_shell.values().any(|fed| fed.is_due) {
            return Vec::new();
        }
        let search = Search::of(processes);
        let due = self.by_shell.iter_mut().filter(|(_, fed)| fed.is_due);
        due.filter_map(|(&shell, fed)| {
            fed.is_due = false;
            judge(shell, fed, &search, processes, now)
        })
        .collect()
    }
}

impl Fed {
    fn new(begun: u64) -> Self {
        let last = begun;
        let (alive, commands, turns, long_turns) = (0, 0, 0, 0);
        let (is_due, was_held) = (false, false);
        Self { begun, last, alive, commands, turns, long_turns, is_due, was_held }
    }
}

fn judge<'a>(
    shell: ProcessId,
    fed: &Fed,
    search: &Search<'a>,
    processes: &'a ProcessTable,
    now: u64,
) -> Option<Judgement> {
    let process = processes.get(shell)?;
    let relay = search.relay_of(process, fed.begun, now)?;
    let on_terminal = process
        .descriptors
        .borrow()
        .get(input_of(process))
        .is_some_and(|slot| slot.object.is_terminal);
    let enough = if on_terminal { TURNS_ON_TERMINAL } else { TURNS };
    let held = now.saturating_sub(fed.begun);
    let severity = if process.program().reads().is_none() {
        (fed.long_turns >= LONG_TURNS).then_some(Severity::High)?
    } else if relay.is_sought && fed.turns >= enough {
        Severity::Critical
    } else {
        (fed.commands >= COMMANDS || held >= HELD_NS).then_some(Severity::High)?
    };
    let deed = if fed.turns > 0 { Deed::Turns(fed.turns) } else { Deed::Held(held / 1_000_000) };
    let last = Step { timestamp: now, process: shell, deed };
    Some(Judgement { shell, severity, relay, last })
}

/// The descriptor that counts as the input of `process`.
pub(super) fn input_of(process: &Process) -> u32 {
    process.program().reads().unwrap_or(0)
}

/// Whether input may come from another process, or comes from a connection to which output does not go but
/// by another process.
fn is_fed(descriptors: &DescriptorTable, input: u32) -> bool {
    let slot = |number| descriptors.get(number);
    let goes_on = || [1, 2].into_iter().filter_map(slot).any(|slot| slot.object.is_channel());
    slot(input).is_some_and(|input| {
        input.object.is_channel() || (input.object.is_connection() && goes_on())
    })
}

/// Whether `child` has the input and an output of `parent`, and others may be at their ends.
fn shares_stdio(parent: &Process, child: &DescriptorTable) -> bool {
    let own = parent.descriptors.borrow();
    let object =
        |table: &DescriptorTable, number| table.get(number).map(|slot| Rc::clone(&slot.object));
    let is_same = |number| match (object(&own, number), object(child, number)) {
        (Some(own), Some(other)) => own.id == other.id && OpenObject::is_channel(&own),
        _ => false,
    };
    is_same(0) && (is_same(1) || is_same(2))
}
