//! All clans, each at its place.

use std::num::NonZeroU32;

use super::clan::Clan;
use crate::event::ProcessId;

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

    fn at(&mut self, id: ClanId) -> Option<&mut Option<(NonZeroU32, Clan)>> {
        self.clans.get_mut(usize::try_from(id.place).ok()?)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.clans.iter().flatten().count()
    }
}
