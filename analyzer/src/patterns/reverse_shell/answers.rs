//! Shells that sought a connection, read it on a number of their own (`read -u 5`), and answer to it turn by
//! turn.
//!
//! What is read is not told. What is: when a shell lets its output and errors, or a command's, go to a
//! connection that it holds elsewhere. Who pushes figures does that, and at most waits with sleep(1), whose
//! end is a sign; who is talked to waits without one.

use super::relay::is_sought;
use crate::{
    alert::Severity,
    descriptor_table::{DescriptorTable, Slot, StdioConnection},
    event::{ObjectId, ProcessId},
    keyed_hash::{self, HashMap},
    process_table::Process,
    step::{Deed, Step},
};

/// From the last sign of the shell to its next answer, before that is a turn, ns.
const TURN_NS: u64 = 200_000_000;
/// Turns that make a dialogue.
const TURNS: u32 = 3;

#[derive(Debug)]
struct Answering {
    connection: ObjectId,
    /// When it last answered, started a command, or one ended; CLOCK_BOOTTIME, ns.
    last: u64,
    /// It had waited before it started its last command.
    has_waited: bool,
    turns: u32,
}

/// Those that have answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    by_shell: HashMap<ProcessId, Answering>,
}

/// A dialogue.
pub(super) struct Turns {
    pub(super) stdio: StdioConnection,
    pub(super) severity: Severity,
    pub(super) last: Step,
}

impl Answers {
    /// `process` has started another.
    pub(super) fn forked(&mut self, process: ProcessId, now: u64) {
        if let Some(answering) = self.by_shell.get_mut(&process) {
            answering.has_waited = answering.waited(now);
            answering.last = now;
        }
    }

    /// A child of `process` has ended.
    pub(super) fn child_ended(&mut self, process: ProcessId, now: u64) {
        if let Some(answering) = self.by_shell.get_mut(&process) {
            answering.last = now;
        }
    }

    /// A child of `shell` has started a program.
    pub(super) fn command(
        &mut self,
        shell: &Process,
        child: &DescriptorTable,
        now: u64,
    ) -> Option<Turns> {
        let own = shell.descriptors.borrow();
        let slot = answer(child)?;
        // What stays there is a log.
        let stays = own.get(1).is_some_and(|own| own.object.id == slot.object.id);
        if stays { None } else { self.answered(shell, slot, true, now) }
    }

    /// `shell` has moved its own output or errors.
    pub(super) fn redirected(&mut self, shell: &Process, now: u64) -> Option<Turns> {
        let own = shell.descriptors.borrow();
        self.answered(shell, answer(&own)?, false, now)
    }

    fn answered(
        &mut self,
        shell: &Process,
        slot: &Slot,
        is_command: bool,
        now: u64,
    ) -> Option<Turns> {
        let connection = slot.object.id;
        let own = shell.descriptors.borrow();
        let holds_it = |(number, slot): (u32, &Slot)| {
            !(1..=2).contains(&number) && slot.object.id == connection
        };
        if !shell.program().is_shell() || !is_sought(&slot.object, now) || !own.iter().any(holds_it)
        {
            return None;
        }
        let new = || Answering { connection, last: now, has_waited: false, turns: 0 };
        let answering = self.by_shell.entry(shell.id).or_insert_with(new);
        if answering.connection != connection {
            *answering = new();
        }
        let has_waited = if is_command { answering.has_waited } else { answering.waited(now) };
        answering.turns += u32::from(has_waited);
        (answering.has_waited, answering.last) = (false, now);
        let turns = answering.turns;
        if turns < TURNS {
            return None;
        }
        // It may wait for something else, and tell what becomes of that.
        let has_other_input = own.iter().any(|(number, slot)| {
            let reads = slot.access.map_or(![1, 2].contains(&number), |access| access.reads);
            reads && slot.object.id != connection && slot.object.is_channel()
        });
        let severity = if has_other_input { Severity::High } else { Severity::Critical };
        let arrivals = slot.arrived.clone().into_iter().collect();
        let stdio = StdioConnection { object: slot.object.clone(), arrivals };
        let last = Step { timestamp: now, process: shell.id, deed: Deed::Turns(turns) };
        Some(Turns { stdio, severity, last })
    }

    /// The shell has ended or become another program.
    pub(super) fn forget(&mut self, shell: ProcessId) {
        keyed_hash::forget(&mut self.by_shell, &shell);
    }

    /// Forgets all shells but those that live.
    pub(super) fn retain(&mut self, lives: impl Fn(ProcessId) -> bool) {
        self.by_shell.retain(|&shell, _| lives(shell));
    }
}

impl Answering {
    fn waited(&self, now: u64) -> bool {
        now.saturating_sub(self.last) >= TURN_NS
    }
}

/// The connection that is both output and errors.
fn answer(descriptors: &DescriptorTable) -> Option<&Slot> {
    let output = descriptors.get(1).filter(|slot| slot.object.is_connection())?;
    descriptors.get(2).filter(|errors| errors.object.id == output.object.id)
}
