//! What live tests share: a scope of their own, a running sentinel, attackers' peers.
//!
//! Every test makes its own cgroup, scopes the sensor to it, and runs its attack inside; so tests
//! run side by side, and nothing else on the machine is watched.

pub mod bed;
pub mod bounds;
pub mod container;
pub mod kernel;
pub mod nspawn;
pub mod outside;
pub mod packages;
pub mod peer;
pub mod programs;
pub mod rig;
pub mod rsyslogd;
pub mod schema;
pub mod sentinel;
pub mod service;
pub mod tap;
