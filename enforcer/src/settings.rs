//! What the enforcer may do: by its file, and over it by its command line.

use sentinel_ipc::settings::Value;

/// The keys, for who wrote another one.
const KEYS: &str = "enforce, kills-per-minute";

/// What it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether it may kill at all.
    pub enforce: bool,
    /// Kills within a minute before it stops for good.
    pub kills_per_minute: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enforce: false, kills_per_minute: 10 }
    }
}

impl Settings {
    /// Takes one setting.
    ///
    /// # Errors
    /// What is allowed instead.
    pub fn apply(&mut self, key: &str, value: Value) -> Result<(), String> {
        match key {
            "enforce" => self.enforce = switch(key, value)?,
            "kills-per-minute" => self.kills_per_minute = kills(key, value)?,
            _ => return Err(format!("unknown key {key:?}; known are {KEYS}")),
        }
        Ok(())
    }
}

fn switch(key: &str, value: Value) -> Result<bool, String> {
    match value {
        Value::Switch(value) => Ok(value),
        other => Err(format!("{key} is true or false, not {other}")),
    }
}

fn kills(key: &str, value: Value) -> Result<u16, String> {
    match value {
        Value::Number(number @ 1..=1000) => {
            u16::try_from(number).map_err(|error| error.to_string())
        }
        other => Err(format!("{key} is a whole number from 1 to 1000, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_shipped_file_says_what_the_defaults_are() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/config/enforcer.toml");
        let mut settings = Settings { enforce: true, kills_per_minute: 999 };
        sentinel_ipc::settings::read(&path, |key, value| settings.apply(key, value)).unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn what_is_wrong_is_refused_with_what_is_allowed() {
        for (key, value, words) in [
            ("frob", Value::Switch(true), "known are enforce"),
            ("enforce", Value::Number(1), "true or false, not 1"),
            ("enforce", Value::Text("yes".into()), "not \"yes\""),
            ("kills-per-minute", Value::Number(0), "from 1 to 1000, not 0"),
            ("kills-per-minute", Value::Number(1001), "from 1 to 1000"),
            ("kills-per-minute", Value::Switch(true), "not true"),
        ] {
            let mut settings = Settings::default();
            let reason = settings.apply(key, value).unwrap_err();
            assert!(reason.contains(words), "{reason}");
            assert_eq!(settings, Settings::default());
        }
    }
}
