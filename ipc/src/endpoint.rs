//! Where a peer comes from: a connected socket, or a listening one, to which it may come again.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{SockFlag, accept4, getsockopt, sockopt},
    unistd::Uid,
};

use crate::channel::{Channel, ChannelError};

/// Where peers come from, one after the other or only one.
pub struct Endpoint {
    /// The first one, until it is taken.
    first: Option<Channel>,
    /// Where others connect.
    listener: Option<OwnedFd>,
}

impl Endpoint {
    /// Takes over an inherited `SOCK_SEQPACKET` socket, which is listening or connected.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(socket: OwnedFd) -> Result<Self, ChannelError> {
        if getsockopt(&socket, sockopt::AcceptConn) == Ok(true) {
            Ok(Self { first: None, listener: Some(Channel::checked(socket)?) })
        } else {
            Ok(Self { first: Some(Channel::new(socket)?), listener: None })
        }
    }

    /// Has `called` as the first peer, before those that come by themselves.
    pub fn after(self, called: Option<Channel>) -> Self {
        Self { first: called.or(self.first), ..self }
    }

    /// The next peer, if there is one; only root and `user` are let in over a listening socket. (The
    /// credentials of a pair's peer are those of its creator, who chose both ends.)
    ///
    /// # Errors
    /// When somebody else came, or the system refuses; another may come after that.
    pub fn next(&mut self, user: Uid) -> Result<Option<Channel>, ChannelError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(channel) = self.anybody()? else { return Ok(None) };
        match channel.peer()? {
            Some(peer) if !is_let_in(Uid::from_raw(peer.uid()), user) => {
                Err(ChannelError::Stranger(peer.uid()))
            }
            _ => Ok(Some(channel)),
        }
    }

    /// The next one to come over a listening socket, whoever it is: for sockets whose mode and owner decide
    /// who may come.
    ///
    /// # Errors
    /// When the system refuses; another may come after that.
    pub fn anybody(&mut self) -> Result<Option<Channel>, ChannelError> {
        let Some(listener) = &self.listener else { return Ok(None) };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let accepted = loop {
            match accept4(listener.as_raw_fd(), flags) {
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                accepted => break accepted,
            }
        };
        let socket = match accepted {
            #[expect(unsafe_code, reason = "nix gives accepted sockets as bare numbers")]
            // SAFETY: accept4 has just made it, and nobody else knows it.
            Ok(socket) => unsafe { OwnedFd::from_raw_fd(socket) },
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        Channel::new(socket).map(Some)
    }

    /// Whether another peer may come after the present one.
    pub fn is_listening(&self) -> bool {
        self.listener.is_some()
    }

    /// The listening socket, to be polled.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }
}

fn is_let_in(peer: Uid, user: Uid) -> bool {
    peer.is_root() || peer == user
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockType, UnixAddr, bind, connect, listen, socket,
    };

    use super::*;
    use crate::channel::{Received, Sent};

    fn listening(directory: &tempfile::TempDir) -> (Endpoint, UnixAddr) {
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        let address = UnixAddr::new(&directory.path().join("socket")).unwrap();
        bind(listener.as_raw_fd(), &address).unwrap();
        listen(&listener, Backlog::new(4).unwrap()).unwrap();
        (Endpoint::new(listener).unwrap(), address)
    }

    fn connected(address: &UnixAddr) -> Channel {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        connect(socket.as_raw_fd(), address).unwrap();
        Channel::new(socket).unwrap()
    }

    #[test]
    fn peers_come_one_after_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let (mut endpoint, address) = listening(&directory);
        assert!(endpoint.is_listening());
        assert!(endpoint.next(Uid::current()).unwrap().is_none());
        for word in [b"one", b"two"] {
            let peer = connected(&address);
            let mut ours = endpoint.next(Uid::current()).unwrap().unwrap();
            assert_eq!(peer.send(word).unwrap(), Sent::Done);
            assert_eq!(ours.receive().unwrap(), Received::Frame(word));
        }
    }

    #[test]
    fn only_root_and_one_user_are_let_in() {
        let [one, other] = [7, 8].map(Uid::from_raw);
        assert!(is_let_in(one, one) && is_let_in(Uid::from_raw(0), one));
        assert!(!is_let_in(other, one) && !is_let_in(one, Uid::from_raw(0)));
    }

    #[test]
    fn a_pair_has_one_peer() {
        let (_ours, theirs) = Channel::raw_pair().unwrap();
        let mut endpoint = Endpoint::new(theirs).unwrap();
        assert!(!endpoint.is_listening());
        assert!(endpoint.next(Uid::current()).unwrap().is_some());
        assert!(endpoint.next(Uid::current()).unwrap().is_none());
    }
}
