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
        signalfd::{SfdFlags, SignalFd, siginfo},
        socket::{Shutdown, shutdown},
    },
};
use sentinel_ipc::{
    channel::{Channel, Received},
    clock,
    frame::{
        About, AnalyzerMessage, Counters, Limit, LoaderMessage, Mode, Subscription, Verdict,
        decode, encode,
    },
};

use crate::{
    alert::{ActionTaken, Alert, Severity},
    analysis::Analysis,
    configuration::Enforced,
    console::Console,
    control::ControlSocket,
    delivery::Delivery,
    enforcement::Enforcement,
    escape::escape,
    launch::Launched,
    recording::Recording,
    relayed::Relayed,
    sensor_state,
    stream::Stream,
};

mod baselines;
mod error;
mod measuring;
mod reload;
mod reporting;
mod setup;
mod siblings;
mod state;

pub use baselines::{Keeping, keeping};
pub use error::SessionError;
pub use measuring::Measuring;
pub use reload::{Source, Told};
pub use setup::{Setup, Watched, whole_subscription};
pub use siblings::Service;
use state::State;

const LOADER: Token = Token(0);
const SIGNALS: Token = Token(1);
const ENFORCER: Token = Token(2);
const CONTROL: Token = Token(3);
const SIBLINGS: Token = Token(4);
const RELAYED: Token = Token(5);
/// How long the loader may take to load and attach: it is one second on an idle machine, and a loader
/// that fails is noticed at once.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long it may say nothing before all is sent that is left after a stop.
const STOP_LIMIT: Duration = Duration::from_millis(900);
/// From one status to the next, if something else wakes it by then, which a heartbeat does; else a little later.
const STATUS_INTERVAL: Duration = Duration::from_millis(400);
const STATUS_LIMIT: Duration = Duration::from_millis(600);
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

/// Blocks the signals that end a run, or have a service reload, so that they can be read.
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
    let Launched { loader, mut loader_process, enforcer, mut enforcer_process, relayed, sinks } =
        launched;
    let mut analysis = Analysis::with_rules(setup.rules, watched.debug);
    analysis.redact(setup.told.configuration.redaction.clone());
    let mut stream = Stream::of(analysis.with_engines(&watched.engines));
    let subscription = match setup.recording {
        Some(_) => whole_subscription(watched.engines.baseline.is_some()),
        None => setup::subscription(stream.analysis()),
    };
    let mut session = Session {
        loader: None,
        loader_about: None,
        about: setup.about,
        service: setup.service,
        state: State::Alone,
        started: Instant::now(),
        limit: watched.limit,
        scope: String::new(),
        enforce: watched.enforce,
        enforcement: None,
        enforcer_since: Instant::now(),
        subscription,
        told: setup.told,
        hooks: Vec::new(),
        limits: Vec::new(),
        notes: setup.notes,
        banner_shown: false,
        deadline: Instant::now() + START_LIMIT,
        heard_at: Instant::now(),
        is_silent: false,
        stream,
        recording: setup.recording,
        keeping: setup.keeping,
        learns: false,
        measuring: setup.measuring,
        control: setup.control,
        admins_wait: false,
        siblings_wait: false,
        relayed,
        delivery: Delivery::new(console, sinks),
        totals: None,
        last_status: (Instant::now(), 0),
        stop_asked: None,
        breaker_told: false,
        frame: Vec::new(),
    };
    session.stream.analysis().know(setup.programs);
    session.recall_baselines();
    session.enforcement = enforcer.and_then(|enforcer| session.greet_enforcer(enforcer));
    let mut ended = session.greet_loader(loader).and_then(|()| session.serve(signals));
    session.give_up_waiting();
    // Under `sentinel run` both end when their sockets do; the loader takes the programs in the kernel
    // with it.
    if let Some(loader) = &session.loader {
        let _closed = shutdown(loader.as_raw_fd(), Shutdown::Both);
    }
    session.enforcement = None;
    let how = loader_process.as_mut().map_or_else(|| "it closed its socket".into(), await_end);
    enforcer_process.as_mut().map(await_end);
    session.relay(true);
    if let Err(SessionError::LoaderLost(reason)) = &mut ended {
        *reason = how;
    }
    let recorded = session.recording.take().map_or(Ok(()), Recording::finish);
    session.finish_baselines();
    session.measure_last();
    if !matches!(ended, Err(SessionError::LoaderFailed)) {
        session.summarize();
    }
    ended.and(recorded.map_err(SessionError::Recording))
}

struct Session {
    /// `None` while a service waits for the next one.
    loader: Option<Channel>,
    /// What it said of itself.
    loader_about: Option<About>,
    /// What this process has become.
    about: About,
    /// `None` under `sentinel run`.
    service: Option<Service>,
    state: State,
    started: Instant,
    limit: Option<Duration>,
    scope: String,
    /// For which alerts the operator asked for kills; the enforcer decides for itself once more.
    enforce: Enforced,
    /// `None` when the enforcer could not even be greeted.
    enforcement: Option<Enforcement>,
    enforcer_since: Instant,
    subscription: Subscription,
    told: Told,
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
    /// `None` if what is learned is forgotten.
    keeping: Option<Keeping>,
    /// Whether it was told that programs are being learned, and not yet that they have been.
    learns: bool,
    measuring: Option<Measuring>,
    control: Option<ControlSocket>,
    /// Somebody may be waiting at it whom nothing announces.
    admins_wait: bool,
    /// Likewise at the door of the other two.
    siblings_wait: bool,
    /// What loader and enforcer say, if they do not say it themselves.
    relayed: Option<Relayed>,
    delivery: Delivery,
    totals: Option<Counters>,
    last_status: (Instant, u64),
    /// Since when it is to stop.
    stop_asked: Option<Instant>,
    breaker_told: bool,
    frame: Vec<u8>,
}

impl Session {
    fn serve(&mut self, signals: &SignalFd) -> Result<(), SessionError> {
        let polling = |error| SessionError::System("epoll", error);
        let mut poll = Poll::new().map_err(polling)?;
        let registry = poll.registry().try_clone().map_err(polling)?;
        let enforcer = self.enforcement.as_ref().and_then(Enforcement::channel);
        let siblings = self.service.as_ref().and_then(|service| service.siblings.listener());
        let sources = [
            (Some(signals.as_raw_fd()), SIGNALS),
            (self.loader.as_ref().map(AsRawFd::as_raw_fd), LOADER),
            (enforcer.map(AsRawFd::as_raw_fd), ENFORCER),
            (self.control.as_ref().map(ControlSocket::listener), CONTROL),
            (siblings.map(|siblings| siblings.as_raw_fd()), SIBLINGS),
            (self.relayed.as_ref().map(AsRawFd::as_raw_fd), RELAYED),
        ];
        for (source, token) in sources {
            let Some(source) = source else { continue };
            registry
                .register(&mut SourceFd(&source), token, Interest::READABLE)
                .map_err(polling)?;
        }
        let mut events = Events::with_capacity(8);
        let mut look = Look::Empty;
        loop {
            let alive = self.service.as_mut().and_then(|service| service.notifier.alive());
            let is_busy = look == Look::More || self.admins_wait || self.siblings_wait;
            let timeout = if is_busy { Duration::ZERO } else { self.timeout() };
            let timeout = alive.map_or(timeout, |alive| alive.min(timeout));
            match poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(polling)?,
            }
            look = self.receive()?;
            self.hear_enforcer();
            self.relay(false);
            self.show_banner();
            if self.admins_wait || events.iter().any(|event| event.token() == CONTROL) {
                self.serve_control(&registry)?;
            }
            let asked = match signals.read_signal() {
                Ok(Some(signal)) if self.service.is_some() && is_hangup(&signal) => {
                    self.reload()?;
                    false
                }
                Ok(Some(_)) => true,
                // The journal of a service may be started again.
                Ok(None) | Err(_) => self.service.is_none() && !self.delivery.is_seen(),
            };
            if look == Look::Closed && self.state != State::Finished {
                if self.service.is_none() {
                    return Err(match self.state {
                        State::AwaitingReady => SessionError::LoaderFailed,
                        _ => SessionError::LoaderLost(String::new()),
                    });
                }
                if asked || self.stop_asked.is_some() {
                    // It was stopped as well.
                    return Ok(());
                }
                self.lose_loader();
            }
            if self.siblings_wait || events.iter().any(|event| event.token() == SIBLINGS) {
                self.let_siblings_in(&registry)?;
            }
            self.on_time(asked)?;
            if self.state == State::Finished && !self.awaits_outcome() {
                return Ok(());
            }
        }
    }

    fn awaits_outcome(&self) -> bool {
        self.enforcement.as_ref().is_some_and(|enforcement| enforcement.next_deadline().is_some())
    }

    fn timeout(&self) -> Duration {
        let now = Instant::now();
        let mut next = self.last_status.0 + STATUS_LIMIT;
        if self.state.is_limited() {
            next = next.min(self.deadline);
        } else if let (State::Streaming, None, Some(limit)) =
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
            let Some(loader) = &mut self.loader else { return Ok(Look::Empty) };
            let frame = match loader.receive() {
                Ok(Received::Frame(frame)) => frame,
                Ok(Received::WouldBlock) => return Ok(Look::Empty),
                Ok(Received::Closed) => return Ok(Look::Closed),
                Err(error) => return Err(broken(&error)),
            };
            let message = decode(frame).map_err(|error| broken(&error))?;
            let before = self.state;
            self.state = before.after(&message)?;
            self.heard_at = Instant::now();
            if self.state == State::Stopping {
                // It says what is left, which may be a whole ring.
                self.deadline = self.heard_at + STOP_LIMIT;
            }
            if let Some(recording) = &mut self.recording {
                recording.write(frame).map_err(SessionError::Recording)?;
            }
            let followed = self.stream.follow(&message, &mut alerts);
            let next = match message {
                LoaderMessage::Ready { about, .. } => {
                    self.loader_about = Some(about);
                    Some(AnalyzerMessage::Subscribe(self.subscription))
                }
                LoaderMessage::Subscribed { hooks, limits, scope, .. } => {
                    self.scope = escape(scope.as_bytes());
                    self.hooks = hooks.into_iter().map(str::to_owned).collect();
                    self.limits = limits;
                    self.note_missing_counts();
                    if before == State::Subscribing {
                        self.started = Instant::now();
                        if let Some(service) = &mut self.service {
                            service.say("watches");
                        }
                    }
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
                LoaderMessage::Drained { .. } => {
                    let processes = self.stream.take_carriers();
                    (!processes.is_empty()).then_some(AnalyzerMessage::Follow { processes })
                }
                LoaderMessage::Events { .. }
                | LoaderMessage::Snapshot { .. }
                | LoaderMessage::Calls { .. } => None,
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
        let now = clock::boot_ns().unwrap_or(0);
        for alert in alerts.drain(..) {
            self.delivery.tally().alert_latency.add(now.saturating_sub(alert.timestamp_boot));
            if !self.enforce.has(alert.engine) || alert.severity != Severity::Critical {
                self.delivery.alert(alert);
                continue;
            }
            match &mut self.enforcement {
                Some(enforcement) => {
                    if let Err(alert) = enforcement.request(alert) {
                        self.delivery.alert(*alert);
                    }
                }
                None => self.delivery.alert(Alert { action: ActionTaken::NoEnforcer, ..alert }),
            }
        }
    }

    fn hear_enforcer(&mut self) {
        let Some(enforcement) = &mut self.enforcement else { return };
        let (outcomes, lost) = enforcement.outcomes();
        let is_tripped = enforcement.mode() == Some(Mode::Tripped);
        if let Some(lost) = lost {
            self.delivery.tell(&lost);
        }
        let now = clock::boot_ns().unwrap_or(0);
        for alert in outcomes {
            if alert.action == ActionTaken::Decided(Verdict::Terminated) {
                let latency = now.saturating_sub(alert.timestamp_boot);
                self.delivery.tally().kill_latency.add(latency);
            }
            self.delivery.alert(alert);
        }
        if is_tripped && !self.breaker_told {
            let breaker = self.stream.analysis().breaker_tripped(now);
            self.delivery.alert(breaker);
        }
        self.breaker_told = is_tripped;
    }

    fn give_up_waiting(&mut self) {
        // What the enforcer has said already is true, however the run ends.
        self.hear_enforcer();
        let Some(enforcement) = &mut self.enforcement else { return };
        for alert in enforcement.give_up() {
            self.delivery.alert(alert);
        }
    }

    fn on_time(&mut self, asked_to_stop: bool) -> Result<(), SessionError> {
        let now = Instant::now();
        if now >= self.last_status.0 + STATUS_INTERVAL {
            self.delivery.advance();
            self.show_status(now);
        }
        match self.state {
            State::Alone | State::AwaitingReady | State::Subscribing if asked_to_stop => {
                self.state = State::Finished;
            }
            State::AwaitingReady | State::Subscribing if now >= self.deadline => {
                return Err(SessionError::LoaderSilent);
            }
            State::Alone if now >= self.deadline => return Err(SessionError::NoLoader),
            State::Stopping if now >= self.deadline => return Err(SessionError::LoaderHangs),
            State::Streaming => {
                let over = self.limit.is_some_and(|limit| now >= self.started + limit);
                if asked_to_stop || over {
                    self.stop_asked.get_or_insert(now);
                }
                // Whoever is to be killed is identified by the loader: that comes first, but alerts may
                // come without end.
                if let Some(since) = self.stop_asked
                    && (!self.awaits_outcome() || now >= since + STOP_LIMIT)
                {
                    self.send(&AnalyzerMessage::Stop)?;
                    self.state = State::Stopping;
                    self.deadline = now + STOP_LIMIT;
                }
            }
            State::Alone
            | State::AwaitingReady
            | State::Subscribing
            | State::Stopping
            | State::Finished => {}
        }
        if self.state == State::Streaming {
            self.listen_for_silence(now);
        }
        self.keep_baselines(now);
        self.measure(now);
        if let Some(service) = &mut self.service {
            service.be_patient(now);
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
        let Some(loader) = &self.loader else { return Ok(()) };
        loader
            .send(&self.frame)
            .map(|_sent| ())
            .map_err(|error| SessionError::Protocol(error.to_string()))
    }
}

fn is_hangup(signal: &siginfo) -> bool {
    i32::try_from(signal.ssi_signo) == Ok(Signal::SIGHUP as i32)
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
