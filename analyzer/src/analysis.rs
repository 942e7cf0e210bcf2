//! Everything between typed events and alerts: tables first, then engines.

use sentinel_ipc::frame::KindSet;

use crate::{
    alert::{self, Alert, Severity},
    cgroups::{self, Cgroups},
    event::{Action, Event, ProcessId},
    lineage::Lineage,
    patterns::{
        self, Exceptions, Finding, Rule, Verdicts,
        credential_exfil::{self, CredentialExfil},
        fork_bomb::{self, ForkBomb},
        privilege_escalation::{self, PrivilegeEscalation},
        reverse_shell::{self, ReverseShell},
    },
    process_table::{self, ProcessTable},
    program::KnownPrograms,
    rules::{Active, Engine, RuleSet, engine::Swap},
    sensor_state::SensorState,
};

/// Not a pattern of processes: Sentinel's own state, told as an alert.
static BREAKER: Rule = Rule::of("enforcement_breaker", "T1562.001", alert::Engine::Sensor);

/// What the tables and engines need to be told for rules that need `rules`, beside fork, exec and
/// exit.
pub const fn needs(rules: KindSet) -> KindSet {
    let patterns = reverse_shell::NEEDS
        .with(credential_exfil::NEEDS)
        .with(fork_bomb::NEEDS)
        .with(privilege_escalation::NEEDS);
    process_table::NEEDS.with(cgroups::NEEDS).with(patterns).with(rules)
}

/// The rules of the binary; a test shows that they are sound.
pub fn embedded_rules() -> Active {
    RuleSet::embedded().map(RuleSet::activate).unwrap_or_default()
}

/// The engines and what they share. Pure: the same events give the same alerts.
#[derive(Debug, Default)]
pub struct Analysis {
    processes: ProcessTable,
    cgroups: Cgroups,
    lineage: Lineage,
    reverse_shell: ReverseShell,
    credential_exfil: CredentialExfil,
    fork_bomb: ForkBomb,
    privilege_escalation: PrivilegeEscalation,
    rules: Engine,
    exceptions: Exceptions,
    wall_offset_ns: i64,
    sensor: SensorState,
    notes: Option<Vec<String>>,
}

impl Analysis {
    /// An analysis with the embedded rules, that keeps notes on how rules get on, if `debug`.
    pub fn new(debug: bool) -> Self {
        Self::with_rules(embedded_rules(), debug)
    }

    /// An analysis with these rules, likewise.
    pub fn with_rules(Active { rules, exceptions }: Active, debug: bool) -> Self {
        let rules = Engine::new(rules);
        Self { notes: debug.then(Vec::new), rules, exceptions, ..Self::default() }
    }

    /// The same rules, and nothing seen yet.
    pub fn begun_anew(mut self) -> Self {
        self.rules.restart();
        let notes = self.notes.map(|_| Vec::new());
        Self { rules: self.rules, exceptions: self.exceptions, notes, ..Self::default() }
    }

    /// Looks for these rules from now on; what is under way of unchanged ones goes on.
    pub fn swap_rules(&mut self, Active { rules, exceptions }: Active) -> Swap {
        self.exceptions = exceptions;
        self.rules.swap(rules)
    }

    /// What the sensor must be asked for, beside fork, exec and exit.
    pub fn needs(&self) -> KindSet {
        needs(self.rules.needs())
    }

    /// Learns which shells and interpreters this host has.
    pub fn know(&mut self, programs: KnownPrograms) {
        self.processes.know(programs);
    }

    /// Names of what it looks for.
    pub fn rule_names(&self) -> Vec<String> {
        let in_code = patterns::BUILT_IN.iter().map(|one| one.name);
        let in_code = in_code.filter(|name| !self.exceptions.has_off(name)).map(str::to_owned);
        in_code.chain(self.rules.rules().iter().map(|one| one.rule.name.clone())).collect()
    }

    /// How many sequences of rules are under way, and how many had to make room for others so far.
    pub fn sequences(&self) -> (usize, u64) {
        (self.rules.under_way(), self.rules.evicted())
    }

    /// Keeps notes on how rules get on from now on, or does not.
    pub fn keep_notes(&mut self, debug: bool) {
        self.notes = if debug { self.notes.take().or(Some(Vec::new())) } else { None };
    }

    /// Sets CLOCK_REALTIME − CLOCK_BOOTTIME, ns, for what comes next.
    pub fn set_wall_offset(&mut self, wall_offset_ns: i64) {
        self.wall_offset_ns = wall_offset_ns;
    }

    /// Has the state of the sensor followed at `now` (CLOCK_BOOTTIME, ns).
    pub fn sensor(
        &mut self,
        now: u64,
        alerts: &mut Vec<Alert>,
        follow: impl FnOnce(&mut SensorState, &mut Vec<Finding>),
    ) {
        let mut findings = Vec::new();
        follow(&mut self.sensor, &mut findings);
        self.rules.unseen_until(self.sensor.unseen_until());
        self.conclude(Verdicts { findings, notes: None }, now, alerts);
    }

    /// Events lost in total.
    pub fn lost(&self) -> u64 {
        self.sensor.lost_in_total()
    }

    /// A whole snapshot has been followed that was begun at `begun`, CLOCK_BOOTTIME in ns.
    pub fn settle(&mut self, begun: u64) {
        self.processes.settle(begun);
    }

    /// How many processes were met without their fork since the last call.
    pub fn take_strangers(&mut self) -> usize {
        self.processes.take_strangers()
    }

    /// Follows one event.
    pub fn event(&mut self, event: &Event, alerts: &mut Vec<Alert>) {
        if matches!(event.action, Action::Canary) {
            return self.sensor.canary();
        }
        self.cgroups.apply(event);
        self.processes.apply(event);
        let mut verdicts = self.verdicts();
        self.lineage.observe(event, &self.processes);
        self.reverse_shell.observe(event, &self.processes, &mut verdicts);
        self.credential_exfil.observe(event, &self.processes, &mut self.lineage, &mut verdicts);
        self.fork_bomb.observe(event, &self.processes, &mut verdicts);
        self.privilege_escalation.observe(event, &self.processes, &mut verdicts);
        let (processes, cgroups) = (&self.processes, &self.cgroups);
        self.rules.observe(event, processes, cgroups, &mut self.lineage, &mut verdicts);
        self.conclude(verdicts, event.timestamp, alerts);
        if matches!(event.action, Action::Exit) {
            self.processes.forget(event.process);
        }
    }

    /// Lets time go on to `now`, CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, alerts: &mut Vec<Alert>) {
        let mut verdicts = self.verdicts();
        self.lineage.time(now, &self.processes);
        self.reverse_shell.time(now, &self.processes, &mut verdicts);
        self.credential_exfil.time(now, &self.processes);
        self.fork_bomb.time(&self.processes);
        self.privilege_escalation.time(&self.processes);
        self.rules.time(now, &self.processes, &mut verdicts);
        self.conclude(verdicts, now, alerts);
    }

    /// An alert that the enforcer has spent its budget; `now` is CLOCK_BOOTTIME in ns. It is about no
    /// process: its pid is 0.
    pub fn breaker_tripped(&self, now: u64) -> Alert {
        let finding = Finding {
            rule: BREAKER.clone(),
            severity: Severity::Critical,
            process: ProcessId { tgid: 0, start_time: 0 },
            message: "the enforcer has spent its kills for a minute and kills no more until it is \
                      started again: look at the alerts before, then start it again"
                .to_owned(),
            steps: Vec::new(),
            remote: None,
            repeat: false,
        };
        self.alert(finding, now, 0)
    }

    fn alert(&self, finding: Finding, now: u64, gap: u64) -> Alert {
        let place = self.processes.get(finding.process).map(|process| process.cgroup_id);
        let place = place.and_then(|id| self.cgroups.place(id)).cloned().unwrap_or_default();
        Alert::new(finding, now, self.wall_offset_ns, gap, &self.processes, place)
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
            if self.exceptions.hold(&finding.rule.name, finding.process, &self.processes) {
                continue;
            }
            let start = finding.steps.first().map_or(now, |step| step.timestamp);
            let gap = self.sensor.lost_since(start);
            alerts.push(self.alert(finding, now, gap));
        }
        if let (Some(all), Some(new)) = (&mut self.notes, verdicts.notes) {
            all.extend(new);
        }
    }
}
