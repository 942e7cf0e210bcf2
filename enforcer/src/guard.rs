//! May this process be ended? Pure decisions, each with its reason.

use std::collections::VecDeque;

use sentinel_ipc::frame::{Identity, Mode, Refusal, Target};

/// Kills within a minute before the enforcer stops for good.
pub const BUDGET: usize = 10;
const MINUTE_NS: u64 = 60_000_000_000;

/// The enforcer's memory between requests.
#[derive(Debug)]
pub struct Guard {
    mode: Mode,
    only_in_scope: bool,
    /// Sentinel's own processes.
    own: Vec<u32>,
    /// Highest request number seen.
    last_request: Option<u64>,
    /// Times of the kills of the last minute, ns.
    kills: VecDeque<u64>,
    /// The budget was exceeded once.
    tripped: bool,
}

impl Guard {
    /// A guard that protects the processes `own`.
    pub fn new(mode: Mode, only_in_scope: bool, own: Vec<u32>) -> Self {
        Self {
            mode,
            only_in_scope,
            own,
            last_request: None,
            kills: VecDeque::new(),
            tripped: false,
        }
    }

    /// Protects one more of Sentinel's own processes.
    pub fn protect(&mut self, tgid: u32) {
        self.own.push(tgid);
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
        match self.mode {
            Mode::Shadow => return Err(Refusal::Shadow),
            Mode::SwitchedOff => return Err(Refusal::KillSwitch),
            Mode::Enforce => {}
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
        if self.own.contains(&target.tgid) {
            return Err(Refusal::Sentinel);
        }
        if self.tripped {
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
        if self.only_in_scope && !identity.in_scope {
            return Err(Refusal::OutsideScope);
        }
        Ok(())
    }

    /// Takes one kill from the budget.
    ///
    /// # Errors
    /// When it is spent; from then on nothing is admitted any more.
    pub fn spend(&mut self, now: u64) -> Result<(), Refusal> {
        while self.kills.front().is_some_and(|&kill| now.saturating_sub(kill) >= MINUTE_NS) {
            self.kills.pop_front();
        }
        if self.kills.len() >= BUDGET {
            self.tripped = true;
            return Err(Refusal::Budget);
        }
        self.kills.push_back(now);
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
        Guard::new(Mode::Enforce, true, vec![40, 41])
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
        assert_eq!(admit(6, 40, 10), Err(Refusal::Sentinel));
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
            let mut guard = Guard::new(mode, true, Vec::new());
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
}
