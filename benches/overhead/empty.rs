//! The least that anything at `sys_exit` costs: a program of two instructions.
#![expect(
    unsafe_code,
    reason = "loads a program of two instructions, for which there is no library"
)]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// Attributes of bpf(2): BPF_PROG_LOAD, of which the beginning is given, and BPF_RAW_TRACEPOINT_OPEN.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instructions: u32,
    code: u64,
    license: u64,
    rest: [u64; 13],
}

#[repr(C)]
struct OpenAttributes {
    name: u64,
    program: u32,
    padding: u32,
}

/// An empty program at `sys_exit`, until it is dropped.
pub struct Empty {
    _descriptors: [File; 2],
}

impl Empty {
    /// Attaches it.
    pub fn attach() -> io::Result<Self> {
        const RAW_TRACEPOINT_OPEN: i64 = 17;
        const RAW_TRACEPOINT: u32 = 17;
        let program = load_empty(RAW_TRACEPOINT)?;
        let number = u32::try_from(program.as_raw_fd()).expect("a descriptor");
        let name = c"sys_exit".as_ptr() as u64;
        let link = bpf(RAW_TRACEPOINT_OPEN, &OpenAttributes { name, program: number, padding: 0 })?;
        Ok(Self { _descriptors: [program, link] })
    }
}

/// `r0 = 0; exit`, as a program of that type (`enum bpf_prog_type`).
pub fn load_empty(program_type: u32) -> io::Result<File> {
    const PROG_LOAD: i64 = 5;
    let code: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];
    let load = LoadAttributes {
        program_type,
        instructions: 2,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        rest: [0; 13],
    };
    bpf(PROG_LOAD, &load)
}

fn bpf<T>(command: i64, attributes: &T) -> io::Result<File> {
    // SAFETY: the attributes are those of the command, whose pointers are to what lives longer than the
    // call; their size is given.
    let descriptor = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    match i32::try_from(descriptor) {
        // SAFETY: a new descriptor, which is nobody else's.
        Ok(descriptor @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }.into()),
        _ => Err(io::Error::last_os_error()),
    }
}
