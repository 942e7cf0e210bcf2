//! What Sentinel's processes and its eBPF object say to each other.
//!
//! `kernel_abi`, `kernel_fields` and `file_class` are what the eBPF object sees too; the rest is for
//! user space only.
#![cfg_attr(not(feature = "user"), no_std)]

#[cfg(feature = "user")]
pub mod activation;
#[cfg(feature = "user")]
pub mod administration;
#[cfg(feature = "user")]
pub mod channel;
#[cfg(feature = "user")]
pub mod clock;
#[cfg(feature = "user")]
pub mod confinement;
#[cfg(feature = "user")]
pub mod diagnostics;
#[cfg(feature = "user")]
pub mod endpoint;
pub mod file_class;
#[cfg(feature = "user")]
pub mod frame;
pub mod kernel_abi;
pub mod kernel_fields;
#[cfg(feature = "user")]
mod kind_set;
#[cfg(feature = "user")]
pub mod notify;
#[cfg(feature = "user")]
pub mod places;
#[cfg(feature = "user")]
pub mod seccomp;
#[cfg(feature = "user")]
pub mod settings;
#[cfg(feature = "user")]
pub mod small_file;
#[cfg(feature = "user")]
pub mod turns;
