//! The members of channels: how connections obtain, keep and give up the slots of a channel. A channel has one slot for
//! the master and one for each viewer. See invariant 3 of `ARCHITECTURE.md`.

use crate::channel::members::{Joined, Leaver, Members, Slot, TableFull};
use crate::channel::rates::Metered;
use crate::channel::{Channel, Towards};
use crate::id::{Account, CallerId, ChannelKey, SessionKey};
use crate::journal::EndReason;
use crate::limits::{BRIEF_MS, CLOSED_VIEWER_MS, DISPLACED_CHANNELS_MAX};
use crate::presence::{Change, PresenceCause};
use crate::shard::directory::Directory;
use crate::shard::directory::waiting_callers::PollChange;
use crate::shard::todo::{Left, Membership, slot_of};
use crate::time::Now;

/// The reason why a connection is not given a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// The channel no longer exists.
    Gone,
    /// The rate limit of the channel, or the caller's share of it, is exceeded.
    Rate,
    /// The channel already has the maximum number of viewers.
    Full,
}

/// A connection's request for a slot of a channel.
pub(crate) struct SlotRequest {
    pub channel: ChannelKey,
    pub session: SessionKey,
    /// The slot that the connection requests.
    pub slot: Slot,
    /// The caller whose share of the channel's rate limit is charged, if any.
    pub caller: Option<CallerId>,
    /// The viewer to evict if the channel has reached its maximum number of viewers.
    pub payer: Option<SessionKey>,
}

impl Directory {
    /// Returns all viewers of a channel if the channel is full and `slot` is not among their slots. One of them can
    /// then be evicted.
    pub(crate) fn viewers_if_full(&self, key: ChannelKey, slot: &Slot) -> Option<Vec<SessionKey>> {
        let most = self.settings.limits.viewers_per_channel;
        let members = &self.channel(key)?.live()?.members;
        let may_pay = !self.settings.strict() && members.is_full_for(slot, most);
        may_pay.then(|| members.viewers_now())
    }

    /// Gives a connection the slot that it requests, if the rate limit of the channel and the caller's share of it
    /// permit this. If the connection is refused, nothing is charged.
    ///
    /// # Errors
    /// Fails as described in [`NoSlot`].
    pub(crate) fn take_slot(&mut self, request: SlotRequest, now: Now) -> Result<Joined, NoSlot> {
        let settings = &self.settings;
        let SlotRequest {
            channel: key,
            session,
            slot,
            caller,
            payer,
        } = request;
        let Some(channel) = self.channels.get_mut(key) else {
            return Err(NoSlot::Gone);
        };
        let what = match slot {
            Slot::Master => Metered::ConnectAsMaster,
            Slot::Viewer(_) => Metered::ConnectAsViewer,
        };
        let caller = caller.filter(|_| !settings.strict());
        if !channel.may(what, caller, &settings.quotas, now) {
            return Err(NoSlot::Rate);
        }
        let viewers_max = settings.limits.viewers_per_channel + usize::from(payer.is_some());
        let members = &mut channel.wake().members;
        let joined = members
            .join(slot, session, (viewers_max, &self.hasher), now)
            .map_err(|TableFull| NoSlot::Full)?;
        channel.count(what, caller, &settings.quotas, now);
        channel.connections += 1;
        if joined.superseded.is_some() && self.displaced.len() < DISPLACED_CHANNELS_MAX {
            self.displaced.insert(key);
        }
        Ok(joined)
    }

    /// Frees the slot of a connection that has left its channel. Returns the connection that regains the slot, if any.
    pub(crate) fn leave_slot(&mut self, left: &Left, now: Now) -> Option<SessionKey> {
        let end = left.end.as_ref()?;
        let (key, slot) = (left.member.channel, &slot_of(&left.member.role));
        let leaver = Leaver {
            session: left.member.session,
            // After an eviction, the slot stays free: no earlier connection regains it.
            brief: !end.heard
                && now.since(end.opened) <= BRIEF_MS
                && end.reason != EndReason::MadeRoom,
            spoke: end.spoke,
        };
        let channel = self.channels.get_mut(key)?;
        let is_watched = self.news.is_watched(channel.hooks);
        let live = channel.live_mut()?;
        let had = live.members.of(slot);
        let returning = live.members.leave(slot, leaver, left.from);
        if let Slot::Viewer(id) = slot
            && had == Some(leaver.session)
        {
            let closed = end.reason == EndReason::PeerClosed && !self.settings.strict();
            let until = closed.then(|| left.from.after(CLOSED_VIEWER_MS));
            (live.pending).set_closed(Towards::Master, id, until);
        }
        self.change_offers(key, |offers| match slot {
            Slot::Master => offers.take_from(leaver.session),
            Slot::Viewer(_) if end.reason == EndReason::PeerClosed => {
                offers.end_of(leaver.session);
            }
            Slot::Viewer(_) => {}
        });
        if is_watched && had == Some(leaver.session) {
            let cause = match (slot, returning) {
                (Slot::Master, None) => PresenceCause::MasterLeft,
                (Slot::Master, Some(_)) => PresenceCause::MasterReplaced,
                (Slot::Viewer(_), None) => PresenceCause::ViewerLeft,
                (Slot::Viewer(_), Some(_)) => PresenceCause::ViewerJoined,
            };
            self.news.changed(key, (cause, Some(end.reason.into())));
        }
        returning
    }

    /// Returns the channels that still have open superseded connections. Removes all other channels from the list.
    pub(crate) fn displaced(&mut self) -> impl Iterator<Item = &Channel> {
        let channels = &self.channels;
        let live = |key: &ChannelKey| channels.get(*key).and_then(Channel::live);
        self.displaced
            .retain(|key| live(key).is_some_and(|live| live.members.has_superseded()));
        self.displaced.iter().filter_map(|key| channels.get(*key))
    }

    /// Keeps a slot reserved for a connection that has been sent part of a message. The reservation ends when the rest
    /// has been sent, or at `until`.
    pub(crate) fn hold_slot(&mut self, by: &Membership, until: Now) {
        if let Some(channel) = self.channels.get_mut(by.channel) {
            let members = &mut channel.wake().members;
            members.hold(slot_of(&by.role), by.session, until);
        }
    }

    /// Returns the members of a channel, mutably; `None` if the channel is idle.
    pub(crate) fn members_mut(&mut self, key: ChannelKey) -> Option<&mut Members> {
        Some(&mut self.channels.get_mut(key)?.live_mut()?.members)
    }

    /// Returns the connections of a channel, including superseded ones.
    pub(crate) fn members(&self, key: ChannelKey) -> Vec<SessionKey> {
        let live = self.live(key);
        live.map_or_else(Vec::new, |live| live.members.all())
    }

    /// Decrements a channel's number of connections.
    pub(crate) fn connection_went(&mut self, key: ChannelKey) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.connections = channel.connections.saturating_sub(1);
        }
        self.rest(key);
    }

    /// Returns the account and the name of a channel that was removed before this connection closed. Forgets them when
    /// the last connection of the channel closes.
    pub(crate) fn former_channel(&mut self, channel: ChannelKey) -> Option<(Account, Box<str>)> {
        let (account, name, connections) = self.former.get_mut(&channel)?;
        let former = (*account, name.clone());
        *connections -= 1;
        if *connections == 0 {
            self.former.remove(&channel);
        }
        Some(former)
    }

    /// Records a change to a channel, and reports it to the channel's watchers.
    pub(crate) fn changed(&mut self, key: ChannelKey, change: Change) {
        self.polls.note(key, PollChange::State);
        let channel = self.channel(key);
        if channel.is_some_and(|channel| self.news.is_watched(channel.hooks)) {
            self.news.changed(key, change);
        }
    }

    /// Returns the minimum expiry of messages that are pending for a master, if the master is woken at `now`. Returns 0
    /// if no hook wakes the master of this channel.
    pub(crate) fn wake_expiry(&self, key: ChannelKey, now: Now) -> Now {
        let channel = self.channel(key);
        let wakes = channel.is_some_and(|channel| channel.hooks & self.waking != 0);
        if wakes {
            now.after(self.settings.presence.wake_ttl_ms)
        } else {
            Now(0)
        }
    }

    /// Frees the live state of a channel if the channel is idle.
    pub(crate) fn rest(&mut self, key: ChannelKey) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.rest();
        }
    }
}
