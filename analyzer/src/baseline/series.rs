//! What one measure of one program is like: learned, then followed slowly, and watched for departures
//! that last.
//!
//! A departure of one second says nothing: with fifty calls a second of each second's test, chance alone
//! would raise alarms all day. What is above the mean by more than the threshold adds to a sum, what is
//! below takes from it (a one-sided CUSUM, Page 1954), and the sum raises the alarm: after three seconds of a
//! departure of ten deviations or more, after twenty seconds of one that is a deviation above the
//! threshold, never of one below it.

use serde::{Deserialize, Serialize};

use super::moments::Moments;

/// A second counts for as many deviations at the most: one alone is never enough.
const MOST_OF_A_SECOND: f64 = 10.0;
/// The sum that is an alarm, in deviations beyond the threshold.
const ALARM: f64 = 20.0;
/// Seconds over which a change that does not alarm is taken over, by a factor of e.
const DRIFT_SECONDS: f64 = 3600.0;
/// An alarm is told again when the departure has been twice what was told for so many seconds on end, and
/// after so many seconds of departures.
const WORSE_SECONDS: u32 = 3;
const TOLD_AGAIN_SECONDS: u32 = 86_400;
/// What mean and deviation may change in an hour, as a share of what they were, and at least that much
/// per second: so slow that who wants to teach a new normal needs days, in the open.
const HOURLY_SHARE: f64 = 0.10;
const HOURLY_LEAST: f64 = 1.0;
/// Seconds of an hour.
const HOUR: u64 = 3600;

/// A measure's rate per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    learned: Moments,
    /// Followed since it was learned.
    mean: f64,
    deviation: f64,
}

/// What of a series is kept while it is watched only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watch {
    sum: f64,
    seconds: u32,
    /// What was told of the departure that lasts: how far it was from the mean, and after how many seconds.
    told: Option<(f64, u32)>,
    /// Seconds on end that it has been much farther since.
    worse: u32,
    /// Mean and deviation at the begin of this hour, and its seconds so far.
    anchor: (f64, f64),
    in_hour: u64,
}

/// A second that is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Second {
    /// What was counted in it.
    pub rate: f64,
    /// How many times the usual was done altogether; at least 1.
    pub load: f64,
    /// Deviations from the mean from which on it departs.
    pub threshold: f64,
    /// The smallest departure that is one.
    pub least_change: f64,
    /// Whether a usual one is taken over.
    pub teaches: bool,
}

/// A departure that lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Departure {
    /// Per second, in the last second.
    pub rate: f64,
    /// What was usual.
    pub mean: f64,
    /// How much that varied, with what chance alone makes.
    pub deviation: f64,
    /// Deviations from the mean.
    pub z: f64,
    /// Since when, s.
    pub seconds: u32,
}

impl Watch {
    /// Whether nothing departs at the moment.
    pub fn is_calm(&self) -> bool {
        self.sum == 0.0
    }

    /// Whether a departure that was told lasts.
    pub fn is_alarmed(&self) -> bool {
        self.told.is_some()
    }

    /// Whether a departure of now this far from the mean is to be told: for the first time, or again.
    fn is_due(&mut self, distance: f64) -> bool {
        let Some((told, since)) = self.told else { return self.sum >= ALARM };
        self.worse = if distance >= 2.0 * told { self.worse + 1 } else { 0 };
        self.worse >= WORSE_SECONDS || self.seconds - since >= TOLD_AGAIN_SECONDS
    }
}

impl Series {
    /// One that was 0 for as many seconds.
    pub fn silent(seconds: u64) -> Self {
        Self { learned: Moments::of_zeros(seconds), ..Self::default() }
    }

    /// Learns a second.
    pub fn learn(&mut self, rate: f64) {
        self.learned.add(rate);
        (self.mean, self.deviation) = (self.learned.mean(), self.learned.deviation());
    }

    /// What it counts as after an upgrade of its program: what was learned, as if of `seconds` at the most.
    #[must_use]
    pub fn as_prior(&self, seconds: u64) -> Self {
        let count = self.learned.count().min(seconds);
        Self { learned: Moments::of(count, self.mean, self.deviation), ..*self }
    }

    /// Seconds that it was learned in.
    pub fn seconds(&self) -> u64 {
        self.learned.count()
    }

    /// What is usual, per second.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// How much that varies; never less than chance makes of rare events (√mean).
    pub fn deviation(&self) -> f64 {
        self.deviation.max(self.mean.max(1.0).sqrt())
    }

    /// Whether the numbers can be a series'.
    pub fn is_sound(&self) -> bool {
        let is_rate = |number: f64| number.is_finite() && number >= 0.0;
        self.learned.is_sound() && is_rate(self.mean) && is_rate(self.deviation)
    }

    /// Looks at a second. A departure is told when it has lasted, and again only when it has become much
    /// worse or has lasted for a day more, until it has ended.
    pub fn watch(&mut self, watch: &mut Watch, second: Second) -> Option<Departure> {
        let Second { rate, load, threshold, least_change, teaches } = second;
        let (mean, deviation) = (self.mean * load, self.deviation() * load.max(1.0).sqrt());
        let z = (rate - mean) / deviation;
        let departs = z > threshold && rate - mean >= least_change;
        if departs {
            let beyond = z.min(MOST_OF_A_SECOND) - threshold.min(MOST_OF_A_SECOND - 1.0);
            watch.sum = (watch.sum + beyond).min(ALARM);
            watch.seconds = watch.seconds.saturating_add(1);
        } else {
            watch.sum = (watch.sum - threshold + z.clamp(-threshold, 0.0)).max(0.0);
            if teaches {
                self.follow(watch, rate);
            }
        }
        if watch.sum == 0.0 {
            (watch.seconds, watch.worse, watch.told) = (0, 0, None);
        }
        if !departs || !watch.is_due(rate - mean) {
            return None;
        }
        (watch.worse, watch.told) = (0, Some((rate - mean, watch.seconds)));
        Some(Departure { rate, mean, deviation, z, seconds: watch.seconds })
    }

    /// Takes a usual second over, within what an hour may change.
    fn follow(&mut self, watch: &mut Watch, rate: f64) {
        if watch.in_hour == 0 {
            watch.anchor = (self.mean, self.deviation);
        }
        watch.in_hour = (watch.in_hour + 1) % HOUR;
        let (old_mean, old_deviation) = watch.anchor;
        let within = |anchor: f64, number: f64| {
            let room = (anchor * HOURLY_SHARE).max(HOURLY_LEAST);
            number.clamp((anchor - room).max(0.0), anchor + room)
        };
        let distance = rate - self.mean;
        let variance = self.deviation * self.deviation;
        let new_variance = variance + (distance * distance - variance) / DRIFT_SECONDS;
        self.mean = within(old_mean, self.mean + distance / DRIFT_SECONDS);
        self.deviation = within(old_deviation, new_variance.max(0.0).sqrt());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Second =
        Second { rate: 0.0, load: 1.0, threshold: 3.0, least_change: 20.0, teaches: true };

    /// A series that was learned at 100 a second, give or take.
    fn learned() -> Series {
        let mut series = Series::default();
        for second in 0..300_u32 {
            series.learn(100.0 + f64::from(second % 7) - 3.0);
        }
        series
    }

    fn alarms(
        series: &mut Series,
        rates: impl IntoIterator<Item = f64>,
    ) -> Vec<(usize, Departure)> {
        let mut watch = Watch::default();
        let look = |(second, rate)| {
            let found = series.watch(&mut watch, Second { rate, ..SECOND });
            found.map(|departure| (second, departure))
        };
        rates.into_iter().enumerate().filter_map(look).collect()
    }

    #[test]
    fn a_departure_alarms_when_it_lasts_and_once() {
        let mut series = learned();
        assert_eq!(alarms(&mut series, [100.0, 1000.0, 1000.0, 100.0, 100.0, 1000.0]), []);
        let found = alarms(&mut series, [1000.0; 60]);
        let [(second, departure)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((*second, departure.seconds), (2, 3));
        assert!(departure.z > 80.0 && (departure.mean - 100.0).abs() < 1.0, "{departure:?}");
    }

    #[test]
    fn a_small_one_takes_longer_and_one_below_the_threshold_never_alarms() {
        let found = alarms(&mut learned(), [141.0; 60]);
        assert!(matches!(found[..], [(second, _)] if (10..40).contains(&second)), "{found:?}");
        assert_eq!(alarms(&mut learned(), [128.0; 3600]), []);
        // Many deviations, but of a rate that hardly moved.
        let mut quiet = Series::silent(300);
        assert_eq!(alarms(&mut quiet, [15.0; 60]), []);
    }

    #[test]
    fn it_is_told_again_after_it_has_ended() {
        let day = [[1000.0; 10], [100.0; 10]].concat();
        assert_eq!(alarms(&mut learned(), [day.clone(), day].concat()).len(), 2);
    }

    #[test]
    fn it_is_told_again_when_it_has_doubled_for_seconds_and_once_a_day() {
        let worse = [vec![1000.0; 60], vec![1800.0; 60], vec![2100.0; 2], vec![1000.0; 9]].concat();
        assert_eq!(alarms(&mut learned(), worse.clone()).len(), 1);
        let found = alarms(&mut learned(), [worse, vec![2100.0; 60]].concat());
        assert_eq!(found.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [2, 133]);
        let days = alarms(&mut learned(), vec![1000.0; 86_400 * 2]);
        assert_eq!(days.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [2, 86_402]);
    }

    #[test]
    fn what_alarms_does_not_teach_and_an_hour_teaches_little() {
        let mut series = learned();
        alarms(&mut series, [1000.0; 3600]);
        assert!((series.mean() - 100.0).abs() < 1.0);
        alarms(&mut series, [125.0; 3600]);
        assert!(series.mean() > 105.0 && series.mean() <= 110.1, "{}", series.mean());
    }

    #[test]
    fn more_of_everything_is_no_departure_of_one() {
        let (mut series, mut watch) = (learned(), Watch::default());
        for _ in 0..60 {
            let second = Second { rate: 1000.0, load: 10.0, ..SECOND };
            assert_eq!(series.watch(&mut watch, second), None);
        }
    }
}
