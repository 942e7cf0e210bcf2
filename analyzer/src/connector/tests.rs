use std::{
    fs::File,
    io::Read as _,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
};

use nix::{
    sys::socket::{ControlMessage, sendmsg},
    unistd::getpid,
};

use super::*;

/// An analyzer's end for `target`, and the end that a taken-over connector has.
fn ends(target: &str) -> (Connector, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (socket, its) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    (Connector { socket, pid: getpid(), target: target.parse().unwrap() }, its)
}

fn say(from: &OwnedFd, bytes: &[u8], passed: &[&dyn AsFd]) {
    let numbers: Vec<_> = passed.iter().map(|passed| passed.as_fd().as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let rights = if numbers.is_empty() { &[][..] } else { &rights[..] };
    let parts = [io::IoSlice::new(bytes)];
    sendmsg::<()>(from.as_raw_fd(), &parts, rights, MsgFlags::empty(), None).unwrap();
}

#[test]
fn a_connection_of_the_right_kind_is_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let unix = UnixDatagram::unbound().unwrap();
    let connected = Word::Connected.bytes();
    let sockets: [(&str, &dyn AsFd); 3] =
        [("tcp:127.0.0.1:1", &tcp), ("udp:[::1]:1", &udp), ("unix:/dev/log", &unix)];
    for (target, wanted) in sockets {
        for (other, passed) in sockets {
            let (mut connector, its) = ends(target);
            say(&its, &connected, &[passed]);
            let heard = connector.hear().unwrap();
            let is_wanted = std::ptr::eq(wanted, passed) && target == other;
            assert_eq!(
                matches!(heard, Heard::Connected(_)),
                is_wanted,
                "{target} {other}: {heard:?}"
            );
            assert_eq!(matches!(heard, Heard::Gone(_)), !is_wanted, "{target} {other}: {heard:?}");
        }
    }
}

#[test]
fn words_are_heard_in_order_up_to_the_end() {
    let (mut connector, its) = ends("udp:127.0.0.1:1");
    assert!(connector.hear().is_none());
    say(&its, &Word::Unresolved.bytes(), &[]);
    say(&its, &Word::Refused(Errno::ENETUNREACH).bytes(), &[]);
    drop(its);
    assert!(matches!(connector.hear(), Some(Heard::Unresolved)));
    assert!(matches!(connector.hear(), Some(Heard::Refused(Errno::ENETUNREACH))));
    assert!(matches!(connector.hear(), Some(Heard::Gone(_))));
    connector.ask();
}

#[test]
fn who_says_what_it_must_not_is_not_heard_and_nothing_it_passed_is_kept() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = File::open("/dev/null").unwrap();
    let (connected, refused) = (Word::Connected.bytes(), Word::Refused(Errno::EPERM).bytes());
    let long = [b'c'; 100];
    let cases: [(&[u8], &[&dyn AsFd]); 9] = [
        (&connected, &[]),
        (&connected, &[&udp, &udp]),
        (&connected, &[&udp, &udp, &udp, &udp, &udp]),
        (&connected, &[&file]),
        (&refused, &[&udp]),
        (b"c", &[&udp]),
        (&long, &[&udp]),
        (&long, &[]),
        (b"x\0\0\0\0", &[]),
    ];
    for (bytes, passed) in cases {
        let (mut connector, its) = ends("udp:127.0.0.1:1");
        say(&its, bytes, passed);
        let heard = connector.hear();
        assert!(matches!(heard, Some(Heard::Gone(_))), "{bytes:?}: {heard:?}");
    }
}

#[test]
fn what_was_passed_in_excess_is_closed() {
    for count in 1..=8 {
        let (mut reader, writer) = io::pipe().unwrap();
        let (mut connector, its) = ends("udp:127.0.0.1:1");
        let passed: Vec<&dyn AsFd> = vec![&writer; count];
        say(&its, &Word::Connected.bytes(), &passed);
        drop(writer);
        assert!(matches!(connector.hear(), Some(Heard::Gone(_))));
        // Its end comes once nobody has the other end any more.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "{count}");
    }
}
