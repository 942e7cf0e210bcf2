//! `sentinel run` while it is still root: opens logs, starts loader and enforcer.

use std::{
    ffi::OsString,
    fmt,
    io::{self, PipeWriter},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    unistd::geteuid,
};
use sentinel_ipc::channel::{Channel, ChannelError};

use crate::{
    command_line::RunArguments,
    configuration::Configuration,
    relayed::Relayed,
    sinks::{Rotation, Sinks},
};

/// Where packages put the loader and the enforcer.
const INSTALLED: &str = "/usr/libexec/sentinel";

/// The environment variable that, set to 0, keeps the enforcer from killing.
const KILL_SWITCH: &str = "GRIMOIRE_ENFORCE";

/// Why nothing was started.
#[derive(Debug)]
pub enum LaunchError {
    /// The caller is not root.
    NotRoot,
    /// A log cannot be written, or syslog not reached.
    Sink(String),
    /// The program of this name is missing.
    NoProgram(&'static str, Vec<PathBuf>),
    /// A program cannot be started.
    Spawn(PathBuf, io::Error),
    /// No socket for them can be had.
    Channel(ChannelError),
    /// No pipe for their words.
    Pipe(io::Error),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRoot => write!(
                to,
                "must be started as root to load its eBPF programs: `sudo sentinel run …`"
            ),
            Self::Sink(sentence) => write!(to, "{sentence}"),
            Self::NoProgram(name, places) => {
                write!(to, "{name} is missing; looked at")?;
                places.iter().try_for_each(|place| write!(to, " {}", place.display()))?;
                write!(to, "; build or install both from one package")
            }
            Self::Spawn(path, error) => write!(to, "cannot start {}: {error}", path.display()),
            Self::Channel(error) => write!(to, "cannot make a socket: {error}"),
            Self::Pipe(error) => write!(to, "cannot make a pipe: {error}"),
        }
    }
}

impl std::error::Error for LaunchError {}

/// What the analyzer works with from here on.
pub struct Launched {
    /// Connection to the loader.
    pub loader: Channel,
    /// The loader's process, if it is this one's child.
    pub loader_process: Option<Child>,
    /// Connection to the enforcer.
    pub enforcer: Option<Channel>,
    /// The enforcer's process, if it is this one's child.
    pub enforcer_process: Option<Child>,
    /// What both say, if they do not say it themselves.
    pub relayed: Option<Relayed>,
    /// Where alerts go.
    pub sinks: Sinks,
}

/// Whether the caller may start anything at all.
///
/// # Errors
/// When it is not root.
pub fn check_root() -> Result<(), LaunchError> {
    if geteuid().is_root() { Ok(()) } else { Err(LaunchError::NotRoot) }
}

/// Opens everything and starts the other two, the enforcer with the socket of its administrators;
/// `configuration` is what the settings among `arguments` come to. What the two say goes where this process's
/// own words go, or through a pipe if they are `relayed`.
///
/// # Errors
/// When something is missing; nothing runs then.
pub fn launch(
    arguments: &RunArguments,
    configuration: &Configuration,
    admins: Option<OwnedFd>,
    relayed: bool,
) -> Result<Launched, LaunchError> {
    let sinks = Sinks::open(configuration, Rotation::None).map_err(LaunchError::Sink)?;
    let (loader, loaders_analyzer) = Channel::pair().map_err(LaunchError::Channel)?;
    let (enforcer, enforcers_analyzer) = Channel::pair().map_err(LaunchError::Channel)?;
    let (loaders_enforcer, enforcers_loader) = Channel::raw_pair().map_err(LaunchError::Channel)?;
    let pair = relayed.then(Relayed::pair).transpose().map_err(LaunchError::Pipe)?;
    let (relayed, writer) = pair.unzip();
    let loader_process = start(
        "sentinel-loader",
        loader_arguments(arguments, configuration),
        loaders_analyzer,
        loaders_enforcer,
        writer.as_ref(),
    )?;
    let mut given = enforcer_arguments(configuration);
    if let Some(admins) = &admins {
        // Inherited by the next process that is started, and closed here after that.
        fcntl(admins, FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(|errno| LaunchError::Channel(errno.into()))?;
        given.push(format!("--admins={}", admins.as_raw_fd()).into());
    }
    let enforcer_process =
        start("sentinel-enforcer", given, enforcers_analyzer, enforcers_loader, writer.as_ref())?;
    Ok(Launched {
        loader,
        loader_process: Some(loader_process),
        enforcer: Some(enforcer),
        enforcer_process: Some(enforcer_process),
        relayed,
        sinks,
    })
}

fn loader_arguments(arguments: &RunArguments, configuration: &Configuration) -> Vec<OsString> {
    let watch = &arguments.watch;
    let absolute = |option: &str, path: &PathBuf| {
        let mut argument = OsString::from(option);
        argument.push(std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        argument
    };
    let counts = configuration.engines.baseline.is_some().then(|| "--count-calls".into());
    let tree = watch.attach_pid.map(|pid| format!("--attach-pid={pid}").into());
    let cgroup = watch.scope_cgroup.as_ref().map(|path| absolute("--scope-cgroup=", path));
    let files = watch.sensitive_paths.as_ref().map(|path| absolute("--sensitive-paths=", path));
    [counts, tree, cgroup, files].into_iter().flatten().collect()
}

fn enforcer_arguments(configuration: &Configuration) -> Vec<OsString> {
    if configuration.enforced.any() { vec!["--enforce".into()] } else { Vec::new() }
}

/// Starts `name` with `analyzer` as its standard input, `sibling` as its standard output, and `words` as its standard
/// error, which is this process's own without. Of the environment it gets the kill switch and nothing else.
///
/// Its process group is its own. So the terminal's Ctrl-C goes to the analyzer alone; and when the
/// analyzer ends, the group is orphaned, and the kernel wakes a stopped member with SIGHUP and
/// SIGCONT. (PDEATHSIG is no help: it is sent with the parent's right to signal, and the three have
/// three users.)
fn start(
    name: &'static str,
    arguments: Vec<OsString>,
    analyzer: OwnedFd,
    sibling: OwnedFd,
    words: Option<&PipeWriter>,
) -> Result<Child, LaunchError> {
    let program = find(name)?;
    let mut command = Command::new(&program);
    command.args(arguments).env_clear().current_dir("/").stdin(analyzer).stdout(sibling);
    command.process_group(0);
    if let Some(words) = words {
        command.stderr(words.try_clone().map_err(LaunchError::Pipe)?);
    }
    if let Some(switch) = std::env::var_os(KILL_SWITCH) {
        command.env(KILL_SWITCH, switch);
    }
    command.spawn().map_err(|error| LaunchError::Spawn(program, error))
}

/// The program beside this one, else the installed one.
///
/// # Errors
/// When it is in neither place.
pub fn find(name: &'static str) -> Result<PathBuf, LaunchError> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(name));
    let installed = PathBuf::from(INSTALLED).join(name);
    let places: Vec<PathBuf> = beside.into_iter().chain([installed]).collect();
    match places.iter().find(|place| place.is_file()) {
        Some(place) => Ok(place.clone()),
        None => Err(LaunchError::NoProgram(name, places)),
    }
}
