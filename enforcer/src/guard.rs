//! May this process be ended? Pure decisions, each with its reason.

use sentinel_ipc::frame::{Identity, Mode, Refusal, Target};

use crate::{budget::Budget, marker::Kept, protection::Protection, settings::Settings};

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
    /// Whether `tgid` is one of them.
    pub fn contains(&self, tgid: u32) -> bool {
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
    /// What may still be done.
    pub budget: Budget,
    /// Who is never to be killed.
    pub protection: Protection,
    /// Highest request number of this conversation.
    last_request: Option<u64>,
}

impl Guard {
    /// A guard with the budget that was left.
    pub fn new(mode: Mode, settings: &Settings, kept: &Kept, enforcer: u32) -> Self {
        Self {
            mode,
            own: Own { enforcer, analyzer: None, loader: None },
            budget: Budget::new(settings, kept),
            protection: Protection::new(settings),
            last_request: None,
        }
    }

    /// What it does.
    pub fn mode(&self) -> Mode {
        let is_tripped = self.mode == Mode::Enforce && self.budget.is_tripped();
        if is_tripped { Mode::Tripped } else { self.mode }
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

    /// What can be decided before anybody looks at the process. Times are CLOCK_BOOTTIME, ns.
    ///
    /// # Errors
    /// The reason not to go on.
    pub fn admit(
        &mut self,
        number: u64,
        target: Target,
        rule: u64,
        deadline: u64,
        now: u64,
    ) -> Result<(), Refusal> {
        let repeated = self.last_request.is_some_and(|last| number <= last);
        self.last_request = self.last_request.max(Some(number));
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
        self.budget.check(rule)
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

    fn guard() -> Guard {
        let mut guard = Guard::new(Mode::Enforce, &Settings::default(), &Kept::default(), 40);
        guard.own.analyzer = Some(41);
        guard.own.loader = Some(42);
        guard
    }

    #[test]
    fn who_was_meant_is_admitted() {
        let mut guard = guard();
        assert_eq!(guard.admit(1, TARGET, 1, 10, 10), Ok(()));
        assert_eq!(guard.identify(TARGET, Some(IDENTITY)), Ok(()));
    }

    #[test]
    fn each_reason_to_refuse_is_named() {
        let admit = |request, tgid, deadline| {
            let mut guard = guard();
            guard.admit(5, TARGET, 1, 10, 10).unwrap();
            guard.admit(request, Target { tgid, ..TARGET }, 1, deadline, 10)
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
            let mut guard = Guard::new(mode, &Settings::default(), &Kept::default(), 40);
            assert_eq!(guard.admit(1, TARGET, 1, 10, 10), Err(reason));
        }
    }

    #[test]
    fn another_analyzer_counts_anew_and_has_what_is_left() {
        let mut guard = guard();
        let spend = |guard: &mut Guard, rule: u32| {
            guard.budget.spend(10, rule.into(), Target { tgid: rule, ..TARGET })
        };
        guard.admit(7, TARGET, 1, 10, 10).unwrap();
        (0..10).for_each(|rule| spend(&mut guard, rule).unwrap());
        guard.begin_conversation();
        assert_eq!(guard.admit(1, TARGET, 1, 20, 20), Ok(()), "a low number is no repetition");
        assert_eq!(guard.admit(1, TARGET, 1, 20, 20), Err(Refusal::Repeated));
        assert_eq!(spend(&mut guard, 10), Err(Refusal::Budget));
        assert_eq!(guard.mode(), Mode::Tripped);
        guard.begin_conversation();
        assert_eq!(guard.admit(1, TARGET, 1, u64::MAX, u64::MAX), Err(Refusal::Budget));
        let former = Target { tgid: 41, ..TARGET };
        assert_eq!(
            guard.admit(2, former, 1, u64::MAX, 0),
            Err(Refusal::Budget),
            "not Sentinel's own"
        );
    }
}
