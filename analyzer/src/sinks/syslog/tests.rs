use std::os::unix::net::UnixDatagram;

use super::*;
use crate::analysis::Analysis;

fn bed() -> (tempfile::TempDir, SyslogTarget, UnixDatagram) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let daemon = UnixDatagram::bind(&path).unwrap();
    (directory, SyslogTarget::Unix(path), daemon)
}

/// With a connection that somebody made, and no connector.
fn connected(target: &SyslogTarget) -> Syslog {
    let mut syslog = Syslog::with(None, target);
    connect(&mut syslog);
    syslog
}

fn connect(syslog: &mut Syslog) {
    let SyslogTarget::Unix(path) = &syslog.target else { panic!("no path") };
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(path).unwrap();
    syslog.connection = Some(Connection::new(socket.into(), &syslog.target));
    syslog.news.see_connection();
}

#[test]
fn a_daemon_that_does_not_read_holds_nobody_up_and_what_it_missed_is_counted() {
    let (_directory, target, daemon) = bed();
    let mut syslog = connected(&target);
    let alert = Analysis::new(false).breaker_tripped(1);
    while syslog.news.lost() < 3 {
        syslog.send(&alert);
    }
    assert_eq!(syslog.state().waiting, spool::MAX_MESSAGES as u64);
    let told = syslog.take_losses(false).unwrap();
    // The first one is told at once.
    assert!(told.starts_with("3 alerts did not reach syslog at unix:/"), "{told}");
    assert!(told.contains("too slowly"), "{told}");
    syslog.send(&alert);
    assert_eq!(syslog.take_losses(false), None, "not again so soon");
    let (sent, mut datagram, mut came) = (syslog.sent, [0; 2048], 0);
    daemon.set_nonblocking(true).unwrap();
    // There is room again: all that waits comes.
    while let Ok(length) = daemon.recv(&mut datagram) {
        assert!(datagram[..length].starts_with(b"<82>"));
        came += 1;
        syslog.advance();
    }
    assert_eq!((came, syslog.state().waiting), (sent + spool::MAX_MESSAGES as u64, 0));
    assert!(syslog.take_losses(true).unwrap().starts_with("1 alert did not"));
    assert_eq!(syslog.take_losses(true), None);
}

#[test]
fn what_is_sent_while_a_daemon_is_away_arrives_at_the_next_connection() {
    let (_directory, target, daemon) = bed();
    let mut syslog = connected(&target);
    drop(daemon);
    let SyslogTarget::Unix(path) = &target else { panic!("no path") };
    std::fs::remove_file(path).unwrap();
    let daemon = UnixDatagram::bind(path).unwrap();
    let alert = Analysis::new(false).breaker_tripped(1);
    for _ in 0..3 {
        syslog.send(&alert);
    }
    assert!(!syslog.state().is_connected);
    let told = syslog.take_losses(false).unwrap();
    assert!(told.starts_with("no connection to syslog") && told.contains("are kept"), "{told}");
    connect(&mut syslog);
    syslog.advance();
    daemon.set_nonblocking(true).unwrap();
    let came = std::iter::from_fn(|| daemon.recv(&mut [0; 2048]).ok()).count();
    assert_eq!(came, 3);
    assert!(syslog.take_losses(false).unwrap().ends_with("again"));
    assert_eq!(
        syslog.state(),
        SyslogState {
            target: target.to_string(),
            is_connected: true,
            sent: 3,
            ..SyslogState::default()
        }
    );
}

#[test]
fn a_server_that_accepts_and_never_reads_fills_the_spool_and_no_more() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let target = format!("tcp:{address}").parse().unwrap();
    let mut syslog = Syslog::with(None, &target);
    let ours = std::net::TcpStream::connect(address).unwrap();
    syslog.connection = Some(Connection::new(ours.into(), &target));
    let (theirs, _) = listener.accept().unwrap();
    let alert = Alert { message: "x".repeat(2000), ..Analysis::new(false).breaker_tripped(1) };
    let mut given = 0;
    while syslog.state().lost < 10 {
        syslog.send(&alert);
        given += 1;
    }
    let SyslogState { sent, waiting, lost, .. } = syslog.state();
    assert_eq!(sent + waiting + lost, given);
    assert!(waiting < spool::MAX_MESSAGES as u64, "bytes are the narrower bound: {waiting}");
    assert!(syslog.take_losses(false).unwrap().contains("too slowly"));
    drop(theirs);
    syslog.advance();
    assert!(!syslog.state().is_connected);
    let told = syslog.take_losses(true).unwrap();
    assert!(told.starts_with(&format!("{waiting} alerts did not reach")), "{told}");
}

#[test]
fn what_still_waits_at_the_end_is_lost_and_told() {
    let (_directory, target, daemon) = bed();
    let mut syslog = connected(&target);
    drop(daemon);
    syslog.send(&Analysis::new(false).breaker_tripped(1));
    let told = syslog.take_losses(true).unwrap();
    assert!(told.starts_with("1 alert did not reach syslog at unix:/"), "{told}");
    assert!(told.contains("is a syslog daemon running"), "{told}");
    assert_eq!(syslog.state().lost, 1);
}
