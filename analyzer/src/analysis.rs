//! Everything between typed events and alerts: tables first, then engines.

use std::collections::VecDeque;

use sentinel_ipc::{frame::KindSet, kernel_abi::kind};

use crate::{
    alert::{Alert, Engine, Severity},
    event::{Action, Event, ProcessId},
    patterns::{Finding, Rule, Verdicts, reverse_shell::ReverseShell},
    process_table::ProcessTable,
};

/// Not a pattern of processes: Sentinel's own state, told as an alert.
static BREAKER: Rule =
    Rule { name: "enforcement_breaker", mitre: "T1562.001", engine: Engine::Sensor };

/// What the tables and engines need to be told, beside fork, exec and exit.
pub const KINDS: KindSet = KindSet::of(&[
    kind::SOCKET,
    kind::CONNECT,
    kind::ACCEPT,
    kind::BIND,
    kind::LISTEN,
    kind::DUP,
    kind::SET_DESCRIPTOR_FLAGS,
    kind::CLOSE,
    kind::CLOSE_RANGE,
    kind::PIPE,
    kind::SOCKETPAIR,
    kind::RECEIVED,
    kind::UNSHARE,
]);

/// The engines and what they share. Pure: the same events give the same alerts.
#[derive(Debug, Default)]
pub struct Analysis {
    processes: ProcessTable,
    reverse_shell: ReverseShell,
    wall_offset_ns: i64,
    losses: Losses,
    notes: Option<Vec<String>>,
}

/// When events were lost.
#[derive(Debug, Default)]
struct Losses {
    total: u64,
    /// When a loss was noticed (CLOCK_BOOTTIME, ns) and how many events it was, oldest first.
    noticed: VecDeque<(u64, u64)>,
}

/// Losses that are remembered one by one; older ones are added to the oldest of them.
const MAX_LOSSES: usize = 1024;

impl Losses {
    fn note(&mut self, now: u64, total: u64) {
        let new = total.saturating_sub(self.total);
        if new == 0 {
            return;
        }
        self.total = total;
        self.noticed.push_back((now, new));
        if self.noticed.len() > MAX_LOSSES
            && let Some((_, oldest)) = self.noticed.pop_front()
            && let Some((_, next)) = self.noticed.front_mut()
        {
            *next += oldest;
        }
    }

    /// Events that were or may have been lost after `start`.
    fn since(&self, start: u64) -> u64 {
        self.noticed.iter().rev().take_while(|(when, _)| *when >= start).map(|(_, lost)| lost).sum()
    }
}

impl Analysis {
    /// An analysis that keeps notes on how rules get on, if `debug`.
    pub fn new(debug: bool) -> Self {
        Self { notes: debug.then(Vec::new), ..Self::default() }
    }

    /// Sets CLOCK_REALTIME − CLOCK_BOOTTIME, ns, for what comes next.
    pub fn set_wall_offset(&mut self, wall_offset_ns: i64) {
        self.wall_offset_ns = wall_offset_ns;
    }

    /// Notes that by `now` (CLOCK_BOOTTIME, ns) so many events have been lost in total.
    pub fn lost(&mut self, now: u64, total: u64) {
        self.losses.note(now, total);
    }

    /// Follows one event.
    pub fn event(&mut self, event: &Event, alerts: &mut Vec<Alert>) {
        self.processes.apply(event);
        let mut verdicts = self.verdicts();
        self.reverse_shell.observe(event, &self.processes, &mut verdicts);
        self.conclude(verdicts, event.timestamp, alerts);
        if matches!(event.action, Action::Exit) {
            self.processes.forget(event.process);
        }
    }

    /// Lets time go on to `now`, CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, alerts: &mut Vec<Alert>) {
        let mut verdicts = self.verdicts();
        self.reverse_shell.time(now, &self.processes, &mut verdicts);
        self.conclude(verdicts, now, alerts);
    }

    /// An alert that the enforcer has spent its budget; `now` is CLOCK_BOOTTIME in ns. It is about no
    /// process: its pid is 0.
    pub fn breaker_tripped(&self, now: u64) -> Alert {
        let finding = Finding {
            rule: &BREAKER,
            severity: Severity::Critical,
            process: ProcessId { tgid: 0, start_time: 0 },
            message: "the enforcer has spent its kills for a minute and kills no more until it is \
                      started again: look at the alerts before, then start it again"
                .to_owned(),
            steps: Vec::new(),
            remote: None,
            repeat: false,
        };
        Alert::new(finding, now, self.wall_offset_ns, 0, &self.processes)
    }

    /// Takes the notes that were kept since the last call.
    pub fn take_notes(&mut self) -> Vec<String> {
        self.notes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// How many processes are known to live.
    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    fn verdicts(&self) -> Verdicts {
        Verdicts { findings: Vec::new(), notes: self.notes.is_some().then(Vec::new) }
    }

    fn conclude(&mut self, verdicts: Verdicts, now: u64, alerts: &mut Vec<Alert>) {
        for finding in verdicts.findings {
            let start = finding.steps.first().map_or(now, |step| step.timestamp);
            let gap = self.losses.since(start);
            alerts.push(Alert::new(finding, now, self.wall_offset_ns, gap, &self.processes));
        }
        if let (Some(all), Some(new)) = (&mut self.notes, verdicts.notes) {
            all.extend(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_what_was_lost_in_its_window() {
        let mut losses = Losses::default();
        losses.note(10, 0);
        losses.note(20, 5);
        losses.note(30, 5);
        losses.note(40, 12);
        assert_eq!(losses.since(0), 12);
        assert_eq!(losses.since(20), 12);
        assert_eq!(losses.since(21), 7);
        assert_eq!(losses.since(41), 0);
    }

    #[test]
    fn memory_of_losses_is_bounded_and_loses_none() {
        let mut losses = Losses::default();
        for loss in 1..=5000 {
            losses.note(loss, loss);
        }
        assert_eq!(losses.noticed.len(), MAX_LOSSES);
        assert_eq!(losses.since(0), 5000);
    }
}
