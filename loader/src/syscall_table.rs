//! Which system call number means which kind of event, for each ABI.

use sentinel_ipc::{
    frame::KindSet,
    kernel_abi::{COUNTED, SYSCALLS, SyscallTable, abi, kind::*},
};

/// The forms that take a directory's descriptor.
const RENAME_AT: u16 = RENAME + AT;
const LINK_AT: u16 = LINK + AT;
const SYMLINK_AT: u16 = SYMLINK + AT;
const UNLINK_AT: u16 = UNLINK + AT;
const CHMOD_AT: u16 = CHMOD + AT;
const MKDIR_AT: u16 = MKDIR + AT;
const MKNOD_AT: u16 = MKNOD + AT;

/// Native numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl), by kind.
const X86_64: &[(u16, &[usize])] = &[
    (SOCKET, &[41]),
    (CONNECT, &[42]),
    (ACCEPT, &[43, 288]),
    (BIND, &[49]),
    (LISTEN, &[50]),
    (DUP, &[32, 33, 292]),
    (FCNTL, &[72]),
    (CLOSE, &[3]),
    (CLOSE_RANGE, &[436]),
    (PIPE, &[22, 293]),
    (SOCKETPAIR, &[53]),
    (RECEIVED, &[438]), // pidfd_getfd
    (SETNS, &[308]),
    // open, creat, openat, open_by_handle_at, openat2
    (OPEN, &[2, 85, 257, 304, 437]),
    (MEMFD, &[319]),
    (MAP, &[9]),
    (FCHMOD, &[91]),
    (FTRUNCATE, &[77]),
    (LOAD_MODULE_FILE, &[313]),
    // read, pread64, readv, recvfrom, preadv, preadv2
    (READ, &[0, 17, 19, 45, 295, 327]),
    // write, pwrite64, writev, vmsplice, pwritev, pwritev2
    (WRITE, &[1, 18, 20, 278, 296, 328]),
    (SENDTO, &[44]),
    (SENDMSG, &[46]),
    (SENDMMSG, &[307]),
    (RECVMSG, &[47]),
    (RECVMMSG, &[299]),
    (SENDFILE, &[40]),
    (SPLICE, &[275, 326]), // and copy_file_range
    (TEE, &[276]),
    (SUBMIT, &[209]),
    (RENAME, &[82]),
    (RENAME_AT, &[264, 316]),
    (LINK, &[86]),
    (LINK_AT, &[265]),
    (SYMLINK, &[88]),
    (SYMLINK_AT, &[266]),
    (UNLINK, &[84, 87]), // rmdir, unlink
    (UNLINK_AT, &[263]),
    (CHMOD, &[90]),
    (CHMOD_AT, &[268, 452]),
    (TRUNCATE, &[76]),
    (MOUNT, &[165]),
    (MOVE_MOUNT, &[429]),
    (UNMOUNT, &[166]),
    (MKDIR, &[83]),
    (MKDIR_AT, &[258]),
    (MKNOD, &[133]),
    (MKNOD_AT, &[259]),
    (CHROOT, &[161]),
    // set{u,g}id, setre{u,g}id, setgroups, setres{u,g}id, setfs{u,g}id, capset
    (CREDENTIALS, &[105, 106, 113, 114, 116, 117, 119, 122, 123, 126]),
    (PTRACE, &[101]),
    (PROCESS_MEMORY, &[310, 311]),
    // kill, rt_sigqueueinfo, tkill, tgkill, rt_tgsigqueueinfo
    (KILL, &[62, 129, 200, 234, 297]),
    (PIDFD_KILL, &[424]),
    (UNSHARE, &[272]),
    (PRCTL, &[157]),
    (BPF, &[321]),
    (LOAD_MODULE, &[175]),
    (USERFAULTFD, &[323]),
    (CANARY, &[124]), // getsid
];

/// Numbers that only x32 has (the same file); the others are the native ones.
const X32: &[(u16, &[usize])] = &[
    (READ, &[515, 517, 534, 546]),  // readv, recvfrom, preadv, preadv2
    (WRITE, &[516, 532, 535, 547]), // writev, vmsplice, pwritev, pwritev2
    (SENDMSG, &[518]),
    (RECVMSG, &[519]),
    (PTRACE, &[521]),
    (KILL, &[524, 536]),
    (RECVMMSG, &[537]),
    (SENDMMSG, &[538]),
    (SUBMIT, &[544]),
    (PROCESS_MEMORY, &[539, 540]),
];

/// 32-bit numbers (arch/x86/entry/syscalls/syscall_32.tbl), which a 64-bit program can use as well.
const IA32: &[(u16, &[usize])] = &[
    (SOCKETCALL, &[102]),
    (SOCKET, &[359]),
    (CONNECT, &[362]),
    (ACCEPT, &[364]),
    (BIND, &[361]),
    (LISTEN, &[363]),
    (DUP, &[41, 63, 330]),
    (FCNTL, &[55, 221]),
    (CLOSE, &[6]),
    (CLOSE_RANGE, &[436]),
    (PIPE, &[42, 331]),
    (SOCKETPAIR, &[360]),
    (RECEIVED, &[438]),
    (SETNS, &[346]),
    (OPEN, &[5, 8, 295, 342, 437]),
    (MEMFD, &[356]),
    (MAP, &[192]),
    (FCHMOD, &[94]),
    (FTRUNCATE, &[93, 194]), // and ftruncate64
    (LOAD_MODULE_FILE, &[350]),
    (READ, &[3, 145, 180, 333, 371, 378]),
    (WRITE, &[4, 146, 181, 316, 334, 379]),
    (SENDTO, &[369]),
    (SENDMSG, &[370]),
    (SENDMMSG, &[345]),
    (RECVMSG, &[372]),
    (RECVMMSG, &[337, 417]),
    (SENDFILE, &[187, 239]),
    (SPLICE, &[313, 377]),
    (TEE, &[315]),
    (SUBMIT, &[248]),
    (RENAME, &[38]),
    (RENAME_AT, &[302, 353]),
    (LINK, &[9]),
    (LINK_AT, &[303]),
    (SYMLINK, &[83]),
    (SYMLINK_AT, &[304]),
    (UNLINK, &[10, 40]),
    (UNLINK_AT, &[301]),
    (CHMOD, &[15]),
    (CHMOD_AT, &[306, 452]),
    (TRUNCATE, &[92, 193]),
    (MOUNT, &[21]),
    (MOVE_MOUNT, &[429]),
    (UNMOUNT, &[22, 52]),
    (MKDIR, &[39]),
    (MKDIR_AT, &[296]),
    (MKNOD, &[14]),
    (MKNOD_AT, &[297]),
    (CHROOT, &[61]),
    // With 16-bit ids, capset, and with 32-bit ids.
    (CREDENTIALS, &[23, 46, 70, 71, 81, 138, 139, 164, 170, 185]),
    (CREDENTIALS, &[203, 204, 206, 208, 210, 213, 214, 215, 216]),
    (PTRACE, &[26]),
    (PROCESS_MEMORY, &[347, 348]),
    (KILL, &[37, 178, 238, 270, 335]),
    (PIDFD_KILL, &[424]),
    (UNSHARE, &[310]),
    (PRCTL, &[172]),
    (BPF, &[357]),
    (LOAD_MODULE, &[128]),
    (USERFAULTFD, &[374]),
];

/// Every number of an ABI that the tables know.
fn numbers(of: u8) -> impl Iterator<Item = (usize, u16)> {
    let tables: &[&[(u16, &[usize])]] = match of {
        abi::COMPAT => &[IA32],
        abi::X32 => &[X86_64, X32],
        _ => &[X86_64],
    };
    let rows = tables.iter().copied().flatten();
    rows.flat_map(|&(kind, numbers)| numbers.iter().map(move |&number| (number, kind)))
}

/// The kinds of records that a call with this kind in the table may lead to.
fn leads_to(of: u16) -> &'static [u16] {
    match of {
        SOCKETCALL => &[SOCKET, CONNECT, ACCEPT, BIND, LISTEN, SOCKETPAIR, SENT, TRAFFIC, RECEIVED],
        FCNTL => &[DUP, SET_DESCRIPTOR_FLAGS, TRAFFIC],
        CLOSE => &[CLOSE, TRAFFIC],
        DUP => &[DUP, TRAFFIC],
        CONNECT => &[CONNECT, TRAFFIC],
        OPEN => &[OPEN, OPEN_ANY, SCRIPT],
        READ | WRITE | SENDTO | SENDMSG | SENDMMSG | SENDFILE | SPLICE | TEE | SUBMIT => {
            &[SENT, TRAFFIC]
        }
        RECVMSG | RECVMMSG => &[TRAFFIC, RECEIVED],
        PRCTL => &[SET_NAME, CREDENTIALS],
        _ => &[],
    }
}

/// Calls after which a descriptor's number may mean something else than the file that was opened: the kernel's
/// notes of files rest on them.
const ENDS_OF_FILES: [u16; 4] = [CLOSE, CLOSE_RANGE, DUP, UNSHARE];

fn is_wanted(of: u16, kinds: KindSet) -> bool {
    let base = if of >= RENAME + AT { of - AT } else { of };
    match leads_to(base) {
        _ if ENDS_OF_FILES.contains(&base) && kinds.has(OPEN) => true,
        [] => kinds.has(base),
        several => several.iter().any(|&kind| kinds.has(kind)),
    }
}

/// The table for the kernel with the calls that lead to `kinds`; `counting` has all calls counted.
pub fn of(kinds: KindSet, counting: bool) -> SyscallTable {
    let mut table = [if counting { COUNTED } else { 0 }; SYSCALLS];
    for abi in [abi::NATIVE, abi::COMPAT, abi::X32] {
        for (number, kind) in numbers(abi).filter(|&(_, kind)| is_wanted(kind, kinds)) {
            if let Some(row) = table.get_mut(number) {
                *row |= u32::from(kind) << (8 * u32::from(abi));
            }
        }
    }
    table
}

/// Whether some call leads to one of `kinds`.
pub fn has(kinds: KindSet) -> bool {
    of(kinds, false).iter().any(|&row| row != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn kind(row: u32, abi: u8) -> u16 {
        u16::from(row.to_le_bytes()[usize::from(abi)])
    }

    #[test]
    fn every_number_has_its_place_and_only_one_kind() {
        let table = of(KindSet::all(), false);
        for abi in [abi::NATIVE, abi::COMPAT, abi::X32] {
            let mut seen = HashSet::new();
            for (number, of) in numbers(abi) {
                assert!(seen.insert(number), "abi {abi}: {number} twice");
                assert_eq!(kind(table[number], abi), of, "abi {abi}: {number}");
            }
            for (number, row) in table.into_iter().enumerate() {
                assert!(kind(row, abi) == 0 || seen.contains(&number), "abi {abi}: {number}");
            }
        }
        assert_eq!(table[SYSCALLS - 1], 0, "the row of all numbers without one");
    }

    #[test]
    fn all_calls_are_counted_or_none_and_kinds_stay_what_they_are() {
        let (plain, counting) = (of(KindSet::all(), false), of(KindSet::all(), true));
        assert!(plain.iter().all(|row| row & COUNTED == 0));
        assert!(plain.iter().zip(&counting).all(|(plain, counting)| plain | COUNTED == *counting));
    }

    #[test]
    fn nothing_is_monitored_for_nobody() {
        assert!(!has(KindSet::default()));
        assert!(!has(KindSet::of(&[FORK, EXEC, TCP_CONNECTING])));
    }

    #[test]
    fn a_kind_brings_the_calls_that_lead_to_it_and_no_others() {
        let monitored = |kinds: &[u16]| {
            let table = of(KindSet::of(kinds), false);
            let rows = (0..SYSCALLS).filter(|&number| kind(table[number], abi::NATIVE) != 0);
            rows.collect::<Vec<usize>>()
        };
        assert_eq!(monitored(&[DUP]), [32, 33, 72, 292]);
        assert_eq!(monitored(&[RENAME]), [82, 264, 316]);
    }
}
