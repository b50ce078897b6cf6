//! Messages for peers that are not connected: codec/PROTOCOL.md, KEEP.
//!
//! A key is a direction and a viewer's id. Per key at most one offer and one answer, the latest, and the ICE
//! candidates that belong to the offer, in the order of acceptance: those that followed it, and before a connection's
//! first offer also those that the same connection had sent, since some clients send candidates first. Kept as whole
//! frames, so that a delivery is one copy.

use crate::channel::rare::Rare;
use crate::id::{CallerId, SessionKey};
use crate::limits::{
    PENDING_BYTES_PARTS, PENDING_CANDIDATES_MAX, PENDING_KEYS_MAX, PENDING_KEYS_OF_CALLER_MAX,
};
use crate::time::Now;
use codec::signal::Action;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::rc::Rc;

/// Which way a kept message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Towards {
    /// From a viewer to the master.
    Master,
    /// From the master to a viewer.
    Viewer,
}

/// A kept message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The action.
    pub action: Action,
    /// When it is dropped.
    pub expires: Now,
    /// Its place in the channel's order of acceptance.
    pub order: u64,
    /// Length of the sender's id at the frame's end; 0 towards viewers.
    pub sender_bytes: u16,
    /// See [`crate::session::outbox::DeliveryMark`].
    pub from: Option<SessionKey>,
    /// See `from`.
    pub first: bool,
    /// The whole WebSocket frame.
    pub frame: Box<[u8]>,
}

/// The key of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyName<'a> {
    /// The direction.
    pub towards: Towards,
    /// The viewer's id.
    pub viewer: &'a Rc<str>,
    /// The caller that the viewer connected as, if messages are from it and it has a part of its own. A key stays that
    /// of the caller that began it.
    pub caller: Option<CallerId>,
}

/// A key that made room for another one, with its messages.
type Displaced = (Towards, Rc<str>, VecDeque<Message>);

/// The pending store of one channel.
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
    /// Its viewer went by a close frame: when it is looked at whether another one has come instead.
    closed: Option<Now>,
    messages: VecDeque<Message>,
}

/// The bounds of a store, and how much more its shard may keep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Bytes of the whole store.
    pub channel_bytes: usize,
    /// Bytes that the shard has left.
    pub shard_bytes: usize,
}

/// Somebody for whom something is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept<'a> {
    /// The viewer.
    pub viewer: &'a Rc<str>,
    /// The caller that it connected as, if that has a part of its own.
    pub caller: Option<CallerId>,
    /// The oldest offer, else the oldest message.
    pub message: &'a Message,
}

/// There is no room: the message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Pending {
    /// Keeps a message. Calls `dropped` for each older one whose place it takes. Returns a key that made room for it;
    /// only those of viewers that are `gone` do.
    ///
    /// # Errors
    /// [`Full`] when the store has no room; nothing was changed.
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
        let KeyName {
            towards,
            viewer,
            caller,
        } = name;
        let place = self.keys.iter().position(|key| key.is(towards, viewer));
        let place = place.unwrap_or_else(|| {
            self.keys.push(PendingKey {
                towards,
                viewer: viewer.clone(),
                caller,
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

    /// The place of the key that leaves for one that a message begins. `None` when there is room, or the key is there.
    ///
    /// A caller with its part of the keys is to make room itself. When all keys are taken, another one that would still
    /// have more makes room: of those the one with most that has a key of a viewer that is gone. Keys without a caller
    /// are one holder's, without a part.
    ///
    /// # Errors
    /// [`Full`] when there is none.
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

    /// The caller of a key, and when it is looked at since its viewer closed, if it is there; else what it would have.
    #[must_use]
    pub(crate) fn facts_of(&self, name: KeyName<'_>) -> (Option<CallerId>, Option<Now>) {
        let mut keys = self.keys.iter();
        let key = keys.find(|key| key.is(name.towards, name.viewer));
        key.map_or((name.caller, None), |key| (key.caller, key.closed))
    }

    /// The viewer of a key went by a close frame, and the key is looked at then; or it went otherwise.
    pub(crate) fn set_closed(&mut self, towards: Towards, viewer: &str, until: Option<Now>) {
        let mut keys = self.keys.iter_mut();
        if let Some(key) = keys.find(|key| key.is(towards, viewer)) {
            key.closed = until;
        }
    }

    /// Takes out the oldest key whose viewer closed its connection long enough ago by `now` and is still `gone`, if
    /// another viewer of its caller has a key or is connected, which `others` says.
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

    /// Takes all messages of one key out, together with some that come back from an outbox: in the order of
    /// acceptance, so that keeping them one by one leaves what comes back before everything newer.
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

    /// The bytes more that the store holds when it keeps a message, those counted that it takes the place of or
    /// that make room for it. `None` when the channel itself has no room for it, or its caller has its part.
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

    /// The bytes that a caller's keys hold.
    fn bytes_of(&self, caller: CallerId) -> usize {
        let keys = self.keys.iter();
        let own = keys.filter(|key| key.caller == Some(caller));
        own.map(PendingKey::bytes).sum()
    }

    /// Drops one message to make room elsewhere: of the keys of viewers that are `gone`, else of all, the one that
    /// holds most (of equal ones that with the oldest message) loses its oldest candidate, else its oldest message.
    /// With it comes whose it was.
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

    /// Takes all messages of one key out, in order.
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

    /// Takes everything for the master out but of viewers that are `held`, by key: those of viewers that are `gone`
    /// last, and of both the one with the oldest offer (else the oldest message) first. Each comes with the place in
    /// the order of acceptance before which waiting calls precede it: that message's, or behind all.
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

    /// Takes everything out.
    pub(crate) fn take_all(&mut self) -> Vec<Message> {
        self.bytes = 0;
        let keys = self.keys.take().into_iter();
        keys.flat_map(|key| key.messages).collect()
    }

    /// Drops what is over, calling `dropped` for each, with its direction and viewer.
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

    /// When the next message expires, or the next key of a viewer that closed is looked at.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<Now> {
        let expiries = self.messages().map(|(_, _, message)| message.expires);
        expiries
            .chain(self.keys.iter().filter_map(|key| key.closed))
            .min()
    }

    /// Every message with its direction and viewer.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (Towards, &Rc<str>, &Message)> {
        self.keys.iter().flat_map(|key| {
            key.messages
                .iter()
                .map(|message| (key.towards, &key.viewer, message))
        })
    }

    /// Those for whom something is kept until a master comes, in the order in which that began.
    pub(crate) fn for_master(&self) -> impl Iterator<Item = Kept<'_>> {
        let keys = self.keys.iter();
        let keys = keys.filter(|key| key.towards == Towards::Master);
        keys.filter_map(|key| {
            let offer = |message: &&Message| message.action == Action::SdpOffer;
            let message = key.messages.iter().find(offer);
            Some(Kept {
                viewer: &key.viewer,
                caller: key.caller,
                message: message.or_else(|| key.messages.front())?,
            })
        })
    }

    /// Bytes kept.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is kept.
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

    /// The place of its first message in the order of acceptance.
    fn oldest(&self) -> u64 {
        self.messages.front().map_or(0, |oldest| oldest.order)
    }

    fn rank(&self) -> u64 {
        let offer = self
            .messages
            .iter()
            .find(|message| message.action == Action::SdpOffer);
        offer
            .or_else(|| self.messages.front())
            .map_or(u64::MAX, |message| message.order)
    }

    /// Whether a message that is kept goes when a new one comes: an offer takes the place of the old one and of its
    /// candidates, an answer that of the old answer; the candidate list drops its oldest.
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
        self.messages
            .iter()
            .zip(going)
            .filter(|(_, goes)| *goes)
            .map(|(message, _)| message.frame.len())
            .sum()
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
