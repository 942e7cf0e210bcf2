//! The connector's own life: wait to be asked, connect, pass the socket over.

use std::{
    convert::Infallible,
    ffi::CStr,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, IntoRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        socket::{MsgFlags, SockFlag, SockType, connect, getsockopt, recv, socket, sockopt},
    },
    unistd::dup2_stdin,
};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt as options,
};
use sentinel_ipc::{
    confinement::{ConfinementError, close_inherited_descriptors, close_standard_streams},
    diagnostics::tell,
};

use super::{Peers, back_off::BackOff, peers::Address, privileges, words::Word};
use crate::configuration::SyslogTarget;

/// How long a peer may take to answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a TCP peer may say nothing before it is asked for a sign of life, which it is so often, at this
/// interval.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
const PROBES: u32 = 3;
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// How long what was sent may go unacknowledged, ms.
const UNACKNOWLEDGED_LIMIT: u32 = 30_000;

/// How it is called in lists of processes.
const NAME: &CStr = c"sentinel-syslog";

/// The analyzer is gone.
#[derive(Debug)]
struct Alone;

/// All of this process, until the analyzer's end of `socket` is closed; false if it could not do its work.
pub(super) fn run(socket: OwnedFd, target: &SyslogTarget) -> bool {
    let failed = |error: ConfinementError| {
        tell(&format!("sentinel: the connector to syslog: {error}"));
        false
    };
    if let Err(error) = prepare(socket) {
        return failed(error);
    }
    let stdin = io::stdin();
    let analyzer = stdin.as_fd();
    let mut back_off = BackOff::default();
    let Ok(peers) = resolve(analyzer, target, &mut back_off) else { return true };
    if let Err(error) = privileges::confine_to(&peers) {
        return failed(error);
    }
    let Err(Alone) = serve(analyzer, &peers, &mut BackOff::default());
    true
}

/// Keeps nothing of the parent's but its socket, as standard input. Standard error is where it fails to confine
/// itself; once it has, no call writes there.
fn prepare(socket: OwnedFd) -> Result<(), ConfinementError> {
    let refused = |step| move |errno: Errno| ConfinementError::Refused(step, errno.into());
    prctl::set_name(NAME).map_err(refused("PR_SET_NAME"))?;
    close_standard_streams()?;
    dup2_stdin(&socket).map_err(refused("dup2"))?;
    // What is closed next is this one's number too.
    let _closed = socket.into_raw_fd();
    close_inherited_descriptors(0)?;
    privileges::become_nobody_special()
}

/// The peer's addresses, looked up as often as it takes: a name server that is not there at boot must hold
/// nothing up.
fn resolve(
    analyzer: BorrowedFd<'_>,
    target: &SyslogTarget,
    back_off: &mut BackOff,
) -> Result<Peers, Alone> {
    loop {
        match Peers::resolve(target) {
            Ok(peers) => return Ok(peers),
            Err(_) => say(analyzer, Word::Unresolved, None)?,
        }
        wait(analyzer, back_off.failed())?;
    }
}

fn serve(
    analyzer: BorrowedFd<'_>,
    peers: &Peers,
    back_off: &mut BackOff,
) -> Result<Infallible, Alone> {
    // One whose connection was of no use is not asked first again: over UDP every address seems to be there.
    let mut first = 0;
    loop {
        be_asked(analyzer)?;
        let mut pause = back_off.asked(Instant::now());
        loop {
            wait(analyzer, pause)?;
            match connect_to_any(analyzer, peers, first)? {
                Ok((index, socket)) => {
                    first = index + 1;
                    say(analyzer, Word::Connected, Some(socket))?;
                    back_off.connected(Instant::now());
                    break;
                }
                Err(errno) => say(analyzer, Word::Refused(errno), None)?,
            }
            pause = back_off.failed();
        }
    }
}

/// Waits until a connection is wanted.
fn be_asked(analyzer: BorrowedFd<'_>) -> Result<(), Alone> {
    let mut byte = [0];
    loop {
        match recv(analyzer.as_raw_fd(), &mut byte, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            Ok(0) | Err(_) => return Err(Alone),
            Ok(_) => return Ok(()),
        }
    }
}

/// Says `word`, and passes `socket` with it, of which this process keeps nothing.
fn say(analyzer: BorrowedFd<'_>, word: Word, socket: Option<OwnedFd>) -> Result<(), Alone> {
    let bytes = word.bytes();
    let passed = socket.as_ref().map(|socket| [socket.as_fd()]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(passed) = &passed {
        control.push(SendAncillaryMessage::ScmRights(passed));
    }
    loop {
        match sendmsg(analyzer, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(Alone),
        }
    }
}

/// Waits for so long, or for the analyzer's end.
fn wait(analyzer: BorrowedFd<'_>, pause: Duration) -> Result<(), Alone> {
    let end = Instant::now() + pause;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // Nothing but the end is waited for: what is asked meanwhile is asked already.
        let mut fds = [PollFd::new(analyzer, PollFlags::empty())];
        match poll(&mut fds, milliseconds(left)) {
            Ok(0) => return Ok(()),
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return Err(Alone),
        }
    }
}

fn milliseconds(time: Duration) -> PollTimeout {
    // A part of one counts as a whole, else the rest would be waited for without a pause.
    PollTimeout::try_from(time.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
}

/// Tries the addresses in turn from the `first` one on, counted round; which one it is, or why the last one does not
/// answer, if none does.
fn connect_to_any(
    analyzer: BorrowedFd<'_>,
    peers: &Peers,
    first: usize,
) -> Result<Result<(usize, OwnedFd), Errno>, Alone> {
    let mut last = Errno::EADDRNOTAVAIL;
    let addresses = peers.addresses();
    let in_turn = addresses.iter().enumerate().cycle().skip(first % addresses.len().max(1));
    for (index, address) in in_turn.take(addresses.len()) {
        match connect_to(analyzer, address, peers.kind())? {
            Ok(socket) => return Ok(Ok((index, socket))),
            Err(errno) => last = errno,
        }
    }
    Ok(Err(last))
}

fn connect_to(
    analyzer: BorrowedFd<'_>,
    address: &'static Address,
    kind: SockType,
) -> Result<Result<OwnedFd, Errno>, Alone> {
    let socket = match begin(address, kind) {
        Ok(Begun::Connected(socket)) => return Ok(Ok(socket)),
        Ok(Begun::UnderWay(socket)) => socket,
        Err(errno) => return Ok(Err(errno)),
    };
    let end = Instant::now() + CONNECT_LIMIT;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [
            PollFd::new(socket.as_fd(), PollFlags::POLLOUT),
            PollFd::new(analyzer, PollFlags::empty()),
        ];
        match poll(&mut fds, milliseconds(left)) {
            Ok(0) => return Ok(Err(Errno::ETIMEDOUT)),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Ok(Err(errno)),
            Ok(_) => {}
        }
        let [_, analyzer] = fds;
        if analyzer.any().unwrap_or(true) {
            return Err(Alone);
        }
        let error = getsockopt(&socket, sockopt::SocketError);
        return Ok(match error.map(Errno::from_raw) {
            Ok(Errno::UnknownErrno) => Ok(socket),
            Ok(errno) | Err(errno) => Err(errno),
        });
    }
}

/// How far a connection is.
enum Begun {
    Connected(OwnedFd),
    UnderWay(OwnedFd),
}

fn begin(address: &'static Address, kind: SockType) -> Result<Begun, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(address.family(), kind, flags, None)?;
    if kind == SockType::Stream {
        notice_its_end(&socket).map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    }
    // By the pointer that the filter knows.
    match connect(socket.as_raw_fd(), address.raw()) {
        Ok(()) => Ok(Begun::Connected(socket)),
        Err(Errno::EINPROGRESS) => Ok(Begun::UnderWay(socket)),
        Err(errno) => Err(errno),
    }
}

/// A peer that is gone without a word ends the connection within a minute.
fn notice_its_end(socket: &OwnedFd) -> rustix::io::Result<()> {
    options::set_socket_keepalive(socket, true)?;
    options::set_tcp_keepidle(socket, SILENCE_LIMIT)?;
    options::set_tcp_keepintvl(socket, PROBE_INTERVAL)?;
    options::set_tcp_keepcnt(socket, PROBES)?;
    options::set_tcp_user_timeout(socket, UNACKNOWLEDGED_LIMIT)
}
