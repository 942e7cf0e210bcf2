//! A capture as what the fixed program `kernel_story` did, process by process, in words that are the
//! same on every kernel.

use std::collections::HashSet;

use sentinel_analyzer::{
    alert::Alert,
    capture::Reader,
    event::{self, Action, Event, ProcessId},
    merge::Merge,
    stream::Stream,
};
use sentinel_ipc::frame::{Limit, LoaderMessage, decode};

use crate::words::Words;

/// What a capture tells.
pub struct Telling {
    /// What its kernel cannot tell.
    pub limits: Vec<Limit>,
    /// Records that were lost.
    pub dropped: [u64; 2],
    /// What the engines say to it.
    pub alerts: Vec<Alert>,
    events: Vec<Event>,
}

fn hold(mut records: &[u8], merge: &mut Merge) {
    while !records.is_empty() {
        let (event, rest) = event::take(records).unwrap();
        merge.hold(event);
        records = rest;
    }
}

impl Telling {
    /// Reads a whole capture.
    pub fn of(capture: &[u8]) -> Self {
        let mut reader = Reader::new(capture).unwrap();
        let mut told =
            Self { limits: Vec::new(), dropped: [0; 2], alerts: Vec::new(), events: Vec::new() };
        let (mut merge, mut stream) = (Merge::default(), Stream::new(false));
        while let Some(frame) = reader.next_frame().unwrap() {
            let message = decode(frame).unwrap();
            stream.follow(&message, &mut told.alerts).unwrap();
            match message {
                LoaderMessage::Subscribed { limits, .. } => told.limits = limits,
                LoaderMessage::Events { records } => hold(records, &mut merge),
                LoaderMessage::Drained { records, until, dropped, .. } => {
                    hold(records, &mut merge);
                    told.dropped = dropped;
                    told.events.append(&mut merge.release(until));
                }
                _ => {}
            }
        }
        told.events.append(&mut merge.release(u64::MAX));
        assert_eq!((merge.late(), stream.late()), (0, 0));
        told
    }

    /// The identities of all programs that were started.
    pub fn identities(&self) -> Vec<&[u8]> {
        let execs = self.events.iter().filter_map(|event| match &event.action {
            Action::Exec(exec) => Some(exec),
            _ => None,
        });
        execs.filter_map(|exec| exec.identity()).collect()
    }

    /// What the program and its children did: the first line of each process says which it is, and
    /// is followed by its events. What `limits` says is left out is left out.
    pub fn story(&self, limits: &HashSet<Limit>) -> Vec<String> {
        let begun = |event: &Event| matches!(&event.action, Action::Exec(exec) if is_story(exec));
        let start = self.events.iter().position(begun).expect("the story begins");
        let Action::Exec(exec) = &self.events[start].action else { unreachable!() };
        let mut processes = vec![Process { id: self.events[start].process, events: Vec::new() }];
        for event in &self.events[start..] {
            let Some(process) = processes.iter_mut().find(|process| process.id == event.process)
            else {
                continue;
            };
            process.events.push(event);
            if let Action::Fork { child, .. } = event.action {
                processes.push(Process { id: child, events: Vec::new() });
            }
        }
        let ids = processes.iter().map(|process| process.id).collect();
        let capabilities = exec.after.expect("its rights").bounding;
        let mut words = Words::new(
            exec.arguments.iter().nth(1).expect("its argument").to_vec(),
            capabilities,
            ids,
            limits,
        );
        let lines = |(number, process): (usize, &Process<'_>)| {
            let mut lines = vec![format!("process {number}")];
            lines.extend(process.events.iter().map(|event| words.event(event)));
            lines
        };
        processes.iter().enumerate().flat_map(lines).collect()
    }
}

/// A process of the story.
struct Process<'a> {
    id: ProcessId,
    events: Vec<&'a Event>,
}

/// Its first program has one argument, those that it starts have others.
fn is_story(exec: &event::Exec) -> bool {
    exec.path_bytes().ends_with(b"/kernel_story") && exec.arguments.len() == 2
}
