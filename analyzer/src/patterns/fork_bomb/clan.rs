//! Processes that forked from each other and run what one of them started, in numbers.

use std::collections::BTreeSet;

use crate::event::ProcessId;

/// Members that live in this generation or further down, and in all, of a clan that spreads while its founder
/// is so fast that its children's turn comes late; and the rank that it has at least, since pools and subshells
/// may be as many.
const FAR: u32 = 3;
const FAR_DOWN: usize = 48;
const SPREADING: usize = 192;
const RANK: u8 = 4;
/// Children that stay, made within [`WINDOW_NS`]. More than any server starts ahead of its work; one
/// that listens may fork for each connection.
const WIDE: usize = 500;
const WIDE_SERVER: usize = 2000;
/// Programs that were started within that time and stay: more than `xargs -P` or a boot starts at once.
const WIDE_PROGRAMS: usize = 1000;
/// Growth is what came within this time, ns, to at most twice that.
const WINDOW_NS: u64 = 30_000_000_000;

/// Why a clan is a bomb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    /// Its members fork on, and many live.
    Spreads,
    /// One generation, and very many live.
    IsWide,
    /// Each starts a program below itself, and all live.
    IsNested,
    /// Each forks and ends, so few live.
    IsChain,
}

/// How far it had come at some time.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    at: u64,
    living: usize,
    outside: usize,
}

/// A clan.
#[derive(Debug)]
pub(super) struct Clan {
    /// Its first member.
    pub(super) founder: ProcessId,
    /// Whether it was reported.
    pub(super) reported: bool,
    /// Forks of all members so far.
    pub(super) forks: u64,
    /// Time of the first fork; CLOCK_BOOTTIME, ns.
    pub(super) begun: Option<u64>,
    /// Whether that is one still. It is older than all others.
    has_founder: bool,
    /// The member that joined last: most are gone before the next one comes.
    latest: Option<(u64, u32)>,
    /// Those before it, by start.
    others: BTreeSet<(u64, u32)>,
    /// Of the latest and the others, in generation [`FAR`] or further down.
    far_down: usize,
    /// Former members that run other programs and live.
    outside: usize,
    /// Growth is counted from the first of these.
    marks: [Mark; 2],
}

impl Clan {
    pub(super) fn new(founder: ProcessId) -> Self {
        Self {
            founder,
            reported: false,
            forks: 0,
            begun: None,
            has_founder: true,
            latest: None,
            others: BTreeSet::new(),
            far_down: 0,
            outside: 0,
            marks: [Mark::default(); 2],
        }
    }

    /// A new member of `generation`.
    pub(super) fn join(&mut self, member: ProcessId, generation: u32, now: u64) {
        self.pass(now);
        self.begun.get_or_insert(now);
        self.forks += 1;
        let member = (member.start_time, member.tgid);
        if self.latest == Some(member) || self.others.contains(&member) {
            return;
        }
        self.others.extend(self.latest.replace(member));
        self.far_down += usize::from(generation >= FAR);
    }

    /// A member of `generation` has ended, or runs another program.
    pub(super) fn leave(&mut self, member: ProcessId, generation: u32) {
        let was_founder = self.has_founder && member == self.founder;
        self.has_founder &= !was_founder;
        let member = (member.start_time, member.tgid);
        let was_latest = self.latest == Some(member);
        self.latest = self.latest.filter(|_| !was_latest);
        if was_founder || was_latest || self.others.remove(&member) {
            self.begins_again(generation);
        }
    }

    /// A member of `generation` is in none any more.
    pub(super) fn begins_again(&mut self, generation: u32) {
        if generation >= FAR {
            self.far_down = self.far_down.saturating_sub(1);
        }
    }

    /// A member begins to run another program.
    pub(super) fn sent_out(&mut self, now: u64) {
        self.pass(now);
        self.outside += 1;
    }

    /// One that did has ended.
    pub(super) fn sent_out_ended(&mut self) {
        self.outside = self.outside.saturating_sub(1);
    }

    /// The oldest member, or the founder if there is none.
    pub(super) fn oldest(&self) -> ProcessId {
        let other = self.others.first().into_iter().chain(&self.latest).min();
        match other {
            Some(&(start_time, tgid)) if !self.has_founder => ProcessId { tgid, start_time },
            _ => self.founder,
        }
    }

    /// Whether nobody belongs to it or has left it and lives.
    pub(super) fn is_over(&self) -> bool {
        self.size() == 0 && self.outside == 0
    }

    /// Whether it is a bomb, and was not reported; `serves` says whether who forked listens, and `rank` how often
    /// it branches.
    pub(super) fn alarm(
        &self,
        serves: impl FnOnce() -> bool,
        rank: impl FnOnce() -> u8,
    ) -> Option<Alarm> {
        if self.reported {
            return None;
        }
        let [since, _] = self.marks;
        let grown = self.size().saturating_sub(since.living);
        if self.far_down >= FAR_DOWN && grown >= SPREADING && rank() >= RANK {
            Some(Alarm::Spreads)
        } else if self.outside.saturating_sub(since.outside) >= WIDE_PROGRAMS
            || grown >= WIDE_SERVER
            || grown >= WIDE && !serves()
        {
            Some(Alarm::IsWide)
        } else {
            None
        }
    }

    /// How many live.
    fn size(&self) -> usize {
        usize::from(self.has_founder) + usize::from(self.latest.is_some()) + self.others.len()
    }

    /// Sets marks as time goes on.
    fn pass(&mut self, now: u64) {
        let [_, last] = self.marks;
        let since = now.saturating_sub(last.at);
        if since < WINDOW_NS {
            return;
        }
        let mark = Mark { at: now, living: self.size(), outside: self.outside };
        self.marks = if since < 2 * WINDOW_NS { [last, mark] } else { [mark, mark] };
    }
}
