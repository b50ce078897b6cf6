//! Pending messages of all channels of a shard: their bound, and which channel makes room when it is reached; and the
//! calls that wait on them.

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
    /// The bytes of kept messages of each account, by channel.
    pub(crate) fn queued(&self) -> &Shares {
        &self.kept.shares
    }

    /// Keeps a message, or does not; those whose place it takes are overwritten, those of others that make room for it
    /// evicted. The gauge of kept messages counts it already, or the caller does.
    ///
    /// # Errors
    /// [`Full`] when the channel has no room, or the shard none and the channel its share.
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

    /// Keeps messages that come back from an outbox, before everything newer. A key that is there stays that of its
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

    /// Whether those who watch a channel get to know of this message for its absent master: an offer, or the first of a
    /// viewer. On a channel that a hook can wake it is kept for as long as is configured at least.
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

    /// Ends the kept messages of a channel whose time is over.
    pub(crate) fn expire_kept(&mut self, cx: &mut Context, key: ChannelKey) {
        let now = cx.at.now;
        let is_over = |_: Towards, _: &str, message: &Message| message.expires <= now;
        self.drop_over(cx, key, is_over, Lost::Expired);
    }

    /// A master has an offer of this place in the order, and with it all that its viewer sent before: what came back of
    /// that, since it was confirmed late, would come behind the offer if that is given once more.
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

    /// Drops what viewers left that closed their connections, where another one of their caller has come instead: else
    /// a page that is reloaded ten times leaves the camera ten offers that nobody waits for.
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

    /// Takes what is kept for a member of a channel, oldest first: for its master in groups, each with the rank that
    /// waiting calls are given before. What it does not get in time has expired.
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

    /// A channel kept `before` bytes until now: the gauge of the shard follows.
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

    /// A channel that ends keeps nothing any more; it is out of the table already.
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

    /// Changes the offers of a channel that were not answered: their bytes have a bound, and when it is reached the
    /// account with most forgets its channel's oldest.
    pub(crate) fn offers_change(&mut self, key: ChannelKey, change: impl FnOnce(&mut Unanswered)) {
        self.change_offers(key, change);
        while let Some(payer) = self.offers.payer() {
            if self.change_offers(payer, Unanswered::evict) != Some(true) {
                return;
            }
        }
    }

    /// Changes a channel's offers without adding bytes, so that none is evicted. `None` for a channel without any.
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

    /// Everything that a channel keeps is withdrawn.
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

    /// Makes room for `more` bytes of a channel; false when the shard's bound is reached and nobody holds more than
    /// this channel would. Each step evicts one message, so there are at most as many as smallest messages fit into a
    /// largest one.
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

/// Why a kept message is dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// A newer one took its place.
    Overwritten,
    /// Nobody came for it in time.
    Expired,
    /// Evicted for another channel's offer, or for another viewer's.
    Evicted,
    /// Withdrawn: its viewer closed its connection, and another one of the same caller has come.
    Withdrawn,
}

impl Telemetry {
    /// Counts and notes a kept message that is dropped: of which channel, which way it went, and the viewer at its end.
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
    /// Whether a caller's call could be taken in: one of another shard needs a place.
    pub(crate) fn has_call_place(&self, caller: CallRef) -> bool {
        caller.shard == self.shard || self.waits.has_place()
    }

    /// Whether one more call fits on a channel of `account`.
    pub(crate) fn room_for_call(
        &self,
        kind: CallKind,
        account: &str,
        channel: ChannelKey,
    ) -> CallRoom {
        self.waits.room(kind, account, channel)
    }

    /// A call waits at its channel from here on; false when that is gone. A caller on another shard has a place until
    /// it confirms that the call is over.
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

    /// Takes one of a channel's calls out: it waits no longer.
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

    /// Takes an answer or a candidate for a player's call: whether it is kept, and whether the call ends, by a fault of
    /// the answer if so. `None` when no player waits by this name.
    pub(crate) fn gather(
        &mut self,
        (key, sender): (ChannelKey, &str),
        what: (SessionKey, Action),
        payload: &[u8],
        now: Now,
    ) -> Option<(bool, Result<bool, Fault>)> {
        let channel = self.channels.get_mut(key)?;
        let call = channel.live_mut()?.calls.of_mut(sender)?;
        let player = call.player.as_deref_mut()?;
        let kept = match player.take(what, payload, now) {
            Ok(kept) => kept,
            Err(fault) => return Some((false, Err(fault))),
        };
        call.expires = player.ends(&self.settings.whep);
        if player.has_answer() {
            call.frame = Box::default(); // no further master gets it
        }
        Some((kept, Ok(call.expires <= now)))
    }

    /// A viewer has connected: what a master sends to its client id is for no call that ended.
    pub(crate) fn viewer_came(&mut self, key: ChannelKey, client_id: &str) {
        self.waits.forget(key, client_id);
    }

    /// The current master of a channel, and the calls accepted before `before` whose offers it has not got, oldest
    /// first. Each is for it once it was taken from the iterator.
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

    /// The master is another one, or gone: offers it had and did not answer are for the next. `unsent`: what comes back
    /// from its outbox.
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

    /// A connection of the master's slot has left: nothing is remembered of what it had.
    pub(crate) fn forget_master(&mut self, key: ChannelKey, master: SessionKey) {
        if let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) {
            let calls = live.calls.all();
            calls.for_each(|call| call.had.retain(|had| *had != master));
        }
    }

    /// The last byte of an offer was handed over to `master`. True when it is for the next master all the same: this
    /// one is no longer the channel's.
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

    /// An offer came back from the outbox of `master`; false when its call does not wait any more.
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

    /// The call of a caller on another shard that has a place.
    pub(crate) fn call_of(&self, caller: CallRef) -> Option<Call> {
        self.waits.of(caller)
    }

    /// The caller's shard has said that the call is over.
    pub(crate) fn free_call_place(&mut self, caller: CallRef) {
        self.waits.free(caller);
    }

    /// The number of places that callers on other shards have.
    pub(crate) fn call_places(&self) -> usize {
        self.waits.places()
    }

    /// The channels that have waiting calls, in the order of their keys.
    pub(crate) fn channels_with_calls(&self) -> BTreeSet<ChannelKey> {
        self.waits.channels()
    }
}

/// A call that arrives at its channel.
pub(crate) struct NewCall {
    pub(crate) caller: CallRef,
    /// Id to which the master answers.
    pub(crate) sender: Box<str>,
    /// The offer, base64.
    pub(crate) payload: Box<str>,
    pub(crate) player: Option<Box<Player>>,
}

/// Milliseconds that a call waits: as long as its channel keeps messages, or as long as is configured.
pub(crate) fn wait_ms(ttl_seconds: u32, most_ms: u64) -> u64 {
    let ttl_ms = u64::from(ttl_seconds) * 1000;
    if most_ms == 0 {
        ttl_ms
    } else {
        ttl_ms.min(most_ms)
    }
}
