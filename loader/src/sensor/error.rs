//! Why the sensor cannot run.

use std::{fmt, io};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use nix::errno::Errno;

use crate::{offsets::OffsetsError, pid_namespace::PidNamespaceError, scope::ScopeError};

/// Why the sensor cannot run.
#[derive(Debug)]
pub enum SensorError {
    /// No usable BTF.
    Offsets(OffsetsError),
    /// It is not known how processes are numbered.
    PidNamespace(PidNamespaceError),
    /// The scope does not exist.
    Scope(ScopeError),
    /// The object cannot be loaded.
    Object(EbpfError),
    /// A map is not as expected.
    Map(&'static str, MapError),
    /// A map's memory cannot be shared.
    Mapping(&'static str, io::Error),
    /// It is not known how many CPUs there are.
    Cpus(io::Error),
    /// It is not known how long a tick is.
    Clock(Errno),
    /// A program of this name is refused.
    Program(&'static str, ProgramError),
    /// An iterator cannot be read.
    Iterator(io::Error),
    /// The object and this program do not belong together.
    Mismatch(&'static str),
}

impl fmt::Display for SensorError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offsets(error) => error.fmt(to),
            Self::PidNamespace(error) => error.fmt(to),
            Self::Scope(error) => error.fmt(to),
            Self::Object(error) => {
                write!(to, "the kernel refuses the eBPF object: {}{}", first_line(error), HINT)
            }
            Self::Map(name, error) => write!(to, "eBPF map {name}: {}", first_line(error)),
            Self::Mapping(name, error) => write!(to, "eBPF map {name} cannot be mapped: {error}"),
            Self::Cpus(error) => write!(to, "how many CPUs there are cannot be read: {error}"),
            Self::Clock(error) => write!(to, "how long a tick is cannot be read: {error}"),
            Self::Program(name, error) => {
                write!(
                    to,
                    "the kernel refuses the eBPF program {name}: {}{HINT}",
                    first_line(error)
                )
            }
            Self::Iterator(error) => write!(to, "what is running cannot be read: {error}"),
            Self::Mismatch(name) => write!(to, "the eBPF object has no {name} of the right kind"),
        }
    }
}

impl std::error::Error for SensorError {}

const HINT: &str = "; Sentinel needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN), a kernel with \
                    CONFIG_BPF_SYSCALL, and no lockdown in confidentiality mode";

/// An error with its causes, without the verifier's log behind the first line.
fn first_line(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = error.to_string();
        let line = message.lines().next().unwrap_or_default().trim_end_matches([':', ' ']);
        if !text.contains(line) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(line);
        }
        next = error.source();
    }
    text
}
