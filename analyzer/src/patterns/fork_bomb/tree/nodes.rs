//! Where the nodes of the tree are kept: side by side, and tied to each other by their places.
//!
//! With tens of thousands of processes what one takes counts, and every fork and exit walks up a branch. So a node
//! knows its relatives by numbers of four bytes, and only who comes from outside is looked up by his identity.

use std::{num::NonZeroU32, rc::Rc};

use super::{Chain, Given, Member, Ranks};
use crate::{event::ProcessId, keyed_hash::HashMap, process_table::Image};

/// Vacant places that are kept for those to come.
const MANY_VACANT: usize = 4096;

/// Where a node is, as long as it is there; counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Place(NonZeroU32);

impl Place {
    fn index(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

/// A process that lives, or has ended and is where living ones branch.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: ProcessId,
    parent: Option<Place>,
    /// Its newest child; the others follow it as its siblings.
    child: Option<Place>,
    /// The next older and the next younger child of its parent.
    older: Option<Place>,
    younger: Option<Place>,
    pub(super) image: Option<Rc<Image>>,
    /// Until it ends.
    pub(super) member: Option<Member>,
    /// How many children give it which rank.
    pub(super) given: Given,
    /// Who began the bomb that was reported here, and when that was.
    pub(super) reported: Option<Box<(ProcessId, u64)>>,
    pub(super) chain: Chain,
    /// Programs that were started from the top of the tree down to this one, at the most.
    pub(super) nested: u32,
    /// What it gives its parent; 0 is nothing.
    pub(super) gives: Ranks,
    /// Whether it runs its parent's program.
    pub(super) is_kin: bool,
    pub(super) lives: bool,
}

impl Node {
    /// One without relatives.
    pub(super) fn new(id: ProcessId, image: Option<Rc<Image>>) -> Self {
        Self {
            id,
            parent: None,
            child: None,
            older: None,
            younger: None,
            image,
            member: None,
            given: Given::default(),
            reported: None,
            chain: Chain::default(),
            nested: 0,
            gives: [0; 2],
            is_kin: false,
            lives: true,
        }
    }

    /// Who is above it.
    pub(super) fn parent(&self) -> Option<Place> {
        self.parent
    }
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    places: HashMap<ProcessId, Place>,
    nodes: Vec<Option<Node>>,
    vacant: Vec<Place>,
}

impl Nodes {
    /// Where the process is.
    pub(super) fn place(&self, id: ProcessId) -> Option<Place> {
        self.places.get(&id).copied()
    }

    pub(super) fn get(&self, place: Place) -> Option<&Node> {
        self.nodes.get(place.index())?.as_ref()
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Node> {
        self.nodes.get_mut(place.index())?.as_mut()
    }

    /// The node above `node`.
    pub(super) fn above(&self, node: &Node) -> Option<&Node> {
        self.get(node.parent?)
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// The children of the node at `place`, the newest first.
    pub(super) fn children(&self, place: Place) -> impl Iterator<Item = (Place, &Node)> {
        let mut next = self.get(place).and_then(|node| node.child);
        std::iter::from_fn(move || {
            let place = next?;
            let node = self.get(place)?;
            next = node.older;
            Some((place, node))
        })
    }

    /// Keeps `node`, of a process that is not known yet; its place, unless there are more than a kernel has numbers
    /// for.
    pub(super) fn insert(&mut self, node: Node) -> Option<Place> {
        let id = node.id;
        let place = match self.vacant.pop() {
            Some(place) => {
                *self.nodes.get_mut(place.index())? = Some(node);
                place
            }
            None => {
                let place = Place(NonZeroU32::new(u32::try_from(self.nodes.len() + 1).ok()?)?);
                self.nodes.push(Some(node));
                place
            }
        };
        self.places.insert(id, place);
        Some(place)
    }

    /// Takes out the node at `place`, which has one child at the most; that takes its place below its parent.
    pub(super) fn remove(&mut self, place: Place) -> Option<Node> {
        let child = self.get(place)?.child;
        self.untie(place);
        let node = self.nodes.get_mut(place.index())?.take()?;
        self.places.remove(&node.id);
        self.vacant.push(place);
        if let Some(child) = child {
            self.untie(child);
            self.tie(child, node.parent);
        }
        Some(node)
    }

    /// Moves the nodes together once most places are vacant: many have ended at once. No place from before holds then.
    pub(super) fn give_back(&mut self) {
        if self.vacant.len() < MANY_VACANT.max(3 * self.places.len()) {
            return;
        }
        let mut taken = 0;
        let moves = self.nodes.iter().map(|node| {
            taken += u32::from(node.is_some());
            NonZeroU32::new(taken).map(Place).filter(|_| node.is_some())
        });
        let moves: Vec<Option<Place>> = moves.collect();
        let to = |place: Place| moves.get(place.index()).copied().flatten();
        self.nodes.retain(Option::is_some);
        self.nodes.shrink_to_fit();
        for node in self.nodes.iter_mut().flatten() {
            for tie in [&mut node.parent, &mut node.child, &mut node.older, &mut node.younger] {
                *tie = tie.and_then(to);
            }
        }
        self.places.retain(|_, place| to(*place).map(|now| *place = now).is_some());
        self.places.shrink_to_fit();
        self.vacant = Vec::new();
    }

    /// The node at `place` is a child of the one at `parent` from now on.
    pub(super) fn tie(&mut self, place: Place, parent: Option<Place>) {
        let older = parent.and_then(|parent| self.get_mut(parent)?.child.replace(place));
        if let Some(older) = older.and_then(|older| self.get_mut(older)) {
            older.younger = Some(place);
        }
        if let Some(node) = self.get_mut(place) {
            (node.parent, node.older, node.younger) = (parent, older, None);
        }
    }

    /// The node at `place` is nobody's child among its siblings any more.
    fn untie(&mut self, place: Place) {
        let Some(node) = self.get(place) else { return };
        let (parent, older, younger) = (node.parent, node.older, node.younger);
        if let Some(older) = older.and_then(|older| self.get_mut(older)) {
            older.younger = younger;
        }
        match younger {
            Some(younger) => {
                if let Some(younger) = self.get_mut(younger) {
                    younger.older = older;
                }
            }
            None => {
                if let Some(parent) = parent.and_then(|parent| self.get_mut(parent)) {
                    parent.child = older;
                }
            }
        }
    }

    /// How many there are, and how many there is room for.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.places.len(), self.nodes.capacity())
    }
}
