//! `sentinel`: the command that operators use.

use std::process::ExitCode;

use clap::Parser;
use sentinel_analyzer::{
    command_line::{Command, CommandLine, RunArguments},
    launch, session,
};

fn main() -> ExitCode {
    let CommandLine { command: Command::Run(arguments) } = CommandLine::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentinel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &RunArguments) -> Result<(), Box<dyn std::error::Error>> {
    let signals = session::signals()?;
    let launched = launch::launch(arguments)?;
    session::run(arguments, launched, &signals)?;
    Ok(())
}
