//! Bits that spare look-ups: what has none in its filter is in no table.

use aya_ebpf::{macros::map, maps::Array};
use sentinel_ipc::kernel_abi::filter::{self, BITS, Filter, Marked};

use crate::atomic;

/// The loader fills those about rules.
#[map]
static FILTERS: Array<Filter> = Array::with_max_entries(filter::COUNT, 0);

/// The word that the bit of `marked` is in, and that bit's place.
#[inline(always)]
fn bit_of(which: u32, marked: Marked) -> Option<(*mut u64, u32)> {
    let filter = FILTERS.get_ptr_mut(which)?;
    let place = core::hint::black_box(filter::place(marked)) & (BITS - 1);
    // SAFETY: below the filter's length.
    Some((unsafe { filter.cast::<u64>().add(place / 64) }, place as u32 % 64))
}

/// 1 if `marked` may be in the tables of a filter, else 0.
#[inline(always)]
pub fn may_have(which: u32, marked: Marked) -> u64 {
    let Some((word, place)) = bit_of(which, marked) else { return 1 };
    // SAFETY: a live, aligned map value.
    let bits = unsafe { word.read_volatile() };
    bits >> place & 1
}

/// `marked` is about to be put into a table of the filter.
#[inline(always)]
pub fn mark(which: u32, marked: Marked) {
    if let Some((word, place)) = bit_of(which, marked) {
        // SAFETY: as above.
        unsafe { atomic::set(word, 1 << place) };
    }
}
