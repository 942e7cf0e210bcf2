//! `sentinel run` while it is still root: opens logs and starts the loader.

use std::{
    fmt, fs, io,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nix::unistd::geteuid;
use sentinel_ipc::channel::{Channel, ChannelError};

use crate::{command_line::RunArguments, json_log::JsonLog};

/// Where packages put the loader.
const INSTALLED_LOADER: &str = "/usr/libexec/sentinel/sentinel-loader";

/// Why nothing was started.
#[derive(Debug)]
pub enum LaunchError {
    /// The caller is not root.
    NotRoot,
    /// A process to attach to does not exist.
    NoProcess(u32),
    /// A log cannot be written.
    Log(String),
    /// The loader's program is missing.
    NoLoader(Vec<PathBuf>),
    /// The loader cannot be started.
    Spawn(PathBuf, io::Error),
    /// No socket for it can be had.
    Channel(ChannelError),
}

impl fmt::Display for LaunchError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRoot => write!(
                to,
                "must be started as root to load its eBPF programs: `sudo sentinel run …`"
            ),
            Self::NoProcess(pid) => {
                write!(to, "--attach-pid={pid}: no process with this id is running")
            }
            Self::Log(sentence) => write!(to, "{sentence}"),
            Self::NoLoader(places) => {
                write!(to, "sentinel-loader is missing; looked at")?;
                places.iter().try_for_each(|place| write!(to, " {}", place.display()))?;
                write!(to, "; build or install both from one package")
            }
            Self::Spawn(path, error) => write!(to, "cannot start {}: {error}", path.display()),
            Self::Channel(error) => write!(to, "cannot make a socket for the loader: {error}"),
        }
    }
}

impl std::error::Error for LaunchError {}

/// What the analyzer works with from here on.
pub struct Launched {
    /// Connection to the loader.
    pub loader: Channel,
    /// The loader's process.
    pub process: Child,
    /// Log of the pattern engine.
    pub patterns_log: Option<JsonLog>,
}

/// Opens everything and starts the loader.
///
/// # Errors
/// When something is missing; nothing runs then.
pub fn launch(arguments: &RunArguments) -> Result<Launched, LaunchError> {
    if !geteuid().is_root() {
        return Err(LaunchError::NotRoot);
    }
    if let Some(pid) = arguments.attach_pid
        && !fs::exists(format!("/proc/{pid}/stat")).unwrap_or(false)
    {
        return Err(LaunchError::NoProcess(pid));
    }
    let patterns_log = arguments
        .grimoire_log
        .as_deref()
        .map(JsonLog::open)
        .transpose()
        .map_err(LaunchError::Log)?;
    let program = loader_program()?;
    let (loader, theirs) = Channel::pair().map_err(LaunchError::Channel)?;
    let mut command = Command::new(&program);
    command.env_clear().current_dir("/").stdin(theirs).stdout(Stdio::null());
    if let Some(pid) = arguments.attach_pid {
        command.arg(format!("--attach-pid={pid}"));
    }
    if let Some(path) = &arguments.scope_cgroup {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let mut argument = std::ffi::OsString::from("--scope-cgroup=");
        argument.push(absolute);
        command.arg(argument);
    }
    let process = command.spawn().map_err(|error| LaunchError::Spawn(program, error))?;
    Ok(Launched { loader, process, patterns_log })
}

/// The loader beside this program, else the installed one.
fn loader_program() -> Result<PathBuf, LaunchError> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("sentinel-loader"));
    let places: Vec<PathBuf> = beside.into_iter().chain([INSTALLED_LOADER.into()]).collect();
    match places.iter().find(|place| place.is_file()) {
        Some(place) => Ok(place.clone()),
        None => Err(LaunchError::NoLoader(places)),
    }
}
