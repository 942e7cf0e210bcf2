//! Whether the enforcer kills: what its configuration, its environment and the kill switch say together.

use sentinel_ipc::frame::Mode;

use crate::marker::{Marker, Position};

/// The kill switch.
#[derive(Debug)]
pub struct Switch {
    is_configured: bool,
    is_off_by_environment: bool,
    position: Position,
    marker: Marker,
    /// Why the position does not survive a restart, if it does not.
    not_kept: Option<String>,
}

impl Switch {
    /// The switch in the position that the marker was found in.
    pub fn new(
        is_configured: bool,
        is_off_by_environment: bool,
        position: Position,
        marker: Marker,
    ) -> Self {
        let not_kept = marker.problem();
        Self { is_configured, is_off_by_environment, position, marker, not_kept }
    }

    /// What the enforcer does.
    pub fn mode(&self) -> Mode {
        if !self.is_configured {
            Mode::Shadow
        } else if self.is_off_by_environment || self.position == Position::Off {
            Mode::SwitchedOff
        } else {
            Mode::Enforce
        }
    }

    /// Whether nothing but the switch is in the way.
    pub fn can_be_on(&self) -> bool {
        self.is_configured && !self.is_off_by_environment
    }

    /// Turns it, at once, and keeps that for the next start.
    pub fn turn(&mut self, position: Position) {
        self.position = position;
        self.not_kept = self.marker.keep(position).err();
    }

    /// Why its position does not survive a restart, if it does not.
    pub fn not_kept(&self) -> Option<&str> {
        self.not_kept.as_deref()
    }

    /// Whether a restart would switch on what was switched off.
    pub fn would_be_on_again(&self) -> bool {
        self.position == Position::Off && self.not_kept.is_some()
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
            (false, false, Position::On, Mode::Shadow),
            (false, true, Position::Off, Mode::Shadow),
        ] {
            let mut switch = Switch::new(is_configured, is_off, position, marker());
            assert_eq!(switch.mode(), mode);
            assert_eq!(switch.can_be_on(), is_configured && !is_off);
            switch.turn(Position::On);
            assert_eq!(switch.mode() == Mode::Enforce, switch.can_be_on(), "kept nowhere, yet on");
            assert!(switch.not_kept().is_some() && !switch.would_be_on_again());
            switch.turn(Position::Off);
            assert_ne!(switch.mode(), Mode::Enforce);
            assert!(switch.would_be_on_again());
        }
    }
}
