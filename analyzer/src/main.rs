//! `sentinel`: the command that operators use.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, error::ErrorKind};
use sentinel_analyzer::{
    command_line::{
        CheckArguments, Command, CommandLine, ConfigCommand, RunArguments, ShadowReportArguments,
        StatusArguments,
    },
    config_check,
    configuration::Configuration,
    console::Console,
    control::{self, ControlSocket},
    kill_switch, launch, privileges,
    program::KnownPrograms,
    recording::Recording,
    replay,
    rules::RuleSet,
    rules_command, service_manager,
    session::{self, Keeping, Measuring, Setup, Source, Told, Watched},
    shadow_report,
};
use sentinel_ipc::{
    confinement::{self, Confined},
    places, turns,
};

fn main() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Run(arguments) => run(&arguments, None),
        Command::Record(arguments) => run(&arguments.as_run(), Some(&arguments.output)),
        Command::Replay(arguments) => replay::run(&arguments, Console::new()).map_err(Into::into),
        Command::Status(arguments) => show_status(&arguments),
        Command::ShadowReport(arguments) => report_shadow(&arguments),
        Command::Rules(command) => rules_command::run(&command)
            .map_err(Into::into)
            .and_then(|text| Ok(io::stdout().write_all(text.as_bytes())?)),
        Command::Config(ConfigCommand::Check(arguments)) => check_configuration(&arguments),
        Command::Enforce(arguments) => kill_switch::run(&arguments)
            .map_err(Into::into)
            .and_then(|text| Ok(io::stdout().write_all(text.as_bytes())?)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not eprintln!, which panics when standard error is closed.
            let _told = writeln!(io::stderr(), "sentinel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show_status(arguments: &StatusArguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut status = control::status(Path::new(control::SOCKET))?;
    service_manager::add_restarts(&mut status);
    let text =
        if arguments.json { serde_json::to_string_pretty(&status)? + "\n" } else { status.text() };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn report_shadow(arguments: &ShadowReportArguments) -> Result<(), Box<dyn std::error::Error>> {
    let report = shadow_report::run(arguments)?;
    io::stdout().write_all(report.text.as_bytes())?;
    match report.wrong.as_slice() {
        [] => Ok(()),
        wrong => Err(wrong.join("\nsentinel: ").into()),
    }
}

fn check_configuration(arguments: &CheckArguments) -> Result<(), Box<dyn std::error::Error>> {
    let report = config_check::check(&arguments.directory)?;
    io::stdout().write_all(report.text.as_bytes())?;
    if report.is_sound { Ok(()) } else { Err("the configuration is not sound".into()) }
}

/// Runs all three processes; keeps what the loader says in `capture`, if that is given.
fn run(
    arguments: &RunArguments,
    capture: Option<&PathBuf>,
) -> Result<(), Box<dyn std::error::Error>> {
    let configuration = Configuration::of(arguments.engines.clone()).unwrap_or_else(|error| {
        CommandLine::command().error(ErrorKind::ArgumentConflict, error).exit()
    });
    confinement::close_inherited_descriptors(0)?;
    confinement::close_standard_input()?;
    let signals = session::signals()?;
    launch::check_root()?;
    let rules = RuleSet::load(&configuration.rules)?.activate();
    let mut directories: Vec<_> = configuration.rules.open()?.into_iter().collect();
    let keeping = session::keeping(&configuration, configuration.baselines.as_deref())?;
    directories.extend(keeping.as_ref().map(Keeping::directory).transpose()?);
    let measuring = Measuring::open(configuration.metrics_file.as_deref())?;
    directories.extend(measuring.as_ref().map(Measuring::directory).transpose()?);
    let whole = session::whole_subscription(configuration.engines.baseline.is_some());
    let recording =
        capture.map(|path| Recording::create(path, arguments.scope(), whole)).transpose()?;
    let control = ControlSocket::listen(Path::new(control::SOCKET))?;
    let admins = control::listening(Path::new(places::ENFORCE))?;
    let has_switch = admins.is_some();
    let console = Console::new();
    turns::ask_for_early_ones();
    let launched = launch::launch(arguments, &configuration, admins, console.is_one_terminal())?;
    let programs = KnownPrograms::installed();
    let Confined { account, sandbox, about } =
        privileges::drop_privileges(directories, launched.sinks.connections())?;
    let mut notes = Vec::new();
    if control.is_none() {
        notes.push("another Sentinel runs here: `sentinel status` asks that one".to_owned());
    }
    if !has_switch {
        notes.push("another enforcer runs here: `sentinel enforce` asks that one".to_owned());
    }
    if !account.installed {
        notes.push(format!(
            "user sentinel is not installed: runs as uid {}, and the others likewise",
            account.uid
        ));
    }
    if !sandbox.is_full {
        notes.push("this kernel's landlock closes the file system only".to_owned());
    }
    if let Some(recording) = &recording {
        notes.push(format!("records into {}", recording.path().display()));
    }
    let watched = Watched::of(arguments, &configuration);
    let told = Told { source: Source::Options, options: arguments.engines.clone(), configuration };
    let service = None;
    let setup = Setup {
        rules,
        programs,
        told,
        control,
        recording,
        keeping,
        measuring,
        about,
        service,
        notes,
    };
    session::run(watched, launched, &signals, console, setup)?;
    Ok(())
}
