//! The enforcer's life: administrators first, then who calls, then the loader, then one message of the
//! analyzer; and again.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{signal::Signal, signalfd::SignalFd},
};
use sentinel_ipc::{
    channel::{Channel, Sent},
    clock::boot_ns,
    frame::About,
    notify::Notifier,
};

use crate::{
    admins::Admins,
    audit::Audit,
    conversation::{Breach, Conversation, Heard, Request},
    decision::decide,
    doors::{Caller, Siblings, is_let_in},
    guard::Guard,
    loader::{Loader, NoAnswer},
    setup::{EnforcerError, system},
    switch::Switch,
};

/// How long the loader may stay away before a new enforcer calls on it.
const ALONE: Duration = Duration::from_secs(60);
/// Callers that are let in at one time.
const MAX_CALLERS: usize = 4;

/// Everything it works with.
pub struct Session {
    /// Who may ask for kills; `None` if there is nobody.
    pub analyzer: Option<Conversation>,
    /// `None` if it is gone: nobody can be identified then, and nobody is killed.
    pub loader: Option<Loader>,
    /// Since when it is gone.
    pub alone_since: Instant,
    /// Who may turn the kill switch.
    pub admins: Option<Admins>,
    /// The door for analyzer and loader; only as a service.
    pub siblings: Option<Siblings>,
    /// Only as a service.
    pub signals: Option<SignalFd>,
    /// To the service manager.
    pub notifier: Notifier,
    /// What may be done.
    pub guard: Guard,
    /// Whether anything may be done.
    pub switch: Switch,
    /// What was done.
    pub audit: Audit,
    /// The configuration file, for administrators.
    pub file: Option<String>,
    /// Itself, for the others.
    pub about: About,
}

/// What a look at the analyzer came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Served {
    Nothing,
    Hello,
    Request,
    /// There is no analyzer any more, and there will be none.
    End,
}

impl Session {
    /// Serves until there is nothing left to do.
    ///
    /// # Errors
    /// When it has to end for another reason.
    pub fn run(mut self) -> Result<(), EnforcerError> {
        self.notifier.ready();
        loop {
            self.wait()?;
            if self.is_told_to_end() {
                self.notifier.stopping();
                return Ok(());
            }
            self.answer_admins()?;
            self.let_in_callers();
            self.hear_loader();
            if self.serve_analyzer()? == Served::End {
                return Ok(());
            }
            if self.should_start_anew()? {
                return Err(EnforcerError::Alone);
            }
        }
    }

    fn is_service(&self) -> bool {
        self.siblings.is_some()
    }

    fn wait(&mut self) -> Result<(), EnforcerError> {
        let now = Instant::now();
        let in_time = |deadline: Instant| deadline.saturating_duration_since(now);
        let alone = self.is_service() && self.loader.is_none();
        let timeout = [
            self.notifier.alive(),
            alone.then(|| in_time(self.alone_since + ALONE)),
            self.admins.as_ref().and_then(Admins::next_deadline).map(in_time),
            self.siblings.as_ref().and_then(|one| one.door.shut_until()).map(in_time),
        ];
        let timeout = match timeout.into_iter().flatten().min() {
            // Rounded up, so that the deadline has passed.
            Some(left) => {
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(10);
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        fds.extend(self.signals.iter().map(|signals| readable(signals.as_fd())));
        fds.extend(self.admins.iter().flat_map(Admins::polled).map(readable));
        fds.extend(self.siblings.iter().filter_map(|one| one.door.polled()).map(readable));
        fds.extend(self.loader.iter().map(|loader| readable(loader.channel().as_fd())));
        fds.extend(self.analyzer.iter().map(|analyzer| {
            let (fd, flags) = analyzer.polled(self.guard.mode());
            PollFd::new(fd, flags)
        }));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(system("poll")(errno)),
        }
    }

    fn is_told_to_end(&self) -> bool {
        let Some(signals) = &self.signals else { return false };
        while let Ok(Some(signal)) = signals.read_signal() {
            if i32::try_from(signal.ssi_signo) == Ok(Signal::SIGTERM as i32) {
                return true;
            }
            self.audit.line(
                "a reload changes nothing: `systemctl restart sentinel-enforcer` applies a changed \
                 file",
            );
        }
        false
    }

    fn let_in_callers(&mut self) {
        for _ in 0..MAX_CALLERS {
            let Some(siblings) = &mut self.siblings else { return };
            let Some((caller, channel)) = siblings.next(&self.audit) else { return };
            let living = |loader: &Loader| !loader.channel().is_hung_up();
            if !is_let_in(caller, self.loader.as_ref().is_some_and(living)) {
                continue;
            }
            match caller {
                Caller::Analyzer => {
                    self.guard.begin_conversation();
                    self.analyzer = Some(Conversation::new(channel));
                }
                Caller::Loader => self.meet_loader(channel),
            }
        }
    }

    /// Asks the loader behind `channel` from now on.
    pub fn meet_loader(&mut self, channel: Channel) {
        self.guard.own.loader = None;
        match Loader::greet(channel) {
            Ok(loader) => self.loader = Some(loader),
            Err(error) => self.lose_loader(&error),
        }
    }

    fn hear_loader(&mut self) {
        let Some(loader) = &mut self.loader else { return };
        match loader.greeting() {
            Ok(Some(tgid)) => self.guard.own.loader = Some(tgid),
            Ok(None) => {}
            Err(error) => self.lose_loader(&error),
        }
    }

    fn lose_loader(&mut self, error: &NoAnswer) {
        // Under `sentinel run` it ends first in every orderly end; what that means for a request, its
        // refusal tells.
        if self.is_service() || !matches!(error, NoAnswer::Gone) {
            self.audit.line(&format!("{error}: nobody can be killed without a loader"));
        }
        (self.loader, self.alone_since) = (None, Instant::now());
        self.guard.own.loader = None;
    }

    /// Whether the loader has stayed away for so long that a new enforcer is to call on it. The budget and
    /// the kill switch outweigh that: a restart must not undo them.
    fn should_start_anew(&mut self) -> Result<bool, EnforcerError> {
        let alone = self.is_service() && self.loader.is_none();
        if !alone || self.alone_since.elapsed() < ALONE {
            return Ok(false);
        }
        self.alone_since = Instant::now();
        let spent = self.guard.spent(boot_ns().map_err(system("clock_gettime"))?);
        Ok(!spent.is_to_be_remembered() && !self.switch.would_be_on_again())
    }

    /// Takes one message of the analyzer, if there is one, and tells it the mode if that is new.
    pub(crate) fn serve_analyzer(&mut self) -> Result<Served, EnforcerError> {
        let Some(analyzer) = &mut self.analyzer else { return Ok(Served::Nothing) };
        let heard = analyzer.tell(self.guard.mode()).and_then(|()| analyzer.hear());
        let served = match heard {
            Ok(Heard::Nothing) => return Ok(Served::Nothing),
            Ok(Heard::Closed) => return self.part(None),
            Err(breach) => return self.part(Some(breach)),
            Ok(Heard::Hello) => {
                self.guard.own.analyzer = analyzer.tgid();
                analyzer.greet(self.guard.mode(), &self.about).map(|_sent| Served::Hello)
            }
            Ok(Heard::Request(request)) => self.judge(&request)?.map(|()| Served::Request),
        };
        served.or_else(|breach| self.part(Some(breach)))
    }

    fn judge(&mut self, request: &Request) -> Result<Result<(), Breach>, EnforcerError> {
        let Self { guard, loader, audit, .. } = self;
        let verdict =
            decide(request, guard, loader.as_mut(), audit).map_err(system("clock_gettime"))?;
        let Some(analyzer) = &self.analyzer else { return Ok(Ok(())) };
        // An analyzer that does not read its outcomes goes without; the audit has them.
        let sent = analyzer.outcome(request.number, verdict);
        let &Request { number, target, rule, ref reason, .. } = request;
        self.audit.decision(number, target, rule, reason, verdict);
        Ok(sent.map(|sent| {
            if sent == Sent::WouldBlock {
                self.audit.line("the analyzer does not read its outcomes");
            }
        }))
    }

    /// Ends the conversation with the analyzer, which went away or broke the protocol. A service waits for
    /// another one: starting it anew would give a breaker of the protocol a new budget.
    fn part(&mut self, breach: Option<Breach>) -> Result<Served, EnforcerError> {
        match (self.is_service(), breach) {
            (true, breach) => {
                if let Some(Breach(what)) = breach {
                    self.audit
                        .line(&format!("audit breach: the analyzer broke the protocol: {what}"));
                }
                self.analyzer = None;
                self.guard.begin_conversation();
                Ok(Served::Nothing)
            }
            (false, Some(Breach(what))) => Err(EnforcerError::Protocol(what)),
            (false, None) => Ok(Served::End),
        }
    }
}
