//! All clans, each at its place.

use std::num::NonZeroU32;

use super::clan::Clan;
use crate::event::ProcessId;

/// Places behind the last clan that are kept for those to come.
const MANY_VACANT: usize = 4096;

/// Which clan. Places are used again, numbers are not before the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClanId {
    place: u32,
    number: NonZeroU32,
}

/// Those of which somebody lives.
#[derive(Debug, Default)]
pub(super) struct Clans {
    clans: Vec<Option<(NonZeroU32, Clan)>>,
    vacant: Vec<u32>,
    last: u32,
}

impl Clans {
    /// A clan of `founder`; `None` if there are more than a kernel has numbers for.
    pub(super) fn found(&mut self, founder: ProcessId) -> Option<ClanId> {
        self.last = self.last.wrapping_add(1);
        let number = NonZeroU32::new(self.last).unwrap_or(NonZeroU32::MIN);
        let place = match self.vacant.pop() {
            Some(place) => place,
            None => {
                let place = u32::try_from(self.clans.len()).ok()?;
                self.clans.push(None);
                place
            }
        };
        let id = ClanId { place, number };
        *self.at(id)? = Some((number, Clan::new(founder)));
        Some(id)
    }

    pub(super) fn get(&self, id: ClanId) -> Option<&Clan> {
        let (number, clan) = self.clans.get(usize::try_from(id.place).ok()?)?.as_ref()?;
        (*number == id.number).then_some(clan)
    }

    pub(super) fn get_mut(&mut self, id: ClanId) -> Option<&mut Clan> {
        let (number, clan) = self.at(id)?.as_mut()?;
        (*number == id.number).then_some(clan)
    }

    /// Forgets the clan if nobody of it lives.
    pub(super) fn dissolve(&mut self, id: ClanId) {
        if self.get(id).is_some_and(Clan::is_over)
            && let Some(clan) = self.at(id)
        {
            *clan = None;
            self.vacant.push(id.place);
        }
    }

    /// Gives back the room behind the last clan, if it is much: many have ended at once.
    pub(super) fn give_back(&mut self) {
        let last = self.clans.iter().rposition(Option::is_some);
        let kept = last.map_or(0, |last| last + 1);
        if self.clans.len() < 2 * kept + MANY_VACANT {
            return;
        }
        self.clans.truncate(kept);
        self.clans.shrink_to_fit();
        self.vacant.retain(|&place| usize::try_from(place).is_ok_and(|place| place < kept));
        self.vacant.shrink_to_fit();
    }

    fn at(&mut self, id: ClanId) -> Option<&mut Option<(NonZeroU32, Clan)>> {
        self.clans.get_mut(usize::try_from(id.place).ok()?)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.clans.iter().flatten().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tgid: u32) -> ProcessId {
        ProcessId { tgid, start_time: 1 }
    }

    fn ends(clans: &mut Clans, id: ClanId, founder: ProcessId) {
        clans.get_mut(id).unwrap().leave(founder, 0);
        clans.dissolve(id);
    }

    #[test]
    fn who_has_the_number_of_one_that_is_over_does_not_find_its_place_taken() {
        let mut clans = Clans::default();
        let old = clans.found(of(1)).unwrap();
        ends(&mut clans, old, of(1));
        let new = clans.found(of(2)).unwrap();
        assert_eq!((old.place, clans.get(new).unwrap().founder), (new.place, of(2)));
        assert!(clans.get(old).is_none() && clans.get_mut(old).is_none());
    }

    #[test]
    fn many_that_are_over_take_no_room() {
        let mut clans = Clans::default();
        let all: Vec<ClanId> = (0..20_000).map(|tgid| clans.found(of(tgid)).unwrap()).collect();
        for (tgid, id) in (0..).zip(&all).filter(|(tgid, _)| *tgid != 7) {
            ends(&mut clans, *id, of(tgid));
        }
        clans.give_back();
        assert!(clans.len() == 1 && clans.clans.capacity() < 100);
        assert_eq!(clans.get(all[7]).unwrap().founder, of(7));
        assert!(clans.get(all[19_999]).is_none());
        for tgid in 0..100 {
            let id = clans.found(of(tgid)).unwrap();
            assert_eq!(clans.get(id).unwrap().founder, of(tgid));
        }
        assert_eq!(clans.len(), 101);
    }
}
