//! Bits that spare the kernel most look-ups by hash: what has none is in no table.

use super::NAME_BYTES;

/// What is told from something else: a component and zeros, a suffix and zeros, or a file.
pub type Marked = [u64; NAME_BYTES / 8];
/// One filter: two bits for all that has the same [`place`], 32 places in a word.
pub type Filter = [u64; PLACES / PLACES_OF_WORD];
/// The object's variable of that name, which is all of the section `.bss.filters`.
pub type Filters = [Filter; COUNT];

/// Places of one.
pub const PLACES: usize = 1 << 14;
/// Places in a word.
pub const PLACES_OF_WORD: usize = 32;
/// The bits of a place of which something is in the tables: it may matter to who writes the file.
pub const WRITTEN: u64 = 1;
/// The same: and to who reads one that not everybody may read. As a number it is more than the one before.
pub const PRIVATE: u64 = 2;
/// The same: and to who reads any.
pub const READ: u64 = 3;

/// Components that stand alone, or first, in a key of the map `NAMES`.
pub const NAMES: usize = 0;
/// The keys of the map `SUFFIXES`.
pub const SUFFIXES: usize = 1;
/// Files that were ever in the maps `FIRST_FILES` and `FILE_CLASSES`.
pub const FILES: usize = 2;
/// How many there are.
pub const COUNT: usize = 3;

/// The place of this.
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
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PLACES.trailing_zeros())) as usize
}
