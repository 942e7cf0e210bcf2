//! How far an executable's path can be believed.

use sentinel_ipc::kernel_abi::trust;

/// All that can speak for a path.
const WHOLE: u16 = trust::PATH_OF_ROOT | trust::HOST_ROOT | trust::HOST_MOUNTS | trust::HOST_USERS;

/// What speaks for a program being the one that root installed at its path: bits in
/// [`sentinel_ipc::kernel_abi::trust`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trust(u16);

impl Trust {
    /// As a record tells it.
    pub(crate) fn of(bits: u16) -> Self {
        Self(bits & WHOLE)
    }

    /// Whether all of `bits` are told.
    pub fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }

    /// Whether everything speaks for it: nothing less is an identity.
    pub fn is_whole(self) -> bool {
        self.has(WHOLE)
    }
}
