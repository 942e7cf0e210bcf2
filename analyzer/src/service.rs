//! `sentinel-analyzer`: the analyzer alone, beside a loader that waits at a socket.

use sentinel_ipc::{
    channel::Channel,
    confinement::{self, Sandbox},
};

use crate::{
    command_line::ServiceArguments,
    console::Console,
    json_log::JsonLog,
    launch::Launched,
    privileges,
    session::{self, Setup},
};

/// Connects, gives up privileges, and analyzes until a signal or the loader's end.
///
/// # Errors
/// When something is missing, or the loader is lost; nothing is analyzed then, and it should be
/// started again.
pub fn run(arguments: &ServiceArguments) -> Result<(), Box<dyn std::error::Error>> {
    confinement::close_inherited_descriptors(0)?;
    confinement::close_standard_input()?;
    let signals = session::signals()?;
    let patterns_log = arguments.engines.grimoire_log.as_deref().map(JsonLog::open).transpose()?;
    let loader = Channel::connect(&arguments.loader).map_err(|error| {
        let path = arguments.loader.display();
        format!("{path}: {error}; is sentinel-loader running, and may this user connect to it?")
    })?;
    let console = Console::new();
    let confined = privileges::drop_privileges()?;
    let mut notes = Vec::new();
    if confined.sandbox == Sandbox::Partial {
        notes.push("this kernel's landlock closes the file system only".to_owned());
    }
    let launched = Launched { loader, loader_process: None, enforcer: None, patterns_log };
    let setup =
        Setup { subscription: session::subscription(), control: None, recording: None, notes };
    let watched = session::Watched {
        scope: format!("what the loader behind {} watches", arguments.loader.display()),
        limit: None,
        enforce: false,
        debug: arguments.engines.grimoire_debug,
    };
    session::run(watched, launched, &signals, console, setup)?;
    Ok(())
}
