//! The loader's life: load, wait for the analyzer, attach, forward until either side ends.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use sentinel_ipc::{
    channel::{Channel, ChannelError, Received},
    clock,
    confinement::{self, ConfinementError, Sandbox},
    diagnostics::tell,
    frame::{AnalyzerMessage, Clock, Counters, KindSet, LoaderMessage, PROTOCOL_VERSION, decode},
};

use crate::{
    arguments::Arguments,
    forward::{ForwardError, Forwarder, Progress},
    identity::{IdentityError, IdentityService},
    privileges,
    sensor::{Sensor, SensorError},
};

const ANALYZER: Token = Token(0);
const RING: Token = Token(1);
const ENFORCER: Token = Token(2);
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Why the loader ended.
#[derive(Debug)]
pub enum SessionError {
    /// The sensor cannot run.
    Sensor(SensorError),
    /// Standard input or output is not what it has to be.
    Socket(&'static str, ChannelError),
    /// It could not give up its privileges.
    Confinement(ConfinementError),
    /// The connection to the analyzer fails.
    Forward(ForwardError),
    /// The analyzer broke the protocol.
    Protocol(String),
    /// The system refuses something else.
    System(&'static str, io::Error),
}

impl fmt::Display for SessionError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sensor(error) => error.fmt(to),
            Self::Socket(which, error) => {
                write!(to, "{which} must be a socket: {error}; start `sentinel run`")
            }
            Self::Confinement(error) => error.fmt(to),
            Self::Forward(error) => error.fmt(to),
            Self::Protocol(what) => write!(to, "the analyzer broke the protocol: {what}"),
            Self::System(what, error) => write!(to, "{what}: {error}"),
        }
    }
}

impl From<SensorError> for SessionError {
    fn from(error: SensorError) -> Self {
        Self::Sensor(error)
    }
}

impl From<ForwardError> for SessionError {
    fn from(error: ForwardError) -> Self {
        Self::Forward(error)
    }
}

/// What the analyzer may say next.
#[derive(Clone, Copy)]
enum State {
    /// Nothing said yet.
    AwaitingHello,
    /// Attached and forwarding.
    Streaming,
    /// Detached; what is left is being sent.
    Stopping,
    /// The last message is being sent.
    Finishing,
}

/// Runs until the analyzer says stop or goes away.
///
/// # Errors
/// When the sensor cannot run or the analyzer misbehaves.
pub fn run(arguments: &Arguments) -> Result<(), SessionError> {
    confinement::own_signal_mask().map_err(SessionError::Confinement)?;
    let open = |which, stream: &dyn AsFd| {
        Channel::duplicate(stream).map_err(|error| SessionError::Socket(which, error))
    };
    let channel = open("standard input", &io::stdin())?;
    let enforcer = open("standard output", &io::stdout())?;
    let launcher = channel.peer().map_err(|error| SessionError::Socket("its peer", error))?.pid();
    confinement::close_standard_streams().map_err(SessionError::Confinement)?;
    let (mut sensor, ring) = Sensor::load(&arguments.scope)?;
    sensor.exclude(std::process::id());
    if let Ok(launcher) = u32::try_from(launcher) {
        sensor.exclude(launcher);
    }
    sensor.follow_scope()?;
    sensor.learn_files()?;
    let sandbox = privileges::drop_privileges().map_err(SessionError::Confinement)?;
    if sandbox == Sandbox::Partial {
        tell("sentinel-loader: this kernel's landlock closes the file system only");
    }
    Session {
        channel,
        enforcer: Some(IdentityService::new(enforcer)),
        sensor,
        forwarder: Forwarder::new(ring),
        state: State::AwaitingHello,
    }
    .run()
}

struct Session {
    channel: Channel,
    /// `None` once the enforcer is gone; watching goes on.
    enforcer: Option<IdentityService>,
    sensor: Sensor,
    forwarder: Forwarder,
    state: State,
}

impl Session {
    fn run(mut self) -> Result<(), SessionError> {
        let polling = |error| SessionError::System("epoll", error);
        let mut poll = Poll::new().map_err(polling)?;
        let socket = self.channel.as_raw_fd();
        let ring = self.forwarder.ring().as_raw_fd();
        let both_ways = Interest::READABLE | Interest::WRITABLE;
        let registry = poll.registry();
        registry.register(&mut SourceFd(&socket), ANALYZER, both_ways).map_err(polling)?;
        registry.register(&mut SourceFd(&ring), RING, Interest::READABLE).map_err(polling)?;
        if let Some(enforcer) = &self.enforcer {
            let socket = enforcer.channel().as_raw_fd();
            let source = &mut SourceFd(&socket);
            registry.register(source, ENFORCER, Interest::READABLE).map_err(polling)?;
        }
        let mut events = Events::with_capacity(8);
        let mut next_heartbeat = Instant::now();
        let mut busy = false;
        loop {
            let timeout = if busy {
                Duration::ZERO
            } else {
                next_heartbeat.saturating_duration_since(Instant::now())
            };
            match poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(polling)?,
            }
            if self.read_messages()? {
                return Ok(());
            }
            self.serve_enforcer();
            let progress = match self.state {
                // Nobody has asked for events yet.
                State::AwaitingHello => Progress::Idle,
                State::Streaming | State::Stopping | State::Finishing => {
                    let progress = || {
                        let dropped = self.sensor.counters().map_or(0, |counters| counters.dropped);
                        (clock::boot_ns().unwrap_or(0), dropped)
                    };
                    self.forwarder.forward(&self.channel, progress)?
                }
            };
            match (self.state, progress) {
                (_, Progress::Closed) => return Ok(()),
                (State::Stopping, Progress::Idle) => match self.finish()? {
                    Progress::Blocked => {}
                    Progress::Idle | Progress::More | Progress::Closed => return Ok(()),
                },
                (State::Finishing, Progress::Idle) => return Ok(()),
                (State::Streaming, Progress::Idle | Progress::More)
                    if Instant::now() >= next_heartbeat =>
                {
                    let (clock, counters) = (wall_and_boot()?, self.counters()?);
                    if self
                        .forwarder
                        .message(&self.channel, &LoaderMessage::Heartbeat { clock, counters })?
                        == Progress::Closed
                    {
                        return Ok(());
                    }
                }
                (
                    State::AwaitingHello | State::Streaming | State::Stopping | State::Finishing,
                    Progress::Idle | Progress::More | Progress::Blocked,
                ) => {}
            }
            busy = progress == Progress::More;
            if Instant::now() >= next_heartbeat {
                next_heartbeat = Instant::now() + HEARTBEAT;
            }
        }
    }

    fn serve_enforcer(&mut self) {
        if let Some(enforcer) = &mut self.enforcer
            && let Err(error) = enforcer.serve(&self.sensor)
        {
            if !matches!(error, IdentityError::Closed) {
                tell(&format!("sentinel-loader: {error}; it is served no longer"));
            }
            self.enforcer = None;
        }
    }

    /// Handles what the analyzer sent; true when it is gone.
    fn read_messages(&mut self) -> Result<bool, SessionError> {
        loop {
            let broken = |error: &dyn fmt::Display| SessionError::Protocol(error.to_string());
            let message = match self.channel.receive().map_err(|error| broken(&error))? {
                Received::WouldBlock => return Ok(false),
                Received::Closed => return Ok(true),
                Received::Frame(frame) => decode(frame).map_err(|error| broken(&error))?,
            };
            match (self.state, message) {
                (State::AwaitingHello, AnalyzerMessage::Hello { version, kinds }) => {
                    if version != PROTOCOL_VERSION {
                        return Err(SessionError::Protocol(format!(
                            "it speaks version {version}, this loader {PROTOCOL_VERSION}; install \
                             both from one package"
                        )));
                    }
                    if !kinds.is_sound() {
                        let what = "it asks for kinds of events that do not exist".into();
                        return Err(SessionError::Protocol(what));
                    }
                    self.start(kinds)?;
                }
                (State::Streaming, AnalyzerMessage::Stop) => {
                    self.sensor.fall_silent()?;
                    self.state = State::Stopping;
                }
                (
                    State::Streaming | State::Stopping | State::Finishing,
                    AnalyzerMessage::Hello { .. },
                ) => {
                    return Err(SessionError::Protocol("a second hello".into()));
                }
                (
                    State::AwaitingHello | State::Stopping | State::Finishing,
                    AnalyzerMessage::Stop,
                ) => {
                    return Err(SessionError::Protocol("a stop while nothing runs".into()));
                }
            }
        }
    }

    fn start(&mut self, kinds: KindSet) -> Result<(), SessionError> {
        let hooks = self.sensor.report(kinds)?;
        self.state = State::Streaming;
        let ready =
            LoaderMessage::Ready { version: PROTOCOL_VERSION, hooks, clock: wall_and_boot()? };
        // The first frame on an empty socket: it always fits, unless the analyzer is gone, which
        // the next look at the socket finds.
        let _sent = self.forwarder.message(&self.channel, &ready)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<Progress, SessionError> {
        let counters = self.counters()?;
        self.state = State::Finishing;
        Ok(self.forwarder.message(&self.channel, &LoaderMessage::Finished { counters })?)
    }

    fn counters(&self) -> Result<Counters, SessionError> {
        Ok(Counters { forwarded: self.forwarder.forwarded(), ..self.sensor.counters()? })
    }
}

fn wall_and_boot() -> Result<Clock, SessionError> {
    clock::now().map_err(|errno| SessionError::System("clock_gettime", errno.into()))
}
