//! Messages queued for peers that are not connected; see codec/PROTOCOL.md, KEEP.
//!
//! Messages are queued under a key, which consists of a direction and a viewer id. Each key holds the latest offer, the
//! latest answer, and the offer's ICE candidates, in order of acceptance. An offer replaces all earlier candidates,
//! unless it is the first offer of its connection, because some clients send candidates before the offer. Messages are
//! stored as complete frames, so that delivering one takes a single copy.

use crate::channel::rare::Rare;
use crate::id::{CallerId, Role, SessionKey};
use crate::limits::{
    PENDING_BYTES_PARTS, PENDING_CANDIDATES_MAX, PENDING_KEYS_MAX, PENDING_KEYS_OF_CALLER_MAX,
};
use crate::time::Now;
use codec::signal::Action;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::rc::Rc;

/// The direction of a queued message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Towards {
    /// From a viewer to the master.
    Master,
    /// From the master to a viewer.
    Viewer,
}

impl Towards {
    /// Returns the direction of messages to this role.
    pub(crate) fn to(role: &Role) -> Self {
        match role {
            Role::Master => Self::Master,
            Role::Viewer(_) => Self::Viewer,
        }
    }

    /// Returns the direction of messages from this role.
    pub(crate) fn away_from(role: &Role) -> Self {
        match role {
            Role::Master => Self::Viewer,
            Role::Viewer(_) => Self::Master,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub action: Action,
    pub expires: Now,
    /// The message's number in the channel's order of acceptance.
    pub order: u64,
    /// Length of the sender id at the end of the frame; 0 for messages to viewers.
    pub sender_bytes: u16,
    /// The connection that sent the message; see [`crate::session::outbox::DeliveryMark`].
    pub from: Option<SessionKey>,
    /// Whether the message is the first offer from `from`.
    pub first: bool,
    pub frame: Box<[u8]>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyName<'a> {
    pub towards: Towards,
    pub viewer: &'a Rc<str>,
    /// The viewer's caller, if it has its own share of the queue. A key remembers the caller that created it.
    pub caller: Option<CallerId>,
}

type Displaced = (Towards, Rc<str>, VecDeque<Message>);

#[derive(Debug, Default)]
pub(crate) struct Pending {
    keys: Rare<PendingKey>,
    bytes: usize,
}

#[derive(Debug)]
struct PendingKey {
    towards: Towards,
    viewer: Rc<str>,
    caller: Option<CallerId>,
    /// When to check whether another viewer has replaced this one. Set when this viewer has sent a close frame.
    closed: Option<Now>,
    messages: VecDeque<Message>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Maximum size of the channel's queue, in bytes.
    pub channel_bytes: usize,
    pub shard_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept<'a> {
    pub viewer: &'a Rc<str>,
    /// The viewer's caller, if it has its own share of the queue.
    pub caller: Option<CallerId>,
    /// The oldest queued offer or, if there is none, the oldest queued message.
    pub message: &'a Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Pending {
    /// Queues a message and calls `dropped` for each older message that it replaces. Returns the key that was evicted,
    /// if any. Only keys whose viewers are `gone` are evicted.
    ///
    /// # Errors
    /// Returns [`Full`] if the message does not fit. In that case, the queue is unchanged.
    pub(crate) fn keep(
        &mut self,
        name: KeyName<'_>,
        message: Message,
        room: Room,
        gone: impl Fn(&str) -> bool,
        mut dropped: impl FnMut(&Message),
    ) -> Result<Option<Displaced>, Full> {
        let bytes = message.frame.len();
        let growth = self.growth(name, &message, room.channel_bytes, &gone);
        if growth.is_none_or(|growth| growth > room.shard_bytes) {
            return Err(Full);
        }
        let leaving = self.leaving(name, &gone)?;
        let displaced = leaving.map(|place| self.remove(place));
        let place = self
            .keys
            .iter()
            .position(|key| key.is(name.towards, name.viewer));
        let place = place.unwrap_or_else(|| {
            self.keys.push(PendingKey {
                towards: name.towards,
                viewer: name.viewer.clone(),
                caller: name.caller,
                closed: None,
                messages: VecDeque::new(),
            });
            self.keys.len() - 1
        });
        self.bytes += bytes;
        if let Some(key) = self.keys.get_mut(place) {
            self.bytes -= key.make_place(&message, &mut dropped);
            key.messages.push_back(message);
        }
        Ok(displaced.map(|key| (key.towards, key.viewer, key.messages)))
    }

    /// Returns the index of the key to evict to make room for a message. Returns `None` if the message's key already
    /// exists or the table has a free entry.
    ///
    /// A key can be evicted only if its viewer has left. A caller that has used up its share of the keys must evict one
    /// of its own. If the table is full, the caller with the most keys loses one, provided that it still has at least
    /// as many keys as the newcomer afterwards. All keys without a caller are treated as belonging to a single caller
    /// whose share is unlimited.
    ///
    /// # Errors
    /// Returns [`Full`] if no key can be evicted.
    fn leaving(
        &self,
        name: KeyName<'_>,
        gone: impl Fn(&str) -> bool,
    ) -> Result<Option<usize>, Full> {
        let keys = || self.keys.iter();
        let held = |caller| keys().filter(|key| key.caller == caller).count();
        let own = held(name.caller);
        let at_part = name.caller.is_some() && own >= PENDING_KEYS_OF_CALLER_MAX;
        let room = !at_part && self.keys.len() < PENDING_KEYS_MAX;
        if room || keys().any(|key| key.is(name.towards, name.viewer)) {
            return Ok(None);
        }
        let pays = |key: &PendingKey| {
            if at_part {
                key.caller == name.caller
            } else {
                held(key.caller) > own + 1
            }
        };
        let payers = keys().enumerate();
        let payers = payers.filter(|(_, key)| pays(key) && gone(&key.viewer));
        let leaving = payers.max_by_key(|(_, key)| (held(key.caller), Reverse(key.oldest())));
        leaving.map(|(place, _)| Some(place)).ok_or(Full)
    }

    /// Returns a key's caller, and when to check whether another viewer has replaced the key's departed viewer. For an
    /// unknown key, returns the values that a new key would have.
    #[must_use]
    pub(crate) fn facts_of(&self, name: KeyName<'_>) -> (Option<CallerId>, Option<Now>) {
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.is(name.towards, name.viewer));
        key.map_or((name.caller, None), |key| (key.caller, key.closed))
    }

    /// Sets when to check a key whose viewer has sent a close frame. `None` means that the connection ended without a
    /// close frame.
    pub(crate) fn set_closed(&mut self, towards: Towards, viewer: &str, until: Option<Now>) {
        let mut keys = self.keys.iter_mut();
        if let Some(key) = keys.find(|key| key.is(towards, viewer)) {
            key.closed = until;
        }
    }

    /// Removes the oldest key whose viewer sent a close frame long enough before `now` and is still `gone`. The key is
    /// removed only if the same caller has another viewer, which must have a key or be connected (see `others`).
    pub(crate) fn take_closed(
        &mut self,
        now: Now,
        gone: impl Fn(&str) -> bool,
        others: impl Fn(Option<CallerId>) -> bool,
    ) -> Option<(Rc<str>, VecDeque<Message>)> {
        loop {
            let due = |key: &&mut PendingKey| key.closed.is_some_and(|closed| closed <= now);
            let keys = self.keys.iter_mut().filter(due);
            let key = keys.min_by_key(|key| key.oldest())?;
            key.closed = None;
            let (viewer, caller) = (Rc::clone(&key.viewer), key.caller);
            let other = |kept: Kept<'_>| kept.caller == caller && *kept.viewer != viewer;
            if gone(&viewer) && (self.for_master().any(other) || others(caller)) {
                let messages = self.take(Towards::Master, &viewer);
                return Some((viewer, messages));
            }
        }
    }

    /// Removes a key's messages and merges them with messages that an outbox returned, in order of acceptance. The
    /// caller queues the result message by message, so that returned messages precede newer ones.
    pub(crate) fn take_with(
        &mut self,
        towards: Towards,
        viewer: &str,
        returned: impl IntoIterator<Item = Message>,
    ) -> Vec<Message> {
        let mut all: Vec<Message> = returned.into_iter().collect();
        all.extend(self.take(towards, viewer));
        all.sort_by_key(|message| message.order);
        all
    }

    /// Returns the number of bytes that a message would add to the queue, after subtracting the bytes that it replaces
    /// or evicts. Returns `None` if this would exceed the channel's limit or the caller's share of it.
    #[must_use]
    pub(crate) fn growth(
        &self,
        name: KeyName<'_>,
        message: &Message,
        channel_bytes: usize,
        gone: impl Fn(&str) -> bool,
    ) -> Option<usize> {
        let bytes = message.frame.len();
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.is(name.towards, name.viewer));
        let leaving = self.leaving(name, gone).ok()?;
        let leaving = leaving.and_then(|place| self.keys.get(place));
        let going = key.map_or(0, |key| key.freed_by(message));
        let left = leaving.map_or(0, PendingKey::bytes);
        let freed = going + left;
        let fits = self.bytes + bytes <= channel_bytes + freed;
        let caller = key.map_or(name.caller, |key| key.caller);
        let own = caller.map_or(0, |caller| {
            let own_leaves = leaving.is_some_and(|key| key.caller == Some(caller));
            self.bytes_of(caller) - going - if own_leaves { left } else { 0 }
        });
        let has_part = own == 0 || own + bytes <= channel_bytes / PENDING_BYTES_PARTS;
        (fits && has_part).then(|| bytes.saturating_sub(freed))
    }

    fn bytes_of(&self, caller: CallerId) -> usize {
        let keys = self.keys.iter();
        let own = keys.filter(|key| key.caller == Some(caller));
        own.map(PendingKey::bytes).sum()
    }

    /// Evicts one message to free memory, and returns it with its key. The message comes from the largest key of a
    /// `gone` viewer or, if there is none, from the largest key. If several keys have that size, the one with the
    /// oldest message is chosen. Within the key, the oldest candidate is evicted or, if there is none, the oldest
    /// message.
    pub(crate) fn evict(
        &mut self,
        gone: impl Fn(&str) -> bool,
    ) -> Option<(Towards, Rc<str>, Message)> {
        let weight = |key: &PendingKey| (gone(&key.viewer), key.bytes(), Reverse(key.oldest()));
        let keys = self.keys.iter().enumerate();
        let (place, _) = keys.max_by_key(|(_, key)| weight(key))?;
        let key = self.keys.get_mut(place)?;
        let candidate = |kept: &Message| kept.action == Action::IceCandidate;
        let oldest = key.messages.iter().position(candidate).unwrap_or(0);
        let message = key.messages.remove(oldest)?;
        self.bytes -= message.frame.len();
        let (towards, viewer) = (key.towards, Rc::clone(&key.viewer));
        if key.messages.is_empty() {
            self.keys.remove(place);
        }
        Some((towards, viewer, message))
    }

    pub(crate) fn take(&mut self, towards: Towards, viewer: &str) -> VecDeque<Message> {
        let Some(place) = self.keys.iter().position(|key| key.is(towards, viewer)) else {
            return VecDeque::new();
        };
        self.remove(place).messages
    }

    fn remove(&mut self, place: usize) -> PendingKey {
        let key = self.keys.remove(place);
        self.bytes -= key.bytes();
        key
    }

    /// Removes all messages for the master except those from `held` viewers. Groups the messages by key, and sorts the
    /// groups by each key's oldest offer (or oldest message). The groups of `gone` viewers come last. Each group is
    /// returned with a number that orders it relative to waiting calls.
    pub(crate) fn take_for_master(
        &mut self,
        held: impl Fn(&str) -> bool,
        gone: impl Fn(&str) -> bool,
    ) -> Vec<(u64, VecDeque<Message>)> {
        let (mut for_master, others): (Vec<PendingKey>, Vec<PendingKey>) = self
            .keys
            .take()
            .into_iter()
            .partition(|key| key.towards == Towards::Master && !held(&key.viewer));
        others.into_iter().for_each(|key| self.keys.push(key));
        let place = |key: &PendingKey| {
            if gone(&key.viewer) {
                u64::MAX
            } else {
                key.rank()
            }
        };
        for_master.sort_by_cached_key(|key| (place(key), key.rank()));
        self.bytes -= for_master.iter().map(PendingKey::bytes).sum::<usize>();
        for_master
            .into_iter()
            .map(|key| (place(&key), key.messages))
            .collect()
    }

    pub(crate) fn take_all(&mut self) -> Vec<Message> {
        self.bytes = 0;
        let keys = self.keys.take().into_iter();
        keys.flat_map(|key| key.messages).collect()
    }

    /// Drops the messages for which `is_over` returns `true`, and calls `dropped` for each of them.
    pub(crate) fn drop_if(
        &mut self,
        is_over: impl Fn(Towards, &str, &Message) -> bool,
        mut dropped: impl FnMut(Towards, &str, &Message),
    ) {
        let mut freed = 0;
        for key in self.keys.iter_mut() {
            let (towards, viewer) = (key.towards, &*key.viewer);
            key.messages.retain(|message| {
                let is_over = is_over(towards, viewer, message);
                if is_over {
                    freed += message.frame.len();
                    dropped(towards, viewer, message);
                }
                !is_over
            });
        }
        self.bytes -= freed;
        self.keys.retain(|key| !key.messages.is_empty());
    }

    /// Returns the earliest time at which a message expires or a key whose viewer sent a close frame must be checked.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<Now> {
        let expiries = self.messages().map(|(_, _, message)| message.expires);
        expiries
            .chain(self.keys.iter().filter_map(|key| key.closed))
            .min()
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = (Towards, &Rc<str>, &Message)> {
        self.keys.iter().flat_map(|key| {
            key.messages
                .iter()
                .map(|message| (key.towards, &key.viewer, message))
        })
    }

    /// Iterates over the viewers with messages for the master, in the order in which their keys were created.
    pub(crate) fn for_master(&self) -> impl Iterator<Item = Kept<'_>> {
        let keys = self.keys.iter();
        let keys = keys.filter(|key| key.towards == Towards::Master);
        keys.filter_map(|key| {
            Some(Kept {
                viewer: &key.viewer,
                caller: key.caller,
                message: key.first()?,
            })
        })
    }

    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl PendingKey {
    fn is(&self, towards: Towards, viewer: &str) -> bool {
        self.towards == towards && *self.viewer == *viewer
    }

    fn bytes(&self) -> usize {
        let frames = self.messages.iter().map(|message| message.frame.len());
        frames.sum()
    }

    fn oldest(&self) -> u64 {
        self.messages.front().map_or(0, |oldest| oldest.order)
    }

    /// Returns the oldest offer or, if there is none, the oldest message.
    fn first(&self) -> Option<&Message> {
        let offer = |message: &&Message| message.action == Action::SdpOffer;
        let offer = self.messages.iter().find(offer);
        offer.or_else(|| self.messages.front())
    }

    fn rank(&self) -> u64 {
        self.first().map_or(u64::MAX, |message| message.order)
    }

    /// Returns `true` if a new message replaces a queued one. An offer replaces the previous offer and its candidates,
    /// an answer replaces the previous answer, and a candidate replaces the oldest one if the list is full.
    fn goes(&self, new: &Message, kept: &Message, candidates_seen: usize) -> bool {
        match new.action {
            Action::SdpOffer => match kept.action {
                Action::SdpOffer => true,
                Action::SdpAnswer => false,
                Action::IceCandidate => !new.first || kept.from != new.from,
            },
            Action::SdpAnswer => kept.action == Action::SdpAnswer,
            Action::IceCandidate => {
                kept.action == Action::IceCandidate
                    && candidates_seen == 0
                    && self.candidates() >= PENDING_CANDIDATES_MAX
            }
        }
    }

    fn candidates(&self) -> usize {
        self.messages
            .iter()
            .filter(|message| message.action == Action::IceCandidate)
            .count()
    }

    fn going(&self, new: &Message) -> Vec<bool> {
        let mut seen = 0;
        let decide = |kept: &Message| {
            let goes = self.goes(new, kept, seen);
            seen += usize::from(kept.action == Action::IceCandidate);
            goes
        };
        self.messages.iter().map(decide).collect()
    }

    fn freed_by(&self, new: &Message) -> usize {
        let going = self.going(new);
        let going = self.messages.iter().zip(going).filter(|(_, goes)| *goes);
        going.map(|(message, _)| message.frame.len()).sum()
    }

    fn make_place(&mut self, new: &Message, dropped: &mut impl FnMut(&Message)) -> usize {
        let mut going = self.going(new).into_iter();
        let mut freed = 0;
        self.messages.retain(|message| {
            let goes = going.next().unwrap_or(false);
            if goes {
                freed += message.frame.len();
                dropped(message);
            }
            !goes
        });
        freed
    }
}

#[cfg(test)]
mod tests;
