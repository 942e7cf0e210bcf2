//! A tree of processes that grows faster than anything honest (MITRE T1499.001).
//!
//! Processes are counted in clans: a process and what it forked, as long as that runs the same program.
//! Whoever starts another program leaves, and begins a clan of its own below; who comes back to the
//! program of a clan above is a member of that one again. So compilers under `make -j64` and the ten
//! thousand commands of a shell's loop leave no large clan behind, and a bomb cannot but be one:
//!
//! - it spreads: generation after generation forks on, and many of them live;
//! - it is wide: one parent keeps making children that stay, more than servers start ahead of their
//!   work, or keeps starting programs that stay;
//! - it is a chain: each one forks and ends, so few live, and generations go by faster than any
//!   program hands over to itself.
//!
//! A bomb is reported once, with its oldest living member: the root of what has to end.

use std::collections::{BTreeMap, HashMap};

use sentinel_ipc::frame::KindSet;

use super::{Finding, Rule, Verdicts};
use crate::{
    alert::{Engine, Severity},
    event::{Action, Event, ProcessId},
    process_table::{Process, ProcessTable},
    step::{Deed, Step},
};

mod clan;

use clan::{Alarm, Clan};

/// What the rule looks at, beside fork, exec and exit: nothing.
pub const NEEDS: KindSet = KindSet::of(&[]);

/// The rule's name and number.
pub static RULE: Rule = Rule::of("fork_bomb", "T1499.001", Engine::Patterns);

/// Clans above that a program is looked for in: `bomb.py` → `sh` → `bomb.py`.
const CLANS_ABOVE: usize = 3;
/// State of a listening socket (`TCP_LISTEN`).
const LISTENS: u16 = 10;

/// Which clan, never used again.
type ClanId = u64;

/// A living process's place.
#[derive(Debug, Clone, Copy)]
struct Member {
    clan: ClanId,
    /// Forks between it and its clan's founder.
    generation: u32,
    /// The clan that it left for another program, while it is counted there.
    left: Option<ClanId>,
}

/// The rule's state: bounded by the processes that live.
#[derive(Debug, Default)]
pub struct ForkBomb {
    members: BTreeMap<ProcessId, Member>,
    clans: HashMap<ClanId, Clan>,
    next: ClanId,
}

impl ForkBomb {
    /// Looks at an event that `processes` has followed already.
    pub fn observe(&mut self, event: &Event, processes: &ProcessTable, verdicts: &mut Verdicts) {
        match &event.action {
            // The caller, not the parent that it chose (CLONE_PARENT).
            Action::Fork { child, .. } => self.fork(event, *child, processes, verdicts),
            Action::Exec(_) => self.exec(event, processes, verdicts),
            Action::Exit => self.leave(event.process),
            _ => {}
        }
    }

    /// Looks at what time alone decides: an exit may have been lost.
    pub fn time(&mut self, processes: &ProcessTable) {
        let gone: Vec<ProcessId> =
            self.members.keys().filter(|&&id| processes.get(id).is_none()).copied().collect();
        for id in gone {
            self.leave(id);
        }
    }

    /// Who began the program that `member` and its clan run; it may have ended.
    pub fn founder(&self, member: ProcessId) -> Option<ProcessId> {
        Some(self.clans.get(&self.members.get(&member)?.clan)?.founder)
    }

    fn fork(
        &mut self,
        event: &Event,
        child: ProcessId,
        processes: &ProcessTable,
        verdicts: &mut Verdicts,
    ) {
        let Member { clan, generation, .. } = self.member(event.process, processes);
        let generation = generation.saturating_add(1);
        self.leave(child);
        self.members.insert(child, Member { clan, generation, left: None });
        if let Some(clan) = self.clans.get_mut(&clan) {
            clan.join(child, generation, event.timestamp);
        }
        self.judge(clan, event, processes, verdicts);
    }

    fn exec(&mut self, event: &Event, processes: &ProcessTable, verdicts: &mut Verdicts) {
        let Some(process) = processes.get(event.process) else { return };
        let before = self.member(event.process, processes);
        let program = path_of(process);
        let is_of = |clan: &Clan| program.is_some() && clan.program.as_deref() == program;
        let Some(own) = self.clans.get(&before.clan) else { return };
        if is_of(own) {
            return;
        }
        let mut above = own.above;
        let mut found = None;
        for _ in 0..CLANS_ABOVE {
            let Some((id, generation)) = above else { break };
            let Some(clan) = self.clans.get(&id) else { break };
            if is_of(clan) {
                found = Some((id, generation));
                break;
            }
            above = clan.above.map(|(id, further)| (id, further.saturating_add(generation)));
        }
        // Counted where it comes from before it goes: its clan may have no other member.
        if let Some((clan, forks_before)) = found {
            let generation = forks_before.saturating_add(before.generation);
            if let Some(clan) = self.clans.get_mut(&clan) {
                clan.alternates = true;
                clan.join(event.process, generation, event.timestamp);
            }
            self.leave(event.process);
            self.members.insert(event.process, Member { clan, generation, left: None });
            return self.judge(clan, event, processes, verdicts);
        }
        let is_founder = before.generation == 0;
        let above = if is_founder { own.above } else { Some((before.clan, before.generation)) };
        let left = if is_founder { before.left } else { Some(before.clan) };
        let clan = self.found(process, above);
        if let Some(left) = left.and_then(|left| self.clans.get_mut(&left)) {
            left.sent_out(event.timestamp);
        }
        self.leave(event.process);
        self.members.insert(event.process, Member { clan, generation: 0, left });
        if let Some(left) = left {
            self.judge(left, event, processes, verdicts);
        }
    }

    /// The process's place; it founds a clan if it had none.
    fn member(&mut self, id: ProcessId, processes: &ProcessTable) -> Member {
        if let Some(member) = self.members.get(&id) {
            return *member;
        }
        let clan = match processes.get(id) {
            Some(process) => self.found(process, None),
            None => self.enter(Clan::new(None, id, None), None),
        };
        let member = Member { clan, generation: 0, left: None };
        self.members.insert(id, member);
        member
    }

    fn found(&mut self, founder: &Process, above: Option<(ClanId, u32)>) -> ClanId {
        let program = path_of(founder).map(Into::into);
        self.enter(Clan::new(program, founder.id, above), above)
    }

    fn enter(&mut self, clan: Clan, above: Option<(ClanId, u32)>) -> ClanId {
        if let Some(above) = above.and_then(|(id, _)| self.clans.get_mut(&id)) {
            above.clans_below += 1;
        }
        self.next += 1;
        self.clans.insert(self.next, clan);
        self.next
    }

    /// The process is no member any more.
    fn leave(&mut self, id: ProcessId) {
        let Some(member) = self.members.remove(&id) else { return };
        if let Some(left) = member.left {
            if let Some(clan) = self.clans.get_mut(&left) {
                clan.sent_out_ended();
            }
            self.dissolve(left);
        }
        if let Some(clan) = self.clans.get_mut(&member.clan) {
            clan.leave(id, member.generation);
        }
        self.dissolve(member.clan);
    }

    /// Forgets a clan to which nobody belongs or goes back, and those above that it alone kept.
    fn dissolve(&mut self, mut id: ClanId) {
        while self.clans.get(&id).is_some_and(Clan::is_over)
            && let Some((above, _)) = self.clans.remove(&id).and_then(|clan| clan.above)
            && let Some(clan) = self.clans.get_mut(&above)
        {
            clan.clans_below = clan.clans_below.saturating_sub(1);
            id = above;
        }
    }

    fn judge(
        &mut self,
        id: ClanId,
        event: &Event,
        processes: &ProcessTable,
        verdicts: &mut Verdicts,
    ) {
        let serves = |process: ProcessId| {
            processes.get(process).is_some_and(|process| {
                let descriptors = process.descriptors.borrow();
                let mut sockets = descriptors.iter().filter_map(|(_, slot)| slot.object.socket());
                sockets.any(|ends| ends.state == LISTENS)
            })
        };
        let Some(clan) = self.clans.get(&id) else { return };
        if clan.alarm(|| serves(event.process)).is_none() {
            return;
        }
        // Whose end was lost does not count.
        let gone: Vec<ProcessId> =
            clan.living().filter(|&member| processes.get(member).is_none()).collect();
        for member in gone {
            self.leave(member);
        }
        let Some(clan) = self.clans.get_mut(&id) else { return };
        let Some(alarm) = clan.alarm(|| serves(event.process)) else { return };
        clan.reported = true;
        verdicts.findings.push(finding(clan, alarm, event, processes));
    }
}

fn path_of(process: &Process) -> Option<&str> {
    process.image.as_ref().map(|image| image.path.as_str()).filter(|path| !path.is_empty())
}

fn finding(clan: &Clan, alarm: Alarm, event: &Event, processes: &ProcessTable) -> Finding {
    let root = clan.living().next().unwrap_or(clan.founder);
    let path = clan.program.as_deref().unwrap_or("?");
    let living = clan.living().count();
    let counts = format!(
        "{} forks, {living} living of the same program, {} of others, {} generations deep",
        clan.forks,
        clan.outside(),
        clan.deepest,
    );
    let what = match alarm {
        Alarm::Spreads => "spreads: its children fork on",
        Alarm::IsWide => "keeps making children that stay",
        Alarm::IsChain => "forks and ends in a chain without an end",
    };
    let seen = |event, detail| Deed::Seen { event, detail };
    let begun = clan.begun.unwrap_or(event.timestamp);
    let image = processes.get(root).and_then(|process| process.image.as_ref());
    let line = image.map_or("", |image| image.command_line.as_str());
    let first = seen("fork", format!("{path} began to fork: {line}"));
    let last = seen("fork", counts.clone());
    let steps = vec![
        Step { timestamp: begun, process: root, deed: first },
        Step { timestamp: event.timestamp, process: event.process, deed: last },
    ];
    let message = format!("the tree below {path} (pid {}) {what}: {counts}", root.tgid);
    Finding { steps, ..RULE.finding(Severity::Critical, root, message) }
}

#[cfg(test)]
mod tests;
