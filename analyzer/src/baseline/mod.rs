//! The baseline engine: how often does this program do this, and is now different?
//!
//! A program is its executable, over all processes that run it; pids do not come back. Each
//! second in which it runs is one sample of everything that is counted ([`measure`]), which [`observer`]
//! puts together from the kernel's counts and from events. The samples of its
//! first seconds teach ([`series`]); later ones are compared ([`program`]). What was learned is kept in a
//! file ([`store`]). The rules, and how often they are wrong: `docs/baseline.md`.

pub mod calls;
pub mod measure;
pub mod moments;
pub mod observer;
pub mod overview;
pub mod program;
pub mod series;
pub mod store;

use std::collections::BTreeMap;

use measure::Measure;
use overview::Overview;
use program::{Anomaly, Counts, Judgement, Program, ProgramName};
use store::Programs;

use crate::event::ObjectId;

/// Programs that are followed at the most. For one more, the one is forgotten that has run for the shortest
/// time of those that are not known; else the one that has not run for the longest time, and for an hour: of
/// files anywhere first, then of installed programs. If there is none, samples of others are counted and
/// dropped.
pub const MAX_PROGRAMS: usize = 1024;
/// Who is known and has run in so many seconds is not forgotten.
const LATELY: u64 = 3600;
/// Anomalies that are told apart in the summary, at the most.
const MAX_TOLD: usize = 256;

/// The engine.
#[derive(Debug)]
pub struct Baseline {
    judgement: Judgement,
    programs: Programs,
    /// Seconds that have ended, and whether something was known before the first one.
    seconds: u64,
    has_recalled: bool,
    /// Samples of programs for which there was no room.
    not_followed: u64,
    /// Programs that were known and made room for others.
    forgotten: u64,
    /// Calls that no program is known to have made.
    of_nobody: u64,
    /// How often something was unusual in total, and of what.
    anomalies: u64,
    told: BTreeMap<(Vec<u8>, Measure), u64>,
}

impl Baseline {
    /// One that knows nothing yet.
    pub fn new(judgement: Judgement) -> Self {
        Self {
            judgement,
            programs: Programs::new(),
            seconds: 0,
            has_recalled: false,
            not_followed: 0,
            forgotten: 0,
            of_nobody: 0,
            anomalies: 0,
            told: BTreeMap::new(),
        }
    }

    /// Knows what was learned before.
    pub fn recall(&mut self, programs: Programs) {
        self.has_recalled = programs.values().any(Program::is_known);
        self.programs = programs;
    }

    /// Whether there may be more to keep than there was.
    pub fn learns(&self) -> bool {
        self.judgement.learns
    }

    /// Follows a second in which processes of a program ran, found at `path`, from these files.
    pub fn second(
        &mut self,
        name: &ProgramName,
        path: &[u8],
        files: &[ObjectId],
        counts: &Counts,
    ) -> Vec<Anomaly> {
        if !self.programs.contains_key(name) {
            // Who does not learn has nothing to say of it.
            if !self.judgement.learns {
                return Vec::new();
            }
            if self.programs.len() >= MAX_PROGRAMS && !self.make_room() {
                self.not_followed += 1;
                return Vec::new();
            }
            self.programs.insert(name.clone(), Program::new(&self.judgement));
        }
        let Some(program) = self.programs.get_mut(name) else { return Vec::new() };
        program.is_seen(path, self.seconds);
        files.iter().for_each(|file| program.runs_from(*file, &self.judgement));
        let anomalies = program.second(counts, &self.judgement);
        for anomaly in &anomalies {
            self.anomalies += 1;
            let key = (path.to_vec(), anomaly.measure);
            if self.told.len() < MAX_TOLD || self.told.contains_key(&key) {
                *self.told.entry(key).or_default() += 1;
            }
        }
        anomalies
    }

    /// Ends a second in which so many calls were nobody's.
    pub fn end_second(&mut self, of_nobody: u64) {
        self.seconds += 1;
        self.of_nobody = self.of_nobody.saturating_add(of_nobody);
    }

    /// Forgets a program, if there is one that may be.
    fn make_room(&mut self) -> bool {
        let unknown = self.programs.iter().filter(|(_, program)| !program.is_known());
        let shortest = unknown.min_by_key(|(_, program)| program.seconds());
        if let Some((name, _)) = shortest {
            let name = name.clone();
            return self.programs.remove(&name).is_some();
        }
        let is_idle = |program: &Program| program.last_seen() + LATELY <= self.seconds;
        let idle = self.programs.iter().filter(|(_, program)| is_idle(program));
        let oldest = idle.min_by_key(|(name, program)| {
            (matches!(name, ProgramName::Installed(_)), program.last_seen())
        });
        let Some(name) = oldest.map(|(name, _)| name.clone()) else { return false };
        self.forgotten += 1;
        self.programs.remove(&name).is_some()
    }

    /// Seconds that have ended.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// All programs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// How it gets on.
    pub fn overview(&self) -> Overview {
        Overview::of(self)
    }
}

#[cfg(test)]
mod simulation;

#[cfg(test)]
mod tests {
    use super::*;

    const JUDGEMENT: Judgement =
        Judgement { learning_period: 10, threshold: 3.0, learns: true, detects: true };

    fn path(number: usize) -> Vec<u8> {
        format!("/usr/bin/{number}").into_bytes()
    }

    fn name(number: usize) -> ProgramName {
        ProgramName::Installed(path(number))
    }

    fn run(engine: &mut Baseline, number: usize, seconds: u32) -> usize {
        let counts = Counts::from([(Measure::Call(1), 5)]);
        (0..seconds).map(|_| engine.second(&name(number), &path(number), &[], &counts).len()).sum()
    }

    #[test]
    fn who_has_run_for_the_shortest_time_makes_room_and_who_is_known_does_not() {
        let mut engine = Baseline::new(JUDGEMENT);
        run(&mut engine, 0, 10);
        run(&mut engine, 1, 3);
        (2..MAX_PROGRAMS).for_each(|number| assert_eq!(run(&mut engine, number, 2), 0));
        run(&mut engine, MAX_PROGRAMS, 1);
        assert_eq!(engine.programs().len(), MAX_PROGRAMS);
        for kept in [0, 1, MAX_PROGRAMS] {
            assert!(engine.programs().contains_key(&name(kept)), "{kept}");
        }
        let kept: Vec<_> = engine.programs().keys().cloned().collect();
        for name in kept {
            (0..10).for_each(|_| drop(engine.second(&name, b"", &[], &Counts::new())));
        }
        assert!(engine.programs().values().all(Program::is_known));
        run(&mut engine, MAX_PROGRAMS + 1, 2);
        assert_eq!(engine.overview().not_followed, 2);
    }

    #[test]
    fn who_is_known_makes_room_when_it_has_not_run_for_long_and_files_before_what_is_installed() {
        let mut engine = Baseline::new(JUDGEMENT);
        let file = ProgramName::File(ObjectId { device: 1, inode: 2, generation: 3 });
        (0..MAX_PROGRAMS - 1).for_each(|number| assert_eq!(run(&mut engine, number, 10), 0));
        (0..10).for_each(|_| drop(engine.second(&file, b"/tmp/x", &[], &Counts::new())));
        (0..LATELY).for_each(|_| engine.end_second(0));
        run(&mut engine, 0, 1);
        run(&mut engine, MAX_PROGRAMS, 10);
        assert!(!engine.programs().contains_key(&file));
        for number in MAX_PROGRAMS + 1..2 * MAX_PROGRAMS {
            run(&mut engine, number, 10);
        }
        assert!(engine.programs().contains_key(&name(0)), "it ran lately");
        let overview = engine.overview();
        assert_eq!((overview.forgotten, overview.not_followed), (1023, 10));
    }

    #[test]
    fn who_does_not_learn_meets_nobody() {
        let mut engine = Baseline::new(Judgement { learns: false, ..JUDGEMENT });
        assert_eq!(run(&mut engine, 0, 100), 0);
        assert!(engine.programs().is_empty());
    }
}
