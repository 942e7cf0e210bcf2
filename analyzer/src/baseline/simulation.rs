//! How often the engine is wrong on a steady server, by simulation: days of seconds of programs whose
//! load wanders, comes in bursts, and has rare jobs in it.

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;
use crate::baseline::measure::Measure;

const JUDGEMENT: Judgement =
    Judgement { learning_period: 300, threshold: 3.0, learns: true, detects: true };
/// Seconds of each of the four simulations: together they are a day.
const QUARTER: u32 = 86_400 / 4;

struct Dice(TestRng);

impl Dice {
    fn new(seed: u8) -> Self {
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
    }

    /// Evenly from 0 to 1.
    fn even(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / f64::from(u32::MAX)
    }

    /// As rare independent events are counted: by a normal distribution where there are many.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small number, not below 0"
    )]
    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            let normal = (-2.0 * self.even().max(1e-9).ln()).sqrt()
                * (std::f64::consts::TAU * self.even()).cos();
            return (mean + normal * mean.sqrt()).max(0.0).round() as u64;
        }
        let (mut count, mut product, limit) = (0, self.even(), (-mean).exp());
        while product > limit {
            count += 1;
            product *= self.even();
        }
        count
    }
}

/// A server's counts in a second: six calls in proportion to its load, each with chance of its own.
fn second(dice: &mut Dice, load: f64) -> Counts {
    let mut counts = Counts::new();
    for number in 0..6_u16 {
        let mean = load * 200.0 / (1.0 + f64::from(number));
        counts.insert(Measure::Call(number), dice.poisson(mean));
    }
    let all = counts.values().sum();
    counts.insert(Measure::AllCalls, all);
    counts.insert(Measure::Destinations, dice.poisson(load * 2.0));
    counts
}

/// Alarms of a severity that a human reads (warning and above) in so many seconds.
fn alarms(seed: u8, seconds: u32, mut load: impl FnMut(&mut Dice, u32) -> f64) -> usize {
    let path = b"/usr/sbin/server";
    let name = ProgramName::Installed(path.to_vec());
    let mut engine = Baseline::new(JUDGEMENT);
    let mut dice = Dice::new(seed);
    let mut alarms = 0;
    for now in 0..seconds {
        let load = load(&mut dice, now);
        let counts = second(&mut dice, load);
        let found = engine.second(&name, path, &[], &counts);
        alarms += found.iter().filter(|one| one.severity > crate::alert::Severity::Info).count();
    }
    alarms
}

/// Alarms of four servers, each for so many seconds: one is always as busy, one by the time of day, one gets
/// bursts of a second, one has jobs of twenty seconds.
fn all_alarms(seconds: u32) -> [usize; 4] {
    let steady = alarms(1, seconds, |_, _| 1.0);
    let day = |now: u32| (std::f64::consts::TAU * f64::from(now) / f64::from(QUARTER)).sin();
    let wandering = alarms(2, seconds, |_, now| 2.0 + day(now));
    let burst = |dice: &mut Dice, _| if dice.even() < 0.05 { 8.0 } else { 1.0 };
    let bursting = alarms(3, seconds, burst);
    let mut until = 0;
    let job = |dice: &mut Dice, now: u32| {
        if dice.even() < 1.0 / 600.0 {
            until = now + 20;
        }
        if now < until { 5.0 } else { 1.0 }
    };
    [steady, wandering, bursting, alarms(4, seconds, job)]
}

#[test]
fn a_steady_server_raises_at_most_one_false_alarm_a_day() {
    let [steady, others @ ..] = all_alarms(QUARTER);
    assert_eq!(steady, 0, "always the same");
    assert!(others.iter().sum::<usize>() <= 1, "by load, of bursts, of jobs: {others:?}");
}

#[test]
#[ignore = "takes minutes: run by hand, as docs/baseline.md says"]
fn so_does_each_of_four_in_a_month() {
    let alarms = all_alarms(30 * 4 * QUARTER);
    assert_eq!(alarms, [0; 4], "what docs/baseline.md says");
}
