//! The connections of a channel: the master's slot, the viewers' slots, and superseded connections.
//!
//! A superseded connection may have sent its client only part of a message. Its slot is then *held* until the rest has
//! been sent or the connection has ended. Messages for a held slot are queued, because a returned message must precede
//! newer messages from the same sender.
//!
//! Invariant: a session has at most one slot. The newest connection wins. The older one stays open but receives nothing
//! until one of its own limits ends it. Each slot has at most four such connections. If the broker closed the older
//! connection at once, a client that reconnects automatically would take the slot back, and two such clients would
//! displace each other forever.
//!
//! If a connection ends within a second of its admission and its client has not sent a frame, the slot returns to the
//! connection that it superseded. Such a client may have given up before the upgrade completed. A client that has sent
//! a frame was alive, whereas the connection that it superseded may have been dead.
//!
//! A slot is *vacant* if its connection has left and no other has taken it for a while. The most recently superseded
//! connection is then closed, so that its client reconnects. This is safe, because nobody competes for the slot.
//! Connections are closed one at a time, because one reconnect is enough. If the slot is still vacant after the same
//! delay, the next connection is closed.

use crate::channel::rare::Rare;
use crate::id::{Role, SessionKey};
use crate::limits::{SUPERSEDED_PER_CHANNEL_MAX, SUPERSEDED_PER_SLOT_MAX, VACANT_SLOT_MS};
use crate::time::Now;
use ahash::RandomState;
use std::collections::HashMap;
use std::rc::Rc;

#[derive(Debug, Default)]
pub(crate) struct Members {
    master: Option<SessionKey>,
    viewers: Viewers,
    superseded: Rare<Superseded>,
    /// Held slots. The list is nearly always empty.
    held: Rare<Held>,
    /// Vacant slots with superseded connections, each with the time at which to close the next connection. The list is
    /// nearly always empty.
    vacant: Rare<(Role, Now)>,
}

#[derive(Debug)]
struct Superseded {
    slot: Role,
    session: SessionKey,
    /// The connection that took over the slot. If that connection ends soon after its admission, this one regains the
    /// slot.
    by: SessionKey,
    since: Now,
    /// Whether a newer connection in the slot has sent a message and left.
    overtaken: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaver {
    pub session: SessionKey,
    /// Whether the connection ended shortly after its admission without receiving anything from its client.
    pub brief: bool,
    pub spoke: bool,
}

/// A slot that is held because a superseded connection has sent only part of a message.
#[derive(Debug)]
struct Held {
    slot: Role,
    by: SessionKey,
    /// When to abort the connection. `u64::MAX` once it has been aborted or the message is complete.
    until: Now,
    /// When to query the number of bytes that the client has not acknowledged.
    ask: Now,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The superseded connection. No further messages are sent to it.
    pub superseded: Option<SessionKey>,
    /// The oldest superseded connection, if there are too many of them. The caller must close it with code 1001.
    pub evicted: Option<SessionKey>,
    pub holders: Vec<SessionKey>,
}

/// The viewer table is full; reported as `ClientLimitExceededException`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

impl Members {
    #[must_use]
    pub(crate) fn master(&self) -> Option<SessionKey> {
        self.master
    }

    #[must_use]
    pub(crate) fn viewer(&self, id: &str) -> Option<SessionKey> {
        self.viewers.get(id)
    }

    #[must_use]
    pub(crate) fn to_master(&self) -> Option<SessionKey> {
        self.master
            .filter(|_| self.held.is_empty() || !self.holds(&Role::Master))
    }

    #[must_use]
    pub(crate) fn to_viewer(&self, id: &str) -> Option<SessionKey> {
        let held = |held: &Held| matches!(&held.slot, Role::Viewer(other) if **other == *id);
        self.viewer(id).filter(|_| !self.held.iter().any(held))
    }

    /// Holds a slot until [`Members::release`], because a superseded connection has sent only part of a message. The
    /// connection is aborted at `until`.
    pub(crate) fn hold(&mut self, slot: Role, by: SessionKey, until: Now) {
        let ask = Now(u64::MAX);
        self.held.push(Held {
            slot,
            by,
            until,
            ask,
        });
    }

    /// Schedules a query for the unacknowledged bytes of a connection that holds its slot. If `ended` is set, the
    /// message is complete and the connection will not be aborted.
    pub(crate) fn ask_holder(&mut self, by: SessionKey, due: Now, ended: bool) {
        let mut held = self.held.iter_mut();
        if let Some(held) = held.find(|held| held.by == by) {
            held.ask = due;
            if ended {
                held.until = Now(u64::MAX);
            }
        }
    }

    /// Returns a connection whose query for unacknowledged bytes is due at `now`. Returns each connection only once.
    pub(crate) fn take_holder_to_ask(&mut self, now: Now) -> Option<SessionKey> {
        let held = self.held.iter_mut().find(|held| held.ask <= now)?;
        held.ask = Now(u64::MAX);
        Some(held.by)
    }

    #[must_use]
    pub(crate) fn of(&self, slot: &Role) -> Option<SessionKey> {
        match slot {
            Role::Master => self.master,
            Role::Viewer(id) => self.viewer(id),
        }
    }

    /// Releases the slot that a superseded connection holds. Returns `false` if the connection does not hold one.
    pub(crate) fn release(&mut self, by: SessionKey) -> bool {
        let before = self.held.len();
        self.held.retain(|held| held.by != by);
        self.held.len() < before
    }

    /// Returns the earliest time at which to query, abort or close a connection because of a held or vacant slot.
    #[must_use]
    pub(crate) fn next_overdue(&self) -> Option<Now> {
        let held = self.held.iter().map(|held| held.until.min(held.ask));
        held.chain(self.vacant.iter().map(|(_, until)| *until))
            .min()
    }

    /// Returns the connection to close because a slot is vacant at `now`: the slot's most recently superseded one.
    pub(crate) fn take_for_vacancy(&mut self, now: Now) -> Option<SessionKey> {
        let vacant = self.vacant.iter_mut().find(|(_, until)| *until <= now)?;
        vacant.1 = now.after(VACANT_SLOT_MS);
        let mut superseded = self.superseded.iter().rev();
        let last = superseded.find(|older| older.slot == vacant.0);
        last.map(|last| last.session)
    }

    fn forget_vacancy(&mut self, slot: &Role) {
        if !self.vacant.is_empty() && !self.superseded.iter().any(|older| older.slot == *slot) {
            self.vacant.retain(|(other, _)| other != slot);
        }
    }

    /// Returns a connection that has held its slot for too long at `now`. Returns each connection only once.
    pub(crate) fn take_overdue(&mut self, now: Now) -> Option<SessionKey> {
        let held = self.held.iter_mut().find(|held| held.until <= now)?;
        held.until = Now(u64::MAX);
        Some(held.by)
    }

    pub(crate) fn holders(&self) -> impl Iterator<Item = SessionKey> {
        self.held.iter().map(|held| held.by)
    }

    fn holds(&self, slot: &Role) -> bool {
        self.held.iter().any(|held| held.slot == *slot)
    }

    /// Returns the number of connected viewers, excluding superseded connections.
    #[must_use]
    pub(crate) fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// Returns the viewers' connections sorted by key, excluding superseded ones.
    #[must_use]
    pub(crate) fn viewers_now(&self) -> Vec<SessionKey> {
        let mut viewers = self.viewers.sessions();
        viewers.sort_unstable();
        viewers
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        let connected =
            self.master.is_some() || !self.viewers.is_empty() || !self.superseded.is_empty();
        !connected && self.held.is_empty()
    }

    /// Returns all connections sorted by key, including superseded ones.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<SessionKey> {
        let mut all = self.viewers.sessions();
        all.extend(self.master);
        all.extend(self.superseded.iter().map(|older| older.session));
        all.sort_unstable();
        all
    }

    /// Returns `true` if a new connection for this slot would exceed `viewers_max`.
    #[must_use]
    pub(crate) fn is_full_for(&self, slot: &Role, viewers_max: usize) -> bool {
        let Role::Viewer(id) = slot else {
            return false;
        };
        self.viewers.len() >= viewers_max && self.viewers.get(id).is_none()
    }

    /// Assigns a slot to a connection and supersedes the previous connection, which does not count towards the limit.
    ///
    /// # Errors
    /// Returns [`TableFull`] if the number of viewers would exceed `viewers_max`.
    pub(crate) fn join(
        &mut self,
        slot: Role,
        session: SessionKey,
        (viewers_max, hasher): (usize, &RandomState),
        now: Now,
    ) -> Result<Joined, TableFull> {
        if self.is_full_for(&slot, viewers_max) {
            return Err(TableFull);
        }
        let superseded = match &slot {
            Role::Master => self.master.replace(session),
            Role::Viewer(id) => self.viewers.insert(id.clone(), session, hasher),
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

    /// Removes a connection that left at `now`. Returns the connection that regains the slot, if there is one.
    pub(crate) fn leave(&mut self, slot: &Role, leaver: Leaver, now: Now) -> Option<SessionKey> {
        if self.of(slot) == Some(leaver.session) {
            self.note_spoken(slot, leaver, usize::MAX);
        } else {
            self.give_way_no_more(slot, leaver);
            self.forget_vacancy(slot);
            return None;
        }
        let gave_way = |older: &Superseded| leaver.brief && older.by == leaver.session;
        let returning = self
            .superseded
            .take_first(gave_way)
            .map(|older| older.session);
        match (slot, returning) {
            (Role::Master, session) => self.master = session,
            (Role::Viewer(id), Some(session)) => self.viewers.replace(id, session),
            (Role::Viewer(id), None) => self.viewers.remove(id),
        }
        if let Some(session) = returning {
            self.release(session); // what it has begun to send precedes all later messages
            return returning;
        }
        if !self.superseded.is_empty() {
            (self.vacant).push((slot.clone(), now.after(VACANT_SLOT_MS)));
        }
        self.forget_vacancy(slot);
        None
    }

    /// Removes a superseded connection. If it was short-lived (`brief`), the connections that it had superseded now
    /// count as superseded by its successor.
    fn give_way_no_more(&mut self, slot: &Role, leaver: Leaver) {
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

    /// Marks the slot's older connections as overtaken if the departing connection has sent a message.
    fn note_spoken(&mut self, slot: &Role, leaver: Leaver, place: usize) {
        let older = self.superseded.iter_mut().take(place);
        let same = older.filter(|older| older.slot == *slot);
        same.for_each(|older| older.overtaken |= leaver.spoke);
    }

    /// Prevents a superseded connection from regaining its slot. Its messages have been returned to the queue, so it
    /// could otherwise receive them twice.
    pub(crate) fn give_way_for_good(&mut self, session: SessionKey) {
        let mut older = self.superseded.iter_mut();
        if let Some(older) = older.find(|older| older.session == session) {
            older.by = session; // a connection never regains its slot from itself
        }
    }

    pub(crate) fn gave_way(&self, session: SessionKey) -> bool {
        self.superseded.iter().any(|older| older.session == session)
    }

    pub(crate) fn has_superseded(&self) -> bool {
        !self.superseded.is_empty()
    }

    pub(crate) fn displaced(&self) -> impl Iterator<Item = (SessionKey, Now, SessionKey)> {
        let held = |older: &Superseded| Some((older.session, older.since, self.of(&older.slot)?));
        self.superseded.iter().filter_map(held)
    }

    /// Returns when a connection lost its slot, and whether a newer connection in that slot has sent a message since.
    /// `spoke` returns whether an open connection has sent a message. Returns `None` if the connection still has its
    /// slot or is not a member.
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
        slot: Role,
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

/// Viewers by client id. Most channels have one viewer at a time. A single viewer is stored inline, because a hash
/// table takes about 250 bytes. The caller passes in the hasher, because all channels of a shard share it.
#[derive(Debug, Default)]
pub(crate) enum Viewers {
    #[default]
    None,
    One(Rc<str>, SessionKey),
    /// The table is freed when the last viewer leaves.
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
    pub(crate) fn get(&self, id: &str) -> Option<SessionKey> {
        match self {
            Self::None => None,
            Self::One(only, session) => (**only == *id).then_some(*session),
            Self::Many(viewers) => viewers.get(id).copied(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(..) => 1,
            Self::Many(viewers) => viewers.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(crate) fn sessions(&self) -> Vec<SessionKey> {
        match self {
            Self::None => Vec::new(),
            Self::One(_, session) => vec![*session],
            Self::Many(viewers) => viewers.values().copied().collect(),
        }
    }

    /// Assigns a client id to a connection. Returns the connection that had the id before.
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

    pub(crate) fn remove(&mut self, id: &str) {
        match self {
            Self::One(only, _) if **only == *id => *self = Self::None,
            Self::None | Self::One(..) => {}
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

    /// Compares every step with an ordered map, for no viewers, one viewer and several viewers.
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
