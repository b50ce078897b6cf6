//! Who is connected to a channel: the master's slot, the viewers' slots, and the connections that were superseded.
//!
//! Invariant: a session stands in at most one place. Newest wins; the older one stays, silent, until its own limits end it
//! (protocol.md 4.3, D15), with at most four such per slot (D28).

use crate::id::SessionKey;
use crate::limits::{SUPERSEDED_PER_CHANNEL_MAX, SUPERSEDED_PER_SLOT_MAX};
use ahash::RandomState;
use std::collections::HashMap;
use std::rc::Rc;

/// Whose place a connection takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The master's.
    Master,
    /// One client id's.
    Viewer(Rc<str>),
}

/// The connections of one channel.
#[derive(Debug)]
pub struct Members {
    master: Option<SessionKey>,
    viewers: HashMap<Rc<str>, SessionKey, RandomState>,
    superseded: Vec<(Slot, SessionKey)>,
}

/// What a join did.
#[derive(Debug, PartialEq, Eq)]
pub struct Joined {
    /// The connection whose place was taken: silent from here on.
    pub superseded: Option<SessionKey>,
    /// A connection superseded long before, one too many: to be closed 1001.
    pub evicted: Option<SessionKey>,
}

/// All viewers' slots are taken: `ClientLimitExceededException`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

impl Members {
    pub(super) fn new(hasher: &RandomState) -> Self {
        Self {
            master: None,
            viewers: HashMap::with_hasher(hasher.clone()),
            superseded: Vec::new(),
        }
    }

    /// The current master.
    #[must_use]
    pub fn master(&self) -> Option<SessionKey> {
        self.master
    }

    /// The current connection of a viewer.
    #[must_use]
    pub fn viewer(&self, id: &str) -> Option<SessionKey> {
        self.viewers.get(id).copied()
    }

    /// How many viewers are connected, superseded ones not counted.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// Whether nobody is connected at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.master.is_none() && self.viewers.is_empty() && self.superseded.is_empty()
    }

    /// Every connection of the channel, superseded ones included, in no particular order of viewers.
    #[must_use]
    pub fn all(&self) -> Vec<SessionKey> {
        let mut all: Vec<SessionKey> = self.viewers.values().copied().collect();
        all.extend(self.master);
        all.extend(self.superseded.iter().map(|(_, session)| *session));
        all.sort_unstable();
        all
    }

    /// A connection takes its slot; whoever had it is superseded. Replacing counts against no limit.
    ///
    /// # Errors
    /// [`TableFull`] for one viewer more than `viewers_max`.
    pub fn join(
        &mut self,
        slot: Slot,
        session: SessionKey,
        viewers_max: usize,
    ) -> Result<Joined, TableFull> {
        let superseded = match &slot {
            Slot::Master => self.master.replace(session),
            Slot::Viewer(id) => {
                if self.viewers.len() >= viewers_max && !self.viewers.contains_key(id) {
                    return Err(TableFull);
                }
                self.viewers.insert(id.clone(), session)
            }
        };
        let evicted = superseded.and_then(|older| self.supersede(slot, older));
        Ok(Joined {
            superseded,
            evicted,
        })
    }

    /// A connection left, whatever its place was.
    pub fn leave(&mut self, slot: &Slot, session: SessionKey) {
        self.superseded.retain(|(_, other)| *other != session);
        match slot {
            Slot::Master => {
                self.master.take_if(|master| *master == session);
            }
            Slot::Viewer(id) => {
                if self.viewers.get(id) == Some(&session) {
                    self.viewers.remove(id);
                }
            }
        }
    }

    fn supersede(&mut self, slot: Slot, older: SessionKey) -> Option<SessionKey> {
        self.superseded.push((slot.clone(), older));
        let same = self
            .superseded
            .iter()
            .filter(|(other, _)| *other == slot)
            .count();
        let place = if same > SUPERSEDED_PER_SLOT_MAX {
            self.superseded.iter().position(|(other, _)| *other == slot)
        } else {
            (self.superseded.len() > SUPERSEDED_PER_CHANNEL_MAX).then_some(0)
        };
        place.map(|place| self.superseded.remove(place).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> SessionKey {
        SessionKey::new(slot, 0)
    }

    fn members() -> Members {
        Members::new(&RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn the_newest_master_wins_and_the_fifth_older_one_goes() {
        let mut members = members();
        let mut evicted = Vec::new();
        for number in 0..7 {
            let joined = members.join(Slot::Master, key(number), 10).unwrap();
            assert_eq!(joined.superseded, number.checked_sub(1).map(key));
            evicted.extend(joined.evicted);
        }
        assert_eq!(members.master(), Some(key(6)));
        assert_eq!(evicted, [key(0), key(1)]);
        assert_eq!(members.all(), (2..7).map(key).collect::<Vec<_>>());
    }

    #[test]
    fn viewers_are_limited_but_a_known_id_replaces_itself() {
        let mut members = members();
        for number in 0..2 {
            members
                .join(Slot::Viewer(format!("v{number}").into()), key(number), 2)
                .unwrap();
        }
        assert_eq!(
            members.join(Slot::Viewer("v2".into()), key(2), 2),
            Err(TableFull)
        );
        let joined = members.join(Slot::Viewer("v1".into()), key(3), 2).unwrap();
        assert_eq!((joined.superseded, members.viewers()), (Some(key(1)), 2));
    }

    #[test]
    fn a_superseded_connection_that_leaves_does_not_free_the_slot() {
        let mut members = members();
        let slot = Slot::Viewer("v".into());
        members.join(slot.clone(), key(1), 10).unwrap();
        members.join(slot.clone(), key(2), 10).unwrap();
        members.leave(&slot, key(1));
        assert_eq!(
            (members.viewer("v"), members.all()),
            (Some(key(2)), vec![key(2)])
        );
        members.leave(&slot, key(2));
        assert!(members.is_empty());
    }
}
