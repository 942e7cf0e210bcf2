//! May this process be ended? Pure decisions, each with its reason.

use std::collections::VecDeque;

use sentinel_ipc::frame::{Identity, Mode, Refusal, Target};

use crate::settings::Settings;

const MINUTE_NS: u64 = 60_000_000_000;

/// Sentinel's own processes: nobody can have them killed.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// This one.
    pub enforcer: u32,
    /// Who may ask for kills, if there is one.
    pub analyzer: Option<u32>,
    /// Who tells identities, if there is one.
    pub loader: Option<u32>,
}

impl Own {
    fn contains(&self, tgid: u32) -> bool {
        [Some(self.enforcer), self.analyzer, self.loader].contains(&Some(tgid))
    }
}

/// The enforcer's memory between requests. The budget is one for all analyzers.
#[derive(Debug)]
pub struct Guard {
    /// What configuration and switch say.
    mode: Mode,
    /// Sentinel's own processes, as far as they are known.
    pub own: Own,
    kills_per_minute: u16,
    /// Highest request number of this conversation.
    last_request: Option<u64>,
    /// Times of the kills of the last minute, ns.
    kills: VecDeque<u64>,
    /// All kills.
    total: u64,
    /// The budget was exceeded once.
    is_tripped: bool,
}

/// What the budget was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Kills since the start.
    pub total: u64,
    /// Kills within the last minute.
    pub last_minute: usize,
    /// Whether more were asked for at some time: nobody is killed any more.
    pub is_tripped: bool,
}

impl Spent {
    /// Whether a new guard would allow more than this one.
    pub fn is_to_be_remembered(&self) -> bool {
        self.last_minute > 0 || self.is_tripped
    }
}

impl Guard {
    /// A guard with its whole budget.
    pub fn new(mode: Mode, settings: &Settings, enforcer: u32) -> Self {
        Self {
            mode,
            own: Own { enforcer, analyzer: None, loader: None },
            kills_per_minute: settings.kills_per_minute,
            last_request: None,
            kills: VecDeque::new(),
            total: 0,
            is_tripped: false,
        }
    }

    /// What it does.
    pub fn mode(&self) -> Mode {
        if self.mode == Mode::Enforce && self.is_tripped { Mode::Tripped } else { self.mode }
    }

    /// What configuration and switch say from now on.
    pub fn switch(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Another analyzer asks from now on, or none: it counts its requests anew, and has what is left of the
    /// budget.
    pub fn begin_conversation(&mut self) {
        self.last_request = None;
        self.own.analyzer = None;
    }

    /// The budget.
    pub fn kills_per_minute(&self) -> u16 {
        self.kills_per_minute
    }

    /// What was spent by `now`.
    pub fn spent(&mut self, now: u64) -> Spent {
        while self.kills.front().is_some_and(|&kill| now.saturating_sub(kill) >= MINUTE_NS) {
            self.kills.pop_front();
        }
        let (total, last_minute, is_tripped) = (self.total, self.kills.len(), self.is_tripped);
        Spent { total, last_minute, is_tripped }
    }

    /// What can be decided before anybody looks at the process. Times are CLOCK_BOOTTIME, ns.
    ///
    /// # Errors
    /// The reason not to go on.
    pub fn admit(
        &mut self,
        request: u64,
        target: Target,
        deadline: u64,
        now: u64,
    ) -> Result<(), Refusal> {
        let repeated = self.last_request.is_some_and(|last| request <= last);
        self.last_request = self.last_request.max(Some(request));
        match self.mode() {
            Mode::Shadow => return Err(Refusal::Shadow),
            Mode::SwitchedOff => return Err(Refusal::KillSwitch),
            Mode::Enforce | Mode::Tripped => {}
        }
        if repeated {
            return Err(Refusal::Repeated);
        }
        if now > deadline {
            return Err(Refusal::Expired);
        }
        if target.tgid == 1 {
            return Err(Refusal::Init);
        }
        if self.own.contains(target.tgid) {
            return Err(Refusal::Sentinel);
        }
        if self.is_tripped {
            return Err(Refusal::Budget);
        }
        Ok(())
    }

    /// Whether the process that the loader described is the one that was meant.
    ///
    /// # Errors
    /// The reason not to go on.
    pub fn identify(&self, target: Target, identity: Option<Identity>) -> Result<(), Refusal> {
        let identity = identity.ok_or(Refusal::UnknownProcess)?;
        if identity.kernel_thread {
            return Err(Refusal::KernelThread);
        }
        if identity.start_time != target.start_time {
            return Err(Refusal::OtherProcess);
        }
        if !identity.in_scope {
            return Err(Refusal::OutsideScope);
        }
        Ok(())
    }

    /// Takes one kill from the budget.
    ///
    /// # Errors
    /// When it is spent; from then on nothing is admitted any more.
    pub fn spend(&mut self, now: u64) -> Result<(), Refusal> {
        if self.spent(now).last_minute >= self.kills_per_minute.into() {
            self.is_tripped = true;
            return Err(Refusal::Budget);
        }
        self.kills.push_back(now);
        self.total += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target { tgid: 50, start_time: 700 };
    const IDENTITY: Identity = Identity {
        start_time: 700,
        cgroup_id: 1,
        executable: (0, 0, 0),
        uid: 0,
        kernel_thread: false,
        in_scope: true,
    };

    const SETTINGS: Settings = Settings { enforce: true, kills_per_minute: 10 };

    fn guard() -> Guard {
        let mut guard = Guard::new(Mode::Enforce, &SETTINGS, 40);
        guard.own.analyzer = Some(41);
        guard.own.loader = Some(42);
        guard
    }

    #[test]
    fn who_was_meant_is_admitted() {
        let mut guard = guard();
        assert_eq!(guard.admit(1, TARGET, 10, 10), Ok(()));
        assert_eq!(guard.identify(TARGET, Some(IDENTITY)), Ok(()));
    }

    #[test]
    fn each_reason_to_refuse_is_named() {
        let admit = |request, tgid, deadline| {
            let mut guard = guard();
            guard.admit(5, TARGET, 10, 10).unwrap();
            guard.admit(request, Target { tgid, ..TARGET }, deadline, 10)
        };
        assert_eq!(admit(5, 50, 10), Err(Refusal::Repeated));
        assert_eq!(admit(4, 50, 10), Err(Refusal::Repeated));
        assert_eq!(admit(6, 50, 9), Err(Refusal::Expired));
        assert_eq!(admit(6, 1, 10), Err(Refusal::Init));
        for own in 40..=42 {
            assert_eq!(admit(6, own, 10), Err(Refusal::Sentinel));
        }
        let identify = |identity| guard().identify(TARGET, identity);
        assert_eq!(identify(None), Err(Refusal::UnknownProcess));
        let other = Identity { start_time: 701, ..IDENTITY };
        assert_eq!(identify(Some(other)), Err(Refusal::OtherProcess));
        let thread = Identity { kernel_thread: true, ..IDENTITY };
        assert_eq!(identify(Some(thread)), Err(Refusal::KernelThread));
        let outside = Identity { in_scope: false, ..IDENTITY };
        assert_eq!(identify(Some(outside)), Err(Refusal::OutsideScope));
    }

    #[test]
    fn shadow_mode_and_the_kill_switch_come_first() {
        for (mode, reason) in
            [(Mode::Shadow, Refusal::Shadow), (Mode::SwitchedOff, Refusal::KillSwitch)]
        {
            let mut guard = Guard::new(mode, &SETTINGS, 40);
            assert_eq!(guard.admit(1, TARGET, 10, 10), Err(reason));
        }
    }

    #[test]
    fn the_budget_is_ten_a_minute_and_then_it_is_over_for_good() {
        let mut guard = guard();
        for kill in 0..10 {
            assert_eq!(guard.spend(kill), Ok(()));
        }
        assert_eq!(guard.spend(MINUTE_NS), Ok(()), "the first is a minute old");
        assert_eq!(guard.spend(MINUTE_NS), Err(Refusal::Budget));
        assert_eq!(guard.admit(1, TARGET, u64::MAX, 100 * MINUTE_NS), Err(Refusal::Budget));
    }

    #[test]
    fn the_budget_is_what_was_configured() {
        let settings = Settings { kills_per_minute: 1, ..SETTINGS };
        let mut guard = Guard::new(Mode::Enforce, &settings, 40);
        assert_eq!(guard.spend(5), Ok(()));
        let (total, is_tripped) = (1, false);
        assert_eq!(guard.spent(6), Spent { total, last_minute: 1, is_tripped });
        assert_eq!(guard.spent(5 + MINUTE_NS), Spent { total, last_minute: 0, is_tripped });
        assert_eq!(guard.spend(5 + MINUTE_NS), Ok(()));
        assert_eq!(guard.spend(6 + MINUTE_NS), Err(Refusal::Budget));
        assert!(guard.spent(6 + MINUTE_NS).is_tripped);
    }

    #[test]
    fn what_a_restart_would_undo_is_to_be_remembered() {
        let mut guard =
            Guard::new(Mode::Enforce, &Settings { kills_per_minute: 1, ..SETTINGS }, 40);
        assert!(!guard.spent(0).is_to_be_remembered());
        guard.spend(5).unwrap();
        assert!(guard.spent(6).is_to_be_remembered());
        assert!(!guard.spent(5 + MINUTE_NS).is_to_be_remembered());
        guard.spend(5 + MINUTE_NS).unwrap();
        assert_eq!(guard.spend(6 + MINUTE_NS), Err(Refusal::Budget));
        assert!(guard.spent(100 * MINUTE_NS).is_to_be_remembered(), "tripped");
    }

    #[test]
    fn another_analyzer_counts_anew_and_has_what_is_left() {
        let mut guard = guard();
        guard.admit(7, TARGET, 10, 10).unwrap();
        (0..10).for_each(|kill| guard.spend(kill).unwrap());
        guard.begin_conversation();
        assert_eq!(guard.admit(1, TARGET, 20, 20), Ok(()), "a low number is no repetition");
        assert_eq!(guard.admit(1, TARGET, 20, 20), Err(Refusal::Repeated));
        assert_eq!(guard.spend(20), Err(Refusal::Budget));
        guard.begin_conversation();
        assert_eq!(guard.admit(1, TARGET, u64::MAX, 100 * MINUTE_NS), Err(Refusal::Budget));
        let former = Target { tgid: 41, ..TARGET };
        assert_eq!(guard.admit(2, former, u64::MAX, 0), Err(Refusal::Budget), "not Sentinel's own");
    }
}
