//! From events and counted calls to seconds of programs, and from what is unusual to alerts.

use std::{
    collections::BTreeMap,
    mem,
    net::{IpAddr, SocketAddr},
};

use sentinel_ipc::{
    file_class::SECRET,
    frame::{KindSet, ProfileCalls},
    kernel_abi::{kind, profile},
};
use serde::Serialize;

use super::{
    Baseline,
    measure::Measure,
    program::{Anomaly, Counts, ProgramName, Unusual},
};
use crate::{
    alert::{Engine, Severity},
    escape::escape,
    event::{Action, DescriptorCall, Event, Exec, FileCall, ObjectId, ProcessId, TrafficReport},
    keyed_hash::{HashMap, HashSet},
    patterns::{Finding, Rule, Verdicts},
    process_table::ProcessTable,
    rules::identity,
};

#[cfg(test)]
mod tests;

/// What is counted by events, beside fork, exec and exit.
pub const NEEDS: KindSet = KindSet::of(&[kind::OPEN, kind::CONNECT, kind::SENT]);

/// A program does what it never did.
pub static NEW: Rule = Rule::of("baseline_new", "T1106", Engine::Baseline);
/// A program does much more of something than usual.
pub static MORE: Rule = Rule::of("baseline_rate", "T1499", Engine::Baseline);
/// The kernel has no room to count the calls of more executables.
static CROWD: Rule = Rule::of("baseline_crowded", "T1562.006", Engine::Sensor);

/// Executables and addresses that are kept of a second, at the most; later ones are not counted.
const MAX_OF_A_SECOND: usize = 8192;
const SECOND: u64 = 1_000_000_000;
/// Seconds on end without room that are told, and from one time to the next, s.
const CROWD_SECONDS: u32 = 10;
const CROWD_INTERVAL: u64 = 3600;

/// The numbers of an alert; rates are per second.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Name of the system call, or what else was counted.
    pub syscall: String,
    /// In the last second.
    pub rate: f64,
    /// What was usual.
    pub mean: f64,
    /// How much that varied; 0 for what never was.
    pub stddev: f64,
    /// Deviations from the mean; `None` for what never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub z: Option<f64>,
    /// For how long, s; `None` for what never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
}

/// What events told of a program since the last second ended.
#[derive(Debug, Default)]
struct Deeds {
    counts: Counts,
    destinations: HashSet<IpAddr>,
    secrets: HashSet<ObjectId>,
}

/// Who runs an executable, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Runner {
    /// Whether somebody else than root can have put it there.
    is_anywhere: bool,
    path: Vec<u8>,
    process: ProcessId,
}

impl Runner {
    /// What runs from `file` is known by this.
    fn name(&self, file: ObjectId) -> ProgramName {
        if self.is_anywhere {
            ProgramName::File(file)
        } else {
            ProgramName::Installed(self.path.clone())
        }
    }
}

/// Notes that `process` runs `file`, found at `path`; `is_sound`: where root alone can have put it. Of several, one
/// counts for all: one that is what root installed before others, and the same one each time.
fn note(
    runners: &mut HashMap<ObjectId, Runner>,
    file: ObjectId,
    (process, path, is_sound): (ProcessId, &[u8], bool),
) {
    let is_anywhere = !is_sound;
    let is_first = |known: &Runner| {
        (is_anywhere, path, process) < (known.is_anywhere, &known.path, known.process)
    };
    if runners.get(&file).is_none_or(is_first) {
        runners.insert(file, Runner { is_anywhere, path: path.to_vec(), process });
    }
}

/// What all processes of a program did in a second.
struct Sample {
    /// One of them, and where it was found.
    process: ProcessId,
    path: Vec<u8>,
    files: Vec<ObjectId>,
    counts: Counts,
}

impl Sample {
    fn of(runner: &Runner) -> Self {
        let (process, path) = (runner.process, runner.path.clone());
        Self { process, path, files: Vec::new(), counts: Counts::new() }
    }

    fn add(&mut self, file: ObjectId, counts: Counts) {
        self.files.push(file);
        for (measure, count) in counts {
            let so_far = self.counts.entry(measure).or_default();
            *so_far = so_far.saturating_add(count);
        }
    }
}

/// The engine with what it is fed from.
#[derive(Debug)]
pub struct Observer {
    engine: Baseline,
    deeds: HashMap<ObjectId, Deeds>,
    calls: HashMap<ObjectId, Counts>,
    /// Calls of executables for which the kernel had no room.
    of_nobody: u64,
    /// Seconds on end that there were some, and when that was told last, in seconds of the engine.
    crowded: u32,
    crowd_told: Option<u64>,
    /// Of what was started since the last second ended, and before that: it may have ended again before
    /// its calls are told.
    started: [HashMap<ObjectId, Runner>; 2],
}

impl Observer {
    /// One that feeds `engine`.
    pub fn new(engine: Baseline) -> Self {
        let (deeds, calls, of_nobody, crowded, crowd_told, started) = Default::default();
        Self { engine, deeds, calls, of_nobody, crowded, crowd_told, started }
    }

    /// The engine.
    pub fn engine(&self) -> &Baseline {
        &self.engine
    }

    /// The engine, to be told what was learned before.
    pub fn engine_mut(&mut self) -> &mut Baseline {
        &mut self.engine
    }

    /// Counts what an event tells; `processes` are those from before it, so that an exec is the deed of
    /// the program before.
    pub fn observe(&mut self, event: &Event, processes: &ProcessTable) {
        if let Action::Exec(exec) = &event.action {
            self.start(event.process, exec);
        }
        if event.errno().is_some() && !matches!(event.action, Action::Descriptor { .. }) {
            return;
        }
        let is_counted = match &event.action {
            Action::Fork { .. } | Action::Exec(_) => true,
            // How much is sent, the kernel counts: it does not tell each send.
            Action::Traffic(traffic) => matches!(traffic.report, TrafficReport::Sent { .. }),
            Action::File(file) => file.class & SECRET != 0,
            Action::Descriptor { call, .. } => *call == DescriptorCall::Connect,
            _ => false,
        };
        if !is_counted {
            return;
        }
        let image = processes.get(event.process).and_then(|process| process.image.as_ref());
        let Some(object) = image.and_then(|image| image.object) else { return };
        let (measure, count) = match &event.action {
            Action::Fork { .. } => (Measure::Forks, 1),
            Action::Exec(_) => (Measure::Programs, 1),
            Action::File(file) if matches!(file.call, FileCall::Open) => {
                let (Some(secret), Some(deeds)) = (file.object, self.deeds_of(object)) else {
                    return;
                };
                if deeds.secrets.len() >= MAX_OF_A_SECOND || !deeds.secrets.insert(secret.id) {
                    return;
                }
                (Measure::Secrets, 1)
            }
            Action::Traffic(traffic) => {
                let socket = traffic.descriptor.and_then(|descriptor| descriptor.socket);
                return self.reaches(object, socket.and_then(|socket| socket.remote));
            }
            Action::Descriptor { descriptor, .. } => {
                let socket = descriptor.and_then(|descriptor| descriptor.socket);
                return self.reaches(object, socket.and_then(|socket| socket.remote));
            }
            _ => return,
        };
        if let Some(deeds) = self.deeds_of(object) {
            let so_far = deeds.counts.entry(measure).or_default();
            *so_far = so_far.saturating_add(count);
        }
    }

    /// A destination counts once a second.
    fn reaches(&mut self, object: ObjectId, remote: Option<SocketAddr>) {
        let (Some(remote), Some(deeds)) = (remote, self.deeds_of(object)) else { return };
        if deeds.destinations.len() < MAX_OF_A_SECOND && deeds.destinations.insert(remote.ip()) {
            *deeds.counts.entry(Measure::Destinations).or_default() += 1;
        }
    }

    fn start(&mut self, process: ProcessId, exec: &Exec) {
        let [lately, _] = &mut self.started;
        if let Some(object) = exec.object
            && !exec.path_bytes().is_empty()
            && (lately.len() < MAX_OF_A_SECOND || lately.contains_key(&object.id))
        {
            note(lately, object.id, (process, exec.path_bytes(), identity::is_sound(exec)));
        }
    }

    fn deeds_of(&mut self, object: ObjectId) -> Option<&mut Deeds> {
        if self.deeds.len() >= MAX_OF_A_SECOND && !self.deeds.contains_key(&object) {
            return None;
        }
        Some(self.deeds.entry(object).or_default())
    }

    /// Takes a part of the calls that were counted.
    pub fn count(&mut self, profiles: &[ProfileCalls]) {
        for profile in profiles {
            let Some((device, inode, generation)) = profile.executable else {
                // What is many programs' is no program's habit.
                let calls = profile.calls.iter().filter(|(place, _)| counted(*place).1);
                let all: u64 = calls.map(|(_, count)| u64::from(*count)).sum();
                self.of_nobody = self.of_nobody.saturating_add(all);
                continue;
            };
            let counts = self.calls.entry(ObjectId { device, inode, generation }).or_default();
            for (place, count) in &profile.calls {
                let (measure, is_call) = counted(*place);
                let count = u64::from(*count);
                *counts.entry(measure).or_default() += count;
                if is_call {
                    *counts.entry(Measure::AllCalls).or_default() += count;
                }
            }
        }
    }

    /// Ends a second, which lasted for `duration` ns, and says what is unusual about it.
    pub fn end_second(&mut self, duration: u64, processes: &ProcessTable, verdicts: &mut Verdicts) {
        let mut deeds = mem::take(&mut self.deeds);
        let mut runners = HashMap::default();
        for process in processes.iter() {
            let Some(image) = &process.image else { continue };
            if let Some(object) = image.object
                && !image.identity.path().is_empty()
            {
                let identity = &image.identity;
                let is_sound = identity.sound_path().is_some();
                note(&mut runners, object, (process.id, identity.path(), is_sound));
            }
        }
        let mut samples: BTreeMap<ProgramName, Sample> = BTreeMap::new();
        let mut of_nobody = mem::take(&mut self.of_nobody);
        self.look_for_crowd(of_nobody, verdicts);
        let mut calls = mem::take(&mut self.calls);
        let files: HashSet<ObjectId> = calls.keys().chain(deeds.keys()).copied().collect();
        for file in files {
            let mut counts = calls.remove(&file).unwrap_or_default();
            let [lately, before] = &self.started;
            let runner =
                [&runners, lately, before].into_iter().filter_map(|all| all.get(&file)).min();
            let Some(runner) = runner else {
                // Nobody has told of a program that begins and ends unseen.
                let all = counts.get(&Measure::AllCalls).copied().unwrap_or_default();
                of_nobody = of_nobody.saturating_add(all);
                continue;
            };
            counts.extend(deeds.remove(&file).map(|deeds| deeds.counts).unwrap_or_default());
            let sample = samples.entry(runner.name(file)).or_insert_with(|| Sample::of(runner));
            sample.add(file, counts);
        }
        for (name, Sample { process, path, files, mut counts }) in samples {
            for count in counts.values_mut().filter(|count| **count > 0) {
                let scaled =
                    u128::from(*count) * u128::from(SECOND) / u128::from(duration.max(SECOND));
                *count = u64::try_from(scaled).unwrap_or(u64::MAX).max(1);
            }
            for anomaly in self.engine.second(&name, &path, &files, &counts) {
                verdicts.findings.push(finding(&path, process, &anomaly));
            }
        }
        self.engine.end_second(of_nobody);
        let [lately, before] = &mut self.started;
        *before = mem::take(lately);
    }
}

impl Observer {
    /// Says so when calls of a second were nobody's for want of room in the kernel, for seconds on end.
    fn look_for_crowd(&mut self, of_nobody: u64, verdicts: &mut Verdicts) {
        self.crowded = if of_nobody == 0 { 0 } else { self.crowded.saturating_add(1) };
        let now = self.engine.seconds();
        let is_due = self.crowd_told.is_none_or(|then| now.saturating_sub(then) >= CROWD_INTERVAL);
        if self.crowded < CROWD_SECONDS || !is_due {
            return;
        }
        self.crowd_told = Some(now);
        let executables = profile::COUNT - profile::FIRST;
        let message = format!(
            "more than {executables} executables run at once: {of_nobody} calls of the last second, \
             of those that were started last, are in no baseline; who fills that room hides what is \
             started later from this engine"
        );
        let nobody = ProcessId { tgid: 0, start_time: 0 };
        verdicts.findings.push(CROWD.finding(Severity::Warning, nobody, message));
    }
}

/// What the kernel counts in this place, and whether it is calls.
fn counted(place: u16) -> (Measure, bool) {
    match usize::from(place) {
        profile::SENT_BYTES => (Measure::SentBytes, false),
        profile::WRITTEN_BYTES => (Measure::WrittenBytes, false),
        _ => (Measure::Call(place), true),
    }
}

fn finding(path: &[u8], process: ProcessId, anomaly: &Anomaly) -> Finding {
    let (path, measure) = (escape(path), anomaly.measure.name());
    let syscall = measure.clone().into_owned();
    let (rule, message, figures) = match anomaly.unusual {
        Unusual::New { rate, known } => (
            &NEW,
            format!(
                "{path} does what it never did in the {known} s that it is known: {measure} \
                 ({rate:.0} a second)"
            ),
            Figures { syscall, rate, mean: 0.0, stddev: 0.0, z: None, seconds: None },
        ),
        Unusual::More(departure) => {
            let super::series::Departure { rate, mean, deviation, z, seconds } = departure;
            (
                &MORE,
                format!(
                    "{path} does more than usual for {seconds} s now: {measure}, {rate:.0} a \
                     second, usually {mean:.1} ± {deviation:.1} ({z:.1} σ)"
                ),
                Figures {
                    syscall,
                    rate,
                    mean,
                    stddev: deviation,
                    z: Some(z),
                    seconds: Some(seconds),
                },
            )
        }
    };
    let figures = Some(Box::new(figures));
    Finding { figures, ..rule.finding(anomaly.severity, process, message) }
}
