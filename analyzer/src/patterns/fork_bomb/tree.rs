//! The living processes by who forked them, whatever they run, and how often that branches again.
//!
//! A process without living children has rank 1. It has rank k + 1 if two of its children have rank k, or one
//! has, and it makes rank k itself with those below (Strahler's number of the tree in which a fork is a
//! branching into parent and child). So a pool of any size has rank 2, pools within a pool have rank 3, a chain
//! has rank 2, and what doubles n times has rank n + 1: as many processes as honest work may have, in a shape
//! that it has not.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use crate::{event::ProcessId, process_table::Image};

/// Ranks that are told apart; the highest takes more processes than a kernel has numbers for.
const RANKS: usize = 24;
/// From this rank on a tree is a bomb, whatever its members run: 64 processes at least. Jobs in jobs of a build,
/// a test run or a login have 3 to 5.
const ANY_PROGRAM: usize = 7;
/// The same where children run their parent's program.
const SAME_PROGRAM: usize = 6;
/// Another child of so much less is of the bomb as well.
const BESIDE: usize = 2;
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
type Ranks = [usize; 2];

/// How many children give which of the two; `None` while there are no children, as of most processes.
type Given = Option<Box<[[u32; RANKS]; 2]>>;

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

/// A process that lives, or has ended and is where living ones branch.
#[derive(Debug)]
struct Node {
    parent: Option<ProcessId>,
    children: BTreeSet<ProcessId>,
    image: Option<Rc<Image>>,
    /// Whether it runs its parent's program.
    is_kin: bool,
    lives: bool,
    /// How many children give it which rank.
    given: Given,
    /// What it gives its parent; 0 is nothing.
    gives: Ranks,
    chain: Chain,
    /// Programs that were started from the top of the tree down to this one, at the most.
    nested: u32,
    /// Who began the bomb that was reported here, and when that was.
    reported: Option<(ProcessId, u64)>,
}

impl Node {
    fn new(parent: Option<ProcessId>, image: Option<Rc<Image>>) -> Self {
        Self {
            parent,
            children: BTreeSet::new(),
            image,
            is_kin: parent.is_some(),
            lives: true,
            given: None,
            gives: [0; 2],
            chain: Chain::default(),
            nested: 0,
            reported: None,
        }
    }

    fn ranks(&self) -> Ranks {
        let Some(given) = &self.given else { return [usize::from(self.lives); 2] };
        given.map(|given| {
            let mut rank = usize::from(self.lives);
            for (of_child, &children) in given.iter().enumerate().skip(1) {
                match children {
                    0 => {}
                    _ if rank == of_child => rank += 1,
                    1 => rank = rank.max(of_child),
                    _ if rank < of_child => rank = of_child + 1,
                    _ => {}
                }
            }
            rank.min(RANKS - 1)
        })
    }

    fn is_of(&self, program: Option<&Rc<Image>>) -> bool {
        self.image.as_ref().zip(program).is_some_and(|(one, other)| one.is_same_program(other))
    }

    fn is_bomb(&self) -> bool {
        let [any, same] = self.ranks();
        any >= ANY_PROGRAM || same >= SAME_PROGRAM
    }
}

/// All of them: no more than twice as many as live.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<ProcessId, Node>,
}

impl Tree {
    /// `parent`, which runs `image`, has forked `child`; the nearest forebear that is the root of a bomb now.
    pub(super) fn fork(
        &mut self,
        parent: ProcessId,
        child: ProcessId,
        image: Option<&Rc<Image>>,
    ) -> Option<ProcessId> {
        // Nobody is born twice, but in a capture that somebody has made.
        if self.nodes.contains_key(&child) {
            return None;
        }
        let node = self.nodes.entry(parent).or_insert_with(|| Node::new(None, image.cloned()));
        let (image, nested) = (node.image.clone(), node.nested);
        let above = Some(parent).filter(|parent| parent.tgid != INIT);
        if above.is_some() {
            node.children.insert(child);
        }
        self.nodes.insert(child, Node { nested, ..Node::new(above, image) });
        self.settle(child)
    }

    /// `process` has started another program; the nearest that is the root of a bomb now.
    pub(super) fn exec(
        &mut self,
        process: ProcessId,
        image: Option<&Rc<Image>>,
    ) -> Option<ProcessId> {
        let node = self.nodes.get_mut(&process)?;
        let is_same = node.is_of(image);
        node.image = image.cloned();
        let parent = node.parent;
        let children = if is_same { BTreeSet::new() } else { node.children.clone() };
        let above = parent.and_then(|parent| self.nodes.get(&parent));
        let is_kin = above.is_some_and(|parent| parent.is_of(image));
        let nested = above.map_or(1, |parent| parent.nested + 1);
        for child in children {
            if let Some(node) = self.nodes.get_mut(&child) {
                node.is_kin = node.is_of(image);
                self.settle(child);
            }
        }
        if let Some(node) = self.nodes.get_mut(&process) {
            (node.is_kin, node.nested) = (is_kin, nested);
        }
        self.settle(process)
    }

    /// Of programs that were started one below the other down to `process`, the first that is of a bomb, if they
    /// are too many and that was not reported.
    pub(super) fn nest(&mut self, process: ProcessId) -> Option<ProcessId> {
        let node = self.nodes.get(&process).filter(|node| node.nested >= NESTED)?;
        if self.reported(process).is_some() {
            return None;
        }
        let (mut first, mut nested) = (process, 0);
        let mut below = node;
        // Whoever has ended since does not count.
        let mut next = node.parent;
        while let Some(id) = next
            && let Some(above) = self.nodes.get(&id)
        {
            let is_started = below
                .image
                .as_ref()
                .zip(above.image.as_ref())
                .is_none_or(|(a, b)| !Rc::ptr_eq(a, b));
            nested += u32::from(below.lives && is_started);
            if above.is_of(node.image.as_ref()) || nested <= NESTED / 2 {
                first = id;
            }
            (below, next) = (above, above.parent);
        }
        self.nodes.get_mut(&process)?.nested = nested;
        (nested >= NESTED).then_some(first)
    }

    /// `process` has ended; the one child that is left if that ends a chain.
    pub(super) fn exit(&mut self, process: ProcessId, now: u64) -> Option<ProcessId> {
        self.nodes.get_mut(&process)?.lives = false;
        let mut of_chain = None;
        let mut next = Some(process);
        // Whoever has ended and branches no more is left out; that may be so of its parent then.
        while let Some(id) = next
            && let Some(node) = self.nodes.get(&id)
            && !node.lives
            && node.children.len() < 2
        {
            self.give(id, [0; 2]);
            let Some(node) = self.nodes.remove(&id) else { break };
            let above = node.parent.and_then(|parent| self.nodes.get_mut(&parent));
            if let Some(above) = above {
                above.children.remove(&id);
                above.children.extend(node.children.first());
            }
            if let Some(&child) = node.children.first() {
                if self.inherit(child, &node, now) {
                    of_chain = Some(child);
                }
                next = node.parent;
                break;
            }
            next = node.parent;
        }
        if let Some(id) = next {
            self.settle(id);
        }
        of_chain
    }

    /// `child` takes the place of its parent, which has ended; whether that makes it a chain.
    fn inherit(&mut self, child: ProcessId, ended: &Node, now: u64) -> bool {
        let above = ended.parent.and_then(|parent| self.nodes.get(&parent));
        let above = above.and_then(|above| above.image.clone());
        let Some(node) = self.nodes.get_mut(&child) else { return false };
        node.parent = ended.parent;
        node.is_kin = node.is_of(above.as_ref());
        node.gives = [0; 2];
        node.reported = node.reported.or(ended.reported);
        let (above, own) = (ended.chain.until(now), node.chain.until(now));
        let forebears = above.forebears + 1 + own.forebears;
        node.chain = Chain { begun: above.begun.min(own.begun), forebears };
        self.settle(child);
        forebears >= CHAIN && self.reported(child).is_none()
    }

    /// Has all above know what has become of `id`; the nearest of them that is the root of a bomb now.
    fn settle(&mut self, id: ProcessId) -> Option<ProcessId> {
        let (mut next, mut bomb) = (Some(id), None);
        while let Some(id) = next
            && let Some(node) = self.nodes.get(&id)
        {
            bomb = bomb.or(Some(id).filter(|_| node.is_bomb()));
            let [any, same] = if node.reported.is_some() { [0; 2] } else { node.ranks() };
            let gives = [any, if node.is_kin { same } else { 0 }];
            next = self.give(id, gives);
        }
        bomb
    }

    /// `id` gives these ranks to its parent: who that is, if it is news to it.
    fn give(&mut self, id: ProcessId, gives: Ranks) -> Option<ProcessId> {
        let node = self.nodes.get_mut(&id)?;
        let before = std::mem::replace(&mut node.gives, gives);
        let parent = node.parent.filter(|_| before != gives)?;
        let given = self.nodes.get_mut(&parent)?.given.get_or_insert_default();
        for (given, (before, after)) in given.iter_mut().zip(before.into_iter().zip(gives)) {
            if let Some(children) = given.get_mut(before) {
                *children = children.saturating_sub(1);
            }
            if let Some(children) = given.get_mut(after) {
                *children += 1;
            }
        }
        Some(parent)
    }

    /// The root of all of the bomb that `id` is by itself, if it is one and was not reported.
    pub(super) fn root(&self, mut id: ProcessId) -> Option<ProcessId> {
        let mut node =
            self.nodes.get(&id).filter(|node| node.is_bomb() && self.reported(id).is_none())?;
        while let Some(parent) = node.parent
            && let Some(above) = self.nodes.get(&parent)
        {
            if !node.is_kin && !self.has_beside(id, node, above) {
                break;
            }
            (id, node) = (parent, above);
        }
        Some(id)
    }

    /// Whether another child of `above` is of the bomb that `id` is: it branches nearly as often, and runs the same
    /// program, or branches as nothing honest does.
    fn has_beside(&self, id: ProcessId, node: &Node, above: &Node) -> bool {
        let [rank, _] = node.ranks();
        let mut others = above.children.iter().filter(|&&child| child != id);
        others.any(|child| {
            self.nodes.get(child).is_some_and(|other| {
                let [of_other, _] = other.ranks();
                let is_same = other.is_of(node.image.as_ref());
                of_other + 1 >= ANY_PROGRAM || is_same && of_other + BESIDE >= rank
            })
        })
    }

    /// The highest above `id` that has ended, was of the same program, and is where its tree branches.
    pub(super) fn above(&self, mut id: ProcessId) -> ProcessId {
        while let Some(node) = self.nodes.get(&id).filter(|node| node.is_kin)
            && let Some(parent) = node.parent
            && self.nodes.get(&parent).is_some_and(|above| !above.lives)
        {
            id = parent;
        }
        id
    }

    /// `root`, which `founder` began, is told of.
    pub(super) fn report(&mut self, root: ProcessId, founder: ProcessId, now: u64) {
        if let Some(node) = self.nodes.get_mut(&root) {
            node.reported = Some((founder, now));
            self.settle(root);
        }
    }

    /// Looks at what time alone decides: what was reported and has lost its shape since is news when it comes again.
    pub(super) fn time(&mut self, now: u64) {
        let is_over = |node: &Node| {
            let since = node.reported.map(|(_, at)| now.saturating_sub(at));
            since.is_some_and(|since| since >= REPORTED_NS) && !node.is_bomb()
        };
        let over: Vec<ProcessId> =
            self.nodes.iter().filter(|(_, node)| is_over(node)).map(|(&id, _)| id).collect();
        for id in over {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.reported = None;
            }
            self.settle(id);
        }
    }

    /// Whether `process` runs this program already.
    pub(super) fn runs(&self, process: ProcessId, image: Option<&Rc<Image>>) -> bool {
        self.nodes.get(&process).is_some_and(|node| node.is_of(image))
    }

    /// Who began the bomb that `process` is of, if it was reported.
    pub(super) fn reported(&self, process: ProcessId) -> Option<ProcessId> {
        let mut node = self.nodes.get(&process)?;
        while node.reported.is_none() {
            node = self.nodes.get(&node.parent?)?;
        }
        node.reported.map(|(founder, _)| founder)
    }

    /// Rank of `process` with those of its program.
    pub(super) fn rank(&self, process: ProcessId) -> usize {
        let [_, same] = self.nodes.get(&process).map_or([0; 2], Node::ranks);
        same
    }

    /// Who lives below `root`, and in which generation of those that are known.
    pub(super) fn below(&self, root: ProcessId) -> Vec<(ProcessId, u32)> {
        let mut found = Vec::new();
        let mut waiting = vec![(root, 0)];
        while let Some((id, generation)) = waiting.pop() {
            let Some(node) = self.nodes.get(&id) else { continue };
            if node.lives {
                found.push((id, generation));
            }
            waiting.extend(node.children.iter().map(|&child| (child, generation + 1)));
        }
        found
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
}
