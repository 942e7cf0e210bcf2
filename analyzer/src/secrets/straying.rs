//! Secrets that are read by their own programs, and when they count as read after all.

use super::{Secret, SecretFile, Secrets, departure, own};
use crate::{
    destinations::Distance,
    event::{Descriptor, Event, SocketEnds},
    lineage::{Lineage, SourceId},
    process_table::{Process, ProcessTable},
};
use own::OwnReading;

/// connect(2): under way, EINPROGRESS of include/uapi/asm-generic/errno.h.
const EINPROGRESS: u32 = 115;
/// SOCK_STREAM.
const STREAM: u16 = 1;

impl Secrets {
    /// Whether `file` is the process's own; then it is noted that it read it, if it could go astray with it.
    pub(super) fn is_own(
        &mut self,
        event: &Event,
        file: &SecretFile,
        processes: &ProcessTable,
    ) -> bool {
        let process = processes.get(event.process);
        let Some(own) = process.and_then(|it| self.clients.own(it, file)) else { return false };
        if let Some(ports) = own.ports {
            let reading = OwnReading { at: event.timestamp, file: file.clone(), ports };
            self.own.note(event.process, reading);
        }
        true
    }

    /// The process goes to another host, where the service may not be for which it has read what is its
    /// own: then it has read it like anybody.
    pub(super) fn stray(
        &mut self,
        event: &Event,
        descriptor: &Descriptor,
        processes: &ProcessTable,
        lineage: &mut Lineage,
        readings: &mut Vec<SourceId>,
    ) {
        if self.own.is_empty() {
            return;
        }
        let Some(ends) = descriptor.socket.filter(SocketEnds::is_network) else { return };
        let Some(remote) = ends.remote.filter(|it| self.distance(*it) == Distance::External) else {
            return;
        };
        // Everybody asks for names.
        if departure::NAME_SERVERS.contains(&remote.port()) {
            return;
        }
        for one in self.own.take_strayed(event.process, remote.port(), event.timestamp) {
            if !self.has(event, &one.file, lineage, |_| true) {
                readings.push(self.mark(event, one.at, one.file, processes, lineage));
            }
        }
    }

    /// The process has connected `to` a peer; by a datagram socket it goes nowhere before it sends.
    pub(super) fn connect(
        &mut self,
        event: &Event,
        to: &Descriptor,
        processes: &ProcessTable,
        lineage: &mut Lineage,
        readings: &mut Vec<SourceId>,
    ) {
        let fails = event.errno().is_some_and(|errno| errno != EINPROGRESS);
        let is_stream = to.socket.is_some_and(|ends| ends.kind == STREAM);
        if is_stream && !fails {
            self.stray(event, to, processes, lineage, readings);
        }
    }

    /// Whether a server, by its identity, has forked from the one that read its key.
    pub(super) fn is_servers_own_key(&self, process: &Process, secret: &Secret) -> bool {
        own::is_servers(secret.file.class) && self.clients.own(process, &secret.file).is_some()
    }
}
