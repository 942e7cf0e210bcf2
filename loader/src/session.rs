//! The loader's life: load, wait for an analyzer, attach what it asks for, forward until it ends.

use std::{
    fmt, io,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Registry, Token, unix::SourceFd};
use nix::unistd::getsid;
use sentinel_ipc::{
    channel::{Channel, Received},
    clock, confinement,
    diagnostics::tell,
    file_class::BUILT_IN,
    frame::{
        About, AnalyzerMessage, Clock, Counters, LoaderMessage, MAX_BATCH_BYTES, MAX_COUNTS,
        MAX_FOLLOWED, PROTOCOL_VERSION, Subscription, decode,
    },
    kernel_abi::kind,
    notify::Notifier,
    turns,
};

use crate::{
    arguments::Arguments,
    doors::{Door, Doors},
    forward::{Forwarder, Progress},
    identity::{IdentityError, IdentityService},
    memory,
    pace::{self, Pace},
    privileges, sensitive_paths,
    sensor::Sensor,
    snapshot::{self, Snapshot},
};

mod error;

pub use error::SessionError;

const ANALYZER: Token = Token(0);
const ALERT: Token = Token(1);
const TELEMETRY: Token = Token(2);
const ENFORCER: Token = Token(3);
const ANALYZERS: Token = Token(4);
const ENFORCERS: Token = Token(5);
/// And so how long telemetry may lie in its ring when nothing else wakes the loader.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long an analyzer may take to say its first word, and how long somebody may wait at the socket who
/// was not let in at first.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages that may wait to be sent before nothing more is read.
const MAX_ANSWERS: usize = 8;
/// Heartbeats from one canary to the next.
const CANARY_EVERY: u32 = 4;

/// Heartbeats from one telling of counts to the next.
const COUNTS_EVERY: u32 = 2;

/// What the analyzer may say next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing said yet.
    AwaitingHello,
    /// It may subscribe.
    Serving,
    /// Detached; what is left is being sent.
    Stopping,
    /// The last message is being sent.
    Finishing,
}

/// Runs until the analyzer says stop or goes away; if another may come, for ever.
///
/// # Errors
/// When the sensor cannot run or the only analyzer misbehaves.
pub fn run(arguments: &Arguments) -> Result<(), SessionError> {
    confinement::own_signal_mask()?;
    turns::ask_for_early_ones();
    let Doors { analyzers, enforcers } = Doors::open()?;
    let notifier = Notifier::from_environment()
        .map_err(|error| SessionError::System("NOTIFY_SOCKET", error))?;
    let mut analyzers = Door::new(analyzers, confinement::account("sentinel")?.uid);
    let enforcers = Door::new(enforcers, confinement::account("sentinel-enforcer")?.uid);
    confinement::close_standard_streams()?;
    let rules = sensitive_paths::before(&arguments.files, BUILT_IN);
    let (mut sensor, rings) = Sensor::load(&arguments.scope, &rules, arguments.counting)?;
    memory::trim();
    sensor.exclude(std::process::id())?;
    // The peer of a pair is there already; nothing of it may be seen while the scope is set up.
    let first = if analyzers.is_listening() { None } else { analyzers.let_in() };
    if let Some(first) = &first {
        leave_out(first, &sensor)?;
    }
    sensor.follow_scope()?;
    sensor.learn_files()?;
    let confined = privileges::drop_privileges(sensor.counts_bytes())?;
    if !confined.sandbox.is_full {
        tell("sentinel-loader: this kernel's landlock closes the file system only");
    }
    let polling = |error| SessionError::System("epoll", error);
    let poll = Poll::new().map_err(polling)?;
    let mut session = Session {
        analyzers,
        about: confined.about,
        scope: arguments.scope.to_string(),
        conversation: None,
        unattended_since: None,
        enforcers,
        enforcer: None,
        sensor,
        forwarder: Forwarder::new(rings),
        registry: poll.registry().try_clone().map_err(polling)?,
        notifier,
        counted_until: 0,
    };
    if let Some(channel) = first {
        session.converse(channel)?;
    }
    session.run(poll)
}

/// Has the sensor leave out who is at the other end; where this end has called, that is known once
/// somebody has answered.
fn leave_out(channel: &Channel, sensor: &Sensor) -> Result<(), SessionError> {
    let peer = channel.peer().ok().flatten();
    if let Some(pid) = peer.and_then(|peer| u32::try_from(peer.pid()).ok()) {
        sensor.exclude_peer(pid, channel)?;
    }
    Ok(())
}

/// What there is while an analyzer is there.
struct Conversation {
    channel: Channel,
    state: State,
    begun: Instant,
    /// Whether a round has begun since it said stop, which will be the last.
    last_round: bool,
    /// Whether it asked for anything.
    attends: bool,
    /// Whether it asked for canaries.
    canary_wanted: bool,
    canaries: u64,
    beats: u32,
    next_beat: Instant,
    /// A ring has called since the last round began.
    called: bool,
    /// The round under way ends with a heartbeat.
    beat_follows: bool,
    next_drain: Instant,
    pace: Pace,
    snapshot: Option<Begun>,
    /// Another snapshot was asked for while one was being taken.
    snapshot_again: bool,
    /// The socket was full, and it is told when it can be written.
    awaits_room: bool,
}

/// A snapshot that is being taken.
struct Begun {
    snapshot: Snapshot,
    /// CLOCK_BOOTTIME, ns.
    at: u64,
}

struct Session {
    analyzers: Door,
    /// Itself and what it watches in words, for analyzers.
    about: About,
    scope: String,
    conversation: Option<Conversation>,
    /// When the last analyzer went; CLOCK_BOOTTIME, ns.
    unattended_since: Option<u64>,
    enforcers: Door,
    /// `None` while there is no enforcer; watching goes on.
    enforcer: Option<IdentityService>,
    sensor: Sensor,
    forwarder: Forwarder,
    registry: Registry,
    notifier: Notifier,
    /// Until when counted calls have been told; CLOCK_BOOTTIME, ns.
    counted_until: u64,
}

impl Session {
    fn run(mut self, mut poll: Poll) -> Result<(), SessionError> {
        let polling = |error| SessionError::System("epoll", error);
        self.register_all().map_err(polling)?;
        self.notifier.ready();
        let mut events = Events::with_capacity(8);
        // Whoever was called waits already, and nobody announces that.
        let mut busy = true;
        loop {
            let timeout = [self.timeout(busy), self.notifier.alive()].into_iter().flatten().min();
            match poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(polling)?,
            }
            self.let_enforcer_in()?;
            self.serve_enforcer();
            // Who was called and has not answered makes room for who calls.
            if self.conversation.as_ref().is_none_or(Conversation::awaits_answer)
                && let Some(channel) = self.analyzers.let_in()
            {
                self.converse(channel)?;
            }
            let called = events.iter().any(|event| matches!(event.token(), ALERT | TELEMETRY));
            let progress = match self.turn(called || busy) {
                Err(SessionError::Protocol(what)) if self.analyzers.is_listening() => {
                    tell(&format!("sentinel-loader: the analyzer broke the protocol: {what}"));
                    Progress::Closed
                }
                result => result?,
            };
            if progress == Progress::Closed {
                if !self.analyzers.is_listening() {
                    return Ok(());
                }
                self.part()?;
            }
            self.await_room(progress == Progress::Blocked)?;
            // Whoever has waited at the listening socket is not announced again.
            busy = matches!(progress, Progress::More | Progress::Closed);
        }
    }

    fn register_all(&self) -> io::Result<()> {
        let readable =
            |fd: i32, token| self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE);
        for (ring, token) in self.forwarder.rings().iter().zip([ALERT, TELEMETRY]) {
            readable(ring.as_raw_fd(), token)?;
        }
        let listeners = [(&self.analyzers, ANALYZERS), (&self.enforcers, ENFORCERS)];
        for (door, token) in listeners {
            door.listener().map_or(Ok(()), |listener| readable(listener.as_raw_fd(), token))?;
        }
        Ok(())
    }

    /// The newest enforcer takes the place of the one before.
    fn let_enforcer_in(&mut self) -> Result<(), SessionError> {
        while let Some(channel) = self.enforcers.let_in() {
            let source = &mut SourceFd(&channel.as_raw_fd());
            self.registry
                .register(source, ENFORCER, Interest::READABLE)
                .map_err(|error| SessionError::System("epoll", error))?;
            self.enforcer = Some(IdentityService::new(channel, self.enforcers.is_listening()));
        }
        Ok(())
    }

    fn timeout(&self, busy: bool) -> Option<Duration> {
        if busy {
            return Some(Duration::ZERO);
        }
        let Some(conversation) = &self.conversation else {
            // Who waits at the socket is announced once, and may not have been let in then.
            return Some(PATIENCE);
        };
        if conversation.state == State::AwaitingHello {
            return Some(PATIENCE);
        }
        // Only the analyzer can get things going again; looked at now and then all the same.
        if conversation.state != State::Serving || self.forwarder.waiting() > 0 {
            return Some(HEARTBEAT);
        }
        let next = conversation.next_beat.min(conversation.next_drain);
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Begins to talk to an analyzer.
    fn converse(&mut self, channel: Channel) -> Result<(), SessionError> {
        self.registry
            .register(&mut SourceFd(&channel.as_raw_fd()), ANALYZER, Interest::READABLE)
            .map_err(|error| SessionError::System("epoll", error))?;
        let now = Instant::now();
        self.conversation = Some(Conversation {
            channel,
            state: State::AwaitingHello,
            begun: now,
            last_round: false,
            attends: false,
            canary_wanted: false,
            canaries: 0,
            beats: 0,
            called: false,
            next_beat: now,
            beat_follows: false,
            next_drain: now,
            pace: Pace::new(now),
            snapshot: None,
            snapshot_again: false,
            awaits_room: false,
        });
        Ok(())
    }

    /// Has it told when the analyzer's socket can be written, or no longer: with each packet that is read there, it
    /// can again, and that is nothing to wake for.
    fn await_room(&mut self, wanted: bool) -> Result<(), SessionError> {
        let Some(conversation) = &mut self.conversation else { return Ok(()) };
        if std::mem::replace(&mut conversation.awaits_room, wanted) == wanted {
            return Ok(());
        }
        let both = Interest::READABLE | Interest::WRITABLE;
        let interest = if wanted { both } else { Interest::READABLE };
        let source = &mut SourceFd(&conversation.channel.as_raw_fd());
        let changed = self.registry.reregister(source, ANALYZER, interest);
        changed.map_err(|error| SessionError::System("epoll", error))
    }

    /// The analyzer is gone, and another one may come.
    fn part(&mut self) -> Result<(), SessionError> {
        let attended = self.conversation.take().is_some_and(|conversation| conversation.attends);
        self.sensor.tell_together(false)?;
        self.sensor.fall_silent()?;
        self.forwarder.discard()?;
        if attended {
            self.unattended_since = Some(wall_and_boot()?.boot_ns);
        }
        Ok(())
    }

    /// Reads what the analyzer said and sends what there is for it.
    fn turn(&mut self, called: bool) -> Result<Progress, SessionError> {
        if self.conversation.is_none() {
            return Ok(Progress::Idle);
        }
        if self.read_messages()? {
            return Ok(Progress::Closed);
        }
        let Some(conversation) = &mut self.conversation else { return Ok(Progress::Idle) };
        let is_mute = conversation.state == State::AwaitingHello
            && !conversation.awaits_answer()
            && conversation.begun.elapsed() >= PATIENCE;
        if is_mute && self.analyzers.is_listening() {
            return Ok(Progress::Closed);
        }
        // Kept while a round waits for the socket: nobody calls twice.
        conversation.called |= called;
        if !self.forwarder.is_in_round()
            && matches!(conversation.state, State::Serving | State::Stopping)
        {
            let now = Instant::now();
            if now >= conversation.next_beat {
                conversation.beat(now);
            }
            let due = conversation.beat_follows || now >= conversation.next_drain;
            if conversation.called || due || conversation.state == State::Stopping {
                let soon = conversation.pace.comes_soon();
                conversation.next_drain = now + if soon { pace::TOGETHER } else { HEARTBEAT };
                conversation.called = false;
                conversation.last_round = conversation.state == State::Stopping;
                self.forwarder.begin(wall_and_boot()?.boot_ns, conversation.beat_follows);
            }
        }
        let was_in_round = self.forwarder.is_in_round();
        let progress = forward(&mut self.forwarder, &self.sensor, &conversation.channel)?;
        if was_in_round && !self.forwarder.is_in_round() {
            let (now, urgent) = (Instant::now(), self.forwarder.take_urgent());
            if conversation.pace.round(now, urgent) {
                self.sensor.tell_together(conversation.pace.is_together())?;
                // For the first records that do not call; and for the last, behind which others would lie.
                conversation.next_drain = now + pace::TOGETHER;
            }
        }
        if progress != Progress::Idle {
            return Ok(progress);
        }
        let progress = self.conclude()?;
        if progress != Progress::Idle {
            return Ok(progress);
        }
        self.go_on_with_snapshot()
    }

    /// Sends the next part of a snapshot, if one is being taken; a round comes between two parts.
    fn go_on_with_snapshot(&mut self) -> Result<Progress, SessionError> {
        let Some(conversation) = &mut self.conversation else { return Ok(Progress::Idle) };
        let Some(Begun { snapshot, at }) = &mut conversation.snapshot else {
            return Ok(Progress::Idle);
        };
        let mut records = Vec::new();
        let (is_last, is_cut) = match snapshot.read(&mut records, MAX_BATCH_BYTES)? {
            snapshot::Progress::More => (false, false),
            snapshot::Progress::Done { is_cut } => (true, is_cut),
        };
        let message = LoaderMessage::Snapshot { begun: *at, records: &records, is_last, is_cut };
        self.forwarder.message(&message)?;
        if is_last {
            // Heard of by a heartbeat's round, with which everything in it has been told.
            conversation.next_beat = Instant::now();
            conversation.snapshot = if std::mem::take(&mut conversation.snapshot_again) {
                let snapshot = self.sensor.snapshot()?;
                Some(Begun { snapshot, at: wall_and_boot()?.boot_ns })
            } else {
                None
            };
        }
        Ok(Progress::More)
    }

    /// A round has ended, or there was none: says what comes after it.
    fn conclude(&mut self) -> Result<Progress, SessionError> {
        let Some(conversation) = &mut self.conversation else { return Ok(Progress::Idle) };
        match conversation.state {
            State::Serving if std::mem::take(&mut conversation.beat_follows) => {
                let (clock, canaries) = (wall_and_boot()?, conversation.canaries);
                let counts_due = conversation.beats.is_multiple_of(COUNTS_EVERY);
                let counters = self.counters()?;
                self.forwarder.message(&LoaderMessage::Heartbeat { clock, counters, canaries })?;
                if counts_due {
                    self.tell_counts(clock.boot_ns)?;
                }
                // At once, while the round's end wakes the analyzer, and not to wake it again.
                let Some(conversation) = &self.conversation else { return Ok(Progress::Idle) };
                match forward(&mut self.forwarder, &self.sensor, &conversation.channel)? {
                    Progress::Idle if conversation.is_called(&self.forwarder) => Ok(Progress::More),
                    progress => Ok(progress),
                }
            }
            State::Stopping if !conversation.last_round => Ok(Progress::More),
            State::Stopping => {
                conversation.state = State::Finishing;
                let counters = self.counters()?;
                self.forwarder.message(&LoaderMessage::Finished { counters })?;
                Ok(Progress::More)
            }
            State::Finishing => Ok(Progress::Closed),
            State::Serving if conversation.is_called(&self.forwarder) => Ok(Progress::More),
            State::AwaitingHello | State::Serving => Ok(Progress::Idle),
        }
    }

    fn serve_enforcer(&mut self) {
        if let Some(enforcer) = &mut self.enforcer
            && let Err(error) = enforcer.serve(&mut self.sensor)
        {
            if !matches!(error, IdentityError::Closed) {
                tell(&format!("sentinel-loader: {error}; it is served no longer"));
            }
            self.enforcer = None;
        }
    }

    /// Handles what the analyzer sent; true when it is gone. While many answers wait to be sent nothing
    /// more is read, so that they stay few.
    fn read_messages(&mut self) -> Result<bool, SessionError> {
        while let Some(conversation) = &mut self.conversation
            && self.forwarder.waiting() < MAX_ANSWERS
        {
            let broken = |error: &dyn fmt::Display| SessionError::Protocol(error.to_string());
            let message = match conversation.channel.receive().map_err(|error| broken(&error))? {
                Received::WouldBlock => return Ok(false),
                Received::Closed => return Ok(true),
                Received::Frame(frame) => decode(frame).map_err(|error| broken(&error))?,
            };
            match (conversation.state, message) {
                (State::AwaitingHello, AnalyzerMessage::Hello { version }) => {
                    let (forwarded, shed) = self.forwarder.totals();
                    let counters = Counters { forwarded, shed, ..self.sensor.counters()? };
                    if version != PROTOCOL_VERSION {
                        return Err(SessionError::Protocol(format!(
                            "it speaks version {version}, this loader {PROTOCOL_VERSION}; install \
                             both from one package"
                        )));
                    }
                    conversation.state = State::Serving;
                    leave_out(&conversation.channel, &self.sensor)?;
                    self.forwarder.message(&LoaderMessage::Ready {
                        version: PROTOCOL_VERSION,
                        clock: wall_and_boot()?,
                        unattended_since: self.unattended_since,
                        counters,
                        about: self.about.clone(),
                    })?;
                }
                (State::Serving, AnalyzerMessage::Subscribe(subscription)) => {
                    conversation.canary_wanted =
                        subscription.reporting && subscription.kinds.has(kind::CANARY);
                    if subscription.reporting {
                        conversation.attends = true;
                        self.unattended_since = None;
                    }
                    self.subscribe(&subscription)?;
                }
                (State::Serving, AnalyzerMessage::TakeSnapshot) => {
                    if conversation.snapshot.is_some() {
                        conversation.snapshot_again = true;
                    } else {
                        let snapshot = self.sensor.snapshot()?;
                        conversation.snapshot =
                            Some(Begun { snapshot, at: wall_and_boot()?.boot_ns });
                    }
                }
                (State::Serving, AnalyzerMessage::Follow { processes }) => {
                    if processes.len() > MAX_FOLLOWED {
                        let what = format!("{} processes to follow at once", processes.len());
                        return Err(SessionError::Protocol(what));
                    }
                    processes.iter().try_for_each(|process| self.sensor.follow(*process))?;
                }
                (State::Serving, AnalyzerMessage::Stop) => {
                    conversation.state = State::Stopping;
                    self.sensor.fall_silent()?;
                }
                (
                    State::Serving | State::Stopping | State::Finishing,
                    AnalyzerMessage::Hello { .. },
                ) => {
                    return Err(SessionError::Protocol("a second hello".into()));
                }
                // Sent before it read that there is nothing more.
                (
                    State::Stopping | State::Finishing,
                    AnalyzerMessage::Subscribe(_)
                    | AnalyzerMessage::TakeSnapshot
                    | AnalyzerMessage::Follow { .. },
                ) => {}
                (
                    State::AwaitingHello,
                    AnalyzerMessage::Subscribe(_)
                    | AnalyzerMessage::TakeSnapshot
                    | AnalyzerMessage::Follow { .. }
                    | AnalyzerMessage::Stop,
                )
                | (State::Stopping | State::Finishing, AnalyzerMessage::Stop) => {
                    return Err(SessionError::Protocol("a message out of turn".into()));
                }
            }
        }
        Ok(false)
    }

    fn subscribe(&mut self, subscription: &Subscription) -> Result<(), SessionError> {
        if !subscription.kinds.is_sound() {
            let what = "it asks for kinds of events that do not exist".into();
            return Err(SessionError::Protocol(what));
        }
        self.sensor.subscribe(subscription)?;
        self.counted_until = clock::boot_ns()
            .map_err(|errno| SessionError::System("clock_gettime", errno.into()))?;
        let (hooks, limits) = (self.sensor.hooks(), self.sensor.limits(subscription));
        let number = subscription.number;
        let scope = &self.scope;
        Ok(self.forwarder.message(&LoaderMessage::Subscribed { number, hooks, limits, scope })?)
    }

    /// Tells the calls that were counted until `now`, CLOCK_BOOTTIME in ns, if they are.
    fn tell_counts(&mut self, now: u64) -> Result<(), SessionError> {
        let Some(rest) = self.sensor.take_counts()? else { return Ok(()) };
        let (until, since) = (now, std::mem::replace(&mut self.counted_until, now));
        let (mut part, mut counts) = (Vec::new(), 0);
        let mut rest = rest.into_iter().peekable();
        loop {
            let profile = rest.next();
            let is_last = rest.peek().is_none();
            counts += profile.as_ref().map_or(0, |profile| profile.calls.len());
            part.extend(profile);
            if is_last || counts >= MAX_COUNTS {
                counts = 0;
                let profiles = std::mem::take(&mut part);
                let message = LoaderMessage::Calls { until, since, profiles, is_last };
                self.forwarder.message(&message)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn counters(&self) -> Result<Counters, SessionError> {
        let (forwarded, shed) = self.forwarder.totals();
        Ok(Counters { forwarded, shed, ..self.sensor.counters()? })
    }
}

impl Conversation {
    /// Whether this end has called and nobody has answered yet.
    fn awaits_answer(&self) -> bool {
        self.state == State::AwaitingHello && matches!(self.channel.peer(), Ok(None))
    }

    /// Whether a ring has called during the round, which it does not do again.
    fn is_called(&self, forwarder: &Forwarder) -> bool {
        forwarder.has_more() || self.called
    }

    /// It is time for a heartbeat, and now and then for a canary.
    fn beat(&mut self, now: Instant) {
        self.next_beat = now + HEARTBEAT;
        self.beat_follows = true;
        if self.canary_wanted && self.beats.is_multiple_of(CANARY_EVERY) {
            // The call itself is what the sensor is to see.
            let _own = getsid(None);
            self.canaries += 1;
        }
        self.beats = self.beats.wrapping_add(1);
    }
}

/// Sends what waits, and what the round takes.
fn forward(
    forwarder: &mut Forwarder,
    sensor: &Sensor,
    to: &Channel,
) -> Result<Progress, SessionError> {
    let dropped = || {
        let dropped = sensor.counters().map_or([0; 2], |counters| counters.dropped);
        (clock::boot_ns().unwrap_or(0), dropped)
    };
    Ok(forwarder.forward(to, dropped)?)
}

fn wall_and_boot() -> Result<Clock, SessionError> {
    clock::now().map_err(|errno| SessionError::System("clock_gettime", errno.into()))
}
