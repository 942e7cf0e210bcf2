//! Who takes a step, and what steps have in common.

use std::net::IpAddr;

use crate::{
    event::{ObjectId, ProcessId},
    rules::fields::{self, Seen},
};

/// Who does a step, seen from who did the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The same process.
    SameProcess,
    /// A child of it, by its fork.
    Child,
    /// It or one that descends from it.
    Tree,
    /// It, or one that data can have come to from it since then ([`crate::lineage`]).
    Lineage,
    /// Anyone.
    Any,
}

impl Relation {
    /// As rules name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SameProcess => "same_process",
            Self::Child => "child",
            Self::Tree => "tree",
            Self::Lineage => "lineage",
            Self::Any => "any",
        }
    }

    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::SameProcess, Self::Child, Self::Tree, Self::Lineage, Self::Any];

    /// Whether those who may take the step are found by the step, not by who took the one before.
    pub fn is_looked_for_everywhere(self) -> bool {
        matches!(self, Self::Lineage | Self::Any)
    }
}

/// What two steps have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Common {
    /// The file, pipe or socket.
    Object,
    /// The number of the descriptor.
    Number,
    /// The peer's IP address.
    Address,
    /// The process that the event is about.
    Target,
}

impl Common {
    /// Its names, and what it is.
    pub const ALL: [(&'static str, Self); 4] = [
        ("object", Self::Object),
        ("fd", Self::Number),
        ("address", Self::Address),
        ("target", Self::Target),
    ];

    /// What an event has of it.
    pub fn of(self, seen: &Seen<'_>) -> Option<Bound> {
        match self {
            Self::Object => fields::object_id(seen).map(Bound::Object),
            Self::Number => fields::fd(seen).map(Bound::Number),
            Self::Address => fields::address(seen).map(Bound::Address),
            Self::Target => fields::target(seen).map(Bound::Target),
        }
    }
}

/// What an earlier step's event had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// [`Common::Object`].
    Object(ObjectId),
    /// [`Common::Number`].
    Number(u32),
    /// [`Common::Address`].
    Address(IpAddr),
    /// [`Common::Target`].
    Target(ProcessId),
}

/// That a step's event has something in common with an earlier step's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// What.
    pub common: Common,
    /// The earlier step, counted from 0.
    pub step: usize,
}
