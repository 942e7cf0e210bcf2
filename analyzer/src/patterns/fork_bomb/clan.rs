//! Processes that forked from each other and run the same program, in numbers.

use std::collections::BTreeSet;

use super::ClanId;
use crate::event::ProcessId;

/// Generations of forks without another program between them, and members that live, of a clan that
/// spreads. Shells nest a few subshells, daemons fork twice or three times before their workers.
const GENERATIONS: u32 = 6;
const SPREADING: usize = 64;
/// Or: members that live in the third generation or further down, and in all, when the founder is so fast
/// that its children's turn comes late.
const FAR: u32 = 3;
const FAR_DOWN: usize = 48;
const SPREADING_FAST: usize = 96;
/// The same of a clan whose members run another program in between: deeper than recursive makes.
const GENERATIONS_ALTERNATING: u32 = 12;
const SPREADING_ALTERNATING: usize = 96;
/// Children that stay, made within [`WINDOW_NS`]. More than any server starts ahead of its work; one
/// that listens may fork for each connection.
const WIDE: usize = 500;
const WIDE_SERVER: usize = 2000;
/// Programs that were started within that time and stay: more than `xargs -P` or a boot starts at once.
const WIDE_PROGRAMS: usize = 1000;
/// Generations that a chain passes within that time.
const CHAIN: u32 = 100;
/// Growth is what came within this time, ns, to at most twice that.
const WINDOW_NS: u64 = 30_000_000_000;

/// Why a clan is a bomb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    /// Generation after generation, and many live.
    Spreads,
    /// One generation, and very many live.
    IsWide,
    /// Generation after generation, and few live.
    IsChain,
}

/// How far it had come at some time.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    at: u64,
    living: usize,
    outside: usize,
    deepest: u32,
    /// The highest generation that came since.
    highest: u32,
}

/// A clan.
#[derive(Debug)]
pub(super) struct Clan {
    /// Path of the program; `None` if it is not known.
    pub(super) program: Option<Box<str>>,
    /// Its first member.
    pub(super) founder: ProcessId,
    /// The clan that its founder came from, and in which generation of that.
    pub(super) above: Option<(ClanId, u32)>,
    /// Clans whose founders came from this one.
    pub(super) clans_below: usize,
    /// Whether members have run another program in between.
    pub(super) alternates: bool,
    /// Whether it was reported.
    pub(super) reported: bool,
    /// Forks of all members so far.
    pub(super) forks: u64,
    /// The highest generation so far.
    pub(super) deepest: u32,
    /// Time of the first fork; CLOCK_BOOTTIME, ns.
    pub(super) begun: Option<u64>,
    /// By start, so that the oldest is the first.
    living: BTreeSet<(u64, u32)>,
    /// Of these, in generation [`FAR`] or further down.
    far_down: usize,
    /// Former members that run other programs and live.
    outside: usize,
    /// Growth is counted from the first of these.
    marks: [Mark; 2],
}

impl Clan {
    pub(super) fn new(
        program: Option<Box<str>>,
        founder: ProcessId,
        above: Option<(ClanId, u32)>,
    ) -> Self {
        Self {
            program,
            founder,
            above,
            clans_below: 0,
            alternates: false,
            reported: false,
            forks: 0,
            deepest: 0,
            begun: None,
            living: BTreeSet::from([(founder.start_time, founder.tgid)]),
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
        self.deepest = self.deepest.max(generation);
        let [_, last] = &mut self.marks;
        last.highest = last.highest.max(generation);
        if self.living.insert((member.start_time, member.tgid)) && generation >= FAR {
            self.far_down += 1;
        }
    }

    /// A member of `generation` has ended, or runs another program.
    pub(super) fn leave(&mut self, member: ProcessId, generation: u32) {
        if self.living.remove(&(member.start_time, member.tgid)) && generation >= FAR {
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

    /// Former members that run other programs.
    pub(super) fn outside(&self) -> usize {
        self.outside
    }

    /// Its members, the oldest first.
    pub(super) fn living(&self) -> impl Iterator<Item = ProcessId> {
        self.living.iter().map(|&(start_time, tgid)| ProcessId { tgid, start_time })
    }

    /// Whether nobody belongs to it or may come back.
    pub(super) fn is_over(&self) -> bool {
        self.living.is_empty() && self.outside == 0 && self.clans_below == 0
    }

    /// Whether it is a bomb, and was not reported; `serves` says whether who forked listens.
    pub(super) fn alarm(&self, serves: impl FnOnce() -> bool) -> Option<Alarm> {
        if self.reported {
            return None;
        }
        let [since, last] = self.marks;
        let grown = self.living.len().saturating_sub(since.living);
        let (generations, spreading) = if self.alternates {
            (GENERATIONS_ALTERNATING, SPREADING_ALTERNATING)
        } else {
            (GENERATIONS, SPREADING)
        };
        let is_fast = !self.alternates && self.far_down >= FAR_DOWN && grown >= SPREADING_FAST;
        if since.highest.max(last.highest) >= generations && grown >= spreading || is_fast {
            Some(Alarm::Spreads)
        } else if self.deepest.saturating_sub(since.deepest) >= CHAIN {
            Some(Alarm::IsChain)
        } else if self.outside.saturating_sub(since.outside) >= WIDE_PROGRAMS
            || grown >= WIDE_SERVER
            || grown >= WIDE && !serves()
        {
            Some(Alarm::IsWide)
        } else {
            None
        }
    }

    /// Sets marks as time goes on.
    fn pass(&mut self, now: u64) {
        let [_, last] = self.marks;
        let since = now.saturating_sub(last.at);
        if since < WINDOW_NS {
            return;
        }
        let (living, outside) = (self.living.len(), self.outside);
        let mark = Mark { at: now, living, outside, deepest: self.deepest, highest: 0 };
        self.marks = if since < 2 * WINDOW_NS { [last, mark] } else { [mark, mark] };
    }
}
