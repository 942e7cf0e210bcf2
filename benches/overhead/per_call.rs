//! The other way to attach: a tracepoint for each system call. An empty program at the calls that the sensor wants when
//! nobody has read a secret, and so at no read, write or send.
#![expect(unsafe_code, reason = "attaches by perf events, for which there is no library")]

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::empty::load_empty;

const CALLS: &str = "socket connect accept accept4 bind listen dup dup2 dup3 fcntl close close_range pipe pipe2 \
    socketpair pidfd_getfd setns open creat openat open_by_handle_at openat2 memfd_create mmap fchmod ftruncate \
    finit_module recvmsg recvmmsg io_uring_enter rename renameat renameat2 link linkat symlink symlinkat rmdir unlink \
    unlinkat chmod fchmodat truncate mount move_mount umount mkdir mkdirat mknod mknodat chroot setuid setgid \
    setreuid setregid setgroups setresuid setresgid setfsuid setfsgid capset ptrace process_vm_readv \
    process_vm_writev kill rt_sigqueueinfo tkill tgkill rt_tgsigqueueinfo pidfd_send_signal unshare prctl bpf \
    init_module userfaultfd";

/// The first fields of `struct perf_event_attr` (include/uapi/linux/perf_event.h), version 0.
#[repr(C)]
struct Attributes {
    kind: u32,
    bytes: u32,
    config: u64,
    rest: [u64; 6],
}

/// Attached until it is dropped.
pub struct PerCall {
    _descriptors: Vec<File>,
}

impl PerCall {
    /// Attaches to each call that this kernel has.
    pub fn attach() -> io::Result<Self> {
        const TRACEPOINT: u32 = 5;
        let program = load_empty(TRACEPOINT)?;
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
        let mut descriptors = Vec::new();
        for id in ids {
            descriptors.push(attach(id, &program)?);
        }
        descriptors.push(program);
        Ok(Self { _descriptors: descriptors })
    }
}

/// Has `program` run at the tracepoint of that number, whoever comes by, on any CPU.
fn attach(id: u64, program: &File) -> io::Result<File> {
    const PERF_TYPE_TRACEPOINT: u32 = 2;
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    const SET_BPF: libc::c_ulong = 0x4004_2408;
    const ENABLE: libc::c_ulong = 0x2400;
    let attributes = Attributes { kind: PERF_TYPE_TRACEPOINT, bytes: 64, config: id, rest: [0; 6] };
    // SAFETY: 64 bytes, as they say themselves.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            -1,
            0,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    let event = match i32::try_from(event) {
        // SAFETY: a new descriptor, which is nobody else's.
        Ok(event @ 0..) => File::from(unsafe { OwnedFd::from_raw_fd(event) }),
        _ => return Err(io::Error::last_os_error()),
    };
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: both take a number.
        if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(event)
}
