//! What descriptors refer to: one entry for each pipe, socket or file, whoever holds it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::{Rc, Weak},
};

use crate::{
    escape::escape,
    event::{Descriptor, DescriptorCall, Event, Object, ObjectId, Path, SocketEnds},
    keyed_hash::HashMap,
    step::{Deed, Step},
};

/// connect(2) on a socket that has a peer already.
const EISCONN: u32 = 106;
const AF_UNIX: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;
/// Objects after which the first look is taken for those that nobody refers to any more.
const FIRST_SWEEP: usize = 1024;
/// Connections that are remembered while nobody has them: who accepts one may pass it on and close it before it is
/// received. The oldest is forgotten first.
const MAX_PASSED_ON: usize = 256;

/// A pipe, socket or file while at least one known descriptor refers to it.
#[derive(Debug)]
pub struct OpenObject {
    /// Identity.
    pub id: ObjectId,
    /// Whether it is the slave side of a pseudo terminal.
    pub is_terminal: bool,
    /// Whether it is a pipe or a fifo.
    pub is_pipe: bool,
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Whether it is a file without a name: memory, to whoever holds it.
    pub is_memory: bool,
    /// Of a file whose opening was told; escaped.
    pub path: Option<Rc<str>>,
    socket: RefCell<Option<SocketEnds>>,
    made: Option<Step>,
    peered: RefCell<Option<Step>>,
    /// Inode of the unix socket at its other end.
    peer: Cell<Option<u64>>,
    /// When it was bound, or began to listen; of an accepted one, when its listener was. CLOCK_BOOTTIME,
    /// ns.
    bound: Cell<Option<u64>>,
    /// What it was accepted from.
    listener: Cell<Option<ObjectId>>,
}

impl OpenObject {
    fn new(descriptor: &Descriptor, made: Option<Step>, path: Option<Rc<str>>) -> Rc<Self> {
        let object = &descriptor.object;
        Rc::new(Self {
            id: object.id,
            is_terminal: object.is_terminal(),
            is_pipe: object.is_pipe(),
            is_file: object.is_regular(),
            is_memory: object.is_regular() && object.links == 0,
            path,
            socket: RefCell::new(descriptor.socket),
            made,
            peered: RefCell::new(None),
            peer: Cell::new(None),
            bound: Cell::new(None),
            listener: Cell::new(None),
        })
    }

    /// The socket's ends as last seen.
    pub fn socket(&self) -> Option<SocketEnds> {
        *self.socket.borrow()
    }

    /// Whether it is a network socket with a peer.
    pub fn is_connection(&self) -> bool {
        self.socket().is_some_and(|ends| ends.has_peer && ends.is_network())
    }

    /// Whether data comes from and goes to a network through it: a connection, or a socket of datagrams
    /// or packets, which needs none.
    pub fn reaches_network(&self) -> bool {
        self.socket().is_some_and(|ends| {
            ends.is_network() && (ends.has_peer || [SOCK_DGRAM, SOCK_RAW].contains(&ends.kind))
        })
    }

    /// Whether it is a unix socket.
    pub fn is_unix(&self) -> bool {
        self.socket().is_some_and(|ends| ends.family == AF_UNIX)
    }

    /// Whether data passes through it from one process of this host to another.
    pub fn is_channel(&self) -> bool {
        self.is_pipe || self.is_terminal || self.is_unix()
    }

    /// Inode of the unix socket at its other end, if that was told.
    pub fn peer(&self) -> Option<u64> {
        self.peer.get()
    }

    /// Whether it is one end of a pair that one process made.
    fn is_of_pair(&self) -> bool {
        self.made.as_ref().is_some_and(|step| step.deed == Deed::Pair)
    }

    /// The network peer's address.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.socket().and_then(|ends| ends.remote)
    }

    /// Whether its peer is on the same host as that of `other`.
    pub fn has_peer_of(&self, other: &Self) -> bool {
        let ip = |object: &Self| object.remote().map(|remote| remote.ip());
        ip(self).is_some() && ip(self) == ip(other)
    }

    /// Whether what comes from `other` and goes to it is with one peer: they are one, or were both connected
    /// to one host.
    pub fn is_one_with(&self, other: &Self) -> bool {
        let are_connected = || self.connected_out() && other.connected_out();
        self.id == other.id || (are_connected() && self.has_peer_of(other))
    }

    /// Whether it got its peer by connect(2), as far as was seen.
    pub fn connected_out(&self) -> bool {
        matches!(&*self.peered.borrow(), Some(Step { deed: Deed::Connect(_), .. }))
    }

    /// The socket that it was accepted from, as far as was seen.
    pub fn listener(&self) -> Option<ObjectId> {
        self.listener.get()
    }

    /// When it got its peer, or was made if it has none; CLOCK_BOOTTIME, ns.
    pub fn since(&self) -> Option<u64> {
        let peered = self.peered.borrow().as_ref().map(|step| step.timestamp);
        peered.or(self.made.as_ref().map(|step| step.timestamp))
    }

    /// Whether somebody sought its peer himself: by connect(2), by a socket for datagrams, or by waiting
    /// for it at a port that he took after `earliest` (CLOCK_BOOTTIME, ns).
    pub fn was_sought(&self, earliest: u64) -> bool {
        let has_none = self.socket().is_some_and(|ends| !ends.has_peer);
        self.connected_out()
            || match self.bound.get() {
                Some(bound) => bound >= earliest,
                None => has_none && self.made.is_some(),
            }
    }

    /// How it was made and got its peer, as far as was seen, in order.
    pub fn history(&self) -> impl Iterator<Item = Step> {
        self.made.clone().into_iter().chain(self.peered.borrow().clone())
    }

    pub(super) fn update(&self, descriptor: &Descriptor) {
        *self.socket.borrow_mut() = descriptor.socket;
    }

    /// Learns the inode of the unix socket at its other end.
    pub(super) fn set_peer(&self, inode: u64) {
        self.peer.set(Some(inode));
    }

    /// It and `other` are the ends of one pair.
    pub(super) fn pair_with(&self, other: &Self) {
        if other.is_of_pair() && other.peer().is_none() && other.id != self.id {
            self.set_peer(other.id.inode);
            other.set_peer(self.id.inode);
        }
    }

    /// It was accepted from `listener`.
    pub(super) fn came_through(&self, listener: &Self) {
        self.bound.set(listener.bound.get());
        self.listener.set(Some(listener.id));
    }

    /// Follows a call on it, after which it is what `descriptor` tells.
    pub(super) fn follow(&self, event: &Event, call: DescriptorCall, descriptor: &Descriptor) {
        self.update(descriptor);
        let Some(ends) = descriptor.socket else { return };
        let deed = match call {
            // Whatever it returned (it may be under way, or interrupted): what counts is a peer.
            DescriptorCall::Connect if ends.has_peer && event.errno() != Some(EISCONN) => {
                Deed::Connect(ends.remote)
            }
            DescriptorCall::Accept => {
                if let Some(peer) = ends.peer {
                    self.set_peer(peer);
                }
                Deed::Accept(ends.remote)
            }
            DescriptorCall::Bind | DescriptorCall::Listen if event.errno().is_none() => {
                if self.bound.get().is_none() {
                    self.bound.set(Some(event.timestamp));
                }
                return;
            }
            _ => return,
        };
        let (timestamp, process) = (event.timestamp, event.process);
        *self.peered.borrow_mut() = Some(Step { timestamp, process, deed });
    }
}

/// What all tables share: how much they keep, and the objects that they refer to, so that an object
/// keeps its history when it is passed from process to process.
#[derive(Debug, Default)]
pub struct Objects {
    /// Slots of all tables together.
    pub(super) slots: Cell<usize>,
    by_id: RefCell<HashMap<ObjectId, Weak<OpenObject>>>,
    accepted: RefCell<VecDeque<Rc<OpenObject>>>,
    /// How many entries there may be before those of the dead are removed.
    sweep_at: Cell<usize>,
}

impl Objects {
    /// What a call made or used that no known descriptor refers to in its process.
    pub(super) fn of_call(
        &self,
        call: DescriptorCall,
        descriptor: &Descriptor,
        made: Option<Step>,
    ) -> Rc<OpenObject> {
        match call {
            DescriptorCall::Accept => {
                let object = self.insert(OpenObject::new(descriptor, made, None));
                let mut accepted = self.accepted.borrow_mut();
                if accepted.len() >= MAX_PASSED_ON {
                    accepted.pop_front();
                }
                accepted.push_back(Rc::clone(&object));
                object
            }
            // An older object with the same number is gone.
            DescriptorCall::Socket | DescriptorCall::Pipe | DescriptorCall::Socketpair => {
                self.insert(OpenObject::new(descriptor, made, None))
            }
            DescriptorCall::Connect
            | DescriptorCall::Bind
            | DescriptorCall::Listen
            | DescriptorCall::Dup
            | DescriptorCall::Received => self.known_or_new(descriptor),
        }
    }

    /// What `descriptor` refers to.
    pub(super) fn known_or_new(&self, descriptor: &Descriptor) -> Rc<OpenObject> {
        let known = self.by_id.borrow().get(&descriptor.object.id).and_then(Weak::upgrade);
        match known {
            Some(known) => {
                known.update(descriptor);
                known
            }
            None => self.insert(OpenObject::new(descriptor, None, None)),
        }
    }

    /// A file that was opened at `path`.
    pub(super) fn of_file(&self, object: Object, path: Option<&Path>) -> Rc<OpenObject> {
        let path = path.map(|path| Rc::from(escape(&path.bytes)));
        self.insert(OpenObject::new(&Descriptor { object, socket: None }, None, path))
    }

    /// Has the unix socket at the other end of `object` know it, if it is known itself.
    pub(super) fn tell_peer(&self, object: &OpenObject) {
        let Some(inode) = object.peer() else { return };
        let other =
            self.by_id.borrow().get(&ObjectId { inode, ..object.id }).and_then(Weak::upgrade);
        if let Some(other) = other {
            other.set_peer(object.id.inode);
        }
    }

    fn insert(&self, object: Rc<OpenObject>) -> Rc<OpenObject> {
        if object.is_pipe || object.is_file || object.socket().is_some() {
            let mut by_id = self.by_id.borrow_mut();
            by_id.insert(object.id, Rc::downgrade(&object));
            if by_id.len() > self.sweep_at.get().max(FIRST_SWEEP) {
                by_id.retain(|_, object| object.strong_count() > 0);
                self.sweep_at.set(2 * by_id.len());
            }
        }
        object
    }
}
