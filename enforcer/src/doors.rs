//! Who calls at the enforcer's listening sockets, and who of Sentinel's own is let in.
//!
//! Two of the three may call each other at the same moment. Then the call *to* the one of higher rank
//! counts (loader over enforcer over analyzer): it takes the newest caller, and the other one takes nobody
//! while the connection it has is alive.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::unistd::Uid;
use sentinel_ipc::{
    channel::{Channel, ChannelError},
    endpoint::Endpoint,
};

use crate::audit::Audit;

/// How long a door stays shut after the system refused to open it: it would only be tried without a pause.
const PAUSE: Duration = Duration::from_secs(1);
/// Strangers are told no more often.
const STRANGERS_TOLD: Duration = Duration::from_secs(10);

/// A listening socket.
pub struct Door {
    endpoint: Endpoint,
    shut_until: Option<Instant>,
}

impl Door {
    /// Takes over a listening socket.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(socket: OwnedFd) -> Result<Self, ChannelError> {
        let endpoint = Endpoint::new(socket)?;
        if !endpoint.is_listening() {
            return Err(ChannelError::WrongSocket);
        }
        Ok(Self { endpoint, shut_until: None })
    }

    /// To be polled; `None` while it is shut.
    pub fn polled(&self) -> Option<BorrowedFd<'_>> {
        self.shut_until.map_or(self.endpoint.listener(), |_| None)
    }

    /// When it is to be opened again.
    pub fn shut_until(&self) -> Option<Instant> {
        self.shut_until
    }

    /// The next caller, if there is one.
    pub fn next(&mut self, audit: &Audit) -> Option<Channel> {
        if self.shut_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        self.shut_until = None;
        self.endpoint.anybody().unwrap_or_else(|error| {
            audit.line(&format!("nobody can be let in for now: {error}"));
            self.shut_until = Some(Instant::now() + PAUSE);
            None
        })
    }
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Takes the place of another one.
    Analyzer,
    /// Comes when there is none.
    Loader,
}

/// Who has the user id `uid`, where the analyzer has `analyzer`; `None` for strangers.
fn caller(uid: Uid, analyzer: Uid) -> Option<Caller> {
    match uid {
        uid if uid.is_root() => Some(Caller::Loader),
        uid if uid == analyzer => Some(Caller::Analyzer),
        _ => None,
    }
}

/// Whether a caller is let in.
pub fn is_let_in(caller: Caller, has_living_loader: bool) -> bool {
    match caller {
        Caller::Analyzer => true,
        Caller::Loader => !has_living_loader,
    }
}

/// The door for analyzer and loader.
pub struct Siblings {
    /// The socket.
    pub door: Door,
    analyzer: Uid,
    strangers: u64,
    told: Option<Instant>,
}

impl Siblings {
    /// Opens `door` to root and to the user `analyzer`.
    pub fn new(door: Door, analyzer: Uid) -> Self {
        Self { door, analyzer, strangers: 0, told: None }
    }

    /// The next of the two, if one is there.
    pub fn next(&mut self, audit: &Audit) -> Option<(Caller, Channel)> {
        let channel = self.door.next(audit)?;
        let uid = channel.peer().ok().flatten().map(|peer| peer.uid());
        let caller = uid.and_then(|uid| caller(Uid::from_raw(uid), self.analyzer));
        if caller.is_none() {
            self.strangers += 1;
            if self.told.is_none_or(|told| told.elapsed() >= STRANGERS_TOLD) {
                let (strangers, uid) = (self.strangers, uid.unwrap_or(u32::MAX));
                audit.line(&format!("audit strangers={strangers} last_uid={uid}: not let in"));
                (self.strangers, self.told) = (0, Some(Instant::now()));
            }
        }
        caller.map(|caller| (caller, channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_by_their_user() {
        let [root, analyzer, other] = [0, 7, 8].map(Uid::from_raw);
        assert_eq!(caller(root, analyzer), Some(Caller::Loader));
        assert_eq!(caller(analyzer, analyzer), Some(Caller::Analyzer));
        assert_eq!(caller(other, analyzer), None);
    }

    #[test]
    fn an_analyzer_takes_the_place_of_another_and_a_loader_does_not() {
        for (who, has_living_loader, is_in) in [
            (Caller::Analyzer, true, true),
            (Caller::Analyzer, false, true),
            (Caller::Loader, false, true),
            (Caller::Loader, true, false),
        ] {
            assert_eq!(is_let_in(who, has_living_loader), is_in, "{who:?}");
        }
    }

    #[test]
    fn a_door_is_a_listening_socket() {
        let (one, _other) = Channel::raw_pair().unwrap();
        assert!(matches!(Door::new(one), Err(ChannelError::WrongSocket)));
    }
}
