use std::{
    io::Read as _,
    net::{TcpListener, TcpStream, UdpSocket},
};

use nix::sys::socket::{setsockopt, sockopt};

use super::*;
use crate::alert::Severity;

fn message(text: &str) -> Message {
    Message { severity: Severity::High, bytes: text.as_bytes().to_vec(), was_sent: false }
}

fn spool(texts: &[&str]) -> Spool {
    let mut spool = Spool::default();
    for text in texts {
        assert_eq!(spool.push(message(text)), 0);
    }
    spool
}

fn tcp() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    let target = "tcp:127.0.0.1:1".parse().unwrap();
    (Connection::new(ours.into(), &target), theirs)
}

fn udp(port: u16) -> Connection {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(("127.0.0.1", port)).unwrap();
    Connection::new(ours.into(), &"udp:127.0.0.1:1".parse().unwrap())
}

#[test]
fn a_message_that_was_sent_in_part_begins_anew_on_the_next_connection() {
    let (mut first, theirs) = tcp();
    setsockopt(&first, sockopt::SndBuf, &4096).unwrap();
    let long = "x".repeat(800_000);
    let mut spool = spool(&[&long, "short"]);
    let mut turns = 0;
    while first.flush(&mut spool).sent == 0 {
        // A reader that takes a little, so that the message is under way.
        turns += 1;
        if turns == 3 {
            break;
        }
        (&theirs).read_exact(&mut [0; 1000]).unwrap();
    }
    assert!(matches!(first.way, Way::Tcp { begun } if begun > 0 && begun < long.len()));
    assert_eq!(spool.len(), 2, "neither was sent whole");
    drop(theirs);
    while first.flush(&mut spool).ended.is_none() {}

    let (mut second, mut theirs) = tcp();
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        theirs.read_to_string(&mut all).unwrap();
        all
    });
    while !spool.is_empty() {
        assert_eq!(second.flush(&mut spool).ended, None);
    }
    drop(second);
    assert!(reader.join().unwrap() == long + "short", "whole, and nothing else");
}

#[test]
fn a_server_that_hangs_up_is_noticed_before_the_next_message() {
    let (mut connection, theirs) = tcp();
    let mut spool = spool(&["one"]);
    assert_eq!(connection.flush(&mut spool), Flushed { sent: 1, ..Flushed::default() });
    (&theirs).read_exact(&mut [0; 3]).unwrap();
    drop(theirs);
    spool.push(message("two"));
    let flushed = connection.flush(&mut spool);
    assert_eq!((flushed.sent, flushed.ended), (0, Some(Errno::EPIPE)));
    assert_eq!(spool.len(), 1);
}

#[test]
fn a_server_that_talks_is_not_listened_to() {
    let (mut connection, mut theirs) = tcp();
    std::io::Write::write_all(&mut theirs, &[b'x'; 100_000]).unwrap();
    let mut spool = spool(&["one"]);
    for _ in 0..20 {
        assert_eq!(connection.flush(&mut spool).ended, None);
    }
    assert!(spool.is_empty());
}

#[test]
fn a_closed_port_loses_no_datagram() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    drop(server);
    let mut spool = spool(&["one", "two", "three"]);
    let mut connection = udp(port);
    let first = connection.flush(&mut spool);
    assert_eq!((first.sent, first.ended, spool.len()), (1, None, 2), "one tries the way");
    let second = connection.flush(&mut spool);
    assert_eq!((second.sent, second.ended), (0, Some(Errno::ECONNREFUSED)));
    let again = Message { was_sent: true, ..message("one") };
    assert_eq!(spool.first(), Some(&again), "it is the first again");

    let server = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let mut connection = udp(port);
    let sent = connection.flush(&mut spool).sent + connection.flush(&mut spool).sent;
    assert_eq!(sent, 2, "one was counted already");
    for wanted in ["one", "two", "three"] {
        let mut datagram = [0; 100];
        let length = server.recv(&mut datagram).unwrap();
        assert_eq!(&datagram[..length], wanted.as_bytes());
    }
    // It goes away while there is a connection that worked.
    drop(server);
    spool.push(message("four"));
    spool.push(message("five"));
    let flushed = connection.flush(&mut spool);
    assert_eq!((flushed.sent, flushed.ended), (1, Some(Errno::ECONNREFUSED)));
    let again = Message { was_sent: true, ..message("four") };
    assert_eq!((spool.len(), spool.first()), (2, Some(&again)));
}

#[test]
fn what_is_too_long_for_a_datagram_is_left_out_and_counted() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut connection = udp(server.local_addr().unwrap().port());
    let mut spool = spool(&[&"x".repeat(70_000), "fits"]);
    let flushed = connection.flush(&mut spool);
    assert_eq!((flushed.sent, flushed.unfit), (1, Some((1, Errno::EMSGSIZE))));
}
