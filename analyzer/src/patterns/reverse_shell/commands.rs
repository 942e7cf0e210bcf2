//! Programs of whatever kind that let commands have a connection which they sought themselves: that
//! makes them shells.

use std::collections::VecDeque;

use super::{login_services::is_login_service, relay::is_sought};
use crate::{
    alert::Severity,
    descriptor_table::{DescriptorTable, StdioConnection},
    event::{ObjectId, ProcessId},
    keyed_hash::HashMap,
    process_table::Process,
    program::Program,
};

/// Commands on one connection before that is worth a word: a program may connect to have one served.
const COMMANDS: u32 = 2;
/// Commands before it is certain: with input, output and errors there, or with the latter two.
const WHOLE: u32 = 2;
const ANSWERS: u32 = 3;
/// Connections that are remembered; the oldest is forgotten first.
const MAX_REMEMBERED: usize = 4096;

type Key = (ProcessId, ObjectId);

#[derive(Debug, Default)]
struct Count {
    all: u32,
    /// Those whose input, output and errors all are the connection.
    whole: u32,
    /// Those whose output and errors are.
    answers: u32,
}

/// What ran on whose connection.
#[derive(Debug, Default)]
pub(super) struct Commands {
    counts: HashMap<Key, Count>,
    in_order: VecDeque<Key>,
}

impl Commands {
    /// `child` of `parent` has started a program at `now` (CLOCK_BOOTTIME, ns): what does that make of
    /// the parent?
    pub(super) fn started(
        &mut self,
        parent: &Process,
        child: &DescriptorTable,
        now: u64,
    ) -> Option<(StdioConnection, Severity)> {
        let on = |number| child.get(number).filter(|slot| slot.object.is_connection());
        let slot = on(1).or(on(2))?;
        if parent.image.is_none()
            || matches!(parent.program(), Program::Shell { .. })
            || is_login_service(parent)
        {
            return None;
        }
        let id = slot.object.id;
        let is_on = |number| on(number).is_some_and(|other| other.object.is_one_with(&slot.object));
        let answers = is_on(1) && is_on(2);
        let is_of_parent = parent.descriptors.borrow().iter().any(|(_, own)| own.object.id == id);
        if !(answers || is_on(0)) || !is_of_parent || !is_sought(&slot.object, now) {
            return None;
        }
        let count = self.count((parent.id, id));
        count.all += 1;
        count.whole += u32::from(answers && is_on(0));
        count.answers += u32::from(answers);
        let severity = if count.whole >= WHOLE || count.answers >= ANSWERS {
            Severity::Critical
        } else {
            (count.all >= COMMANDS).then_some(Severity::High)?
        };
        let object = slot.object.clone();
        let arrivals = slot.arrived.clone().into_iter().collect();
        Some((StdioConnection { object, arrivals }, severity))
    }

    fn count(&mut self, key: Key) -> &mut Count {
        if !self.counts.contains_key(&key) {
            self.in_order.push_back(key);
            if self.in_order.len() > MAX_REMEMBERED
                && let Some(oldest) = self.in_order.pop_front()
            {
                self.counts.remove(&oldest);
            }
        }
        self.counts.entry(key).or_default()
    }
}
