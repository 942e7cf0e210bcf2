//! The analyzer's life under `sentinel run`: frames in, alerts out, until somebody says stop.

use std::{
    fmt, io,
    os::fd::AsRawFd,
    process::Child,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};
use sentinel_ipc::{
    channel::{Channel, Received},
    frame::{AnalyzerMessage, Clock, Counters, LoaderMessage, PROTOCOL_VERSION, decode, encode},
};

use crate::{
    alert::Alert,
    analysis::Analysis,
    command_line::RunArguments,
    console::{Console, Status, Summary},
    event,
    json_log::JsonLog,
    launch::Launched,
};

const LOADER: Token = Token(0);
const SIGNALS: Token = Token(1);
/// How long the loader may take to load and attach.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to send what is left after a stop.
const STOP_LIMIT: Duration = Duration::from_millis(900);
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// Why the run ended otherwise than asked.
#[derive(Debug)]
pub enum SessionError {
    /// The loader could not start; it has said why itself.
    LoaderFailed,
    /// The loader did not get ready in time.
    LoaderSilent,
    /// The loader went away while it was needed.
    LoaderLost(String),
    /// The loader broke the protocol.
    Protocol(String),
    /// The system refuses something.
    System(&'static str, io::Error),
}

impl fmt::Display for SessionError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoaderFailed => write!(to, "the sensor did not start; see the loader's message"),
            Self::LoaderSilent => {
                write!(to, "the sensor did not start within {} s", START_LIMIT.as_secs())
            }
            Self::LoaderLost(how) => {
                write!(to, "the loader is gone ({how}): nothing is watched any more")
            }
            Self::Protocol(what) => write!(to, "the loader broke the protocol: {what}"),
            Self::System(what, error) => write!(to, "{what}: {error}"),
        }
    }
}

impl std::error::Error for SessionError {}

/// What the loader may say next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitingReady,
    Streaming,
    Stopping,
    Finished,
}

/// What one look at the socket came to.
enum Look {
    Empty,
    Closed,
}

/// Blocks the signals that end a run, so that they can be read; the loader is started after this
/// with none blocked.
///
/// # Errors
/// When the system refuses.
pub fn signals() -> Result<SignalFd, SessionError> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    let refused = |errno: Errno| SessionError::System("signals", errno.into());
    set.thread_block().map_err(refused)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(refused)
}

/// Runs until a signal, the time limit, or the loader's end.
///
/// # Errors
/// When it ended otherwise than asked.
pub fn run(
    arguments: &RunArguments,
    launched: Launched,
    signals: &SignalFd,
) -> Result<(), SessionError> {
    let Launched { loader, process, patterns_log } = launched;
    let session = Session {
        loader,
        state: State::AwaitingReady,
        started: Instant::now(),
        limit: arguments.limit(),
        scope: arguments.scope(),
        deadline: Instant::now() + START_LIMIT,
        analysis: Analysis::new(arguments.grimoire_debug),
        console: Console::new(),
        console_open: true,
        patterns_log,
        counters: Counters::default(),
        totals: None,
        processed: 0,
        by_severity: [0; 5],
        last_status: (Instant::now(), 0),
        frame: Vec::new(),
    };
    session.run(process, signals)
}

struct Session {
    loader: Channel,
    state: State,
    started: Instant,
    limit: Option<Duration>,
    scope: String,
    /// When the present state has lasted too long.
    deadline: Instant,
    analysis: Analysis,
    console: Console,
    console_open: bool,
    patterns_log: Option<JsonLog>,
    counters: Counters,
    totals: Option<Counters>,
    processed: u64,
    by_severity: [u64; 5],
    last_status: (Instant, u64),
    frame: Vec<u8>,
}

impl Session {
    fn run(mut self, mut process: Child, signals: &SignalFd) -> Result<(), SessionError> {
        let polling = |error| SessionError::System("epoll", error);
        let mut poll = Poll::new().map_err(polling)?;
        let (socket, signal) = (self.loader.as_raw_fd(), signals.as_raw_fd());
        let registry = poll.registry();
        registry.register(&mut SourceFd(&socket), LOADER, Interest::READABLE).map_err(polling)?;
        registry.register(&mut SourceFd(&signal), SIGNALS, Interest::READABLE).map_err(polling)?;
        self.send(&AnalyzerMessage::Hello { version: PROTOCOL_VERSION })?;
        let mut events = Events::with_capacity(8);
        let ended = loop {
            match poll.poll(&mut events, Some(self.timeout())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(polling)?,
            }
            let look = match self.receive() {
                Ok(look) => look,
                Err(error) => break Err(error),
            };
            if self.state == State::Finished {
                break Ok(());
            }
            if matches!(look, Look::Closed) {
                break Err(self.loader_gone(&mut process));
            }
            let asked = matches!(signals.read_signal(), Ok(Some(_))) || !self.console_open;
            if let Err(error) = self.on_time(asked) {
                break Err(error);
            }
            if self.state == State::Stopping && Instant::now() >= self.deadline {
                break Ok(());
            }
        };
        // The loader ends when its socket does, and takes the programs in the kernel with it.
        let Self { loader, .. } = &self;
        nix::sys::socket::shutdown(loader.as_raw_fd(), nix::sys::socket::Shutdown::Both).ok();
        if matches!(ended, Err(SessionError::LoaderFailed)) {
            return ended;
        }
        self.summarize();
        await_end(&mut process);
        ended
    }

    fn timeout(&self) -> Duration {
        let now = Instant::now();
        let mut next = self.last_status.0 + STATUS_INTERVAL;
        if self.state == State::AwaitingReady || self.state == State::Stopping {
            next = next.min(self.deadline);
        } else if let Some(limit) = self.limit {
            next = next.min(self.started + limit);
        }
        next.saturating_duration_since(now)
    }

    /// Takes all frames that are there.
    fn receive(&mut self) -> Result<Look, SessionError> {
        let mut alerts = Vec::new();
        let mut hooks = None;
        let look = loop {
            let frame = match self.loader.receive() {
                Ok(Received::Frame(frame)) => frame,
                Ok(Received::WouldBlock) => break Look::Empty,
                Ok(Received::Closed) => break Look::Closed,
                Err(error) => return Err(SessionError::Protocol(error.to_string())),
            };
            let message: LoaderMessage<'_> =
                decode(frame).map_err(|error| SessionError::Protocol(error.to_string()))?;
            match (self.state, message) {
                (State::AwaitingReady, LoaderMessage::Ready { version, hooks: names, clock }) => {
                    if version != PROTOCOL_VERSION {
                        return Err(SessionError::Protocol(format!(
                            "it speaks version {version}, this analyzer {PROTOCOL_VERSION}; \
                             install both from one package"
                        )));
                    }
                    hooks = Some(names.into_iter().map(str::to_owned).collect::<Vec<_>>());
                    self.state = State::Streaming;
                    self.started = Instant::now();
                    self.analysis.set_wall_offset(clock.wall_offset_ns);
                }
                (State::Streaming | State::Stopping, LoaderMessage::Events { records }) => {
                    let mut rest = records;
                    while !rest.is_empty() {
                        let (event, next) = event::take(rest)
                            .map_err(|error| SessionError::Protocol(error.to_string()))?;
                        self.analysis.event(&event, &mut alerts);
                        self.processed += 1;
                        rest = next;
                    }
                }
                (
                    State::Streaming | State::Stopping,
                    LoaderMessage::Heartbeat { clock: Clock { boot_ns, wall_offset_ns }, counters },
                ) => {
                    self.analysis.set_wall_offset(wall_offset_ns);
                    self.analysis.time(boot_ns, &mut alerts);
                    self.counters = counters;
                }
                (State::Stopping, LoaderMessage::Finished { counters }) => {
                    self.totals = Some(counters);
                    self.state = State::Finished;
                    break Look::Empty;
                }
                (
                    State::AwaitingReady,
                    LoaderMessage::Events { .. }
                    | LoaderMessage::Heartbeat { .. }
                    | LoaderMessage::Finished { .. },
                )
                | (
                    State::Streaming | State::Stopping | State::Finished,
                    LoaderMessage::Ready { .. },
                )
                | (State::Streaming | State::Finished, LoaderMessage::Finished { .. })
                | (
                    State::Finished,
                    LoaderMessage::Events { .. } | LoaderMessage::Heartbeat { .. },
                ) => {
                    return Err(SessionError::Protocol("a message out of turn".into()));
                }
            }
            self.deliver(&mut alerts);
        };
        if let Some(hooks) = hooks {
            self.show_banner(&hooks);
        }
        Ok(look)
    }

    fn on_time(&mut self, asked_to_stop: bool) -> Result<(), SessionError> {
        let now = Instant::now();
        if now >= self.last_status.0 + STATUS_INTERVAL {
            self.show_status(now);
        }
        match self.state {
            State::AwaitingReady if asked_to_stop => {
                self.state = State::Stopping;
                self.deadline = now;
            }
            State::AwaitingReady if now >= self.deadline => return Err(SessionError::LoaderSilent),
            State::Streaming => {
                let over = self.limit.is_some_and(|limit| now >= self.started + limit);
                if asked_to_stop || over {
                    self.send(&AnalyzerMessage::Stop)?;
                    self.state = State::Stopping;
                    self.deadline = now + STOP_LIMIT;
                }
            }
            State::AwaitingReady | State::Stopping | State::Finished => {}
        }
        Ok(())
    }

    fn send(&mut self, message: &AnalyzerMessage) -> Result<(), SessionError> {
        encode(message, &mut self.frame)
            .map_err(|error| SessionError::Protocol(error.to_string()))?;
        // Two messages in a session fit into any socket; a peer that is gone is found on reading.
        self.loader
            .send(&self.frame)
            .map(|_sent| ())
            .map_err(|error| SessionError::Protocol(error.to_string()))
    }

    fn deliver(&mut self, alerts: &mut Vec<Alert>) {
        for note in self.analysis.take_notes() {
            eprintln!("grimoire: {note}");
        }
        for alert in alerts.drain(..) {
            if let Some(count) = self.by_severity.get_mut(alert.severity as usize) {
                *count += 1;
            }
            if let Some(log) = &mut self.patterns_log
                && let Err(error) = log.write(&alert)
            {
                eprintln!("sentinel: {}: alert not written: {error}", log.path().display());
            }
            let shown = self.console.alert(&alert);
            self.console_open &= shown.is_ok();
        }
    }

    fn show_banner(&mut self, hooks: &[String]) {
        let hooks: Vec<&str> = hooks.iter().map(String::as_str).collect();
        let sinks: Vec<String> =
            self.patterns_log.iter().map(|log| log.path().display().to_string()).collect();
        let shown = self.console.banner(&hooks, &self.scope, &sinks);
        self.console_open &= shown.is_ok();
    }

    fn show_status(&mut self, now: Instant) {
        let (then, processed) = self.last_status;
        let ms = u64::try_from((now - then).as_millis()).unwrap_or(u64::MAX).max(1);
        let status = Status {
            elapsed: now - self.started,
            limit: self.limit,
            rate: (self.processed - processed).saturating_mul(1000) / ms,
            dropped: self.counters.dropped,
            patterns: self.by_severity.iter().sum(),
        };
        self.last_status = (now, self.processed);
        if self.state == State::Streaming {
            let shown = self.console.status(&status);
            self.console_open &= shown.is_ok();
        }
    }

    fn loader_gone(&self, process: &mut Child) -> SessionError {
        let how = await_end(process);
        match self.state {
            State::AwaitingReady => SessionError::LoaderFailed,
            State::Streaming | State::Stopping | State::Finished => SessionError::LoaderLost(how),
        }
    }

    fn summarize(&mut self) {
        let summary = Summary {
            elapsed: self.started.elapsed(),
            counters: self.totals,
            processed: self.processed,
            patterns: self.by_severity,
            processes: self.analysis.processes(),
        };
        // Nobody is there to tell if standard output is closed.
        let _shown = self.console.summary(&summary);
    }
}

/// Waits up to the stop limit for the loader to end, and says how it did.
fn await_end(process: &mut Child) -> String {
    let limit = Instant::now() + STOP_LIMIT;
    loop {
        match process.try_wait() {
            Ok(Some(status)) => return status.to_string(),
            Ok(None) if Instant::now() < limit => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => return "it has closed its socket but still runs".into(),
            Err(error) => return error.to_string(),
        }
    }
}
