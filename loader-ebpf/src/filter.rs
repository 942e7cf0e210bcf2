//! Bits that spare look-ups: what has none in its filter is in no table.

use sentinel_ipc::kernel_abi::filter::{
    self, COUNT, Filter, Filters, Marked, PLACES, PLACES_OF_WORD, PRIVATE, READ,
};

use crate::{atomic, kernel::opaque};

/// The loader fills those about rules.
#[unsafe(link_section = ".bss.filters")]
#[unsafe(no_mangle)]
static mut FILTERS: Filters = [[0; PLACES / PLACES_OF_WORD]; COUNT];

/// The word that the bits of `marked` are in, and how far up they are.
#[inline(always)]
fn bits_of(which: usize, marked: Marked) -> (*mut u64, u32) {
    let place = opaque(filter::place(marked)) & (PLACES - 1);
    // SAFETY: below the filters' number, and below one's length.
    let word = unsafe {
        let filter = (&raw mut FILTERS).cast::<Filter>().add(which);
        filter.cast::<u64>().add(place / PLACES_OF_WORD)
    };
    (word, (place % PLACES_OF_WORD) as u32 * 2)
}

/// To whom it matters that `marked` may be in the tables of a filter, as the bits of its place say; 0 if it is in none.
#[inline(always)]
pub fn may_have(which: usize, marked: Marked) -> u64 {
    let (word, up) = bits_of(which, marked);
    // SAFETY: a live, aligned u64 of a map value.
    let bits = unsafe { word.read_volatile() };
    bits >> up & READ
}

/// `marked` is about to be put into a table of the filter; `bits` is to whom it matters.
#[inline(always)]
pub fn mark(which: usize, marked: Marked, bits: u64) {
    let (word, up) = bits_of(which, marked);
    // SAFETY: as above.
    unsafe { atomic::set(word, bits << up) };
}

/// 1 for any bits, 0 for none.
#[inline(always)]
pub fn is_there(bits: u64) -> u64 {
    (bits | bits >> 1) & 1
}

/// What the bits say to who only reads, and may be gathered of several: bit 0 that it matters, bit 1 that it does if
/// not everybody may read the file. By arithmetic, for loops.
#[inline(always)]
pub fn to_readers(bits: u64) -> u64 {
    bits & bits >> 1 | bits & PRIVATE
}

/// Whether what [`to_readers`] gave matters to who reads a file that not everybody may read, if `private` is 1, or one that
/// everybody may, if it is 0.
#[inline(always)]
pub fn matters_to_readers(gathered: u64, private: u64) -> bool {
    gathered & (1 | private << 1) != 0
}
