//! Pending messages of a shard's channels, their limit, and the choice of the channel to evict from when it is reached.
//! Also pending calls.

use crate::channel::alexa_calls::{CallKind, Calls, Waiting};
use crate::channel::members::Slot;
use crate::channel::pending::{Full, KeyName, Message, Room};
use crate::channel::players::Player;
use crate::channel::unanswered::Unanswered;
use crate::channel::{Channel, Live, Towards};
use crate::event::{Kind, Outcome};
use crate::id::{Account, CallRef, CallerId, ChannelKey, SessionKey};
use crate::limits::ENDED_PLAYER_MS;
use crate::session::outbox::Unsent;
use crate::shard::context::Context;
use crate::shard::directory::waiting_callers::{Call, CallRoom, EndedCall, PollChange};
use crate::shard::flight_recorder::{NotedMessage, Passage};
use crate::shard::{Directory, Shares, Telemetry};
use crate::{journal::Unaccepted, presence::PresenceCause, time::Moment, time::Now};
use codec::signal::{Action, Delivery};
use codec::whep::Fault;
use std::collections::{BTreeSet, VecDeque};

impl Directory {
    /// Returns the bytes of pending messages per account and channel.
    pub(crate) fn queued(&self) -> &Shares {
        &self.kept.shares
    }

    /// Stores a pending message if there is room, dropping overwritten and evicted messages. The caller must count the
    /// message in the gauge of pending messages, before or after the call.
    ///
    /// # Errors
    /// Returns [`Full`] if the channel is full, or if the shard is full and the channel already has its share.
    pub(crate) fn store(
        &mut self,
        cx: &mut Context,
        key: ChannelKey,
        name: KeyName<'_>,
        message: Message,
    ) -> Result<(), Full> {
        let most = self.settings.limits.pending_bytes_per_channel;
        let Some(channel) = self.channels.get_mut(key) else {
            return Err(Full);
        };
        let Live {
            members, pending, ..
        } = channel.wake();
        let growth = pending
            .growth(name, &message, most, |viewer| {
                members.viewer(viewer).is_none()
            })
            .filter(|growth| self.make_room(cx, key, *growth))
            .ok_or(Full)?;
        let Some(channel) = self.channels.get_mut(key) else {
            return Err(Full);
        };
        let Live {
            members, pending, ..
        } = channel.wake();
        let gone = |viewer: &str| members.viewer(viewer).is_none();
        let before = pending.bytes();
        let room = Room {
            channel_bytes: most,
            shard_bytes: growth,
        };
        let kept = pending.keep(name, message, room, gone, |old| {
            let whose = (key, name.towards, &**name.viewer);
            cx.telemetry.drop_kept(whose, old, Lost::Overwritten, cx.at);
        });
        if let Ok(Some((towards, viewer, messages))) = &kept {
            for message in messages {
                let whose = (key, *towards, &**viewer);
                cx.telemetry.drop_kept(whose, message, Lost::Evicted, cx.at);
            }
        }
        self.kept_changed(cx, key, before);
        if kept.is_ok() && name.towards == Towards::Master {
            self.polls.note(key, PollChange::State);
        }
        kept.map(|_| ())
    }

    /// Stores messages returned from an outbox ahead of all newer ones. A key with messages still stored keeps its
    /// caller.
    pub(crate) fn put_back(
        &mut self,
        cx: &mut Context,
        key: ChannelKey,
        name: KeyName<'_>,
        messages: Vec<Message>,
    ) {
        let KeyName {
            towards, viewer, ..
        } = name;
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        cx.telemetry.count_kept(messages.len());
        let pending = &mut channel.wake().pending;
        let before = pending.bytes();
        let (caller, closed) = pending.facts_of(name);
        let name = KeyName { caller, ..name };
        let all = pending.take_with(towards, viewer, messages);
        self.kept_changed(cx, key, before);
        for message in all {
            let (action, bytes) = (message.action, message.frame.len());
            if self.store(cx, key, name, message).is_err() {
                cx.telemetry.count_unkept();
                cx.telemetry
                    .count_unaccepted(Kind::Known(action), Unaccepted::NoRoom);
                let passed = NotedMessage {
                    action: Some(action),
                    towards,
                    passage: Passage::Evicted,
                    bytes,
                    candidates: None,
                };
                cx.telemetry.note().went(cx.at, key, passed, viewer, None);
            }
        }
        if let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) {
            live.pending.set_closed(towards, viewer, closed);
        }
    }

    /// Whether to notify a channel's watchers of a message for its absent master: only of an offer or a viewer's first
    /// message. If the channel has a waking hook, the message's lifetime is extended to the configured minimum.
    pub(crate) fn begins_to_wait(
        &self,
        key: ChannelKey,
        (towards, viewer): (Towards, &str),
        message: &mut Message,
        at: Moment,
    ) -> bool {
        let channel = self.channel(key).filter(|_| towards == Towards::Master);
        let Some(channel) = channel.filter(|channel| self.news.is_watched(channel.hooks)) else {
            return false;
        };
        if channel.hooks & self.waking != 0 {
            let least = at.now.after(self.settings.presence.wake_ttl_ms);
            message.expires = message.expires.max(least);
        }
        let mut waiting = channel
            .live()
            .into_iter()
            .flat_map(|live| live.pending.for_master());
        message.action == Action::SdpOffer || waiting.all(|kept| **kept.viewer != *viewer)
    }

    /// Drops the expired pending messages of a channel.
    pub(crate) fn expire_kept(&mut self, cx: &mut Context, key: ChannelKey) {
        let now = cx.at.now;
        let is_over = |_: Towards, _: &str, message: &Message| message.expires <= now;
        self.drop_over(cx, key, is_over, Lost::Expired);
    }

    /// Drops a viewer's messages older than the offer at this position, which the master has received. Otherwise, if
    /// the offer is sent again, older messages returned because they were confirmed late would follow it.
    pub(crate) fn drop_older(
        &mut self,
        cx: &mut Context,
        key: ChannelKey,
        viewer: &str,
        order: u64,
    ) {
        let is_older = |towards: Towards, of: &str, message: &Message| {
            towards == Towards::Master && *of == *viewer && message.order < order
        };
        self.drop_over(cx, key, is_older, Lost::Overwritten);
    }

    fn drop_over(
        &mut self,
        cx: &mut Context,
        key: ChannelKey,
        is_over: impl Fn(Towards, &str, &Message) -> bool,
        why: Lost,
    ) {
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return;
        };
        let before = live.pending.bytes();
        let dropped = |towards: Towards, viewer: &str, message: &Message| {
            cx.telemetry
                .drop_kept((key, towards, viewer), message, why, cx.at);
        };
        live.pending.drop_if(is_over, dropped);
        self.kept_changed(cx, key, before);
    }

    /// Drops messages of viewers that have closed their connections, if another viewer of the same caller has connected
    /// since: otherwise a page reloaded ten times would leave ten stale offers for the camera.
    pub(crate) fn drop_closed(
        &mut self,
        cx: &mut Context,
        key: ChannelKey,
        caller_of: impl Fn(SessionKey) -> Option<CallerId>,
    ) {
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return;
        };
        let Live {
            members, pending, ..
        } = live;
        let before = pending.bytes();
        let gone = |viewer: &str| members.viewer(viewer).is_none();
        let others = |caller| {
            let mut viewers = members.viewers_now().into_iter();
            viewers.any(|viewer| caller_of(viewer) == caller)
        };
        while let Some((viewer, messages)) = pending.take_closed(cx.at.now, gone, others) {
            for message in messages {
                let whose = (key, Towards::Master, &*viewer);
                cx.telemetry
                    .drop_kept(whose, &message, Lost::Withdrawn, cx.at);
            }
        }
        self.kept_changed(cx, key, before);
    }

    /// Takes the pending messages for a member of a channel, oldest first. A master's are grouped, each group with a
    /// rank that orders it among pending calls. Expired messages are dropped.
    pub(crate) fn take_kept(
        &mut self,
        cx: &mut Context,
        key: ChannelKey,
        slot: &Slot,
    ) -> Vec<(u64, VecDeque<Message>)> {
        self.expire_kept(cx, key);
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return Vec::new();
        };
        let Live {
            members,
            pending,
            unanswered,
            ..
        } = live;
        let before = pending.bytes();
        let groups = match slot {
            Slot::Master => pending.take_for_master(
                |viewer| unanswered.holds(viewer),
                |viewer| members.viewer(viewer).is_none(),
            ),
            Slot::Viewer(id) => vec![(0, pending.take(Towards::Viewer, id))],
        };
        self.kept_changed(cx, key, before);
        groups
    }

    /// Updates the shard's gauge after a channel's pending bytes have changed from `before`.
    fn kept_changed(&mut self, cx: &mut Context, key: ChannelKey, before: usize) {
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        let after = channel.live().map_or(0, |live| live.pending.bytes());
        if before == after {
            return;
        }
        let account = Account::of(&channel.record.arn);
        if after < before && self.news.is_watched(channel.hooks) {
            self.news.changed(key, (PresenceCause::Served, None));
        }
        self.kept.shares.change(account, key, before, after);
        cx.telemetry.count_kept_bytes(before, after);
    }

    /// Withdraws the pending messages of a channel that has ended and been removed from the table.
    pub(crate) fn kept_withdrawn(&mut self, cx: &mut Context, key: ChannelKey, channel: &Channel) {
        let Some(live) = channel.live() else { return };
        for (_, _, message) in live.pending.messages() {
            cx.telemetry
                .count_kept_ended(Kind::Known(message.action), Outcome::Withdrawn);
        }
        let bytes = live.pending.bytes();
        let account = Account::of(&channel.record.arn);
        self.kept.shares.change(account, key, bytes, 0);
        self.offers.change(account, key, live.unanswered.bytes(), 0);
        cx.telemetry.count_kept_bytes(bytes, 0);
    }

    /// Applies a change to a channel's unanswered offers. If the limit on their bytes is exceeded, a channel of the
    /// account with the most bytes drops its oldest offer.
    pub(crate) fn offers_change(&mut self, key: ChannelKey, change: impl FnOnce(&mut Unanswered)) {
        self.change_offers(key, change);
        while let Some(payer) = self.offers.payer() {
            if self.change_offers(payer, Unanswered::evict) != Some(true) {
                return;
            }
        }
    }

    /// Applies a change to a channel's offers that adds no bytes, so that no offer is evicted. Returns `None` if the
    /// channel has no offers.
    pub(crate) fn change_offers<T>(
        &mut self,
        key: ChannelKey,
        change: impl FnOnce(&mut Unanswered) -> T,
    ) -> Option<T> {
        let channel = self.channels.get_mut(key)?;
        let account = Account::of(&channel.record.arn);
        let offers = &mut channel.live_mut()?.unanswered;
        let before = offers.bytes();
        let changed = change(offers);
        let after = offers.bytes();
        self.offers.change(account, key, before, after);
        Some(changed)
    }

    /// Withdraws all pending messages of a channel.
    pub(crate) fn withdraw(&mut self, cx: &mut Context, key: ChannelKey) {
        self.change_offers(key, |offers| while offers.evict() {});
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let Some(live) = channel.live_mut() else {
            return;
        };
        let before = live.pending.bytes();
        for message in live.pending.take_all() {
            cx.telemetry
                .count_kept_ended(Kind::Known(message.action), Outcome::Withdrawn);
        }
        channel.rest();
        self.kept_changed(cx, key, before);
    }

    /// Makes room for `more` bytes on a channel. Returns `false` if the shard's limit is reached and no other channel
    /// or account holds more than this one would. Each step evicts one message, so the number of steps is at most the
    /// ratio of the largest message size to the smallest.
    fn make_room(&mut self, cx: &mut Context, key: ChannelKey, more: usize) -> bool {
        let most = self.kept.most as u64;
        while cx.telemetry.pending_bytes() + more as u64 > most {
            let Some(channel) = self.channels.get(key) else {
                return false;
            };
            let own = channel.live().map_or(0, |live| live.pending.bytes());
            let account = Account::of(&channel.record.arn);
            let Some(payer) = self.kept.shares.payer(account, own, more) else {
                return false;
            };
            self.evict(cx, payer);
        }
        true
    }

    fn evict(&mut self, cx: &mut Context, key: ChannelKey) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let Live {
            members, pending, ..
        } = channel.wake();
        let before = pending.bytes();
        let evicted = pending.evict(|viewer| members.viewer(viewer).is_none());
        debug_assert!(evicted.is_some(), "who pays holds something");
        self.kept_changed(cx, key, before);
        if let Some((towards, viewer, message)) = evicted {
            let whose = (key, towards, &*viewer);
            cx.telemetry
                .drop_kept(whose, &message, Lost::Evicted, cx.at);
        }
        if let Some(channel) = self.channels.get_mut(key) {
            channel.rest();
        }
    }
}

/// Why a pending message is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// Overwritten by a newer message.
    Overwritten,
    /// Expired before its recipient connected.
    Expired,
    /// Evicted in favour of another channel's offer or another viewer's.
    Evicted,
    /// Withdrawn because its viewer closed its connection and another viewer of the same caller has connected.
    Withdrawn,
}

impl Telemetry {
    /// Counts and notes a dropped pending message, with its channel, direction and viewer.
    pub(crate) fn drop_kept(
        &mut self,
        (channel, towards, viewer): (ChannelKey, Towards, &str),
        message: &Message,
        why: Lost,
        at: Moment,
    ) {
        let (outcome, passage) = match why {
            Lost::Overwritten => (Outcome::Overwritten, Passage::Overwritten),
            Lost::Expired => (Outcome::Expired, Passage::Expired),
            Lost::Evicted => (Outcome::Evicted, Passage::Evicted),
            Lost::Withdrawn => (Outcome::Withdrawn, Passage::Withdrawn),
        };
        self.count_kept_ended(Kind::Known(message.action), outcome);
        let passed = NotedMessage::of(message, towards, passage);
        self.note().went(at, channel, passed, viewer, None);
    }
}

// The calls that wait: each is at its channel, and counted for its account
// ([`Waits`](crate::shard::directory::waiting_callers::Waits)). Both change together, here.

impl Directory {
    /// Whether a caller's call can be queued; free capacity is required only for calls from other shards.
    pub(crate) fn has_call_place(&self, caller: CallRef) -> bool {
        caller.shard == self.shard || self.waits.has_place()
    }

    /// Checks the capacity for another call on a channel of `account`.
    pub(crate) fn room_for_call(
        &self,
        kind: CallKind,
        account: &str,
        channel: ChannelKey,
    ) -> CallRoom {
        self.waits.room(kind, account, channel)
    }

    /// Queues a call on its channel. Returns `false` if the channel is gone. A call from another shard occupies
    /// capacity until that shard acknowledges its end.
    pub(crate) fn add_call(&mut self, key: ChannelKey, new: NewCall, at: Moment) -> bool {
        let Some(channel) = self.channels.get_mut(key) else {
            return false;
        };
        let most_ms = self.settings.timeouts.alexa_wait_max_ms;
        let wait_ms = wait_ms(channel.record.ttl_seconds, most_ms);
        let order = channel.wake().next_order();
        let mut frame = Vec::new();
        Delivery {
            action: Action::SdpOffer,
            payload: new.payload.as_bytes(),
            sender: Some(&new.sender),
        }
        .write(&mut frame);
        let caller = new.caller;
        let call = Waiting {
            caller,
            sender: new.sender,
            expires: match &new.player {
                None => at.now.after(wait_ms),
                Some(player) => player.ends(&self.settings.whep),
            },
            order,
            frame: frame.into_boxed_slice(),
            given: None,
            had: Vec::new(),
            delivered: false,
            player: new.player,
        };
        let account = channel.record.arn.account();
        self.waits.begin(call.kind(), account, (key, order));
        channel.wake().calls.add(call);
        if caller.shard != self.shard {
            self.waits.hold(caller, (key, order));
        }
        self.changed(key, PresenceCause::Waiting, None);
        true
    }

    /// Removes one of a channel's calls.
    pub(crate) fn take_call(
        &mut self,
        key: ChannelKey,
        take: impl FnOnce(&mut Calls) -> Option<Waiting>,
    ) -> Option<Waiting> {
        let channel = self.channels.get_mut(key)?;
        let call = take(&mut channel.live_mut()?.calls)?;
        let arn = &channel.record.arn;
        self.waits
            .end(call.kind(), arn.account(), (key, call.order));
        let ttl_ms = u64::from(channel.record.ttl_seconds) * 1000;
        self.waits.remember(EndedCall {
            channel: key,
            account: Account::of(arn),
            sender: call.sender.clone(),
            kind: call.kind(),
            until: match &call.player {
                None => call.expires.after(ttl_ms),
                Some(player) => player.longest(&self.settings.whep).after(ENDED_PLAYER_MS),
            },
        });
        if call.awaits_master() && self.news.is_watched(channel.hooks) {
            self.news.changed(key, (PresenceCause::Served, None));
        }
        Some(call)
    }

    /// Adds an answer or a candidate to a player's call. Returns whether it was accepted and whether the call ends,
    /// with the fault if the answer was invalid; `None` if no player with this id is waiting.
    pub(crate) fn gather(
        &mut self,
        message: &ForPlayer<'_>,
        now: Now,
    ) -> Option<(bool, Result<bool, Fault>)> {
        let channel = self.channels.get_mut(message.channel)?;
        let call = channel.live_mut()?.calls.of_mut(message.sender)?;
        let player = call.player.as_deref_mut()?;
        let kept = match player.take(message.from, message.action, message.payload, now) {
            Ok(kept) => kept,
            Err(fault) => return Some((false, Err(fault))),
        };
        call.expires = player.ends(&self.settings.whep);
        if player.has_answer() {
            call.frame = Box::default(); // no further master gets it
        }
        Some((kept, Ok(call.expires <= now)))
    }

    /// Records that a viewer has connected, so that the master's messages to its client id no longer count as messages
    /// for an ended call.
    pub(crate) fn viewer_came(&mut self, key: ChannelKey, client_id: &str) {
        self.waits.forget(key, client_id);
    }

    /// Returns the channel's current master, and the calls accepted before `before` whose offers the master has not
    /// received, oldest first. Each call is assigned to the master as the iterator yields it.
    pub(crate) fn give_calls(
        &mut self,
        key: ChannelKey,
        before: u64,
    ) -> Option<(SessionKey, impl Iterator<Item = &Waiting>)> {
        let channel = self.channels.get_mut(key)?;
        let is_watched = self.news.is_watched(channel.hooks);
        let live = channel.live_mut()?;
        let master = live.members.to_master()?;
        if is_watched && live.calls.iter().any(Waiting::awaits_master) {
            self.news.changed(key, (PresenceCause::Served, None));
        }
        let calls = live.calls.all();
        let left = calls.filter(move |call| call.awaits_master() && call.order < before);
        let given = left.filter_map(move |call| {
            call.given = Some(master);
            (!call.had.contains(&master)).then_some(&*call)
        });
        Some((master, given))
    }

    /// Reassigns a replaced or departed master's unanswered offers to the next master. `unsent`: offers returned from
    /// its outbox.
    pub(crate) fn offers_lost_their_master(
        &mut self,
        key: ChannelKey,
        master: SessionKey,
        unsent: &[Unsent],
    ) {
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return;
        };
        let Live { calls, members, .. } = live;
        let stays = members.gave_way(master);
        for call in calls.all().filter(|call| call.delivered) {
            let order = call.order;
            let comes_back = |one: &Unsent| one.launch.call && one.launch.order == order;
            let had = call.given.take_if(|given| *given == master).is_some();
            if had && stays && !unsent.iter().any(comes_back) {
                call.was_had(master);
            }
        }
        self.changed(key, PresenceCause::Waiting, None);
    }

    /// Forgets which offers a connection has received, because it has left the master's slot.
    pub(crate) fn forget_master(&mut self, key: ChannelKey, master: SessionKey) {
        if let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) {
            let calls = live.calls.all();
            calls.for_each(|call| call.had.retain(|had| *had != master));
        }
    }

    /// Records that the last byte of an offer was sent to `master`. Returns `true` if the offer must still go to the
    /// next master because this one has been replaced.
    pub(crate) fn offer_was_sent(
        &mut self,
        key: ChannelKey,
        master: SessionKey,
        order: u64,
    ) -> bool {
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return false;
        };
        let current = live.members.master() == Some(master);
        let stays = live.members.gave_way(master);
        let Some(call) = live.calls.by_order(order) else {
            return false;
        };
        call.delivered = true;
        // Another master may have it by now.
        let returns = !current && call.given == Some(master);
        if returns {
            call.given = None;
            if stays {
                call.was_had(master);
            }
        }
        if returns {
            self.changed(key, PresenceCause::Waiting, None);
        }
        returns
    }

    /// Takes back an offer from the outbox of `master`. Returns `false` if the offer's call is no longer waiting.
    pub(crate) fn offer_returned(
        &mut self,
        key: ChannelKey,
        master: SessionKey,
        order: u64,
    ) -> bool {
        let live = self.channels.get_mut(key).and_then(Channel::live_mut);
        let call = live.and_then(|live| live.calls.by_order(order));
        let waits = call.is_some();
        if let Some(call) = call {
            call.given.take_if(|given| *given == master);
        }
        self.changed(key, PresenceCause::Waiting, None);
        waits
    }

    /// Returns the queued call of a caller on another shard.
    pub(crate) fn call_of(&self, caller: CallRef) -> Option<Call> {
        self.waits.of(caller)
    }

    /// Frees the capacity of a call after the caller's shard has acknowledged its end.
    pub(crate) fn free_call_place(&mut self, caller: CallRef) {
        self.waits.free(caller);
    }

    /// Returns the number of calls from other shards that occupy capacity.
    pub(crate) fn call_places(&self) -> usize {
        self.waits.places()
    }

    /// Returns the channels that have waiting calls, sorted by key.
    pub(crate) fn channels_with_calls(&self) -> BTreeSet<ChannelKey> {
        self.waits.channels()
    }
}

/// A master's message for a player's call.
pub(crate) struct ForPlayer<'a> {
    pub(crate) channel: ChannelKey,
    /// The id that the message is addressed to.
    pub(crate) sender: &'a str,
    /// The master's connection.
    pub(crate) from: SessionKey,
    pub(crate) action: Action,
    pub(crate) payload: &'a [u8],
}

/// A new call to be queued on its channel.
pub(crate) struct NewCall {
    pub(crate) caller: CallRef,
    /// The id that the master addresses its answer to.
    pub(crate) sender: Box<str>,
    /// The offer, base64-encoded.
    pub(crate) payload: Box<str>,
    pub(crate) player: Option<Box<Player>>,
}

/// Returns a call's time limit in milliseconds: the channel's message lifetime or the configured maximum, whichever is
/// shorter.
pub(crate) fn wait_ms(ttl_seconds: u32, most_ms: u64) -> u64 {
    let ttl_ms = u64::from(ttl_seconds) * 1000;
    if most_ms == 0 {
        ttl_ms
    } else {
        ttl_ms.min(most_ms)
    }
}
