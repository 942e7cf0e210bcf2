//! The addresses that the connector may connect to, in memory that nothing can change any more.
//!
//! A filter of system calls sees the pointer to an address, and not the address. So the addresses stand in
//! pages that are read-only, connect(2) is allowed with pointers to them alone ([`super::privileges`]), and no
//! call that could change the pages is.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    num::NonZeroUsize,
    ptr::NonNull,
};

use nix::sys::{
    mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect},
    socket::{AddressFamily, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr},
};

use crate::configuration::SyslogTarget;

/// As many addresses of one name are tried.
pub(super) const MAX: usize = 8;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub enum Address {
    /// A socket of this host.
    Unix(UnixAddr),
    /// A port of an IPv4 address.
    V4(SockaddrIn),
    /// A port of an IPv6 address.
    V6(SockaddrIn6),
}

impl Address {
    /// As connect(2) takes it: a pointer into this value, and a length.
    pub fn raw(&self) -> &dyn SockaddrLike {
        match self {
            Self::Unix(address) => address,
            Self::V4(address) => address,
            Self::V6(address) => address,
        }
    }

    /// Its family.
    pub fn family(&self) -> AddressFamily {
        match self {
            Self::Unix(_) => AddressFamily::Unix,
            Self::V4(_) => AddressFamily::Inet,
            Self::V6(_) => AddressFamily::Inet6,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::V4(address.into()),
            SocketAddr::V6(address) => Self::V6(address.into()),
        }
    }
}

/// Addresses of one peer that can be connected to, and never changed. They live as long as the process.
#[derive(Debug, Clone, Copy)]
pub struct Peers {
    addresses: &'static [Address],
    /// Of the sockets.
    kind: SockType,
    /// A server's.
    port: Option<u16>,
}

impl Peers {
    /// Looks up the addresses of `target`: up to eight, in the resolver's order.
    ///
    /// # Errors
    /// When its name is not known or nobody tells, or there is no memory.
    pub fn resolve(target: &SyslogTarget) -> io::Result<Self> {
        let (found, kind, port) = match target {
            SyslogTarget::Unix(path) => {
                (vec![Address::Unix(UnixAddr::new(path)?)], SockType::Datagram, None)
            }
            SyslogTarget::Udp(server) | SyslogTarget::Tcp(server) => {
                let port = server.port.get();
                let found = (server.host.as_str(), port).to_socket_addrs()?;
                let kind = match target {
                    SyslogTarget::Tcp(_) => SockType::Stream,
                    _ => SockType::Datagram,
                };
                (found.take(MAX).map(Address::from).collect(), kind, Some(port))
            }
        };
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self { addresses: seal(&found)?, kind, port })
    }

    /// The addresses.
    pub fn addresses(&self) -> &'static [Address] {
        self.addresses
    }

    /// The type of the sockets.
    pub fn kind(&self) -> SockType {
        self.kind
    }

    /// The peer's TCP port.
    pub(super) fn tcp_port(&self) -> Option<u16> {
        self.port.filter(|_| self.kind == SockType::Stream)
    }
}

/// Puts addresses into read-only pages of their own.
#[expect(unsafe_code, reason = "maps pages, and makes them read-only")]
fn seal(found: &[Address]) -> io::Result<&'static [Address]> {
    let bytes = size_of_val(found);
    let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::NotFound)?;
    let (both, private) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE);
    // SAFETY: a new private mapping at an address of the kernel's choice touches no memory of ours.
    let pages = unsafe { mmap_anonymous(None, length, both, private) }?;
    let first: NonNull<Address> = pages.cast();
    // SAFETY: the pages are new, writable, aligned for any type, as long as `found`, and nobody else's.
    unsafe { first.copy_from_nonoverlapping(NonNull::from(found).cast(), found.len()) };
    // SAFETY: exactly the pages just mapped, to which there is no reference yet.
    unsafe { mprotect(pages, bytes, ProtFlags::PROT_READ) }?;
    // SAFETY: `found.len()` addresses were written there; the pages are never written to or unmapped again.
    Ok(unsafe { NonNull::slice_from_raw_parts(first, found.len()).as_ref() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_the_target_says_and_in_read_only_memory() {
        let peers = Peers::resolve(&"tcp:[::1]:6514".parse().unwrap()).unwrap();
        assert_eq!((peers.addresses().len(), peers.tcp_port()), (1, Some(6514)));
        assert!(matches!(&peers.addresses()[0], Address::V6(v6) if v6.to_string() == "[::1]:6514"));
        let udp = Peers::resolve(&"udp:127.0.0.1:514".parse().unwrap()).unwrap();
        assert_eq!((udp.kind(), udp.tcp_port()), (SockType::Datagram, None));
        let unix = Peers::resolve(&"unix:/dev/log".parse().unwrap()).unwrap();
        assert!(
            matches!(&unix.addresses()[0], Address::Unix(unix) if unix.to_string() == "/dev/log")
        );
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        for peers in [peers, udp, unix] {
            let place = peers.addresses().as_ptr() as usize;
            let line = maps.lines().find(|line| {
                let (begin, rest) = line.split_once('-').unwrap();
                let end = rest.split_once(' ').unwrap().0;
                let number = |text| usize::from_str_radix(text, 16).unwrap();
                (number(begin)..number(end)).contains(&place)
            });
            assert!(line.unwrap().contains(" r--p "), "{line:?}");
        }
    }

    #[test]
    fn a_name_that_nobody_has_has_no_addresses() {
        // RFC 2606: never in the DNS.
        assert!(Peers::resolve(&"udp:nobody.invalid:514".parse().unwrap()).is_err());
    }
}
