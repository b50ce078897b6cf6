//! The connections of a channel: the master's slot, the viewers' slots, and the connections that were superseded.
//!
//! A connection that lost its slot may have begun a message: some of its bytes left, the rest did not. Whether it was
//! handed over is known when the rest is, or when the connection is gone. Until then the slot is *held*: what is for
//! it is kept, since a message that comes back must not come after newer ones of its sender.
//!
//! Invariant: a session has at most one place. Newest wins; the older one stays, silent, until its own limits end it,
//! with at most four such per slot. Closing it earlier would make a client that reconnects by itself take the slot
//! back at once, and two such clients would fight for it.
//!
//! When the slot's own connection has left and none has come for a while, there is nothing to fight for: the slot is
//! *vacant*, and the last connection that was superseded is closed so that it may come back. One at a time, since one
//! is enough: only when the slot is still vacant after the same while is the one before it closed.

use super::rare::Rare;
use super::viewers::Viewers;
use crate::id::SessionKey;
use crate::limits::{SUPERSEDED_PER_CHANNEL_MAX, SUPERSEDED_PER_SLOT_MAX, VACANT_SLOT_MS};
use crate::time::Now;
use ahash::RandomState;
use std::rc::Rc;

/// The slot that a connection takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The master's.
    Master,
    /// One client id's.
    Viewer(Rc<str>),
}

/// The connections of one channel.
#[derive(Debug, Default)]
pub(crate) struct Members {
    master: Option<SessionKey>,
    viewers: Viewers,
    superseded: Rare<(Slot, SessionKey)>,
    /// Nearly always empty.
    held: Rare<Held>,
    /// Slots that nobody has, but that somebody superseded had; and until when nobody is closed for that. Nearly
    /// always empty.
    vacant: Rare<(Slot, Now)>,
}

/// A slot whose former connection has begun a message and not ended it.
#[derive(Debug)]
struct Held {
    slot: Slot,
    by: SessionKey,
    /// When the connection is to be aborted; never, once it was.
    until: Now,
}

/// The result of a join.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The connection whose place was taken: silent from here on.
    pub superseded: Option<SessionKey>,
    /// A connection superseded long before, one too many: to be closed 1001.
    pub evicted: Option<SessionKey>,
}

/// All viewers' slots are taken: `ClientLimitExceededException`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

impl Members {
    /// The current master.
    #[must_use]
    pub(crate) fn master(&self) -> Option<SessionKey> {
        self.master
    }

    /// The current connection of a viewer.
    #[must_use]
    pub(crate) fn viewer(&self, id: &str) -> Option<SessionKey> {
        self.viewers.get(id)
    }

    /// The master's connection, if messages may go there: its slot is not held.
    #[must_use]
    pub(crate) fn to_master(&self) -> Option<SessionKey> {
        self.master
            .filter(|_| self.held.is_empty() || !self.holds(&Slot::Master))
    }

    /// A viewer's connection, if messages may go there: its slot is not held.
    #[must_use]
    pub(crate) fn to_viewer(&self, id: &str) -> Option<SessionKey> {
        let held = |held: &Held| matches!(&held.slot, Slot::Viewer(other) if **other == *id);
        self.viewer(id).filter(|_| !self.held.iter().any(held))
    }

    /// A connection that lost its slot has begun a message: the slot is held until [`Members::release`]; the
    /// connection has until then to take the rest.
    pub(crate) fn hold(&mut self, slot: Slot, by: SessionKey, until: Now) {
        self.held.push(Held { slot, by, until });
    }

    /// Nothing is begun any more on a connection that lost its slot. False if it held none.
    pub(crate) fn release(&mut self, by: SessionKey) -> bool {
        let before = self.held.len();
        self.held.retain(|held| held.by != by);
        self.held.len() < before
    }

    /// When the next connection that holds a slot is to be aborted, or the next one is to be closed for a vacant slot.
    #[must_use]
    pub(crate) fn next_overdue(&self) -> Option<Now> {
        let held = self.held.iter().map(|held| held.until);
        held.chain(self.vacant.iter().map(|(_, until)| *until))
            .min()
    }

    /// One connection whose slot has been vacant for long enough by `now`, the last that was superseded: it is to be
    /// closed, and is no member any more.
    pub(crate) fn take_for_vacancy(&mut self, now: Now) -> Option<SessionKey> {
        let vacant = self.vacant.iter_mut().find(|(_, until)| *until <= now)?;
        vacant.1 = now.after(VACANT_SLOT_MS);
        let slot = vacant.0.clone();
        let last = self
            .superseded
            .iter()
            .rposition(|(other, _)| *other == slot);
        let closed = last.map(|place| self.superseded.remove(place).1);
        self.forget_vacancy(&slot);
        closed
    }

    /// A slot is not vacant any more if nobody superseded waits for it.
    fn forget_vacancy(&mut self, slot: &Slot) {
        if !self.vacant.is_empty() && !self.superseded.iter().any(|(other, _)| other == slot) {
            self.vacant.retain(|(other, _)| other != slot);
        }
    }

    /// One connection that has held a slot for too long by `now`, each once.
    pub(crate) fn take_overdue(&mut self, now: Now) -> Option<SessionKey> {
        let held = self.held.iter_mut().find(|held| held.until <= now)?;
        held.until = Now(u64::MAX);
        Some(held.by)
    }

    /// The connections that hold a slot.
    pub(crate) fn holders(&self) -> impl Iterator<Item = SessionKey> {
        self.held.iter().map(|held| held.by)
    }

    fn holds(&self, slot: &Slot) -> bool {
        self.held.iter().any(|held| held.slot == *slot)
    }

    /// The number of connected viewers, superseded ones not counted.
    #[must_use]
    pub(crate) fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// Whether no connection is a member or holds a slot.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        let connected =
            self.master.is_some() || !self.viewers.is_empty() || !self.superseded.is_empty();
        !connected && self.held.is_empty()
    }

    /// Every connection of the channel, superseded ones included, in no particular order of viewers.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<SessionKey> {
        let mut all = self.viewers.sessions();
        all.extend(self.master);
        all.extend(self.superseded.iter().map(|(_, session)| *session));
        all.sort_unstable();
        all
    }

    /// A connection takes its slot; the one that had it is superseded. Replacing counts against no limit.
    ///
    /// # Errors
    /// [`TableFull`] for one viewer more than `viewers_max`.
    pub(crate) fn join(
        &mut self,
        slot: Slot,
        session: SessionKey,
        viewers_max: usize,
        hasher: &RandomState,
    ) -> Result<Joined, TableFull> {
        let superseded = match &slot {
            Slot::Master => self.master.replace(session),
            Slot::Viewer(id) => {
                if self.viewers.len() >= viewers_max && self.viewers.get(id).is_none() {
                    return Err(TableFull);
                }
                self.viewers.insert(id.clone(), session, hasher)
            }
        };
        self.vacant.retain(|(other, _)| *other != slot);
        let evicted = superseded.and_then(|older| self.supersede(slot, older));
        Ok(Joined {
            superseded,
            evicted,
        })
    }

    /// A connection left at `now`, whatever its place was.
    pub(crate) fn leave(&mut self, slot: &Slot, session: SessionKey, now: Now) {
        self.superseded.retain(|(_, other)| *other != session);
        let left = match slot {
            Slot::Master => self.master.take_if(|master| *master == session).is_some(),
            Slot::Viewer(id) => {
                let current = self.viewers.get(id) == Some(session);
                if current {
                    self.viewers.remove(id);
                }
                current
            }
        };
        if left && !self.superseded.is_empty() {
            (self.vacant).push((slot.clone(), now.after(VACANT_SLOT_MS)));
        }
        self.forget_vacancy(slot);
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
        let (slot, evicted) = self.superseded.remove(place?);
        self.forget_vacancy(&slot);
        Some(evicted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> SessionKey {
        SessionKey::new(slot, 0)
    }

    /// Joins with a hasher of its own.
    fn join(
        members: &mut Members,
        slot: Slot,
        session: SessionKey,
        viewers_max: usize,
    ) -> Result<Joined, TableFull> {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        members.join(slot, session, viewers_max, &hasher)
    }

    #[test]
    fn the_newest_master_wins_and_the_fifth_older_one_is_evicted() {
        let mut members = Members::default();
        let mut evicted = Vec::new();
        for number in 0..7 {
            let joined = join(&mut members, Slot::Master, key(number), 10).unwrap();
            assert_eq!(joined.superseded, number.checked_sub(1).map(key));
            evicted.extend(joined.evicted);
        }
        assert_eq!(members.master(), Some(key(6)));
        assert_eq!(evicted, [key(0), key(1)]);
        assert_eq!(members.all(), (2..7).map(key).collect::<Vec<_>>());
    }

    #[test]
    fn viewers_are_limited_but_a_known_id_replaces_itself() {
        let mut members = Members::default();
        for number in 0..2 {
            join(
                &mut members,
                Slot::Viewer(format!("v{number}").into()),
                key(number),
                2,
            )
            .unwrap();
        }
        assert_eq!(
            join(&mut members, Slot::Viewer("v2".into()), key(2), 2),
            Err(TableFull)
        );
        let joined = join(&mut members, Slot::Viewer("v1".into()), key(3), 2).unwrap();
        assert_eq!((joined.superseded, members.viewers()), (Some(key(1)), 2));
    }

    #[test]
    fn a_slot_is_held_until_its_former_connection_has_ended_what_it_began() {
        let mut members = Members::default();
        let slot = Slot::Viewer("v".into());
        join(&mut members, slot.clone(), key(1), 10).unwrap();
        join(&mut members, Slot::Master, key(2), 10).unwrap();
        members.leave(&slot, key(1), Now(0));
        members.hold(slot.clone(), key(1), Now(5));
        join(&mut members, slot, key(3), 10).unwrap();
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
        let mut members = Members::default();
        let slot = Slot::Viewer("v".into());
        join(&mut members, slot.clone(), key(1), 10).unwrap();
        join(&mut members, slot.clone(), key(2), 10).unwrap();
        members.leave(&slot, key(1), Now(0));
        assert_eq!(
            (members.viewer("v"), members.all()),
            (Some(key(2)), vec![key(2)])
        );
        members.leave(&slot, key(2), Now(0));
        assert!(members.is_empty());
    }

    #[test]
    fn the_last_one_superseded_is_closed_for_a_slot_that_stays_vacant() {
        let mut members = Members::default();
        let (slot, other) = (Slot::Master, Slot::Viewer("v".into()));
        for number in 0..4 {
            join(&mut members, slot.clone(), key(number), 10).unwrap();
            join(&mut members, other.clone(), key(10 + number), 10).unwrap();
        }
        members.leave(&slot, key(3), Now(1_000));
        assert_eq!(members.next_overdue(), Some(Now(6_000)));
        assert_eq!(members.take_for_vacancy(Now(5_999)), None);
        assert_eq!(members.take_for_vacancy(Now(6_000)), Some(key(2)));
        assert_eq!(members.take_for_vacancy(Now(6_000)), None, "one at a time");
        assert_eq!(members.take_for_vacancy(Now(11_000)), Some(key(1)));
        // It came back: the oldest stays silent.
        join(&mut members, slot.clone(), key(4), 10).unwrap();
        assert_eq!(members.next_overdue(), None);
        // The oldest leaves by itself: nobody is left to be closed.
        members.leave(&slot, key(4), Now(20_000));
        assert_eq!(members.next_overdue(), Some(Now(25_000)));
        members.leave(&slot, key(0), Now(21_000));
        assert_eq!(members.next_overdue(), None);
        // Each slot by itself.
        members.leave(&other, key(13), Now(30_000));
        assert_eq!(members.take_for_vacancy(Now(35_000)), Some(key(12)));
    }
}
