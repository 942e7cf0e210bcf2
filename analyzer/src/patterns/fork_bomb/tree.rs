//! The living processes by who forked them, whatever they run, and how often that branches again.
//!
//! A process without living children has rank 1. It has rank k + 1 if two of its children have rank k, or one
//! has, and it makes rank k itself with those below (Strahler's number of the tree in which a fork is a
//! branching into parent and child). So a pool of any size has rank 2, pools within a pool have rank 3, a chain
//! has rank 2, and what doubles n times has rank n + 1: as many processes as honest work may have, in a shape
//! that it has not.

use std::rc::Rc;

mod nodes;

use super::Member;
use crate::{event::ProcessId, process_table::Image};
pub(super) use nodes::Place;
use nodes::{Node, Nodes};

/// Ranks that are told apart; the highest takes more processes than a kernel has numbers for.
const RANKS: u8 = 24;
/// From this rank on a tree is a bomb, whatever its members run: 64 processes at least. Jobs in jobs of a build,
/// a test run or a login have 3 to 5.
const ANY_PROGRAM: u8 = 7;
/// The same where children run their parent's program.
const SAME_PROGRAM: u8 = 6;
/// Another child of so much less is of the bomb as well.
const BESIDE: u8 = 2;
/// Forebears in a row that a chain has ended, within [`CHAIN_WINDOW_NS`].
const CHAIN: u32 = 100;
const CHAIN_WINDOW_NS: u64 = 30_000_000_000;
/// Programs that were started one below the other, and all live: more than recursive makes.
const NESTED: u32 = 100;
/// How long a bomb that was reported stays so, at the least, ns.
const REPORTED_NS: u64 = 600_000_000_000;
/// Everybody's forebear, and nobody's bomb.
const INIT: u32 = 1;

/// Of a process: its rank among all, and with those of its program alone.
type Ranks = [u8; 2];

/// How many children give which of the two: the first pair is of rank 0 and not counted, the last one of the highest
/// that there was.
type Given = Box<[[u32; 2]]>;

/// Forebears that ended with nobody left but the one child.
#[derive(Debug, Clone, Copy, Default)]
struct Chain {
    begun: u64,
    forebears: u32,
}

impl Chain {
    /// As much of it as counts at this time.
    fn until(self, now: u64) -> Self {
        let is_recent = now.saturating_sub(self.begun) <= CHAIN_WINDOW_NS;
        if is_recent { self } else { Self { begun: now, forebears: 0 } }
    }
}

impl Node {
    fn ranks(&self) -> Ranks {
        let mut ranks = [u8::from(self.lives); 2];
        for (of_child, given) in (0..RANKS).zip(&self.given).skip(1) {
            for (rank, &children) in ranks.iter_mut().zip(given) {
                match children {
                    0 => {}
                    _ if *rank == of_child => *rank += 1,
                    1 => *rank = of_child.max(*rank),
                    _ if *rank < of_child => *rank = of_child + 1,
                    _ => {}
                }
            }
        }
        ranks.map(|rank| rank.min(RANKS - 1))
    }

    /// A child gives `after` now, and gave `before`.
    fn is_given(&mut self, before: Ranks, after: Ranks) {
        let highest = after.into_iter().max().map_or(0, usize::from);
        if highest >= self.given.len() {
            let mut given = std::mem::take(&mut self.given).into_vec();
            given.resize(highest + 1, [0; 2]);
            self.given = given.into_boxed_slice();
        }
        let counts = |given: &mut Given, ranks: Ranks, count: fn(u32) -> u32| {
            for (of, rank) in ranks.into_iter().enumerate() {
                let of_rank = given.get_mut(usize::from(rank));
                if let Some(children) = of_rank.and_then(|of_rank| of_rank.get_mut(of)) {
                    *children = count(*children);
                }
            }
        };
        counts(&mut self.given, before, |children| children.saturating_sub(1));
        counts(&mut self.given, after, |children| children + 1);
    }

    fn is_of(&self, program: Option<&Rc<Image>>) -> bool {
        self.image.as_ref().zip(program).is_some_and(|(one, other)| one.is_same_program(other))
    }

    fn is_bomb(&self) -> bool {
        is_bomb(self.ranks())
    }
}

fn is_bomb([any, same]: Ranks) -> bool {
    any >= ANY_PROGRAM || same >= SAME_PROGRAM
}

/// All of them: no more than twice as many as live.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Nodes,
}

impl Tree {
    /// Where the process is.
    pub(super) fn place(&self, process: ProcessId) -> Option<Place> {
        self.nodes.place(process)
    }

    /// Likewise; one that is not known comes without relatives, and runs `image`.
    pub(super) fn known_or_new(
        &mut self,
        process: ProcessId,
        image: Option<&Rc<Image>>,
    ) -> Option<Place> {
        let known = self.nodes.place(process);
        known.or_else(|| self.nodes.insert(Node::new(process, image.cloned())))
    }

    /// What the process at `place` is a member of.
    pub(super) fn member(&self, place: Place) -> Option<Member> {
        self.nodes.get(place)?.member
    }

    /// Makes the process at `place` such a member.
    pub(super) fn set_member(&mut self, place: Place, member: Member) {
        if let Some(node) = self.nodes.get_mut(place) {
            node.member = Some(member);
        }
    }

    /// Makes the process at `place` none; who it is, and what it was.
    pub(super) fn take_member(&mut self, place: Place) -> Option<(ProcessId, Member)> {
        let node = self.nodes.get_mut(place)?;
        Some((node.id, node.member.take()?))
    }

    /// Who is a member of anything, in no order.
    pub(super) fn members(&self) -> impl Iterator<Item = ProcessId> {
        self.nodes.iter().filter(|node| node.member.is_some()).map(|node| node.id)
    }

    /// The process at `parent` has forked `child`, which is such a member; the nearest forebear that is the root of a
    /// bomb now.
    pub(super) fn fork(
        &mut self,
        parent: Place,
        child: ProcessId,
        member: Member,
    ) -> Option<ProcessId> {
        // Nobody is born twice, but in a capture that somebody has made.
        if let Some(known) = self.nodes.place(child) {
            self.set_member(known, member);
            return None;
        }
        let forks = self.nodes.get(parent)?;
        let above = Some(parent).filter(|_| forks.id.tgid != INIT);
        let mut node = Node::new(child, forks.image.clone());
        (node.nested, node.is_kin) = (forks.nested, above.is_some());
        node.member = Some(member);
        let place = self.nodes.insert(node)?;
        self.nodes.tie(place, above);
        self.settle(place)
    }

    /// The process at `place` has started a program: whether it ran the same already, and the nearest that is the
    /// root of a bomb now.
    pub(super) fn exec(
        &mut self,
        place: Place,
        image: Option<&Rc<Image>>,
    ) -> (bool, Option<ProcessId>) {
        let Some(node) = self.nodes.get_mut(place) else { return (false, None) };
        let is_same = node.is_of(image);
        node.image = image.cloned();
        let above = node.parent().and_then(|parent| self.nodes.get(parent));
        let is_kin = above.is_some_and(|parent| parent.is_of(image));
        let nested = above.map_or(1, |parent| parent.nested + 1);
        if !is_same {
            let children: Vec<Place> = self.nodes.children(place).map(|(child, _)| child).collect();
            for child in children {
                if let Some(node) = self.nodes.get_mut(child) {
                    node.is_kin = node.is_of(image);
                    self.settle(child);
                }
            }
        }
        if let Some(node) = self.nodes.get_mut(place) {
            (node.is_kin, node.nested) = (is_kin, nested);
        }
        (is_same, self.settle(place))
    }

    /// Of programs that were started one below the other down to `place`, the first that is of a bomb, if they
    /// are too many and that was not reported.
    pub(super) fn nest(&mut self, place: Place) -> Option<ProcessId> {
        let node = self.nodes.get(place).filter(|node| node.nested >= NESTED)?;
        if self.report_of(node).is_some() {
            return None;
        }
        let (mut first, mut nested) = (node.id, 0);
        let mut below = node;
        // Whoever has ended since does not count.
        while let Some(above) = self.nodes.above(below) {
            let is_started = below
                .image
                .as_ref()
                .zip(above.image.as_ref())
                .is_none_or(|(a, b)| !Rc::ptr_eq(a, b));
            nested += u32::from(below.lives && is_started);
            if above.is_of(node.image.as_ref()) || nested <= NESTED / 2 {
                first = above.id;
            }
            below = above;
        }
        self.nodes.get_mut(place)?.nested = nested;
        (nested >= NESTED).then_some(first)
    }

    /// The process at `place` has ended; the one child that is left if that ends a chain.
    pub(super) fn exit(&mut self, place: Place, now: u64) -> Option<ProcessId> {
        self.nodes.get_mut(place)?.lives = false;
        let mut of_chain = None;
        let mut next = Some(place);
        // Whoever has ended and branches no more is left out; that may be so of its parent then. Not who came back after
        // its end was told, and is in a clan again.
        while let Some(place) = next
            && self.nodes.get(place).is_some_and(|node| !node.lives && node.member.is_none())
            && self.nodes.children(place).nth(1).is_none()
        {
            let child = self.nodes.children(place).next().map(|(child, _)| child);
            self.give(place, [0; 2]);
            let Some(node) = self.nodes.remove(place) else { break };
            next = node.parent();
            if let Some(child) = child {
                of_chain = self.inherit(child, node, now);
                break;
            }
        }
        if let Some(place) = next {
            self.settle(place);
        }
        of_chain
    }

    /// The node at `child` has the place of its parent, which has ended; who that is, if that makes it a chain.
    fn inherit(&mut self, child: Place, ended: Node, now: u64) -> Option<ProcessId> {
        let above = ended.parent().and_then(|parent| self.nodes.get(parent));
        let above = above.and_then(|above| above.image.clone());
        let node = self.nodes.get_mut(child)?;
        node.is_kin = node.is_of(above.as_ref());
        node.gives = [0; 2];
        node.reported = node.reported.take().or(ended.reported);
        let (above, own) = (ended.chain.until(now), node.chain.until(now));
        let forebears = above.forebears + 1 + own.forebears;
        node.chain = Chain { begun: above.begun.min(own.begun), forebears };
        let id = node.id;
        self.settle(child);
        (forebears >= CHAIN && self.reported(id).is_none()).then_some(id)
    }

    /// Has all above know what has become of the node; the nearest of them that is the root of a bomb now.
    fn settle(&mut self, place: Place) -> Option<ProcessId> {
        let (mut next, mut bomb) = (Some(place), None);
        while let Some(place) = next
            && let Some(node) = self.nodes.get(place)
        {
            let ranks = node.ranks();
            bomb = bomb.or(Some(node.id).filter(|_| is_bomb(ranks)));
            let [any, same] = if node.reported.is_some() { [0; 2] } else { ranks };
            let gives = [any, if node.is_kin { same } else { 0 }];
            next = self.give(place, gives);
        }
        bomb
    }

    /// The node gives these ranks to its parent: which one that is, if it is news to it.
    fn give(&mut self, place: Place, gives: Ranks) -> Option<Place> {
        let node = self.nodes.get_mut(place)?;
        let before = std::mem::replace(&mut node.gives, gives);
        let parent = node.parent().filter(|_| before != gives)?;
        self.nodes.get_mut(parent)?.is_given(before, gives);
        Some(parent)
    }

    /// The root of all of the bomb that `id` is by itself, if it is one and was not reported.
    pub(super) fn root(&self, id: ProcessId) -> Option<ProcessId> {
        let mut place = self.nodes.place(id)?;
        let node = self.nodes.get(place);
        let mut node = node.filter(|node| node.is_bomb() && self.report_of(node).is_none())?;
        while let Some(parent) = node.parent()
            && let Some(above) = self.nodes.get(parent)
        {
            if !node.is_kin && !self.has_beside(node, parent) {
                break;
            }
            (place, node) = (parent, above);
        }
        self.nodes.get(place).map(|node| node.id)
    }

    /// Whether another child of `above` is of the bomb that `node` is: it branches nearly as often, and runs the same
    /// program, or branches as nothing honest does.
    fn has_beside(&self, node: &Node, above: Place) -> bool {
        let [rank, _] = node.ranks();
        let mut others = self.nodes.children(above).filter(|(_, child)| child.id != node.id);
        others.any(|(_, other)| {
            let [of_other, _] = other.ranks();
            let is_same = other.is_of(node.image.as_ref());
            of_other + 1 >= ANY_PROGRAM || is_same && of_other + BESIDE >= rank
        })
    }

    /// The highest above `id` that has ended, was of the same program, and is where its tree branches.
    pub(super) fn above(&self, id: ProcessId) -> ProcessId {
        let Some(mut node) = self.get(id) else { return id };
        while node.is_kin
            && let Some(above) = self.nodes.above(node)
            && !above.lives
        {
            node = above;
        }
        node.id
    }

    /// `root`, which `founder` began, is told of.
    pub(super) fn report(&mut self, root: ProcessId, founder: ProcessId, now: u64) {
        if let Some(place) = self.nodes.place(root)
            && let Some(node) = self.nodes.get_mut(place)
        {
            node.reported = Some(Box::new((founder, now)));
            self.settle(place);
        }
    }

    /// Looks at what time alone decides: what was reported and has lost its shape since is news when it comes again.
    pub(super) fn time(&mut self, now: u64) {
        self.nodes.give_back();
        let is_over = |node: &&Node| {
            let since = node.reported.as_deref().map(|(_, at)| now.saturating_sub(*at));
            since.is_some_and(|since| since >= REPORTED_NS) && !node.is_bomb()
        };
        let over = self.nodes.iter().filter(is_over).filter_map(|node| self.nodes.place(node.id));
        for place in over.collect::<Vec<Place>>() {
            if let Some(node) = self.nodes.get_mut(place) {
                node.reported = None;
            }
            self.settle(place);
        }
    }

    /// Who began the bomb that `process` is of, if it was reported.
    pub(super) fn reported(&self, process: ProcessId) -> Option<ProcessId> {
        self.report_of(self.get(process)?)
    }

    fn report_of<'a>(&'a self, mut node: &'a Node) -> Option<ProcessId> {
        loop {
            match &node.reported {
                Some(reported) => return Some(reported.0),
                None => node = self.nodes.above(node)?,
            }
        }
    }

    fn get(&self, process: ProcessId) -> Option<&Node> {
        self.nodes.get(self.nodes.place(process)?)
    }

    /// Rank of `process` with those of its program.
    pub(super) fn rank(&self, process: ProcessId) -> u8 {
        let [_, same] = self.get(process).map_or([0; 2], Node::ranks);
        same
    }

    /// Who lives below `root`, and in which generation of those that are known.
    pub(super) fn below(&self, root: ProcessId) -> Vec<(ProcessId, u32)> {
        let mut found = Vec::new();
        let mut waiting: Vec<(Place, u32)> =
            self.nodes.place(root).map(|it| (it, 0)).into_iter().collect();
        while let Some((place, generation)) = waiting.pop() {
            let Some(node) = self.nodes.get(place) else { continue };
            if node.lives {
                found.push((node.id, generation));
            }
            let children = self.nodes.children(place);
            waiting.extend(children.map(|(child, _)| (child, generation + 1)));
        }
        found
    }

    /// How many are remembered, and how many there is room for.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        self.nodes.size()
    }
}
