//! Lookups of channels, pages of their names, and their lifecycle in the tables: records are inserted, replaced and
//! removed.

use crate::catalog::SharedCatalog;
use crate::channel::alexa_calls::CallKind;
use crate::channel::endpoint_requests::EndpointRequests;
use crate::channel::rates::Metered;
use crate::channel::{Channel, Life, Route, Towards, unanswered::Unanswered};
use crate::id::{Account, CallerId, ChannelKey, Identity, SessionKey, ShardId, Slot, TimerId};
use crate::limits::REWATCHED_PER_TURN;
use crate::presence::{Presence, PresenceCause};
use crate::record::{Holding, ListedChannel, NamedRecord, Record};
use crate::settings::Settings;
use crate::shard::Directory;
use crate::shard::PageQuestion;
use crate::shard::context::Context;
use crate::shard::directory::slots::DirectorySlots;
use crate::shard::directory::waiting_callers::{Lists, PageTurn};
use crate::time::Now;
use codec::signal::{Action, Role};
use codec::{control::ChannelStatus, identifiers::ChannelArn};
use std::ops::Bound;
use std::sync::Arc;

impl Directory {
    /// The configuration.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Records of all shards of the process.
    pub(crate) fn catalog(&self) -> &dyn SharedCatalog {
        &*self.catalog
    }

    /// The id of this shard.
    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    /// Whether this shard is the home of channels with this name, in this slot.
    pub(crate) fn is_home(&self, identity: &Identity, slot: Slot) -> bool {
        self.placement.shard(identity) == self.shard && self.placement.slot(identity) == Some(slot)
    }

    /// The slots of this shard, if slots move between nodes.
    pub(crate) fn slots(&self) -> Option<&DirectorySlots> {
        self.slots.as_deref()
    }

    /// The slots of this shard, mutable.
    pub(crate) fn slots_mut(&mut self) -> Option<&mut DirectorySlots> {
        self.slots.as_deref_mut()
    }

    /// Whether channels with this name may be used here at `now`: always, if slots do not move.
    pub(crate) fn serves(&self, identity: &Identity, now: Now) -> bool {
        let slots = self.slots();
        slots.is_none_or(|slots| slots.serves(identity, now))
    }

    /// The channel with this key.
    #[inline]
    pub(crate) fn channel(&self, key: ChannelKey) -> Option<&Channel> {
        self.channels.get(key)
    }

    /// The key of the channel with this name.
    pub(crate) fn key_of(&self, identity: &Identity) -> Option<ChannelKey> {
        self.names.get(identity.key()).copied()
    }

    /// The channel with this name.
    pub(crate) fn named_channel(&self, identity: &Identity) -> Option<&Channel> {
        self.channel(self.key_of(identity)?)
    }

    /// Channels in the order of their names, from `first` on: their ARNs and keys.
    pub(crate) fn names_from<'d>(
        &'d self,
        first: Bound<&str>,
    ) -> impl Iterator<Item = (&'d ChannelArn, ChannelKey)> + use<'d> {
        let names = self.names.range::<str, _>((first, Bound::Unbounded));
        names.map(|(NamedRecord(record), key)| (&record.arn, *key))
    }

    /// Number of channels, including those being created or deleted.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Number of channels of an account, and the bytes of their records.
    pub(crate) fn held_by(&self, tenant: &str) -> Holding {
        self.holdings.of_tenant(tenant)
    }

    /// The accounts that have channels, as sorted `region:account:` prefixes.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.holdings.tenants()
    }

    /// Total bytes of all records.
    pub(crate) fn record_bytes(&self) -> u64 {
        self.holdings.bytes()
    }

    /// Bytes of all records of the process and their limit, if they have exceeded it since the last call.
    pub(crate) fn record_bytes_exceeded(&mut self) -> Option<(u64, usize)> {
        let most = self.settings.limits.record_bytes_total;
        let exceeded = self.catalog.ask(|catalog| catalog.holdings.exceeded(most));
        Some((exceeded?, most))
    }

    /// Counts a call against the channel's rate and its caller's share; false, with nothing counted, when a rate is
    /// exceeded.
    pub(crate) fn count_call(
        &mut self,
        key: ChannelKey,
        (what, caller): (Metered, Option<CallerId>),
        now: Now,
    ) -> bool {
        let channel = self.channels.get_mut(key);
        channel.is_some_and(|channel| channel.count(what, caller, &self.settings.quotas, now))
    }

    /// Recent endpoint requests for a channel, by caller.
    pub(crate) fn endpoint_requests(&mut self, key: ChannelKey) -> Option<&mut EndpointRequests> {
        let channel = self.channels.get_mut(key);
        channel.map(|channel| &mut **channel.endpoint_requests.get_or_insert_default())
    }

    /// A channel's entry in the timer wheel, and its next deadline.
    pub(crate) fn timer_of(
        &mut self,
        key: ChannelKey,
        now: Now,
    ) -> Option<(&mut TimerId, Option<Now>)> {
        let channel = self.channels.get_mut(key)?;
        let next = channel.next_due(&self.settings.quotas, now);
        Some((&mut channel.timer, next))
    }

    /// Visits the timer of every channel.
    #[cfg(feature = "testing")]
    pub(crate) fn each_timer(&mut self, now: Now, mut each: impl FnMut(&TimerId, Option<Now>)) {
        for number in 0..self.channels.slots() {
            let key = self.channels.at(number);
            if let Some((timer, next)) = key.and_then(|key| self.timer_of(key, now)) {
                each(timer, next);
            }
        }
    }
}

impl Directory {
    /// Inserts a record, which the catalog has counted, into the tables; no channel with its name may exist. `None`
    /// when there is no room: the catalog no longer counts it then.
    pub(crate) fn insert_channel(&mut self, record: Record, state: Life) -> Option<ChannelKey> {
        let (whose, bytes) = (Identity::of(&record.arn), record.bytes());
        let Some((name, key)) = self.put_channel(record, state) else {
            (self.catalog).ask(|catalog| catalog.holdings.went(whose.tenant(), bytes));
            return None;
        };
        self.names.insert(name, key);
        self.publish(key);
        Some(key)
    }

    /// Publishes a channel's record and status, unless it is still being created.
    pub(crate) fn publish(&self, key: ChannelKey) {
        let channel = self.channels.get(key);
        if let Some((channel, status)) = channel.and_then(|it| Some((it, status(it)?))) {
            let record = Arc::clone(&channel.record);
            self.catalog.ask(|catalog| catalog.put(record, status));
        }
    }

    /// Inserts a record into all tables except the table of names.
    pub(crate) fn put_channel(
        &mut self,
        record: Record,
        state: Life,
    ) -> Option<(NamedRecord, ChannelKey)> {
        let (identity, holding) = (Identity::of(&record.arn), record.holding());
        let mut channel = Channel::new(record, state);
        let record = &channel.record;
        channel.hooks = self.settings.hooks_of(record.arn.name(), &record.tags);
        let name = NamedRecord(Arc::clone(record));
        let key = self.channels.insert(channel).ok()?;
        if let Some(slots) = &mut self.slots {
            slots.channel_came(&identity, key);
        }
        self.holdings.add(identity.tenant(), holding);
        Some((name, key))
    }

    /// Activates a channel: its creation is durable, or its deletion failed.
    pub(crate) fn activate(&mut self, key: ChannelKey) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.state = Life::Active;
        }
        self.publish(key);
    }

    /// Replaces a channel's record; from now on only the new record's bytes are counted.
    pub(crate) fn replace_record(&mut self, key: ChannelKey, next: Record) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let (before, after) = (channel.record.bytes(), next.bytes());
        channel.record = Arc::new(next);
        // The key is the record itself.
        let name = NamedRecord(Arc::clone(&channel.record));
        self.names.remove(&name);
        self.names.insert(name, key);
        self.publish(key);
        self.watch_again(key);
        self.recount(key, before.max(after), after);
    }

    /// When the hooks of the next channels are looked up again.
    pub(crate) fn rewatch_due(&self) -> Option<Now> {
        self.rewatch.map(|_| Now(0))
    }

    /// Looks up the hooks of the next channels after the hooks have changed.
    pub(crate) fn rewatch_step(&mut self) {
        let Some(from) = self.rewatch else { return };
        let to = self.channels.slots().min(from + REWATCHED_PER_TURN);
        for place in from..to {
            if let Some(key) = self.channels.at(place) {
                self.watch_again(key);
            }
        }
        self.rewatch = (to < self.channels.slots()).then_some(to);
    }

    /// Looks up the hooks of a channel whose record or hooks have changed. Hooks that no longer watch it are sent a
    /// final state.
    fn watch_again(&mut self, key: ChannelKey) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let record = &channel.record;
        let hooks = self.settings.hooks_of(record.arn.name(), &record.tags);
        let (more, less) = (hooks & !channel.hooks, channel.hooks & !hooks);
        let is_told = channel.live().is_some() && (more | less) != 0;
        channel.hooks = hooks;
        if is_told && less != 0 {
            let last = Presence::nobody(&channel.record, less, PresenceCause::Unwatched);
            let arn = channel.record.arn.clone();
            self.told_last(key, &arn, last);
        }
        if is_told && self.news.is_watched(hooks) {
            self.news.changed(key, (PresenceCause::Watched, None));
        }
    }

    /// Counts the growth by a record that is to replace a channel's, as the catalog does.
    pub(crate) fn reserve_record(&mut self, next: &Record, before: usize) {
        let identity = Identity::of(&next.arn);
        (self.holdings).change(identity.tenant(), before, next.bytes());
    }

    /// Releases bytes reserved for a record that does not replace a channel's.
    pub(crate) fn not_replaced(&mut self, key: ChannelKey, next: &Record) {
        if let Some(channel) = self.channels.get(key) {
            let own = channel.record.bytes();
            self.recount(key, own.max(next.bytes()), own);
        }
    }

    /// Changes the counted bytes of a channel from `before` to `after`.
    fn recount(&mut self, key: ChannelKey, before: usize, after: usize) {
        let channel = self.channels.get(key).filter(|_| before != after);
        if let Some(channel) = channel {
            let identity = Identity::of(&channel.record.arn);
            self.holdings.change(identity.tenant(), before, after);
            let tenant = identity.tenant();
            (self.catalog).ask(|catalog| catalog.holdings.change(tenant, before, after));
        }
    }

    /// Removes a channel from all tables: its name is released, and its pending messages are withdrawn. Its account and
    /// name are remembered until its connections are gone.
    pub(crate) fn remove_channel(&mut self, cx: &mut Context, key: ChannelKey) -> Option<Channel> {
        let channel = self.channels.remove(key)?;
        self.parted(key, &channel);
        let (arn, bytes) = (&channel.record.arn, channel.record.bytes());
        let identity = Identity::of(arn);
        if self.names.remove(arn.identity()).is_some() {
            self.holdings.went(identity.tenant(), bytes);
            self.catalog.ask(|catalog| {
                catalog.remove(arn);
                catalog.holdings.went(identity.tenant(), bytes);
            });
        }
        if channel.connections > 0 {
            let former = (Account::of(arn), arn.name().into(), channel.connections);
            self.former.insert(key, former);
        }
        self.kept_withdrawn(cx, key, &channel);
        if let Some(slots) = &mut self.slots {
            slots.channel_went(&identity, key);
        }
        Some(channel)
    }
}

impl Directory {
    /// Reports the end of a watched channel that was in use. If the channel moves with its slot, the next owner of the
    /// slot reports its presence instead.
    fn parted(&mut self, key: ChannelKey, channel: &Channel) {
        let had_anybody = channel.live().is_some() || channel.connections > 0;
        // Nobody is there, but that found no room yet: those who watch know somebody still.
        let is_untold = self.news.is_untold(key);
        if (had_anybody || is_untold) && self.news.is_watched(channel.hooks) {
            let last = Presence::nobody(&channel.record, channel.hooks, PresenceCause::Deleted);
            self.told_last(key, &channel.record.arn, last);
        }
    }

    fn told_last(&mut self, key: ChannelKey, arn: &ChannelArn, mut last: Presence) {
        match self.presence_epoch(&Identity::of(arn)) {
            Some(epoch) => {
                (last.slot, last.epoch) = epoch;
                self.news.parted(key, Box::new(last));
            }
            None => self.news.forget(key),
        }
    }

    /// The presence epoch of a channel, with its slot if it has one; `None` if that slot is absent.
    pub(crate) fn presence_epoch(&self, identity: &Identity) -> Option<(Option<Slot>, u64)> {
        match &self.slots {
            None => Some((None, self.epoch)),
            Some(slots) => slots.presence_epoch(identity),
        }
    }
}

/// A message accepted by its channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    /// Position in the channel's order of acceptance.
    pub(crate) order: u64,
    /// When the message expires.
    pub(crate) expires: Now,
    pub(crate) route: Route,
    /// Whether messages were withheld because of an offer that this message answers or replaces.
    pub(crate) releases: bool,
    /// See [`crate::session::outbox::DeliveryMark`].
    pub(crate) follows: bool,
}

impl Directory {
    /// Accepts a message from a member with this role; `None` when the channel is gone. See [`crate::shard::road`].
    #[inline(always)]
    pub(crate) fn accept(
        &mut self,
        key: ChannelKey,
        (from, viewer): (SessionKey, Option<&str>),
        (action, recipient): (Action, &str),
        now: Now,
    ) -> Option<Accepted> {
        let repeats = self.settings.signaling.repeat_offers_ms > 0;
        let channel = self.channels.get_mut(key)?;
        let expires = channel.expiry(now);
        let live = channel.wake();
        let order = live.next_order();
        let (role, viewer) = match viewer {
            None => (Role::Master, recipient),
            Some(id) => (Role::Viewer, id),
        };
        // First: a newer offer follows what waits for the older one, even if that is over.
        let mut route = live.route(role, action, viewer);
        if route == Route::Keep(Towards::Viewer)
            && action != Action::SdpOffer
            && live.members.viewer(viewer).is_none()
        {
            // An answer to Alexa's id may be for a viewer of that name; to a player's it is for nobody.
            let ended = self.waits.ended_kind(key, viewer, now);
            if ended == Some(CallKind::Player) || ended.is_some() && action == Action::IceCandidate
            {
                route = Route::ForCall;
            }
        }
        let follows =
            role == Role::Viewer && action == Action::IceCandidate && live.unanswered.is_of(viewer);
        let releases = match role {
            Role::Master if !live.unanswered.is_empty() => {
                self.change_offers(key, |offers| offers.end(viewer))
            }
            Role::Viewer if action == Action::SdpOffer && repeats => {
                let begin = |offers: &mut Unanswered| offers.begin(viewer, from, (order, expires));
                self.change_offers(key, begin)
            }
            Role::Master | Role::Viewer => None,
        };
        Some(Accepted {
            order,
            expires,
            route,
            releases: releases == Some(true),
            follows,
        })
    }

    /// The next position in a channel's order of acceptance, for a message that arrives in a parcel.
    pub(crate) fn next_order(&mut self, key: ChannelKey) -> Option<u64> {
        let channel = self.channels.get_mut(key)?;
        Some(channel.wake().next_order())
    }
}

/// A channel's status for callers; `None` while it is still being created.
pub(crate) fn status(channel: &Channel) -> Option<ChannelStatus> {
    match channel.state {
        Life::Creating => None,
        Life::Active => Some(ChannelStatus::Active),
        Life::Deleting => Some(ChannelStatus::Deleting),
    }
}

// Pages of the channels' names: the lists that wait for them, and what a page has of this shard's channels.

impl Directory {
    /// The budget of the current turn for list pages, and the queued page work.
    pub(crate) fn page_turn(&mut self) -> &mut PageTurn {
        &mut self.pages
    }

    /// The lists that callers of this shard await.
    pub(crate) fn lists(&mut self) -> &mut Lists {
        &mut self.lists
    }

    /// Whether lists are queued, in which case a tick is due at once.
    pub(crate) fn has_pages_due(&self) -> bool {
        self.lists.due()
    }

    /// Number of channel records read for list pages since the start.
    pub(crate) fn records_read(&self) -> u64 {
        self.pages.records
    }

    /// Counts channel records read for a list page.
    pub(crate) fn count_read(&mut self, records: usize) {
        self.pages.records += records as u64;
    }

    /// Page of the channels of all shards, and whether there are more.
    pub(crate) fn page(&mut self, question: &PageQuestion) -> (Vec<ListedChannel>, bool) {
        let PageQuestion {
            prefix,
            after,
            limit,
        } = question;
        let (page, more) = self.catalog.page(prefix, after.as_deref(), *limit);
        self.count_read(page.len() + usize::from(more));
        (page, more)
    }
}
