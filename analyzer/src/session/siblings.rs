//! The other two processes when they are services: they come and go, and this one stays.
//!
//! Whoever starts calls on the others, for none of them can connect once it is confined. Calls may cross:
//! then the one that this process made counts, as long as its other end is not hung up.

use std::{
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use mio::{Interest, Registry, unix::SourceFd};
use nix::unistd::Uid;
use sentinel_ipc::{
    channel::{Channel, ChannelError},
    clock,
    endpoint::Endpoint,
    frame::{AnalyzerMessage, PROTOCOL_VERSION},
    notify::Notifier,
};

use super::{ENFORCER, LOADER, START_LIMIT, Session, SessionError, State};
use crate::{enforcement::Enforcement, sensor_state};

/// How long no loader may call before this process ends, to be started again and call itself.
const ABSENCE_LIMIT: Duration = Duration::from_secs(60);

/// How long a service's start waits for a loader.
const LOADER_PATIENCE: Duration = Duration::from_secs(15);
/// Calls that are taken before the rest gets its turn.
const CALLS_A_TURN: u32 = 8;

/// What a service has beside what a run has.
pub struct Service {
    /// Where the other two call.
    pub siblings: Endpoint,
    /// The enforcer's user; the loader calls as root.
    pub enforcer_user: Uid,
    /// The service manager.
    pub notifier: Notifier,
    /// When it began, until it has said that it is ready.
    pub starting: Option<Instant>,
}

impl Service {
    /// Tells the service manager how things are, and with the first word that it is ready.
    pub(super) fn say(&mut self, state: &str) {
        self.notifier.state(state);
        if self.starting.take().is_some() {
            self.notifier.ready();
        }
    }

    /// A loader that does not come must not hold up the boot.
    pub(super) fn be_patient(&mut self, now: Instant) {
        if self.starting.is_some_and(|starting| now >= starting + LOADER_PATIENCE) {
            self.say("nothing is watched: no loader yet");
        }
    }
}

impl Session {
    /// Takes calls from the other two.
    pub(super) fn let_siblings_in(&mut self, registry: &Registry) -> Result<(), SessionError> {
        let Some(mut service) = self.service.take() else { return Ok(()) };
        self.siblings_wait = true;
        for _ in 0..CALLS_A_TURN {
            match service.siblings.next(service.enforcer_user) {
                Ok(None) => {
                    self.siblings_wait = false;
                    break;
                }
                Ok(Some(channel)) => self.let_in(channel, registry)?,
                Err(error) => {
                    self.delivery.tell(&format_args!("a connection is refused: {error}"));
                    if !matches!(error, ChannelError::Stranger(_)) {
                        // Tried again with the next call.
                        self.siblings_wait = false;
                        break;
                    }
                }
            }
        }
        self.service = Some(service);
        Ok(())
    }

    fn let_in(&mut self, channel: Channel, registry: &Registry) -> Result<(), SessionError> {
        let is_loader = channel.peer().ok().flatten().is_some_and(|peer| peer.uid() == 0);
        let present = if is_loader {
            self.loader.as_ref()
        } else {
            self.enforcement.as_ref().and_then(Enforcement::channel)
        };
        if present.is_some_and(|present| !present.is_hung_up()) {
            return Ok(());
        }
        let token = if is_loader { LOADER } else { ENFORCER };
        registry
            .register(&mut SourceFd(&channel.as_raw_fd()), token, Interest::READABLE)
            .map_err(|error| SessionError::System("epoll", error))?;
        if is_loader {
            // What the last one sent before its end has not been read yet.
            while self.loader.is_some() && self.receive()? != super::Look::Closed {}
            self.lose_loader();
            self.greet_loader(channel)
        } else {
            self.hear_enforcer();
            self.enforcement = self.greet_enforcer(channel);
            // That its budget is spent is told once more.
            self.breaker_told = false;
            self.enforcer_since = Instant::now();
            Ok(())
        }
    }

    /// Begins to talk to a loader.
    pub(super) fn greet_loader(&mut self, loader: Channel) -> Result<(), SessionError> {
        self.loader = Some(loader);
        self.state = State::AwaitingReady;
        self.deadline = Instant::now() + START_LIMIT;
        self.send(&AnalyzerMessage::Hello { version: PROTOCOL_VERSION })
    }

    /// Begins to talk to an enforcer.
    pub(super) fn greet_enforcer(&mut self, enforcer: Channel) -> Option<Enforcement> {
        match Enforcement::greet(enforcer) {
            Ok(enforcement) => Some(enforcement),
            Err(error) => {
                self.delivery.tell(&error);
                None
            }
        }
    }

    /// The loader has gone: says so, and waits for the next one to call.
    pub(super) fn lose_loader(&mut self) {
        if self.loader.take().is_none() {
            return;
        }
        let was_watching = matches!(self.state, State::Streaming);
        if let Some(service) = &mut self.service {
            service.say("nothing is watched: the loader is gone");
        }
        self.state = State::Alone;
        self.deadline = Instant::now() + ABSENCE_LIMIT;
        if was_watching {
            let mut alerts = Vec::new();
            let boot_ns = clock::boot_ns().unwrap_or(0);
            self.stream.interrupt(&mut alerts);
            self.stream.analysis().sensor(boot_ns, &mut alerts, |_, findings| {
                findings.push(sensor_state::gone());
            });
            self.act_on(&mut alerts);
        } else {
            self.delivery.tell(&"the sensor did not start; see the loader's message");
        }
    }
}
