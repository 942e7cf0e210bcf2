//! Which kinds of events are asked for.

use serde::{Deserialize, Serialize};

use crate::kernel_abi::kind;

/// A set of the values in [`kind`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindSet(u128);

impl KindSet {
    /// Every kind there is.
    pub const fn all() -> Self {
        Self((1 << kind::COUNT) - 1)
    }

    /// These kinds.
    ///
    /// # Panics
    /// At compile time, for what is no kind.
    pub const fn of(kinds: &[u16]) -> Self {
        let mut bits = 0;
        let mut rest = kinds;
        while let [first, others @ ..] = rest {
            assert!(*first < kind::COUNT, "no such kind");
            bits |= 1 << *first;
            rest = others;
        }
        Self(bits)
    }

    /// Whether `kind` is among them.
    pub const fn has(self, kind: u16) -> bool {
        kind < kind::COUNT && self.0 >> kind & 1 != 0
    }

    /// What is in one of the two.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the two have something in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// One bit a kind, from the lowest: kinds below 64, and the others.
    pub fn halves(self) -> [u64; 2] {
        let bytes = self.0.to_ne_bytes();
        zerocopy::transmute!(bytes)
    }

    /// Whether it holds nothing but kinds that exist.
    pub const fn is_sound(self) -> bool {
        self.0 >> kind::COUNT == 0
    }
}
