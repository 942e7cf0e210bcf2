//! The layout that the eBPF object and user space share: records, map keys and values.
//!
//! Integers and fixed arrays only, in the machine's byte order, without padding (asserted below).
//! A record's `kind` decides its type and thereby its length. Bytes become these types in the
//! analyzer only, and a `kind` it does not know is an error there.

mod controls;
mod field;
pub mod filter;
pub mod kind;
mod map;
mod record;

pub use controls::*;
pub use field::*;
pub use map::*;
pub use record::*;
