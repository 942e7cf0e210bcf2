//! Which system call number means which kind of event, for each ABI.

use sentinel_ipc::kernel_abi::{SYSCALLS_PER_ABI, SyscallTable, abi, kind};

/// Native numbers of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
const X86_64: &[(usize, u16)] = &[
    (3, kind::CLOSE),
    (22, kind::PIPE),
    (32, kind::DUP),
    (33, kind::DUP),  // dup2
    (292, kind::DUP), // dup3
    (41, kind::SOCKET),
    (42, kind::CONNECT),
    (43, kind::ACCEPT),
    (288, kind::ACCEPT), // accept4
    (49, kind::BIND),
    (50, kind::LISTEN),
    (53, kind::SOCKETPAIR),
    (72, kind::FCNTL),
    (293, kind::PIPE), // pipe2
    (272, kind::UNSHARE_FILES),
    (436, kind::CLOSE_RANGE),
];

/// 32-bit numbers (arch/x86/entry/syscalls/syscall_32.tbl), which a 64-bit program can use as well.
const IA32: &[(usize, u16)] = &[
    (6, kind::CLOSE),
    (41, kind::DUP),
    (42, kind::PIPE),
    (55, kind::FCNTL),
    (63, kind::DUP), // dup2
    (102, kind::SOCKETCALL),
    (221, kind::FCNTL), // fcntl64
    (310, kind::UNSHARE_FILES),
    (330, kind::DUP),  // dup3
    (331, kind::PIPE), // pipe2
    (359, kind::SOCKET),
    (360, kind::SOCKETPAIR),
    (361, kind::BIND),
    (362, kind::CONNECT),
    (363, kind::LISTEN),
    (364, kind::ACCEPT), // accept4
    (436, kind::CLOSE_RANGE),
];

/// The table for the kernel with everything monitored.
pub fn all() -> SyscallTable {
    let mut table = [0; SYSCALLS_PER_ABI * abi::COUNT];
    for (abi, calls) in [(abi::NATIVE, X86_64), (abi::COMPAT, IA32)] {
        for &(number, kind) in calls {
            let index = usize::from(abi) * SYSCALLS_PER_ABI + number;
            if let (Some(slot), Ok(kind)) = (table.get_mut(index), u8::try_from(kind)) {
                *slot = kind;
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_its_place() {
        let table = all();
        for &(number, kind) in X86_64 {
            assert_eq!(u16::from(table[number]), kind, "{number}");
        }
        for &(number, kind) in IA32 {
            assert_eq!(u16::from(table[SYSCALLS_PER_ABI + number]), kind, "{number}");
        }
        let monitored = table.iter().filter(|&&kind| kind != 0).count();
        assert_eq!(monitored, X86_64.len() + IA32.len());
    }
}
