//! The loader's life: load, wait for an analyzer, attach what it asks for, forward until it ends.

use std::{
    io,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Registry, Token, unix::SourceFd};
use sentinel_ipc::{
    channel::Channel,
    clock, confinement,
    diagnostics::tell,
    file_class::BUILT_IN,
    frame::{About, Clock},
    notify::Notifier,
    turns,
};

use crate::{
    arguments::Arguments,
    doors::{Door, Doors},
    forward::{Forwarder, Progress},
    identity::{IdentityError, IdentityService},
    memory, privileges, sensitive_paths,
    sensor::Sensor,
};

mod conversation;
mod error;
mod messages;
mod rounds;

use conversation::{Conversation, HEARTBEAT, PATIENCE, State};
pub use error::SessionError;

const ANALYZER: Token = Token(0);
const ALERT: Token = Token(1);
const TELEMETRY: Token = Token(2);
const ENFORCER: Token = Token(3);
const ANALYZERS: Token = Token(4);
const ENFORCERS: Token = Token(5);

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
        self.conversation = Some(Conversation::new(channel));
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
}

fn wall_and_boot() -> Result<Clock, SessionError> {
    clock::now().map_err(|errno| SessionError::System("clock_gettime", errno.into()))
}
