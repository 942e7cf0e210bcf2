//! `sentinel enforce`: asks the enforcer, with which the analyzer has nothing to do, and says in words what
//! came of it.

use std::{fmt::Write, path::Path};

use sentinel_ipc::{
    administration::{AdminAnswer, AdminQuestion, Ask, VERSION},
    clock::boot_ns,
    frame::Mode,
    places,
};

use crate::{
    command_line::EnforceArguments,
    control::{self, ControlError},
};

/// Why it was not done.
#[derive(Debug)]
pub enum SwitchError {
    /// The enforcer cannot be asked.
    Control(ControlError),
    /// It cannot be switched on, for this reason.
    CannotBeOn(String),
}

impl std::fmt::Display for SwitchError {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Control(error) => error.fmt(to),
            Self::CannotBeOn(reason) => write!(to, "enforcement cannot be switched on: {reason}"),
        }
    }
}

impl std::error::Error for SwitchError {}

/// Does what the command line says; returns what is to be shown.
///
/// # Errors
/// When the enforcer cannot be asked, or cannot do it.
pub fn run(arguments: &EnforceArguments) -> Result<String, SwitchError> {
    let ask = arguments.ask();
    let question = AdminQuestion { version: VERSION, ask };
    let answer: AdminAnswer =
        control::ask(Path::new(places::ENFORCE), &question).map_err(SwitchError::Control)?;
    if let (Ask::On, Some(reason)) = (ask, obstacle(&answer)) {
        return Err(SwitchError::CannotBeOn(reason));
    }
    Ok(text(ask, &answer))
}

/// What keeps the enforcer from killing beside the switch.
fn obstacle(answer: &AdminAnswer) -> Option<String> {
    match (answer.is_configured, &answer.file) {
        (false, Some(file)) => Some(format!(
            "{file} does not say `enforce = true`; change that and `systemctl restart \
             sentinel-enforcer`"
        )),
        (false, None) => Some(
            "the enforcer was started without it; start `sentinel run` with --grimoire-enforce"
                .to_owned(),
        ),
        (true, _) if answer.is_off_by_environment => Some(
            "GRIMOIRE_ENFORCE=0 is in the enforcer's environment; take it out and start it anew"
                .to_owned(),
        ),
        (true, _) => None,
    }
}

/// How things are, in sentences; for a question about the state with numbers.
fn text(ask: Ask, answer: &AdminAnswer) -> String {
    let budget = answer.kills_per_minute;
    let mut text = match answer.mode {
        Mode::Enforce => {
            format!(
                "Enforcement is on: critical alerts end their process, {budget} a minute at most.\n"
            )
        }
        Mode::SwitchedOff if answer.is_off_by_environment => {
            "Enforcement is off by GRIMOIRE_ENFORCE=0 in the enforcer's environment.\n".to_owned()
        }
        Mode::SwitchedOff => "Enforcement is switched off: nothing is killed.\n".to_owned(),
        Mode::Shadow => "Enforcement is not configured: nothing is killed.\n".to_owned(),
        Mode::Tripped => "Enforcement has stopped itself: nothing is killed.\n".to_owned(),
    };
    let mut line = |sentence: &dyn std::fmt::Display| {
        let _infallible = writeln!(text, "{sentence}");
    };
    if answer.refused > 0 {
        line(&format_args!("Kill requests that waited were refused: {}.", answer.refused));
    }
    if answer.is_tripped {
        line(&"Its budget was exceeded: it kills no more until `sentinel enforce on`.");
    }
    if let Some(reason) = &answer.not_kept {
        line(&format_args!("The switch does not survive a restart of the enforcer: {reason}."));
    }
    if ask == Ask::Status {
        if let Some(reason) = obstacle(answer) {
            line(&format_args!("To switch it on: {reason}."));
        }
        let (total, last_minute) = (answer.kills, answer.kills_of_last_minute);
        line(&format_args!("Kills: {total}, in the last minute {last_minute} of {budget}."));
        let up = boot_ns().unwrap_or_default().saturating_sub(answer.about.since) / 1_000_000_000;
        line(&format_args!("Enforcer: pid {}, up {up} s.", answer.about.tgid));
    }
    text
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::frame::About;

    use super::*;

    fn answer() -> AdminAnswer {
        AdminAnswer {
            version: VERSION,
            mode: Mode::Enforce,
            is_configured: true,
            file: Some("/etc/sentinel/enforcer.toml".to_owned()),
            is_off_by_environment: false,
            not_kept: None,
            refused: 0,
            kills: 7,
            kills_of_last_minute: 2,
            kills_per_minute: 10,
            is_tripped: false,
            about: About { tgid: 55, ..About::default() },
        }
    }

    #[test]
    fn what_is_in_the_way_is_named_with_what_to_do() {
        assert_eq!(obstacle(&answer()), None);
        let unconfigured = AdminAnswer { is_configured: false, mode: Mode::Shadow, ..answer() };
        let reason = obstacle(&unconfigured).unwrap();
        assert!(reason.contains("/etc/sentinel/enforcer.toml"), "{reason}");
        assert!(reason.contains("systemctl restart sentinel-enforcer"), "{reason}");
        let reason = obstacle(&AdminAnswer { file: None, ..unconfigured }).unwrap();
        assert!(reason.contains("--grimoire-enforce"), "{reason}");
        let reason = obstacle(&AdminAnswer { is_off_by_environment: true, ..answer() }).unwrap();
        assert!(reason.contains("GRIMOIRE_ENFORCE=0"), "{reason}");
    }

    #[test]
    fn the_state_is_told_in_sentences() {
        let on = text(Ask::Status, &answer());
        for words in ["is on", "10 a minute", "Kills: 7, in the last minute 2 of 10", "pid 55"] {
            assert!(on.contains(words), "{words} in\n{on}");
        }
        let not_kept = Some("/x does not exist".to_owned());
        let off = AdminAnswer { mode: Mode::SwitchedOff, not_kept, refused: 3, ..answer() };
        let off = text(Ask::Off, &off);
        for words in ["switched off", "refused: 3", "does not survive", "/x does not exist"] {
            assert!(off.contains(words), "{words} in\n{off}");
        }
        let tripped = text(Ask::On, &AdminAnswer { is_tripped: true, ..answer() });
        assert!(tripped.contains("kills no more"), "{tripped}");
    }
}
