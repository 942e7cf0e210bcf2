//! A socket that is connected to syslog, without ever waiting for its reader.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, send},
};

use super::spool::{Message, Spool};
use crate::configuration::SyslogTarget;

/// Looks at what a peer sends, before the rest gets its turn.
const LOOKS: u32 = 16;

/// What a flush came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flushed {
    /// Messages that the system took; one that came back and was sent again counts once.
    pub(super) sent: u64,
    /// Messages that no socket of this kind takes, for this reason.
    pub(super) unfit: Option<(u64, Errno)>,
    /// Why the connection is of no more use.
    pub(super) ended: Option<Errno>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Each datagram arrives, or the system says that it does not.
    Unix,
    /// Nothing is acknowledged; that a port is closed is told afterwards.
    Udp {
        /// Whether nothing was refused since the first datagram.
        is_proven: bool,
        /// The last one that was sent, until the next.
        doubtful: Option<Message>,
    },
    /// A stream, on which so many bytes of the first message were sent.
    Tcp { begun: usize },
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, target: &SyslogTarget) -> Self {
        let way = match target {
            SyslogTarget::Unix(_) => Way::Unix,
            SyslogTarget::Udp(_) => Way::Udp { is_proven: false, doubtful: None },
            SyslogTarget::Tcp(_) => Way::Tcp { begun: 0 },
        };
        Self { socket, way }
    }

    /// Sends what the socket takes now. What it does not take stays in the spool, whole: on another connection
    /// it begins anew.
    pub(super) fn flush(&mut self, spool: &mut Spool) -> Flushed {
        let mut flushed = Flushed::default();
        if let Err(errno) = self.look(spool) {
            return Flushed { ended: Some(errno), ..flushed };
        }
        while let Some(first) = spool.first() {
            let begun = if let Way::Tcp { begun } = self.way { begun } else { 0 };
            let rest = first.bytes.get(begun..).unwrap_or_default();
            match self.send(rest) {
                Ok(length) if length < rest.len() => {
                    if let Way::Tcp { begun } = &mut self.way {
                        *begun += length;
                    }
                    continue;
                }
                Ok(_) => flushed.sent += u64::from(!first.was_sent),
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => break,
                Err(errno @ Errno::EMSGSIZE) => {
                    flushed.unfit = Some((flushed.unfit.map_or(1, |(count, _)| count + 1), errno));
                    spool.pop();
                    continue;
                }
                Err(errno) => return Flushed { ended: Some(errno), ..flushed },
            }
            let sent = spool.pop();
            match &mut self.way {
                Way::Unix => {}
                Way::Tcp { begun } => *begun = 0,
                Way::Udp { is_proven, doubtful } => {
                    *doubtful = sent;
                    if !*is_proven {
                        // One is enough to find out.
                        break;
                    }
                }
            }
            // A closed port of this host is told at once.
            if matches!(self.way, Way::Udp { .. })
                && let Err(errno) = self.look(spool)
            {
                return Flushed { ended: Some(errno), ..flushed };
            }
        }
        flushed
    }

    /// Whether the connection is still one. No server of syslog says anything; what one says is not kept.
    fn look(&mut self, spool: &mut Spool) -> Result<(), Errno> {
        if let Way::Unix = self.way {
            return Ok(());
        }
        let mut nothing = [0; 512];
        for _ in 0..LOOKS {
            let looked = loop {
                match recv(self.socket.as_raw_fd(), &mut nothing, MsgFlags::MSG_DONTWAIT) {
                    Err(Errno::EINTR) => {}
                    looked => break looked,
                }
            };
            match (looked, &mut self.way) {
                (Err(Errno::EAGAIN), Way::Udp { is_proven, doubtful }) => {
                    *is_proven |= doubtful.is_some();
                    return Ok(());
                }
                (Err(Errno::EAGAIN), _) => return Ok(()),
                (Err(errno), Way::Udp { doubtful, .. }) => {
                    if let Some(message) = doubtful.take() {
                        spool.put_back(message);
                    }
                    return Err(errno);
                }
                (Err(errno), _) => return Err(errno),
                // The end of the stream.
                (Ok(0), Way::Tcp { .. }) => return Err(Errno::EPIPE),
                (Ok(_), _) => {}
            }
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match send(self.socket.as_raw_fd(), bytes, flags) {
                Err(Errno::EINTR) => {}
                sent => return sent,
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
