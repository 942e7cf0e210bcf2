//! What the connector and the analyzer say to each other: one packet, one word.

use nix::errno::Errno;

/// All that the analyzer says: a new connection, please.
pub(super) const ASK: u8 = b'?';
/// Bytes of each word of the connector: what it is, and an error of the system (little-endian).
pub(super) const MAX_BYTES: usize = 5;

/// What the connector says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// The socket that comes with it is connected.
    Connected,
    /// No address of the peer takes a connection; why the last one does not.
    Refused(Errno),
    /// The peer's name is not known, or who knows names does not answer.
    Unresolved,
}

impl Word {
    pub(super) fn bytes(self) -> [u8; MAX_BYTES] {
        let (tag, errno) = match self {
            Self::Connected => (b'c', 0),
            Self::Refused(errno) => (b'r', errno as i32),
            Self::Unresolved => (b'u', 0),
        };
        let [a, b, c, d] = errno.to_le_bytes();
        [tag, a, b, c, d]
    }

    /// `None` for anything but a word.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [tag, errno @ ..] = <[u8; MAX_BYTES]>::try_from(bytes).ok()?;
        match (tag, i32::from_le_bytes(errno)) {
            (b'c', 0) => Some(Self::Connected),
            (b'r', errno) => Some(Self::Refused(Errno::from_raw(errno))),
            (b'u', 0) => Some(Self::Unresolved),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_understood_and_nothing_else_is() {
        for word in [Word::Connected, Word::Refused(Errno::ECONNREFUSED), Word::Unresolved] {
            assert_eq!(Word::read(&word.bytes()), Some(word));
            assert_eq!(Word::read(&word.bytes()[..4]), None);
        }
        for wrong in [&b""[..], b"c", b"c\0\0\0\0\0", b"c\x01\0\0\0", b"x\0\0\0\0"] {
            assert_eq!(Word::read(wrong), None, "{wrong:?}");
        }
        assert_eq!(Word::read(b"r\xff\xff\xff\xff"), Some(Word::Refused(Errno::UnknownErrno)));
    }
}
