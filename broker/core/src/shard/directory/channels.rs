//! Looks up channels, lists their names in pages, and inserts, replaces and removes their records in the tables.

use crate::catalog::SharedCatalog;
use crate::channel::Live;
use crate::channel::alexa_calls::CallKind;
use crate::channel::endpoint_requests::EndpointRequests;
use crate::channel::rates::{Metered, RateKey};
use crate::channel::{Channel, Life, Route, Towards, unanswered::Unanswered};
use crate::check::Check;
use crate::id::{Account, ChannelKey, Identity, SessionKey, ShardId, Slot, TimerId};
use crate::limits::REWATCHED_PER_TURN;
use crate::presence::{Presence, PresenceCause};
use crate::record::{Holding, ListedChannel, NamedRecord, Record};
use crate::refusal::Refusal;
use crate::session::outbox::DeliveryMark;
use crate::settings::Settings;
use crate::shard::calls::responses::{RATE_EXCEEDED, absence_unknown, absent};
use crate::shard::context::Context;
use crate::shard::directory::permissions::CallerRole;
use crate::shard::todo::Todo;
use crate::shard::{Directory, PageQuestion, Query, QueryKind};
use crate::time::Now;
use codec::signal::{Action, Role};
use codec::{control::ChannelStatus, identifiers::ChannelArn};
use std::ops::Bound;
use std::sync::Arc;

impl Directory {
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the catalog, which contains the records of all shards in the process.
    pub(crate) fn catalog(&self) -> &dyn SharedCatalog {
        &*self.catalog
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    /// Returns whether the channel with this name belongs to `slot` and to this shard.
    pub(crate) fn is_home(&self, identity: &Identity, slot: Slot) -> bool {
        self.placement.shard(identity) == self.shard && self.placement.slot(identity) == Some(slot)
    }

    /// Returns whether this shard may use the channel with this name at `now`. Always `true` if slots do not move
    /// between nodes.
    pub(crate) fn serves(&self, identity: &Identity, now: Now) -> bool {
        let slots = self.slots.as_deref();
        slots.is_none_or(|slots| slots.serves(identity, now))
    }

    #[inline]
    pub(crate) fn channel(&self, key: ChannelKey) -> Option<&Channel> {
        self.channels.get(key)
    }

    /// Returns a channel's live state, or `None` if the channel is idle and has none.
    #[inline]
    pub(crate) fn live(&self, key: ChannelKey) -> Option<&Live> {
        self.channels.get(key)?.live()
    }

    /// Returns a mutable reference to a channel's live state, or `None` if the channel is idle and has none.
    pub(crate) fn live_mut(&mut self, key: ChannelKey) -> Option<&mut Live> {
        self.channels.get_mut(key)?.live_mut()
    }

    /// Returns the key of the channel with this name.
    pub(crate) fn key_of(&self, identity: &Identity) -> Option<ChannelKey> {
        self.names.get(identity.key()).copied()
    }

    pub(crate) fn named_channel(&self, identity: &Identity) -> Option<&Channel> {
        self.channel(self.key_of(identity)?)
    }

    /// Returns the channel with exactly this ARN, including the creation time. Does not find a channel that is still
    /// being created.
    pub(crate) fn find(&self, arn: &ChannelArn) -> Option<ChannelKey> {
        let key = self.key_of(&Identity::of(arn))?;
        let found =
            |channel: &&Channel| channel.record.arn == *arn && channel.state != Life::Creating;
        self.channel(key).filter(found).map(|_| key)
    }

    /// Returns the active channel with this ARN, if any.
    pub(crate) fn find_active(&self, arn: &ChannelArn) -> Option<ChannelKey> {
        self.find(arn).filter(|key| self.is_active(*key))
    }

    pub(crate) fn is_active(&self, key: ChannelKey) -> bool {
        let channel = self.channel(key);
        channel.is_some_and(|channel| channel.state == Life::Active)
    }

    /// Returns the channel to which a query refers, if that channel exists.
    pub(crate) fn channel_of(&self, kind: &QueryKind) -> Option<ChannelKey> {
        match kind {
            QueryKind::Look(identity, None)
            | QueryKind::Offer {
                identity,
                arn: None,
                ..
            } => self.key_of(identity),
            QueryKind::Look(_, Some(arn))
            | QueryKind::Change(arn, _)
            | QueryKind::Offer { arn: Some(arn), .. } => self.find(arn),
            QueryKind::Create(..) => None,
        }
    }

    /// Returns the error for a channel that does not exist or is not active. It is the same in both cases. `arn` is the
    /// ARN in the request, if any.
    ///
    /// SDKs create a channel when told that it does not exist. Therefore, if the channel may exist on another node, the
    /// error asks the client to try again.
    pub(crate) fn not_found(&self, identity: &Identity, arn: Option<&ChannelArn>) -> Refusal {
        let slots = self.slots.as_deref();
        if slots.is_some_and(|slots| !slots.map.knows_absence()) {
            return absence_unknown();
        }
        let channel = self.named_channel(identity);
        let check = match channel.map(|channel| (channel, channel.state)) {
            None | Some((_, Life::Creating)) => Check::ChannelAbsent,
            Some((channel, Life::Active | Life::Deleting))
                if arn.is_some_and(|arn| channel.record.arn != *arn) =>
            {
                Check::ChannelStaleArn
            }
            Some((_, Life::Deleting)) => Check::ChannelDeleting,
            Some((_, Life::Active)) => Check::ChannelAbsent,
        };
        absent(check)
    }

    /// Returns the ARNs and keys of this shard's channels, sorted by region, account and name, starting at `first`.
    pub(crate) fn names_from<'d>(
        &'d self,
        first: Bound<&str>,
    ) -> impl Iterator<Item = (&'d ChannelArn, ChannelKey)> + use<'d> {
        let names = self.names.range::<str, _>((first, Bound::Unbounded));
        names.map(|(NamedRecord(record), key)| (&record.arn, *key))
    }

    /// Returns the number of channels on this shard, including those being created or deleted.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Returns an account's number of channels on this shard, and the total size of their records in bytes.
    pub(crate) fn held_by(&self, tenant: &str) -> Holding {
        self.holdings.of_tenant(tenant)
    }

    /// Returns the `region:account:` prefixes of all accounts with channels on this shard, sorted.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.holdings.tenants()
    }

    pub(crate) fn record_bytes(&self) -> u64 {
        self.holdings.bytes()
    }

    /// Counts a call towards its channel's rate limit and the caller's share of it. Returns the refusal if either is
    /// exceeded. Calls to a channel that does not exist are not limited.
    pub(crate) fn over_rate(&mut self, cx: &mut Context, query: &Query) -> Option<Refusal> {
        let what = query.metered();
        what.rate(&self.settings.quotas)?;
        let key = self.channel_of(&query.kind)?;
        let arn = &self.channel(key)?.record.arn;
        let caller = query.caller.as_ref();
        let role = caller
            .filter(|_| !self.settings.strict())
            .map_or(CallerRole::Anyone, |caller| self.role(cx, caller, arn));
        let what = match (role, what) {
            (CallerRole::Master, Metered::Call(operation)) => Metered::CallAsMaster(operation),
            (_, what) => what,
        };
        let channel = self.channels.get_mut(key)?;
        let caller = role.caller();
        if channel.count(RateKey { what, caller }, &self.settings.quotas, cx.at.now) {
            cx.todo.push(Todo::Arm(key));
            return None;
        }
        let check = if what == Metered::ConnectAsViewer {
            Check::RateConnect
        } else {
            Check::RateChannel
        };
        Some(Refusal::limited(check, RATE_EXCEEDED))
    }

    /// Returns the recent requests for a channel's endpoint, by caller.
    pub(crate) fn endpoint_requests(&mut self, key: ChannelKey) -> Option<&mut EndpointRequests> {
        let channel = self.channels.get_mut(key);
        channel.map(|channel| &mut **channel.endpoint_requests.get_or_insert_default())
    }

    /// Returns a channel's timer and the next deadline for which to arm it.
    pub(crate) fn timer_of(
        &mut self,
        key: ChannelKey,
        now: Now,
    ) -> Option<(&mut TimerId, Option<Now>)> {
        let channel = self.channels.get_mut(key)?;
        let next = channel.next_due(&self.settings.quotas, now);
        Some((&mut channel.timer, next))
    }

    /// Calls `each` with every channel's timer and next deadline.
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
    /// Inserts a record into the tables. The name must be free, and the catalog must already count the record. If the
    /// table is full, returns `None`, and the catalog no longer counts the record.
    pub(crate) fn insert_channel(&mut self, record: Record, state: Life) -> Option<ChannelKey> {
        let (whose, bytes) = (Identity::of(&record.arn), record.bytes());
        let Some((name, key)) = self.put(record, state) else {
            (self.catalog).ask(|catalog| catalog.holdings.went(whose.tenant(), bytes));
            return None;
        };
        self.names.insert(name, key);
        self.publish(key);
        Some(key)
    }

    /// Publishes a channel's record and status in the catalog, unless the channel is still being created.
    pub(crate) fn publish(&self, key: ChannelKey) {
        let channel = self.channels.get(key);
        if let Some((channel, status)) = channel.and_then(|it| Some((it, status(it)?))) {
            let record = Arc::clone(&channel.record);
            self.catalog.ask(|catalog| catalog.put(record, status));
        }
    }

    /// Inserts a record into all of this shard's tables except the name table. Returns `None` if the channel table is
    /// full.
    pub(crate) fn put(&mut self, record: Record, state: Life) -> Option<(NamedRecord, ChannelKey)> {
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

    /// Activates a channel after its creation has become durable or its deletion has failed.
    pub(crate) fn activate(&mut self, key: ChannelKey) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.state = Life::Active;
        }
        self.publish(key);
    }

    /// Replaces a channel's record. From then on, only the new record's bytes are counted.
    pub(crate) fn replace_record(&mut self, key: ChannelKey, next: Record) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let (before, after) = (channel.record.bytes(), next.bytes());
        channel.record = Arc::new(next);
        // The map's key contains the record, so the entry must be replaced.
        let name = NamedRecord(Arc::clone(&channel.record));
        self.names.remove(&name);
        self.names.insert(name, key);
        self.publish(key);
        self.watch_again(key);
        self.recount(key, before.max(after), after);
    }

    /// Returns when [`Self::rewatch_step`] is due: immediately if there are channels left to look up, and otherwise
    /// never.
    pub(crate) fn rewatch_due(&self) -> Option<Now> {
        self.rewatch.map(|_| Now(0))
    }

    /// Looks up the hooks of the next batch of channels, after the configured hooks have changed.
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

    /// Looks up the hooks that watch a channel, after its record or the configured hooks have changed. A hook that no
    /// longer watches the channel receives one last report.
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

    /// Releases the bytes reserved for a new record that will not be used.
    pub(crate) fn not_replaced(&mut self, key: ChannelKey, next: &Record) {
        if let Some(channel) = self.channels.get(key) {
            let own = channel.record.bytes();
            self.recount(key, own.max(next.bytes()), own);
        }
    }

    /// Updates the counted size of a channel's record from `before` to `after`, on this shard and in the catalog.
    fn recount(&mut self, key: ChannelKey, before: usize, after: usize) {
        let channel = self.channels.get(key).filter(|_| before != after);
        if let Some(channel) = channel {
            let identity = Identity::of(&channel.record.arn);
            self.holdings.change(identity.tenant(), before, after);
            let tenant = identity.tenant();
            (self.catalog).ask(|catalog| catalog.holdings.change(tenant, before, after));
        }
    }

    /// Removes a channel from all tables, which frees its name and withdraws its pending messages. Its account and name
    /// remain available until its connections have closed.
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
    /// Reports to watchers that a channel that is being removed has no clients. Reports nothing if the channel moves
    /// with its slot, because the slot's next owner reports the presence.
    fn parted(&mut self, key: ChannelKey, channel: &Channel) {
        let had_anybody = channel.live().is_some() || channel.connections > 0;
        // An earlier report that nobody is connected may still be unsent, so watchers may believe that somebody is.
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

    /// Returns a channel's presence epoch, and its slot if slots can move between nodes. Returns `None` if the slot is
    /// not on this shard.
    pub(crate) fn presence_epoch(&self, identity: &Identity) -> Option<(Option<Slot>, u64)> {
        match &self.slots {
            None => Some((None, self.epoch)),
            Some(slots) => slots.presence_epoch(identity),
        }
    }
}

impl Directory {
    /// Accepts a message from a member of a channel: from the viewer `viewer`, or from the master if `viewer` is
    /// `None`. Returns the message's route and mark, or `None` if the channel no longer exists. The flag tells whether
    /// other messages were held back because of an offer that this message answers or replaces. These can now be
    /// delivered. See [`crate::shard::road`].
    #[inline(always)]
    pub(crate) fn accept(
        &mut self,
        key: ChannelKey,
        (from, viewer): (SessionKey, Option<&str>),
        (action, recipient): (Action, &str),
        now: Now,
    ) -> Option<(Route, DeliveryMark, bool)> {
        let repeats = self.settings.signaling.repeat_offers_ms > 0;
        let channel = self.channels.get_mut(key)?;
        let expires = channel.expiry(now);
        let live = channel.wake();
        let order = live.next_order();
        let (role, viewer, sender_bytes) = match viewer {
            None => (Role::Master, recipient, 0),
            Some(id) => (Role::Viewer, id, id.len()),
        };
        // The route must be determined first: a newer offer is routed behind messages held back because of the older
        // offer, even if that offer has since ended.
        let mut route = live.route(role, action, viewer);
        if route == Route::Keep(Towards::Viewer)
            && action != Action::SdpOffer
            && live.members.viewer(viewer).is_none()
        {
            // A viewer may use the same client id that an Alexa call used, so an answer may be for that viewer. No
            // viewer has a player's id.
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
        let mark = DeliveryMark {
            from: (role == Role::Viewer).then_some(from),
            follows,
            ..DeliveryMark::new(action, order, expires, sender_bytes)
        };
        Some((route, mark, releases == Some(true)))
    }

    /// Returns the next position in a channel's order of acceptance. Used for messages that another node transferred.
    pub(crate) fn next_order(&mut self, key: ChannelKey) -> Option<u64> {
        let channel = self.channels.get_mut(key)?;
        Some(channel.wake().next_order())
    }
}

/// Returns a channel's status from the clients' point of view, or `None` while the channel is being created.
pub(crate) fn status(channel: &Channel) -> Option<ChannelStatus> {
    match channel.state {
        Life::Creating => None,
        Life::Active => Some(ChannelStatus::Active),
        Life::Deleting => Some(ChannelStatus::Deleting),
    }
}

// Paging through channel names.

impl Directory {
    /// Returns a page of all shards' channels, and whether more channels follow.
    pub(crate) fn page(&mut self, question: &PageQuestion) -> (Vec<ListedChannel>, bool) {
        let PageQuestion {
            prefix,
            after,
            limit,
        } = question;
        let (page, more) = self.catalog.page(prefix, after.as_deref(), *limit);
        self.pages.records += page.len() as u64 + u64::from(more);
        (page, more)
    }
}
