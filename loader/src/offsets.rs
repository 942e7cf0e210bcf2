//! The offsets that the eBPF object needs, from this kernel's BTF.

use std::{fmt, fs, io};

use sentinel_ipc::kernel_fields::{FIELD_COUNT, KERNEL_FIELDS, NO_SUCH_FIELD, Offsets};

use crate::btf::{Btf, BtfError};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Fields that some supported kernels lack; the object does without them.
const OPTIONAL: &[(&str, &str)] = &[
    ("task_struct", "thread_info.status"),
    ("sock", "__sk_common.skc_v6_rcv_saddr"),
    ("sock", "__sk_common.skc_v6_daddr"),
    // Without CONFIG_IO_URING, and before some of its requests came.
    ("io_kiocb", "file"),
    ("io_kiocb", "flags"),
    ("io_kiocb", "opcode"),
    ("io_kiocb", "cqe.res"),
    ("io_kiocb", "cqe.fd"),
    ("io_close", "file_slot"),
    ("io_open", "file_slot"),
    ("io_accept", "file_slot"),
    ("io_socket", "file_slot"),
    ("io_close", "fd"),
    // One of the two is there.
    ("mount", "mnt_next_for_sb"),
    ("mount", "mnt_instance"),
    // Since 6.1.
    ("cgroup", "ancestors"),
    // Where unix sockets are a module.
    ("unix_sock", "peer"),
];

/// Why the offsets could not be had.
#[derive(Debug)]
pub enum OffsetsError {
    /// The kernel offers no BTF.
    NoBtf(io::Error),
    /// The kernel's BTF cannot be read.
    BadBtf(BtfError),
    /// The kernel has no such field.
    Missing(&'static str, &'static str),
}

impl fmt::Display for OffsetsError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBtf(error) => write!(
                to,
                "cannot read {VMLINUX} ({error}): Sentinel needs a kernel built with \
                 CONFIG_DEBUG_INFO_BTF=y (RHEL 9, Debian 12 and later have it) and /sys mounted"
            ),
            Self::BadBtf(error) => write!(to, "{VMLINUX}: {error}"),
            Self::Missing(structure, path) => write!(
                to,
                "this kernel's struct {structure} has no field {path}: it is older than 5.14 or \
                 newer than this version of Sentinel knows"
            ),
        }
    }
}

impl std::error::Error for OffsetsError {}

/// The running kernel's BTF.
///
/// # Errors
/// When it is missing or broken.
pub fn btf_of_this_kernel() -> Result<Btf, OffsetsError> {
    let data = fs::read(VMLINUX).map_err(OffsetsError::NoBtf)?;
    Btf::parse(data).map_err(OffsetsError::BadBtf)
}

/// The offsets in the kernel that `btf` describes.
///
/// # Errors
/// When it lacks a field that the object cannot do without.
pub fn of(btf: &Btf) -> Result<Offsets, OffsetsError> {
    let mut offsets = [NO_SUCH_FIELD; FIELD_COUNT];
    for (slot, (structure, paths)) in offsets.iter_mut().zip(KERNEL_FIELDS) {
        let path = paths.first().copied().unwrap_or_default();
        match paths.iter().find_map(|path| btf.offset(structure, path)) {
            Some(offset) => *slot = offset,
            None if OPTIONAL.contains(&(structure, path)) => {}
            None => return Err(OffsetsError::Missing(structure, path)),
        }
    }
    Ok(offsets)
}
