//! Everything between typed events and alerts: tables first, then engines.

use crate::{
    alert::Alert,
    event::{Action, Event},
    patterns::{Verdicts, reverse_shell::ReverseShell},
    process_table::ProcessTable,
};

/// The engines and what they share. Pure: the same events give the same alerts.
#[derive(Debug, Default)]
pub struct Analysis {
    processes: ProcessTable,
    reverse_shell: ReverseShell,
    wall_offset_ns: i64,
    notes: Option<Vec<String>>,
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

    /// Follows one event.
    pub fn event(&mut self, event: &Event, alerts: &mut Vec<Alert>) {
        self.processes.apply(event);
        let mut verdicts = self.verdicts();
        self.reverse_shell.observe(event, &self.processes, &mut verdicts);
        self.conclude(verdicts, event.timestamp, alerts);
        if event.action == Action::Exit {
            self.processes.forget(event.process);
        }
    }

    /// Lets time go on to `now`, CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, alerts: &mut Vec<Alert>) {
        let mut verdicts = self.verdicts();
        self.reverse_shell.time(now, &self.processes, &mut verdicts);
        self.conclude(verdicts, now, alerts);
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
            alerts.push(Alert::new(finding, now, self.wall_offset_ns, &self.processes));
        }
        if let (Some(all), Some(new)) = (&mut self.notes, verdicts.notes) {
            all.extend(new);
        }
    }
}
