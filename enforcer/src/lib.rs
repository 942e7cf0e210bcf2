//! The enforcer's parts. Way of a request: `session` (frames) → `guard` (may it be?) → `process`
//! (pidfd) → `loader` (who is it?) → `guard` (is it the one?) → `process` (signal) → `audit`.

pub mod arguments;
pub mod audit;
pub mod guard;
pub mod loader;
pub mod privileges;
pub mod process;
pub mod session;
