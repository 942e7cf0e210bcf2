//! The control socket: where `sentinel status` and `sentinel rules reload` ask a running analyzer.
//!
//! Who may connect is decided by the socket's mode and owner (0660, root and group `sentinel-admin`); a
//! question is one packet, and so is its answer.

use std::{
    fmt, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::{PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mio::{Interest, Registry, Token, unix::SourceFd};
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket,
    },
    unistd::Group,
};
use sentinel_ipc::{
    channel::{Channel, ChannelError, Received, Sent},
    frame::{FrameError, decode, encode},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::status::Status;

/// Where a running analyzer listens.
pub const SOCKET: &str = "/run/sentinel/control.sock";
/// Raised whenever a message changes; a question of another version gets no answer.
const VERSION: u16 = 4;
/// Who may ask, beside root.
const ADMINISTRATORS: &str = "sentinel-admin";
/// Connections at one time; the oldest makes room for a new one.
const MAX_CONNECTIONS: usize = 8;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    version: u16,
    asked: Asked,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// How things are.
    Status,
    /// That rules and configuration are read again.
    ReloadRules,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// How things are.
    Status(Box<Status>),
    /// What came of reading the rules again; else what is wrong.
    Rules(Result<String, String>),
}

/// The listening end, and who has connected to it.
pub struct ControlSocket {
    listener: OwnedFd,
    connections: Vec<Channel>,
}

/// A socket that listens at `path`, in whose directory only root may write; root and administrators may
/// connect. `None` if somebody listens there already.
///
/// # Errors
/// A sentence that names the path.
pub fn listening(path: &Path) -> Result<Option<OwnedFd>, String> {
    let refused = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|error| refused(&error))?;
    }
    if Channel::connect(path).is_ok() {
        return Ok(None);
    }
    // Left behind by one that was killed.
    let _none_was_there = std::fs::remove_file(path);
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = || {
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&listener, Backlog::new(8)?)?;
        Ok(listener)
    };
    match made() {
        Ok(listener) => {
            let group = Group::from_name(ADMINISTRATORS).ok().flatten();
            chown(path, Some(0), Some(group.map_or(0, |group| group.gid.as_raw())))
                .and_then(|()| {
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
                })
                .map_err(|error| refused(&error))?;
            Ok(Some(listener))
        }
        // Another one was faster.
        Err(Errno::EADDRINUSE) => Ok(None),
        Err(errno) => Err(refused(&errno)),
    }
}

impl ControlSocket {
    /// Listens at `path`, in whose directory only root may write. `None` if another analyzer does
    /// already.
    ///
    /// # Errors
    /// A sentence that names the path.
    pub fn listen(path: &Path) -> Result<Option<Self>, String> {
        Ok(listening(path)?.map(|listener| Self { listener, connections: Vec::new() }))
    }

    /// Listens at a socket that was handed over, with the mode and owner that it has.
    pub fn inherited(listener: OwnedFd) -> Self {
        Self { listener, connections: Vec::new() }
    }

    /// The listening socket, to be polled.
    pub fn listener(&self) -> i32 {
        self.listener.as_raw_fd()
    }

    /// Lets in who came, and has each polled as `token`. Returns whether more may be waiting, whom nothing
    /// announces again.
    pub fn accept(&mut self, registry: &Registry, token: Token) -> bool {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        for _ in 0..MAX_CONNECTIONS {
            let Ok(socket) = accept4(self.listener.as_raw_fd(), flags) else { return false };
            #[expect(unsafe_code, reason = "nix gives accepted sockets as bare numbers")]
            // SAFETY: accept4 has just made it, and nobody else knows it.
            let socket = unsafe { OwnedFd::from_raw_fd(socket) };
            let Ok(channel) = Channel::new(socket) else { continue };
            if self.connections.len() >= MAX_CONNECTIONS {
                self.connections.remove(0);
            }
            // One that cannot be polled is let go.
            let source = &mut SourceFd(&channel.as_raw_fd());
            if registry.register(source, token, Interest::READABLE).is_ok() {
                self.connections.push(channel);
            }
        }
        true
    }

    /// Answers what was asked; whoever has an answer, or asked nonsense, is let go.
    pub fn serve(&mut self, mut answer: impl FnMut(Asked) -> Answer) {
        self.connections.retain_mut(|channel| {
            let question = match channel.receive() {
                Ok(Received::WouldBlock) => return true,
                Ok(Received::Frame(frame)) => decode(frame),
                Ok(Received::Closed) | Err(_) => return false,
            };
            if let Ok(Question { version: VERSION, asked }) = question {
                let mut frame = Vec::new();
                // One that does not read gets no answer.
                let _sent =
                    encode(&answer(asked), &mut frame).is_ok() && channel.send(&frame).is_ok();
            }
            false
        });
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ControlError {
    /// Nobody can be asked at this path.
    Connect(PathBuf, ChannelError),
    /// It went away.
    Gone,
    /// It says nothing.
    Silent,
    /// It said something else.
    Frame(FrameError),
}

impl fmt::Display for ControlError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(path, ChannelError::Io(error))
                if error.kind() == io::ErrorKind::PermissionDenied =>
            {
                let path = path.display();
                write!(to, "{path}: only root and the group {ADMINISTRATORS} may ask")
            }
            Self::Connect(path, error) => write!(
                to,
                "{}: {error}; is Sentinel running? `systemctl status sentinel.target` or \
                 `sentinel run`",
                path.display()
            ),
            Self::Gone => write!(
                to,
                "the running Sentinel gave no answer: it ended, or it is of another version"
            ),
            Self::Silent => {
                write!(to, "the running Sentinel gave no answer within {} s", PATIENCE.as_secs())
            }
            Self::Frame(error) => write!(to, "the running Sentinel is of another version: {error}"),
        }
    }
}

impl std::error::Error for ControlError {}

/// Asks the analyzer that listens at `path`.
///
/// # Errors
/// When there is none, or no answer.
pub fn status(path: &Path) -> Result<Status, ControlError> {
    match ask(path, &Question { version: VERSION, asked: Asked::Status })? {
        Answer::Status(status) => Ok(*status),
        Answer::Rules(_) => Err(ControlError::Gone),
    }
}

/// Has the analyzer that listens at `path` read its rules and configuration again; returns what came of
/// it, or what is wrong with them.
///
/// # Errors
/// When there is none, or no answer.
pub fn reload_rules(path: &Path) -> Result<Result<String, String>, ControlError> {
    match ask(path, &Question { version: VERSION, asked: Asked::ReloadRules })? {
        Answer::Rules(came) => Ok(came),
        Answer::Status(_) => Err(ControlError::Gone),
    }
}

/// Asks who listens at `path`, and waits for the answer.
///
/// # Errors
/// When there is nobody, or no answer.
pub fn ask<A: DeserializeOwned>(path: &Path, question: &impl Serialize) -> Result<A, ControlError> {
    let failed = |error| ControlError::Connect(path.to_owned(), error);
    let mut channel = Channel::connect(path).map_err(failed)?;
    let mut frame = Vec::new();
    encode(question, &mut frame).map_err(ControlError::Frame)?;
    match channel.send(&frame).map_err(failed)? {
        Sent::Done => {}
        Sent::WouldBlock | Sent::Closed => return Err(ControlError::Gone),
    }
    let limit = Instant::now() + PATIENCE;
    while Instant::now() < limit {
        match channel.receive().map_err(failed)? {
            Received::Frame(frame) => return decode(frame).map_err(ControlError::Frame),
            Received::Closed => return Err(ControlError::Gone),
            Received::WouldBlock => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    Err(ControlError::Silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Status {
        Status {
            version: "1".into(),
            pid: 1,
            uptime: 2,
            mode: "m".into(),
            scope: "s".into(),
            hooks: vec!["h".into()],
            blind_to: Vec::new(),
            rules: vec!["r".into()],
            events: crate::status::Events::default(),
            processes: 3,
            alerts: crate::status::Alerts::default(),
            parts: Vec::new(),
            is_watching: true,
            last_alerts: Vec::new(),
            correlation: None,
            baseline: None,
            syslog: None,
            sequences: crate::status::Sequences::default(),
        }
    }

    fn answer(asked: Asked) -> Answer {
        match asked {
            Asked::Status => Answer::Status(Box::new(sample())),
            Asked::ReloadRules => Answer::Rules(Err("r.toml:1:1: wrong".into())),
        }
    }

    /// A socket that is served until the test ends. `None` where it cannot be given to root.
    fn served(directory: &tempfile::TempDir) -> Option<std::path::PathBuf> {
        let path = directory.path().join("control.sock");
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "may not be skipped in CI: needs root");
            // Not eprintln!: the test runner would swallow it.
            let _shown = io::Write::write_all(&mut io::stderr(), b"skipped: needs root\n");
            return None;
        }
        let mut control = ControlSocket::listen(&path).unwrap().unwrap();
        std::thread::spawn(move || {
            let mut poll = mio::Poll::new().unwrap();
            let mut events = mio::Events::with_capacity(8);
            let listener = control.listener();
            let source = &mut SourceFd(&listener);
            poll.registry().register(source, Token(0), Interest::READABLE).unwrap();
            loop {
                poll.poll(&mut events, None).unwrap();
                while control.accept(poll.registry(), Token(0)) {
                    control.serve(answer);
                }
                control.serve(answer);
            }
        });
        Some(path)
    }

    #[test]
    fn a_question_gets_its_answer_among_idle_and_foolish_ones() {
        let directory = tempfile::tempdir().unwrap();
        let Some(path) = served(&directory) else { return };
        let idle: Vec<Channel> = (0..20).map(|_| Channel::connect(&path).unwrap()).collect();
        let foolish = Channel::connect(&path).unwrap();
        assert_eq!(foolish.send(&[9; 100]).unwrap(), Sent::Done);
        assert_eq!(status(&path).unwrap(), sample());
        assert_eq!(reload_rules(&path).unwrap(), Err("r.toml:1:1: wrong".to_owned()));
        drop(idle);
        assert_eq!(status(&path).unwrap(), sample());
    }

    #[test]
    fn many_callers_are_taken_a_few_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(64).unwrap()).unwrap();
        let mut control = ControlSocket::inherited(listener);
        let poll = mio::Poll::new().unwrap();
        let _callers: Vec<Channel> =
            (0..MAX_CONNECTIONS + 1).map(|_| Channel::connect(&path).unwrap()).collect();
        assert!(control.accept(poll.registry(), Token(0)), "more may wait");
        assert!(!control.accept(poll.registry(), Token(0)));
    }

    #[test]
    fn a_second_one_leaves_the_first_alone_and_a_dead_one_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let Some(path) = served(&directory) else { return };
        assert!(ControlSocket::listen(&path).unwrap().is_none());
        let stale = directory.path().join("stale.sock");
        drop(ControlSocket::listen(&stale).unwrap().unwrap());
        assert!(ControlSocket::listen(&stale).unwrap().is_some());
        let mode = std::fs::metadata(&stale).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    }

    #[test]
    fn without_anybody_there_it_says_what_to_do() {
        let error = status(Path::new("/nonexistent/control.sock")).unwrap_err();
        assert!(error.to_string().contains("is Sentinel running?"), "{error}");
    }
}
