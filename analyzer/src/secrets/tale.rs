//! What happened to a secret, in a sentence and in steps.

use std::rc::Rc;

use super::{Outflow, SecretFile, Secrets, departure::Left};
use crate::{
    descriptor_table::OpenObject,
    event::{Action, Event},
    lineage::Carried,
    process_table::Process,
    rules::fields::FILE_CLASSES,
    step::{Deed, Step},
};

/// A finding's words.
#[derive(Debug)]
pub struct Tale {
    /// One sentence.
    pub message: String,
    /// In order of time.
    pub steps: Vec<Step>,
}

impl Secrets {
    /// That data has left by `event`, of which `process` did `outflow`; `None` if it has not.
    pub fn departed(&self, process: &Process, outflow: &Outflow, event: &Event) -> Option<Tale> {
        let left = outflow.left?;
        let Action::Traffic(traffic) = &event.action else { return None };
        let secret = self.get(outflow.carried.source)?;
        let slot = traffic.number.and_then(|number| {
            process.descriptors.borrow().get(number).map(|slot| Rc::clone(&slot.object))
        });
        let is_it = |id| traffic.descriptor.is_some_and(|descriptor| descriptor.object.id == id);
        let slot = slot.filter(|object| is_it(object.id));
        let mut steps = self.came(&outflow.carried, slot.as_deref());
        let (bytes, remote) = (left.bytes(), outflow.remote);
        let certainty =
            if matches!(left, Left::Perhaps(_)) { ", some of it perhaps before" } else { "" };
        let detail = format!("sent {bytes} bytes to {remote}{certainty}");
        let deed = Deed::Seen { event: "send", detail };
        steps.push(Step { timestamp: event.timestamp, process: process.id, deed });
        steps.sort_by_key(|step| step.timestamp);
        let message = format!(
            "{} (pid {}) sent {bytes} bytes to {remote} after {}{} was read{certainty}",
            name(process),
            process.id.tgid,
            secret.file.path,
            way(&outflow.carried)
        );
        Some(Tale { message, steps })
    }

    /// That `process`, to which the secret came, has a connection to another host open beside it.
    pub fn stands_beside(
        &self,
        process: &Process,
        carried: &Carried,
        connection: &OpenObject,
    ) -> Option<Tale> {
        let secret = self.get(carried.source)?;
        let steps = self.came(carried, Some(connection));
        let remote = connection.remote()?;
        let message = format!(
            "{} (pid {}) has a connection to {remote}, and {}{} was read",
            name(process),
            process.id.tgid,
            secret.file.path,
            way(carried)
        );
        Some(Tale { message, steps })
    }

    /// How the secret came to who has it, and how `connection` came to be; in order of time.
    fn came(&self, carried: &Carried, connection: Option<&OpenObject>) -> Vec<Step> {
        let mut steps = Vec::new();
        let seen = |event, detail| Deed::Seen { event, detail };
        if let Some(secret) = self.get(carried.source) {
            let SecretFile { path, class, size, .. } = &secret.file;
            let known = FILE_CLASSES.iter().find(|(_, one)| one == class);
            let class = known.map_or("secret", |one| one.0);
            let read = seen("file_read", format!("opened {path} to read ({class}, {size} bytes)"));
            steps.push(Step { timestamp: secret.at, process: secret.reader, deed: read });
        }
        for (from, timestamp, through, to) in carried.trail.hops() {
            let detail = format!("had data of pid {} {through}", from.tgid);
            steps.push(Step { timestamp, process: to, deed: seen("lineage", detail) });
        }
        steps.extend(connection.into_iter().flat_map(OpenObject::history));
        steps.sort_by_key(|step| step.timestamp);
        steps
    }
}

fn name(process: &Process) -> &str {
    process.image.as_ref().map_or("?", |image| image.path.as_str())
}

fn way(carried: &Carried) -> &'static str {
    let is_far = !carried.trail.hops().is_empty();
    if is_far { ", which came to it from another process," } else { "" }
}
