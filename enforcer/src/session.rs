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
    frame::{About, Mode, Refusal, Target, Verdict},
    notify::Notifier,
};

use crate::{
    admins::Admins,
    audit::Audit,
    budget::Killed,
    conversation::{Breach, Conversation, Heard, Request},
    decision::{Decision, decide, verdict},
    doors::{Caller, Siblings, is_let_in},
    guard::Guard,
    loader::{Loader, NoAnswer},
    marker::{Begun, Position},
    process::Process,
    setup::{EnforcerError, system},
    switch::Switch,
    tree::Tree,
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
    /// The tree that is being ended, one at a time.
    pub tree: Option<Tree>,
    /// The one that an enforcer before this one was ending; it waits for a loader.
    pub left_behind: Option<Begun>,
    /// Outcomes that the analyzer did not take, since the last one that it did.
    pub unanswered: u64,
    /// Requests that came too fast.
    pub refused: Crowd,
    /// The configuration file, for administrators.
    pub file: Option<String>,
    /// Itself, for the others.
    pub about: About,
}

/// Requests that are refused without a line for each.
#[derive(Debug, Default)]
pub struct Crowd {
    /// Since the last line.
    count: u64,
    told: Option<Instant>,
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

impl Crowd {
    /// When it is to be told of.
    fn next(&self) -> Option<Instant> {
        let now = Instant::now();
        (self.count > 0).then(|| self.told.map_or(now, |told| told + Duration::from_secs(1)))
    }
}

impl Session {
    /// Serves until there is nothing left to do.
    ///
    /// # Errors
    /// When it has to end for another reason.
    pub fn run(mut self) -> Result<(), EnforcerError> {
        self.notifier.ready();
        let end = self.serve();
        self.tell_crowd(true);
        // Who is stopped for the sake of a tree goes on.
        self.guard.switch(Mode::SwitchedOff);
        self.sweep();
        end
    }

    fn serve(&mut self) -> Result<(), EnforcerError> {
        loop {
            self.wait()?;
            if self.is_told_to_end() {
                self.notifier.stopping();
                return Ok(());
            }
            self.answer_admins()?;
            self.let_in_callers();
            self.hear_loader();
            self.sweep();
            self.tell_crowd(false);
            if self.serve_analyzer()? == Served::End {
                return Ok(());
            }
            if self.should_start_anew() {
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
            self.refused.next().map(in_time),
            self.tree.as_ref().map(|_| Duration::ZERO),
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
                Caller::Analyzer => self.change_analyzer(Some(Conversation::new(channel))),
                Caller::Loader => self.meet_loader(channel),
            }
        }
    }

    /// Another analyzer asks from now on, or none. A tree that the last one asked for is ended all the same.
    fn change_analyzer(&mut self, analyzer: Option<Conversation>) {
        self.guard.begin_conversation();
        self.analyzer = analyzer;
        if let Some(tree) = &mut self.tree {
            tree.is_orphaned = true;
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
            Ok(Some(tgid)) => {
                self.guard.own.loader = Some(tgid);
                if self.tree.is_none() {
                    self.tree = self.left_behind.take().map(Tree::taken_over);
                }
            }
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

    /// Whether the loader has stayed away for so long that a new enforcer is to call on it. Budget and kill switch
    /// outweigh that, where they would be forgotten.
    fn should_start_anew(&mut self) -> bool {
        let alone = self.is_service() && self.loader.is_none();
        if !alone || self.alone_since.elapsed() < ALONE {
            return false;
        }
        self.alone_since = Instant::now();
        self.switch.not_kept().is_none()
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
            Ok(Heard::Request(request)) => self.judge(request)?.map(|()| Served::Request),
        };
        served.or_else(|breach| self.part(Some(breach)))
    }

    fn judge(&mut self, request: Request) -> Result<Result<(), Breach>, EnforcerError> {
        let clock = system("clock_gettime");
        if let Err(refusal) = self.guard.budget.request(boot_ns().map_err(&clock)?) {
            self.refused.count += 1;
            return Ok(self.answer_analyzer(request.number, Verdict::Refused(refusal)));
        }
        let mut found = String::new();
        let number = request.number;
        let Self { guard, loader, .. } = self;
        let decision = if request.is_tree && self.tree.is_some() {
            Refusal::Rate.into()
        } else {
            decide(&request, guard, loader.as_mut(), &mut found).map_err(clock)?
        };
        let verdict = match decision {
            Decision::Final(verdict) => verdict,
            Decision::One(process) => match self.pay(&request, &found)? {
                Ok(()) => self.kill(&process, request.target),
                Err(refusal) => Verdict::Refused(refusal),
            },
            Decision::Tree => match self.pay(&request, &found)? {
                Ok(()) => {
                    self.tree = Some(Tree::new(request, found));
                    return Ok(Ok(()));
                }
                Err(refusal) => Verdict::Refused(refusal),
            },
        };
        let sent = self.answer_analyzer(number, verdict);
        self.audit.decision(&request, &found, verdict);
        Ok(sent)
    }

    /// Takes what is asked for from the budget, if there is still time for it; and says before that what is about
    /// to be done.
    fn pay(
        &mut self,
        request: &Request,
        found: &str,
    ) -> Result<Result<(), Refusal>, EnforcerError> {
        self.audit.intent(request, found);
        let now = boot_ns().map_err(system("clock_gettime"))?;
        if now > request.deadline {
            return Ok(Err(Refusal::Expired));
        }
        let paid = self.guard.budget.spend(now, request.rule, request.target);
        let spent = self.guard.budget.spent(now);
        self.switch.keep_kills(spent.last_minute, now);
        if spent.is_tripped && self.switch.kept().position == Position::On {
            self.switch.turn(Position::Tripped);
        }
        Ok(paid)
    }

    fn kill(&mut self, process: &Process, target: Target) -> Verdict {
        match process.kill() {
            Ok(()) => {
                self.guard.budget.note_killed(target, Killed::One);
                Verdict::Terminated
            }
            Err(error) => verdict(error),
        }
    }

    /// Goes on with the tree that is being ended.
    pub(crate) fn sweep(&mut self) {
        let Some(tree) = &mut self.tree else { return };
        let verdict = tree.sweep(&self.guard, self.loader.as_mut(), &self.audit);
        // With the first sweep, in which nobody is stopped yet, it is known whose it is.
        self.switch.keep_tree(tree.begun().filter(|_| verdict.is_none()));
        let Some(verdict) = verdict else { return };
        let Some(Tree { request, found, is_orphaned, .. }) = self.tree.take() else { return };
        if verdict == Verdict::Terminated {
            self.guard.budget.note_killed(request.target, Killed::Tree);
        }
        if !is_orphaned {
            // A breach shows when the analyzer is heard next.
            let _sent = self.answer_analyzer(request.number, verdict);
        }
        self.audit.decision(&request, &found, verdict);
    }

    /// Tells the analyzer. One that does not read its outcomes goes without; the audit has them.
    fn answer_analyzer(&mut self, number: u64, verdict: Verdict) -> Result<(), Breach> {
        let Some(analyzer) = &self.analyzer else { return Ok(()) };
        match analyzer.outcome(number, verdict)? {
            Sent::WouldBlock => {
                if self.unanswered == 0 {
                    self.audit.line("the analyzer does not read its outcomes");
                }
                self.unanswered += 1;
            }
            Sent::Done | Sent::Closed => {
                if self.unanswered > 0 {
                    self.audit.line(&format!("outcomes that were not read: {}", self.unanswered));
                }
                self.unanswered = 0;
            }
        }
        Ok(())
    }

    /// Tells how many requests came too fast, once a second, and at the end.
    fn tell_crowd(&mut self, is_end: bool) {
        if self.refused.next().is_some_and(|due| is_end || due <= Instant::now()) {
            let (count, limit) = (self.refused.count, self.guard.budget.requests_per_minute());
            let verdict = Verdict::Refused(Refusal::Rate);
            self.audit.line(&format!("audit verdict={verdict} requests={count} limit={limit}/min"));
            self.refused = Crowd { count: 0, told: Some(Instant::now()) };
        }
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
                self.change_analyzer(None);
                Ok(Served::Nothing)
            }
            (false, Some(Breach(what))) => Err(EnforcerError::Protocol(what)),
            (false, None) => Ok(Served::End),
        }
    }
}
