//! The iterator over tasks, narrowed to the threads of one process, so that it does not pass all of the host's.
#![expect(unsafe_code, reason = "calls bpf(2) with what aya has no argument for")]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

// include/uapi/linux/bpf.h
const BPF_LINK_CREATE: u32 = 28;
const BPF_ITER_CREATE: u32 = 33;
const BPF_TRACE_ITER: u32 = 28;

/// The start of `union bpf_iter_link_info`, about tasks.
#[repr(C)]
struct Whom {
    tid: u32,
    tgid: u32,
    pidfd: u32,
}

const WHOM_BYTES: u32 = 12;
const _: () = assert!(size_of::<Whom>() == WHOM_BYTES as usize);

/// The part of `union bpf_attr` for [`BPF_LINK_CREATE`].
#[repr(C)]
struct LinkCreate {
    program: i32,
    target: u32,
    attach_type: u32,
    flags: u32,
    whom: *const Whom,
    whom_bytes: u32,
    reserved: u32,
}

/// Likewise for [`BPF_ITER_CREATE`].
#[repr(C)]
struct IterCreate {
    link: i32,
    flags: u32,
}

/// A file that tells what `program` says of the process `tgid`, once.
///
/// # Errors
/// When the kernel refuses, as those before 6.1 do, or do not narrow it.
pub fn over(program: BorrowedFd<'_>, tgid: u32) -> io::Result<File> {
    let whom = Whom { tid: 0, tgid, pidfd: 0 };
    let link = bpf(
        BPF_LINK_CREATE,
        &LinkCreate {
            program: program.as_raw_fd(),
            target: 0,
            attach_type: BPF_TRACE_ITER,
            flags: 0,
            whom: &raw const whom,
            whom_bytes: WHOM_BYTES,
            reserved: 0,
        },
    )?;
    // What it is attached by ends with it.
    bpf(BPF_ITER_CREATE, &IterCreate { link: link.as_raw_fd(), flags: 0 }).map(File::from)
}

/// Calls bpf(2) for a command that makes a descriptor.
fn bpf<T>(command: u32, attributes: &T) -> io::Result<OwnedFd> {
    let attributes: *const T = attributes;
    // SAFETY: the command reads so many bytes and what they point to, all of which lives.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has made it for this call.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
