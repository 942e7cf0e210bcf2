//! `struct msghdr` and its control messages, as they lie in the caller's memory after the call.

use crate::kernel::{copy_user, read_user};

/// What matters of a `struct user_msghdr` (include/linux/socket.h).
#[derive(Clone, Copy)]
pub struct Message {
    /// Address of `msg_name`.
    pub name: u64,
    /// Address of `msg_control`.
    pub control: u64,
    /// Bytes of it that the kernel used.
    pub control_length: u64,
}

impl Message {
    /// The message header at `at`; `None` if it cannot be read.
    #[inline(always)]
    pub fn at(at: u64, small_pointers: bool) -> Option<Self> {
        if small_pointers {
            // name, namelen, iov, iovlen, control, controllen, flags
            let [name, _, _, _, control, control_length, _] = read_user::<[u32; 7]>(at)?;
            return Some(Self {
                name: name as u64,
                control: control as u64,
                control_length: control_length as u64,
            });
        }
        // name, namelen and padding, iov, iovlen, control, controllen
        let [name, _, _, _, control, control_length] = read_user::<[u64; 6]>(at)?;
        Some(Self { name, control, control_length })
    }
}

/// What matters of a `struct cmsghdr`.
#[derive(Clone, Copy)]
pub struct Control {
    /// Bytes, header included.
    pub length: u64,
    /// `SOL_*`.
    pub level: u32,
    /// `SCM_*`.
    pub kind: u32,
}

/// Bytes of a `struct cmsghdr`.
#[inline(always)]
pub fn control_header(small_pointers: bool) -> u64 {
    if small_pointers { 12 } else { 16 }
}

/// Bytes to which control messages are aligned.
#[inline(always)]
pub fn control_alignment(small_pointers: bool) -> u64 {
    if small_pointers { 4 } else { 8 }
}

impl Control {
    /// The control message at `at`; of length 0 if it cannot be read.
    #[inline(always)]
    pub fn at(at: u64, small_pointers: bool) -> Self {
        let mut words = [0_u32; 4];
        copy_user((&raw mut words).cast(), control_header(small_pointers) as u32, at);
        let [a, b, c, d] = words;
        if small_pointers {
            return Self { length: a as u64, level: b, kind: c };
        }
        Self { length: a as u64 | (b as u64) << 32, level: c, kind: d }
    }
}
