//! The enforcer's life: greet the loader, serve the analyzer until it goes away.

use std::{fmt, io, os::fd::AsFd};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use sentinel_ipc::{
    channel::{Channel, ChannelError, Received, Sent},
    clock::boot_ns,
    confinement::{self, ConfinementError, Sandbox},
    frame::{
        About, KillMessage, MAX_REASON_BYTES, Mode, OutcomeMessage, PROTOCOL_VERSION, Refusal,
        Target, Verdict, decode, encode,
    },
};

use crate::{
    arguments::Arguments,
    audit::Audit,
    guard::Guard,
    loader::{Loader, NoAnswer},
    privileges,
    process::{Process, ProcessError},
};

/// Why the enforcer ended.
#[derive(Debug)]
pub enum SessionError {
    /// Standard input or output is not what it has to be.
    Socket(&'static str, ChannelError),
    /// It could not give up its privileges.
    Confinement(ConfinementError),
    /// The analyzer broke the protocol.
    Protocol(String),
    /// The system refuses something else.
    System(&'static str, io::Error),
}

impl fmt::Display for SessionError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(which, error) => {
                write!(to, "{which} must be a socket: {error}; start `sentinel run`")
            }
            Self::Confinement(error) => error.fmt(to),
            Self::Protocol(what) => write!(to, "the analyzer broke the protocol: {what}"),
            Self::System(what, error) => write!(to, "{what}: {error}"),
        }
    }
}

fn system(what: &'static str) -> impl Fn(Errno) -> SessionError {
    move |errno| SessionError::System(what, errno.into())
}

fn broken(error: impl ToString) -> SessionError {
    SessionError::Protocol(error.to_string())
}

/// Runs until the analyzer goes away.
///
/// # Errors
/// When it cannot be confined or the analyzer misbehaves.
pub fn run(arguments: &Arguments) -> Result<(), SessionError> {
    let open = |which, stream: &dyn AsFd| {
        Channel::duplicate(stream).map_err(|error| SessionError::Socket(which, error))
    };
    let analyzer = open("standard input", &io::stdin())?;
    let loader = open("standard output", &io::stdout())?;
    let launcher = analyzer.peer().map_err(|error| SessionError::Socket("its peer", error))?;
    let launcher = launcher.and_then(|launcher| u32::try_from(launcher.pid()).ok());
    let own = [std::process::id()].into_iter().chain(launcher).collect();
    let guard = Guard::new(arguments.mode, arguments.only_in_scope, own);
    confinement::own_signal_mask().map_err(SessionError::Confinement)?;
    confinement::close_standard_streams().map_err(SessionError::Confinement)?;
    let audit = Audit::new();
    let confined = privileges::drop_privileges().map_err(SessionError::Confinement)?;
    if confined.sandbox == Sandbox::Partial {
        audit.line("this kernel's landlock closes the file system only");
    }
    let loader = match Loader::greet(loader) {
        Ok(loader) => Some(loader),
        Err(error) => {
            audit.line(&error.to_string());
            None
        }
    };
    let mode = arguments.mode;
    let (about, state) = (confined.about, State::AwaitingHello);
    Session { analyzer, loader, guard, audit, mode, about, state }.run()
}

/// What the analyzer may say next.
#[derive(Clone, Copy)]
enum State {
    AwaitingHello,
    Serving,
}

struct Session {
    analyzer: Channel,
    /// `None` once it is gone: from then on nobody can be identified, and nothing is killed.
    loader: Option<Loader>,
    guard: Guard,
    audit: Audit,
    mode: Mode,
    /// Itself, for the analyzer.
    about: About,
    state: State,
}

/// One kill request.
#[derive(Clone, Copy)]
struct Request {
    number: u64,
    target: Target,
    deadline: u64,
}

impl Session {
    fn run(mut self) -> Result<(), SessionError> {
        loop {
            self.wait()?;
            self.hear_loader();
            if !self.serve()? {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> Result<(), SessionError> {
        let mut fds = vec![PollFd::new(self.analyzer.as_fd(), PollFlags::POLLIN)];
        if let Some(loader) = &self.loader {
            fds.push(PollFd::new(loader.channel().as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(system("poll")(errno)),
        }
    }

    fn hear_loader(&mut self) {
        let Some(loader) = &mut self.loader else { return };
        match loader.greeting() {
            Ok(Some(tgid)) => self.guard.protect(tgid),
            Ok(None) => {}
            Err(error) => {
                // It ends first in every orderly end; what that means for a request, its refusal
                // tells.
                if !matches!(error, NoAnswer::Gone) {
                    self.audit.line(&format!("{error}: nothing can be killed any more"));
                }
                self.loader = None;
            }
        }
    }

    /// Handles one frame, if there is one; false when the analyzer is gone.
    fn serve(&mut self) -> Result<bool, SessionError> {
        let frame = match self.analyzer.receive().map_err(broken)? {
            Received::WouldBlock => return Ok(true),
            Received::Closed => return Ok(false),
            Received::Frame(frame) => frame.to_vec(),
        };
        let message: KillMessage<'_> = decode(&frame).map_err(broken)?;
        let mut audit = None;
        let answer = match (self.state, message) {
            (State::AwaitingHello, KillMessage::Hello { version: PROTOCOL_VERSION }) => {
                self.state = State::Serving;
                let (version, about) = (PROTOCOL_VERSION, self.about.clone());
                OutcomeMessage::Ready { version, mode: self.mode, about }
            }
            (State::AwaitingHello, KillMessage::Hello { version }) => {
                return Err(broken(format!(
                    "it speaks version {version}, this enforcer {PROTOCOL_VERSION}; install both \
                     from one package"
                )));
            }
            (State::Serving, KillMessage::Kill { request, target, rule, deadline, reason }) => {
                if reason.len() > MAX_REASON_BYTES {
                    return Err(broken(format!("a reason of {} bytes", reason.len())));
                }
                let verdict = self.decide(Request { number: request, target, deadline })?;
                audit = Some((request, target, rule, reason, verdict));
                OutcomeMessage::Outcome { request, verdict }
            }
            (State::Serving, KillMessage::Hello { .. }) => return Err(broken("a second hello")),
            (State::AwaitingHello, KillMessage::Kill { .. }) => {
                return Err(broken("a request before hello"));
            }
        };
        let mut frame = Vec::new();
        encode(&answer, &mut frame).map_err(broken)?;
        // An analyzer that does not read its outcomes goes without; the audit has them.
        let sent = self.analyzer.send(&frame).map_err(broken)?;
        if let Some((request, target, rule, reason, verdict)) = audit {
            self.audit.decision(request, target, rule, reason, verdict);
        }
        if sent == Sent::WouldBlock {
            self.audit.line("the analyzer does not read its outcomes");
        }
        Ok(true)
    }

    /// Decides on a request and, if all is well, kills.
    fn decide(&mut self, request: Request) -> Result<Verdict, SessionError> {
        let Request { number, target, deadline } = request;
        if let Err(refusal) = self.guard.admit(number, target, deadline, now()?) {
            return Ok(Verdict::Refused(refusal));
        }
        // From here on the number cannot pass to another process unnoticed.
        let process = match Process::open(target.tgid) {
            Ok(process) => process,
            Err(error) => return Ok(verdict(error)),
        };
        let Some(loader) = &mut self.loader else {
            return Ok(Verdict::Refused(Refusal::NoLoader));
        };
        let identity = match loader.who_is(target.tgid) {
            Ok(identity) => identity,
            Err(error) => {
                self.audit.line(&error.to_string());
                return Ok(Verdict::Refused(Refusal::NoLoader));
            }
        };
        // Alive after the answer, so the answer was about the process that is held.
        if process.has_exited() {
            return Ok(Verdict::AlreadyExited);
        }
        let time = now()?;
        let allowed = self.guard.identify(target, identity).and_then(|()| {
            if time > deadline { Err(Refusal::Expired) } else { self.guard.spend(time) }
        });
        Ok(match allowed {
            Ok(()) => process.kill().map_or_else(verdict, |()| Verdict::Terminated),
            Err(refusal) => Verdict::Refused(refusal),
        })
    }
}

fn verdict(error: ProcessError) -> Verdict {
    match error {
        ProcessError::Exited => Verdict::AlreadyExited,
        ProcessError::Refused(errno) => Verdict::Failed(errno),
    }
}

/// CLOCK_BOOTTIME, ns.
fn now() -> Result<u64, SessionError> {
    boot_ns().map_err(system("clock_gettime"))
}
