//! A connected `SOCK_SEQPACKET` socket that carries frames, without blocking.

use std::{
    fmt, io,
    io::IoSliceMut,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{
        AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
        UnixCredentials, connect, getsockopt, recv, recvmsg, send, setsockopt, socket, socketpair,
        sockopt,
    },
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::frame::MAX_FRAME_BYTES;

/// Why a channel is of no more use.
#[derive(Debug)]
pub enum ChannelError {
    /// The peer sent more than [`MAX_FRAME_BYTES`] in one packet.
    Oversized,
    /// The descriptor is not a `SOCK_SEQPACKET` socket.
    WrongSocket,
    /// The peer has this user id, and not the one that it should have.
    Stranger(u32),
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oversized => write!(to, "a frame is longer than {MAX_FRAME_BYTES} bytes"),
            Self::WrongSocket => write!(to, "the descriptor is not a SOCK_SEQPACKET socket"),
            Self::Stranger(uid) => write!(to, "user {uid} is not let in"),
            Self::Io(error) => write!(to, "socket: {error}"),
        }
    }
}

impl std::error::Error for ChannelError {}

impl From<Errno> for ChannelError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl ChannelError {
    /// Whether nobody listens where it was called.
    pub fn is_absence(&self) -> bool {
        let absences = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, Self::Io(error) if absences.contains(&error.kind()))
    }
}

/// What became of a frame that was to be sent.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// The peer will get it.
    Done,
    /// The socket is full; nothing was sent.
    WouldBlock,
    /// The peer is gone.
    Closed,
}

/// What a look for a frame found.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// One whole frame.
    Frame(&'a [u8]),
    /// None for now.
    WouldBlock,
    /// The peer is gone, and all it sent has been received.
    Closed,
}

/// One end of a connection.
pub struct Channel {
    socket: OwnedFd,
    buffer: Vec<u8>,
    answerer: Answerer,
}

/// Who answers at the other end.
#[derive(Clone, Copy)]
enum Answerer {
    /// Whoever made that end.
    Maker,
    /// A service whose socket its manager made: its first frame will tell.
    Unknown,
    /// Who sent the first frame.
    Sender(UnixCredentials),
}

impl Channel {
    /// Two connected ends, both close-on-exec.
    ///
    /// # Errors
    /// What socketpair(2) says.
    pub fn pair() -> Result<(Self, OwnedFd), ChannelError> {
        let (ours, theirs) = Self::raw_pair()?;
        Ok((Self::new(ours)?, theirs))
    }

    /// Two connected ends for others, both close-on-exec.
    ///
    /// # Errors
    /// What socketpair(2) says.
    pub fn raw_pair() -> Result<(OwnedFd, OwnedFd), ChannelError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
    }

    /// Connects to the `SOCK_SEQPACKET` socket at `path`.
    ///
    /// # Errors
    /// What socket(2) or connect(2) says.
    pub fn connect(path: &Path) -> Result<Self, ChannelError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Self::new(socket)
    }

    /// As [`Self::connect`], and [`Self::peer`] will be who answers: the kernel says so with the first
    /// frame (unix(7), `SO_PASSCRED`). Whoever listens may have got its socket from another process.
    ///
    /// # Errors
    /// What socket(2), setsockopt(2) or connect(2) says.
    pub fn call(path: &Path) -> Result<Self, ChannelError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self { answerer: Answerer::Unknown, ..Self::new(socket)? })
    }

    /// Takes over a connected socket.
    ///
    /// # Errors
    /// When it is no `SOCK_SEQPACKET` socket.
    pub fn new(socket: OwnedFd) -> Result<Self, ChannelError> {
        let (socket, answerer) = (Self::checked(socket)?, Answerer::Maker);
        Ok(Self { socket, buffer: vec![0; MAX_FRAME_BYTES], answerer })
    }

    /// The same socket, if it is of the right type, made not to block.
    pub(crate) fn checked(socket: OwnedFd) -> Result<OwnedFd, ChannelError> {
        if getsockopt(&socket, sockopt::SockType) != Ok(SockType::SeqPacket) {
            return Err(ChannelError::WrongSocket);
        }
        let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
        // Sockets from accept4(2) do not block already, and a filter may refuse the call.
        if !flags.contains(OFlag::O_NONBLOCK) {
            fcntl(&socket, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        Ok(socket)
    }

    /// A channel on a copy of `stream`, such as standard input.
    ///
    /// # Errors
    /// When it is no `SOCK_SEQPACKET` socket, or there is no descriptor left.
    pub fn duplicate(stream: &dyn AsFd) -> Result<Self, ChannelError> {
        Self::new(stream.as_fd().try_clone_to_owned().map_err(ChannelError::Io)?)
    }

    /// The credentials of the process that connected the peer's end; of a socketpair those of its
    /// creator (unix(7), `SO_PEERCRED`). `None` if this end called and nobody has answered yet.
    ///
    /// # Errors
    /// What getsockopt(2) says.
    pub fn peer(&self) -> Result<Option<UnixCredentials>, ChannelError> {
        match self.answerer {
            Answerer::Maker => Ok(Some(getsockopt(&self.socket, sockopt::PeerCredentials)?)),
            Answerer::Sender(credentials) => Ok(Some(credentials)),
            Answerer::Unknown => Ok(None),
        }
    }

    /// Whether the peer has closed its end; what it sent before can still be received.
    pub fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::empty())];
        let hung_up = PollFlags::POLLHUP | PollFlags::POLLERR;
        poll(&mut fds, PollTimeout::ZERO).is_err()
            || fds.iter().any(|fd| fd.revents().is_none_or(|found| found.intersects(hung_up)))
    }

    /// Sends `frame` as one packet.
    ///
    /// # Errors
    /// When it is too long, or the system refuses for another reason than a full socket or an
    /// absent peer.
    pub fn send(&self, frame: &[u8]) -> Result<Sent, ChannelError> {
        if frame.len() > MAX_FRAME_BYTES {
            return Err(ChannelError::Oversized);
        }
        loop {
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            return match send(self.socket.as_raw_fd(), frame, flags) {
                Ok(_) => Ok(Sent::Done),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(Sent::WouldBlock),
                Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(Sent::Closed),
                Err(errno) => Err(errno.into()),
            };
        }
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// When it is too long or the system refuses; the channel is then of no more use.
    pub fn receive(&mut self) -> Result<Received<'_>, ChannelError> {
        loop {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            let received = match self.answerer {
                Answerer::Unknown => self.receive_first(flags),
                _ => recv(self.socket.as_raw_fd(), &mut self.buffer, flags),
            };
            let length = match received {
                // An empty packet is no frame; recv gives 0 for it and for the end alike.
                Ok(0) => return Ok(Received::Closed),
                Ok(length) => length,
                // A peer that went away with frames unread leaves this error, once, before what it
                // had sent itself.
                Err(Errno::EINTR | Errno::ECONNRESET) => continue,
                Err(Errno::EAGAIN) => return Ok(Received::WouldBlock),
                Err(errno) => return Err(errno.into()),
            };
            // MSG_TRUNC gives the packet's true length.
            return self.buffer.get(..length).map(Received::Frame).ok_or(ChannelError::Oversized);
        }
    }
}

impl Channel {
    /// As recv(2), and notes who sent it.
    fn receive_first(&mut self, flags: MsgFlags) -> Result<usize, Errno> {
        let mut space = nix::cmsg_space!(UnixCredentials);
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let socket = self.socket.as_raw_fd();
        let message = recvmsg::<()>(socket, &mut parts, Some(&mut space), flags)?;
        let length = message.bytes;
        if let Some(ControlMessageOwned::ScmCredentials(sender)) = message.cmsgs()?.next()
            && length > 0
        {
            self.answerer = Answerer::Sender(sender);
        }
        Ok(length)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use nix::{
        sys::socket::{Backlog, bind, listen},
        unistd::Uid,
    };

    use super::*;
    use crate::endpoint::Endpoint;

    fn connected() -> (Channel, Channel) {
        let (one, other) = Channel::pair().unwrap();
        (one, Channel::new(other).unwrap())
    }

    #[test]
    fn frames_keep_their_bounds_and_order() {
        let (one, mut other) = connected();
        assert_eq!(other.receive().unwrap(), Received::WouldBlock);
        assert_eq!(one.send(b"first").unwrap(), Sent::Done);
        assert_eq!(one.send(b"second").unwrap(), Sent::Done);
        assert_eq!(other.receive().unwrap(), Received::Frame(b"first"));
        drop(one);
        assert_eq!(other.receive().unwrap(), Received::Frame(b"second"));
        assert_eq!(other.receive().unwrap(), Received::Closed);
        assert_eq!(other.send(b"third").unwrap(), Sent::Closed);
    }

    #[test]
    fn a_peer_that_leaves_frames_unread_is_still_heard_to_its_end() {
        let (one, mut other) = connected();
        assert_eq!(other.send(b"never read").unwrap(), Sent::Done);
        assert_eq!(one.send(b"last words").unwrap(), Sent::Done);
        drop(one);
        assert_eq!(other.receive().unwrap(), Received::Frame(b"last words"));
        assert_eq!(other.receive().unwrap(), Received::Closed);
        assert_eq!(other.receive().unwrap(), Received::Closed);
    }

    #[test]
    fn a_full_socket_is_said_and_loses_nothing() {
        let (one, mut other) = connected();
        let frame = vec![7; 10_000];
        let mut sent = 0;
        while one.send(&frame).unwrap() == Sent::Done {
            sent += 1;
        }
        assert!(sent > 0);
        for _ in 0..sent {
            assert_eq!(other.receive().unwrap(), Received::Frame(&frame));
        }
        assert_eq!(other.receive().unwrap(), Received::WouldBlock);
    }

    #[test]
    fn an_oversized_packet_is_refused_by_both_ends() {
        let (one, mut other) = connected();
        let frame = vec![0; MAX_FRAME_BYTES + 1];
        assert!(matches!(one.send(&frame), Err(ChannelError::Oversized)));
        send(one.as_raw_fd(), &frame, MsgFlags::empty()).unwrap();
        assert!(matches!(other.receive(), Err(ChannelError::Oversized)));
    }

    #[test]
    fn only_a_seqpacket_socket_will_do() {
        let (stream, _other) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::empty()).unwrap();
        assert!(matches!(Channel::new(stream), Err(ChannelError::WrongSocket)));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(Channel::new(file.into()), Err(ChannelError::WrongSocket)));
    }

    #[test]
    fn the_peer_is_this_process() {
        let (one, _other) = connected();
        assert_eq!(u32::try_from(one.peer().unwrap().unwrap().pid()), Ok(std::process::id()));
    }

    #[test]
    fn who_answers_a_call_is_known_with_the_first_frame() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let mut caller = Channel::call(&path).unwrap();
        let mut endpoint = Endpoint::new(listener).unwrap();
        let answerer = endpoint.next(Uid::current()).unwrap().unwrap();
        assert_eq!(caller.receive().unwrap(), Received::WouldBlock);
        assert!(caller.peer().unwrap().is_none());
        for word in [b"one", b"two"] {
            assert_eq!(answerer.send(word).unwrap(), Sent::Done);
            assert_eq!(caller.receive().unwrap(), Received::Frame(word));
        }
        let peer = caller.peer().unwrap().unwrap();
        assert_eq!(u32::try_from(peer.pid()), Ok(std::process::id()));
        assert!(!caller.is_hung_up());
        assert_eq!(answerer.send(b"last").unwrap(), Sent::Done);
        drop(answerer);
        assert!(caller.is_hung_up());
        assert_eq!(caller.receive().unwrap(), Received::Frame(b"last"));
        assert_eq!(caller.receive().unwrap(), Received::Closed);
    }
}
