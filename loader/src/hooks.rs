//! The object's programs: to which tracepoint each belongs, and what it is needed for.

use sentinel_ipc::{
    frame::{KindSet, Limit},
    kernel_abi::{kind::*, ring_completion, stage},
};

use crate::{btf::Btf, syscall_table};

/// The tracepoint behind all system calls.
pub const SYS_EXIT: &str = "sys_exit";
const EXEC: &str = "sched_process_exec";
const EXIT: &str = "sched_process_exit";
const RING: &str = "io_uring_complete";
const RING_BEGINS: &str = "io_uring_submit_req";
const RING_OVERFLOWS: &str = "io_uring_cqe_overflow";

/// What io_uring can do.
const OF_RINGS: KindSet =
    KindSet::of(&[OPEN, SOCKET, ACCEPT, CONNECT, BIND, LISTEN, CLOSE, SENT, TRAFFIC]);

/// Tracepoints that keep scope and facts true, attached as long as the loader runs: it says who a
/// process is until its end. Each program has the name of its tracepoint.
pub const SCOPE: [&str; 4] = ["sched_process_fork", EXIT, "cgroup_attach_task", EXEC];

/// A program that another one hands on to, which then runs in its place.
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// The tracepoint whose context it gets.
    pub tracepoint: &'static str,
    /// The map through which it is reached.
    pub map: &'static str,
    /// Its places there.
    pub places: &'static [u32],
}

const fn stage(
    name: &'static str,
    tracepoint: &'static str,
    map: &'static str,
    places: &'static [u32],
) -> Stage {
    Stage { name, tracepoint, map, places }
}

/// The programs that others hand on to.
pub const STAGES: [Stage; 18] = [
    stage("descriptor_calls", SYS_EXIT, "FAMILIES", &[family(SOCKET)]),
    stage("file_calls", SYS_EXIT, "FAMILIES", &[family(OPEN)]),
    stage("traffic_calls", SYS_EXIT, "FAMILIES", &[family(SENT)]),
    stage("path_calls", SYS_EXIT, "FAMILIES", &[family(RENAME), family(RENAME + AT)]),
    stage("system_calls", SYS_EXIT, "FAMILIES", &[family(CREDENTIALS)]),
    stage("file_object", SYS_EXIT, "FAMILIES", &[stage::FILE]),
    stage("file_path", SYS_EXIT, "FAMILIES", &[stage::PATH]),
    stage("script_opened", SYS_EXIT, "FAMILIES", &[stage::SCRIPT]),
    stage("traffic_shares", SYS_EXIT, "FAMILIES", &[stage::SHARE]),
    stage("received", SYS_EXIT, "FAMILIES", &[stage::RECEIVED]),
    stage("path_object", SYS_EXIT, "FAMILIES", &[stage::OBJECT]),
    stage("path_after", SYS_EXIT, "FAMILIES", &[stage::AFTER]),
    stage("path_before", SYS_EXIT, "FAMILIES", &[stage::BEFORE]),
    stage("exec_environment", EXEC, "ENVIRONMENT_SEARCH", &[0]),
    stage(EXIT, EXIT, "AGAIN", &[0]),
    stage("ring_open", RING, "RING_FAMILIES", &[0]),
    stage("ring_traffic", RING, "RING_FAMILIES", &[1]),
    stage("ring_path", RING, "RING_FAMILIES", &[2]),
];

/// The maps through which they are reached.
pub const STAGE_MAPS: [&str; 4] = ["FAMILIES", "ENVIRONMENT_SEARCH", "AGAIN", "RING_FAMILIES"];

#[expect(clippy::as_conversions, reason = "u16 to u32 in a constant")]
const fn family(kind: u16) -> u32 {
    (kind >> FAMILY_SHIFT) as u32
}

/// A tracepoint that only reports, and the kinds that it reports.
struct Report {
    name: &'static str,
    kinds: KindSet,
}

const OF_PATHS: KindSet =
    KindSet::of(&[RENAME, LINK, SYMLINK, UNLINK, CHMOD, TRUNCATE, MKDIR, MKNOD]);

const REPORTS: [Report; 9] = [
    Report { name: "inet_sock_set_state", kinds: KindSet::of(&[TCP_CONNECTING]) },
    Report { name: RING, kinds: OF_RINGS },
    Report { name: RING_BEGINS, kinds: OF_RINGS },
    Report { name: RING_OVERFLOWS, kinds: OF_RINGS },
    Report { name: "cgroup_mkdir", kinds: KindSet::of(&[CGROUP_MADE]) },
    Report { name: "cgroup_rmdir", kinds: KindSet::of(&[CGROUP_REMOVED]) },
    Report { name: "inode_set_ctime_to_ts", kinds: OF_PATHS },
    Report { name: "ctime_ns_xchg", kinds: OF_PATHS },
    Report { name: "ctime_xchg_skip", kinds: OF_PATHS },
];

/// Tracepoints that some supported kernels lack; the sensor does without them.
const OPTIONAL: [&str; 6] = [
    "inode_set_ctime_to_ts",
    "ctime_ns_xchg",
    "ctime_xchg_skip",
    RING,
    RING_BEGINS,
    RING_OVERFLOWS,
];

/// The reporting tracepoints that this kernel has.
pub fn reporting(btf: &Btf) -> Vec<&'static str> {
    let there = |name: &str| !OPTIONAL.contains(&name) || btf.tracepoint_arguments(name).is_some();
    let named = REPORTS.iter().map(|report| report.name);
    std::iter::once(SYS_EXIT).chain(named).filter(|name| there(name)).collect()
}

/// Whether the reporting tracepoint `name` is needed for `kinds`, and to count calls if they are.
pub fn is_needed(name: &str, kinds: KindSet, counting: bool) -> bool {
    if name == SYS_EXIT {
        return counting || syscall_table::has(kinds);
    }
    REPORTS.iter().any(|report| report.name == name && report.kinds.meets(kinds))
}

/// What a kernel that has `reporting` cannot tell of `kinds`.
pub fn limits(reporting: &[&str], kinds: KindSet) -> Vec<Limit> {
    let without = |hook| !reporting.contains(&hook);
    let mut limits = Vec::new();
    if OF_PATHS.meets(kinds) && without("inode_set_ctime_to_ts") {
        limits.push(Limit::FilesOfPathCalls);
    }
    if OF_RINGS.meets(kinds) && without(RING) {
        limits.push(Limit::IoUring);
    } else if OF_RINGS.meets(kinds) && without(RING_BEGINS) {
        limits.push(Limit::SilentIoUring);
    }
    limits
}

/// Value of the object's constant `RING_COMPLETION`.
pub fn ring_completion(btf: &Btf) -> u32 {
    match btf.tracepoint_arguments(RING) {
        Some(3) => ring_completion::IN_ENTRY,
        Some(5..) => ring_completion::IN_ARGUMENT,
        _ => ring_completion::UNKNOWN,
    }
}

/// Value of the object's constant `EXIT_TELLS_LAST`: 1 where `sched_process_exit` tells whether a
/// thread is its process's last.
pub fn exit_tells_last(btf: &Btf) -> u32 {
    u32::from(btf.tracepoint_arguments(EXIT) == Some(2))
}
