//! The loader's life: load, wait for the analyzer, attach, forward until either side ends.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
    time::{ClockId, clock_gettime},
};
use sentinel_ipc::{
    channel::{Channel, ChannelError, Received},
    frame::{AnalyzerMessage, Clock, Counters, LoaderMessage, PROTOCOL_VERSION, decode},
};

use crate::{
    arguments::Arguments,
    forward::{ForwardError, Forwarder, Progress},
    sensor::{Sensor, SensorError},
};

const ANALYZER: Token = Token(0);
const RING: Token = Token(1);
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Why the loader ended.
#[derive(Debug)]
pub enum SessionError {
    /// The sensor cannot run.
    Sensor(SensorError),
    /// Standard input is not what it has to be.
    NoAnalyzer(ChannelError),
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
            Self::NoAnalyzer(error) => {
                write!(
                    to,
                    "standard input must be the analyzer's socket: {error}; start `sentinel run`"
                )
            }
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

fn system(what: &'static str) -> impl Fn(Errno) -> SessionError {
    move |errno| SessionError::System(what, errno.into())
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
}

/// Runs until the analyzer says stop or goes away.
///
/// # Errors
/// When the sensor cannot run or the analyzer misbehaves.
pub fn run(arguments: &Arguments) -> Result<(), SessionError> {
    // The launcher's terminal signals everybody at its keyboard; the analyzer decides for all.
    let mut ignored = SigSet::empty();
    ignored.add(Signal::SIGINT);
    ignored.thread_block().map_err(system("sigprocmask"))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(system("prctl(PR_SET_PDEATHSIG)"))?;
    let socket = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| SessionError::System("standard input", error))?;
    let channel = Channel::new(socket).map_err(SessionError::NoAnalyzer)?;
    let analyzer = channel.peer().map_err(SessionError::NoAnalyzer)?.pid();
    let (sensor, ring) = Sensor::load(&arguments.scope)?;
    sensor.exclude(std::process::id());
    if let Ok(analyzer) = u32::try_from(analyzer) {
        sensor.exclude(analyzer);
    }
    Session { channel, sensor, forwarder: Forwarder::new(ring), state: State::AwaitingHello }.run()
}

struct Session {
    channel: Channel,
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
        let mut events = Events::with_capacity(8);
        let mut next_heartbeat = Instant::now();
        loop {
            let timeout = next_heartbeat.saturating_duration_since(Instant::now());
            match poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(polling)?,
            }
            if self.read_messages()? {
                return Ok(());
            }
            let progress = self.forwarder.forward(&self.channel)?;
            match (self.state, progress) {
                (_, Progress::Closed) => return Ok(()),
                (State::Stopping, Progress::Idle) => return self.finish(),
                (State::Streaming, Progress::Idle) if Instant::now() >= next_heartbeat => {
                    let (clock, counters) = (now()?, self.counters()?);
                    if self.forwarder.heartbeat(&self.channel, clock, counters)? == Progress::Closed
                    {
                        return Ok(());
                    }
                }
                (State::AwaitingHello | State::Streaming | State::Stopping, _) => {}
            }
            if Instant::now() >= next_heartbeat {
                next_heartbeat = Instant::now() + HEARTBEAT;
            }
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
                (State::AwaitingHello, AnalyzerMessage::Hello { version }) => {
                    if version != PROTOCOL_VERSION {
                        return Err(SessionError::Protocol(format!(
                            "it speaks version {version}, this loader {PROTOCOL_VERSION}; install \
                             both from one package"
                        )));
                    }
                    self.start()?;
                }
                (State::Streaming, AnalyzerMessage::Stop) => {
                    self.sensor.detach();
                    self.state = State::Stopping;
                }
                (State::Streaming | State::Stopping, AnalyzerMessage::Hello { .. }) => {
                    return Err(SessionError::Protocol("a second hello".into()));
                }
                (State::AwaitingHello | State::Stopping, AnalyzerMessage::Stop) => {
                    return Err(SessionError::Protocol("a stop while nothing runs".into()));
                }
            }
        }
    }

    fn start(&mut self) -> Result<(), SessionError> {
        let hooks = self.sensor.attach()?;
        self.state = State::Streaming;
        let ready = LoaderMessage::Ready { version: PROTOCOL_VERSION, hooks, clock: now()? };
        // The first frame on an empty socket: it always fits, unless the analyzer is gone, which
        // the next look at the socket finds.
        let _sent = self.forwarder.message(&self.channel, &ready)?;
        Ok(())
    }

    fn finish(mut self) -> Result<(), SessionError> {
        let counters = self.counters()?;
        let _sent = self.forwarder.message(&self.channel, &LoaderMessage::Finished { counters })?;
        Ok(())
    }

    fn counters(&self) -> Result<Counters, SessionError> {
        Ok(Counters { forwarded: self.forwarder.forwarded(), ..self.sensor.counters()? })
    }
}

fn now() -> Result<Clock, SessionError> {
    let read = |clock| -> Result<i64, SessionError> {
        let time = clock_gettime(clock).map_err(system("clock_gettime"))?;
        Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
    };
    let boot = read(ClockId::CLOCK_BOOTTIME)?;
    let wall = read(ClockId::CLOCK_REALTIME)?;
    Ok(Clock { boot_ns: boot.unsigned_abs(), wall_offset_ns: wall - boot })
}
