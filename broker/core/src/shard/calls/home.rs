//! API calls and Alexa calls, handled by their channel's home.

use crate::auth::Caller;
use crate::channel::alexa_calls::{CallKind, Calls, Waiting};
use crate::channel::players::Player;
use crate::channel::rates::Metered;
use crate::channel::{Channel, Life};
use crate::event::{Kind, Outcome, PlayerOutcome, Purpose};
use crate::id::{CallRef, ChannelKey, Identity, SessionKey};
use crate::refusal::{ErrorCode, Refusal};
use crate::session::outbox::DeliveryMark;
use crate::shard::calls::responses::{
    RATE_EXCEEDED, absence_unknown, absent, nobody, shutting_down, too_busy,
};
use crate::shard::context::Context;
use crate::shard::directory::BegunChange;
use crate::shard::directory::channels::status;
use crate::shard::directory::pending::{ForPlayer, NewCall};
use crate::shard::directory::permissions::CallerRole;
use crate::shard::directory::slots::DirectorySlots;
use crate::shard::directory::waiting_callers::{Call, CallRoom};
use crate::shard::flight_recorder::NotedCall;
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{Answer, Query, QueryKind};
use crate::shard::{Directory, Sockets};
use crate::{check::Check, journal::Unaccepted, limits::WAITING_CALLS_PER_CHANNEL_MAX};
use crate::{session::NEVER, time::Moment, time::Now};
use codec::control::{ErrorKind, Operation};
use codec::{identifiers::ChannelArn, signal::Action, whep::Fault};
use std::sync::Arc;

/// Answers a query about a channel: immediately, once its change is durable, or once the master has answered.
pub(crate) fn answer(shard: &mut State, caller: CallRef, query: Query) {
    if allows(&mut shard.directory, &mut shard.cx, caller, &query) {
        answer_allowed(shard, caller, query);
    }
}

/// Whether a query concerns a channel of this shard and its caller is authorized; if not, the query is refused.
pub(crate) fn allows(
    directory: &mut Directory,
    cx: &mut Context,
    caller: CallRef,
    query: &Query,
) -> bool {
    let kind = &query.kind;
    if !serves(directory, kind, cx.at) {
        cx.todo.answer(caller, nobody());
        return false;
    }
    let forbidden = match (&query.caller, kind) {
        (
            Some(judged),
            QueryKind::Look(identity, None)
            | QueryKind::Offer {
                identity,
                arn: None,
                ..
            },
        ) => {
            let client_id = query.client_id.as_deref();
            let mut rights = query.rights();
            rights.find_map(|right| directory.forbids_named(cx, judged, right, client_id, identity))
        }
        (Some(judged), _) => directory.forbids_tagged(cx, judged, query),
        (None, _) => None,
    };
    match forbidden {
        Some(answer) => {
            cx.todo.answer(caller, answer);
            false
        }
        None => true,
    }
}

/// Answers an authorized query if it is within its rate limit.
pub(crate) fn answer_allowed(shard: &mut State, caller: CallRef, query: Query) {
    match shard.directory.over_rate(&mut shard.cx, &query) {
        Some(answer) => shard.cx.todo.answer(caller, answer),
        None => {
            note_call(shard, &query);
            serve(shard, caller, query);
        }
    }
}

/// Records a call in the trace of its channel.
fn note_call(shard: &mut State, query: &Query) {
    let State { directory, cx, .. } = shard;
    if let (Some(remote), Some(key)) = (query.remote, directory.channel_of(&query.kind)) {
        let call = NotedCall {
            operation: query.operation,
            role: query.endpoint.map(|(role, _)| role),
            remote,
            client_id: query.client_id.as_deref(),
        };
        cx.telemetry.note().api_call(cx.at, key, &call);
    }
}

/// Whether this shard serves the slot of the channel that a query concerns.
fn serves(directory: &Directory, kind: &QueryKind, at: Moment) -> bool {
    match kind {
        QueryKind::Look(identity, _) | QueryKind::Create(identity, _) => {
            directory.serves(identity, at.now)
        }
        QueryKind::Offer { identity, .. } => directory.serves(identity, at.now),
        QueryKind::Change(arn, _) => {
            directory.slots().is_none() || directory.serves(&Identity::of(arn), at.now)
        }
    }
}

/// Answers a query that has been authorized and is within its rate limit.
pub(crate) fn serve(shard: &mut State, caller: CallRef, query: Query) {
    let (sockets, directory, cx, ..) = shard.parts();
    let (operation, elsewhere) = (query.operation, query.elsewhere);
    let from = query.caller.as_ref();
    let asker = (from, query.client_id.as_deref(), query.posted);
    let answer = match query.kind {
        QueryKind::Look(identity, arn) => {
            let answer = directory.look(operation, &identity, arn.as_ref());
            directory.note_endpoint(cx, query.caller.as_ref(), &answer, query.endpoint);
            answer
        }
        QueryKind::Create(identity, create) => {
            let may_create = directory.may_create(identity.tenant(), elsewhere);
            let has_room = may_create.and_then(|()| room_in_store(sockets));
            match has_room.and_then(|()| directory.create(cx, &identity, create, elsewhere)) {
                Ok(begun) => return submit(directory, cx, begun, caller),
                Err(refusal) => refusal.into(),
            }
        }
        QueryKind::Change(arn, alteration) => {
            let asked = (operation, elsewhere);
            match directory.alter(cx, caller, arn, alteration, asked) {
                Ok(Some(begun)) => return submit(directory, cx, begun, caller),
                Ok(None) => return,
                Err(refusal) => refusal.into(),
            }
        }
        QueryKind::Offer {
            identity,
            arn,
            sender,
            payload,
        } => {
            let found = match &arn {
                Some(arn) => directory.find_active(arn),
                None => directory.named_active(&identity),
            };
            match found {
                Some(key) if !sockets.drains() => {
                    let new = NewCall {
                        caller,
                        sender,
                        payload,
                        player: directory.player(cx, asker, &identity),
                    };
                    return directory.take_offer(cx, key, new);
                }
                Some(_) => shutting_down().into(),
                None => directory.not_found(&identity, arn.as_ref()).into(),
            }
        }
    };
    cx.todo.answer(caller, answer);
}

/// Returns an error for new channels if etcd is nearly full.
fn room_in_store(sockets: &Sockets) -> Result<(), Refusal> {
    if sockets.readiness().store_nearly_full() {
        return Err(Refusal::unavailable(Check::RecordsFull, STORE_FULL));
    }
    Ok(())
}

/// Submits a change to the store; the result is returned to the caller as the answer.
fn submit(directory: &mut Directory, cx: &mut Context, begun: BegunChange, caller: CallRef) {
    directory.submit(cx, begun, Some(caller));
}

impl Directory {
    /// Returns the channel identified by an ARN, including its creation time, unless it is still being created.
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

    /// Returns the active channel with this name, if any.
    fn named_active(&self, identity: &Identity) -> Option<ChannelKey> {
        self.key_of(identity).filter(|key| self.is_active(*key))
    }

    fn is_active(&self, key: ChannelKey) -> bool {
        let channel = self.channel(key);
        channel.is_some_and(|channel| channel.state == Life::Active)
    }

    /// Returns the player that made the call, or `None` for any other kind of caller.
    fn player(
        &self,
        cx: &mut Context,
        (caller, client_id, posted): (Option<&Caller>, Option<&str>, Option<Now>),
        identity: &Identity,
    ) -> Option<Box<Player>> {
        let (caller, client_id, posted) = (caller?, client_id?, posted?);
        let has_ice = self.may_have_ice(cx, caller, Some(client_id), identity);
        let channel = self.named_channel(identity)?;
        let role = self.caller_role(cx, caller, &channel.record.arn);
        let player = Player::new(client_id.into(), role.caller(), has_ice, posted);
        Some(Box::new(player))
    }

    /// Counts a call against its channel's rate limit and the caller's share of it; returns the refusal if either is
    /// exceeded. Calls to a missing channel are not limited.
    fn over_rate(&mut self, cx: &mut Context, query: &Query) -> Option<Answer> {
        let what = query.metered();
        what.rate(&self.settings().quotas)?;
        let key = self.channel_of(&query.kind)?;
        let arn = &self.channel(key)?.record.arn;
        let caller = query.caller.as_ref();
        let role = caller
            .filter(|_| !self.settings().strict())
            .map_or(CallerRole::Anyone, |caller| {
                self.caller_role(cx, caller, arn)
            });
        let what = match (role, what) {
            (CallerRole::Master, Metered::Call(operation)) => Metered::CallAsMaster(operation),
            (_, what) => what,
        };
        if self.count_call(key, (what, role.caller()), cx.at.now) {
            cx.todo.push(Todo::Arm(key));
            return None;
        }
        let check = if what == Metered::ConnectAsViewer {
            Check::RateConnect
        } else {
            Check::RateChannel
        };
        Some(Refusal::limited(check, RATE_EXCEEDED).into())
    }

    /// Returns the channel that a query concerns, if it exists.
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

    fn look(&self, operation: Operation, identity: &Identity, arn: Option<&ChannelArn>) -> Answer {
        let channel = self
            .named_channel(identity)
            .filter(|channel| arn.is_none_or(|arn| channel.record.arn == *arn));
        let Some((channel, status)) = channel.and_then(|channel| Some((channel, status(channel)?)))
        else {
            return self.not_found(identity, arn).into();
        };
        let ending = channel.state == Life::Deleting;
        if ending && operation == Operation::GetSignalingChannelEndpoint {
            let message = "The channel is being deleted.";
            let kind = ErrorKind::ResourceInUse;
            return Refusal::new(Check::ChannelDeleting, kind, message).into();
        }
        if ending && operation == Operation::GetIceServerConfig {
            return self.not_found(identity, arn).into();
        }
        Answer::Record(Arc::clone(&channel.record), status)
    }

    /// Returns the error for a missing or inactive channel, which is identical for all causes. `arn`: the ARN in the
    /// request, if it contained one.
    ///
    /// SDKs create a channel if it is not found, so while the channel may exist on another node the error asks for a
    /// retry instead.
    pub(crate) fn not_found(&self, identity: &Identity, arn: Option<&ChannelArn>) -> Refusal {
        if !self.slots().is_none_or(DirectorySlots::knows_absence) {
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
}

/// Error message for new channels when etcd is nearly full.
const STORE_FULL: &str =
    "The registry's store is nearly full, so it takes no new channels. Try again later.";

// Calls of Alexa and of players on their channel's shard: offered to the master, answered, expired, withdrawn. See
// codec/PROTOCOL.md, ALEXA and WHEP.
//
// In the counters a call is one SDP_OFFER: received when its letter is taken in; in the pending gauge until a master's
// outbox has it; delivered when that master got it. Giving it again to the next master counts nothing.

const OFFER: Kind = Kind::Known(Action::SdpOffer);

/// Sends the current master the pending offers that were accepted before `before` and that it has not yet received,
/// oldest first.
pub(crate) fn give_offers(
    sockets: &mut Sockets,
    directory: &mut Directory,
    cx: &mut Context,
    key: ChannelKey,
    before: u64,
) {
    let Some((master, calls)) = directory.give_calls(key, before) else {
        return;
    };
    if sockets.web_socket(master).is_none() {
        return;
    }
    let mut too_long = Vec::new();
    for call in calls {
        if call.player.is_some() && sockets.excess_for(master, call.frame.len()) > 0 {
            too_long.push(call.order); // it would lose its connection by it
            continue;
        }
        let launch = DeliveryMark {
            action: Action::SdpOffer,
            expires: NEVER,
            order: call.order,
            sender_bytes: u16::try_from(call.sender.len()).unwrap_or(u16::MAX),
            call: true,
            counted: !call.delivered,
            from: None,
            first: false,
            follows: false,
            accepted_us: None,
        };
        let Some(pushed) = sockets.push_kept(master, launch, &call.frame) else {
            return;
        };
        if call.delivered {
            cx.telemetry.count_copy_queued(pushed);
        } else {
            cx.telemetry.count_unkept();
            cx.telemetry.count_queued(pushed);
        }
    }
    sockets.touch(master);
    for order in too_long {
        directory.end_too_long(cx, (key, order));
    }
}

impl Directory {
    /// Adds a call to its channel. Once the call is certain to be admitted, it replaces an older one from the same
    /// sender, or evicts one of an account or channel that exceeds its share.
    fn take_offer(&mut self, cx: &mut Context, key: ChannelKey, new: NewCall) {
        let caller = new.caller;
        match self.room_for_offer(key, &new) {
            Err(refused) => return cx.todo.answer(caller, refused),
            Ok(Some(other)) => self.end_for_another(cx, other),
            Ok(None) => drop(self.end_call(cx, key, &new.sender, None)),
        }
        if new.player.is_some() {
            let bytes = new.payload.len();
            cx.telemetry.note().called(cx.at, key, bytes, &new.sender);
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

    /// Determines whether a call can be admitted, and which other sender's call it evicts. A call that replaces an
    /// older one of its sender is always admitted.
    fn room_for_offer(&self, key: ChannelKey, new: &NewCall) -> Result<Option<Call>, Answer> {
        let (sender, kind) = (&*new.sender, CallKind::of(&new.player));
        if !self.has_call_place(new.caller) {
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
        match self.room_for_call(kind, channel.record.arn.account(), key) {
            CallRoom::Free => Ok(None),
            CallRoom::InPlaceOf(other) => Ok(Some(other)),
            CallRoom::None => Err(over_limit(kind, SHARD_FULL)),
        }
    }

    /// Handles the delivery of this channel's offers to `master`, once their last bytes were sent.
    pub(crate) fn offers_delivered(
        &mut self,
        cx: &mut Context,
        key: ChannelKey,
        master: SessionKey,
        orders: &[u64],
    ) {
        let sent = |order: &&u64| self.offer_was_sent(key, master, **order);
        if orders.iter().filter(sent).count() > 0 {
            cx.todo.push(Todo::GiveOffers(key));
        }
    }

    /// Takes back an undelivered offer from the outbox of `master`. If its call is still pending, the offer goes to the
    /// next master.
    pub(crate) fn offer_came_back(
        &mut self,
        cx: &mut Context,
        key: ChannelKey,
        master: SessionKey,
        launch: &DeliveryMark,
    ) {
        let waits = self.offer_returned(key, master, launch.order);
        if launch.counted && waits {
            cx.telemetry.count_kept(1);
        } else if launch.counted {
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

// The end of a call: answered, in favour of another, expired, withdrawn, failed. A player's call that has its answer
// ends with that, whatever ends it.

impl Directory {
    /// Ends the pending call of `sender`: with the answer, or without one if a newer call from the same sender replaces
    /// it. Returns `false` if none is pending.
    pub(crate) fn end_call(
        &mut self,
        cx: &mut Context,
        key: ChannelKey,
        sender: &str,
        answer: Option<&str>,
    ) -> bool {
        let Some(call) = self.take_call(key, |calls| calls.take(sender)) else {
            return false;
        };
        let outcome = if answer.is_some() {
            Outcome::Withdrawn
        } else {
            Outcome::Overwritten
        };
        close_call(cx, &call, outcome);
        answer_offer(cx, key, call, Answer::Answer(answer.map(Into::into)));
        true
    }

    /// Adds an answer or a candidate to a player's call, which may complete it. Returns whether it was accepted, or
    /// `None` if no player with this id is waiting.
    pub(crate) fn gather_for(&mut self, cx: &mut Context, message: &ForPlayer<'_>) -> Option<bool> {
        let (kept, ends) = self.gather(message, cx.at.now)?;
        let answer = match ends {
            Err(fault) => Some(unusable(fault).into()),
            Ok(ends) => ends.then_some(Answer::Answer(None)),
        };
        let (key, sender) = (message.channel, message.sender);
        let ended = answer.and_then(|answer| {
            let call = self.take_call(key, |calls| calls.take(sender))?;
            Some((call, answer))
        });
        match ended {
            Some((call, answer)) => {
                close_call(cx, &call, Outcome::Withdrawn);
                answer_offer(cx, key, call, answer);
            }
            None => cx.todo.push(Todo::Arm(key)),
        }
        Some(kept)
    }

    /// Sends an empty answer to calls that have expired.
    pub(crate) fn expire_calls(&mut self, cx: &mut Context, key: ChannelKey) {
        while let Some(call) = self.take_call(key, |calls| calls.take_expired(cx.at.now)) {
            close_call(cx, &call, Outcome::Expired);
            answer_offer(cx, key, call, Answer::Answer(None));
        }
    }

    /// Withdraws the call of a caller on this shard that has hung up.
    pub(crate) fn withdraw_local(
        &mut self,
        cx: &mut Context,
        caller: CallRef,
        identity: &Identity,
    ) {
        if let Some(key) = self.key_of(identity) {
            self.take_back_offer(cx, caller, key);
        }
    }

    /// Withdraws the call of a caller on another shard that has hung up, unless its answer is in flight.
    pub(crate) fn withdraw_offer(&mut self, cx: &mut Context, caller: CallRef) {
        let call = self.call_of(caller);
        if let Some((key, _)) = call
            && let Some(call) = self.take_back_offer(cx, caller, key)
        {
            answer_offer(cx, key, call, Answer::Answer(None));
        }
    }

    fn take_back_offer(
        &mut self,
        cx: &mut Context,
        caller: CallRef,
        key: ChannelKey,
    ) -> Option<Waiting> {
        let call = self.take_call(key, |calls| calls.take_of_caller(caller));
        self.rest(key);
        let call = call?;
        close_call(cx, &call, Outcome::Withdrawn);
        if call.player.is_some() {
            cx.telemetry.count_player(PlayerOutcome::HungUp, None);
        }
        Some(call)
    }

    /// Refuses all calls of a channel, because it is being deleted or the process is shutting down.
    pub(crate) fn fail_calls(&mut self, cx: &mut Context, key: ChannelKey, refusal: &Refusal) {
        while let Some(call) = self.take_call(key, Calls::take_any) {
            close_call(cx, &call, Outcome::Withdrawn);
            answer_offer(cx, key, call, Answer::Refusal(refusal.clone()));
        }
    }

    /// Evicts a call to admit one from an account with fewer calls, or one from the same account on a channel with
    /// fewer calls.
    fn end_for_another(&mut self, cx: &mut Context, (key, order): Call) {
        if let Some(call) = self.take_call(key, |calls| calls.take_of_order(order)) {
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

    /// Ends a player's call whose offer is too long for the master.
    fn end_too_long(&mut self, cx: &mut Context, call: Call) {
        let (key, order) = call;
        if let Some(mut call) = self.take_call(key, |calls| calls.take_of_order(order)) {
            call.given = None; // it never left
            close_call(cx, &call, Outcome::Withdrawn);
            let refusal = Refusal::of_head(Check::BodyTooLarge, 413, OFFER_TOO_LONG);
            answer_offer(cx, key, call, refusal.into());
        }
    }
}

/// Counts the end of a call with `outcome` if its offer was never in an outbox; otherwise it is counted when the
/// offer's delivery ends.
fn close_call(cx: &mut Context, call: &Waiting, outcome: Outcome) {
    cx.telemetry.count_call_over();
    if call.never_left() {
        cx.telemetry.count_kept_ended(OFFER, outcome);
    }
}

/// Answers the caller of a pending call. A player receives its session or an error.
fn answer_offer(cx: &mut Context, key: ChannelKey, call: Waiting, answer: Answer) {
    let was_given = call.given.is_some() || call.delivered;
    let answer = match (call.player.map(|player| player.end()), answer) {
        (None, answer) => answer,
        (Some(Some(played)), _) => {
            cx.telemetry
                .note()
                .call_ended(cx.at, key, 201, &call.sender);
            Answer::Played(Box::new(played))
        }
        (Some(None), answer) => {
            let refusal = if let Answer::Refusal(refusal) = answer {
                refusal
            } else {
                not_answered(was_given)
            };
            let status = refusal.status(Purpose::Whep);
            (cx.telemetry.note()).call_ended(cx.at, key, status, &call.sender);
            refusal.into()
        }
    };
    cx.todo
        .push(Todo::OfferAnswer(call.caller, Box::new(answer)));
}

/// Returns the error for a player that no camera answered in time.
fn not_answered(was_given: bool) -> Refusal {
    let (check, status, message) = if was_given {
        (Check::WhepSilent, 504, "The camera did not answer in time.")
    } else {
        (Check::WhepNoMaster, 409, "The camera is not connected.")
    };
    Refusal::new(check, ErrorCode::Fixed(status, NO_ANSWER), message)
}

/// Returns the error for a player whose camera sent an unusable answer.
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

/// Error type for a player whose call is not answered.
const NO_ANSWER: &str = "NoAnswerException";

const OFFER_TOO_LONG: &str = "The offer is longer than the camera can take.";

const MADE_ROOM: &str = "This account has more than its share of waiting SendAlexaOfferToMaster calls. Try again \
                         later.";
