//! Messages kept for absent peers, given back by connections that go, and delivered at a connect. See
//! codec/PROTOCOL.md, KEEP.

use super::{ConnId, Message, Model, Queued};
use broker_core::event::Outcome;
use broker_core::journal::Unaccepted;
use broker_core::shard::Passage;
use codec::signal::Action;
use std::cmp::Reverse;
use std::collections::BTreeMap;

impl Model {
    /// Keeps a message for an absent peer: the latest offer and answer of a key, and 32 candidates.
    pub(crate) fn keep(&mut self, channel: usize, number: usize) -> Result<(), Full> {
        let limits = &self.settings.limits;
        let new = &self.messages[number];
        let mine: Vec<usize> = self.of_key(channel, new.to_master, &new.viewer);
        let is = |number: &usize, action| self.messages[*number].action == action;
        let candidate = |number: &usize| is(number, Action::IceCandidate);
        let candidates = mine.iter().filter(|number| candidate(number)).count();
        let early = |number: &usize| {
            let same = self.messages[*number].by == new.by;
            candidate(number) && new.first && same
        };
        let keeps_early = new.action == Action::SdpOffer && mine.iter().any(early);
        let going: Vec<usize> = match new.action {
            Action::SdpOffer => (mine.iter().copied())
                .filter(|number| !is(number, Action::SdpAnswer) && !early(number))
                .collect(),
            Action::SdpAnswer => (mine.iter().copied())
                .filter(|number| is(number, Action::SdpAnswer))
                .collect(),
            Action::IceCandidate if candidates >= 32 => {
                (mine.iter().copied()).filter(candidate).take(1).collect()
            }
            Action::IceCandidate => Vec::new(),
        };
        let freed = self.bytes_of(&going);
        let pending = &self.channels[channel].pending;
        let bytes = self.bytes_of(pending) + new.bytes();
        let most = limits.pending_bytes_per_channel + freed;
        let unsure = self.unsure_bytes(channel);
        if self.departures > 0 && bytes <= most && bytes + unsure > most {
            self.give_up(); // whether something expired, or came back, before or after that does not show
        }
        let full = bytes > most;
        if full || (mine.is_empty() && self.keys(channel) >= 64) {
            return Err(Full);
        }
        self.make_room(channel, new.bytes().saturating_sub(freed))?;
        if keeps_early {
            self.met("candidates kept before a first offer");
        }
        if self.out.ticks {
            self.freed_bytes += freed; // what else comes back may have come before
        }
        for gone in going {
            self.met("kept message overwritten");
            self.overwrite(channel, gone);
        }
        let pending = &mut self.channels[channel].pending;
        pending.push(number);
        pending.sort_unstable();
        self.met("message kept");
        Ok(())
    }

    /// A kept message is dropped, since a newer one is in its place.
    pub(super) fn overwrite(&mut self, channel: usize, gone: usize) {
        let home = self.channels[channel].home;
        self.end(home, self.messages[gone].action, Outcome::Overwritten);
        self.record_kept(channel, gone, Passage::Overwritten, None);
        (self.channels[channel].pending).retain(|number| *number != gone);
    }

    /// Bytes that are kept or not in this tick: those that expired, and those of others that end.
    fn unsure_bytes(&self, channel: usize) -> usize {
        let home = self.channels[channel].home;
        let due = if self.out.ticks {
            self.outboxes_due(home)
        } else {
            0
        };
        self.freed_bytes + due
    }

    /// The shard's bound is reached: one message after the other makes room, of the account that keeps most if that is
    /// more than this one would, else of a channel of this account.
    fn make_room(&mut self, channel: usize, more: usize) -> Result<(), Full> {
        let shard = self.channels[channel].home;
        let most = self.settings.pending_bytes_of_shard();
        loop {
            let kept: BTreeMap<usize, usize> = (self.channels.iter().enumerate())
                .filter(|(_, one)| one.home == shard && !one.pending.is_empty())
                .map(|(place, one)| (place, self.bytes_of(&one.pending)))
                .collect();
            let all: usize = kept.values().sum();
            let own = kept.get(&channel).copied().unwrap_or(0);
            if self.departures > 0 && all + self.unsure_bytes(channel) + more > most {
                self.give_up(); // whether something expired, or came back, before or after that does not show
            }
            if all + more <= most {
                return Ok(());
            }
            let mine = &self.channels[channel].account;
            let mut accounts: BTreeMap<&str, usize> = BTreeMap::new();
            for (place, bytes) in &kept {
                *accounts.entry(&self.channels[*place].account).or_default() += bytes;
            }
            let held = accounts.get(mine.as_str()).copied().unwrap_or(0);
            let by_bytes = accounts.iter().map(|(account, bytes)| (*bytes, *account));
            let (bytes, fullest) = by_bytes.max().unwrap_or_default();
            let other = fullest != mine && bytes > held + more;
            let payers = if other { fullest } else { mine };
            let (largest, _, payer) = (kept.iter())
                .filter(|(place, _)| self.channels[**place].account == payers)
                .map(|(place, bytes)| (*bytes, self.channels[*place].key, *place))
                .max()
                .unwrap_or_default();
            if !other && largest <= own + more {
                let holders = accounts.len() + usize::from(held == 0);
                assert!((held + more) * holders > most, "refused below its share");
                let of_mine = |place: &&usize| self.channels[**place].account == *mine;
                let holders = kept.keys().filter(of_mine).count() + usize::from(own == 0);
                assert!((own + more) * holders >= held + more, "below its part");
                return Err(Full);
            }
            if other {
                self.met("kept message made room for another account");
            }
            self.make_way(payer);
        }
    }

    /// The key that holds most loses its oldest candidate, or else its oldest message: one of a viewer that is gone, if
    /// there is any.
    fn make_way(&mut self, channel: usize) {
        let pending = self.channels[channel].pending.clone();
        let viewers = &self.channels[channel].viewers;
        let sender = |number: &usize| viewers.get(&self.messages[*number].viewer);
        let mut senders = pending.iter().filter_map(sender);
        let ends = senders.any(|sender| self.ends_by_itself(*sender));
        if self.out.ticks && (self.departures > 0 || ends) {
            self.give_up(); // whether they were gone by then does not show
        }
        let weight = |number: &usize| {
            let message = &self.messages[*number];
            let key = self.of_key(channel, message.to_master, &message.viewer);
            let gone = !self.channels[channel].viewers.contains_key(&message.viewer);
            (gone, self.bytes_of(&key), Reverse(key[0]))
        };
        let heaviest = pending.iter().map(weight).max();
        let of_heaviest = pending.iter().filter(|one| Some(weight(one)) == heaviest);
        let key: Vec<usize> = of_heaviest.copied().collect();
        let candidate = |number: &&usize| self.messages[**number].action == Action::IceCandidate;
        let gone = *key.iter().find(candidate).unwrap_or(&key[0]);
        let shard = self.channels[channel].home;
        self.met("kept message made room for another channel");
        self.end(shard, self.messages[gone].action, Outcome::Evicted);
        self.record_kept(channel, gone, Passage::Evicted, None);
        (self.channels[channel].pending).retain(|number| *number != gone);
        self.forget_closed(channel);
    }

    /// A viewer of which nothing is kept any more is like any other.
    pub(super) fn forget_closed(&mut self, channel: usize) {
        let mut closed = std::mem::take(&mut self.channels[channel].closed);
        closed.retain(|(viewer, _)| !self.of_key(channel, true, viewer).is_empty());
        self.channels[channel].closed = closed;
    }

    /// Drops what is kept of viewers that closed long ago, the oldest first, as long as another viewer is connected or
    /// something of one is kept: all viewers here are of one caller.
    pub(crate) fn drop_closed(&mut self, channel: usize) {
        let now = self.now;
        loop {
            let closed = self.channels[channel].closed.iter().enumerate();
            let due = closed.filter(|(_, (_, until))| *until <= now);
            let first = |viewer: &str| self.of_key(channel, true, viewer)[0];
            let Some((place, _)) = due.min_by_key(|(_, (viewer, _))| first(viewer)) else {
                return;
            };
            if self.member_is_due(channel) {
                self.give_up(); // whether another viewer was still there does not show
            }
            let slots = &mut self.channels[channel];
            let (viewer, _) = slots.closed.remove(place);
            assert!(!slots.viewers.contains_key(&viewer), "it came back");
            let kept = |number: &usize| {
                let message = &self.messages[*number];
                message.to_master && message.viewer != viewer
            };
            let slots = &self.channels[channel];
            if slots.viewers.is_empty() && !slots.pending.iter().any(kept) {
                self.met("kept messages of a closed viewer stay: there is no other");
                continue;
            }
            self.met("kept messages of a closed viewer dropped");
            let dropped = self.of_key(channel, true, &viewer);
            (self.channels[channel].pending).retain(|number| !dropped.contains(number));
            self.freed_bytes += self.bytes_of(&dropped);
            for number in dropped {
                let home = self.channels[channel].home;
                self.end(home, self.messages[number].action, Outcome::Withdrawn);
                self.record_kept(channel, number, Passage::Withdrawn, None);
            }
        }
    }

    pub(crate) fn of_key(&self, channel: usize, to_master: bool, viewer: &str) -> Vec<usize> {
        let pending = self.channels[channel].pending.iter().copied();
        let same = |number: &usize| {
            let message = &self.messages[*number];
            message.to_master == to_master && message.viewer == viewer
        };
        pending.filter(same).collect()
    }

    pub(crate) fn keys(&self, channel: usize) -> usize {
        let pending = self.channels[channel].pending.iter();
        let mut keys: Vec<(bool, &str)> = pending
            .map(|&number| {
                let message = &self.messages[number];
                (message.to_master, message.viewer.as_str())
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }

    /// Messages that an outbox had not sent, or that were not confirmed, go back, before everything newer, by the rules
    /// of keeping; the connection that has the slot gets them from there.
    pub(crate) fn give_back(
        &mut self,
        from: ConnId,
        channel: usize,
        viewer: Option<&str>,
        mut left: Vec<Queued>,
    ) {
        let home = self.channels[channel].home;
        if left.is_empty() {
            return;
        }
        for one in &left {
            if self.messages[one.number].call && !one.written {
                self.offer_came_back(channel, from, one.number, one.counted);
            }
            let returned = u64::from(one.written && one.counted);
            self.shards[home].counters.returned += returned;
        }
        // A copy has its original, which has an outcome.
        left.retain(|one| !self.messages[one.number].call && one.counted);
        for one in &left {
            let passage = if one.written {
                Passage::Unconfirmed
            } else {
                Passage::Returned
            };
            self.record_kept(channel, one.number, passage, Some(from));
        }
        if !self.channels[channel].alive {
            for one in left {
                self.end(home, self.messages[one.number].action, Outcome::Withdrawn);
            }
            return;
        }
        while let Some(first) = left.first().map(|one| one.number) {
            let to_master = self.messages[first].to_master;
            let key = self.messages[first].viewer.clone();
            let mut all = self.of_key(channel, to_master, &key);
            (self.channels[channel].pending).retain(|number| !all.contains(number));
            left.retain(|one| {
                let mine = self.messages[one.number].viewer == key;
                if mine {
                    all.push(one.number);
                }
                !mine
            });
            all.sort_unstable();
            for number in all {
                if self.keep(channel, number).is_err() {
                    self.met("given back, but no room");
                    if self.departures > 0 {
                        self.give_up();
                    }
                    let action = self.messages[number].action;
                    self.unaccepted(home, action, Unaccepted::NoRoom);
                    self.record_kept(channel, number, Passage::Evicted, None);
                }
            }
        }
        self.forget_closed(channel);
        self.deliver_kept(channel, viewer);
    }

    /// Hands kept messages to the connection that has the slot, if there is one.
    pub(crate) fn deliver_kept(&mut self, channel: usize, viewer: Option<&str>) {
        let Some(to) = self.reach(channel, viewer) else {
            return;
        };
        self.expire_kept(channel);
        let mine = |message: &Message| match viewer {
            None => message.to_master && !self.holds(channel, &message.viewer),
            Some(viewer) => !message.to_master && message.viewer == viewer,
        };
        let (taken, left): (Vec<usize>, Vec<usize>) = (self.channels[channel].pending.iter())
            .partition(|number| mine(&self.messages[**number]));
        if self.out.ticks && self.by_pong() {
            self.freed_bytes += self.bytes_of(&taken); // what comes back may have come before
        }
        self.channels[channel].pending = left;
        self.forget_closed(channel);
        let rank = |number: usize| {
            let viewer = &self.messages[number].viewer;
            let key = || (taken.iter()).filter(|other| self.messages[**other].viewer == *viewer);
            let offer = key().find(|other| self.messages[**other].action == Action::SdpOffer);
            offer.or_else(|| key().next()).copied().unwrap_or(number)
        };
        let viewers = &self.channels[channel].viewers;
        let gone = |number: usize| !viewers.contains_key(&self.messages[number].viewer);
        let sender = |number: &usize| viewers.get(&self.messages[*number].viewer);
        let mut senders = taken.iter().filter_map(sender);
        let many = self.out.ticks && self.departures > 0;
        if many && viewer.is_none() && senders.any(|sender| self.ends_by_itself(*sender)) {
            self.give_up(); // those of viewers that are gone come last
        }
        let mut ranked: Vec<(bool, usize, usize)> = (taken.iter())
            .map(|&number| (gone(number), rank(number), number))
            .collect();
        if viewer.is_none() {
            let calls = self.waiting_offers(channel);
            ranked.extend(calls.map(|number| (false, number, number)));
        }
        ranked.sort_unstable();
        if !ranked.is_empty() {
            self.met("kept messages delivered at connect");
        }
        let all = ranked.into_iter().map(|(_, _, number)| number).collect();
        let (going, acts) = self.disturb_kept(to, channel, viewer, all);
        for (number, twice) in going {
            if self.messages[number].call {
                self.give_offer(channel, number, to);
            } else {
                self.record_kept(channel, number, Passage::Delivered, Some(to));
                self.queue_kept(to, number, twice);
            }
        }
        self.out.touched.insert(to);
        self.prove(to);
        for act in acts {
            self.act_on_session(to, &act);
        }
    }

    /// Drops kept messages whose time is over.
    pub(crate) fn expire_kept(&mut self, channel: usize) {
        let now = self.now;
        let over = |number: &usize| self.messages[*number].expires <= now;
        let (expired, left): (Vec<usize>, Vec<usize>) =
            (self.channels[channel].pending.iter()).partition(|number| over(number));
        self.channels[channel].pending = left;
        self.freed_bytes += self.bytes_of(&expired);
        for number in expired {
            self.met("kept message expired");
            let home = self.channels[channel].home;
            self.end(home, self.messages[number].action, Outcome::Expired);
            self.record_kept(channel, number, Passage::Expired, None);
        }
        self.forget_closed(channel);
    }
}

/// No room to keep a message.
pub(crate) struct Full;
