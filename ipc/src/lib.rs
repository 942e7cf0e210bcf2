//! What Sentinel's processes and its eBPF object say to each other.
//!
//! `kernel_abi` is the one file that the eBPF object sees; the rest is for user space only.
#![cfg_attr(not(feature = "user"), no_std)]

#[cfg(feature = "user")]
pub mod channel;
#[cfg(feature = "user")]
pub mod clock;
#[cfg(feature = "user")]
pub mod confinement;
#[cfg(feature = "user")]
pub mod diagnostics;
#[cfg(feature = "user")]
pub mod frame;
pub mod kernel_abi;
#[cfg(feature = "user")]
pub mod seccomp;
