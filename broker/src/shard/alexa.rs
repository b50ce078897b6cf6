//! Alexa calls at their channel's home: offered to the master, answered, expired, withdrawn. protocol.md 2.7.
//!
//! In the books a call is one SDP_OFFER: received when its letter is taken in; in the pending gauge until some master's
//! outbox has it; delivered when that master got it. Giving it again to the next master counts nothing.

use super::{Shard, Told};
use crate::channel::{Channel, Waiting};
use crate::event::{Kind, Outcome};
use crate::id::{CallRef, ChannelKey, Identity, SessionKey};
use crate::limits::{WAITING_CALLS_PER_CHANNEL_MAX, WAITING_CALLS_PER_SHARD_MAX};
use crate::session::{Launch, NEVER, Session};
use crate::time::Moment;
use codec::control::ErrorKind;
use codec::signal::{Action, Delivery};

const OFFER: Kind = Kind::Known(Action::SdpOffer);

impl Shard {
    /// A call arrives at its channel. An older one of the same sender is answered with nothing.
    pub(super) fn take_offer(
        &mut self,
        caller: CallRef,
        key: ChannelKey,
        sender: &str,
        payload: &str,
        at: Moment,
    ) {
        self.end_call(key, sender, None, at);
        let waiting = usize::try_from(self.counters.waiting_calls).unwrap_or(usize::MAX);
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let ttl_ms = u64::from(channel.record.ttl_seconds) * 1000;
        let live = channel.wake(&self.hasher);
        if live.calls.len() >= WAITING_CALLS_PER_CHANNEL_MAX
            || waiting >= WAITING_CALLS_PER_SHARD_MAX
        {
            let message =
                "Too many SendAlexaOfferToMaster calls wait for this channel. Try again later.";
            return self.tell(
                caller,
                Told::Fault(ErrorKind::ClientLimitExceeded, message.into()),
                at,
            );
        }
        let wait_max_ms = self.settings.timeouts.alexa_wait_max_ms;
        let wait_ms = if wait_max_ms == 0 {
            ttl_ms
        } else {
            ttl_ms.min(wait_max_ms)
        };
        let mut frame = Vec::new();
        Delivery {
            action: Action::SdpOffer,
            payload,
            sender: Some(sender),
        }
        .write(&mut frame);
        let (sender, order) = (sender.into(), live.next_order());
        let (expires, frame) = (at.now.after(wait_ms), frame.into_boxed_slice());
        live.calls.add(Waiting {
            caller,
            sender,
            expires,
            order,
            frame,
            given: None,
            delivered: false,
        });
        self.counters.receive(OFFER);
        self.counters.waiting_calls += 1;
        self.counters.pending_messages += 1;
        self.give_offers(key, u64::MAX);
        self.arm_channel(key, at);
    }

    /// Gives waiting offers that the current master has not got to it, oldest first: those accepted before `before`.
    pub(super) fn give_offers(&mut self, key: ChannelKey, before: u64) {
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return;
        };
        let Some(master) = live.members.to_master() else {
            return;
        };
        let Some(session) = self.sessions.get_mut(master) else {
            return;
        };
        for call in live
            .calls
            .all()
            .filter(|call| call.given.is_none() && call.order < before)
        {
            call.given = Some(master);
            let launch = Launch {
                action: Action::SdpOffer,
                expires: NEVER,
                order: call.order,
                sender_bytes: u16::try_from(call.sender.len()).unwrap_or(u16::MAX),
                call: true,
                counted: !call.delivered,
                accepted_us: None,
            };
            let pushed = session
                .outbox
                .push_message(&mut self.spares, launch, |out| {
                    out.extend_from_slice(&call.frame)
                });
            self.counters.outbox_bytes += pushed as u64;
            if !call.delivered {
                self.counters.pending_messages -= 1;
                self.counters.outbox_messages += 1;
            }
        }
        self.touch(master);
    }

    /// The master is another one, or gone: offers it had and did not answer are for the next.
    pub(super) fn offers_lost_their_master(&mut self, key: ChannelKey) {
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return;
        };
        for call in live.calls.all().filter(|call| call.delivered) {
            call.given = None;
        }
    }

    /// The last byte of an offer was handed over to `master`.
    pub(super) fn offer_delivered(&mut self, master: SessionKey, order: u64) {
        let Some(key) = self.sessions.get(master).and_then(Session::channel) else {
            return;
        };
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return;
        };
        let current = live.members.master() == Some(master);
        let Some(call) = live.calls.by_order(order) else {
            return;
        };
        call.delivered = true;
        // Another master may have it by now.
        if !current && call.given == Some(master) {
            call.given = None;
            self.give_offers(key, u64::MAX);
        }
    }

    /// An offer came back from the outbox of `master`. While its call waits it is for the next one.
    pub(super) fn offer_came_back(&mut self, key: ChannelKey, master: SessionKey, launch: &Launch) {
        let live = self.channels.get_mut(key).and_then(Channel::live_mut);
        let call = live.and_then(|live| live.calls.by_order(launch.order));
        match call {
            Some(call) => {
                call.given.take_if(|given| *given == master);
                if launch.counted {
                    self.counters.pending_messages += 1;
                }
            }
            None if launch.counted => self.counters.end(OFFER, Outcome::Withdrawn),
            None => {}
        }
    }

    /// Ends the call that waits for an answer to `sender`: with the answer, or with nothing because a newer call of the same
    /// sender takes its place. False when none waits.
    pub(super) fn end_call(
        &mut self,
        key: ChannelKey,
        sender: &str,
        answer: Option<&str>,
        at: Moment,
    ) -> bool {
        let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) else {
            return false;
        };
        let Some(call) = live.calls.take(sender) else {
            return false;
        };
        self.close_call(
            &call,
            if answer.is_some() {
                Outcome::Withdrawn
            } else {
                Outcome::Overwritten
            },
        );
        self.tell(call.caller, Told::Answer(answer.map(Into::into)), at);
        true
    }

    /// Answers calls whose time is over with nothing.
    pub(super) fn expire_calls(&mut self, key: ChannelKey, at: Moment) {
        while let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) {
            let Some(call) = live.calls.take_expired(at.now) else {
                return;
            };
            self.close_call(&call, Outcome::Expired);
            self.tell(call.caller, Told::Answer(None), at);
        }
    }

    /// The caller hung up.
    pub(super) fn cancel_offer(&mut self, caller: CallRef, identity: &Identity, at: Moment) {
        let Some(&key) = self.names.get(identity) else {
            return;
        };
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let call = channel
            .live_mut()
            .and_then(|live| live.calls.take_of_caller(caller));
        channel.rest();
        if let Some(call) = call {
            self.close_call(&call, Outcome::Withdrawn);
            self.tell(caller, Told::Answer(None), at);
        }
    }

    /// Ends every call of a channel with a fault: the channel is deleted, or the process ends.
    pub(super) fn fail_calls(
        &mut self,
        key: ChannelKey,
        kind: ErrorKind,
        message: &str,
        at: Moment,
    ) {
        while let Some(live) = self.channels.get_mut(key).and_then(Channel::live_mut) {
            let Some(call) = live.calls.take_any() else {
                return;
            };
            self.close_call(&call, Outcome::Withdrawn);
            self.tell(call.caller, Told::Fault(kind, message.into()), at);
        }
    }

    /// Books the end of a call: an offer that no outbox ever had ends as `outcome`; any other has its own end.
    fn close_call(&mut self, call: &Waiting, outcome: Outcome) {
        self.counters.waiting_calls = self.counters.waiting_calls.saturating_sub(1);
        if call.given.is_none() && !call.delivered {
            self.counters.pending_messages -= 1;
            self.counters.end(OFFER, outcome);
        }
    }
}
