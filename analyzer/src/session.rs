//! The analyzer's life under `sentinel run`: frames in, alerts out, until somebody says stop.

use std::{
    fmt, io,
    os::fd::AsRawFd,
    process::Child,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Registry, Token, unix::SourceFd};
use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        socket::{Shutdown, shutdown},
    },
};
use sentinel_ipc::{
    channel::{Channel, Received},
    clock,
    frame::{
        AnalyzerMessage, Counters, Limit, LoaderMessage, Mode, PROTOCOL_VERSION, Refusal,
        Subscription, Verdict, decode, encode,
    },
};

use crate::{
    alert::{ActionTaken, Alert, Engine, Severity},
    console::{Banner, Console, Status},
    control::ControlSocket,
    delivery::Delivery,
    enforcement::Enforcement,
    launch::Launched,
    patterns::reverse_shell,
    recording::Recording,
    sensor_state, status,
    stream::Stream,
};

mod error;
mod setup;
mod state;

pub use error::SessionError;
pub use setup::{Setup, Watched, subscription, whole_subscription};
use state::State;

const LOADER: Token = Token(0);
const SIGNALS: Token = Token(1);
const ENFORCER: Token = Token(2);
const CONTROL: Token = Token(3);
/// How long the loader may take to load and attach: it is one second on an idle machine, and a loader
/// that fails is noticed at once.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long it may take to send what is left after a stop.
const STOP_LIMIT: Duration = Duration::from_millis(900);
const STATUS_INTERVAL: Duration = Duration::from_millis(500);
/// How long the loader may say nothing; it says something twice a second.
const SILENCE_LIMIT: Duration = Duration::from_secs(4);
/// Frames that are taken before signals and time get their turn.
const FRAMES_A_TURN: u32 = 64;

/// What a look at the loader's socket came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Empty,
    More,
    Closed,
}

/// Blocks the signals that end a run, so that they can be read.
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
    watched: Watched,
    launched: Launched,
    signals: &SignalFd,
    console: Console,
    setup: Setup,
) -> Result<(), SessionError> {
    let Launched { loader, mut loader_process, enforcer, patterns_log } = launched;
    let mut delivery = Delivery::new(console, patterns_log);
    let (enforcer, mut enforcer_process) = enforcer.unzip();
    let enforcement = match enforcer.map(Enforcement::greet).transpose() {
        Ok(enforcement) => enforcement,
        Err(error) => {
            delivery.tell(&error);
            None
        }
    };
    let mut session = Session {
        loader,
        state: State::AwaitingReady,
        started: Instant::now(),
        limit: watched.limit,
        scope: watched.scope,
        enforce: watched.enforce,
        enforcement,
        subscription: setup.subscription,
        hooks: Vec::new(),
        limits: Vec::new(),
        notes: setup.notes,
        banner_shown: false,
        deadline: Instant::now() + START_LIMIT,
        heard_at: Instant::now(),
        is_silent: false,
        stream: Stream::new(watched.debug),
        recording: setup.recording,
        control: setup.control,
        delivery,
        totals: None,
        last_status: (Instant::now(), 0),
        stop_asked: false,
        breaker_told: false,
        frame: Vec::new(),
    };
    let mut ended = session.serve(signals);
    session.give_up_waiting();
    // Both end when their sockets do; the loader takes the programs in the kernel with it.
    let _closed = shutdown(session.loader.as_raw_fd(), Shutdown::Both);
    session.enforcement = None;
    let how = loader_process.as_mut().map_or_else(|| "it closed its socket".into(), await_end);
    enforcer_process.as_mut().map(await_end);
    if let Err(SessionError::LoaderLost(reason)) = &mut ended {
        *reason = how;
    }
    let recorded = session.recording.take().map_or(Ok(()), Recording::finish);
    if !matches!(ended, Err(SessionError::LoaderFailed)) {
        session.summarize();
    }
    ended.and(recorded.map_err(SessionError::Recording))
}

struct Session {
    loader: Channel,
    state: State,
    started: Instant,
    limit: Option<Duration>,
    scope: String,
    /// Whether the operator asked for kills; the enforcer decides for itself once more.
    enforce: bool,
    /// `None` when the enforcer could not even be greeted.
    enforcement: Option<Enforcement>,
    subscription: Subscription,
    hooks: Vec<String>,
    limits: Vec<Limit>,
    notes: Vec<String>,
    banner_shown: bool,
    /// When the present state has lasted too long.
    deadline: Instant,
    /// When the loader said something last, and whether it was told that this is too long ago.
    heard_at: Instant,
    is_silent: bool,
    stream: Stream,
    recording: Option<Recording>,
    control: Option<ControlSocket>,
    delivery: Delivery,
    totals: Option<Counters>,
    last_status: (Instant, u64),
    stop_asked: bool,
    breaker_told: bool,
    frame: Vec<u8>,
}

impl Session {
    fn serve(&mut self, signals: &SignalFd) -> Result<(), SessionError> {
        let polling = |error| SessionError::System("epoll", error);
        let mut poll = Poll::new().map_err(polling)?;
        let (socket, signal) = (self.loader.as_raw_fd(), signals.as_raw_fd());
        let registry = poll.registry();
        registry.register(&mut SourceFd(&socket), LOADER, Interest::READABLE).map_err(polling)?;
        registry.register(&mut SourceFd(&signal), SIGNALS, Interest::READABLE).map_err(polling)?;
        if let Some(enforcer) = self.enforcement.as_ref().and_then(Enforcement::channel) {
            let socket = enforcer.as_raw_fd();
            let source = &mut SourceFd(&socket);
            registry.register(source, ENFORCER, Interest::READABLE).map_err(polling)?;
        }
        if let Some(control) = &self.control {
            let source = &mut SourceFd(&control.listener());
            registry.register(source, CONTROL, Interest::READABLE).map_err(polling)?;
        }
        let registry = registry.try_clone().map_err(polling)?;
        self.send(&AnalyzerMessage::Hello { version: PROTOCOL_VERSION })?;
        let mut events = Events::with_capacity(8);
        let mut look = Look::Empty;
        loop {
            let timeout = if look == Look::More { Duration::ZERO } else { self.timeout() };
            match poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(polling)?,
            }
            look = self.receive()?;
            self.hear_enforcer();
            self.show_banner();
            if events.iter().any(|event| event.token() == CONTROL) {
                self.serve_control(&registry);
            }
            if look == Look::Closed && self.state != State::Finished {
                return Err(match self.state {
                    State::AwaitingReady => SessionError::LoaderFailed,
                    State::Subscribing | State::Streaming | State::Stopping | State::Finished => {
                        SessionError::LoaderLost(String::new())
                    }
                });
            }
            let asked = matches!(signals.read_signal(), Ok(Some(_))) || !self.delivery.is_seen();
            self.on_time(asked)?;
            if self.state == State::Finished && !self.awaits_outcome() {
                return Ok(());
            }
        }
    }

    /// Answers administrators.
    fn serve_control(&mut self, registry: &Registry) {
        let Some(mut control) = self.control.take() else { return };
        control.accept(registry, CONTROL);
        let processes = self.stream.analysis().processes();
        control.serve(|| self.status(processes));
        self.control = Some(control);
    }

    fn status(&self, processes: usize) -> status::Status {
        let (counters, processed) = (self.stream.counters(), self.stream.processed());
        status::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs(),
            mode: self.mode().unwrap_or("starting").to_owned(),
            scope: self.scope.clone(),
            hooks: self.hooks.clone(),
            blind_to: self.limits.iter().map(ToString::to_string).collect(),
            rules: vec![reverse_shell::RULE.name.to_owned()],
            events: status::Events::of(counters, processed, self.stream.late()),
            processes: u64::try_from(processes).unwrap_or(u64::MAX),
            alerts: self.delivery.counts(),
        }
    }

    fn awaits_outcome(&self) -> bool {
        self.enforcement.as_ref().is_some_and(|enforcement| enforcement.next_deadline().is_some())
    }

    fn timeout(&self) -> Duration {
        let now = Instant::now();
        let mut next = self.last_status.0 + STATUS_INTERVAL;
        if self.state.is_limited() {
            next = next.min(self.deadline);
        } else if let (State::Streaming, false, Some(limit)) =
            (self.state, self.stop_asked, self.limit)
        {
            next = next.min(self.started + limit);
        }
        if let Some(deadline) = self.enforcement.as_ref().and_then(Enforcement::next_deadline) {
            next = next.min(deadline);
        }
        next.saturating_duration_since(now)
    }

    /// Takes the frames that are there.
    fn receive(&mut self) -> Result<Look, SessionError> {
        let broken = |error: &dyn fmt::Display| SessionError::Protocol(error.to_string());
        let mut alerts = Vec::new();
        for _ in 0..FRAMES_A_TURN {
            let frame = match self.loader.receive() {
                Ok(Received::Frame(frame)) => frame,
                Ok(Received::WouldBlock) => return Ok(Look::Empty),
                Ok(Received::Closed) => return Ok(Look::Closed),
                Err(error) => return Err(broken(&error)),
            };
            let message = decode(frame).map_err(|error| broken(&error))?;
            self.state = self.state.after(&message)?;
            self.heard_at = Instant::now();
            if let Some(recording) = &mut self.recording {
                recording.write(frame).map_err(SessionError::Recording)?;
            }
            let followed = self.stream.follow(&message, &mut alerts);
            let next = match message {
                LoaderMessage::Ready { .. } => Some(AnalyzerMessage::Subscribe(self.subscription)),
                LoaderMessage::Subscribed { hooks, limits, .. } => {
                    self.hooks = hooks.into_iter().map(str::to_owned).collect();
                    self.limits = limits;
                    self.started = Instant::now();
                    Some(AnalyzerMessage::TakeSnapshot)
                }
                LoaderMessage::Heartbeat { .. } => {
                    if let Some(recording) = &mut self.recording {
                        recording.flush().map_err(SessionError::Recording)?;
                    }
                    self.stream.take_snapshot_wish().then_some(AnalyzerMessage::TakeSnapshot)
                }
                LoaderMessage::Finished { counters } => {
                    self.totals = Some(counters);
                    None
                }
                LoaderMessage::Events { .. }
                | LoaderMessage::Drained { .. }
                | LoaderMessage::Snapshot { .. } => None,
            };
            self.act_on(&mut alerts);
            followed.map_err(|error| broken(&error))?;
            // One that is stopping is asked for nothing more.
            if let Some(next) = next
                && matches!(self.state, State::Subscribing | State::Streaming)
            {
                self.send(&next)?;
            }
        }
        Ok(Look::More)
    }

    /// Has critical alerts enforced, if that was asked for, and delivers the rest.
    fn act_on(&mut self, alerts: &mut Vec<Alert>) {
        for note in self.stream.analysis().take_notes() {
            self.delivery.tell(&format_args!("grimoire: {note}"));
        }
        for alert in alerts.drain(..) {
            let is_about_a_process = alert.engine != Engine::Sensor;
            if !self.enforce || alert.severity != Severity::Critical || !is_about_a_process {
                if !alert.repeat {
                    self.delivery.alert(&alert);
                }
                continue;
            }
            match &mut self.enforcement {
                Some(enforcement) => {
                    if let Err(alert) = enforcement.request(alert) {
                        self.delivery.alert(&alert);
                    }
                }
                None => self.delivery.alert(&Alert { action: ActionTaken::NoEnforcer, ..alert }),
            }
        }
    }

    fn hear_enforcer(&mut self) {
        let Some(enforcement) = &mut self.enforcement else { return };
        let (outcomes, lost) = enforcement.outcomes();
        if let Some(lost) = lost {
            self.delivery.tell(&lost);
        }
        for alert in outcomes {
            self.delivery.alert(&alert);
            let tripped = ActionTaken::Decided(Verdict::Refused(Refusal::Budget));
            if alert.action == tripped && !std::mem::replace(&mut self.breaker_told, true) {
                let breaker = self.stream.analysis().breaker_tripped(alert.timestamp_boot);
                self.delivery.alert(&breaker);
            }
        }
    }

    fn give_up_waiting(&mut self) {
        // What the enforcer has said already is true, however the run ends.
        self.hear_enforcer();
        let Some(enforcement) = &mut self.enforcement else { return };
        for alert in enforcement.give_up() {
            self.delivery.alert(&alert);
        }
    }

    fn on_time(&mut self, asked_to_stop: bool) -> Result<(), SessionError> {
        let now = Instant::now();
        if now >= self.last_status.0 + STATUS_INTERVAL {
            self.show_status(now);
        }
        match self.state {
            State::AwaitingReady | State::Subscribing if asked_to_stop => {
                self.state = State::Finished;
            }
            State::AwaitingReady | State::Subscribing if now >= self.deadline => {
                return Err(SessionError::LoaderSilent);
            }
            State::Stopping if now >= self.deadline => return Err(SessionError::LoaderHangs),
            State::Streaming => {
                let over = self.limit.is_some_and(|limit| now >= self.started + limit);
                self.stop_asked |= asked_to_stop || over;
                // Whoever is to be killed is identified by the loader: that comes first.
                if self.stop_asked && !self.awaits_outcome() {
                    self.send(&AnalyzerMessage::Stop)?;
                    self.state = State::Stopping;
                    self.deadline = now + STOP_LIMIT;
                }
            }
            State::AwaitingReady | State::Subscribing | State::Stopping | State::Finished => {}
        }
        if self.state == State::Streaming {
            self.listen_for_silence(now);
        }
        Ok(())
    }

    /// Says, once, that the loader has said nothing for too long.
    fn listen_for_silence(&mut self, now: Instant) {
        let silence = now - self.heard_at;
        let was_silent = std::mem::replace(&mut self.is_silent, silence >= SILENCE_LIMIT);
        if self.is_silent && !was_silent {
            let mut alerts = Vec::new();
            let boot_ns = clock::boot_ns().unwrap_or(0);
            self.stream.analysis().sensor(boot_ns, &mut alerts, |_, findings| {
                findings.push(sensor_state::silent(silence));
            });
            self.act_on(&mut alerts);
        }
    }

    fn send(&mut self, message: &AnalyzerMessage) -> Result<(), SessionError> {
        encode(message, &mut self.frame)
            .map_err(|error| SessionError::Protocol(error.to_string()))?;
        // A few messages in a session fit into any socket; a peer that is gone is found on reading.
        self.loader
            .send(&self.frame)
            .map(|_sent| ())
            .map_err(|error| SessionError::Protocol(error.to_string()))
    }

    /// Whether it kills, in words; `None` while the enforcer has not said so.
    fn mode(&self) -> Option<&'static str> {
        let mode = match &self.enforcement {
            Some(enforcement) if enforcement.channel().is_some() => enforcement.mode()?,
            Some(_) | None => Mode::Shadow,
        };
        Some(match (self.enforce, mode) {
            (true, Mode::Enforce) => "enforce mode: kills on critical alerts, 10 a minute at most",
            (true, Mode::SwitchedOff) => "shadow mode: GRIMOIRE_ENFORCE=0 switches enforcement off",
            (true, Mode::Shadow) => "shadow mode: the enforcer is gone, nothing will be killed",
            (false, Mode::Shadow | Mode::Enforce | Mode::SwitchedOff) => {
                "shadow mode: detects, never kills"
            }
        })
    }

    fn show_banner(&mut self) {
        let (false, State::Streaming, Some(mode)) = (self.banner_shown, self.state, self.mode())
        else {
            return;
        };
        self.banner_shown = true;
        self.delivery.banner(&Banner {
            mode,
            scope: &self.scope,
            hooks: &self.hooks,
            limits: &self.limits,
            sinks: &[],
            notes: &self.notes,
        });
    }

    fn show_status(&mut self, now: Instant) {
        let (then, processed) = self.last_status;
        let ms = u64::try_from((now - then).as_millis()).unwrap_or(u64::MAX).max(1);
        let status = Status {
            elapsed: now - self.started,
            limit: self.limit,
            rate: (self.stream.processed() - processed).saturating_mul(1000) / ms,
            dropped: self.stream.analysis().lost(),
            patterns: self.delivery.count(),
        };
        self.last_status = (now, self.stream.processed());
        if self.state == State::Streaming {
            self.delivery.status(&status);
        }
    }

    fn summarize(&mut self) {
        let (elapsed, processed) = (self.started.elapsed(), self.stream.processed());
        let processes = self.stream.analysis().processes();
        self.delivery.summary(elapsed, self.totals, processed, processes);
    }
}

/// Waits up to the stop limit for a process to end, and says how it did.
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
