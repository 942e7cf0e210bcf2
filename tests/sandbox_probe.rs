//! Gives up privileges exactly as a process of Sentinel does, then tries what it must not be able
//! to do, and prints each result.
//!
//! sandbox_probe free|analyzer|sender|loader|enforcer|layers [abort]
//! sandbox_probe service|keeper STAGE
//! sandbox_probe neighbours free|layers|analyzer|loader|enforcer PID...
//! sandbox_probe forger FRAME
//! sandbox_probe connector|connector-layers|connector-free TARGET OTHER
#![expect(
    unsafe_code,
    reason = "makes raw system calls, most of them nonsense, to see them refused"
)]

use std::{ffi::CStr, io::Write, path::PathBuf, ptr::null};

use libc::{c_long, syscall};
use sentinel_analyzer::privileges::{self as analyzer, Connections};
use sentinel_ipc::confinement::{
    Limits, Signals, account, become_account, keep_capabilities, landlock, limit, no_new_privileges,
};

#[path = "sandbox_probe/attempt.rs"]
mod attempt;
#[path = "sandbox_probe/connector.rs"]
mod connector;
#[path = "sandbox_probe/directories.rs"]
mod directories;
#[path = "sandbox_probe/more.rs"]
mod more;
#[path = "sandbox_probe/neighbours.rs"]
mod neighbours;

use connector::Extent;

const PATH: fn(&'static CStr) -> c_long = |path| path.as_ptr() as c_long;
const NONE: c_long = 0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["neighbours", way, ..] => return neighbours::run(way, &arguments[2..]),
        ["forger", frame] => return neighbours::forge(frame),
        _ => {}
    }
    let mode = arguments.into_iter().next().unwrap_or_default();
    // SAFETY: getppid takes nothing and cannot fail.
    let parent = unsafe { libc::getppid() } as c_long;
    let stage = PathBuf::from(std::env::args().nth(2).unwrap_or_default());
    let (mut logs, mut connector) = (None, None);
    let dropped = match mode.as_str() {
        "free" => Ok(()),
        "analyzer" => analyzer::drop_privileges(Vec::new(), Connections::None).map(|_| ()),
        "sender" => analyzer::drop_privileges(Vec::new(), Connections::Passed).map(|_| ()),
        "connector" | "connector-layers" | "connector-free" => {
            let extent = match mode.as_str() {
                "connector" => Extent::Whole,
                "connector-layers" => Extent::WithoutFilter,
                _ => Extent::Free,
            };
            connector::drop_privileges(&extent).map(|held| connector = Some((held, extent)))
        }
        "service" => directories::drop_privileges(&stage).map(|opened| logs = Some(opened)),
        "keeper" => directories::drop_to_replace(&stage),
        "loader" => sentinel_loader::privileges::drop_privileges(0).map(|_| ()),
        "enforcer" => sentinel_enforcer::privileges::drop_privileges().map(|_| ()),
        "layers" => all_but_the_filter(),
        _ => panic!("unknown mode {mode:?}"),
    };
    if let Err(error) = dropped {
        panic!("{error}");
    }
    if std::env::args().next_back().as_deref() == Some("abort") {
        std::process::abort();
    }
    let mut report = String::new();
    if let Some((held, extent)) = &connector {
        for (name, told) in connector::tries(held, extent) {
            report.push_str(&format!("{name} {told}\n"));
        }
        if *extent != Extent::Whole {
            return connector::say(&(report + "done\n"));
        }
    }
    if mode == "keeper" {
        for (name, told) in directories::tries_to_replace(&stage) {
            report.push_str(&format!("{name} {told}\n"));
        }
    }
    for (name, told) in logs.map(|logs| directories::tries(&stage, logs)).unwrap_or_default() {
        report.push_str(&format!("{name} {told}\n"));
    }
    // Root would really trace its parent.
    let tracee = if mode == "layers" { parent } else { 0x7fff_fff0 };
    let all = tries(parent, tracee).into_iter();
    // The last one of the first leaves root with one capability.
    for (name, number, arguments) in more::tries(parent).into_iter().chain(all) {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: each call below is harmless by its arguments: null, invalid or read-only. fork's
        // child ends at once.
        let result = unsafe { syscall(number, a, b, c, d, e, f) };
        let error = std::io::Error::last_os_error();
        if name == "fork" && result == 0 {
            // SAFETY: ends the child without running anything of its parent's.
            unsafe { libc::_exit(0) };
        }
        let told = match (result, error.raw_os_error()) {
            (-1, Some(errno)) => format!("{:?}", nix::errno::Errno::from_raw(errno)),
            _ => "ok".to_owned(),
        };
        report.push_str(&format!("{name} {told}\n"));
    }
    report.push_str("done\n");
    if connector.is_some() {
        // It has no write(2): its words go where the analyzer is.
        return connector::say(&report);
    }
    std::io::stdout().write_all(report.as_bytes()).expect("standard output");
}

fn all_but_the_filter() -> Result<(), sentinel_ipc::confinement::ConfinementError> {
    become_account(account("sentinel")?)?;
    keep_capabilities(&[])?;
    limit(Limits { memory: 1 << 30, descriptors: 64 })?;
    no_new_privileges()?;
    landlock(Signals::Inside).map(|_| ())
}

type Try = (&'static str, c_long, [c_long; 6]);

/// An address on loopback that nobody listens on: sockaddr_in of 127.0.0.1:1.
static ADDRESS: [u8; 16] = [2, 0, 0, 1, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

/// Calls that do nothing, even as root, but that a filter or a missing privilege refuses.
fn tries(parent: c_long, tracee: c_long) -> Vec<Try> {
    const EMPTY: [c_long; 6] = [0; 6];
    let bad = -1;
    let at = c_long::from(libc::AT_FDCWD);
    // SAFETY: makes a socket, for the calls that need one; -1 where that is refused.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) } as c_long;
    let address = ADDRESS.as_ptr() as c_long;
    let read = c_long::from(libc::O_RDONLY);
    let attribute = [0_u64; 16];
    let attribute = Box::leak(Box::new(attribute)).as_ptr() as c_long;
    let header = Box::leak(Box::new([0x2008_0522_u32, 0])).as_ptr() as c_long;
    let capabilities = Box::leak(Box::new([1_u32, 1, 0, 0, 0, 0])).as_ptr() as c_long;
    let bpf = |command: c_long| [command, attribute, 64, 0, 0, 0];
    vec![
        ("open_shadow", libc::SYS_openat, [at, PATH(c"/etc/shadow"), read, 0, 0, 0]),
        ("open_passwd", libc::SYS_openat, [at, PATH(c"/etc/passwd"), read, 0, 0, 0]),
        ("open_old", libc::SYS_open, [PATH(c"/etc/passwd"), read, 0, 0, 0, 0]),
        ("open_mem", libc::SYS_openat, [at, PATH(c"/proc/1/mem"), read, 0, 0, 0]),
        ("open_environ", libc::SYS_openat, [at, PATH(c"/proc/1/environ"), read, 0, 0, 0]),
        ("list_root", libc::SYS_openat, [at, PATH(c"/"), read, 0, 0, 0]),
        (
            "create_in_tmp",
            libc::SYS_openat,
            [
                at,
                PATH(c"/tmp/sentinel-probe"),
                c_long::from(libc::O_WRONLY | libc::O_CREAT),
                0o600,
                0,
                0,
            ],
        ),
        ("unlink", libc::SYS_unlink, [PATH(c"/tmp/sentinel-probe"), 0, 0, 0, 0, 0]),
        ("socket_inet", libc::SYS_socket, [2, 1, 0, 0, 0, 0]),
        ("socket_unix", libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
        ("socket_netlink", libc::SYS_socket, [16, 3, 0, 0, 0, 0]),
        ("socketpair", libc::SYS_socketpair, [1, 1, 0, attribute, 0, 0]),
        ("connect_tcp", libc::SYS_connect, [socket, address, 16, 0, 0, 0]),
        ("bind_tcp", libc::SYS_bind, [bad, address, 16, 0, 0, 0]),
        ("sendto_address", libc::SYS_sendto, [bad, address, 1, 0, address, 16]),
        ("sendmsg", libc::SYS_sendmsg, [bad, NONE, 0, 0, 0, 0]),
        ("recvmsg", libc::SYS_recvmsg, [bad, NONE, 0, 0, 0, 0]),
        ("kill_init", libc::SYS_kill, [1, 0, 0, 0, 0, 0]),
        ("kill_parent", libc::SYS_kill, [parent, 0, 0, 0, 0, 0]),
        ("tgkill", libc::SYS_tgkill, [1, 1, 0, 0, 0, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0]),
        ("pidfd_send_sigkill", libc::SYS_pidfd_send_signal, [bad, 9, 0, 0, 0, 0]),
        ("pidfd_send_sigterm", libc::SYS_pidfd_send_signal, [bad, 15, 0, 0, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [bad, 0, 0, 0, 0, 0]),
        ("ptrace_seize", libc::SYS_ptrace, [0x4206, tracee, 0, 0, 0, 0]),
        ("ptrace_nobody", libc::SYS_ptrace, [16, 0x7fff_fff0, 0, 0, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [1, NONE, 0, NONE, 0, 0]),
        ("exec", libc::SYS_execve, [PATH(c"/etc/passwd"), NONE, NONE, 0, 0, 0]),
        ("fork", libc::SYS_fork, EMPTY),
        ("setresuid_root", libc::SYS_setresuid, EMPTY),
        ("setgroups", libc::SYS_setgroups, EMPTY),
        ("prctl_dumpable", libc::SYS_prctl, [4, 0, 0, 0, 0, 0]),
        // With a flag that makes it invalid: root would be in another user namespace after it.
        (
            "unshare_user",
            libc::SYS_unshare,
            [c_long::from(libc::CLONE_NEWUSER | libc::CLONE_PARENT), 0, 0, 0, 0, 0],
        ),
        ("setns", libc::SYS_setns, [bad, 0, 0, 0, 0, 0]),
        ("mount", libc::SYS_mount, [NONE, PATH(c"/"), NONE, 0, 0, 0]),
        ("chroot", libc::SYS_chroot, [PATH(c"/nothing"), 0, 0, 0, 0, 0]),
        ("bpf_prog_load", libc::SYS_bpf, bpf(5)),
        ("bpf_map_create", libc::SYS_bpf, bpf(0)),
        ("bpf_prog_by_id", libc::SYS_bpf, bpf(13)),
        ("bpf_map_lookup", libc::SYS_bpf, [1, NONE, 64, 0, 0, 0]),
        ("bpf_map_update", libc::SYS_bpf, [2, NONE, 64, 0, 0, 0]),
        ("bpf_raw_tracepoint_open", libc::SYS_bpf, [17, NONE, 64, 0, 0, 0]),
        ("bpf_link_create", libc::SYS_bpf, [28, NONE, 64, 0, 0, 0]),
        ("bpf_iter_create", libc::SYS_bpf, [33, NONE, 64, 0, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [NONE, 0, bad, bad, 0, 0]),
        ("init_module", libc::SYS_init_module, [NONE, 0, NONE, 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [999, 0, 0, 0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [0, attribute, 0, 0, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [bad, 0, 0, 0, 0, 0]),
        ("memfd_create", libc::SYS_memfd_create, [null::<u8>() as c_long, 0, 0, 0, 0, 0]),
        ("mmap_executable", libc::SYS_mmap, [0, 4096, 5, 0x22, bad, 0]),
        ("mprotect", libc::SYS_mprotect, [0, 0, 0, 0, 0, 0]),
        ("ftruncate", libc::SYS_ftruncate, [bad, 0, 0, 0, 0, 0]),
        ("fallocate_hole", libc::SYS_fallocate, [bad, 3, 0, 1, 0, 0]),
        ("pwrite", libc::SYS_pwrite64, [bad, NONE, 4096, 0, 0, 0]),
        ("listen", libc::SYS_listen, [bad, 1, 0, 0, 0, 0]),
        ("chmod", libc::SYS_chmod, [PATH(c"/nothing"), 0, 0, 0, 0, 0]),
        // The last one: it leaves root with one capability.
        ("capset", libc::SYS_capset, [header, capabilities, 0, 0, 0, 0]),
    ]
}
