//! Everything between typed events and alerts: tables first, then engines.

use sentinel_ipc::frame::{KindSet, MAX_FOLLOWED, ProfileCalls, Target};

use crate::{
    alert::{self, Alert, Severity},
    baseline::{
        Baseline,
        observer::{self, Observer},
        program::Judgement,
    },
    cgroups::{self, Cgroups},
    correlation::{self, Correlation, Policy, Stages},
    destinations::Networks,
    event::{Action, Event, ProcessId},
    lineage::Lineage,
    patterns::{
        self, Exceptions, Finding, Rule, Verdicts,
        credential_exfil::CredentialExfil,
        fork_bomb::{self, ForkBomb},
        privilege_escalation::{self, PrivilegeEscalation},
        reverse_shell::{self, ReverseShell},
    },
    process_table::{self, ProcessTable},
    program::KnownPrograms,
    redaction::Redaction,
    rules::{Active, Engine, RuleSet, engine::Swap, rule::Network},
    secrets::{self, Secrets},
    sensor_state::SensorState,
    status::{Events, Period},
};

/// Not a pattern of processes: Sentinel's own state, told as an alert.
static BREAKER: Rule = Rule::of("enforcement_breaker", "T1562.001", alert::Engine::Sensor);

/// What the log tells now and then of how much there was; no alarm.
pub static COUNTERS: Rule = Rule::of("sensor_counters", "", alert::Engine::Sensor);

/// What the tables and engines need to be told for rules that need `rules`, beside fork, exec and
/// exit.
pub const fn needs(rules: KindSet) -> KindSet {
    let patterns = reverse_shell::NEEDS
        .with(secrets::NEEDS)
        .with(fork_bomb::NEEDS)
        .with(privilege_escalation::NEEDS);
    process_table::NEEDS.with(cgroups::NEEDS).with(patterns).with(rules)
}

/// The rules of the binary; a test shows that they are sound.
pub fn embedded_rules() -> Active {
    RuleSet::embedded().map(RuleSet::activate).unwrap_or_default()
}

/// Which engines look, and by what.
#[derive(Debug, Clone, PartialEq)]
pub struct Engines {
    /// Whether the patterns do, in code and in rules.
    pub patterns: bool,
    /// By what the correlation engine does, if it does.
    pub correlation: Option<Policy>,
    /// How programs are learned and judged, if they are.
    pub baseline: Option<Judgement>,
    /// Networks that are one's own; `None`: the private ranges.
    pub own_networks: Option<Vec<Network>>,
}

impl Default for Engines {
    fn default() -> Self {
        Self {
            patterns: true,
            correlation: Some(Policy::default()),
            baseline: None,
            own_networks: None,
        }
    }
}

/// The engines and what they share. Pure: the same events give the same alerts.
#[derive(Debug, Default)]
pub struct Analysis {
    processes: ProcessTable,
    cgroups: Cgroups,
    lineage: Lineage,
    secrets: Secrets,
    correlation: Option<Correlation>,
    without_patterns: bool,
    reverse_shell: ReverseShell,
    credential_exfil: CredentialExfil,
    fork_bomb: ForkBomb,
    privilege_escalation: PrivilegeEscalation,
    rules: Engine,
    exceptions: Exceptions,
    wall_offset_ns: i64,
    sensor: SensorState,
    baseline: Option<Observer>,
    notes: Option<Vec<String>>,
    redaction: Redaction,
}

impl Analysis {
    /// An analysis with the embedded rules, that keeps notes on how rules get on, if `debug`.
    pub fn new(debug: bool) -> Self {
        Self::with_rules(embedded_rules(), debug)
    }

    /// An analysis with these rules, likewise.
    pub fn with_rules(Active { rules, exceptions, clients }: Active, debug: bool) -> Self {
        let (rules, mut secrets) = (Engine::new(rules), Secrets::default());
        secrets.know_clients(clients);
        Self { notes: debug.then(Vec::new), rules, exceptions, secrets, ..Self::default() }
    }

    /// The same with these engines; without any word it has the patterns alone.
    pub fn with_engines(mut self, engines: &Engines) -> Self {
        self.without_patterns = !engines.patterns;
        self.correlation = engines.correlation.clone().map(Correlation::new);
        self.baseline = engines.baseline.map(|judgement| Observer::new(Baseline::new(judgement)));
        self.secrets.know(Networks::of(engines.own_networks.clone()));
        self
    }

    /// Takes out of alerts from now on what this takes for secrets.
    pub fn redact(&mut self, redaction: Redaction) {
        Redaction::prepare();
        self.redaction = redaction;
    }

    /// What is known to be usual; `None` if nobody looks for it.
    pub fn baseline(&self) -> Option<&Baseline> {
        self.baseline.as_ref().map(Observer::engine)
    }

    /// Likewise, to be told what was learned before.
    pub fn baseline_mut(&mut self) -> Option<&mut Baseline> {
        self.baseline.as_mut().map(Observer::engine_mut)
    }

    /// Takes a part of the calls that were counted.
    pub fn count(&mut self, profiles: &[ProfileCalls]) {
        if let Some(baseline) = &mut self.baseline {
            baseline.count(profiles);
        }
    }

    /// All calls that were counted from `since` to `until` have come (CLOCK_BOOTTIME, ns).
    pub fn end_second(&mut self, since: u64, until: u64, alerts: &mut Vec<Alert>) {
        let mut verdicts = self.verdicts();
        if let Some(baseline) = &mut self.baseline {
            baseline.end_second(until.saturating_sub(since), &self.processes, &mut verdicts);
        }
        self.conclude(verdicts, until, alerts);
    }

    /// The same rules, and nothing seen yet.
    pub fn begun_anew(mut self) -> Self {
        self.rules.restart();
        let notes = self.notes.map(|_| Vec::new());
        let correlation = self.correlation.as_ref().map(Correlation::begun_anew);
        let (rules, exceptions, baseline) = (self.rules, self.exceptions, self.baseline);
        let (without_patterns, secrets) = (self.without_patterns, self.secrets.begun_anew());
        Self {
            rules,
            exceptions,
            notes,
            correlation,
            baseline,
            without_patterns,
            secrets,
            ..Self::default()
        }
    }

    /// Looks for these rules from now on; what is under way of unchanged ones goes on.
    pub fn swap_rules(&mut self, Active { rules, exceptions, clients }: Active) -> Swap {
        self.exceptions = exceptions;
        let has_other_clients = self.secrets.know_clients(clients);
        Swap { has_other_clients, ..self.rules.swap(rules) }
    }

    /// What the sensor must be asked for, beside fork, exec and exit.
    pub fn needs(&self) -> KindSet {
        let baseline = self.baseline.as_ref().map_or(KindSet::default(), |_| observer::NEEDS);
        if self.without_patterns {
            let tables = process_table::NEEDS.with(cgroups::NEEDS).with(secrets::NEEDS);
            return tables.with(baseline);
        }
        needs(self.rules.needs().with(baseline))
    }

    /// What the correlation engine has seen so far; `None` if it is off.
    pub fn stages(&self) -> Option<Stages> {
        self.correlation.as_ref().map(Correlation::stages)
    }

    /// Learns which shells and interpreters this host has.
    pub fn know(&mut self, programs: KnownPrograms) {
        self.processes.know(programs);
    }

    /// Names of what it looks for.
    pub fn rule_names(&self) -> Vec<String> {
        let looks = |name: &str| {
            if correlation::RULE.name == name {
                self.correlation.is_some()
            } else if observer::NEW.name == name || observer::MORE.name == name {
                self.baseline.is_some()
            } else {
                !self.without_patterns
            }
        };
        let in_code = patterns::BUILT_IN.iter().map(|one| one.name);
        let in_code = in_code.filter(|name| looks(name) && !self.exceptions.has_off(name));
        let of_files = self.rules.rules().iter().filter(|_| !self.without_patterns);
        let of_files = of_files.map(|one| one.rule.name.clone());
        in_code.map(str::to_owned).chain(of_files).collect()
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

    /// Processes that data of a secret can have come to since this was asked last, of which the sensor does
    /// not know; at most [`MAX_FOLLOWED`] at a time.
    pub fn take_carriers(&mut self) -> Vec<Target> {
        let fresh = self.lineage.take_fresh(MAX_FOLLOWED);
        let has_secret = |id: &ProcessId| {
            let mut carried = self.lineage.carried(*id).iter();
            carried.any(|one| self.secrets.get(one.source).is_some())
        };
        let target = |id: ProcessId| Target { tgid: id.tgid, start_time: id.start_time };
        fresh.into_iter().filter(has_secret).map(target).collect()
    }

    /// How many processes were met without their fork since the last call.
    pub fn take_strangers(&mut self) -> usize {
        self.processes.take_strangers()
    }

    /// Follows one event, and the close that it tells as well.
    pub fn event(&mut self, event: &Event, alerts: &mut Vec<Alert>) {
        self.follow(event, alerts);
        if let Some(closing) = event.closing() {
            self.follow(&closing, alerts);
        }
    }

    fn follow(&mut self, event: &Event, alerts: &mut Vec<Alert>) {
        if matches!(event.action, Action::Canary) {
            return self.sensor.canary();
        }
        self.cgroups.apply(event);
        if let Some(baseline) = &mut self.baseline {
            baseline.observe(event, &self.processes);
        }
        self.processes.apply(event);
        let mut verdicts = self.verdicts();
        self.lineage.observe(event, &self.processes);
        let seen = self.secrets.observe(event, &self.processes, &mut self.lineage);
        let (processes, cgroups, secrets) = (&self.processes, &self.cgroups, &self.secrets);
        if !self.without_patterns {
            let lineage = &mut self.lineage;
            self.reverse_shell.observe(event, processes, &mut verdicts);
            self.credential_exfil.observe(event, &seen, secrets, processes, lineage, &mut verdicts);
            self.fork_bomb.observe(event, processes, &mut verdicts);
            self.privilege_escalation.observe(event, processes, &mut verdicts);
            self.rules.observe(event, processes, cgroups, lineage, &mut verdicts);
        }
        if let Some(correlation) = &mut self.correlation {
            correlation.observe(event, &seen, secrets, processes, &self.lineage, &mut verdicts);
        }
        if !verdicts.is_empty() {
            self.conclude(verdicts, event.timestamp, alerts);
        }
        if matches!(event.action, Action::Exit) {
            self.processes.forget(event.process);
        }
    }

    /// Lets time go on to `now`, CLOCK_BOOTTIME in ns.
    pub fn time(&mut self, now: u64, alerts: &mut Vec<Alert>) {
        let mut verdicts = self.verdicts();
        self.lineage.time(now, &self.processes);
        self.secrets.time(now, &self.processes);
        self.reverse_shell.time(now, &self.processes, &mut verdicts);
        self.credential_exfil.time(&self.secrets);
        if let Some(correlation) = &mut self.correlation {
            correlation.time(&self.secrets);
        }
        self.fork_bomb.time(now, &self.processes);
        self.privilege_escalation.time(&self.processes);
        self.rules.time(now, &self.processes, &mut verdicts);
        self.conclude(verdicts, now, alerts);
    }

    /// An alert that the enforcer has spent its budget; `now` is CLOCK_BOOTTIME in ns. It is about no
    /// process: its pid is 0.
    pub fn breaker_tripped(&self, now: u64) -> Alert {
        let nobody = ProcessId { tgid: 0, start_time: 0 };
        let message = "the enforcer has spent its kills for a minute and kills no more until somebody \
                       looks at the alerts before and says `sentinel enforce on`";
        self.alert(BREAKER.finding(Severity::Critical, nobody, message.to_owned()), now, 0)
    }

    /// A line on what became of events and alerts until `now` (CLOCK_BOOTTIME, ns); about no process.
    pub fn counted(&self, now: u64, period: Period) -> Alert {
        let nobody = ProcessId { tgid: 0, start_time: 0 };
        let Events { processed, execs, dropped, .. } = period.events;
        let seconds = period.period / 1_000_000_000;
        let message = format!(
            "in {seconds} s {processed} events, {execs} programs started, {dropped} events lost"
        );
        let line = COUNTERS.finding(Severity::Debug, nobody, message);
        Alert { counters: Some(Box::new(period)), ..self.alert(line, now, 0) }
    }

    fn alert(&self, finding: Finding, now: u64, gap: u64) -> Alert {
        let place = self.processes.get(finding.process).map(|process| process.cgroup_id);
        let place = place.and_then(|id| self.cgroups.place(id)).cloned().unwrap_or_default();
        let alert = Alert::new(finding, now, self.wall_offset_ns, gap, &self.processes, place);
        self.redaction.alert(alert)
    }

    /// Takes the notes that were kept since the last call.
    pub fn take_notes(&mut self) -> Vec<String> {
        let notes = self.notes.as_mut().map(std::mem::take).unwrap_or_default();
        notes.into_iter().map(|note| self.without_secrets(note)).collect()
    }

    /// `text` without what alerts do not tell either.
    pub fn without_secrets(&self, text: String) -> String {
        self.redaction.text(text)
    }

    /// How many processes are known to live.
    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Those processes.
    #[cfg(test)]
    pub fn process_table(&self) -> &ProcessTable {
        &self.processes
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
            let is_bomb = finding.rule.name == fork_bomb::RULE.name;
            let root = if is_bomb { self.fork_bomb.founder(finding.process) } else { None };
            let tree = root.map(|ProcessId { tgid, start_time }| Target { tgid, start_time });
            alerts.push(Alert { tree, ..self.alert(finding, now, gap) });
        }
        if let (Some(all), Some(new)) = (&mut self.notes, verdicts.notes) {
            all.extend(new);
        }
    }
}
