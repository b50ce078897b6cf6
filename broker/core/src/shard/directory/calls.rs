//! Handles Alexa calls and players' calls on the shard that owns their channel. A call is offered to the master, and
//! then answered, expired or withdrawn. See codec/PROTOCOL.md, ALEXA and WHEP.
//!
//! Each call is stored in its channel, and counted towards its account in [`WaitingCalls`]. Only the methods in this
//! file modify either of them. In the message counters, a call is one SDP_OFFER. The offer counts as received when the
//! query arrives, as pending until it is in a master's outbox, and as delivered once it has been sent to that master.
//! Sending it to another master later is not counted.
//!
//! [`WaitingCalls`]: crate::shard::directory::waiting_calls::WaitingCalls

use crate::channel::Live;
use crate::channel::alexa_calls::{CallKind, Waiting};
use crate::channel::players::Player;
use crate::check::Check;
use crate::event::{Kind, Outcome, PlayerOutcome, Purpose};
use crate::id::{Account, CallRef, ChannelKey, SessionKey};
use crate::journal::Unaccepted;
use crate::limits::{ENDED_PLAYER_MS, WAITING_CALLS_PER_CHANNEL_MAX};
use crate::presence::PresenceCause;
use crate::refusal::{ErrorCode, Refusal};
use crate::session::outbox::{DeliveryMark, Unsent};
use crate::shard::context::Context;
use crate::shard::directory::waiting_calls::{Call, EndedCall};
use crate::shard::shares::{RoomFor, too_busy};
use crate::shard::todo::{Membership, Todo};
use crate::shard::{Answer, Directory};
use crate::time::Moment;
use codec::base64;
use codec::signal::{Action, Delivery};
use codec::whep::Fault;

impl Directory {
    /// Queues a call on its channel. Returns `false` if the channel no longer exists. A call from another shard uses
    /// capacity until that shard acknowledges that the call has ended.
    fn add_call(&mut self, key: ChannelKey, new: NewCall, at: Moment) -> bool {
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
        self.changed(key, (PresenceCause::Waiting, None));
        true
    }

    /// Removes the first call that `is` selects from a channel.
    fn take_call(&mut self, key: ChannelKey, is: impl FnMut(&Waiting) -> bool) -> Option<Waiting> {
        let channel = self.channels.get_mut(key)?;
        let call = channel.live_mut()?.calls.take_first(is)?;
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

    /// Returns a channel's current master, and the calls accepted before `before` whose offers this master has not
    /// received yet, oldest first. When the iterator yields a call, the call is assigned to the master.
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
        let calls = live.calls.iter_mut();
        let left = calls.filter(move |call| call.awaits_master() && call.order < before);
        let given = left.filter_map(move |call| {
            call.given = Some(master);
            (!call.had.contains(&master)).then_some(&*call)
        });
        Some((master, given))
    }

    /// Takes unanswered offers away from a master that has left or was replaced, so that the next master receives them.
    /// `unsent` contains the messages taken back from the former master's outbox.
    pub(crate) fn offers_lost_their_master(&mut self, former: &Membership, unsent: &[Unsent]) {
        let (key, master) = (former.channel, former.session);
        let Some(live) = self.live_mut(key) else {
            return;
        };
        let Live { calls, members, .. } = live;
        let stays = members.gave_way(master);
        for call in calls.iter_mut().filter(|call| call.delivered) {
            let order = call.order;
            let comes_back = |one: &Unsent| one.launch.call && one.launch.order == order;
            let had = call.given.take_if(|given| *given == master).is_some();
            if had && stays && !unsent.iter().any(comes_back) {
                call.was_had(master);
            }
        }
        self.changed(key, (PresenceCause::Waiting, None));
    }

    /// Records that an offer has been sent to `master` in full. Returns `true` if `master` was replaced in the
    /// meantime, in which case the next master must receive the offer too.
    pub(crate) fn offer_sent(&mut self, key: ChannelKey, master: SessionKey, order: u64) -> bool {
        let Some(live) = self.live_mut(key) else {
            return false;
        };
        let current = live.members.master() == Some(master);
        let stays = live.members.gave_way(master);
        let Some(call) = live.calls.by_order(order) else {
            return false;
        };
        call.delivered = true;
        // By now, the offer may be assigned to another master.
        let returns = !current && call.given == Some(master);
        if returns {
            call.given = None;
            if stays {
                call.was_had(master);
            }
        }
        if returns {
            self.changed(key, (PresenceCause::Waiting, None));
        }
        returns
    }
}

const OFFER: Kind = Kind::Known(Action::SdpOffer);

impl Directory {
    /// Adds a call to its channel, or refuses it. A new call replaces the same sender's older one. If there is no
    /// capacity, the new call can evict a call of an account or channel that exceeds its share.
    pub(crate) fn take_offer(&mut self, cx: &mut Context, key: ChannelKey, new: NewCall) {
        let caller = new.caller;
        match self.room_for_offer(key, &new) {
            Err(refused) => return cx.todo.answer(caller, refused),
            Ok(Some(other)) => self.end_for_another(cx, other),
            Ok(None) => {
                if let Some(call) = self.take_call(key, |call| call.sender == new.sender) {
                    close_call(cx, &call, Outcome::Overwritten);
                    answer_offer(cx, key, call, Answer::Answer(None));
                }
            }
        }
        if new.player.is_some() {
            let bytes = new.payload.len();
            cx.note(key).called(bytes, &new.sender);
        }
        if !self.add_call(key, new, cx.at) {
            return;
        }
        cx.telemetry.count_received(OFFER);
        cx.telemetry.count_call_waiting();
        cx.telemetry.count_kept(1);
        if caller.shard != self.shard() {
            cx.todo.push(Todo::OfferTaken(caller));
        }
        cx.todo.push(Todo::GiveOffers(key));
        cx.todo.push(Todo::Arm(key));
    }

    /// Checks whether a call can be added to its channel. Returns the call to evict for it, if any, or the refusal. A
    /// call that replaces the same sender's older one is exempt from the limits on pending calls.
    fn room_for_offer(&self, key: ChannelKey, new: &NewCall) -> Result<Option<Call>, Answer> {
        let (sender, kind) = (&*new.sender, CallKind::of(&new.player));
        if new.caller.shard != self.shard() && !self.waits.has_place() {
            return Err(too_busy().into());
        }
        let Some(channel) = self.channel(key) else {
            return Ok(None);
        };
        let calls = channel.live().map(|live| &live.calls);
        if calls.is_some_and(|calls| calls.of(sender).is_some()) {
            return Ok(None);
        }
        if calls.is_some_and(|calls| calls.len() >= WAITING_CALLS_PER_CHANNEL_MAX) {
            return Err(over_limit(kind, CHANNEL_FULL));
        }
        match self.waits.room(kind, channel.record.arn.account(), key) {
            RoomFor::Free => Ok(None),
            RoomFor::InPlaceOf(other) => Ok(Some(other)),
            RoomFor::None => Err(over_limit(kind, SHARD_FULL)),
        }
    }

    /// Takes an unsent offer back from a master's outbox. If the call is still pending, the next master receives the
    /// offer.
    pub(crate) fn offer_returns(&mut self, cx: &mut Context, of: &Membership, mark: &DeliveryMark) {
        let live = self.live_mut(of.channel);
        let call = live.and_then(|live| live.calls.by_order(mark.order));
        let waits = call.is_some();
        if let Some(call) = call {
            call.given.take_if(|given| *given == of.session);
        }
        self.changed(of.channel, (PresenceCause::Waiting, None));
        if mark.counted && waits {
            cx.telemetry.count_kept(1);
        } else if mark.counted {
            cx.telemetry.count_ended(OFFER, Outcome::Withdrawn);
        }
    }
}

fn over_limit(kind: CallKind, message: &'static str) -> Answer {
    match kind {
        CallKind::Alexa => Refusal::limited(Check::AlexaCallsFull, message).into(),
        CallKind::Player => Refusal::unavailable(Check::WhepFull, PLAYERS_FULL).into(),
    }
}

const PLAYERS_FULL: &str = "As many players wait for their answer as may. Try again later.";

const CHANNEL_FULL: &str =
    "Too many SendAlexaOfferToMaster calls wait for this channel. Try again later.";
const SHARD_FULL: &str =
    "Too many SendAlexaOfferToMaster calls wait for channels of this account. Try again later.";

// The end of a call: it is answered, evicted, expired, withdrawn or failed. A player's call that already has an answer
// returns that answer, however it ends.

impl Directory {
    /// Ends the pending call that a master's message answers. Returns `false` if there is none.
    pub(crate) fn answer_call(&mut self, cx: &mut Context, message: &ForCall<'_>) -> bool {
        let key = message.channel;
        let Some(call) = self.take_call(key, |call| *call.sender == *message.sender) else {
            return false;
        };
        close_call(cx, &call, Outcome::Withdrawn);
        let answer = base64::text(message.payload).into();
        answer_offer(cx, key, call, Answer::Answer(Some(answer)));
        true
    }

    /// Adds an answer or a candidate to a player's call, which may complete the call. Returns whether the message was
    /// accepted, or `None` if no player with this id is waiting.
    pub(crate) fn gather_for(&mut self, cx: &mut Context, message: &ForCall<'_>) -> Option<bool> {
        let (key, sender) = (message.channel, message.sender);
        let channel = self.channels.get_mut(key)?;
        let mut calls = channel.live_mut()?.calls.iter_mut();
        let call = calls.find(|call| *call.sender == *sender)?;
        let player = call.player.as_deref_mut()?;
        let kept = player.take(message.from, message.action, message.payload, cx.at.now);
        let answer = match kept {
            Err(fault) => Some(unusable(fault).into()),
            Ok(_) => {
                call.expires = player.ends(&self.settings.whep);
                if player.has_answer() {
                    call.frame = Box::default(); // no further master receives the offer
                }
                (call.expires <= cx.at.now).then_some(Answer::Answer(None))
            }
        };
        let ended = answer.and_then(|answer| {
            let call = self.take_call(key, |call| *call.sender == *sender)?;
            Some((call, answer))
        });
        match ended {
            Some((call, answer)) => {
                close_call(cx, &call, Outcome::Withdrawn);
                answer_offer(cx, key, call, answer);
            }
            None => cx.todo.push(Todo::Arm(key)),
        }
        Some(kept == Ok(true))
    }

    /// Ends all of a channel's expired calls. Their callers receive an empty answer.
    pub(crate) fn expire_calls(&mut self, cx: &mut Context, key: ChannelKey) {
        while let Some(call) = self.take_call(key, |call| call.expires <= cx.at.now) {
            close_call(cx, &call, Outcome::Expired);
            answer_offer(cx, key, call, Answer::Answer(None));
        }
    }

    /// Withdraws a call whose caller has hung up. If the caller is on another shard, sends an empty answer there.
    pub(crate) fn withdraw_call(&mut self, cx: &mut Context, key: ChannelKey, caller: CallRef) {
        let call = self.take_call(key, |call| call.caller == caller);
        self.rest(key);
        let Some(call) = call else { return };
        close_call(cx, &call, Outcome::Withdrawn);
        if call.player.is_some() {
            cx.telemetry.count_player(PlayerOutcome::HungUp, None);
        }
        if caller.shard != self.shard {
            answer_offer(cx, key, call, Answer::Answer(None));
        }
    }

    /// Ends all of a channel's calls with `refusal`, because the channel no longer exists or the process is shutting
    /// down.
    pub(crate) fn fail_calls(&mut self, cx: &mut Context, key: ChannelKey, refusal: &Refusal) {
        while let Some(call) = self.take_call(key, |_| true) {
            close_call(cx, &call, Outcome::Withdrawn);
            answer_offer(cx, key, call, Answer::Refusal(refusal.clone()));
        }
    }

    /// Evicts a call so that an account with fewer calls, or another channel of the same account with fewer calls, can
    /// add one.
    fn end_for_another(&mut self, cx: &mut Context, (key, order): Call) {
        if let Some(call) = self.take_call(key, |call| call.order == order) {
            cx.telemetry.count_call_over();
            if call.never_left() {
                cx.telemetry.count_unkept();
                cx.telemetry.count_unaccepted(OFFER, Unaccepted::NoRoom);
            }
            let answer = over_limit(call.kind(), MADE_ROOM);
            answer_offer(cx, key, call, answer);
        }
        self.rest(key);
    }

    /// Ends a player's call because its offer is too long for the master.
    pub(crate) fn end_too_long(&mut self, cx: &mut Context, call: Call) {
        let (key, order) = call;
        if let Some(mut call) = self.take_call(key, |call| call.order == order) {
            call.given = None; // the offer was never sent
            close_call(cx, &call, Outcome::Withdrawn);
            let refusal = Refusal::of_head(Check::BodyTooLarge, 413, OFFER_TOO_LONG);
            answer_offer(cx, key, call, refusal.into());
        }
    }
}

/// Counts a call that has ended. If the offer is or was in an outbox, its outcome is counted when its delivery ends.
/// Otherwise, this method counts `outcome`.
fn close_call(cx: &mut Context, call: &Waiting, outcome: Outcome) {
    cx.telemetry.count_call_over();
    if call.never_left() {
        cx.telemetry.count_kept_ended(OFFER, outcome);
    }
}

/// Answers the caller of a call that was pending. A player receives its session description, or an error.
fn answer_offer(cx: &mut Context, key: ChannelKey, call: Waiting, answer: Answer) {
    let was_given = call.given.is_some() || call.delivered;
    let answer = match (call.player.map(|player| player.end()), answer) {
        (None, answer) => answer,
        (Some(Some(played)), _) => {
            cx.note(key).call_ended(201, &call.sender);
            Answer::Played(Box::new(played))
        }
        (Some(None), answer) => {
            let refusal = if let Answer::Refusal(refusal) = answer {
                refusal
            } else {
                not_answered(was_given)
            };
            let status = refusal.status(Purpose::Whep);
            cx.note(key).call_ended(status, &call.sender);
            refusal.into()
        }
    };
    cx.todo
        .push(Todo::OfferAnswer(call.caller, Box::new(answer)));
}

/// Returns the error for a player whose call received no answer in time.
fn not_answered(was_given: bool) -> Refusal {
    let (check, status, message) = if was_given {
        (Check::WhepSilent, 504, "The camera did not answer in time.")
    } else {
        (Check::WhepNoMaster, 409, "The camera is not connected.")
    };
    Refusal::new(check, ErrorCode::Fixed(status, NO_ANSWER), message)
}

/// Returns the error for a player whose call received an unusable answer.
fn unusable(fault: Fault) -> Refusal {
    let message = match fault {
        Fault::NoMedia => "The camera answered without media: it takes no codec of the offer.",
        Fault::Malformed | Fault::TooLong => "The camera's answer is not an SDP answer.",
    };
    Refusal::new(
        Check::WhepNoCodec,
        ErrorCode::Fixed(502, NO_ANSWER),
        message,
    )
}

/// Error type for a player's call that was not answered.
const NO_ANSWER: &str = "NoAnswerException";

const OFFER_TOO_LONG: &str = "The offer is longer than the camera can take.";

const MADE_ROOM: &str = "This account has more than its share of waiting SendAlexaOfferToMaster calls. Try again \
                         later.";

/// A message that a master addressed to a pending call.
pub(crate) struct ForCall<'a> {
    pub(crate) channel: ChannelKey,
    /// The client id to which the master addressed the message.
    pub(crate) sender: &'a str,
    /// The master's connection.
    pub(crate) from: SessionKey,
    pub(crate) action: Action,
    pub(crate) payload: &'a [u8],
}

/// A call to queue on its channel.
pub(crate) struct NewCall {
    pub(crate) caller: CallRef,
    /// The client id to which the master will address its answer.
    pub(crate) sender: Box<str>,
    /// The offer, base64-encoded.
    pub(crate) payload: Box<str>,
    pub(crate) player: Option<Box<Player>>,
}

/// Returns how long a call waits for its answer, in milliseconds: the channel's message lifetime or the configured
/// maximum, whichever is shorter.
pub(crate) fn wait_ms(ttl_seconds: u32, most_ms: u64) -> u64 {
    let ttl_ms = u64::from(ttl_seconds) * 1000;
    if most_ms == 0 {
        ttl_ms
    } else {
        ttl_ms.min(most_ms)
    }
}
