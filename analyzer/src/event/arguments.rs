//! The arguments of a program, as the kernel holds them.

use std::sync::Arc;

/// An argument vector in one piece, raw; copies share it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Each argument, and a NUL behind it.
    bytes: Arc<[u8]>,
    count: usize,
}

impl Arguments {
    /// Of strings that are each ended by a NUL; the last one may have been cut before its own.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let bytes: Arc<[u8]> = match bytes {
            [] | [.., 0] => bytes.into(),
            cut => [cut, &[0]].concat().into(),
        };
        Self { count: bytes.iter().filter(|&&byte| byte == 0).count(), bytes }
    }

    /// One by one, without their NULs.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        terminated(&self.bytes)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Arguments {
    /// No argument can hold a NUL.
    fn from_iter<I: IntoIterator<Item = T>>(arguments: I) -> Self {
        let mut bytes = Vec::new();
        for argument in arguments {
            bytes.extend_from_slice(argument.as_ref());
            bytes.push(0);
        }
        Self::of(&bytes)
    }
}

/// Strings that are each ended by a NUL; the last one may have been cut before its own.
pub(super) fn terminated(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let strings = (!bytes.is_empty()).then(|| bytes.strip_suffix(&[0]).unwrap_or(bytes));
    strings.into_iter().flat_map(|strings| strings.split(|&byte| byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_as_many_as_were_given() {
        for given in [&[][..], &[""], &["a"], &["", ""], &["a", "", "b c", ""]] {
            let arguments: Arguments = given.iter().collect();
            let told: Vec<&[u8]> = arguments.iter().collect();
            assert_eq!(told, given.iter().map(|it| it.as_bytes()).collect::<Vec<_>>());
            assert_eq!((arguments.len(), arguments.is_empty()), (given.len(), given.is_empty()));
            assert_eq!(Arguments::of(&arguments.bytes), arguments);
        }
        assert_eq!(Arguments::of(b"a\0b"), Arguments::of(b"a\0b\0"));
    }
}
