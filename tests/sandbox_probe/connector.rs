//! What the connector to syslog may do, and what not, with all that somebody has who runs code in it.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsRawFd as _, IntoRawFd as _},
};

use libc::{c_int, c_long, c_void, socklen_t, syscall};
use sentinel_analyzer::{
    configuration::SyslogTarget,
    connector::{Address, Peers, privileges},
};
use sentinel_ipc::confinement::{ConfinementError, landlock_but_port};

use crate::attempt::attempt;

/// What was there before the sandbox closed.
pub(crate) struct Held {
    peers: Peers,
    other: Address,
    udp: c_int,
    listener: c_int,
}

/// How far the probe goes.
#[derive(PartialEq, Eq)]
pub(crate) enum Extent {
    /// As the connector.
    Whole,
    /// As the connector, but for its filter of system calls.
    WithoutFilter,
    /// Not at all.
    Free,
}

/// Gives up what the connector does to the second argument, a target; the third one is another server.
pub(crate) fn drop_privileges(extent: &Extent) -> Result<Held, ConfinementError> {
    let argument = |index| std::env::args().nth(index).expect("an argument");
    let target: SyslogTarget = argument(2).parse().expect("a target");
    let other: SocketAddr = argument(3).parse().expect("an address");
    let peers = Peers::resolve(&target).expect("addresses");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    listener.set_nonblocking(true).expect("a socket");
    let held = Held {
        peers,
        other: other.into(),
        udp: UdpSocket::bind("127.0.0.1:0").expect("a socket").into_raw_fd(),
        listener: listener.into_raw_fd(),
    };
    match extent {
        Extent::Whole => {
            privileges::become_nobody_special()?;
            privileges::confine_to(&peers)?;
        }
        Extent::WithoutFilter => {
            let SyslogTarget::Tcp(server) = &target else { panic!("no TCP target") };
            privileges::become_nobody_special()?;
            landlock_but_port(server.port.get())?;
        }
        Extent::Free => {}
    }
    Ok(held)
}

/// Tries it all; a name and a result for each.
pub(crate) fn tries(held: &Held, extent: &Extent) -> Vec<(&'static str, String)> {
    let Held { peers, other, udp, listener } = held;
    let peer = &peers.addresses()[0];
    let (peer_at, peer_bytes) = (peer.raw().as_ptr() as c_long, c_long::from(peer.raw().len()));
    let (other_at, other_bytes) = (other.raw().as_ptr() as c_long, c_long::from(other.raw().len()));
    let copy = *peer;
    let copy_at = copy.raw().as_ptr() as c_long;
    let page = peer_at & !0xfff;
    let kind = peers.kind() as c_int;
    let [udp, listener] = [udp, listener].map(|number| c_long::from(*number));
    let byte = [0_u8; 64];
    let bytes = byte.as_ptr() as c_long;
    // With an address: to somebody else.
    let mut parts = libc::iovec { iov_base: byte.as_ptr() as *mut c_void, iov_len: 1 };
    // SAFETY: all zeroes is a message without parts, address and control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = other_at as *mut c_void;
    message.msg_namelen = other.raw().len() as socklen_t;
    message.msg_iov = &raw mut parts;
    message.msg_iovlen = 1;
    let message_at = (&raw const message) as c_long;
    let yes = 1_i32;
    let yes_at = (&raw const yes) as c_long;
    let connect = |place, length| {
        let number = [c_long::from(libc::AF_INET), c_long::from(kind), 0];
        // SAFETY: makes a socket.
        let socket = unsafe { syscall(libc::SYS_socket, number[0], number[1], number[2]) };
        let told = attempt(libc::SYS_connect, [socket, place, length, 0, 0, 0]);
        // SAFETY: closes the socket just made, or nothing.
        unsafe { libc::close(socket as c_int) };
        told
    };
    let (inet, inet6, unix) = (libc::AF_INET.into(), libc::AF_INET6.into(), libc::AF_UNIX.into());
    let of_another_kind: c_long =
        if kind == libc::SOCK_STREAM { libc::SOCK_DGRAM } else { libc::SOCK_STREAM }.into();
    let socket =
        |family: c_long, kind: c_long| attempt(libc::SYS_socket, [family, kind, 0, 0, 0, 0]);
    let mut told = vec![
        ("connect_to_peer", connect(peer_at, peer_bytes)),
        ("connect_to_other", connect(other_at, other_bytes)),
        ("connect_to_copy", connect(copy_at, peer_bytes)),
        ("connect_to_part", connect(peer_at, peer_bytes - 1)),
        ("socket_of_kind", socket(inet, c_long::from(kind))),
        ("socket_of_other_kind", socket(inet, of_another_kind)),
        ("socket_raw", socket(inet, libc::SOCK_RAW.into())),
        ("socket_ipv6", socket(inet6, c_long::from(kind))),
        ("socket_local", socket(unix, libc::SOCK_DGRAM.into())),
        ("sendto_other", attempt(libc::SYS_sendto, [udp, bytes, 1, 0, other_at, other_bytes])),
        ("sendto_nobody", attempt(libc::SYS_sendto, [udp, bytes, 1, 0, 0, 0])),
        ("sendmsg_other", attempt(libc::SYS_sendmsg, [udp, message_at, 0, 0, 0, 0])),
        ("write_socket", attempt(libc::SYS_write, [udp, bytes, 1, 0, 0, 0])),
        ("recvfrom_socket", attempt(libc::SYS_recvfrom, [udp, bytes, 1, 0x40, 0, 0])),
        ("accept", attempt(libc::SYS_accept4, [listener, 0, 0, 0x800, 0, 0])),
        ("ip_options", attempt(libc::SYS_setsockopt, [udp, 0, 4, bytes, 4, 0])),
        ("debug_option", attempt(libc::SYS_setsockopt, [udp, 1, 2, yes_at, 4, 0])),
        ("dup", attempt(libc::SYS_dup, [udp, 0, 0, 0, 0, 0])),
        ("copy_by_fcntl", attempt(libc::SYS_fcntl, [udp, 0, 0, 0, 0, 0])),
        ("set_flags", attempt(libc::SYS_fcntl, [udp, 4, 0, 0, 0, 0])),
        ("protect_page", attempt(libc::SYS_mprotect, [page, 4096, 3, 0, 0, 0])),
        ("map_over_page", attempt(libc::SYS_mmap, [page, 4096, 3, 0x32, -1, 0])),
        ("map", attempt(libc::SYS_mmap, [0, 4096, 3, 0x22, -1, 0])),
        ("empty_page", attempt(libc::SYS_madvise, [page, 4096, 4, 0, 0, 0])),
        ("move_page", attempt(libc::SYS_mremap, [page, 4096, 8192, 1, 0, 0])),
        ("unmap_page", attempt(libc::SYS_munmap, [page, 4096, 0, 0, 0, 0])),
    ];
    if *extent == Extent::Whole {
        // Where the page can be written to, that is what would happen.
        told.push(("receive_into_page", attempt(libc::SYS_recvfrom, [0, page, 1, 0, 0, 0])));
        told.push(("close_analyzer", attempt(libc::SYS_close, [0; 6])));
        told.push(("close_range", attempt(libc::SYS_close_range, [0, 0, 0, 0, 0, 0])));
        told.push(("take_its_place", attempt(libc::SYS_dup2, [udp, 0, 0, 0, 0, 0])));
        told.push(("take_its_place_too", attempt(libc::SYS_dup3, [udp, 0, 0, 0, 0, 0])));
    }
    told
}

/// Says `report` where the analyzer would be, by the one call that the connector has for it.
pub(crate) fn say(report: &str) {
    let parts = [std::io::IoSlice::new(report.as_bytes())];
    let socket = std::io::stdin().as_raw_fd();
    let flags = nix::sys::socket::MsgFlags::empty();
    nix::sys::socket::sendmsg::<()>(socket, &parts, &[], flags, None).expect("a reader");
}
