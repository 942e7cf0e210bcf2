//! What a session says of itself: banner, status line, summary, and answers to administrators.

use std::time::{Duration, Instant};

use mio::Registry;
use sentinel_ipc::{clock, frame::Mode};

use super::{CONTROL, Session, SessionError, State};
use crate::{
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

    fn status(&mut self) -> status::Status {
        let analysis = self.stream.analysis();
        let (processes, (under_way, evicted)) = (analysis.processes(), analysis.sequences());
        let (counters, processed) = self.stream.since_ready();
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
            events: status::Events::of(&counters, processed, self.stream.late()),
            processes: u64::try_from(processes).unwrap_or(u64::MAX),
            alerts: self.delivery.counts(),
            last_alerts: self.delivery.last(),
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
        match (self.enforce, mode) {
            (false, _) => DETECTS_ONLY,
            (true, Some(Mode::Enforce)) => {
                "enforce mode: kills on critical alerts, within the enforcer's budget"
            }
            (true, Some(Mode::Tripped)) => {
                "shadow mode: the enforcer's budget was exceeded, nothing is killed until it restarts"
            }
            (true, Some(Mode::SwitchedOff)) => "shadow mode: enforcement is switched off",
            (true, Some(Mode::Shadow)) => {
                "shadow mode: the enforcer's own configuration does not let it kill"
            }
            (true, None) => "shadow mode: the enforcer has not answered yet",
        }
    }

    fn mode_without_enforcer(&self) -> &'static str {
        match self.enforce {
            true => "shadow mode: the enforcer is gone, nothing will be killed",
            false => DETECTS_ONLY,
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
            patterns: self.delivery.count(),
        };
        self.last_status = (now, self.stream.processed());
        if self.state == State::Streaming {
            self.delivery.status(&status);
        }
    }

    pub(super) fn summarize(&mut self) {
        let (elapsed, processed) = (self.started.elapsed(), self.stream.processed());
        let analysis = self.stream.analysis();
        let (processes, sequences) = (analysis.processes(), analysis.sequences());
        self.delivery.summary(elapsed, self.totals, processed, processes, sequences);
    }
}

const DETECTS_ONLY: &str = "shadow mode: detects, never kills";
