//! Whether the enforcer kills: what its configuration, its environment and the kill switch say together.

use sentinel_ipc::frame::Mode;

use crate::marker::{Begun, Kept, Marker, Position};

/// The kill switch.
#[derive(Debug)]
pub struct Switch {
    is_configured: bool,
    is_off_by_environment: bool,
    kept: Kept,
    marker: Marker,
    /// Why the position does not survive a restart, if it does not.
    not_kept: Option<String>,
}

impl Switch {
    /// The switch as the marker was found.
    pub fn new(
        is_configured: bool,
        is_off_by_environment: bool,
        kept: Kept,
        marker: Marker,
    ) -> Self {
        let not_kept = marker.problem();
        Self { is_configured, is_off_by_environment, kept, marker, not_kept }
    }

    /// What the enforcer does, as long as its budget lasts.
    pub fn mode(&self) -> Mode {
        if !self.is_configured {
            Mode::Shadow
        } else if self.is_off_by_environment || self.kept.position == Position::Off {
            Mode::SwitchedOff
        } else {
            Mode::Enforce
        }
    }

    /// Whether nothing but the switch is in the way.
    pub fn can_be_on(&self) -> bool {
        self.is_configured && !self.is_off_by_environment
    }

    /// What is kept for the next start.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Turns it, at once, and keeps that for the next start.
    pub fn turn(&mut self, position: Position) {
        self.kept.position = position;
        self.not_kept = self.marker.keep(&self.kept, true).err();
    }

    /// Keeps how many kills a minute has had by the last of them, at `last`.
    pub fn keep_kills(&mut self, kills: usize, last: u64) {
        (self.kept.kills, self.kept.last) = (u16::try_from(kills).unwrap_or(u16::MAX), last);
        self.keep();
    }

    /// Keeps that a tree is being ended, or no more.
    pub fn keep_tree(&mut self, tree: Option<Begun>) {
        if self.kept.tree != tree {
            self.kept.tree = tree;
            self.keep();
        }
    }

    /// Not onto the disk, for which a kill would have to wait: with the host ends who was stopped, and the minute.
    fn keep(&mut self) {
        let kept = self.marker.keep(&self.kept, false);
        self.not_kept = kept.err().or(self.not_kept.take());
    }

    /// Why its position does not survive a restart, if it does not.
    pub fn not_kept(&self) -> Option<&str> {
        self.not_kept.as_deref()
    }

    /// Whether the configuration lets it kill.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// Whether the environment keeps it from killing.
    pub fn is_off_by_environment(&self) -> bool {
        self.is_off_by_environment
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn it_kills_only_if_everybody_lets_it() {
        let marker = || Marker::open(Path::new("/nonexistent/marker")).0;
        for (is_configured, is_off, position, mode) in [
            (true, false, Position::On, Mode::Enforce),
            (true, false, Position::Off, Mode::SwitchedOff),
            (true, true, Position::On, Mode::SwitchedOff),
            (true, false, Position::Tripped, Mode::Enforce),
            (false, false, Position::On, Mode::Shadow),
            (false, true, Position::Off, Mode::Shadow),
        ] {
            let kept = Kept { position, ..Kept::default() };
            let mut switch = Switch::new(is_configured, is_off, kept, marker());
            assert_eq!(switch.mode(), mode);
            assert_eq!(switch.can_be_on(), is_configured && !is_off);
            switch.turn(Position::On);
            assert_eq!(switch.mode() == Mode::Enforce, switch.can_be_on(), "kept nowhere, yet on");
            assert!(switch.not_kept().is_some());
            switch.turn(Position::Off);
            assert_ne!(switch.mode(), Mode::Enforce);
        }
    }
}
