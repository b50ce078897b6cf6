//! Who is connected to a channel: the master's slot, the viewers' slots, and the connections that were superseded.
//!
//! A connection that lost its slot may have begun a message: some of its bytes left, the rest did not. Whether it was handed
//! over is known when the rest is, or when the connection is gone. Until then the slot is *held*: what is for it is kept, since
//! a message that comes back must not come after newer ones of its sender.
//!
//! Invariant: a session stands in at most one place. Newest wins; the older one stays, silent, until its own limits end it
//! (protocol.md 4.3, D15), with at most four such per slot (D28).

use crate::id::SessionKey;
use crate::limits::{SUPERSEDED_PER_CHANNEL_MAX, SUPERSEDED_PER_SLOT_MAX};
use crate::time::Now;
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
    /// Nearly always empty.
    held: Vec<Held>,
}

/// A slot whose former connection has begun a message and not ended it.
#[derive(Debug)]
struct Held {
    slot: Slot,
    by: SessionKey,
    /// When the connection is to be aborted; never, once it was.
    until: Now,
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
            held: Vec::new(),
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

    /// The master's connection, if messages may go there: its slot is not held.
    #[must_use]
    pub fn to_master(&self) -> Option<SessionKey> {
        self.master
            .filter(|_| self.held.is_empty() || !self.holds(&Slot::Master))
    }

    /// A viewer's connection, if messages may go there: its slot is not held.
    #[must_use]
    pub fn to_viewer(&self, id: &str) -> Option<SessionKey> {
        let held = |held: &Held| matches!(&held.slot, Slot::Viewer(other) if **other == *id);
        self.viewer(id).filter(|_| !self.held.iter().any(held))
    }

    /// A connection that lost its slot has begun a message: the slot is held until [`Members::release`]; the connection has
    /// until then to take the rest.
    pub fn hold(&mut self, slot: Slot, by: SessionKey, until: Now) {
        self.held.push(Held { slot, by, until });
    }

    /// Nothing is begun any more on a connection that lost its slot. False if it held none.
    pub fn release(&mut self, by: SessionKey) -> bool {
        let before = self.held.len();
        self.held.retain(|held| held.by != by);
        self.held.len() < before
    }

    /// When the next connection that holds a slot is to be aborted.
    #[must_use]
    pub fn next_overdue(&self) -> Option<Now> {
        self.held.iter().map(|held| held.until).min()
    }

    /// One connection that has held a slot for too long by `now`, each once.
    pub fn take_overdue(&mut self, now: Now) -> Option<SessionKey> {
        let held = self.held.iter_mut().find(|held| held.until <= now)?;
        held.until = Now(u64::MAX);
        Some(held.by)
    }

    fn holds(&self, slot: &Slot) -> bool {
        self.held.iter().any(|held| held.slot == *slot)
    }

    /// How many viewers are connected, superseded ones not counted.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// Whether nobody is connected at all, and nobody holds a slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let connected =
            self.master.is_some() || !self.viewers.is_empty() || !self.superseded.is_empty();
        !connected && self.held.is_empty()
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
    fn a_slot_is_held_until_its_former_connection_has_ended_what_it_began() {
        let mut members = members();
        let slot = Slot::Viewer("v".into());
        members.join(slot.clone(), key(1), 10).unwrap();
        members.join(Slot::Master, key(2), 10).unwrap();
        members.leave(&slot, key(1));
        members.hold(slot.clone(), key(1), Now(5));
        members.join(slot, key(3), 10).unwrap();
        assert_eq!(
            (members.viewer("v"), members.to_viewer("v")),
            (Some(key(3)), None)
        );
        assert_eq!(
            members.to_master(),
            Some(key(2)),
            "other slots are not held"
        );
        assert_eq!(
            (members.next_overdue(), members.take_overdue(Now(4))),
            (Some(Now(5)), None)
        );
        assert_eq!(members.take_overdue(Now(5)), Some(key(1)));
        assert_eq!(members.take_overdue(Now(6)), None, "told once");
        assert!(members.release(key(1)) && !members.release(key(1)));
        assert_eq!(members.to_viewer("v"), Some(key(3)));
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
