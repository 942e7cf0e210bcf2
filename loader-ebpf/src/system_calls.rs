//! Family 5: calls about credentials, other processes, and the kernel itself.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use sentinel_ipc::{
    kernel_abi::{COMM_BYTES, NameRecord, TargetRecord, abi, class, kind},
    kernel_fields::Field,
};

use crate::{
    call::Call,
    credentials,
    emit::{Facts, header, is_urgent, plain, send},
    facts,
    kernel::{Task, copy_kernel, read_user},
    pid::current_ids,
    plain_files,
    scope::{class_of, count, is_wanted},
};

// prctl(2) operations (include/uapi/linux/prctl.h).
const PR_SET_KEEPCAPS: u32 = 8;
const PR_SET_NAME: u32 = 15;
const PR_CAPBSET_DROP: u32 = 24;
const PR_SET_SECUREBITS: u32 = 28;
const PR_CAP_AMBIENT: u32 = 47;
const CLONE_FILES: u64 = 0x400;

/// Runs in the place of `sys_exit`.
#[btf_tracepoint(function = "sys_exit")]
pub fn system_calls(context: BtfTracePointContext) -> i32 {
    let call = Call::of(&context);
    let kind = match call.facts.kind {
        kind::PRCTL => match call.arguments[0] as u32 {
            PR_SET_NAME => kind::SET_NAME,
            PR_SET_KEEPCAPS | PR_CAPBSET_DROP | PR_SET_SECUREBITS | PR_CAP_AMBIENT => {
                kind::CREDENTIALS
            }
            _ => return 0,
        },
        other => other,
    };
    if kind == kind::UNSHARE && call.arguments[0] & CLONE_FILES != 0 {
        plain_files::give_up(current_ids().0);
    }
    if is_wanted(kind) {
        report(&call, kind);
    }
    0
}

#[inline(always)]
fn report(call: &Call, kind: u16) {
    let [first, second, third, ..] = call.arguments;
    let failed = call.facts.result < 0;
    let facts = call.as_kind(kind);
    match kind {
        kind::CREDENTIALS => {
            credentials::report(Facts { argument: [first, second, third], ..facts });
        }
        kind::PTRACE => {
            // PTRACE_TRACEME names nobody.
            let pid = if first == 0 { 0 } else { second };
            target(Facts { argument: [first, second, third], ..facts }, pid);
        }
        kind::PROCESS_MEMORY => {
            let write = is_process_vm_writev(call) as u64;
            target(Facts { argument: [write, first, 0], ..facts }, first);
        }
        kind::KILL => {
            let (pid, signal) = killed(call);
            target(Facts { argument: [signal as u32 as u64, pid, 0], ..facts }, pid);
        }
        kind::PIDFD_KILL => told(Facts { argument: [second, first, 0], ..facts }),
        kind::UNSHARE if !failed => {
            credentials::note();
            told(Facts { argument: [first, 0, 0], ..facts });
        }
        kind::USERFAULTFD if !failed => told(Facts { argument: [first, 0, 0], ..facts }),
        kind::SET_NAME if !failed => name(facts),
        kind::BPF => {
            let attributes = read_user::<u64>(second).unwrap_or(0);
            told(Facts { argument: [first, attributes, 0], ..facts });
        }
        kind::CANARY => told(facts),
        kind::LOAD_MODULE => told(Facts { argument: [second, 0, 0], ..facts }),
        _ => {}
    }
}

#[inline(always)]
fn told(facts: Facts) {
    count(|counters| counters.passed += 1);
    plain(facts);
}

#[inline(always)]
fn is_process_vm_writev(call: &Call) -> bool {
    match call.facts.abi {
        abi::COMPAT => call.facts.call == 348,
        abi::X32 => call.facts.call == 540,
        _ => call.facts.call == 311,
    }
}

/// The pid and the signal of kill, tkill, rt_sigqueueinfo, or of tgkill and rt_tgsigqueueinfo, which
/// name the thread in between.
#[inline(always)]
fn killed(call: &Call) -> (u64, u64) {
    let [first, second, third, ..] = call.arguments;
    let names_thread = match call.facts.abi {
        abi::COMPAT => matches!(call.facts.call, 270 | 335),
        _ => matches!(call.facts.call, 234 | 297 | 536),
    };
    if names_thread { (first, third) } else { (first, second) }
}

/// A call about the process that `pid` names.
#[inline(always)]
fn target(facts: Facts, pid: u64) {
    count(|counters| counters.passed += 1);
    let pid = pid as u32;
    // Numbers of an own pid namespace are not those by which facts and classes are kept.
    let is_foreign = Task::current().has_own_pids();
    let start = if is_foreign { 0 } else { facts::start_time_of(pid) };
    let is_own = !is_foreign && pid != 0 && class_of(pid) & class::OWN != 0;
    let record = TargetRecord {
        header: header(facts),
        target_start_time: start,
        target_tgid: if start == 0 { 0 } else { pid },
        target_is_own: is_own as u32,
    };
    send(&raw const record, is_urgent(facts.kind));
}

#[inline(always)]
fn name(facts: Facts) {
    count(|counters| counters.passed += 1);
    let mut record = NameRecord { header: header(facts), comm: [0; COMM_BYTES] };
    let comm = Task::current().address_of(Field::TaskComm);
    copy_kernel(record.comm.as_mut_ptr(), COMM_BYTES as u32, comm);
    send(&raw const record, false);
}
