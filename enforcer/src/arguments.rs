//! The enforcer's own configuration, from its command line and environment.

use std::ffi::OsString;

use sentinel_ipc::frame::Mode;

/// The environment variable that, set to 0, keeps the enforcer from killing.
pub const KILL_SWITCH: &str = "GRIMOIRE_ENFORCE";

/// What it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arguments {
    /// Whether it kills.
    pub mode: Mode,
    /// Kill only what is in the sensor's scope at that moment.
    pub only_in_scope: bool,
}

impl Arguments {
    /// Parses what follows the program's name, and looks at the environment.
    ///
    /// # Errors
    /// A sentence that names the offending argument.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let switch = std::env::var_os(KILL_SWITCH);
        let off = switch.is_some_and(|value| value == "0");
        Self::from(arguments, off)
    }

    fn from(arguments: impl Iterator<Item = OsString>, off: bool) -> Result<Self, String> {
        let mut parsed = Self { mode: Mode::Shadow, only_in_scope: false };
        for argument in arguments {
            match argument.to_str() {
                Some("--enforce") if off => parsed.mode = Mode::SwitchedOff,
                Some("--enforce") => parsed.mode = Mode::Enforce,
                Some("--only-in-scope") => parsed.only_in_scope = true,
                _ => return Err(format!("unknown argument {argument:?}")),
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(arguments: &[&str], off: bool) -> Result<Arguments, String> {
        Arguments::from(arguments.iter().map(OsString::from), off)
    }

    #[test]
    fn it_kills_only_when_asked_and_not_switched_off() {
        assert_eq!(from(&[], false).unwrap().mode, Mode::Shadow);
        assert_eq!(from(&["--enforce"], false).unwrap().mode, Mode::Enforce);
        assert_eq!(from(&["--enforce"], true).unwrap().mode, Mode::SwitchedOff);
        assert_eq!(from(&[], true).unwrap().mode, Mode::Shadow);
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        assert!(from(&["--enforce=yes"], false).unwrap_err().contains("--enforce=yes"));
    }
}
