//! Values of [`super::RecordHeader::kind`]; the comment names the record type and the arguments. The upper
//! half of the low byte is the family: the program that handles the call.

/// [`super::ForkRecord`].
pub const FORK: u16 = 0x01;
/// [`super::ExecRecord`].
pub const EXEC: u16 = 0x02;
/// [`super::RecordHeader`]: the last thread of a process ended.
pub const EXIT: u16 = 0x03;
/// [`super::CgroupRecord`].
pub const CGROUP_MADE: u16 = 0x04;
/// [`super::CgroupRecord`].
pub const CGROUP_REMOVED: u16 = 0x05;
/// [`super::TargetRecord`]: the process that moved; `argument[0]` is the cgroup's v2 id.
pub const CGROUP_MOVED: u16 = 0x06;
/// [`super::SocketRecord`]: a TCP socket that begins to connect.
pub const TCP_CONNECTING: u16 = 0x07;
/// [`super::ProcessRecord`]: found by a snapshot, as are the next three.
pub const PROCESS: u16 = 0x08;
/// [`super::HeldRecord`].
pub const HELD: u16 = 0x09;
/// [`super::FileRecord`]: a file of a class that a process has open; `argument[0]` is the
/// descriptor.
pub const HELD_FILE: u16 = 0x0a;
/// [`super::CgroupRecord`]: where a process is.
pub const CGROUP_FOUND: u16 = 0x0b;

/// [`super::DescriptorRecord`]: `result` is the new descriptor.
pub const SOCKET: u16 = 0x10;
/// [`super::DescriptorRecord`]: `argument[0]` is the descriptor.
pub const CONNECT: u16 = 0x11;
/// [`super::DescriptorRecord`]: `result` is the new descriptor, `argument[0]` the listener.
pub const ACCEPT: u16 = 0x12;
/// [`super::DescriptorRecord`]: `argument[0]` is the descriptor.
pub const BIND: u16 = 0x13;
/// [`super::DescriptorRecord`]: `argument[0]` is the descriptor.
pub const LISTEN: u16 = 0x14;
/// [`super::DescriptorRecord`]: `result` is the new descriptor, `argument[0]` the old one.
/// dup, dup2, dup3 and fcntl(F_DUPFD, F_DUPFD_CLOEXEC).
pub const DUP: u16 = 0x15;
/// Only in the syscall table: becomes [`DUP`] or [`SET_DESCRIPTOR_FLAGS`] by its command.
pub const FCNTL: u16 = 0x16;
/// [`super::RecordHeader`]: fcntl(F_SETFD); `argument` is descriptor and flags.
pub const SET_DESCRIPTOR_FLAGS: u16 = 0x17;
/// [`super::RecordHeader`]: `argument[0]` is the descriptor. Where there are totals to tell, they tell it: see [`TRAFFIC`].
pub const CLOSE: u16 = 0x18;
/// [`super::RecordHeader`]: `argument` is the first descriptor, and the last | flags << 32.
pub const CLOSE_RANGE: u16 = 0x19;
/// [`super::DescriptorRecord`], one for each end: `argument` is this end's descriptor and the
/// other's.
pub const PIPE: u16 = 0x1a;
/// [`super::DescriptorRecord`], one for each end: `argument` as for [`PIPE`].
pub const SOCKETPAIR: u16 = 0x1b;
/// Only in the syscall table: the 32-bit socketcall(2) becomes what its first argument says.
pub const SOCKETCALL: u16 = 0x1c;
/// [`super::DescriptorRecord`]: a descriptor that another process gave, `argument[0]`; from
/// SCM_RIGHTS (`argument[1]` is the socket) or pidfd_getfd(2) (the pidfd).
pub const RECEIVED: u16 = 0x1d;
/// [`super::DescriptorRecord`]: setns(2); `argument` is the descriptor and CLONE_NEW*.
pub const SETNS: u16 = 0x1e;
/// [`super::RecordHeader`]: the loader's own getsid(2), which shows that its events arrive. It
/// passes through the programs of all families.
pub const CANARY: u16 = 0x1f;

/// [`super::FileRecord`]: `result` is the new descriptor; `argument[0]` is O_TRUNC if the call asked
/// for that, which its file does not tell. Only files of a class, and those that are not known: gone
/// again, or opened into an io_uring's own table.
pub const OPEN: u16 = 0x20;
/// Only subscribed to: makes [`OPEN`] tell of files without a class as well.
pub const OPEN_ANY: u16 = 0x21;
/// [`super::FileRecord`]: `result` is the new descriptor; `argument[1]` is MFD_*.
pub const MEMFD: u16 = 0x22;
/// [`super::FileRecord`]: mmap(2) of a file of a class; `argument` is descriptor, PROT_*, MAP_*.
pub const MAP: u16 = 0x23;
/// [`super::FileRecord`]: `argument` is descriptor and mode; only if the mode has an execute,
/// setuid or setgid bit.
pub const FCHMOD: u16 = 0x24;
/// [`super::FileRecord`]: `argument` is descriptor and length in bytes.
pub const FTRUNCATE: u16 = 0x25;
/// [`super::FileRecord`]: finit_module(2), failed ones too; `argument` is descriptor and flags.
pub const LOAD_MODULE_FILE: u16 = 0x26;
/// [`super::FileRecord`]: an interpreter opened the script that it was started for; `argument[0]` is the
/// descriptor, the span's last word the bits in [`super::trust`] for the script's path.
pub const SCRIPT: u16 = 0x27;

/// Only in the syscall table: read and its kin; becomes [`TRAFFIC`].
pub const READ: u16 = 0x30;
/// Only in the syscall table: write and its kin.
pub const WRITE: u16 = 0x31;
/// Only in the syscall table: sendto(2).
pub const SENDTO: u16 = 0x32;
/// Only in the syscall table: sendmsg(2).
pub const SENDMSG: u16 = 0x33;
/// Only in the syscall table: sendmmsg(2).
pub const SENDMMSG: u16 = 0x34;
/// Only in the syscall table: recvmsg(2); also [`RECEIVED`].
pub const RECVMSG: u16 = 0x35;
/// Only in the syscall table: recvmmsg(2); also [`RECEIVED`].
pub const RECVMMSG: u16 = 0x36;
/// Only in the syscall table: sendfile(2), to the first descriptor from the second.
pub const SENDFILE: u16 = 0x37;
/// Only in the syscall table: splice(2), copy_file_range(2), from the first to the third.
pub const SPLICE: u16 = 0x38;
/// Only in the syscall table: tee(2), from the first to the second.
pub const TEE: u16 = 0x39;
/// Only in the syscall table: io_submit(2), which is counted as unreadable.
pub const SUBMIT: u16 = 0x3a;
/// Only asked for: what goes through connections and pipes is told ([`SENT`], [`TRAFFIC`]) although no secret could be
/// among it.
pub const ALL_TRAFFIC: u16 = 0x3b;
/// [`super::TrafficRecord`]: a send; `argument` is the descriptor, the bytes and the calls since
/// the last record of this descriptor.
pub const SENT: u16 = 0x3e;
/// [`super::TrafficRecord`]: totals of a descriptor that was closed, replaced, or open at the
/// end of its process; `argument` is the descriptor, and 1 if this tells a [`CLOSE`] as well, else 0.
pub const TRAFFIC: u16 = 0x3f;

/// [`super::PathRecord`]: old and new path; `argument[0]` is RENAME_*.
pub const RENAME: u16 = 0x40;
/// [`super::PathRecord`]: existing and new path; `argument[0]` is AT_*.
pub const LINK: u16 = 0x41;
/// [`super::PathRecord`]: content and path of a symbolic link.
pub const SYMLINK: u16 = 0x42;
/// [`super::PathRecord`]: one path; `argument[0]` is AT_REMOVEDIR or 0.
pub const UNLINK: u16 = 0x43;
/// [`super::PathRecord`]: one path; `argument[0]` is the mode. Only if the mode has an execute,
/// setuid or setgid bit.
pub const CHMOD: u16 = 0x44;
/// [`super::PathRecord`]: one path; `argument[0]` is the length in bytes.
pub const TRUNCATE: u16 = 0x45;
/// [`super::PathRecord`]: mount(2), failed ones too: source and mount point, `label` is the
/// type; `argument[0]` is MS_*.
pub const MOUNT: u16 = 0x46;
/// [`super::PathRecord`]: move_mount(2), failed ones too: from and to; `argument[0]` is MOVE_MOUNT_*.
pub const MOVE_MOUNT: u16 = 0x47;
/// [`super::PathRecord`]: umount2(2), failed ones too: one path; `argument[0]` is MNT_* and UMOUNT_*.
pub const UNMOUNT: u16 = 0x48;
/// [`super::PathRecord`]: mkdir(2): one path; `argument[0]` is the mode.
pub const MKDIR: u16 = 0x49;
/// [`super::PathRecord`]: mknod(2): one path; `argument` is mode and device.
pub const MKNOD: u16 = 0x4a;
/// [`super::PathRecord`]: chroot(2): one path.
pub const CHROOT: u16 = 0x4b;

/// [`super::CredentialsRecord`]: a call that set ids or capabilities, failed ones too.
pub const CREDENTIALS: u16 = 0x50;
/// [`super::TargetRecord`]: failed ones too; `argument` is PTRACE_*, pid and address.
pub const PTRACE: u16 = 0x51;
/// [`super::TargetRecord`]: failed ones too; `argument[0]` is 1 for process_vm_writev(2), 0 for
/// process_vm_readv(2); `argument[1]` is the pid.
pub const PROCESS_MEMORY: u16 = 0x52;
/// [`super::TargetRecord`]: kill, tkill, tgkill, failed ones too; `argument` is signal and pid.
pub const KILL: u16 = 0x53;
/// [`super::RecordHeader`]: unshare(2); `argument[0]` is CLONE_*.
pub const UNSHARE: u16 = 0x54;
/// [`super::NameRecord`]: prctl(PR_SET_NAME).
pub const SET_NAME: u16 = 0x55;
/// Only in the syscall table: becomes [`SET_NAME`] or [`CREDENTIALS`] by its first argument.
pub const PRCTL: u16 = 0x56;
/// [`super::RecordHeader`]: failed ones too; `argument` is the command and the first eight
/// bytes of its attributes.
pub const BPF: u16 = 0x57;
/// [`super::RecordHeader`]: init_module(2), failed ones too; `argument[0]` is the length.
pub const LOAD_MODULE: u16 = 0x58;
/// [`super::RecordHeader`]: `argument[0]` is the flags.
pub const USERFAULTFD: u16 = 0x59;
/// [`super::RecordHeader`]: pidfd_send_signal(2), failed ones too; `argument` is signal and
/// pidfd.
pub const PIDFD_KILL: u16 = 0x5a;

/// Only in the syscall table, added to a kind from [`RENAME`] on: the form of the call that
/// takes a directory's descriptor before each path.
pub const AT: u16 = 0x20;

/// Kinds that go through [`super::ring::ALERT`] whatever else they tell, one bit each: those
/// below 64, and the others.
pub const URGENT: [u64; 2] = split(&[
    FORK,
    EXEC,
    SCRIPT,
    CONNECT,
    CANARY,
    LOAD_MODULE_FILE,
    CREDENTIALS,
    PTRACE,
    PROCESS_MEMORY,
    BPF,
    LOAD_MODULE,
]);

const fn split(kinds: &[u16]) -> [u64; 2] {
    let (mut low, mut high) = (0, 0);
    let mut rest = kinds;
    while let [first, others @ ..] = rest {
        if *first < 64 {
            low |= 1 << *first;
        } else {
            high |= 1 << (*first - 64);
        }
        rest = others;
    }
    [low, high]
}

/// Highest kind + 1.
pub const COUNT: u16 = 0x70;
/// Highest family of a system call + 1; a kind's family is `kind >> FAMILY_SHIFT`.
pub const FAMILIES: u32 = 7;
/// See [`FAMILIES`].
pub const FAMILY_SHIFT: u16 = 4;
