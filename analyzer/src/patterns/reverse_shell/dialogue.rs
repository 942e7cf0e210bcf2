//! Shells that take input from a connection and let commands answer to it, turn by turn.
//!
//! The input may be a redirection in passing (`read line <&5`), may stay (`done <&5`), or may come
//! through a pipe from another program that reads the connection (`cat <&5 | while read line`).

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use crate::{
    descriptor_table::{DescriptorTable, OpenObject, Slot},
    event::{ObjectId, ProcessId},
    process_table::Process,
};

/// Commands that answer to a connection between inputs from it, before that is a dialogue: fewer
/// when errors go there too, as a shell's user wants them and a protocol does not.
const ROUNDS: u32 = 3;
const ROUNDS_WITH_ERRORS: u32 = 2;
/// Pipes that are remembered; the oldest is forgotten first.
const MAX_FEEDS: usize = 1024;

#[derive(Debug)]
struct Dialogue {
    connection: ObjectId,
    input_since_last_command: bool,
    rounds: u32,
}

/// The dialogues under way.
#[derive(Debug, Default)]
pub(super) struct Dialogues {
    by_shell: HashMap<ProcessId, Dialogue>,
    /// Pipes that a program fills from a connection, oldest first.
    feeds: VecDeque<(ObjectId, ObjectId)>,
}

/// A command answered.
pub(super) struct Answer {
    /// The connection.
    pub(super) object: Rc<OpenObject>,
    /// How it came to the command's output.
    pub(super) slot: Slot,
    /// How often that was so far.
    pub(super) rounds: u32,
    /// Whether that is often enough.
    pub(super) is_dialogue: bool,
}

impl Dialogues {
    /// `shell` has put `connection` on its descriptor 0.
    pub(super) fn input(&mut self, shell: ProcessId, connection: ObjectId) {
        self.of(shell, connection).input_since_last_command = true;
    }

    /// A program was started with these descriptors: notes a pipe that it fills from a connection.
    pub(super) fn started(&mut self, descriptors: &DescriptorTable) {
        let input = descriptors.get(0).filter(|slot| slot.object.is_connection());
        let output = descriptors.get(1).filter(|slot| slot.object.is_pipe);
        let (Some(input), Some(output)) = (input, output) else { return };
        self.feeds.push_back((output.object.id, input.object.id));
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
        let id = slot.object.id;
        let both = [output, errors].iter().flatten().filter(|slot| slot.object.id == id).count();
        let keeps_reading = self.keeps_reading(shell, id);
        if !keeps_reading && self.by_shell.get(&shell.id).is_none_or(|known| known.connection != id)
        {
            return None;
        }
        let dialogue = self.of(shell.id, id);
        if !keeps_reading && !dialogue.input_since_last_command {
            return None;
        }
        dialogue.input_since_last_command = false;
        dialogue.rounds += 1;
        let rounds = dialogue.rounds;
        let enough = if both == 2 { ROUNDS_WITH_ERRORS } else { ROUNDS };
        let is_dialogue = rounds >= enough;
        Some(Answer { object: Rc::clone(&slot.object), slot: slot.clone(), rounds, is_dialogue })
    }

    /// Whether the shell's descriptor 0 is the connection, or a pipe that is filled from it.
    fn keeps_reading(&self, shell: &Process, connection: ObjectId) -> bool {
        let descriptors = shell.descriptors.borrow();
        let Some(input) = descriptors.get(0) else { return false };
        let feed = (input.object.id, connection);
        input.object.id == connection || (input.object.is_pipe && self.feeds.contains(&feed))
    }

    fn of(&mut self, shell: ProcessId, connection: ObjectId) -> &mut Dialogue {
        let new = || Dialogue { connection, input_since_last_command: false, rounds: 0 };
        let dialogue = self.by_shell.entry(shell).or_insert_with(new);
        if dialogue.connection != connection {
            *dialogue = new();
        }
        dialogue
    }

    /// The shell has ended or become another program.
    pub(super) fn forget(&mut self, shell: ProcessId) {
        self.by_shell.remove(&shell);
    }

    /// Forgets all shells but those that live.
    pub(super) fn retain(&mut self, lives: impl Fn(ProcessId) -> bool) {
        self.by_shell.retain(|&shell, _| lives(shell));
    }
}
