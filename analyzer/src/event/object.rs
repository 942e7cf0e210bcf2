//! What files, pipes and sockets are.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sentinel_ipc::kernel_abi;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFREG: u32 = 0o100_000;
const S_IFSOCK: u32 = 0o140_000;
const SOCK_DGRAM: u16 = 2;
const TCP_ESTABLISHED: u16 = 1;
/// Character device majors of Unix 98 pseudo terminals, slave side (Documentation/admin-guide/
/// devices.txt).
const PTS_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// Which file, pipe or socket something is, whatever it is called.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ObjectId {
    /// The kernel's device number of the file system.
    pub device: u32,
    /// Inode number.
    pub inode: u64,
    /// Inode generation.
    pub generation: u32,
}

/// An inode at the time of the event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Object {
    /// Identity.
    pub id: ObjectId,
    /// `S_IF*` and permissions.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// Directory entries that lead to it; 0 for one that was deleted, or a memfd.
    pub links: u32,
    /// User id.
    pub owner: u32,
    /// A device file's device: major << 20 | minor.
    pub rdev: u32,
}

impl Object {
    /// Whether it is a pipe or a fifo.
    pub fn is_pipe(&self) -> bool {
        self.mode & S_IFMT == S_IFIFO
    }

    /// Whether it is the slave side of a pseudo terminal.
    pub fn is_terminal(&self) -> bool {
        self.mode & S_IFMT == S_IFCHR && PTS_MAJORS.contains(&(self.rdev >> 20))
    }

    /// Whether it is a regular file, which one without a name is as well.
    pub fn is_regular(&self) -> bool {
        self.mode & S_IFMT == S_IFREG
    }

    /// Whether it is a socket.
    pub fn is_socket(&self) -> bool {
        self.mode & S_IFMT == S_IFSOCK
    }
}

/// A socket's ends, as the kernel held them at the time of the event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketEnds {
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub kind: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// `TCP_*`, used by other protocols too.
    pub state: u16,
    /// For IPv4 and IPv6.
    pub local: Option<SocketAddr>,
    /// For IPv4 and IPv6 with a peer, or an address that the caller sent to.
    pub remote: Option<SocketAddr>,
    /// Whether `remote` is the caller's word, read from its memory after the call.
    pub remote_as_given: bool,
    /// Whether there is a peer, whatever the family.
    pub has_peer: bool,
    /// Inode of the unix socket at the other end of one that was accepted.
    pub peer: Option<u64>,
}

impl SocketEnds {
    /// Whether it reaches beyond the host's own IPC. Loopback does: the address says little about
    /// who listens there.
    pub fn is_network(&self) -> bool {
        !matches!(self.family, 0 | AF_UNIX | AF_NETLINK)
    }

    /// Whether it is for datagrams, which nobody accepts.
    pub fn is_datagram(&self) -> bool {
        self.kind == SOCK_DGRAM
    }
}

/// What a descriptor refers to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// The inode.
    pub object: Object,
    /// Set for a socket.
    pub socket: Option<SocketEnds>,
}

/// `None` if the kernel did not know it.
pub(super) fn object(raw: &kernel_abi::Object) -> Option<Object> {
    let id = ObjectId { device: raw.device, inode: raw.inode, generation: raw.generation };
    let kernel_abi::Object { mode, size, links, owner, rdev, .. } = *raw;
    (mode != 0).then_some(Object { id, mode, size, links, owner, rdev })
}

/// `None` if no such descriptor was open, or it is not known. `as_given`: the remote address is the
/// caller's word.
pub(super) fn descriptor(raw: &kernel_abi::Descriptor, as_given: bool) -> Option<Descriptor> {
    let object = object(&raw.object)?;
    let socket = object.is_socket().then(|| ends(&raw.socket, as_given));
    Some(Descriptor { object, socket })
}

pub(super) fn ends(raw: &kernel_abi::Socket, as_given: bool) -> SocketEnds {
    let remote = address(raw.family, raw.remote_address, raw.remote_port)
        .filter(|remote| remote.port() != 0);
    SocketEnds {
        family: raw.family,
        kind: raw.kind,
        protocol: raw.protocol,
        state: raw.state,
        local: address(raw.family, raw.local_address, raw.local_port),
        remote,
        remote_as_given: as_given && remote.is_some(),
        peer: (raw.peer != 0).then_some(u64::from(raw.peer)),
        has_peer: match raw.family {
            // One under way counts too; what the caller named says nothing.
            AF_INET | AF_INET6 if !as_given => remote.is_some(),
            _ => raw.state == TCP_ESTABLISHED,
        },
    }
}

/// An IPv4 address in IPv6 clothes counts as what it is.
fn address(family: u16, raw: [u8; 16], port: u16) -> Option<SocketAddr> {
    let ip = match family {
        AF_INET => {
            let [a, b, c, d, ..] = raw;
            IpAddr::from(Ipv4Addr::new(a, b, c, d))
        }
        AF_INET6 => IpAddr::from(Ipv6Addr::from(raw)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn a_terminal_is_told_by_its_device_number() {
        let mut raw = kernel_abi::Object::new_zeroed();
        raw.mode = S_IFCHR | 0o620;
        raw.rdev = 136 << 20 | 4;
        assert!(object(&raw).unwrap().is_terminal());
        raw.rdev = 1 << 20 | 3;
        assert!(!object(&raw).unwrap().is_terminal());
    }

    #[test]
    fn what_the_kernel_did_not_know_is_none() {
        let mut raw = kernel_abi::Descriptor::new_zeroed();
        raw.object.inode = 7;
        assert_eq!(object(&raw.object), None);
        assert_eq!(descriptor(&raw, false), None);
    }

    #[test]
    fn an_address_that_was_only_named_makes_no_peer() {
        let mut raw = kernel_abi::Socket::new_zeroed();
        raw.family = AF_INET;
        raw.remote_port = 53;
        raw.remote_address[..4].copy_from_slice(&[192, 0, 2, 1]);
        let named = ends(&raw, true);
        assert_eq!(named.remote, Some("192.0.2.1:53".parse().unwrap()));
        assert!(named.remote_as_given && !named.has_peer);
        assert!(ends(&kernel_abi::Socket { state: TCP_ESTABLISHED, ..raw }, true).has_peer);
        let connected = ends(&raw, false);
        assert!(!connected.remote_as_given && connected.has_peer);
    }
}
