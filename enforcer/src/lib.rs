//! The enforcer's parts. Way of a request: `session` (whose turn is it?) → `conversation` (frames) →
//! `decision`: `guard` (may it be?) → `process` (pidfd) → `loader` (who is it?) → `guard`, `protection` (is it
//! the one, may it be killed?) → `budget` → `process` (signal), or `tree` (sweeps) → `audit`.
//!
//! Way of a word from `sentinel enforce`: `session` → `admins` (frames) → `answers` → `switch` →
//! `marker` (on disk).

pub mod admins;
mod answers;
pub mod arguments;
pub mod audit;
pub mod budget;
pub mod conversation;
pub mod decision;
pub mod doors;
pub mod guard;
pub mod loader;
pub mod marker;
pub mod privileges;
pub mod process;
pub mod protection;
pub mod session;
pub mod settings;
pub mod setup;
pub mod switch;
pub mod tree;
