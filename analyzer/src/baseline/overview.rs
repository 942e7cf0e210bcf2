//! How the engine gets on, for status, status line and summary.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Baseline, measure::Measure, program::Program, series::Series};
use crate::escape::escape;

/// Programs in the summary, and calls of each, at the most.
const PROGRAMS_SHOWN: usize = 5;
const CALLS_SHOWN: usize = 5;
/// Anomalies in it.
const ANOMALIES_SHOWN: usize = 10;

/// How the engine gets on; stable in its JSON form (additions only).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// Programs that are known, and so judged.
    pub known: u64,
    /// Programs that are being learned.
    pub learning: u64,
    /// Calls and other things of programs whose rates were learned.
    pub rates: u64,
    /// Seconds until what ran from the beginning is known; 0 later, and where something was known before.
    pub learning_left: u64,
    /// Seconds that a program is learned for.
    pub learning_period: u64,
    /// How often something was unusual.
    pub anomalies: u64,
    /// Calls that no program is known to have made: there were too many executables, or one ended unseen.
    pub calls_of_nobody: u64,
    /// Seconds of programs for which there was no room.
    pub not_followed: u64,
    /// Programs that were known and were forgotten for others.
    #[serde(default)]
    pub forgotten: u64,
    /// Rates that were told to be unusual and still are.
    #[serde(default)]
    pub in_alarm: u64,
}

impl Overview {
    pub(super) fn of(engine: &Baseline) -> Self {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let all = engine.programs.len();
        let known = engine.programs.values().filter(|program| program.is_known()).count();
        let rates = engine.programs.values().map(|program| program.series().len()).sum();
        let in_alarm = engine.programs.values().map(Program::rates_in_alarm).sum();
        let learning_period = engine.judgement.learning_period;
        let is_begun = engine.judgement.learns && !engine.has_recalled;
        let learning_left =
            if is_begun { learning_period.saturating_sub(engine.seconds) } else { 0 };
        Self {
            known: number(known),
            learning: number(all - known),
            rates: number(rates),
            learning_left,
            learning_period,
            anomalies: engine.anomalies,
            calls_of_nobody: engine.of_nobody,
            not_followed: engine.not_followed,
            forgotten: engine.forgotten,
            in_alarm: number(in_alarm),
        }
    }

    /// What there is to see while learning.
    pub fn progress(&self) -> String {
        let Self { known, learning, rates, learning_left, learning_period, .. } = *self;
        let done = learning_period.saturating_sub(learning_left);
        let percent = done * 100 / learning_period.max(1);
        let full = usize::try_from(percent / 10).unwrap_or(10).min(10);
        let bar = "█".repeat(full) + &"░".repeat(10 - full);
        let programs = known + learning;
        format!("learning {bar} {learning_left}s left · {programs} programs · {rates} rates")
    }
}

impl fmt::Display for Overview {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { known, learning, rates, anomalies, .. } = self;
        write!(to, "{known} programs known · {learning} being learned · {rates} rates")?;
        if self.learning_left > 0 {
            write!(to, " · {} s left to learn", self.learning_left)?;
        }
        write!(to, " · anomalies {anomalies}")?;
        if self.in_alarm > 0 {
            write!(to, ", {} of them now", self.in_alarm)?;
        }
        if self.calls_of_nobody > 0 {
            write!(to, " · {} calls of no known program", self.calls_of_nobody)?;
        }
        if self.not_followed > 0 {
            write!(to, " · {} seconds of programs without room", self.not_followed)?;
        }
        if self.forgotten > 0 {
            write!(to, " · {} programs forgotten for others", self.forgotten)?;
        }
        Ok(())
    }
}

/// What is usual and what was not, a line each, for the summary.
pub fn report(engine: &Baseline) -> Vec<String> {
    let usual =
        |program: &Program| program.series().get(&Measure::AllCalls).map_or(0.0, Series::mean);
    let mut busiest: Vec<_> = engine.programs.iter().collect();
    busiest.sort_by(|(name, one), (other_name, other)| {
        usual(other).total_cmp(&usual(one)).then_with(|| name.cmp(other_name))
    });
    let mut lines = Vec::new();
    for (_, program) in busiest.into_iter().take(PROGRAMS_SHOWN) {
        lines.extend(of_program(program));
    }
    let mut told: Vec<_> = engine.told.iter().collect();
    told.sort_by(|(_, one), (_, other)| other.cmp(one));
    for ((path, measure), times) in told.into_iter().take(ANOMALIES_SHOWN) {
        lines.push(format!("unusual   {}: {measure} ({times} times)", escape(path)));
    }
    lines
}

fn of_program(program: &Program) -> Vec<String> {
    let state = if program.is_known() { "known" } else { "being learned" };
    let mut lines =
        vec![format!("usual     {}, {state}, ran {} s", escape(program.path()), program.seconds())];
    let calls = program.series().iter().filter(|(measure, _)| matches!(measure, Measure::Call(_)));
    let mut calls: Vec<_> = calls.collect();
    calls.sort_by(|(_, one), (_, other)| other.mean().total_cmp(&one.mean()));
    for (measure, series) in calls.into_iter().take(CALLS_SHOWN) {
        let (mean, deviation) = (series.mean(), series.deviation());
        lines.push(format!("            {measure:<20} {mean:>10.1} ± {deviation:.1} a second"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::program::{Counts, Judgement, ProgramName};

    #[test]
    fn summary_and_progress_tell_what_was_learned() {
        let judgement =
            Judgement { learning_period: 10, threshold: 3.0, learns: true, detects: true };
        let mut engine = Baseline::new(judgement);
        let path = b"/usr/sbin/server";
        let name = ProgramName::Installed(path.to_vec());
        let (read, ptrace) = (Measure::Call(0), Measure::Call(101));
        let counts = Counts::from([(read, 40), (Measure::AllCalls, 40)]);
        for _ in 0..5 {
            engine.second(&name, path, &[], &counts);
            engine.end_second(2);
        }
        let progress = engine.overview().progress();
        assert!(progress.contains("█████░░░░░ 5s left · 1 programs · 2 rates"), "{progress}");
        for _ in 0..5 {
            engine.second(&name, path, &[], &counts);
            engine.end_second(0);
        }
        let counts = Counts::from([(read, 40), (ptrace, 1), (Measure::AllCalls, 41)]);
        assert_eq!(engine.second(&name, path, &[], &counts).len(), 1);
        let overview = engine.overview();
        assert_eq!((overview.learning_left, overview.known, overview.learning), (0, 1, 0));
        let words = overview.to_string();
        assert!(words.contains("anomalies 1 · 10 calls of no known program"), "{words}");
        let report = report(&engine).join("\n");
        for words in ["/usr/sbin/server, known, ran 11 s", "40.0 ± 6.3", "ptrace (1 times)"] {
            assert!(report.contains(words), "{words} in\n{report}");
        }
    }
}
