//! Channel members: how connections take, keep and release the slots of a channel. A channel has one slot for the
//! master and one for each viewer. See invariant 3 of `ARCHITECTURE.md`.

use crate::channel::members::{Joined, Leaver, Members, TableFull};
use crate::channel::rates::{Metered, RateKey};
use crate::channel::{Channel, Towards};
use crate::id::{Account, CallerId, ChannelKey, Role, SessionKey};
use crate::journal::EndReason;
use crate::limits::{BRIEF_MS, CLOSED_VIEWER_MS, DISPLACED_CHANNELS_MAX};
use crate::presence::{Change, PresenceCause};
use crate::shard::calls::responses::{RATE_EXCEEDED, absent};
use crate::shard::directory::Directory;
use crate::shard::directory::waiting_callers::PollChange;
use crate::shard::todo::{Left, Membership};
use crate::{check::Check, refusal::Refusal, time::Now};

/// A connection's request for a channel slot.
pub(crate) struct SlotRequest {
    pub channel: ChannelKey,
    pub session: SessionKey,
    /// The requested slot.
    pub slot: Role,
    /// The caller whose share of the channel's rate limit is charged, if any.
    pub caller: Option<CallerId>,
    /// The viewer to evict if the channel already has the maximum number of viewers.
    pub payer: Option<SessionKey>,
}

impl Directory {
    /// Returns all viewers of a channel if it is full and none of them holds `slot`, so that one of them can be
    /// evicted. Returns `None` otherwise, and always under the strict profile.
    pub(crate) fn viewers_if_full(&self, key: ChannelKey, slot: &Role) -> Option<Vec<SessionKey>> {
        let most = self.settings.limits.viewers_per_channel;
        let members = &self.channel(key)?.live()?.members;
        let may_pay = !self.settings.strict() && members.is_full_for(slot, most);
        may_pay.then(|| members.viewers_now())
    }

    /// Gives a connection the slot that it requests, if the rate limit of the channel and the caller's share of it
    /// permit this. If the connection is refused, nothing is charged.
    ///
    /// # Errors
    /// Returns the refusal if the channel is gone or full, or if a rate limit is exceeded.
    pub(crate) fn take_slot(&mut self, request: SlotRequest, now: Now) -> Result<Joined, Refusal> {
        let (settings, key) = (&self.settings, request.channel);
        let Some(channel) = self.channels.get_mut(key) else {
            return Err(absent(Check::ChannelAbsent));
        };
        let what = match request.slot {
            Role::Master => Metered::ConnectAsMaster,
            Role::Viewer(_) => Metered::ConnectAsViewer,
        };
        let caller = request.caller.filter(|_| !settings.strict());
        let key_of_rate = RateKey { what, caller };
        if !channel.may(key_of_rate, &settings.quotas, now) {
            return Err(Refusal::limited(Check::RateConnect, RATE_EXCEEDED));
        }
        let more = usize::from(request.payer.is_some());
        let bounds = (settings.limits.viewers_per_channel + more, &self.hasher);
        let members = &mut channel.wake().members;
        let joined = members.join(request.slot, request.session, bounds, now);
        let joined = joined.map_err(|TableFull| {
            let message = "The channel has reached its limit of viewers.";
            Refusal::limited(Check::ViewersFull, message)
        })?;
        channel.count(key_of_rate, &settings.quotas, now);
        channel.connections += 1;
        if joined.superseded.is_some() && self.displaced.len() < DISPLACED_CHANNELS_MAX {
            self.displaced.insert(key);
        }
        Ok(joined)
    }

    /// Frees the slot of a connection that has left its channel. Returns the connection that regains the slot, if any.
    pub(crate) fn leave_slot(&mut self, left: &Left, now: Now) -> Option<SessionKey> {
        let end = left.end.as_ref()?;
        let (key, slot) = (left.member.channel, &left.member.role);
        let leaver = Leaver {
            session: left.member.session,
            // After an eviction, the slot stays free. No earlier connection regains it.
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
        if let Role::Viewer(id) = slot
            && had == Some(leaver.session)
        {
            let closed = end.reason == EndReason::PeerClosed && !self.settings.strict();
            let until = closed.then(|| left.from.after(CLOSED_VIEWER_MS));
            (live.pending).set_closed(Towards::Master, id, until);
        }
        self.change_offers(key, |offers| match slot {
            Role::Master => offers.take_from(leaver.session),
            Role::Viewer(_) if end.reason == EndReason::PeerClosed => {
                offers.end_of(leaver.session);
            }
            Role::Viewer(_) => {}
        });
        if is_watched && had == Some(leaver.session) {
            let cause = match (slot, returning) {
                (Role::Master, None) => PresenceCause::MasterLeft,
                (Role::Master, Some(_)) => PresenceCause::MasterReplaced,
                (Role::Viewer(_), None) => PresenceCause::ViewerLeft,
                (Role::Viewer(_), Some(_)) => PresenceCause::ViewerJoined,
            };
            self.news.changed(key, (cause, Some(end.reason.into())));
        }
        returning
    }

    /// Returns the channels on which superseded connections are still open. Removes all other channels from the list.
    pub(crate) fn displaced(&mut self) -> impl Iterator<Item = &Channel> {
        let channels = &self.channels;
        let live = |key: &ChannelKey| channels.get(*key).and_then(Channel::live);
        self.displaced
            .retain(|key| live(key).is_some_and(|live| live.members.has_superseded()));
        self.displaced.iter().filter_map(|key| channels.get(*key))
    }

    /// Reserves a slot for a connection to which part of a message was sent. The reservation ends when the rest has
    /// been sent, or at `until`.
    pub(crate) fn hold_slot(&mut self, by: &Membership, until: Now) {
        if let Some(channel) = self.channels.get_mut(by.channel) {
            let members = &mut channel.wake().members;
            members.hold(by.role.clone(), by.session, until);
        }
    }

    /// Returns a mutable reference to a channel's members, or `None` if the channel is idle.
    pub(crate) fn members_mut(&mut self, key: ChannelKey) -> Option<&mut Members> {
        Some(&mut self.channels.get_mut(key)?.live_mut()?.members)
    }

    /// Returns a channel's connections, including superseded ones.
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

    /// Returns the account and name of a channel that was removed before this connection closed. Drops them when the
    /// channel's last connection closes.
    pub(crate) fn former_channel(&mut self, channel: ChannelKey) -> Option<(Account, Box<str>)> {
        let (account, name, connections) = self.former.get_mut(&channel)?;
        let former = (*account, name.clone());
        *connections -= 1;
        if *connections == 0 {
            self.former.remove(&channel);
        }
        Some(former)
    }

    /// Records a change to a channel, and reports it to the watchers of the channel.
    pub(crate) fn changed(&mut self, key: ChannelKey, change: Change) {
        self.polls.note(key, PollChange::State);
        let channel = self.channel(key);
        if channel.is_some_and(|channel| self.news.is_watched(channel.hooks)) {
            self.news.changed(key, change);
        }
    }

    /// Returns the earliest time at which messages pending for a master may expire if the master is woken at `now`.
    /// Returns 0 if no hook can wake this channel's master.
    pub(crate) fn wake_expiry(&self, key: ChannelKey, now: Now) -> Now {
        let channel = self.channel(key);
        let wakes = channel.is_some_and(|channel| channel.hooks & self.waking != 0);
        if wakes {
            now.after(self.settings.presence.wake_ttl_ms)
        } else {
            Now(0)
        }
    }

    /// Frees a channel's live state if the channel is idle.
    pub(crate) fn rest(&mut self, key: ChannelKey) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.rest();
        }
    }
}
