//! Calls on the shard that owns their channel, those of Alexa among them.

use crate::channel::alexa_calls::{Calls, Waiting};
use crate::channel::rates::Metered;
use crate::channel::{Channel, Life};
use crate::event::{Kind, Outcome};
use crate::id::{CallRef, ChannelKey, Identity, SessionKey};
use crate::session::outbox::DeliveryMark;
use crate::shard::calls::responses::{
    RATE_EXCEEDED, absence_unknown, absent, nobody, shutting_down, too_busy,
};
use crate::shard::context::Context;
use crate::shard::directory::BegunChange;
use crate::shard::directory::channels::status;
use crate::shard::directory::permissions::CallerRole;
use crate::shard::directory::slots::DirectorySlots;
use crate::shard::directory::waiting_callers::{Call, CallRoom, PageOf};
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{Answer, Query, QueryKind};
use crate::shard::{Directory, Sockets};
use crate::{check::Check, journal::Unaccepted, limits::WAITING_CALLS_PER_CHANNEL_MAX};
use crate::{refusal::Refusal, session::NEVER, time::Moment};
use codec::control::{ErrorKind, Operation};
use codec::{identifiers::ChannelArn, signal::Action};

/// Answers a question about a channel: at once, or when a change is durable, or when the master has answered.
pub(crate) fn answer(shard: &mut State, caller: CallRef, query: Query) {
    if allows(&mut shard.directory, &mut shard.cx, caller, &query) {
        answer_allowed(shard, caller, query);
    }
}

/// Whether a channel of this shard is asked for, by a caller that may; if not, that is the answer.
pub(crate) fn allows(
    directory: &mut Directory,
    cx: &mut Context,
    caller: CallRef,
    query: &Query,
) -> bool {
    let (operation, kind) = (query.operation, &query.kind);
    if !serves(directory, kind, cx.at) {
        cx.todo.answer(caller, nobody());
        return false;
    }
    let forbidden = match (&query.caller, kind) {
        (Some(judged), QueryKind::Look(identity, None)) => {
            directory.forbids_named(cx, judged, operation, identity)
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

/// Answers an authorized query after its rate limit.
pub(crate) fn answer_allowed(shard: &mut State, caller: CallRef, query: Query) {
    match shard.directory.over_rate(&mut shard.cx, &query) {
        Some(answer) => shard.cx.todo.answer(caller, answer),
        None => serve(shard, caller, query),
    }
}

/// Whether the channel that a question is about is here, as far as its slot goes.
fn serves(directory: &Directory, kind: &QueryKind, at: Moment) -> bool {
    match kind {
        QueryKind::Look(identity, _) | QueryKind::Create(identity, _) => {
            directory.serves(identity, at.now)
        }
        QueryKind::Change(arn, _) | QueryKind::Offer { arn, .. } => {
            directory.slots().is_none() || directory.serves(&Identity::of(arn), at.now)
        }
        QueryKind::Page { .. } | QueryKind::Permit(_) | QueryKind::Count { .. } => true,
    }
}

/// Answers a question that is allowed and counted.
pub(crate) fn serve(shard: &mut State, caller: CallRef, query: Query) {
    let (sockets, directory, cx, ..) = shard.parts();
    let (operation, held) = (query.operation, query.held);
    let answer = match query.kind {
        QueryKind::Look(identity, arn) => {
            let answer = directory.look(operation, &identity, arn.as_ref());
            directory.note_endpoint(cx, query.caller.as_ref(), &answer, query.endpoint);
            answer
        }
        QueryKind::Create(..) if sockets.readiness().store_nearly_full() => {
            Refusal::unavailable(Check::RecordsFull, STORE_FULL).into()
        }
        QueryKind::Create(identity, create) => {
            match directory.create(cx, &identity, create, held) {
                Ok(begun) => return submit(directory, cx, begun, caller),
                Err(refusal) => refusal.into(),
            }
        }
        QueryKind::Change(arn, alteration) => {
            let asked = (operation, held);
            match directory.alter(cx, caller, arn, alteration, asked) {
                Ok(Some(begun)) => return submit(directory, cx, begun, caller),
                Ok(None) => return,
                Err(refusal) => refusal.into(),
            }
        }
        QueryKind::Page {
            of: _,
            prefix,
            after,
            limit,
        } => {
            let of = PageOf {
                prefix,
                after,
                limit,
            };
            return directory.send_page(cx, caller, of);
        }
        QueryKind::Permit(account) => directory.permit(operation, &account, cx.at),
        QueryKind::Count { of: _, prefix } => Answer::Holding(directory.held_by(&prefix)),
        QueryKind::Offer {
            arn,
            sender,
            payload,
        } => match directory.find_active(&arn) {
            Some(key) if !sockets.drains() => {
                return directory.take_offer(cx, caller, key, &sender, &payload);
            }
            Some(_) => shutting_down().into(),
            None => directory.not_found(&Identity::of(&arn), Some(&arn)).into(),
        },
    };
    cx.todo.answer(caller, answer);
}

/// Hands a change to the store, whose answer is the caller's.
fn submit(directory: &mut Directory, cx: &mut Context, begun: BegunChange, caller: CallRef) {
    directory.submit(cx, begun, Some(caller));
}

impl Directory {
    /// The channel that an ARN names, creation time included, unless it is only being created.
    pub(crate) fn find(&self, arn: &ChannelArn) -> Option<ChannelKey> {
        let key = self.key_of(&Identity::of(arn))?;
        let found =
            |channel: &&Channel| channel.record.arn == *arn && channel.state != Life::Creating;
        self.channel(key).filter(found).map(|_| key)
    }

    /// Channel of an ARN, if it is in use.
    pub(crate) fn find_active(&self, arn: &ChannelArn) -> Option<ChannelKey> {
        let active = |key: &ChannelKey| {
            let channel = self.channel(*key);
            channel.is_some_and(|channel| channel.state == Life::Active)
        };
        self.find(arn).filter(active)
    }

    /// Counts a call against its channel's rate and its caller's part; the refusal when it is over one of them. A
    /// channel that is not there has none.
    fn over_rate(&mut self, cx: &mut Context, query: &Query) -> Option<Answer> {
        let what = Metered::Call(query.operation);
        what.rate(&self.settings().quotas)?;
        let key = self.channel_of(&query.kind)?;
        let arn = &self.channel(key)?.record.arn;
        let caller = query.caller.as_ref();
        let role = caller
            .filter(|_| !self.settings().strict())
            .map_or(CallerRole::Anyone, |caller| {
                self.caller_role(cx, caller, arn)
            });
        let what = match role {
            CallerRole::Master => Metered::CallAsMaster(query.operation),
            CallerRole::Viewer(_) | CallerRole::Anyone => what,
        };
        if self.count_call(key, (what, role.caller()), cx.at.now) {
            cx.todo.push(Todo::Arm(key));
            return None;
        }
        Some(Refusal::limited(Check::RateChannel, RATE_EXCEEDED).into())
    }

    /// The channel that a question is about, if it is there.
    pub(crate) fn channel_of(&self, kind: &QueryKind) -> Option<ChannelKey> {
        match kind {
            QueryKind::Look(identity, None) => self.key_of(identity),
            QueryKind::Look(_, Some(arn))
            | QueryKind::Change(arn, _)
            | QueryKind::Offer { arn, .. } => self.find(arn),
            QueryKind::Create(..)
            | QueryKind::Page { .. }
            | QueryKind::Permit(_)
            | QueryKind::Count { .. } => None,
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
        Answer::Record(channel.record.clone(), status)
    }

    /// The refusal of a channel that is not there, or not in use, for callers the same whatever the reason. `arn`:
    /// what they called it, if not by its name.
    ///
    /// SDKs create a channel that is not found: where it may exist at another node, they have to try again.
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

/// The error for new channels where etcd is nearly full.
const STORE_FULL: &str =
    "The registry's store is nearly full, so it takes no new channels. Try again later.";

// Alexa calls on their channel's shard: offered to the master, answered, expired, withdrawn. See codec/PROTOCOL.md,
// ALEXA.
//
// In the counters a call is one SDP_OFFER: received when its letter is taken in; in the pending gauge until a master's
// outbox has it; delivered when that master got it. Giving it again to the next master counts nothing.

const OFFER: Kind = Kind::Known(Action::SdpOffer);

/// Sends the current master the waiting offers that it has not got, oldest first: those accepted before `before`.
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
    for call in calls {
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
}

impl Directory {
    /// A call arrives at its channel. Only when it is certain that it fits, an older one of the same sender is answered
    /// with nothing, or one of an account or channel with more than its share makes room.
    fn take_offer(
        &mut self,
        cx: &mut Context,
        caller: CallRef,
        key: ChannelKey,
        sender: &str,
        payload: &str,
    ) {
        match self.room_for_offer(caller, key, sender) {
            Err(refused) => return cx.todo.answer(caller, refused),
            Ok(Some(other)) => self.end_for_another(cx, other),
            Ok(None) => drop(self.end_call(cx, key, sender, None)),
        }
        if !self.add_call(caller, key, (sender, payload), cx.at) {
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

    /// Whether a call fits, and in place of which one of somebody else. In place of an older one of its sender it
    /// always does.
    fn room_for_offer(
        &self,
        caller: CallRef,
        key: ChannelKey,
        sender: &str,
    ) -> Result<Option<Call>, Answer> {
        if !self.has_call_place(caller) {
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
            return Err(over_limit(CHANNEL_FULL));
        }
        match self.room_for_call(channel.record.arn.account(), key) {
            CallRoom::Free => Ok(None),
            CallRoom::InPlaceOf(other) => Ok(Some(other)),
            CallRoom::None => Err(over_limit(SHARD_FULL)),
        }
    }

    /// The last bytes of offers of this channel were handed over to `master`.
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

    /// An offer came back from the outbox of `master`. While its call waits it is for the next one.
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

fn over_limit(message: &'static str) -> Answer {
    Refusal::limited(Check::AlexaCallsFull, message).into()
}

const CHANNEL_FULL: &str =
    "Too many SendAlexaOfferToMaster calls wait for this channel. Try again later.";
const SHARD_FULL: &str =
    "Too many SendAlexaOfferToMaster calls wait for channels of this account. Try again later.";

// The end of an Alexa call: answered, in favour of another, expired, withdrawn, failed.

impl Directory {
    /// Ends the call that waits for an answer to `sender`: with the answer, or with nothing because a newer call of the
    /// same sender takes its place. False when none waits.
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
        answer_offer(cx, &call, Answer::Answer(answer.map(Into::into)));
        true
    }

    /// Answers calls whose time is over with nothing.
    pub(crate) fn expire_calls(&mut self, cx: &mut Context, key: ChannelKey) {
        while let Some(call) = self.take_call(key, |calls| calls.take_expired(cx.at.now)) {
            close_call(cx, &call, Outcome::Expired);
            answer_offer(cx, &call, Answer::Answer(None));
        }
    }

    /// A caller on this shard hung up: its call is withdrawn.
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

    /// A caller on another shard hung up: its call is withdrawn, unless its answer is on its way.
    pub(crate) fn withdraw_offer(&mut self, cx: &mut Context, caller: CallRef) {
        let call = self.call_of(caller);
        if let Some(call) = call.and_then(|(key, _)| self.take_back_offer(cx, caller, key)) {
            answer_offer(cx, &call, Answer::Answer(None));
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
        Some(call)
    }

    /// Refuses every call of a channel: it is deleted, or the process ends.
    pub(crate) fn fail_calls(&mut self, cx: &mut Context, key: ChannelKey, refusal: &Refusal) {
        while let Some(call) = self.take_call(key, Calls::take_any) {
            close_call(cx, &call, Outcome::Withdrawn);
            answer_offer(cx, &call, Answer::Refusal(refusal.clone()));
        }
    }

    /// Ends a call in favour of one of an account, or of a channel of the same account, that has fewer.
    fn end_for_another(&mut self, cx: &mut Context, (key, order): Call) {
        if let Some(call) = self.take_call(key, |calls| calls.take_of_order(order)) {
            cx.telemetry.count_call_over();
            if call.never_left() {
                cx.telemetry.count_unkept();
                cx.telemetry.count_unaccepted(OFFER, Unaccepted::NoRoom);
            }
            answer_offer(cx, &call, over_limit(MADE_ROOM));
        }
        self.rest(key);
    }
}

/// Telemetry the end of a call: an offer that no outbox ever had ends as `outcome`; any other has its own end.
fn close_call(cx: &mut Context, call: &Waiting, outcome: Outcome) {
    cx.telemetry.count_call_over();
    if call.never_left() {
        cx.telemetry.count_kept_ended(OFFER, outcome);
    }
}

/// Answers the caller of a call that waited.
fn answer_offer(cx: &mut Context, call: &Waiting, answer: Answer) {
    cx.todo
        .push(Todo::OfferAnswer(call.caller, Box::new(answer)));
}

const MADE_ROOM: &str = "This account has more than its share of waiting SendAlexaOfferToMaster calls. Try again \
                         later.";
