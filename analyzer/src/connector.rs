//! The process that connects to syslog, since the analyzer cannot: its sandbox has neither socket(2) nor
//! connect(2).
//!
//! It is forked before the analyzer gives up its privileges, becomes the same user, and confines itself to
//! the one peer that is configured ([`privileges`]). Asked by one byte it connects, tries again with growing
//! pauses if that fails, and passes the socket over. It never sees an alert, and ends with the analyzer.

use std::{
    fs,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socketpair},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg, sockopt,
};

use self::words::{ASK, MAX_BYTES, Word};
use crate::configuration::SyslogTarget;

mod back_off;
mod child;
mod peers;
pub mod privileges;
mod words;

pub use peers::{Address, Peers};

/// What was heard of the connector.
#[derive(Debug)]
pub enum Heard {
    /// A socket that is connected to the peer.
    Connected(OwnedFd),
    /// There is no connection, for this reason; it is tried again without being asked.
    Refused(Errno),
    /// The peer's name is not known; it is tried again.
    Unresolved,
    /// It has ended, or said what it must not; nothing more will come of it.
    Gone(String),
}

/// The analyzer's end.
#[derive(Debug)]
pub struct Connector {
    socket: OwnedFd,
    pid: Pid,
    target: SyslogTarget,
}

impl Connector {
    /// Starts one for `target`, and asks it for a connection. To be called while this process has one thread
    /// and is not confined.
    ///
    /// # Errors
    /// When the system refuses, or other threads run.
    pub fn start(target: &SyslogTarget) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (socket, its) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let pid = fork_alone(|| child::run(its, target))?;
        let mut connector = Self { socket, pid, target: target.clone() };
        connector.ask();
        Ok(connector)
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Asks for a new connection. One that has ended is found on hearing it.
    pub fn ask(&mut self) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _found_later = send(self.socket.as_raw_fd(), &[ASK], flags);
    }

    /// What it says next, if it has said anything.
    pub fn hear(&mut self) -> Option<Heard> {
        match receive(self.socket.as_fd()) {
            Ok(None) => None,
            Ok(Some((word, passed))) => Some(match (word, passed) {
                (Word::Connected, Some(socket)) if is_of(&self.target, &socket) => {
                    Heard::Connected(socket)
                }
                (Word::Refused(errno), None) => Heard::Refused(errno),
                (Word::Unresolved, None) => Heard::Unresolved,
                _ => Heard::Gone("it said what it must not, and is not listened to".to_owned()),
            }),
            Err(Wrong::Closed) => Some(Heard::Gone(format!("it has ended ({})", self.end()))),
            Err(Wrong::Said) => {
                Some(Heard::Gone("it said what it must not, and is not listened to".to_owned()))
            }
        }
    }

    /// How it ended.
    fn end(&self) -> String {
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => format!("exit status {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => signal.to_string(),
            Ok(_) => "it closed its socket".to_owned(),
            Err(errno) => errno.desc().to_owned(),
        }
    }
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Forks; `child` runs in the new process, which ends with it.
fn fork_alone(child: impl FnOnce() -> bool) -> io::Result<Pid> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("other threads run"));
    }
    #[expect(unsafe_code, reason = "a new process without a new program, which no library offers")]
    // SAFETY: what a child may do is limited only where other threads may hold locks at the fork, such as the
    // allocator's; the kernel has just said that there are none, and only this thread could start any.
    let forked = unsafe { fork() }?;
    match forked {
        ForkResult::Parent { child } => Ok(child),
        // Nothing of the parent's is finished: what it has on its stack is never dropped here.
        ForkResult::Child => std::process::exit(if child() { 0 } else { 1 }),
    }
}

/// Why the connector is not heard any more.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// Its end is closed.
    Closed,
    /// It broke the protocol.
    Said,
}

/// Takes one word, and what was passed with it: at most one descriptor. More than that, or anything cut, is
/// wrong; all that came is closed then.
fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Word, Option<OwnedFd>)>, Wrong> {
    let mut bytes = [0; MAX_BYTES + 1];
    // Room for one, and no more than the kernel's alignment adds.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(_) => return Err(Wrong::Closed),
            Ok(received) => break received,
        }
    };
    let mut passed = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            passed.extend(descriptors);
        }
    }
    if received.bytes == 0 {
        return Err(Wrong::Closed);
    }
    let is_cut = received.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC);
    let word = bytes.get(..received.bytes).and_then(Word::read).ok_or(Wrong::Said)?;
    if is_cut || passed.len() > 1 {
        return Err(Wrong::Said);
    }
    Ok(Some((word, passed.pop())))
}

/// Whether `socket` is of the kind that leads to `target`.
fn is_of(target: &SyslogTarget, socket: &OwnedFd) -> bool {
    use rustix::net::{AddressFamily as Family, SocketType};
    let (families, kind): (&[Family], _) = match target {
        SyslogTarget::Unix(_) => (&[Family::UNIX], SocketType::DGRAM),
        SyslogTarget::Udp(_) => (&[Family::INET, Family::INET6], SocketType::DGRAM),
        SyslogTarget::Tcp(_) => (&[Family::INET, Family::INET6], SocketType::STREAM),
    };
    let is_family = sockopt::socket_domain(socket).is_ok_and(|family| families.contains(&family));
    is_family && sockopt::socket_type(socket) == Ok(kind)
}

#[cfg(test)]
mod tests;
