//! One system call, and what came of it.

use libc::{c_long, syscall};

/// `ok`, or the name of the errno. The caller answers for what the call does to this process: whoever tries what
/// writes memory gives it memory of its own.
pub(crate) fn attempt(number: c_long, arguments: [c_long; 6]) -> String {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: as above; the calls are harmless here, on what is the probe's own or another process's.
    let result = unsafe { syscall(number, a, b, c, d, e, f) };
    match (result, std::io::Error::last_os_error().raw_os_error()) {
        (-1, Some(errno)) => format!("{:?}", nix::errno::Errno::from_raw(errno)),
        _ => "ok".to_owned(),
    }
}
