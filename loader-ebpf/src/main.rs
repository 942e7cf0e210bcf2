//! Sentinel's programs in the kernel: they filter, describe by kernel object, and emit records.
//!
//! Way of an event: a hook (`syscall` and the `…_calls` that it hands on to, `process`, `cgroup`,
//! `tcp`, `io_uring`, `inode_change`) → `scope` (wanted?) → `descriptor`, `path`, `file_class` (by `names`
//! and `file_rules`), `credentials` (what is it?) → `emit` (ring), or `traffic` (added up, in `totals` or
//! `quiet_traffic`). The object has no policy: what is monitored stands in maps that the loader writes. `kernel` is the
//! only file that reads kernel memory; the verifier proves its accesses, so each SAFETY comment there says what else
//! must hold. What began before is told by `snapshot` (processes) and `held` (what they have open) when the
//! loader reads them, to it alone. Processes are numbered as `pid` says.
//!
//! For the host this is an empty program, so that workspace-wide commands work.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod call;
#[cfg(target_arch = "bpf")]
mod cgroup;
#[cfg(target_arch = "bpf")]
mod cgroup_path;
#[cfg(target_arch = "bpf")]
mod credentials;
#[cfg(target_arch = "bpf")]
mod descriptor;
#[cfg(target_arch = "bpf")]
mod descriptor_calls;
#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod environment;
#[cfg(target_arch = "bpf")]
mod exchange;
#[cfg(target_arch = "bpf")]
mod facts;
#[cfg(target_arch = "bpf")]
mod fields;
#[cfg(target_arch = "bpf")]
mod file_calls;
#[cfg(target_arch = "bpf")]
mod file_class;
#[cfg(target_arch = "bpf")]
mod file_event;
#[cfg(target_arch = "bpf")]
mod file_rules;
#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod held;
#[cfg(target_arch = "bpf")]
mod inode_change;
#[cfg(target_arch = "bpf")]
mod io_uring;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod marking;
#[cfg(target_arch = "bpf")]
mod message;
#[cfg(target_arch = "bpf")]
mod names;
#[cfg(target_arch = "bpf")]
mod path;
#[cfg(target_arch = "bpf")]
mod path_calls;
#[cfg(target_arch = "bpf")]
mod path_object;
#[cfg(target_arch = "bpf")]
mod pid;
#[cfg(target_arch = "bpf")]
mod plain_files;
#[cfg(target_arch = "bpf")]
mod process;
#[cfg(target_arch = "bpf")]
mod profile;
#[cfg(target_arch = "bpf")]
mod quiet_traffic;
#[cfg(target_arch = "bpf")]
mod received;
#[cfg(target_arch = "bpf")]
mod registers;
#[cfg(target_arch = "bpf")]
mod scope;
#[cfg(target_arch = "bpf")]
mod script;
#[cfg(target_arch = "bpf")]
mod snapshot;
#[cfg(target_arch = "bpf")]
mod syscall;
#[cfg(target_arch = "bpf")]
mod system_calls;
#[cfg(target_arch = "bpf")]
mod tcp;
#[cfg(target_arch = "bpf")]
mod totals;
#[cfg(target_arch = "bpf")]
mod traffic;
#[cfg(target_arch = "bpf")]
mod traffic_calls;
#[cfg(target_arch = "bpf")]
mod trust;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // No path of the object panics: the verifier refuses a program that could get here.
    loop {}
}

/// The kernel offers its tracing helpers to GPL-compatible objects only; MIT OR Apache-2.0 is
/// dual-licensed here for that purpose.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
