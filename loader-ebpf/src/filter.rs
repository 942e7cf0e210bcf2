//! Bits that spare look-ups: what has none in its filter is in no table.

use sentinel_ipc::kernel_abi::filter::{
    self, COUNT, Filter, Filters, Marked, PLACES, PLACES_OF_WORD, READ, THERE,
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

/// [`THERE`] if `marked` may be in the tables of a filter, and [`READ`]; else 0.
#[inline(always)]
pub fn may_have(which: usize, marked: Marked) -> u64 {
    let (word, up) = bits_of(which, marked);
    // SAFETY: a live, aligned u64 of a map value.
    let bits = unsafe { word.read_volatile() };
    bits >> up & (THERE | READ)
}

/// `marked` is about to be put into a table of the filter.
#[inline(always)]
pub fn mark(which: usize, marked: Marked) {
    let (word, up) = bits_of(which, marked);
    // SAFETY: as above.
    unsafe { atomic::set(word, (THERE | READ) << up) };
}
