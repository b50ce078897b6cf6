//! The Alexa calls that wait: each is at its channel, and counted for its account ([`Waits`](crate::shard::directory::waits::Waits)).
//! Both change together, here.

use crate::channel::calls::{Calls, Waiting};
use crate::channel::{Channel, Live};
use crate::id::{CallRef, ChannelKey, SessionKey};
use crate::presence::Cause;
use crate::session::outbox::Unsent;
use crate::shard::directory::Directory;
use crate::shard::directory::waits::{Call, Room};
use crate::time::Moment;
use codec::signal::{Action, Delivery};
use std::collections::BTreeSet;

impl Directory {
    /// Whether a caller's call could be taken in: one of another shard needs a place.
    pub(crate) fn has_call_place(&self, caller: CallRef) -> bool {
        caller.shard == self.shard || self.waits.has_place()
    }

    /// Whether one more call fits on a channel of `account`.
    pub(crate) fn room_for_call(&self, account: &str, channel: ChannelKey) -> Room {
        self.waits.room(account, channel)
    }

    /// A call waits at its channel from here on; false when that is gone. A caller on another shard has a place until
    /// it confirms that the call is over.
    pub(crate) fn add_call(
        &mut self,
        caller: CallRef,
        key: ChannelKey,
        (sender, payload): (&str, &str),
        at: Moment,
    ) -> bool {
        let Some(channel) = self.channels.get_mut(key) else {
            return false;
        };
        let most_ms = self.settings.timeouts.alexa_wait_max_ms;
        let wait_ms = wait_ms(channel.record.ttl_seconds, most_ms);
        let order = channel.wake().next_order();
        self.waits.begin(channel.record.arn.account(), (key, order));
        let mut frame = Vec::new();
        Delivery {
            action: Action::SdpOffer,
            payload: payload.as_bytes(),
            sender: Some(sender),
        }
        .write(&mut frame);
        channel.wake().calls.add(Waiting {
            caller,
            sender: sender.into(),
            expires: at.now.after(wait_ms),
            order,
            frame: frame.into_boxed_slice(),
            given: None,
            had: Vec::new(),
            delivered: false,
        });
        if caller.shard != self.shard {
            self.waits.hold(caller, (key, order));
        }
        self.changed(key, Cause::Waiting, None);
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
        let account = channel.record.arn.account();
        self.waits.end(account, (key, call.order));
        if call.given.is_none() && self.news.is_watched(channel.hooks) {
            self.news.changed(key, (Cause::Served, None));
        }
        Some(call)
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
        if is_watched && live.calls.all().any(|call| call.given.is_none()) {
            self.news.changed(key, (Cause::Served, None));
        }
        let calls = live.calls.all();
        let left = calls.filter(move |call| call.given.is_none() && call.order < before);
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
        self.changed(key, Cause::Waiting, None);
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
            self.changed(key, Cause::Waiting, None);
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
        self.changed(key, Cause::Waiting, None);
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

/// Milliseconds that a call waits: as long as its channel keeps messages, or as long as is configured.
pub(crate) fn wait_ms(ttl_seconds: u32, most_ms: u64) -> u64 {
    let ttl_ms = u64::from(ttl_seconds) * 1000;
    if most_ms == 0 {
        ttl_ms
    } else {
        ttl_ms.min(most_ms)
    }
}
