//! `sentinel-analyzer`: the analyzer alone, beside a loader and an enforcer that wait at sockets.

use std::{path::Path, time::Instant};

use sentinel_ipc::{
    activation::Sockets, channel::Channel, confinement, endpoint::Endpoint, notify::Notifier,
    places, turns,
};

use crate::{
    command_line::ServiceArguments,
    configuration::{self, BASELINES, Configuration},
    console::Console,
    control::ControlSocket,
    launch::Launched,
    privileges,
    program::KnownPrograms,
    rules::RuleSet,
    session::{self, Keeping, Measuring, Service, Setup, Source, Told},
    sinks::{Rotation, Sinks},
};

/// Connects, gives up privileges, and analyzes until a signal or the loader's end.
///
/// # Errors
/// When something is missing, or the loader is lost; nothing is analyzed then, and it should be
/// started again.
pub fn run(arguments: &ServiceArguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut sockets = Sockets::inherited()?;
    confinement::close_inherited_descriptors(sockets.as_ref().map_or(0, Sockets::count))?;
    confinement::close_standard_input()?;
    let signals = session::signals()?;
    let configuration = Configuration::load(arguments.config.as_deref(), &arguments.engines)?;
    let rules = RuleSet::load(&configuration.rules)?.activate();
    let sinks = Sinks::open(&configuration, Rotation::Possible)?;
    let mut directories = sinks.directories()?;
    directories.extend(configuration.rules.open()?);
    let baselines = configuration.baselines.as_deref().unwrap_or(Path::new(BASELINES));
    let keeping = session::keeping(&configuration, Some(baselines))?;
    directories.extend(keeping.as_ref().map(Keeping::directory).transpose()?);
    let measuring = Measuring::open(configuration.metrics_file.as_deref())?;
    directories.extend(measuring.as_ref().map(Measuring::directory).transpose()?);
    directories.extend(configuration::directory(arguments.config.as_deref())?);
    let loader = Channel::connect(&arguments.loader).map_err(|error| {
        let path = arguments.loader.display();
        format!("{path}: {error}; is sentinel-loader running, and may this user connect to it?")
    })?;
    let (enforce, debug) = (configuration.enforced, configuration.debug);
    let engines = configuration.engines.clone();
    let is_on_syslog = configuration.syslog.is_some();
    let source = Source::File(arguments.config.clone());
    let told = Told { source, options: arguments.engines.clone(), configuration };
    let service = sockets.as_mut().map(service).transpose()?;
    let control = match &mut sockets {
        Some(sockets) => Some(ControlSocket::inherited(sockets.take("admins")?)),
        None => None,
    };
    let enforcer = service.as_ref().and_then(|_| call_enforcer());
    // What goes to syslog is in the journal by that way.
    let console = if is_on_syslog { Console::without_alerts() } else { Console::new() };
    let programs = KnownPrograms::installed();
    turns::ask_for_early_ones();
    let confined = privileges::drop_privileges(directories, sinks.connections())?;
    let mut notes = Vec::new();
    if !confined.sandbox.is_full {
        notes.push("this kernel's landlock closes the file system only".to_owned());
    }
    let launched = Launched {
        loader,
        loader_process: None,
        enforcer,
        enforcer_process: None,
        relayed: None,
        sinks,
    };
    let about = confined.about;
    let recording = None;
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
    let watched = session::Watched { limit: None, enforce, debug, engines };
    session::run(watched, launched, &signals, console, setup)?;
    Ok(())
}

/// What the service manager gives this process to work with.
fn service(sockets: &mut Sockets) -> Result<Service, Box<dyn std::error::Error>> {
    let notifier =
        Notifier::from_environment().map_err(|error| format!("NOTIFY_SOCKET: {error}"))?;
    Ok(Service {
        siblings: Endpoint::new(sockets.take("siblings")?)?,
        enforcer_user: confinement::account("sentinel-enforcer")?.uid,
        notifier,
        starting: Some(Instant::now()),
    })
}

/// The enforcer, if its socket is there; without it everything is detected and nothing killed.
fn call_enforcer() -> Option<Channel> {
    match Channel::connect(Path::new(places::ENFORCER)) {
        Ok(channel) => Some(channel),
        Err(error) if error.is_absence() => None,
        Err(error) => {
            sentinel_ipc::diagnostics::tell(&format!(
                "sentinel-analyzer: {}: {error}; nothing will be killed",
                places::ENFORCER
            ));
            None
        }
    }
}
