//! The pattern engine's rules: from TOML text (`language`) to typed rules (`rule`), made ready by
//! kind of event (`compile`), looked for in the stream (`engine`, `sequences`). What rules can ask of
//! events stands in two tables, `kinds` and `fields`.
//!
//! Rules come from the binary ([`RuleSet::embedded`]) and from a directory of files, which are the operator's word:
//! they are trusted to be meant, and checked to be sound. A set with one mistake is refused whole.

pub mod cases;
pub mod choice;
pub mod compile;
#[cfg(test)]
mod documentation;
pub mod engine;
pub mod explain;
pub mod fields;
pub mod glob;
pub mod identity;
pub mod kinds;
pub mod language;
mod load;
#[cfg(test)]
mod reference;
pub mod rule;
pub mod sequences;

pub use choice::Choice;
pub use engine::Engine;
pub use load::{Active, LoadError, RuleSet, WrittenClient};
