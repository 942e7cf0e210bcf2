//! System calls by their native numbers: names, and how much it says that a program makes one for the
//! first time.

use std::borrow::Cow;

use syscalls::Sysno;

use crate::alert::Severity;

/// Stands for every call of another ABI than the native one.
pub const OTHER_ABI: u16 = 511;

/// The call's name.
pub fn name(number: u16) -> Cow<'static, str> {
    if number == OTHER_ABI {
        return Cow::Borrowed("a call of a 32-bit program");
    }
    match Sysno::new(usize::from(number)) {
        Some(call) => Cow::Borrowed(call.name()),
        None => Cow::Owned(format!("system call {number}")),
    }
}

/// Reaches into the kernel or into other processes.
const REACHING: &[Sysno] = &[
    Sysno::init_module,
    Sysno::finit_module,
    Sysno::delete_module,
    Sysno::kexec_load,
    Sysno::kexec_file_load,
    Sysno::bpf,
    Sysno::ptrace,
    Sysno::process_vm_readv,
    Sysno::process_vm_writev,
    Sysno::pidfd_getfd,
    Sysno::userfaultfd,
    Sysno::perf_event_open,
];

/// Starts programs, changes rights, or leaves a confinement.
const TELLING: &[Sysno] = &[
    Sysno::execve,
    Sysno::execveat,
    Sysno::memfd_create,
    Sysno::setuid,
    Sysno::setgid,
    Sysno::setreuid,
    Sysno::setregid,
    Sysno::setresuid,
    Sysno::setresgid,
    Sysno::setfsuid,
    Sysno::setfsgid,
    Sysno::capset,
    Sysno::unshare,
    Sysno::setns,
    Sysno::clone3,
    Sysno::clone,
    #[cfg(target_arch = "x86_64")]
    Sysno::fork,
    #[cfg(target_arch = "x86_64")]
    Sysno::vfork,
    Sysno::mount,
    Sysno::umount2,
    Sysno::move_mount,
    Sysno::pivot_root,
    Sysno::chroot,
    Sysno::connect,
    Sysno::bind,
    Sysno::listen,
    Sysno::io_uring_setup,
    Sysno::personality,
    Sysno::keyctl,
    Sysno::add_key,
    Sysno::request_key,
    Sysno::reboot,
    Sysno::swapon,
    Sysno::settimeofday,
    Sysno::clock_settime,
    #[cfg(target_arch = "x86_64")]
    Sysno::iopl,
    #[cfg(target_arch = "x86_64")]
    Sysno::ioperm,
];

/// How bad it is that a program that never made the call makes it now.
pub fn severity_when_new(number: u16) -> Severity {
    if number == OTHER_ABI {
        return Severity::High;
    }
    let Some(call) = Sysno::new(usize::from(number)) else { return Severity::Warning };
    if REACHING.contains(&call) {
        Severity::High
    } else if TELLING.contains(&call) {
        Severity::Warning
    } else {
        Severity::Info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_named_and_weighed() {
        let of = |call: Sysno| u16::try_from(call.id()).unwrap();
        assert_eq!(name(of(Sysno::openat)), "openat");
        assert_eq!(name(500), "system call 500");
        for (call, severity) in [
            (Sysno::ptrace, Severity::High),
            (Sysno::execve, Severity::Warning),
            (Sysno::getrusage, Severity::Info),
        ] {
            assert_eq!(severity_when_new(of(call)), severity, "{call}");
        }
        assert_eq!(severity_when_new(OTHER_ABI), Severity::High);
        assert!(REACHING.iter().all(|call| !TELLING.contains(call)));
    }
}
