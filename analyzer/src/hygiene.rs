//! Between engines and sinks: the same alert again is counted and not told each time, and no rule says
//! more in a minute than anybody reads. What was left out is always told, as a line with its count.
//!
//! The same is: rule, severity, action, program with its arguments, parent's program, user, cgroup, peer,
//! and what the steps were done to; of whichever process below `high`, and of one from there on: another process
//! that does what is grave is another one to deal with. Kills, and what is about Sentinel itself, are
//! told one by one: the enforcer's budget bounds the former, and the latter bound themselves. Enforcement
//! comes before this and takes no notice of it. Time is that of events (CLOCK_BOOTTIME, ns).

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use sentinel_ipc::frame::Verdict;

use crate::{
    alert::{ActionTaken, Alert, AlertAncestor, Engine, Repeated, Severity, Withheld, fnv1a},
    status::Alerts,
};

/// How long alerts are folded after the first one, and in what time a rule may say so much, ns.
pub const WINDOW_NS: u64 = 60_000_000_000;
/// Alerts of one rule and severity that are told one by one in that time: what is not so bad takes no room
/// from what is worse.
pub const MAX_TOLD: u64 = 200;
/// Kinds of alerts that may be folded at one time; beyond, the oldest is told early.
const MAX_FOLDS: usize = 1024;
/// Process ids that a folded line names.
const MAX_PIDS: usize = 16;
/// The rule of lines about what was withheld.
pub const WITHHELD: &str = "alerts_withheld";
/// Who floods alerts may want to hide one.
const MITRE: &str = "T1562.006";

/// Alerts of one kind.
#[derive(Debug)]
struct Fold {
    /// The first one, without its steps.
    first: Alert,
    repeated: Repeated,
}

/// Alerts of one rule and severity.
#[derive(Debug)]
struct Spoken {
    since: u64,
    told: u64,
    withheld: u64,
    /// Of processes of what was withheld, as many as a line names.
    pids: Vec<u32>,
    /// Such an alert of that time, for its clock.
    example: Alert,
}

/// What was told lately.
#[derive(Debug, Default)]
pub struct Hygiene {
    folds: HashMap<u64, Fold>,
    rules: HashMap<(Cow<'static, str>, Severity), Spoken>,
    /// Secret, so that nobody can make an alert that counts as another.
    likeness: RandomState,
    folded: u64,
    withheld: u64,
}

impl Hygiene {
    /// How many alerts were folded into others so far, and how many were withheld.
    pub fn left_out(&self) -> (u64, u64) {
        (self.folded, self.withheld)
    }

    /// Takes an alert; gives what is to be told now: the alert or nothing, and what was due before it.
    pub fn pass(&mut self, alert: Alert) -> Vec<Alert> {
        let mut told = self.time(alert.timestamp_boot);
        if is_always_told(&alert) {
            told.push(alert);
            return told;
        }
        let key = self.likeness.hash_one(likeness(&alert));
        let key = self.story(&alert).unwrap_or(key);
        if let Some(fold) = self.folds.get_mut(&key) {
            self.folded += 1;
            fold.repeated.count += 1;
            name_process(&mut fold.repeated.pids, alert.pid);
            return told;
        }
        let example = bare(&alert);
        let of_rule = (alert.pattern_name.clone(), alert.severity);
        let spoken = self.rules.entry(of_rule).or_insert_with(|| Spoken {
            since: alert.timestamp_boot,
            told: 0,
            withheld: 0,
            pids: Vec::new(),
            example: example.clone(),
        });
        if spoken.told >= MAX_TOLD {
            spoken.withheld += 1;
            name_process(&mut spoken.pids, alert.pid);
            self.withheld += 1;
            if spoken.withheld == 1 {
                told.push(begins_to_withhold(&example));
            }
            return told;
        }
        spoken.told += 1;
        if self.folds.len() >= MAX_FOLDS {
            told.extend(self.end_oldest(alert.timestamp_boot));
        }
        let repeated = Repeated { count: 0, pids: Vec::new() };
        self.folds.insert(key, Fold { first: example, repeated });
        told.push(alert);
        told
    }

    /// The newest fold of the story in which `alert` has only one more process.
    fn story(&self, alert: &Alert) -> Option<u64> {
        let is_its_own = !alert.repeat || alert.action != ActionTaken::Logged;
        let told = self.folds.iter().filter(|(_, fold)| !is_its_own && fold.is_story_of(alert));
        told.max_by_key(|(_, fold)| fold.first.timestamp_boot).map(|(key, _)| *key)
    }

    /// Lets time go on to `now`; gives what has become due.
    pub fn time(&mut self, now: u64) -> Vec<Alert> {
        let is_over = |since: u64| now.saturating_sub(since) >= WINDOW_NS;
        let folds = self.folds.extract_if(|_, fold| is_over(fold.first.timestamp_boot));
        let mut due: Vec<Alert> = folds.filter_map(|(_, fold)| fold.line(now)).collect();
        let rules = self.rules.extract_if(|_, spoken| is_over(spoken.since));
        due.extend(rules.filter_map(|(_, spoken)| spoken.line(now)));
        due.sort_by_key(|alert| (alert.timestamp_boot, alert.pattern_id));
        due
    }

    /// Gives all that has not been told yet, at the end, which is `now`.
    pub fn finish(&mut self, now: u64) -> Vec<Alert> {
        let folds = self.folds.drain().filter_map(|(_, fold)| fold.line(now));
        let rules = self.rules.drain().filter_map(|(_, spoken)| spoken.line(now));
        let mut due: Vec<Alert> = folds.chain(rules).collect();
        due.sort_by_key(|alert| (alert.timestamp_boot, alert.pattern_id));
        due
    }

    fn end_oldest(&mut self, now: u64) -> Option<Alert> {
        let oldest = self.folds.iter().min_by_key(|(_, fold)| fold.first.timestamp_boot);
        let key = *oldest?.0;
        self.folds.remove(&key)?.line(now)
    }
}

impl Fold {
    /// Whether `alert` is of the same rule, severity, peer and file.
    fn is_story_of(&self, alert: &Alert) -> bool {
        let file = |alert: &Alert| alert.correlated.as_ref().map(|it| it.file.clone());
        let of = |alert: &Alert| (alert.pattern_id, alert.severity, alert.action);
        of(&self.first) == of(alert)
            && self.first.remote_ip == alert.remote_ip
            && self.first.remote_port == alert.remote_port
            && file(&self.first) == file(alert)
    }

    /// What is told at the end; `None` if there was but one.
    fn line(self, now: u64) -> Option<Alert> {
        let Self { first, repeated } = self;
        if repeated.count == 0 {
            return None;
        }
        let count = repeated.count;
        let times = if count == 1 { "once more" } else { &format!("{count} times more") };
        let seconds = now.saturating_sub(first.timestamp_boot) / 1_000_000_000;
        let message = format!("the same {times} within {seconds} s: {}", first.message);
        Some(Alert { message, repeated: Some(Box::new(repeated)), ..at(now, first) })
    }
}

impl Spoken {
    /// What is told at the end; `None` if all was told.
    fn line(self, now: u64) -> Option<Alert> {
        if self.withheld == 0 {
            return None;
        }
        let (name, severity) = (&self.example.pattern_name, self.example.severity);
        let message = format!(
            "{} more {} alerts of {name} within {} s were not told one by one",
            self.withheld,
            severity.name(),
            now.saturating_sub(self.since) / 1_000_000_000
        );
        let mut alerts = Alerts::default();
        *alerts.of(severity) = self.withheld;
        let withheld = Withheld { pattern_name: name.clone(), alerts };
        let line = about_sentinel(&self.example, severity, message);
        let repeated = Some(Box::new(Repeated { count: self.withheld, pids: self.pids }));
        Some(Alert { withheld: Some(Box::new(withheld)), repeated, ..at(now, line) })
    }
}

/// Adds a process to those that a line names.
fn name_process(pids: &mut Vec<u32>, pid: u32) {
    if pids.len() < MAX_PIDS && !pids.contains(&pid) {
        pids.push(pid);
    }
}

/// Kills are few, and each of them counts; the sensor's own alerts come rarely.
fn is_always_told(alert: &Alert) -> bool {
    let is_kill = matches!(alert.action, ActionTaken::Decided(Verdict::Terminated));
    is_kill || alert.engine == Engine::Sensor
}

/// What two alerts have in common that say the same.
fn likeness(alert: &Alert) -> impl std::hash::Hash {
    let parent = alert.ancestors.first().and_then(|parent| parent.exe.clone());
    let correlated = alert.correlated.as_ref();
    let process = (alert.severity >= Severity::High).then_some((alert.pid, alert.start_time));
    (
        process,
        (alert.pattern_id, alert.severity as u8, alert.action.to_string(), alert.uid),
        (alert.exe.clone(), alert.cmdline.clone(), parent, alert.cgroup.clone()),
        (alert.remote_ip.clone(), alert.objects.clone()),
        correlated.map(|it| (it.file.clone(), it.stage as u8)),
        alert.figures.as_ref().map(|figures| figures.syscall.clone()),
    )
}

/// The alert without what a summary has no use for.
fn bare(alert: &Alert) -> Alert {
    Alert { steps: Vec::new(), objects: Vec::new(), ..alert.clone() }
}

fn begins_to_withhold(example: &Alert) -> Alert {
    let message = format!(
        "{} has raised more than {MAX_TOLD} different {} alerts within a minute: further ones are counted, \
         and the count is told at its end; enforcement goes on",
        example.pattern_name,
        example.severity.name()
    );
    about_sentinel(example, example.severity, message)
}

/// A line about what Sentinel says, at the time of `example`; about no process.
fn about_sentinel(example: &Alert, severity: Severity, message: String) -> Alert {
    Alert {
        engine: Engine::Sensor,
        pattern_id: fnv1a(WITHHELD),
        pattern_name: WITHHELD.into(),
        severity,
        mitre: MITRE.into(),
        pid: 0,
        start_time: 0,
        ppid: 0,
        uid: u32::MAX,
        comm: None,
        exe: None,
        exe_trusted: false,
        cmdline: None,
        script: None,
        ancestors: Vec::<AlertAncestor>::new(),
        container_id: None,
        cgroup: None,
        unit: None,
        action: ActionTaken::Logged,
        message,
        gap_in_window: 0,
        remote_ip: None,
        remote_port: None,
        correlated: None,
        figures: None,
        tree: None,
        ..example.clone()
    }
}

/// The alert as if it were of `now`.
fn at(now: u64, alert: Alert) -> Alert {
    let later = now.saturating_sub(alert.timestamp_boot);
    let timestamp = alert.timestamp.saturating_add(later);
    Alert { timestamp, timestamp_boot: now.max(alert.timestamp_boot), ..alert }
}

#[cfg(test)]
mod tests;
