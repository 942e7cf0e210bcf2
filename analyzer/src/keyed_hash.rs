//! Hash tables of what every event asks for.
//!
//! Their keys – processes, objects, paths – are numbers and names that an attacker may choose, so the hash has a key.
//! It is not the standard library's, which is made for those who see what collides: nobody sees a hash of these
//! tables, an order of theirs, or how long a look took among all that happens beside it, and the key is of the
//! kernel's random numbers, anew for each start and each table. So no set of keys that collide can be made before, nor
//! found by trying, as long as nobody can time a single look: what he sees comes by rounds of many events. Nothing may
//! depend on the order of such a table, or the same events would not give the same alerts.

use std::{
    collections,
    hash::{BuildHasher, Hash, RandomState},
    sync::LazyLock,
};

use foldhash::{
    SharedSeed,
    quality::{FoldHasher, SeedableRandomState},
};

/// A map by such a hash.
pub(crate) type HashMap<K, V> = collections::HashMap<K, V, Keyed>;
/// A set by such a hash.
pub(crate) type HashSet<K> = collections::HashSet<K, Keyed>;

/// Takes `key` out of a map in which there mostly is nothing: then nothing is hashed.
pub(crate) fn forget<K: Hash + Eq, V>(map: &mut HashMap<K, V>, key: &K) {
    if !map.is_empty() {
        map.remove(key);
    }
}

/// The key of a table.
#[derive(Debug, Clone)]
pub(crate) struct Keyed(SeedableRandomState);

impl Default for Keyed {
    fn default() -> Self {
        static SHARED: LazyLock<SharedSeed> = LazyLock::new(|| SharedSeed::from_u64(random()));
        Self(SeedableRandomState::with_seed(random(), &SHARED))
    }
}

impl BuildHasher for Keyed {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// The standard library has its keys from getrandom(2), and hashes with all of them.
fn random() -> u64 {
    RandomState::new().hash_one(())
}
