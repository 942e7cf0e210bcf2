//! The enforcer's start: takes over its sockets, calls on the others, and gives up its privileges.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Instant,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use sentinel_ipc::{
    activation::{ActivationError, Sockets, taken_over},
    channel::{Channel, ChannelError},
    confinement::{self, ConfinementError, account},
    notify::Notifier,
    places, turns,
};

use crate::{
    admins::Admins,
    arguments::Arguments,
    audit::Audit,
    conversation::Conversation,
    doors::{Door, Siblings},
    guard::Guard,
    marker::Marker,
    privileges,
    session::{Crowd, Session},
    switch::Switch,
};

/// Why the enforcer ended.
#[derive(Debug)]
pub enum EnforcerError {
    /// A socket is not what it has to be.
    Socket(&'static str, ChannelError),
    /// The service manager did not hand over what it should.
    Activation(ActivationError),
    /// It could not give up its privileges.
    Confinement(ConfinementError),
    /// The audit cannot be written.
    Audit(String),
    /// The analyzer broke the protocol.
    Protocol(String),
    /// The loader stays away; a new enforcer calls on it.
    Alone,
    /// The system refuses something else.
    System(&'static str, io::Error),
}

impl fmt::Display for EnforcerError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(which, error) => {
                write!(to, "{which}: {error}; start it by `sentinel run` or by its systemd units")
            }
            Self::Activation(error) => error.fmt(to),
            Self::Confinement(error) => error.fmt(to),
            Self::Audit(reason) => write!(to, "audit-log: {reason}"),
            Self::Protocol(what) => write!(to, "the analyzer broke the protocol: {what}"),
            Self::Alone => write!(
                to,
                "the loader stays away, so nobody can be killed: ends, to be started anew and call \
                 on it; see `systemctl status sentinel-loader`"
            ),
            Self::System(what, error) => write!(to, "{what}: {error}"),
        }
    }
}

impl From<ConfinementError> for EnforcerError {
    fn from(error: ConfinementError) -> Self {
        Self::Confinement(error)
    }
}

impl From<ActivationError> for EnforcerError {
    fn from(error: ActivationError) -> Self {
        Self::Activation(error)
    }
}

/// What the system refused, and why.
pub fn system(what: &'static str) -> impl Fn(Errno) -> EnforcerError {
    move |errno| EnforcerError::System(what, errno.into())
}

/// How the others are reached.
struct Connections {
    analyzer: Option<Channel>,
    loader: Option<Channel>,
    admins: Option<Door>,
    /// Only as a service.
    siblings: Option<Siblings>,
    /// Only as a service.
    signals: Option<SignalFd>,
}

impl Connections {
    /// Under `sentinel run`: standard input is the socket to the analyzer, standard output the one to the
    /// loader, `admins` the descriptor of the one for administrators.
    fn inherited(admins: Option<i32>) -> Result<Self, EnforcerError> {
        let open = |which, stream: &dyn AsFd| {
            Channel::duplicate(stream).map_err(|error| EnforcerError::Socket(which, error))
        };
        let admins = admins.map(taken_over).transpose()?;
        Ok(Self {
            admins: admins.map(|socket| door("--admins", socket)).transpose()?,
            analyzer: Some(open("standard input", &io::stdin())?),
            loader: Some(open("standard output", &io::stdout())?),
            siblings: None,
            signals: None,
        })
    }

    /// As a service: others call, and it calls on those who are there already.
    fn activated(mut sockets: Sockets) -> Result<Self, EnforcerError> {
        confinement::close_inherited_descriptors(sockets.count())?;
        let siblings = door("siblings", sockets.take("siblings")?)?;
        Ok(Self {
            siblings: Some(Siblings::new(siblings, account("sentinel")?.uid)),
            admins: Some(door("admins", sockets.take("admins")?)?),
            analyzer: call(places::ANALYZER)?,
            loader: call(places::IDENTITY)?,
            signals: Some(signals().map_err(system("signals"))?),
        })
    }
}

fn door(name: &'static str, socket: OwnedFd) -> Result<Door, EnforcerError> {
    Door::new(socket).map_err(|error| EnforcerError::Socket(name, error))
}

/// Calls at `path`; `None` if nobody is there.
fn call(path: &'static str) -> Result<Option<Channel>, EnforcerError> {
    match Channel::call(Path::new(path)) {
        Ok(channel) => Ok(Some(channel)),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(EnforcerError::Socket(path, error)),
    }
}

/// The signals that a service gets, in place of their effect.
fn signals() -> Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGHUP);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Runs until the analyzer goes away, or as a service until SIGTERM.
///
/// # Errors
/// When it cannot be confined, or has to end for another reason.
pub fn run(arguments: &Arguments) -> Result<(), EnforcerError> {
    let sockets = Sockets::inherited()?;
    confinement::own_signal_mask()?;
    turns::ask_for_early_ones();
    let connections = match sockets {
        Some(sockets) => Connections::activated(sockets)?,
        None => Connections::inherited(arguments.admins)?,
    };
    let notifier = Notifier::from_environment()
        .map_err(|error| EnforcerError::System("NOTIFY_SOCKET", error))?;
    let settings = &arguments.settings;
    let (marker, found) = Marker::open(&arguments.marker);
    let owner = account("sentinel-enforcer")?.uid;
    let log = settings.audit_log.as_deref().map(|path| Audit::open(path, owner)).transpose();
    let audit = Audit::new(log.map_err(EnforcerError::Audit)?);
    confinement::close_standard_streams()?;
    let confined = privileges::drop_privileges()?;
    if !confined.sandbox.is_full {
        audit.line("this kernel's landlock closes the file system only");
    }
    if let Some(note) = found.note.filter(|_| settings.enforce) {
        audit.line(&note);
    }
    let is_off = arguments.is_off_by_environment;
    let switch = Switch::new(settings.enforce, is_off, found.kept, marker);
    let guard = Guard::new(switch.mode(), settings, switch.kept(), std::process::id());
    let Connections { analyzer, loader, admins, siblings, signals } = connections;
    let left_behind = switch.kept().tree;
    let mut session = Session {
        analyzer: analyzer.map(Conversation::new),
        loader: None,
        alone_since: Instant::now(),
        admins: admins.map(Admins::new),
        siblings,
        signals,
        notifier,
        guard,
        switch,
        audit,
        tree: None,
        left_behind,
        unanswered: 0,
        refused: Crowd::default(),
        file: arguments.file.as_ref().map(|path| path.display().to_string()),
        about: confined.about,
    };
    if let Some(loader) = loader {
        session.meet_loader(loader);
    }
    session.run()
}
