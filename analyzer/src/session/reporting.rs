//! What a session says of itself: banner, status line, summary, and answers to administrators.

use std::time::{Duration, Instant};

use mio::Registry;
use sentinel_ipc::{
    clock,
    frame::{Limit, Mode},
};

use super::{CONTROL, Session, SessionError, State};
use crate::{
    baseline::{Baseline, overview::Overview},
    console::{Banner, Status},
    control::{Answer, Asked},
    enforcement::Enforcement,
    status::{self, Part},
};

/// How long the banner waits for the enforcer's word.
const ENFORCER_PATIENCE: Duration = Duration::from_secs(2);

impl Session {
    /// Answers administrators.
    pub(super) fn serve_control(&mut self, registry: &Registry) -> Result<(), SessionError> {
        let Some(mut control) = self.control.take() else { return Ok(()) };
        self.admins_wait = control.accept(registry, CONTROL);
        let mut served = Ok(());
        control.serve(|asked| match asked {
            Asked::Status => Answer::Status(Box::new(self.status())),
            Asked::ReloadRules => Answer::Rules(self.renew().unwrap_or_else(|error| {
                let told = error.to_string();
                served = Err(error);
                Err(told)
            })),
        });
        self.control = Some(control);
        served
    }

    pub(super) fn status(&mut self) -> status::Status {
        let events = self.stream.events_since_ready();
        let analysis = self.stream.analysis();
        let (processes, (under_way, evicted)) = (analysis.processes(), analysis.sequences());
        let (stages, baseline) = (analysis.stages(), analysis.baseline().map(Baseline::overview));
        let now = clock::boot_ns().unwrap_or(0);
        let others = [
            ("loader", self.loader.as_ref().and(self.loader_about.as_ref())),
            ("enforcer", self.enforcement.as_ref().and_then(Enforcement::about)),
        ];
        let own = [("analyzer", Some(&self.about))];
        let parts = own.into_iter().chain(others).map(|(name, about)| Part::of(name, about, now));
        status::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs(),
            mode: self.mode().to_owned(),
            parts: parts.collect(),
            is_watching: self.state == State::Streaming,
            scope: self.scope.clone(),
            hooks: self.hooks.clone(),
            blind_to: self.limits.iter().map(ToString::to_string).collect(),
            rules: self.stream.rule_names(),
            events,
            processes: u64::try_from(processes).unwrap_or(u64::MAX),
            alerts: self.delivery.counts(),
            last_alerts: self.delivery.last(),
            syslog: self.delivery.syslog(),
            correlation: stages,
            baseline,
            sequences: status::Sequences {
                under_way: u64::try_from(under_way).unwrap_or(u64::MAX),
                evicted,
            },
        }
    }

    /// Whether it kills, in words.
    fn mode(&self) -> &'static str {
        let mode = match &self.enforcement {
            Some(enforcement) if enforcement.channel().is_some() => enforcement.mode(),
            Some(_) | None => return self.mode_without_enforcer(),
        };
        match (self.enforce.any(), mode) {
            (false, _) => DETECTS_ONLY,
            (true, Some(Mode::Enforce)) => {
                "enforce mode: kills on critical alerts, within the enforcer's budget"
            }
            (true, Some(Mode::Tripped)) => {
                "shadow mode: the enforcer's budget was exceeded, nothing is killed until `sentinel enforce on`"
            }
            (true, Some(Mode::SwitchedOff)) => "shadow mode: enforcement is switched off",
            (true, Some(Mode::Shadow)) => {
                "shadow mode: the enforcer's own configuration does not let it kill"
            }
            (true, None) => "shadow mode: the enforcer has not answered yet",
        }
    }

    /// Whether it does.
    pub(super) fn kills(&self) -> bool {
        let enforcement = self.enforcement.as_ref();
        let mode = enforcement.filter(|it| it.channel().is_some()).and_then(Enforcement::mode);
        self.enforce.any() && mode == Some(Mode::Enforce)
    }

    fn mode_without_enforcer(&self) -> &'static str {
        match self.enforce.any() {
            true => "shadow mode: the enforcer is gone, nothing will be killed",
            false => DETECTS_ONLY,
        }
    }

    /// Notes that programs cannot be learned, if so.
    pub(super) fn note_missing_counts(&mut self) {
        if self.limits.contains(&Limit::CallCounts) {
            let note = "the loader counts no system calls, so programs are not learned: set count-calls = \
                        true in /etc/sentinel/loader.toml and restart sentinel-loader";
            if self.service.is_some() {
                self.delivery.tell(&note);
            }
            self.notes.push(note.to_owned());
        }
    }

    /// Says when programs begin to be learned, and when those that ran all the time have been.
    fn tell_of_learning(&mut self, overview: &Overview) {
        let was_learning = std::mem::replace(&mut self.learns, overview.learning_left > 0);
        match (was_learning, self.learns) {
            (false, true) => self.delivery.say(&format!(
                "learning: each program is known after {} s of its own",
                overview.learning_period
            )),
            (true, false) => self.delivery.say(&format!("learned: {overview}")),
            (true, true) | (false, false) => {}
        }
    }

    pub(super) fn show_banner(&mut self) {
        let is_settled = self.enforcement.as_ref().is_none_or(|enforcement| {
            enforcement.mode().is_some()
                || enforcement.channel().is_none()
                || self.enforcer_since.elapsed() >= ENFORCER_PATIENCE
        });
        if self.banner_shown || self.state != State::Streaming || !is_settled {
            return;
        }
        self.banner_shown = true;
        let patterns = self.stream.rule_names();
        self.delivery.banner(&Banner {
            mode: self.mode(),
            patterns: &patterns,
            scope: &self.scope,
            hooks: &self.hooks,
            limits: &self.limits,
            sinks: &[],
            notes: &self.notes,
        });
    }

    pub(super) fn show_status(&mut self, now: Instant) {
        let (then, processed) = self.last_status;
        let ms = u64::try_from((now - then).as_millis()).unwrap_or(u64::MAX).max(1);
        let status = Status {
            elapsed: now - self.started,
            limit: self.limit,
            rate: (self.stream.processed() - processed).saturating_mul(1000) / ms,
            dropped: self.stream.analysis().lost(),
            patterns: self.delivery.of_patterns(),
            exfiltrations: self.stream.analysis().stages().map(|stages| stages.data_sent),
            baseline: self.stream.analysis().baseline().map(Baseline::overview),
        };
        self.last_status = (now, self.stream.processed());
        let boot_ns = clock::boot_ns().unwrap_or(0);
        self.delivery.time(boot_ns);
        let events = self.stream.events();
        self.delivery.count_events(boot_ns, &events, self.stream.analysis(), false);
        if self.state == State::Streaming && self.banner_shown {
            if let Some(overview) = &status.baseline {
                self.tell_of_learning(overview);
            }
            self.delivery.status(&status);
        }
    }

    /// Passes on what loader and enforcer have said.
    pub(super) fn relay(&mut self, last: bool) {
        let lines = self.relayed.as_mut().map(|relayed| relayed.lines(last)).unwrap_or_default();
        lines.iter().for_each(|line| self.delivery.relay(line));
    }

    pub(super) fn summarize(&mut self) {
        let (elapsed, processed) = (self.started.elapsed(), self.stream.processed());
        let boot_ns = clock::boot_ns().unwrap_or(0);
        let events = self.stream.events();
        self.delivery.count_events(boot_ns, &events, self.stream.analysis(), true);
        self.delivery.summary(elapsed, self.totals, processed, self.stream.analysis());
    }
}

const DETECTS_ONLY: &str = "shadow mode: detects, never kills";
