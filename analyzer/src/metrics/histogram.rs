//! How long something took, counted in buckets.

/// Upper bounds of the buckets, ns, and as Prometheus writes them, s.
pub const BOUNDS: [(u64, &str); 11] = [
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
];

/// Counts of durations.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// By the first bound that is not exceeded, not added up.
    buckets: [u64; BOUNDS.len()],
    /// How many there were.
    pub count: u64,
    /// What they come to, ns.
    pub sum: u64,
}

impl Histogram {
    /// Something took so many ns.
    pub fn add(&mut self, ns: u64) {
        let place = BOUNDS.iter().position(|(bound, _)| ns <= *bound);
        if let Some(bucket) = place.and_then(|place| self.buckets.get_mut(place)) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(ns);
    }

    /// Each bound, s, and how many took no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        BOUNDS.iter().zip(&self.buckets).scan(0, |sum, ((_, bound), count)| {
            *sum += count;
            Some((*bound, *sum))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let mut histogram = Histogram::default();
        for ns in [0, 1_000_000, 1_000_001, 90_000_000_000] {
            histogram.add(ns);
        }
        let all: Vec<_> = histogram.cumulative().collect();
        assert_eq!((all[0], all[1], all[10]), (("0.001", 2), ("0.0025", 3), ("2.5", 3)));
        assert_eq!((histogram.count, histogram.sum), (4, 90_002_000_001));
    }
}
