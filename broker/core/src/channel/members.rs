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
//! A connection that ends within a second of its admission, without a frame of its client, has displaced the one before
//! it for nothing: that one has its slot again. It may have been an upgrade whose client had left. A client that sent a
//! frame was there, and the one before it may have been dead by then.
//!
//! When the slot's own connection has left and none has come for a while, there is nothing to fight for: the slot is
//! *vacant*, and the last connection that was superseded is closed so that it may come back. One at a time, since one
//! is enough: only when the slot is still vacant after the same while is the one before it closed.

use crate::channel::rare::Rare;
use crate::limits::{SUPERSEDED_PER_CHANNEL_MAX, SUPERSEDED_PER_SLOT_MAX, VACANT_SLOT_MS};
use crate::{id::SessionKey, time::Now};
use ahash::RandomState;
use std::collections::HashMap;
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
    superseded: Rare<Superseded>,
    /// Nearly always empty.
    held: Rare<Held>,
    /// Slots that nobody has, but that somebody superseded had; and until when nobody is closed for that. Nearly
    /// always empty.
    vacant: Rare<(Slot, Now)>,
}

/// A connection that lost its slot.
#[derive(Debug)]
struct Superseded {
    slot: Slot,
    session: SessionKey,
    /// The connection that it gives way to: when that ends soon, it has the slot again.
    by: SessionKey,
    /// When it lost the slot.
    since: Now,
    /// A newer connection of its slot has sent a message, and left.
    overtaken: bool,
}

/// A connection that leaves its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaver {
    /// The connection.
    pub session: SessionKey,
    /// It ends soon after its admission, and its client has sent nothing.
    pub brief: bool,
    /// It has sent a message.
    pub spoke: bool,
}

/// A slot whose former connection has begun a message and not ended it.
#[derive(Debug)]
struct Held {
    slot: Slot,
    by: SessionKey,
    /// When the connection is to be aborted; never, once it was.
    until: Now,
    /// When it is to be asked what its peer has.
    ask: Now,
}

/// The result of a join.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The connection whose place was taken: silent from here on.
    pub superseded: Option<SessionKey>,
    /// A connection superseded long before, one too many: to be closed 1001.
    pub evicted: Option<SessionKey>,
    /// Connections that had the slot before, and hold it.
    pub holders: Vec<SessionKey>,
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
        let ask = Now(u64::MAX);
        self.held.push(Held {
            slot,
            by,
            until,
            ask,
        });
    }

    /// A connection that holds its slot is asked at `due` what its peer has. Once what it had begun `ended`, it is not
    /// aborted.
    pub(crate) fn ask_holder(&mut self, by: SessionKey, due: Now, ended: bool) {
        let mut held = self.held.iter_mut();
        if let Some(held) = held.find(|held| held.by == by) {
            held.ask = due;
            if ended {
                held.until = Now(u64::MAX);
            }
        }
    }

    /// One connection that holds its slot and is to be asked by `now`, once.
    pub(crate) fn take_holder_to_ask(&mut self, now: Now) -> Option<SessionKey> {
        let held = self.held.iter_mut().find(|held| held.ask <= now)?;
        held.ask = Now(u64::MAX);
        Some(held.by)
    }

    /// The connection that has a slot.
    #[must_use]
    pub(crate) fn of(&self, slot: &Slot) -> Option<SessionKey> {
        match slot {
            Slot::Master => self.master,
            Slot::Viewer(id) => self.viewer(id),
        }
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
        let held = self.held.iter().map(|held| held.until.min(held.ask));
        held.chain(self.vacant.iter().map(|(_, until)| *until))
            .min()
    }

    /// One connection whose slot has been vacant for long enough by `now`, the last that was superseded: it is to be
    /// closed.
    pub(crate) fn take_for_vacancy(&mut self, now: Now) -> Option<SessionKey> {
        let vacant = self.vacant.iter_mut().find(|(_, until)| *until <= now)?;
        vacant.1 = now.after(VACANT_SLOT_MS);
        let mut superseded = self.superseded.iter().rev();
        let last = superseded.find(|older| older.slot == vacant.0);
        last.map(|last| last.session)
    }

    /// A slot is not vacant any more if nobody superseded waits for it.
    fn forget_vacancy(&mut self, slot: &Slot) {
        if !self.vacant.is_empty() && !self.superseded.iter().any(|older| older.slot == *slot) {
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

    /// The connections of viewers, superseded ones not among them, in the order of their keys.
    #[must_use]
    pub(crate) fn viewers_now(&self) -> Vec<SessionKey> {
        let mut viewers = self.viewers.sessions();
        viewers.sort_unstable();
        viewers
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
        all.extend(self.superseded.iter().map(|older| older.session));
        all.sort_unstable();
        all
    }

    /// Whether a slot is one more than `viewers_max` allows.
    #[must_use]
    pub(crate) fn is_full_for(&self, slot: &Slot, viewers_max: usize) -> bool {
        let Slot::Viewer(id) = slot else {
            return false;
        };
        self.viewers.len() >= viewers_max && self.viewers.get(id).is_none()
    }

    /// A connection takes its slot; the one that had it is superseded. Replacing counts against no limit.
    ///
    /// # Errors
    /// [`TableFull`] for one viewer more than `viewers_max`.
    pub(crate) fn join(
        &mut self,
        slot: Slot,
        session: SessionKey,
        (viewers_max, hasher): (usize, &RandomState),
        now: Now,
    ) -> Result<Joined, TableFull> {
        if self.is_full_for(&slot, viewers_max) {
            return Err(TableFull);
        }
        let superseded = match &slot {
            Slot::Master => self.master.replace(session),
            Slot::Viewer(id) => self.viewers.insert(id.clone(), session, hasher),
        };
        self.vacant.retain(|(other, _)| *other != slot);
        let holders = self.held.iter().filter(|held| held.slot == slot);
        let holders = holders.map(|held| held.by).collect();
        let evicted = superseded.and_then(|older| self.supersede(slot, (older, session), now));
        Ok(Joined {
            superseded,
            evicted,
            holders,
        })
    }

    /// A connection left at `now`, whatever its place was. Returns the one that has the slot again.
    pub(crate) fn leave(&mut self, slot: &Slot, leaver: Leaver, now: Now) -> Option<SessionKey> {
        if self.of(slot) == Some(leaver.session) {
            self.note_spoken(slot, leaver, usize::MAX);
        } else {
            self.give_way_no_more(slot, leaver);
            self.forget_vacancy(slot);
            return None;
        }
        let gave_way = |older: &Superseded| leaver.brief && older.by == leaver.session;
        let place = self.superseded.iter().position(gave_way);
        let returning = place.map(|place| self.superseded.remove(place).session);
        match (slot, returning) {
            (Slot::Master, session) => self.master = session,
            (Slot::Viewer(id), Some(session)) => self.viewers.replace(id, session),
            (Slot::Viewer(id), None) => self.viewers.remove(id),
        }
        if let Some(session) = returning {
            self.release(session); // what it has begun to send precedes all that it gets now
            return returning;
        }
        if !self.superseded.is_empty() {
            (self.vacant).push((slot.clone(), now.after(VACANT_SLOT_MS)));
        }
        self.forget_vacancy(slot);
        None
    }

    /// A connection that lost its slot leaves. If it was there for a moment only, those that gave way to it give way to
    /// the one that it gave way to.
    fn give_way_no_more(&mut self, slot: &Slot, leaver: Leaver) {
        let own = |older: &Superseded| older.session == leaver.session;
        let Some(place) = self.superseded.iter().position(own) else {
            return;
        };
        let by = self.superseded.remove(place).by;
        self.note_spoken(slot, leaver, place);
        let gave_way = |older: &&mut Superseded| leaver.brief && older.by == leaver.session;
        let others = self.superseded.iter_mut().filter(gave_way);
        others.for_each(|older| older.by = by);
    }

    /// A connection leaves: those before this place that had its slot know whether it spoke.
    fn note_spoken(&mut self, slot: &Slot, leaver: Leaver, place: usize) {
        let older = self.superseded.iter_mut().take(place);
        let same = older.filter(|older| older.slot == *slot);
        same.for_each(|older| older.overtaken |= leaver.spoke);
    }

    /// What a connection that lost its slot was sent is taken back from it: it gets the slot no more, where it might
    /// get the same once more.
    pub(crate) fn give_way_for_good(&mut self, session: SessionKey) {
        let mut older = self.superseded.iter_mut();
        if let Some(older) = older.find(|older| older.session == session) {
            older.by = session; // which never makes way for itself
        }
    }

    /// Whether a connection lost its slot, and is there still.
    pub(crate) fn gave_way(&self, session: SessionKey) -> bool {
        self.superseded.iter().any(|older| older.session == session)
    }

    /// Whether a connection lost its slot, and is there still.
    pub(crate) fn has_superseded(&self) -> bool {
        !self.superseded.is_empty()
    }

    /// The connections that lost their slot and are there still: each with when it lost it, and the one that has it.
    pub(crate) fn displaced(&self) -> impl Iterator<Item = (SessionKey, Now, SessionKey)> {
        let held = |older: &Superseded| Some((older.session, older.since, self.of(&older.slot)?));
        self.superseded.iter().filter_map(held)
    }

    /// When a connection lost its slot, and whether a newer one of it has sent a message since: one that left, or one
    /// that `spoke`. `None` if it has its slot, or is no member.
    pub(crate) fn lost(
        &self,
        session: SessionKey,
        spoke: impl Fn(SessionKey) -> bool,
    ) -> Option<(Now, bool)> {
        let own = |older: &Superseded| older.session == session;
        let place = self.superseded.iter().position(own)?;
        let (older, newer) = self.superseded.get(place..)?.split_first()?;
        let current = self.of(&older.slot);
        let newer = newer.iter().filter(|newer| newer.slot == older.slot);
        let mut newer = newer.map(|newer| newer.session).chain(current);
        Some((older.since, older.overtaken || newer.any(spoke)))
    }

    fn supersede(
        &mut self,
        slot: Slot,
        (session, by): (SessionKey, SessionKey),
        since: Now,
    ) -> Option<SessionKey> {
        self.superseded.push(Superseded {
            slot: slot.clone(),
            session,
            by,
            since,
            overtaken: false,
        });
        let same = |older: &Superseded| older.slot == slot;
        let place =
            if self.superseded.iter().filter(|it| same(it)).count() > SUPERSEDED_PER_SLOT_MAX {
                self.superseded.iter().position(same)
            } else {
                (self.superseded.len() > SUPERSEDED_PER_CHANNEL_MAX).then_some(0)
            };
        let Superseded {
            slot,
            session: evicted,
            ..
        } = self.superseded.remove(place?);
        self.forget_vacancy(&slot);
        Some(evicted)
    }
}

// The viewers' slots of one channel: by client id, the connection that has it.

/// Viewers by client id. Most channels have one viewer at a time, who is kept in place: a hash table takes some 250
/// bytes. Its hasher is an argument, since it is the same for all channels of a shard.
#[derive(Debug, Default)]
pub(crate) enum Viewers {
    /// Nobody.
    #[default]
    None,
    /// One, without a table.
    One(Rc<str>, SessionKey),
    /// Several, or fewer that were several: the table goes with the last one.
    Many(
        #[expect(
            clippy::box_collection,
            reason = "a table and its hasher are 64 bytes, in every channel in use"
        )]
        Box<HashMap<Rc<str>, SessionKey, RandomState>>,
    ),
}

const _: () = assert!(size_of::<Viewers>() <= 32);

impl Viewers {
    /// The connection of a client id.
    pub(crate) fn get(&self, id: &str) -> Option<SessionKey> {
        match self {
            Self::None => None,
            Self::One(only, session) => (**only == *id).then_some(*session),
            Self::Many(viewers) => viewers.get(id).copied(),
        }
    }

    /// The number of viewers.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(..) => 1,
            Self::Many(viewers) => viewers.len(),
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// All connections, in no particular order.
    pub(crate) fn sessions(&self) -> Vec<SessionKey> {
        match self {
            Self::None => Vec::new(),
            Self::One(_, session) => vec![*session],
            Self::Many(viewers) => viewers.values().copied().collect(),
        }
    }

    /// The connection takes the slot of a client id; returns the one that had it.
    pub(crate) fn insert(
        &mut self,
        id: Rc<str>,
        session: SessionKey,
        hasher: &RandomState,
    ) -> Option<SessionKey> {
        match self {
            Self::None => {
                *self = Self::One(id, session);
                None
            }
            Self::One(only, older) if *only == id => Some(std::mem::replace(older, session)),
            Self::One(..) => {
                let mut viewers = HashMap::with_capacity_and_hasher(2, hasher.clone());
                if let Self::One(only, older) = std::mem::take(self) {
                    viewers.insert(only, older);
                }
                viewers.insert(id, session);
                *self = Self::Many(Box::new(viewers));
                None
            }
            Self::Many(viewers) => viewers.insert(id, session),
        }
    }

    /// The slot of a client id that is there is this connection's from here on.
    pub(crate) fn replace(&mut self, id: &str, session: SessionKey) {
        match self {
            Self::One(only, older) if **only == *id => *older = session,
            Self::None | Self::One(..) => {}
            Self::Many(viewers) => {
                if let Some(older) = viewers.get_mut(id) {
                    *older = session;
                }
            }
        }
    }

    /// The slot of a client id is free.
    pub(crate) fn remove(&mut self, id: &str) {
        match self {
            Self::None => {}
            Self::One(only, _) => {
                if **only == *id {
                    *self = Self::None;
                }
            }
            Self::Many(viewers) => {
                viewers.remove(id);
                if viewers.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }
}

#[cfg(test)]
mod viewers_tests {
    use super::*;

    fn key(slot: u32) -> SessionKey {
        SessionKey::new(slot, 0)
    }

    /// Every step is compared with an ordered map, through one, several and none.
    #[test]
    fn it_answers_as_a_map_does() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut random = fastrand::Rng::with_seed(11);
        let mut viewers = Viewers::default();
        let mut model = std::collections::BTreeMap::new();
        let (mut tables, mut emptied) = (0, 0);
        for step in 0..20_000 {
            let id = format!("v{}", random.u32(..4));
            if random.u32(..100) < 45 {
                let older = viewers.insert(Rc::from(&*id), key(step), &hasher);
                assert_eq!(older, model.insert(id, key(step)));
            } else {
                viewers.remove(&id);
                emptied += u32::from(model.remove(&id).is_some() && model.is_empty());
            }
            for id in ["v0", "v1", "v2", "v3", "v4"] {
                assert_eq!(viewers.get(id), model.get(id).copied());
            }
            let (mut found, mut expected) =
                (viewers.sessions(), Vec::from_iter(model.values().copied()));
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!((found, viewers.len()), (expected, model.len()));
            assert_eq!(viewers.is_empty(), model.is_empty());
            tables += u32::from(matches!(viewers, Viewers::Many(_)));
        }
        assert!(tables > 1_000 && emptied > 100, "{tables} {emptied}");
    }

    #[test]
    fn one_viewer_has_no_table() {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut viewers = Viewers::default();
        assert_eq!(viewers.insert("v".into(), key(1), &hasher), None);
        assert_eq!(viewers.insert("v".into(), key(2), &hasher), Some(key(1)));
        assert!(matches!(viewers, Viewers::One(..)));
    }
}

#[cfg(test)]
mod tests;
