//! The last thing that a process gives up: system calls, by a table that people can read.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::confinement::{ConfinementError, failed};

/// When a system call is allowed.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// Always.
    Always,
    /// When an argument, counted from 0, has one of these values (lower 32 bits).
    ArgumentIs(u8, &'static [u32]),
    /// When an argument is a null pointer.
    ArgumentIsNull(u8),
    /// When an argument has none of these bits.
    ArgumentLacks(u8, u32),
    /// When, of these bits, an argument has exactly those.
    ArgumentHas(u8, u32, u32),
    /// When an argument is this address.
    ArgumentIsAddress(u8, usize),
    /// When all of these hold at once.
    Together(&'static [When]),
}

/// One system call that a process needs, and why.
#[derive(Debug, Clone, Copy)]
pub struct AllowedCall {
    /// Its number.
    pub number: i64,
    /// With which arguments.
    pub when: When,
    /// What for; read by people, not by the kernel.
    pub reason: &'static str,
}

impl AllowedCall {
    /// Allowed with any arguments.
    pub const fn always(number: i64, reason: &'static str) -> Self {
        Self { number, when: When::Always, reason }
    }
}

/// What the language's runtime needs in every process beside [`ENDING`]: memory, and closing descriptors.
const RUNTIME: &[AllowedCall] = &[
    AllowedCall {
        number: libc::SYS_mmap,
        when: When::ArgumentLacks(2, libc::PROT_EXEC.cast_unsigned()),
        reason: "memory, never executable",
    },
    AllowedCall::always(libc::SYS_munmap, "memory"),
    AllowedCall::always(libc::SYS_mremap, "memory"),
    AllowedCall::always(libc::SYS_madvise, "memory"),
    AllowedCall::always(libc::SYS_getrandom, "seeds of hash maps"),
    AllowedCall::always(libc::SYS_clock_gettime, "where the vDSO has no clock"),
    AllowedCall::always(libc::SYS_close, "descriptors"),
    AllowedCall {
        number: libc::SYS_fcntl,
        when: When::ArgumentIs(
            1,
            &[
                libc::F_GETFD.cast_unsigned(),
                libc::F_GETFL.cast_unsigned(),
                libc::F_DUPFD_CLOEXEC.cast_unsigned(),
            ],
        ),
        reason: "the check of a descriptor before it is closed; flags; copies",
    },
];

/// What even a process needs that only waits and dies. Without rt_sigaction an abort would go round in
/// circles: the runtime's handler of SIGSEGV gives the signal its default effect and returns, and the fault
/// comes again.
const ENDING: &[AllowedCall] = &[
    AllowedCall::always(libc::SYS_brk, "memory"),
    AllowedCall::always(libc::SYS_restart_syscall, "a wait after SIGSTOP and SIGCONT"),
    AllowedCall::always(libc::SYS_sigaltstack, "the end of the main thread"),
    AllowedCall::always(libc::SYS_rt_sigaction, "default effect of a signal"),
    AllowedCall::always(libc::SYS_rt_sigprocmask, "unblocking SIGABRT"),
    AllowedCall::always(libc::SYS_rt_sigreturn, "return from a signal"),
    AllowedCall::always(libc::SYS_exit_group, "the end"),
];

/// Refuses every system call but these and those of the runtime, with EPERM. Calls of a foreign ABI end the process.
///
/// # Errors
/// When the table makes no filter or the system refuses it.
pub fn seccomp(allowed: &[AllowedCall]) -> Result<(), ConfinementError> {
    filter(allowed.iter().chain(RUNTIME).chain(ENDING))
}

/// As [`seccomp`], for a process whose memory must stay as it is: it can map nothing, unmap nothing and
/// change no page's protection. Only the heap may grow, as far as brk(2) goes.
///
/// # Errors
/// As with [`seccomp`].
pub fn seccomp_with_fixed_memory(allowed: &[AllowedCall]) -> Result<(), ConfinementError> {
    filter(allowed.iter().chain(ENDING))
}

fn filter<'a>(allowed: impl Iterator<Item = &'a AllowedCall>) -> Result<(), ConfinementError> {
    let step = failed("seccomp");
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in allowed {
        let alternatives = alternatives(call.when).map_err(|error| step(error.to_string()))?;
        let rules = rules.entry(call.number).or_default();
        for conditions in alternatives {
            let rule = SeccompRule::new(conditions).map_err(|error| step(error.to_string()))?;
            rules.push(rule);
        }
    }
    let errno = u32::try_from(libc::EPERM).unwrap_or_default();
    let architecture =
        std::env::consts::ARCH.try_into().map_err(|_| ConfinementError::Missing("known ABI"))?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::Errno(errno), SeccompAction::Allow, architecture)
            .and_then(BpfProgram::try_from)
            .map_err(|error| step(error.to_string()))?;
    seccompiler::apply_filter(&filter).map_err(|error| step(error.to_string()))
}

/// Each of them is enough; of each, all conditions must hold.
fn alternatives(when: When) -> Result<Vec<Vec<SeccompCondition>>, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let alone = |argument, length, how, value| {
        Ok(vec![vec![SeccompCondition::new(argument, length, how, value)?]])
    };
    match when {
        When::Always => Ok(Vec::new()),
        When::ArgumentIs(argument, values) => values
            .iter()
            .map(|&value| {
                let is = SeccompCondition::new(argument, Dword, SeccompCmpOp::Eq, value.into())?;
                Ok(vec![is])
            })
            .collect(),
        When::ArgumentIsNull(argument) => alone(argument, Qword, SeccompCmpOp::Eq, 0),
        When::ArgumentIsAddress(argument, address) => {
            alone(argument, Qword, SeccompCmpOp::Eq, address as u64)
        }
        When::ArgumentLacks(argument, bits) => {
            alone(argument, Dword, SeccompCmpOp::MaskedEq(bits.into()), 0)
        }
        When::ArgumentHas(argument, of, exactly) => {
            alone(argument, Dword, SeccompCmpOp::MaskedEq(of.into()), exactly.into())
        }
        When::Together(parts) => parts.iter().try_fold(vec![Vec::new()], |so_far, part| {
            let more = alternatives(*part)?;
            if more.is_empty() {
                return Ok(so_far);
            }
            let both = |one: &Vec<_>| more.iter().map(|other| [&one[..], other].concat()).collect();
            Ok(so_far.iter().flat_map::<Vec<_>, _>(both).collect())
        }),
    }
}
