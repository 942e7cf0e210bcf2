//! A tree of processes that grows as nothing honest does (MITRE T1499.001).
//!
//! - it spreads: whoever is forked forks again, and they live. That is told by its shape, whatever its processes
//!   run and however slow it is: by how often it branches again ([`tree`]). Jobs, pools and subshells branch as
//!   wide, but few times over;
//! - it is wide: one parent keeps making children that stay, more than servers start ahead of their
//!   work, or keeps starting programs that stay;
//! - it is a chain: each one forks and ends, so few live, and more forebears end in a row than any program
//!   hands over to. Or each one starts a program and waits.
//!
//! Widths are counted in clans ([`clan`]): a process and what it forked, as long as that starts no program. Whoever
//! does leaves, and begins a clan of its own. So compilers under `make -j64` and the ten thousand
//! commands of a shell's loop leave no large clan behind.
//!
//! A bomb is reported once, with its oldest living member: the root of what has to end.

use std::rc::Rc;

use sentinel_ipc::frame::KindSet;

use super::{Finding, Rule, Verdicts};
use crate::{
    alert::{Engine, Severity},
    event::{Action, Event, ProcessId},
    process_table::{Image, ProcessTable},
    step::{Deed, Step},
};

mod clan;
mod clans;
mod tree;

use clan::Alarm;
use clans::{ClanId, Clans};
use tree::{Place, Tree};

/// What the rule looks at, beside fork, exec and exit: nothing.
pub const NEEDS: KindSet = KindSet::of(&[]);

/// The rule's name and number.
pub static RULE: Rule = Rule::of("fork_bomb", "T1499.001", Engine::Patterns);

/// State of a listening socket (`TCP_LISTEN`).
const LISTENS: u16 = 10;

/// What a living process is a member of.
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
    clans: Clans,
    tree: Tree,
}

impl ForkBomb {
    /// Looks at an event that `processes` has followed already.
    pub fn observe(&mut self, event: &Event, processes: &ProcessTable, verdicts: &mut Verdicts) {
        match &event.action {
            // The caller, not the parent that it chose (CLONE_PARENT).
            Action::Fork { child, .. } => self.fork(event, *child, processes, verdicts),
            Action::Exec(_) => self.exec(event, processes, verdicts),
            Action::Exit => {
                if let Some(place) = self.tree.place(event.process)
                    && let Some(child) = self.leave(place, event.timestamp)
                {
                    self.tell(Alarm::IsChain, None, child, event, processes, verdicts);
                }
            }
            _ => {}
        }
    }

    /// Looks at what time alone decides: an exit may have been lost.
    pub fn time(&mut self, now: u64, processes: &ProcessTable) {
        self.forget_ended(now, processes);
        self.tree.time(now);
        self.clans.give_back();
    }

    /// Who began the bomb that `member` is of, and that was reported; it may have ended.
    pub fn founder(&self, member: ProcessId) -> Option<ProcessId> {
        self.tree.reported(member)
    }

    fn forget_ended(&mut self, now: u64, processes: &ProcessTable) {
        let members = self.tree.members();
        let mut gone: Vec<ProcessId> = members.filter(|&id| processes.get(id).is_none()).collect();
        gone.sort_unstable();
        for id in gone {
            if let Some(place) = self.tree.place(id) {
                self.leave(place, now);
            }
        }
    }

    fn fork(
        &mut self,
        event: &Event,
        child: ProcessId,
        processes: &ProcessTable,
        verdicts: &mut Verdicts,
    ) {
        // In a capture that somebody has made.
        if child == event.process {
            return;
        }
        let image = processes.get(event.process).and_then(|process| process.image.as_ref());
        let Some((place, Member { clan, generation, .. })) = self.member(event.process, image)
        else {
            return;
        };
        let generation = generation.saturating_add(1);
        if let Some(known) = self.tree.place(child) {
            self.leave(known, event.timestamp);
        }
        if let Some(clan) = self.clans.get_mut(clan) {
            clan.join(child, generation, event.timestamp);
        }
        let member = Member { clan, generation, left: None };
        if let Some(nearest) = self.tree.fork(place, child, member) {
            self.spreads(nearest, event, processes, verdicts);
        }
        self.judge(clan, event, processes, verdicts);
    }

    fn exec(&mut self, event: &Event, processes: &ProcessTable, verdicts: &mut Verdicts) {
        let image = processes.get(event.process).and_then(|process| process.image.as_ref());
        let Some((place, before)) = self.member(event.process, None) else { return };
        let (is_same, nearest) = self.tree.exec(place, image);
        if let Some(nearest) = nearest {
            self.spreads(nearest, event, processes, verdicts);
        }
        if let Some(first) = self.tree.nest(place) {
            self.tell(Alarm::IsNested, None, first, event, processes, verdicts);
        }
        // Who runs the same again is one of as many, but begins a line of forks of his own.
        if is_same {
            if let Some(clan) = self.clans.get_mut(before.clan) {
                clan.begins_again(before.generation);
            }
            return self.tree.set_member(place, Member { generation: 0, ..before });
        }
        let is_founder = before.generation == 0;
        let left = if is_founder { before.left } else { Some(before.clan) };
        if let Some(clan) = self.clans.get_mut(before.clan) {
            clan.leave(event.process, before.generation);
            if !is_founder {
                clan.sent_out(event.timestamp);
            }
        }
        self.clans.dissolve(before.clan);
        let Some(clan) = self.clans.found(event.process) else { return };
        self.tree.set_member(place, Member { clan, generation: 0, left });
        if let Some(left) = left {
            self.judge(left, event, processes, verdicts);
        }
    }

    /// The process's place, and what it is a member of; it founds a clan if it had none. `image`: what it runs, if
    /// that was not known.
    fn member(&mut self, id: ProcessId, image: Option<&Rc<Image>>) -> Option<(Place, Member)> {
        let place = self.tree.known_or_new(id, image)?;
        if let Some(member) = self.tree.member(place) {
            return Some((place, member));
        }
        let member = Member { clan: self.clans.found(id)?, generation: 0, left: None };
        self.tree.set_member(place, member);
        Some((place, member))
    }

    /// The process at `place` is no member any more; the one whose chain of forebears that has made too long.
    fn leave(&mut self, place: Place, now: u64) -> Option<ProcessId> {
        let (id, member) = self.tree.take_member(place)?;
        if let Some(left) = member.left {
            if let Some(clan) = self.clans.get_mut(left) {
                clan.sent_out_ended();
            }
            self.clans.dissolve(left);
        }
        if let Some(clan) = self.clans.get_mut(member.clan) {
            clan.leave(id, member.generation);
        }
        self.clans.dissolve(member.clan);
        self.tree.exit(place, now)
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
        let alarm = |bombs: &Self| {
            let clan = bombs.clans.get(id)?;
            let alarm = clan.alarm(
                || serves(event.process),
                || bombs.tree.rank(bombs.tree.above(clan.oldest())),
            )?;
            Some((alarm, clan.oldest()))
        };
        if alarm(self).is_none() {
            return;
        }
        // Whose end was lost does not count.
        self.forget_ended(event.timestamp, processes);
        let Some((alarm, oldest)) = alarm(self) else { return };
        self.tell(alarm, Some(id), self.tree.above(oldest), event, processes, verdicts);
    }

    /// The tree below `nearest` is a bomb by its shape.
    fn spreads(
        &mut self,
        nearest: ProcessId,
        event: &Event,
        processes: &ProcessTable,
        verdicts: &mut Verdicts,
    ) {
        if self.tree.root(nearest).is_none() {
            return;
        }
        self.forget_ended(event.timestamp, processes);
        if let Some(root) = self.tree.root(nearest) {
            self.tell(Alarm::Spreads, None, root, event, processes, verdicts);
        }
    }

    /// Tells of the bomb of which `root` is the root, or the oldest that is known, unless it was told. `counted` is
    /// the clan that told it, if one did.
    fn tell(
        &mut self,
        alarm: Alarm,
        counted: Option<ClanId>,
        root: ProcessId,
        event: &Event,
        processes: &ProcessTable,
        verdicts: &mut Verdicts,
    ) {
        let of_root = || Some(self.tree.member(self.tree.place(root)?)?.clan);
        let own = counted.or_else(of_root);
        let clan = own.and_then(|clan| self.clans.get_mut(clan));
        let founder = clan.as_ref().map_or(root, |clan| clan.founder);
        let (begun, forks) = clan.as_ref().map_or((None, 0), |clan| (clan.begun, clan.forks));
        if let Some(clan) = clan {
            clan.reported = true;
        }
        if self.tree.reported(root).is_some() {
            return;
        }
        let below = self.tree.below(root);
        let oldest = below.iter().map(|&(id, _)| id).min_by_key(|id| id.start_time).unwrap_or(root);
        self.tree.report(root, founder, event.timestamp);
        let deepest = below.iter().map(|&(_, generation)| generation).max().unwrap_or_default();
        let counts = format!("{forks} forks, {} living, {deepest} generations deep", below.len());
        let what = match alarm {
            Alarm::Spreads => "spreads: its children fork on",
            Alarm::IsWide => "keeps making children that stay",
            Alarm::IsNested => "starts programs below each other without an end",
            Alarm::IsChain => "forks and ends in a chain without an end",
        };
        let image = processes.get(oldest).and_then(|process| process.image.as_ref());
        let (path, line) =
            image.map_or(("?", ""), |image| (image.path.as_str(), image.command_line.as_str()));
        let seen = |detail| Deed::Seen { event: "fork", detail };
        let first = seen(format!("{path} began to fork: {line}"));
        let begun = begun.unwrap_or(event.timestamp);
        let steps = vec![
            Step { timestamp: begun, process: oldest, deed: first },
            Step { timestamp: event.timestamp, process: event.process, deed: seen(counts.clone()) },
        ];
        let message = format!("the tree below {path} (pid {}) {what}: {counts}", oldest.tgid);
        let finding = RULE.finding(Severity::Critical, oldest, message);
        verdicts.findings.push(Finding { steps, ..finding });
    }
}

#[cfg(test)]
mod tests;
