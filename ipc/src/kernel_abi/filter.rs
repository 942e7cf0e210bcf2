//! Bits that spare the kernel most look-ups by hash: what has none is in no table.

use super::NAME_BYTES;

/// What is told from something else: a component and zeros, a suffix and zeros, or a file.
pub type Marked = [u64; NAME_BYTES / 8];
/// Value of the map `FILTERS`: a bit for all that has the same [`place`].
pub type Filter = [u64; BITS / 64];

/// Bits of one.
pub const BITS: usize = 1 << 14;

/// Element of the map `FILTERS`: components that stand alone, or first, in a key of the map `NAMES`.
pub const NAMES: u32 = 0;
/// Element of the map `FILTERS`: the keys of the map `SUFFIXES`.
pub const SUFFIXES: u32 = 1;
/// Element of the map `FILTERS`: files that were ever in the maps `FIRST_FILES` and `FILE_CLASSES`.
pub const FILES: u32 = 2;
/// How many elements there are.
pub const COUNT: u32 = 3;

/// The bit that stands for this.
#[inline(always)]
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "fourteen bits fit; a const function can do no other"
)]
pub const fn place(marked: Marked) -> usize {
    let [a, b, c, d] = marked;
    let mixed = a ^ b.rotate_left(17) ^ c.rotate_left(31) ^ d.rotate_left(47);
    // 2^64 over the golden ratio, so that all bits count for the upper ones.
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS.trailing_zeros())) as usize
}
