//! The other way to attach: a tracepoint for each system call. An empty program at the calls that the sensor wants when
//! nobody has read a secret, and so at no read, write or send.

use std::{
    fs::{self, File},
    io,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sentinel_tests::kernel::{Code, Kind, Program};

const CALLS: &str = "socket connect accept accept4 bind listen dup dup2 dup3 fcntl close close_range pipe pipe2 \
    socketpair pidfd_getfd setns open creat openat open_by_handle_at openat2 memfd_create mmap fchmod ftruncate \
    finit_module recvmsg recvmmsg io_uring_enter rename renameat renameat2 link linkat symlink symlinkat rmdir unlink \
    unlinkat chmod fchmodat truncate mount move_mount umount mkdir mkdirat mknod mknodat chroot setuid setgid \
    setreuid setregid setgroups setresuid setresgid setfsuid setfsgid capset ptrace process_vm_readv \
    process_vm_writev kill rt_sigqueueinfo tkill tgkill rt_tgsigqueueinfo pidfd_send_signal unshare prctl bpf \
    init_module userfaultfd";

/// Attached until it is dropped.
pub struct PerCall {
    _attached: Vec<File>,
}

impl PerCall {
    /// Attaches to each call that this kernel has.
    pub fn attach() -> io::Result<Self> {
        let program = Program::load(Kind::Tracepoint, &Code::default().end())?;
        let at = tempfile::tempdir()?;
        mount(Some("tracefs"), at.path(), Some("tracefs"), MsFlags::empty(), None::<&str>)?;
        let ids: Vec<u64> = CALLS
            .split_whitespace()
            .filter_map(|call| {
                let id = at.path().join(format!("events/syscalls/sys_exit_{call}/id"));
                fs::read_to_string(id).ok()?.trim().parse().ok()
            })
            .collect();
        umount2(at.path(), MntFlags::MNT_DETACH)?;
        if ids.is_empty() {
            return Err(io::Error::other("this kernel has no tracepoints of single system calls"));
        }
        let attached: io::Result<Vec<File>> =
            ids.into_iter().map(|id| program.attach_to_tracepoint(id)).collect();
        Ok(Self { _attached: attached? })
    }
}
