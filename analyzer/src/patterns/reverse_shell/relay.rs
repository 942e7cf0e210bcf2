//! Who is at the other end of a shell's input and output, and of theirs, up to the network. Either may be a
//! connection itself; of a shell that has both on one, this file says nothing.
//!
//! Only what is held now counts. A pipe is one object with two ends, and which of them a descriptor is
//! is told by its number alone: 0 reads, 1 and 2 write, a higher one may do either. The master of a
//! pseudo terminal is not told; it is with the shell's nearest ancestor that is not on that terminal
//! itself.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use super::{fed::input_of, login_services::is_login_service};
use crate::{
    descriptor_table::{OpenObject, Slot},
    event::{ObjectId, ProcessId},
    keyed_hash::{HashMap, HashSet},
    process_table::{Process, ProcessTable},
};

/// Processes between a shell and the network that are looked through in a row.
const HOPS: usize = 4;
/// Processes that are looked at on one side.
const MAX_VISITED: usize = 64;
/// For how long a port that somebody waited at counts as freshly taken, ns.
const FRESH_NS: u64 = 600_000_000_000;
/// TCP ports of X11 displays; those on loopback are ends of tunnels of ssh(1).
const DISPLAYS: std::ops::Range<u16> = 6000..6064;

/// Which way data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// To the shell.
    Source,
    /// From the shell.
    Sink,
}

/// Which descriptors of others count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    All,
    /// 0, 1 and 2.
    Standard,
}

/// A connection that reaches a shell through other processes.
#[derive(Debug)]
pub(super) struct Relay {
    /// The connection.
    pub(super) connection: Rc<OpenObject>,
    /// Who holds it.
    pub(super) process: ProcessId,
    /// Whether somebody here sought the peer, and input and output are with the same one.
    pub(super) is_sought: bool,
}

/// What one side of a shell leads to.
#[derive(Debug, Default)]
struct Reached {
    connections: Vec<(ProcessId, Rc<OpenObject>)>,
    visited: Vec<ProcessId>,
}

/// Whether a connection belongs to who holds it, rather than to a service that waits for clients.
pub(super) fn is_sought(connection: &OpenObject, now: u64) -> bool {
    let is_display = |remote: SocketAddr| {
        let is_loopback = match remote.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback(),
        };
        is_loopback && DISPLAYS.contains(&remote.port())
    };
    connection.was_sought(now.saturating_sub(FRESH_NS))
        && !connection.remote().is_some_and(is_display)
}

/// Who holds what, at one moment.
pub(super) struct Search<'a> {
    processes: &'a ProcessTable,
    pipes: HashMap<ObjectId, Vec<(&'a Process, u32)>>,
    /// By inode.
    unix: HashMap<u64, Vec<(&'a Process, u32)>>,
}

impl<'a> Search<'a> {
    /// Looks at all descriptors of all processes.
    pub(super) fn of(processes: &'a ProcessTable) -> Self {
        let (mut pipes, mut unix) =
            (HashMap::<_, Vec<_>>::default(), HashMap::<_, Vec<_>>::default());
        for process in processes.iter() {
            for (number, slot) in process.descriptors.borrow().iter() {
                if slot.object.is_pipe {
                    pipes.entry(slot.object.id).or_default().push((process, number));
                } else if slot.object.is_unix() {
                    unix.entry(slot.object.id.inode).or_default().push((process, number));
                }
            }
        }
        Self { processes, pipes, unix }
    }

    /// The connection from which `shell` gets its input and to which its output goes, if there is one;
    /// `begun` is when the shell was started (CLOCK_BOOTTIME, ns), `now` is now.
    pub(super) fn relay_of(&self, shell: &'a Process, begun: u64, now: u64) -> Option<Relay> {
        let slot = |number| shell.descriptors.borrow().get(number).cloned();
        let input = slot(input_of(shell))?;
        let is_direct = input.object.is_connection();
        let mut sources = Reached::default();
        if is_direct {
            sources.connections.push((shell.id, Rc::clone(&input.object)));
        } else if input.object.is_channel() {
            sources = self.reach(shell, &[input], Side::Source);
        }
        if sources.visited.is_empty() && !is_direct {
            return None;
        }
        let outputs: Vec<Slot> = [1, 2].into_iter().filter_map(slot).collect();
        let mut sinks = self.reach(shell, &outputs, Side::Sink);
        let own = outputs.iter().filter(|slot| slot.object.is_connection() && !is_direct);
        sinks.connections.extend(own.map(|slot| (shell.id, Rc::clone(&slot.object))));
        let mut found: Vec<Relay> = Vec::new();
        for (process, connection) in &sinks.connections {
            let same = |(_, other): &&(_, Rc<OpenObject>)| {
                other.id == connection.id || other.has_peer_of(connection)
            };
            let returns = sources.connections.iter().any(|source| same(&source))
                || self.is_behind_unknown_reader(*process, &sources);
            let any = sources.connections.iter().any(|(_, other)| other.connected_out());
            if returns || (any && connection.connected_out()) {
                let is_sought = returns && is_sought(connection, now);
                let (process, connection) = (*process, Rc::clone(connection));
                found.push(Relay { connection, process, is_sought });
            }
        }
        // Which of several it is cannot be told: the last one that was there when the shell began, or
        // else the first one after that.
        let since = |relay: &Relay| relay.connection.since().unwrap_or(0);
        found.into_iter().max_by_key(|relay| {
            let since = since(relay);
            if since <= begun { (1, since) } else { (0, u64::MAX - since) }
        })
    }

    /// What `slots` of `shell` lead to.
    fn reach(&self, shell: &'a Process, slots: &[Slot], side: Side) -> Reached {
        let mut reached = Reached::default();
        let mut seen: HashSet<ProcessId> = HashSet::from_iter([shell.id]);
        let started = shell.image.as_ref().map_or(0, |image| image.started);
        let mut next: Vec<&Process> = Vec::new();
        for slot in slots {
            if slot.object.is_terminal {
                next.extend(self.master_of(shell, &slot.object));
            } else {
                next.extend(self.holders(&slot.object, side, Numbers::All));
            }
        }
        for _ in 0..HOPS {
            let (current, mut further) = (std::mem::take(&mut next), Vec::new());
            for process in current {
                // Its commands are no relays; what its process had started before it was a shell may be.
                let is_below = process.id.start_time >= started
                    && process.ancestors.iter().any(|above| above.id == shell.id);
                if is_below
                    || reached.visited.len() >= MAX_VISITED
                    || !seen.insert(process.id)
                    || is_login_service(process)
                {
                    continue;
                }
                reached.visited.push(process.id);
                let descriptors = process.descriptors.borrow();
                let network = descriptors.iter().filter(|(_, slot)| slot.object.reaches_network());
                let before = reached.connections.len();
                let held = network.map(|(_, slot)| (process.id, Rc::clone(&slot.object)));
                reached.connections.extend(held);
                if reached.connections.len() == before {
                    for (number, slot) in descriptors.iter() {
                        // What both have above 2, many may have: the pipe of make's jobs, a socket to a
                        // name service.
                        let numbers = if number <= 2 { Numbers::All } else { Numbers::Standard };
                        if side.fits_inside(number) && !slot.object.is_terminal {
                            further.extend(self.holders(&slot.object, side, numbers));
                        }
                    }
                }
            }
            next = further;
        }
        reached
    }

    /// Who holds the other end of a pipe or unix socket.
    fn holders(&self, object: &OpenObject, side: Side, numbers: Numbers) -> Vec<&'a Process> {
        let holders = if object.is_pipe {
            self.pipes.get(&object.id)
        } else {
            object.peer().and_then(|peer| self.unix.get(&peer))
        };
        let is_there = |number: u32| {
            (!object.is_pipe || side.fits(number)) && (numbers == Numbers::All || number <= 2)
        };
        let holders = holders.into_iter().flatten().filter(|(_, number)| is_there(*number));
        holders.map(|(process, _)| *process).collect()
    }

    /// The nearest living ancestor of `shell` that is not on `terminal` itself.
    fn master_of(&self, shell: &Process, terminal: &OpenObject) -> Option<&'a Process> {
        let above = shell.ancestors.iter().filter_map(|above| self.processes.get(above.id));
        let mut above = above.filter(|process| {
            let descriptors = process.descriptors.borrow();
            (0..=2).all(|number| {
                descriptors.get(number).is_none_or(|slot| slot.object.id != terminal.id)
            })
        });
        above.next()
    }

    /// Whether `process` writes to a pipe that nobody is known to read, and is a sibling of a source: a
    /// fifo that a program opened by its name (`cat fifo | sh | nc >fifo`) is not told.
    fn is_behind_unknown_reader(&self, process: ProcessId, sources: &Reached) -> bool {
        let Some(process) = self.processes.get(process) else { return false };
        let descriptors = process.descriptors.borrow();
        let Some(output) = descriptors.get(1).filter(|slot| slot.object.is_pipe) else {
            return false;
        };
        let parent = |id| self.processes.get(id).and_then(Process::parent);
        let is_sibling = |id: &ProcessId| parent(*id).is_some() && parent(*id) == process.parent();
        self.holders(&output.object, Side::Sink, Numbers::All).is_empty()
            && sources.visited.iter().any(|id| *id != process.id && is_sibling(id))
    }
}

impl Side {
    /// Whether a pipe's descriptor of this number may be the end at which this side is.
    fn fits(self, number: u32) -> bool {
        match self {
            Self::Source => number != 0,
            Self::Sink => !(1..=2).contains(&number),
        }
    }

    /// The same for what a process on this side passes on.
    fn fits_inside(self, number: u32) -> bool {
        match self {
            Self::Source => !(1..=2).contains(&number),
            Self::Sink => number != 0,
        }
    }
}
