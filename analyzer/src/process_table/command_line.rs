//! A program's arguments on one line, made when it is first read: most programs end before.

use std::cell::OnceCell;

use crate::{escape, event::Arguments};

/// The line.
#[derive(Debug)]
pub struct CommandLine {
    arguments: Arguments,
    line: OnceCell<Box<str>>,
}

impl CommandLine {
    /// Of these arguments.
    pub(super) fn new(arguments: Arguments) -> Self {
        Self { arguments, line: OnceCell::new() }
    }

    /// Escaped; see [`escape::command_line`].
    pub fn as_str(&self) -> &str {
        self.line.get_or_init(|| escape::command_line(&self.arguments).into())
    }
}

impl PartialEq for CommandLine {
    fn eq(&self, other: &Self) -> bool {
        self.arguments == other.arguments
    }
}

impl Eq for CommandLine {}
