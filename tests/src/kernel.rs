//! Programs of a few instructions in the kernel, for benchmarks: what is less than an object file.
#![expect(unsafe_code, reason = "bpf(2), for which there is no library below object files")]

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya::maps::MapData;

/// Numbers of include/uapi/linux/bpf.h.
const MAP_CREATE: i64 = 0;
const PROG_LOAD: i64 = 5;
const PROG_TEST_RUN: i64 = 10;
const RAW_TRACEPOINT_OPEN: i64 = 17;

/// What a program is for: `BPF_PROG_TYPE_*`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub enum Kind {
    /// What can be run at will.
    SocketFilter = 1,
    /// What can be attached to a tracepoint as perf sees it.
    Tracepoint = 5,
    /// What can be attached to a tracepoint as it is.
    RawTracepoint = 17,
}

/// Attributes of bpf(2), as far as they are used; the rest is zero.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    rest: [u64; 13],
}

#[repr(C)]
struct Create {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    rest: [u64; 14],
}

#[repr(C)]
struct Open {
    name: u64,
    program: u32,
    padding: u32,
}

#[repr(C)]
struct Run {
    program: u32,
    result: u32,
    input_bytes: u32,
    output_bytes: u32,
    input: u64,
    output: u64,
    times: u32,
    duration: u32,
    rest: [u64; 5],
}

/// The beginning of `struct perf_event_attr` (include/uapi/linux/perf_event.h), version 0.
#[repr(C)]
struct Event {
    kind: u32,
    bytes: u32,
    number: u64,
    rest: [u64; 6],
}

/// Instructions, one after the other.
#[derive(Debug, Default)]
pub struct Code(Vec<u64>);

impl Code {
    /// One instruction (struct bpf_insn).
    #[must_use]
    pub fn then(mut self, operation: u8, to: u8, from: u8, offset: i16, value: i32) -> Self {
        let word = |bytes: [u8; 8]| u64::from_ne_bytes(bytes);
        let ([o0, o1], [v0, v1, v2, v3]) = (offset.to_ne_bytes(), value.to_ne_bytes());
        self.0.push(word([operation, from << 4 | to, o0, o1, v0, v1, v2, v3]));
        self
    }

    /// Puts 64 bits into a register. `from` says what they stand for (`BPF_PSEUDO_*`).
    #[must_use]
    fn wide(self, to: u8, from: u8, value: [i32; 2]) -> Self {
        self.then(0x18, to, from, 0, value[0]).then(0, 0, 0, 0, value[1])
    }

    /// Puts a number into a register.
    #[must_use]
    pub fn number(self, to: u8, value: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = value.to_ne_bytes();
        self.wide(to, 0, [i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h])])
    }

    /// Puts a map into a register.
    #[must_use]
    pub fn map(self, to: u8, map: &MapData) -> Self {
        self.wide(to, 1, [map.fd().as_fd().as_raw_fd(), 0])
    }

    /// Puts the address of an array's first value into a register.
    #[must_use]
    pub fn first_value(self, to: u8, array: &MapData) -> Self {
        self.wide(to, 2, [array.fd().as_fd().as_raw_fd(), 0])
    }

    /// Calls a helper (`BPF_FUNC_*`).
    #[must_use]
    pub fn call(self, helper: i32) -> Self {
        self.then(0x85, 0, 0, 0, helper)
    }

    /// Returns 0, which ends the program.
    #[must_use]
    pub fn end(self) -> Self {
        self.then(0xb7, 0, 0, 0, 0).then(0x95, 0, 0, 0, 0)
    }
}

/// A program in the kernel, until it is dropped.
pub struct Program(File);

impl Program {
    /// Loads one.
    ///
    /// # Errors
    /// What bpf(2) says.
    ///
    /// # Panics
    /// When there are more instructions than fit into 32 bits.
    pub fn load(kind: Kind, code: &Code) -> io::Result<Self> {
        let attributes = Load {
            kind: kind as u32,
            instructions: u32::try_from(code.0.len()).expect("a few"),
            code: code.0.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            rest: [0; 13],
        };
        Ok(Self(descriptor(bpf(PROG_LOAD, &attributes)?)))
    }

    /// Has it run at the end of every system call, until what comes back is dropped.
    ///
    /// # Errors
    /// What bpf(2) says.
    ///
    /// # Panics
    /// Never.
    pub fn attach_to_sys_exit(&self) -> io::Result<File> {
        let name = c"sys_exit".as_ptr() as u64;
        let attributes = Open { name, program: self.number(), padding: 0 };
        Ok(descriptor(bpf(RAW_TRACEPOINT_OPEN, &attributes)?))
    }

    /// Has it run at the tracepoint of that number in tracefs, whoever comes by, until what comes back is dropped.
    ///
    /// # Errors
    /// What perf_event_open(2) and ioctl(2) say.
    pub fn attach_to_tracepoint(&self, number: u64) -> io::Result<File> {
        const PERF_TYPE_TRACEPOINT: u32 = 2;
        const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
        const SET_BPF: libc::c_ulong = 0x4004_2408;
        const ENABLE: libc::c_ulong = 0x2400;
        let attributes = Event { kind: PERF_TYPE_TRACEPOINT, bytes: 64, number, rest: [0; 6] };
        let (of_all, on_cpu, no_group) = (-1, 0, -1);
        // SAFETY: the attributes live and are as long as they say.
        let event = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                of_all,
                on_cpu,
                no_group,
                PERF_FLAG_FD_CLOEXEC,
            )
        };
        let event = match i32::try_from(event) {
            Ok(event @ 0..) => descriptor(event),
            _ => return Err(io::Error::last_os_error()),
        };
        for (request, argument) in [(SET_BPF, self.0.as_raw_fd()), (ENABLE, 0)] {
            // SAFETY: both take a number.
            if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(event)
    }

    fn number(&self) -> u32 {
        u32::try_from(self.0.as_raw_fd()).expect("a descriptor")
    }
}

/// A ring of so many bytes, a power of two.
///
/// # Errors
/// What bpf(2) says.
pub fn ring(bytes: u32) -> io::Result<MapData> {
    const RINGBUF: u32 = 27;
    map(RINGBUF, [0, 0, bytes])
}

/// Puts the array's value, of so many bytes, into the ring and wakes nobody.
pub fn filling(ring: &MapData, array: &MapData, length: u32) -> Code {
    const RINGBUF_OUTPUT: i32 = 130;
    const NO_WAKEUP: u64 = 1;
    Code::default()
        .map(1, ring)
        .first_value(2, array)
        .number(3, u64::from(length))
        .number(4, NO_WAKEUP)
        .call(RINGBUF_OUTPUT)
        .end()
}

/// An array of one value of so many bytes.
///
/// # Errors
/// What bpf(2) says.
pub fn array(bytes: u32) -> io::Result<MapData> {
    const ARRAY: u32 = 2;
    map(ARRAY, [4, bytes, 1])
}

fn map(kind: u32, [key_bytes, value_bytes, entries]: [u32; 3]) -> io::Result<MapData> {
    let create = Create { kind, key_bytes, value_bytes, entries, rest: [0; 14] };
    let map = descriptor(bpf(MAP_CREATE, &create)?);
    MapData::from_fd(map.into()).map_err(io::Error::other)
}

/// Runs a socket filter so many times, on a packet of nothing.
///
/// # Errors
/// What bpf(2) says.
///
/// # Panics
/// Never.
pub fn run(program: &Program, times: u32) -> io::Result<()> {
    let packet = [0_u8; 64];
    let attributes = Run {
        program: program.number(),
        result: 0,
        input_bytes: 64,
        output_bytes: 0,
        input: packet.as_ptr() as u64,
        output: 0,
        times,
        duration: 0,
        rest: [0; 5],
    };
    bpf(PROG_TEST_RUN, &attributes).map(drop)
}

fn bpf<T>(command: i64, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes are those of the command, whose pointers are to what lives longer than the
    // call; their size is given.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    match i32::try_from(result) {
        Ok(result @ 0..) => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

fn descriptor(new: i32) -> File {
    // SAFETY: the kernel has just made it, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(new) }.into()
}
