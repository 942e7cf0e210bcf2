//! A file's path, and whose word it is.

use sentinel_ipc::kernel_abi::{Span, origin};

use super::RecordError;

/// Whose word a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The kernel's own: from the dentries of the object.
    Kernel,
    /// The caller's, read from its memory after the call; a relative one behind the kernel's path
    /// of the directory that it starts from. Links and `..` are not resolved.
    Given,
    /// The kernel's own, but only up to the root of its file system.
    FileSystem,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Raw.
    pub bytes: Vec<u8>,
    /// Whose word it is.
    pub origin: Origin,
    /// Whether this, or something else of the same record, is incomplete: of a kernel's path the
    /// end is there, of a given one the front.
    pub truncated: bool,
}

/// The path that `span` tells in `bytes`; `None` if there is none.
pub(super) fn spanned(
    span: &Span,
    bytes: &[u8],
    truncated: bool,
) -> Result<Option<Path>, RecordError> {
    let origin = match span.origin {
        origin::NONE => return Ok(None),
        origin::KERNEL => Origin::Kernel,
        origin::GIVEN => Origin::Given,
        origin::FILE_SYSTEM => Origin::FileSystem,
        _ => return Err(RecordError::Field("origin")),
    };
    let start = usize::from(span.start);
    let end = start + usize::from(span.length);
    let bytes = bytes.get(start..end).ok_or(RecordError::Field("span"))?.to_vec();
    // Only a caller can give an empty one, as the source of a mount.
    let is_path = !bytes.is_empty() || origin == Origin::Given;
    Ok(is_path.then_some(Path { bytes, origin, truncated }))
}

/// What stands before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u16, length: u16, origin: u16) -> Span {
        Span { start, length, origin, reserved: 77 }
    }

    #[test]
    fn a_span_tells_a_path_and_whose_word_it_is() {
        let path = spanned(&span(2, 4, origin::GIVEN), b"x\0/tmpy", true).unwrap().unwrap();
        assert_eq!(path.bytes, b"/tmp");
        assert_eq!((path.origin, path.truncated), (Origin::Given, true));
        let whole = spanned(&span(0, 3, origin::FILE_SYSTEM), b"a/b", false).unwrap().unwrap();
        assert_eq!((whole.origin, whole.bytes.as_slice()), (Origin::FileSystem, &b"a/b"[..]));
        assert_eq!(spanned(&span(9, 9, origin::NONE), b"", false), Ok(None));
        assert_eq!(spanned(&span(0, 0, origin::KERNEL), b"", false), Ok(None));
        assert!(spanned(&span(0, 0, origin::GIVEN), b"", false).unwrap().is_some());
    }

    #[test]
    fn spans_outside_and_unknown_origins_are_refused() {
        for (start, length) in [(2, 2), (4, 0), (u16::MAX, u16::MAX), (0, 4)] {
            let outside = spanned(&span(start, length, origin::KERNEL), b"abc", false);
            assert_eq!(outside, Err(RecordError::Field("span")), "{start} {length}");
        }
        let unknown = spanned(&span(0, 1, 9), b"abc", false);
        assert_eq!(unknown, Err(RecordError::Field("origin")));
    }
}
