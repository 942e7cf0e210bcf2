//! The rest of what a process might try that has been taken over: each a call that does nothing, even as root.

use std::ffi::CString;

use libc::{c_int, c_long};

use super::{NONE, PATH, Try};

/// Sockets that a process may ask for: name, family, kind.
const SOCKETS: [(&str, c_int, c_int); 9] = [
    ("socket_tcp6", libc::AF_INET6, libc::SOCK_STREAM),
    ("socket_udp", libc::AF_INET, libc::SOCK_DGRAM),
    ("socket_udp6", libc::AF_INET6, libc::SOCK_DGRAM),
    ("socket_raw", libc::AF_INET, libc::SOCK_RAW),
    ("socket_unix_datagram", libc::AF_UNIX, libc::SOCK_DGRAM),
    ("socket_unix_packets", libc::AF_UNIX, libc::SOCK_SEQPACKET),
    ("socket_packet", libc::AF_PACKET, libc::SOCK_RAW),
    ("socket_vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
    ("socket_alg", libc::AF_ALG, libc::SOCK_SEQPACKET),
];

/// Addresses that it may try with a socket from elsewhere.
static UNIX_PATH: &[u8] = b"\x01\x00/run/sentinel/loader.sock\0";
static UNIX_ABSTRACT: &[u8] = b"\x01\x00\0sentinel";
static INET6: [u8; 28] = {
    let mut address = [0; 28];
    (address[0], address[23]) = (10, 1);
    address
};
static VSOCK: [u8; 16] = [40, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];

/// What is tried, beside what `main` has.
pub(super) fn tries(other: c_long) -> Vec<Try> {
    let bad = -1;
    let nothing = PATH(c"/nothing/there");
    let at = c_long::from(libc::AT_FDCWD);
    let [read, write] = [libc::O_RDONLY, libc::O_WRONLY].map(c_long::from);
    let open = |path: c_long, how: c_long| [at, path, how, 0, 0, 0];
    let of_other = |name: &str| {
        let path = CString::new(format!("/proc/{other}/{name}")).expect("no NUL");
        path.into_raw() as c_long
    };
    let address = |bytes: &[u8]| [bad, bytes.as_ptr() as c_long, bytes.len() as c_long, 0, 0, 0];
    let to = |address: &[u8]| {
        [bad, address.as_ptr() as c_long, 1, 0, address.as_ptr() as c_long, address.len() as c_long]
    };
    let files = [
        ("open_roots_file", open(PATH(c"/root/."), read)),
        ("write_hostname", open(PATH(c"/etc/hostname"), write)),
        ("read_own_program", open(PATH(c"/proc/self/exe"), read)),
        ("open_others_mem", open(of_other("mem"), read)),
        ("open_others_environ", open(of_other("environ"), read)),
        ("open_others_maps", open(of_other("maps"), read)),
        ("open_others_descriptors", open(of_other("fd"), read)),
        ("open_others_root", open(of_other("root"), read)),
        ("write_others_oom_score", open(of_other("oom_score_adj"), write)),
        ("write_core_pattern", open(PATH(c"/proc/sys/kernel/core_pattern"), write)),
        ("write_kernel_memory", open(PATH(c"/dev/mem"), write)),
        ("open_kernel_log", open(PATH(c"/dev/kmsg"), read)),
        ("write_cgroup", open(PATH(c"/sys/fs/cgroup/cgroup.procs"), write)),
        ("open_tracing", open(PATH(c"/sys/kernel/tracing"), read)),
        ("open_bpf_fs", open(PATH(c"/sys/fs/bpf"), read)),
    ];
    let connections = [
        ("connect_unix_path", address(UNIX_PATH)),
        ("connect_unix_abstract", address(UNIX_ABSTRACT)),
        ("connect_tcp6", address(&INET6)),
        ("connect_vsock", address(&VSOCK)),
    ];
    let datagrams = [
        ("send_to_unix_path", to(UNIX_PATH)),
        ("send_to_unix_abstract", to(UNIX_ABSTRACT)),
        ("send_to_udp6", to(&INET6)),
    ];
    let calls: [(&str, c_long, [c_long; 6]); 64] = [
        ("open_path_only", libc::SYS_openat2, [at, nothing, NONE, 24, 0, 0]),
        ("open_by_handle", libc::SYS_open_by_handle_at, [bad, NONE, 0, 0, 0, 0]),
        ("truncate", libc::SYS_truncate, [nothing, 0, 0, 0, 0, 0]),
        ("rename", libc::SYS_rename, [nothing, nothing, 0, 0, 0, 0]),
        ("link", libc::SYS_link, [nothing, nothing, 0, 0, 0, 0]),
        ("symlink", libc::SYS_symlink, [nothing, nothing, 0, 0, 0, 0]),
        ("make_node", libc::SYS_mknod, [nothing, 0o10600, 0, 0, 0, 0]),
        ("make_directory", libc::SYS_mkdir, [nothing, 0o700, 0, 0, 0, 0]),
        ("chown", libc::SYS_chown, [nothing, 0, 0, 0, 0, 0]),
        ("set_attribute", libc::SYS_setxattr, [nothing, nothing, NONE, 0, 0, 0]),
        ("chdir", libc::SYS_chdir, [nothing, 0, 0, 0, 0, 0]),
        ("list_descriptor", libc::SYS_getdents64, [bad, NONE, 0, 0, 0, 0]),
        ("read_link", libc::SYS_readlink, [nothing, NONE, 0, 0, 0, 0]),
        ("stat_path", libc::SYS_stat, [nothing, NONE, 0, 0, 0, 0]),
        ("accept", libc::SYS_accept, [bad, NONE, NONE, 0, 0, 0]),
        ("kill_group", libc::SYS_kill, [-0x7fff_fff0, 0, 0, 0, 0, 0]),
        ("thread_kill_other", libc::SYS_tkill, [other, 0, 0, 0, 0, 0]),
        ("queue_signal", libc::SYS_rt_sigqueueinfo, [other, 0, NONE, 0, 0, 0]),
        ("queue_thread_signal", libc::SYS_rt_tgsigqueueinfo, [other, other, 0, NONE, 0, 0]),
        ("signal_stop_by_pidfd", libc::SYS_pidfd_send_signal, [bad, 64, 0, 0, 0, 0]),
        ("write_other_memory", libc::SYS_process_vm_writev, [other, NONE, 0, NONE, 0, 0]),
        ("advise_other_memory", libc::SYS_process_madvise, [bad, NONE, 0, 0, 0, 0]),
        ("release_other_memory", libc::SYS_process_mrelease, [bad, 0, 0, 0, 0, 0]),
        ("compare_others", libc::SYS_kcmp, [other, other, -1, 0, 0, 0]),
        ("limit_other", libc::SYS_prlimit64, [other, 99, NONE, NONE, 0, 0]),
        ("schedule_other", libc::SYS_sched_setaffinity, [0x7fff_fff0, 0, NONE, 0, 0, 0]),
        ("renice_other", libc::SYS_setpriority, [99, 0, 0, 0, 0, 0]),
        ("exec_by_descriptor", libc::SYS_execveat, [bad, NONE, NONE, NONE, 0x1000, 0]),
        ("vfork_by_clone3", libc::SYS_clone3, [NONE, 0, 0, 0, 0, 0]),
        // CLONE_NEWUSER with CLONE_FS is invalid.
        ("clone_new_user", libc::SYS_clone, [0x1000_0200, 0, 0, 0, 0, 0]),
        ("setuid_root", libc::SYS_setuid, [0, 0, 0, 0, 0, 0]),
        ("setgid_root", libc::SYS_setgid, [0, 0, 0, 0, 0, 0]),
        ("setreuid_root", libc::SYS_setreuid, [0, 0, 0, 0, 0, 0]),
        ("setregid_root", libc::SYS_setregid, [0, 0, 0, 0, 0, 0]),
        ("setresgid_root", libc::SYS_setresgid, [0, 0, 0, 0, 0, 0]),
        ("keep_capabilities", libc::SYS_prctl, [8, 99, 0, 0, 0, 0]),
        ("ambient_capability", libc::SYS_prctl, [47, 99, 0, 0, 0, 0]),
        ("another_filter", libc::SYS_seccomp, [99, 0, NONE, 0, 0, 0]),
        ("another_landlock", libc::SYS_landlock_create_ruleset, [NONE, 0, 99, 0, 0, 0]),
        ("unmount", libc::SYS_umount2, [nothing, 0, 0, 0, 0, 0]),
        ("mount_by_descriptor", libc::SYS_move_mount, [bad, NONE, bad, NONE, 0, 0]),
        ("open_tree", libc::SYS_open_tree, [at, nothing, 0, 0, 0, 0]),
        ("open_file_system", libc::SYS_fsopen, [NONE, 99, 0, 0, 0, 0]),
        ("pivot_root", libc::SYS_pivot_root, [nothing, nothing, 0, 0, 0, 0]),
        ("swap_on", libc::SYS_swapon, [nothing, 0, 0, 0, 0, 0]),
        ("account_processes", libc::SYS_acct, [nothing, 0, 0, 0, 0, 0]),
        ("module_from_file", libc::SYS_finit_module, [bad, NONE, 0, 0, 0, 0]),
        ("remove_module", libc::SYS_delete_module, [NONE, 0, 0, 0, 0, 0]),
        ("other_kernel", libc::SYS_kexec_load, [0, 0, NONE, 0xffff, 0, 0]),
        ("reboot", libc::SYS_reboot, [0, 0, 0, 0, 0, 0]),
        ("kernel_log", libc::SYS_syslog, [99, NONE, 0, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, [NONE, NONE, NONE, 0, 0, 0]),
        ("request_key", libc::SYS_request_key, [NONE, NONE, NONE, 0, 0, 0]),
        ("io_uring_enter", libc::SYS_io_uring_enter, [bad, 0, 0, 0, NONE, 0]),
        ("io_uring_register", libc::SYS_io_uring_register, [bad, 0, NONE, 0, 0, 0]),
        ("watch_files", libc::SYS_inotify_init1, [0x7fff_ffff, 0, 0, 0, 0, 0]),
        ("watch_all_files", libc::SYS_fanotify_init, [0x7fff_ffff, 0, 0, 0, 0, 0]),
        ("set_clock", libc::SYS_clock_settime, [99, NONE, 0, 0, 0, 0]),
        ("set_time", libc::SYS_settimeofday, [NONE, NONE, 0, 0, 0, 0]),
        ("set_host_name", libc::SYS_sethostname, [NONE, -1, 0, 0, 0, 0]),
        ("ports", libc::SYS_ioperm, [-1, 1, 1, 0, 0, 0]),
        ("terminal_input", libc::SYS_ioctl, [bad, libc::TIOCSTI as c_long, NONE, 0, 0, 0]),
        ("shared_memory", libc::SYS_shmget, [0, 0, 0, 0, 0, 0]),
        ("message_queue", libc::SYS_msgget, [0, 0o600 | 0x7fff_0000, 0, 0, 0, 0]),
    ];
    let sockets = SOCKETS.map(|(name, family, kind)| {
        (name, libc::SYS_socket, [c_long::from(family), c_long::from(kind), 0, 0, 0, 0])
    });
    let files = files.map(|(name, arguments)| (name, libc::SYS_openat, arguments));
    let connections = connections.map(|(name, arguments)| (name, libc::SYS_connect, arguments));
    let datagrams = datagrams.map(|(name, arguments)| (name, libc::SYS_sendto, arguments));
    files.into_iter().chain(sockets).chain(connections).chain(datagrams).chain(calls).collect()
}
