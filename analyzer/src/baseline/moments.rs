//! Mean and variance of a stream of numbers, in constant room (Welford 1962; merged as Chan, Golub and
//! LeVeque 1979 have it).

use serde::{Deserialize, Serialize};

/// How many numbers there were, their mean, and the sum of their squared distances from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// Of `count` times the number 0.
    pub fn of_zeros(count: u64) -> Self {
        Self { count, ..Self::default() }
    }

    /// Of numbers with this mean and standard deviation, as if there had been `count` of them.
    pub fn of(count: u64, mean: f64, deviation: f64) -> Self {
        Self { count, mean, squares: deviation * deviation * decimal(count.saturating_sub(1)) }
    }

    /// Adds a number.
    pub fn add(&mut self, number: f64) {
        self.count += 1;
        let distance = number - self.mean;
        self.mean += distance / decimal(self.count);
        self.squares += distance * (number - self.mean);
    }

    /// Those of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0 {
            return self;
        }
        let share = decimal(other.count) / decimal(count);
        let distance = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + distance * share,
            squares: self.squares
                + other.squares
                + distance * distance * decimal(self.count) * share,
        }
    }

    /// How many numbers there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; 0 of none.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Their standard deviation; 0 of fewer than two.
    pub fn deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        (self.squares / decimal(self.count - 1)).max(0.0).sqrt()
    }

    /// Whether they can be anybody's.
    pub fn is_sound(&self) -> bool {
        self.mean.is_finite() && self.squares.is_finite() && self.squares >= 0.0
    }
}

/// A count as a number to reckon with; exact below 2^53.
#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "there is no other way")]
pub(super) fn decimal(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: &[f64]) -> Moments {
        let mut moments = Moments::default();
        numbers.iter().for_each(|&number| moments.add(number));
        moments
    }

    fn is_close(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-6 * (1.0 + one.abs().max(other.abs()))
    }

    proptest! {
        #[test]
        fn they_are_what_the_definitions_say(numbers in prop::collection::vec(0.0..1e6_f64, 2..200)) {
            let moments = of(&numbers);
            let count = numbers.len() as f64;
            let mean = numbers.iter().sum::<f64>() / count;
            let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
            prop_assert!(is_close(moments.mean(), mean));
            prop_assert!(is_close(moments.deviation(), (squares / (count - 1.0)).sqrt()));
        }

        #[test]
        fn merged_in_parts_they_are_the_same(
            numbers in prop::collection::vec(0.0..1e6_f64, 1..100),
            cut in 0_usize..100,
            zeros in 0_u64..50,
        ) {
            let (front, back) = numbers.split_at(cut.min(numbers.len()));
            let merged = of(front).with(of(back)).with(Moments::of_zeros(zeros));
            let mut all = of(&numbers);
            (0..zeros).for_each(|_| all.add(0.0));
            prop_assert_eq!(merged.count(), all.count());
            prop_assert!(is_close(merged.mean(), all.mean()));
            prop_assert!(is_close(merged.deviation(), all.deviation()));
        }
    }

    #[test]
    fn made_from_what_they_say_they_say_the_same() {
        let made = Moments::of(10, 5.0, 2.0);
        assert_eq!((made.count(), made.mean()), (10, 5.0));
        assert!(is_close(made.deviation(), 2.0));
    }
}
