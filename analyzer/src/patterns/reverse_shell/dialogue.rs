//! Shells that take input from a connection and let commands answer to it, turn by turn.
//!
//! The input may be a redirection in passing (`read line <&5`), may stay (`done <&5`), or may come
//! through a pipe from another program that reads the connection (`cat <&5 | while read line`).

use std::{
    collections::VecDeque,
    rc::{Rc, Weak},
};

use crate::{
    alert::Severity,
    descriptor_table::{DescriptorTable, OpenObject, Slot},
    event::{ObjectId, ProcessId},
    keyed_hash::{self, HashMap},
    process_table::Process,
};

/// Commands that answer to a connection between inputs from it, before that is a dialogue: fewer if they have their
/// errors there as well, as a shell's user wants them and a protocol does not. Of a script that root installed it
/// is certain only then, or if they have their input there.
const ROUNDS: u32 = 3;
const ROUNDS_WITH_ERRORS: u32 = 2;
/// Pipes that are remembered; the oldest is forgotten first.
const MAX_FEEDS: usize = 1024;

#[derive(Debug)]
struct Dialogue {
    /// One of those that it goes through.
    connection: Weak<OpenObject>,
    input_since_last_command: bool,
    rounds: u32,
    /// Those in which input or errors were there as well.
    whole: u32,
    /// Those in which errors were.
    with_errors: u32,
}

impl Dialogue {
    fn on(connection: Weak<OpenObject>) -> Self {
        let (rounds, whole, with_errors) = (0, 0, 0);
        Self { connection, input_since_last_command: false, rounds, whole, with_errors }
    }

    /// How bad it is by now, of a shell that runs an installed script or none.
    fn severity(&self, is_installed: bool) -> Option<Severity> {
        if self.with_errors >= ROUNDS_WITH_ERRORS || self.whole >= ROUNDS {
            Some(Severity::Critical)
        } else {
            let severity = if is_installed { Severity::High } else { Severity::Critical };
            (self.rounds >= ROUNDS).then_some(severity)
        }
    }
}

/// The dialogues under way.
#[derive(Debug, Default)]
pub(super) struct Dialogues {
    by_shell: HashMap<ProcessId, Dialogue>,
    /// Pipes that a program fills from a connection, oldest first.
    feeds: VecDeque<(ObjectId, Weak<OpenObject>)>,
}

/// A command answered.
pub(super) struct Answer {
    /// The connection.
    pub(super) object: Rc<OpenObject>,
    /// How it came to the command's output.
    pub(super) slot: Slot,
    /// How often that was so far.
    pub(super) rounds: u32,
    /// How bad that is, if it is often enough.
    pub(super) severity: Option<Severity>,
}

impl Dialogues {
    /// `shell` has put `connection` on its descriptor 0.
    pub(super) fn input(&mut self, shell: ProcessId, connection: &Rc<OpenObject>) {
        self.of(shell, connection).input_since_last_command = true;
    }

    /// A program was started with these descriptors: notes a pipe that it fills from a connection.
    pub(super) fn started(&mut self, descriptors: &DescriptorTable) {
        let input = descriptors.get(0).filter(|slot| slot.object.is_connection());
        let output = descriptors.get(1).filter(|slot| slot.object.is_pipe);
        let (Some(input), Some(output)) = (input, output) else { return };
        self.feeds.push_back((output.object.id, Rc::downgrade(&input.object)));
        if self.feeds.len() > MAX_FEEDS {
            self.feeds.pop_front();
        }
    }

    /// `shell` has had a command started with these descriptors: is that an answer to input?
    pub(super) fn command(
        &mut self,
        shell: &Process,
        descriptors: &DescriptorTable,
    ) -> Option<Answer> {
        let connection =
            |number| descriptors.get(number).filter(|slot| slot.object.is_connection());
        let (output, errors) = (connection(1), connection(2));
        let slot = output.or(errors)?;
        let object = &slot.object;
        let has_errors =
            output.is_some() && errors.is_some_and(|slot| slot.object.is_one_with(object));
        let has_input = self.reads(descriptors, object);
        let keeps_reading = self.reads(&shell.descriptors.borrow(), object);
        let is_of_another = |known: &Dialogue| !is_one(&known.connection, object);
        if !keeps_reading && self.by_shell.get(&shell.id).is_none_or(is_of_another) {
            return None;
        }
        let dialogue = self.of(shell.id, object);
        if !keeps_reading && !dialogue.input_since_last_command {
            return None;
        }
        dialogue.input_since_last_command = false;
        dialogue.rounds += 1;
        dialogue.whole += u32::from(has_errors || has_input);
        dialogue.with_errors += u32::from(has_errors);
        let is_installed =
            shell.image.as_ref().is_some_and(|image| image.identity.sound_script().is_some());
        let (rounds, severity) = (dialogue.rounds, dialogue.severity(is_installed));
        Some(Answer { object: Rc::clone(object), slot: slot.clone(), rounds, severity })
    }

    /// Whether descriptor 0 is the connection, or a pipe that is filled from it.
    fn reads(&self, descriptors: &DescriptorTable, connection: &OpenObject) -> bool {
        let Some(input) = descriptors.get(0) else { return false };
        let feeds = |(pipe, from): &(_, _)| *pipe == input.object.id && is_one(from, connection);
        connection.is_one_with(&input.object)
            || (input.object.is_pipe && self.feeds.iter().any(feeds))
    }

    fn of(&mut self, shell: ProcessId, connection: &Rc<OpenObject>) -> &mut Dialogue {
        let new = || Dialogue::on(Rc::downgrade(connection));
        let dialogue = self.by_shell.entry(shell).or_insert_with(new);
        if !is_one(&dialogue.connection, connection) {
            *dialogue = new();
        }
        dialogue
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

/// Whether what was known leads to the peer of `connection`, if anybody has it still.
fn is_one(known: &Weak<OpenObject>, connection: &OpenObject) -> bool {
    known.upgrade().is_some_and(|known| known.is_one_with(connection))
}
