//! What one program is like, over all of its processes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    calls,
    measure::Measure,
    series::{Departure, Second, Series, Watch},
};
use crate::{alert::Severity, event::ObjectId};

/// A call that is new is told again after so many seconds of its program; a harmless one is learned
/// when it was told.
const TOLD_AGAIN: u64 = 86_400;

/// Files of a program that are told from new ones.
const MAX_FILES: usize = 8;

/// More work of everything explains so many times the usual of one thing, at the most; and where more work
/// seldom means more of it.
const MOST_GROWTH: f64 = 10.0;
const MOST_GROWTH_OF_FEW: f64 = 3.0;
/// Calls that are made less often, per second, do not say how much work there is.
const STEADY: f64 = 1.0;

/// By what a program is known: never by a process, and by a path only where nobody but root can have put
/// a program there. Who mounts or links a file to a path of his choice has no say in the habits of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProgramName {
    /// Kernel-resolved path of the executable, raw; of the host, and of root alone. An upgrade is the
    /// same program.
    Installed(Vec<u8>),
    /// Any other file, whatever its path: users' programs, and those of containers.
    File(ObjectId),
}

/// What was counted of a program in a second; what is missing is 0.
pub type Counts = BTreeMap<Measure, u64>;

/// Something unusual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anomaly {
    /// Of what.
    pub measure: Measure,
    /// How bad.
    pub severity: Severity,
    /// In which way.
    pub unusual: Unusual,
}

/// In which way something is unusual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unusual {
    /// The program never did it while it was learned.
    New {
        /// Per second, now.
        rate: f64,
        /// How long the program was known, s.
        known: u64,
    },
    /// It does much more of it, for a while now.
    More(Departure),
}

/// How programs are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// Seconds of a program until it is known.
    pub learning_period: u64,
    /// Deviations from the mean.
    pub threshold: f64,
    /// Whether programs that are not known yet are learned.
    pub learns: bool,
    /// Whether those that are known are judged.
    pub detects: bool,
}

/// What is known of a program.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Program {
    /// Where it was found last, raw.
    path: Vec<u8>,
    /// The files that are known to be it, at most [`MAX_FILES`]: those of upgrades.
    files: Vec<ObjectId>,
    /// In how many seconds it ran.
    seconds: u64,
    /// Until which of them it is learned.
    learned_until: u64,
    /// Whether it was known before that, from an older file.
    has_prior: bool,
    series: BTreeMap<Measure, Series>,
    #[serde(skip)]
    watches: BTreeMap<Measure, Watch>,
    /// What was told to be new, and in which second.
    #[serde(skip)]
    told: BTreeMap<Measure, u64>,
    /// What an upgrade brought, which is learned without being judged until the program is known again.
    #[serde(skip)]
    brought: BTreeSet<Measure>,
    /// When it ran last, in seconds of the engine.
    #[serde(skip)]
    last_seen: u64,
}

impl Program {
    /// One that nothing is known of.
    pub fn new(judgement: &Judgement) -> Self {
        Self { learned_until: judgement.learning_period, ..Self::default() }
    }

    /// It was found at `path` in this second of the engine.
    pub fn is_seen(&mut self, path: &[u8], second: u64) {
        self.last_seen = second;
        if self.path != path {
            path.clone_into(&mut self.path);
        }
    }

    /// Where it was found last, raw.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// In which second of the engine it ran last; 0 if it has not since the engine began.
    pub fn last_seen(&self) -> u64 {
        self.last_seen
    }

    /// Rates of which a departure that was told lasts.
    pub fn rates_in_alarm(&self) -> usize {
        self.watches.values().filter(|watch| watch.is_alarmed()).count()
    }

    /// In how many seconds it ran.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// Whether enough is known to judge it.
    pub fn is_known(&self) -> bool {
        self.seconds >= self.learned_until
    }

    /// What was learned.
    pub fn series(&self) -> &BTreeMap<Measure, Series> {
        &self.series
    }

    /// Whether the numbers can be a program's.
    pub fn is_sound(&self) -> bool {
        self.series.values().all(Series::is_sound)
    }

    /// The program runs from this file. Of one that is new, an upgrade perhaps, what was learned goes on to
    /// count, but less than what is to come.
    pub fn runs_from(&mut self, file: ObjectId, judgement: &Judgement) {
        if self.files.contains(&file) {
            return;
        }
        let is_first = self.files.is_empty();
        self.files.truncate(MAX_FILES - 1);
        self.files.insert(0, file);
        if !is_first && self.is_known() && judgement.learns {
            let half = judgement.learning_period / 2;
            self.series.values_mut().for_each(|series| *series = series.as_prior(half));
            (self.learned_until, self.has_prior) = (self.seconds + half, true);
            self.brought.clear();
        }
    }

    /// Follows a second in which it ran.
    pub fn second(&mut self, counts: &Counts, judgement: &Judgement) -> Vec<Anomaly> {
        let learns = judgement.learns && !self.is_known();
        let mut anomalies = Vec::new();
        if !judgement.learns && !self.is_known() && !self.has_prior {
            return anomalies;
        }
        // After an upgrade it is learned and judged at the same time.
        if judgement.detects && (self.is_known() || self.has_prior) {
            self.judge(counts, judgement, learns, &mut anomalies);
        } else if learns {
            self.learn(counts);
        }
        self.seconds += 1;
        anomalies
    }

    fn learn(&mut self, counts: &Counts) {
        for &measure in counts.keys() {
            self.series.entry(measure).or_insert_with(|| Series::silent(self.seconds));
        }
        for (measure, series) in &mut self.series {
            series.learn(rate(counts, *measure));
        }
    }

    fn judge(
        &mut self,
        counts: &Counts,
        judgement: &Judgement,
        learns: bool,
        anomalies: &mut Vec<Anomaly>,
    ) {
        let growth = self.growth(counts);
        for (&measure, &count) in counts.iter().filter(|(_, count)| **count > 0) {
            if !self.series.contains_key(&measure) {
                anomalies.extend(self.new_measure(measure, count, judgement));
            }
        }
        for (&measure, series) in &mut self.series {
            if learns && self.brought.contains(&measure) {
                series.learn(rate(counts, measure));
                continue;
            }
            let watch = self.watches.entry(measure).or_default();
            let load = growth.min(most_growth(measure));
            let rate = rate(counts, measure);
            let (threshold, least_change) = (judgement.threshold, measure.least_change());
            let teaches = judgement.learns;
            let second = Second { rate, load, threshold, least_change, teaches };
            let departure = series.watch(watch, second);
            if learns && watch.is_calm() {
                series.learn(rate);
            }
            if let Some(departure) = departure {
                let severity = severity_of_more(measure);
                anomalies.push(Anomaly { measure, severity, unusual: Unusual::More(departure) });
            }
        }
    }

    /// How many times the usual is done of everything; at least 1. All calls together must have grown as
    /// much, and at least half of those that it makes all the time: more of one call, and be it a million,
    /// is not more work.
    fn growth(&self, counts: &Counts) -> f64 {
        let ratio = |(&measure, series): (&Measure, &Series)| {
            (series.mean() >= STEADY).then(|| rate(counts, measure) / series.mean())
        };
        let calls = self.series.iter().filter(|(measure, _)| matches!(measure, Measure::Call(_)));
        let mut ratios: Vec<f64> = calls.filter_map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let of_half = ratios.get(ratios.len().saturating_sub(1) / 2).copied();
        let of_all = self.series.get_key_value(&Measure::AllCalls).and_then(ratio);
        of_half.zip(of_all).map_or(1.0, |(half, all)| half.min(all).max(1.0))
    }

    /// Something that was never counted while the program was learned. Of an upgrade it is told and
    /// learned, as what else the upgrade does.
    fn new_measure(
        &mut self,
        measure: Measure,
        count: u64,
        judgement: &Judgement,
    ) -> Option<Anomaly> {
        // In how many seconds it was not done, of those that count.
        let mut silent = self.seconds;
        let is_upgraded = judgement.learns && !self.is_known();
        if is_upgraded {
            let begun = self.learned_until.saturating_sub(judgement.learning_period / 2);
            silent = self.seconds.saturating_sub(begun);
            self.brought.insert(measure);
        }
        let Some(severity) = severity_of_new(measure) else {
            self.series.insert(measure, Series::silent(silent));
            return None;
        };
        let told = self.told.get(&measure);
        if told.is_some_and(|told| self.seconds.saturating_sub(*told) < TOLD_AGAIN) {
            return None;
        }
        if is_upgraded || (judgement.learns && severity <= Severity::Info) {
            self.series.insert(measure, Series::silent(silent));
        } else {
            self.told.insert(measure, self.seconds);
        }
        let unusual = Unusual::New { rate: super::moments::decimal(count), known: self.seconds };
        Some(Anomaly { measure, severity, unusual })
    }
}

fn rate(counts: &Counts, measure: Measure) -> f64 {
    super::moments::decimal(counts.get(&measure).copied().unwrap_or_default())
}

/// How many times the usual of something is explained by more work, at the most.
fn most_growth(measure: Measure) -> f64 {
    match measure {
        // They are the work.
        Measure::AllCalls => 1.0,
        Measure::Programs | Measure::Destinations | Measure::Secrets => MOST_GROWTH_OF_FEW,
        Measure::Call(_) | Measure::Forks | Measure::SentBytes | Measure::WrittenBytes => {
            MOST_GROWTH
        }
    }
}

/// How bad it is that a program does something for the first time; `None` if only its rate says
/// something.
fn severity_of_new(measure: Measure) -> Option<Severity> {
    match measure {
        Measure::Call(number) => Some(calls::severity_when_new(number)),
        Measure::Programs | Measure::Secrets => Some(Severity::Warning),
        Measure::Forks
        | Measure::Destinations
        | Measure::SentBytes
        | Measure::WrittenBytes
        | Measure::AllCalls => None,
    }
}

/// How bad it is that a program does much more of something than of everything else.
fn severity_of_more(measure: Measure) -> Severity {
    match measure {
        // More work is no attack.
        Measure::AllCalls | Measure::WrittenBytes => Severity::Info,
        Measure::Call(number) => calls::severity_when_new(number).min(Severity::Warning),
        Measure::Forks
        | Measure::Programs
        | Measure::Destinations
        | Measure::Secrets
        | Measure::SentBytes => Severity::Warning,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUDGEMENT: Judgement =
        Judgement { learning_period: 100, threshold: 3.0, learns: true, detects: true };
    const READ: Measure = Measure::Call(0);
    const GETRUSAGE: Measure = Measure::Call(98);
    const PTRACE: Measure = Measure::Call(101);

    fn object(inode: u64) -> ObjectId {
        ObjectId { device: 1, inode, generation: 0 }
    }

    fn counts(read: u64, others: &[(Measure, u64)]) -> Counts {
        let all = read + others.iter().map(|(_, count)| count).sum::<u64>();
        let mut counts = Counts::from([(READ, read), (Measure::AllCalls, all)]);
        counts.extend(others.iter().copied());
        counts
    }

    /// A program that reads 100 times a second.
    fn known() -> Program {
        let mut program = Program::new(&JUDGEMENT);
        program.runs_from(object(1), &JUDGEMENT);
        for second in 0..100 {
            assert_eq!(program.second(&counts(95 + second % 11, &[]), &JUDGEMENT), []);
        }
        assert!(program.is_known());
        program
    }

    fn found(program: &mut Program, counts: &Counts, seconds: u32) -> Vec<(Measure, Severity)> {
        let mut all = Vec::new();
        for _ in 0..seconds {
            let anomalies = program.second(counts, &JUDGEMENT);
            all.extend(anomalies.iter().map(|one| (one.measure, one.severity)));
        }
        all
    }

    #[test]
    fn nothing_is_said_of_what_is_usual_or_not_known_yet() {
        assert_eq!(found(&mut known(), &counts(100, &[]), 500), []);
        let mut new = Program::new(&JUDGEMENT);
        assert_eq!(found(&mut new, &counts(9_999, &[(PTRACE, 5)]), 50), []);
    }

    #[test]
    fn a_new_call_is_told_at_once_and_once() {
        let mut program = known();
        let traces = counts(100, &[(PTRACE, 1)]);
        assert_eq!(found(&mut program, &traces, 1), [(PTRACE, Severity::High)]);
        assert_eq!(found(&mut program, &traces, 300), []);
        assert!(!program.series().contains_key(&PTRACE), "what alarms does not teach");
        let asks = counts(100, &[(GETRUSAGE, 1)]);
        assert_eq!(found(&mut program, &asks, 300), [(GETRUSAGE, Severity::Info)]);
    }

    #[test]
    fn more_work_is_one_alarm_and_more_of_one_thing_another() {
        let busy = counts(1_000, &[]);
        assert_eq!(found(&mut known(), &busy, 60), [(Measure::AllCalls, Severity::Info)]);
        let mut program = known();
        let forks = counts(100, &[(Measure::Forks, 500)]);
        let told = found(&mut program, &forks, 10);
        assert!(told.contains(&(Measure::Forks, Severity::Warning)), "{told:?}");
    }

    /// A program that asks for its pid, reads, and makes three processes a second.
    fn works() -> (Program, impl Fn(u64, u64, u64) -> Counts) {
        const GETPID: Measure = Measure::Call(39);
        let of = |getpid, read, forks| {
            counts(read, &[(GETPID, getpid), (Measure::Forks, forks), (Measure::Call(1), read)])
        };
        let mut program = Program::new(&JUDGEMENT);
        for second in 0..100 {
            program.second(&of(100 + second % 5, 100 + second % 7, 3), &JUDGEMENT);
        }
        (program, of)
    }

    #[test]
    fn a_flood_of_one_call_explains_nothing_else() {
        let (mut program, of) = works();
        let told = found(&mut program, &of(1_000_000, 103, 40), 10);
        assert!(told.contains(&(Measure::Forks, Severity::Warning)), "{told:?}");
        assert!(told.contains(&(Measure::AllCalls, Severity::Info)), "{told:?}");
        // Twelve times the work is twelve times the forks, as far as that goes.
        let (mut program, of) = works();
        let told = found(&mut program, &of(1_200, 1_200, 36), 10);
        assert!(!told.contains(&(Measure::Forks, Severity::Warning)), "{told:?}");
        let (mut program, of) = works();
        let told = found(&mut program, &of(10_000, 10_000, 300), 10);
        assert!(told.contains(&(Measure::Forks, Severity::Warning)), "{told:?}");
        let (mut program, of) = works();
        assert_eq!(found(&mut program, &of(1_000_000, 103, 3), 10).len(), 2);
        assert_eq!(program.rates_in_alarm(), 2);
        found(&mut program, &of(100, 103, 3), 10);
        assert_eq!(program.rates_in_alarm(), 0);
    }

    #[test]
    fn an_upgrade_keeps_what_was_learned_and_learns_anew() {
        let mut program = known();
        program.runs_from(object(1), &JUDGEMENT);
        assert!(program.is_known());
        program.runs_from(object(2), &JUDGEMENT);
        assert!(!program.is_known());
        assert_eq!(
            found(&mut program, &counts(100, &[(PTRACE, 1)]), 1),
            [(PTRACE, Severity::High)]
        );
        let polls = counts(112, &[(PTRACE, 1), (GETRUSAGE, 150)]);
        assert_eq!(found(&mut program, &polls, 40), [(GETRUSAGE, Severity::Info)]);
        assert!(program.series()[&GETRUSAGE].mean() > 140.0, "it is what the upgrade does");
        assert_eq!(found(&mut program, &counts(112, &[(PTRACE, 1), (GETRUSAGE, 150)]), 60), []);
        assert!(program.is_known());
        assert!(program.series()[&READ].mean() > 104.0, "{:?}", program.series()[&READ]);
    }

    #[test]
    fn it_judges_or_learns_only_if_it_is_to() {
        let learns_only = Judgement { detects: false, ..JUDGEMENT };
        let mut program = known();
        assert_eq!(program.second(&counts(100, &[(PTRACE, 1)]), &learns_only), []);
        let detects_only = Judgement { learns: false, ..JUDGEMENT };
        let mut program = Program::new(&detects_only);
        (0..300).for_each(|_| assert_eq!(program.second(&counts(100, &[]), &detects_only), []));
        assert!(program.series().is_empty() && !program.is_known());
        let mut program = known();
        let before = program.series()[&READ];
        for _ in 0..1000 {
            assert_eq!(program.second(&counts(112, &[]), &detects_only), []);
        }
        assert_eq!(program.series()[&READ], before, "nothing is learned any more");
    }
}
