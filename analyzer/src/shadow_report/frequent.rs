//! The most frequent of many, in bounded memory: what comes when there is no more room takes the place of
//! the rarest and inherits its count (Metwally et al., Space-Saving, 2005), so that what is really frequent
//! is never missed and counts are never too low.

use std::{collections::HashMap, hash::Hash};

/// How many are kept.
const ROOM: usize = 512;

/// Counts by key.
#[derive(Debug, Clone)]
pub(super) struct Frequent<K, V> {
    by_key: HashMap<K, (u64, V)>,
    /// Whether counts may be too high.
    pub(super) is_estimate: bool,
}

impl<K, V> Default for Frequent<K, V> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), is_estimate: false }
    }
}

impl<K: Hash + Eq + Ord + Clone, V: Default> Frequent<K, V> {
    /// So many more of `key`; returns what is kept beside its count.
    pub(super) fn add(&mut self, key: K, more: u64) -> &mut V {
        let mut inherited = 0;
        if self.by_key.len() >= ROOM && !self.by_key.contains_key(&key) {
            self.is_estimate = true;
            let rarest = self.by_key.iter().min_by_key(|(key, (count, _))| (*count, *key));
            if let Some(rarest) = rarest.map(|(key, _)| key.clone()) {
                inherited = self.by_key.remove(&rarest).map_or(0, |(count, _)| count);
            }
        }
        let (count, kept) = self.by_key.entry(key).or_default();
        *count = count.saturating_add(inherited).saturating_add(more);
        kept
    }

    /// The most frequent ones, most frequent first.
    pub(super) fn top(&self, most: usize) -> Vec<(&K, u64, &V)> {
        let mut all: Vec<_> =
            self.by_key.iter().map(|(key, (count, kept))| (key, *count, kept)).collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        all.truncate(most);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_frequent_stays_and_memory_is_bounded() {
        let mut frequent = Frequent::<u32, ()>::default();
        for number in 0..100_000_u32 {
            frequent.add(number, 1);
            if number % 10 == 0 {
                frequent.add(7, 1);
            }
        }
        assert_eq!(frequent.by_key.len(), ROOM);
        let (key, count, ()) = frequent.top(1)[0];
        assert!(*key == 7 && count >= 10_000 && frequent.is_estimate, "{key} {count}");
    }
}
