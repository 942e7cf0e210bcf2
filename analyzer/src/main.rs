//! `sentinel`: the command that operators use.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use sentinel_analyzer::{
    command_line::{Command, CommandLine, RunArguments},
    console::Console,
    launch, privileges, session,
};
use sentinel_ipc::confinement::{self, Sandbox};

fn main() -> ExitCode {
    let CommandLine { command: Command::Run(arguments) } = CommandLine::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not eprintln!, which panics when standard error is closed.
            let _told = writeln!(io::stderr(), "sentinel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &RunArguments) -> Result<(), Box<dyn std::error::Error>> {
    confinement::close_inherited_descriptors()?;
    confinement::close_standard_input()?;
    let signals = session::signals()?;
    let launched = launch::launch(arguments)?;
    let console = Console::new();
    let (account, sandbox) = privileges::drop_privileges()?;
    let mut notes = Vec::new();
    if !account.installed {
        notes.push(format!(
            "user sentinel is not installed: runs as uid {}, and the others likewise",
            account.uid
        ));
    }
    if sandbox == Sandbox::Partial {
        notes.push("this kernel's landlock closes the file system only".to_owned());
    }
    session::run(arguments, launched, &signals, console, notes)?;
    Ok(())
}
