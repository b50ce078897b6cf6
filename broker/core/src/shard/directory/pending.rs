//! The pending messages of a shard's channels. When their total size reaches the limit, one of the channels must evict
//! messages.

use crate::channel::pending::{Full, KeyName, Message, Room};
use crate::channel::unanswered::Unanswered;
use crate::channel::{Channel, Live, Towards};
use crate::event::{Kind, Outcome};
use crate::id::{Account, ChannelKey};
use crate::session::web_socket::Role;
use crate::shard::context::Context;
use crate::shard::directory::waiting_callers::PollChange;
use crate::shard::flight_recorder::{NotedMessage, Passage};
use crate::shard::todo::Membership;
use crate::shard::{Directory, Shares, Sockets};
use crate::{journal::Unaccepted, presence::PresenceCause, time::Moment};
use codec::signal::Action;
use std::collections::VecDeque;

impl Directory {
    /// Returns the pending-message bytes per account and channel.
    pub(crate) fn queued(&self) -> &Shares {
        &self.kept.shares
    }

    /// Stores a message as pending, if there is room. Drops messages that the new one overwrites or evicts. The caller
    /// must count the new message in the pending-messages gauge, before or after this call.
    ///
    /// # Errors
    /// Returns [`Full`] if the channel is full, or if the shard is full and the channel has used up its share.
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
            drop_kept(cx, whose, old, Lost::Overwritten);
        });
        if let Ok(Some((towards, viewer, messages))) = &kept {
            for message in messages {
                let whose = (key, *towards, &**viewer);
                drop_kept(cx, whose, message, Lost::Evicted);
            }
        }
        self.kept_changed(cx, key, before);
        if kept.is_ok() && name.towards == Towards::Master {
            self.polls.note(key, PollChange::State);
        }
        kept.map(|_| ())
    }

    /// Stores messages that were taken back from an outbox, ahead of all newer pending messages. If messages for `name`
    /// are already pending, keeps the caller recorded with them.
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
                let passed = NotedMessage::new(Some(action), towards, Passage::Evicted, bytes);
                cx.note(key).went(passed, viewer, None);
            }
        }
        if let Some(live) = self.live_mut(key) {
            live.pending.set_closed(towards, viewer, closed);
        }
    }

    /// Returns whether to report to a channel's watchers that a message is waiting for an absent master. The shard
    /// reports offers, and a viewer's first message. If a hook can wake the master, extends the message's lifetime to
    /// the configured minimum.
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

    /// Drops a channel's expired pending messages.
    pub(crate) fn expire_kept(&mut self, cx: &mut Context, key: ChannelKey) {
        let now = cx.at.now;
        let is_over = |_: Towards, _: &str, message: &Message| message.expires <= now;
        self.drop_over(cx, key, is_over, Lost::Expired);
    }

    /// Drops a viewer's pending messages that are older than its offer at position `order`, which the master has
    /// received. Otherwise, messages that were confirmed too late, and were therefore taken back, could follow the
    /// offer when it is repeated.
    pub(crate) fn drop_older(&mut self, cx: &mut Context, key: ChannelKey, id: &str, order: u64) {
        let is_older = |towards: Towards, viewer: &str, message: &Message| {
            towards == Towards::Master && *viewer == *id && message.order < order
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
        let Some(live) = self.live_mut(key) else {
            return;
        };
        let before = live.pending.bytes();
        let dropped = |towards: Towards, viewer: &str, message: &Message| {
            drop_kept(cx, (key, towards, viewer), message, why);
        };
        live.pending.drop_if(is_over, dropped);
        self.kept_changed(cx, key, before);
    }

    /// Drops the pending messages of viewers whose connections have closed, if the same caller has since connected
    /// another viewer. Otherwise, a user who reloads a page ten times would leave ten stale offers for the camera.
    pub(crate) fn drop_closed(&mut self, cx: &mut Context, key: ChannelKey, sockets: &Sockets) {
        let Some(live) = self.live_mut(key) else {
            return;
        };
        let Live {
            members, pending, ..
        } = live;
        let before = pending.bytes();
        let gone = |viewer: &str| members.viewer(viewer).is_none();
        let caller_of = |viewer| sockets.session(viewer)?.open()?.caller;
        let others = |caller| {
            let mut viewers = members.viewers_now().into_iter();
            viewers.any(|viewer| caller_of(viewer) == caller)
        };
        while let Some((viewer, messages)) = pending.take_closed(cx.at.now, gone, others) {
            for message in messages {
                let whose = (key, Towards::Master, &*viewer);
                drop_kept(cx, whose, &message, Lost::Withdrawn);
            }
        }
        self.kept_changed(cx, key, before);
    }

    /// Takes the pending messages for a channel member, oldest first, and drops expired ones. Messages for a master are
    /// grouped, and each group has a position relative to the pending calls.
    pub(crate) fn take_kept(&mut self, cx: &mut Context, to: &Membership) -> Vec<KeptGroup> {
        let key = to.channel;
        self.expire_kept(cx, key);
        let Some(live) = self.live_mut(key) else {
            return Vec::new();
        };
        let Live {
            members,
            pending,
            unanswered,
            ..
        } = live;
        let before = pending.bytes();
        let groups = match &to.role {
            Role::Master => pending.take_for_master(
                |viewer| unanswered.holds(viewer),
                |viewer| members.viewer(viewer).is_none(),
            ),
            Role::Viewer(id) => vec![(0, pending.take(Towards::Viewer, id))],
        };
        self.kept_changed(cx, key, before);
        groups
    }

    /// Updates the shard's totals after the size of a channel's pending messages has changed from `before`.
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

    /// Withdraws the pending messages of a channel that was removed from the table.
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

    /// Applies `change` to a channel's unanswered offers. Then, while the total size of all offers exceeds its limit,
    /// makes a channel of the account with the most bytes drop its oldest offer.
    pub(crate) fn offers_change(&mut self, key: ChannelKey, change: impl FnOnce(&mut Unanswered)) {
        self.change_offers(key, change);
        while let Some(payer) = self.offers.payer() {
            if self.change_offers(payer, Unanswered::evict) != Some(true) {
                return;
            }
        }
    }

    /// Applies `change` to a channel's unanswered offers without enforcing the limit on the total size of all offers.
    /// Returns `None` if the channel is idle.
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

    /// Withdraws all of a channel's pending messages.
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

    /// Makes room on the shard for `more` bytes of a channel by evicting messages of larger channels or accounts.
    /// Returns `false` if there is no room and no channel or account is larger. Each iteration evicts one message, so
    /// the ratio of the largest to the smallest message size bounds the number of iterations.
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
            drop_kept(cx, whose, &message, Lost::Evicted);
        }
        if let Some(channel) = self.channels.get_mut(key) {
            channel.rest();
        }
    }
}

/// Pending messages for one recipient that are delivered together, and their position in the channel's order of
/// acceptance.
pub(crate) type KeptGroup = (u64, VecDeque<Message>);

/// Why a pending message was dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// Overwritten by a newer message.
    Overwritten,
    /// Expired before its recipient connected.
    Expired,
    /// Evicted to make room for another channel's or viewer's message.
    Evicted,
    /// Withdrawn because the viewer that sent it has closed its connection, and the same caller has connected another
    /// viewer.
    Withdrawn,
}

/// Counts and records a dropped pending message. `viewer` is the viewer that sent it or was to receive it.
fn drop_kept(
    cx: &mut Context,
    (channel, towards, viewer): (ChannelKey, Towards, &str),
    message: &Message,
    why: Lost,
) {
    let (outcome, passage) = match why {
        Lost::Overwritten => (Outcome::Overwritten, Passage::Overwritten),
        Lost::Expired => (Outcome::Expired, Passage::Expired),
        Lost::Evicted => (Outcome::Evicted, Passage::Evicted),
        Lost::Withdrawn => (Outcome::Withdrawn, Passage::Withdrawn),
    };
    let kind = Kind::Known(message.action);
    cx.telemetry.count_kept_ended(kind, outcome);
    let passed = NotedMessage::of(message, towards, passage);
    cx.note(channel).went(passed, viewer, None);
}
