//! Descriptors that are files nobody asked about: neither their opening is told, nor what goes through them, nor
//! their end. Most of what is opened and closed is of this kind.
//!
//! A process's are bits of what is known of it, and so end with it: a child begins with none, and so does a new
//! program. Who shares its descriptors with another process has none. A bit may outlive its descriptor
//! (close_range(2)), which does no harm: whatever makes a descriptor of that number clears or sets it. What goes
//! through one is added up while a secret could; it has no bit from then on, so that its end tells how much it was.

use crate::{atomic, facts::plain_files_of, kernel::forget};

/// Numbers of descriptors that have a bit; files beyond are told of.
const NUMBERS: u32 = 256;

/// The word that the bit of `number` is in, and that bit.
#[inline(always)]
fn place(tgid: u32, number: u32) -> Option<(*mut u64, u64)> {
    if number >= NUMBERS {
        return None;
    }
    let words = plain_files_of(tgid)?;
    // The compiler knows that it is small, and would not say so to the verifier.
    let word = forget(number as usize, tgid as u64) >> 6 & 3;
    // SAFETY: there are four words.
    Some((unsafe { words.add(word) }, 1 << (number & 63)))
}

/// Whether descriptor `number` is one.
#[inline(always)]
pub fn has(tgid: u32, number: u32) -> bool {
    // SAFETY: a live, aligned u64 of a map value.
    place(tgid, number).is_some_and(|(word, bit)| unsafe { word.read_volatile() } & bit != 0)
}

/// Descriptor `number` is new; `is_plain`: and is one.
#[inline(always)]
pub fn begin(tgid: u32, number: u32, is_plain: bool) {
    let Some((word, bit)) = place(tgid, number) else { return };
    // SAFETY: as above.
    unsafe {
        if is_plain {
            atomic::set(word, bit);
        } else {
            atomic::keep(word, !bit);
        }
    }
}

/// Descriptor `number` was closed; whether it was one.
#[inline(always)]
pub fn end(tgid: u32, number: u32) -> bool {
    let Some((word, bit)) = place(tgid, number) else { return false };
    // SAFETY: as above.
    unsafe {
        let was = word.read_volatile() & bit != 0;
        if was {
            atomic::keep(word, !bit);
        }
        was
    }
}
