//! What administrators ask the enforcer at [`crate::places::ENFORCE`] and what it answers, one packet each.

use serde::{Deserialize, Serialize};

use crate::frame::{About, Mode};

/// Raised whenever a message changes; a question of another version gets no answer.
pub const VERSION: u16 = 1;

/// Administrator → enforcer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminQuestion {
    /// [`VERSION`] of who asks.
    pub version: u16,
    /// What for.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// How things are.
    Status,
    /// Kill, if the configuration allows it, with a whole budget. Changes nothing where it does not.
    On,
    /// Kill nobody from now on, nor whom a request named that waits already.
    Off,
}

/// Enforcer → administrator: how things are, after what was asked was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminAnswer {
    /// [`VERSION`] of the enforcer.
    pub version: u16,
    /// What it does from now on.
    pub mode: Mode,
    /// Whether its configuration lets it kill at all.
    pub is_configured: bool,
    /// Its configuration file, if it has one.
    pub file: Option<String>,
    /// Whether `GRIMOIRE_ENFORCE=0` in its environment keeps it from killing.
    pub is_off_by_environment: bool,
    /// Why the switch is set otherwise after a restart; `None` if it is not.
    pub not_kept: Option<String>,
    /// Requests that waited and were refused before this answer.
    pub refused: u32,
    /// Kills since its start.
    pub kills: u64,
    /// Kills within the last minute.
    pub kills_of_last_minute: u32,
    /// Kills that it allows within a minute.
    pub kills_per_minute: u32,
    /// Whether more were asked for at some time: it kills no more until [`Ask::On`].
    pub is_tripped: bool,
    /// Itself.
    pub about: About,
}
