//! Delivers a message to its recipient: appends it to the recipient's outbox, makes it pending, refuses it, or drops it
//! because it is late. If the recipient is connected, nothing is allocated.

use crate::channel::pending::{Full, KeyName, Message};
use crate::channel::{Route, Towards};
use crate::event::{Kind, Outcome};
use crate::id::{ChannelKey, SessionKey};
use crate::session::Session;
use crate::session::outbox::DeliveryMark;
use crate::session::web_socket::{Role, WebSocket};
use crate::shard::context::Context;
use crate::shard::directory::calls::ForCall;
use crate::shard::flight_recorder::{NotedMessage, Passage, look_into};
use crate::shard::road::service_messages::{StatusOf, decline, status};
use crate::shard::road::{Aside, idle_frame};
use crate::shard::sockets::outboxes::NoRoom;
use crate::shard::state::State;
use crate::shard::todo::{Declined, Deferred, Todo};
use crate::shard::{Directory, Sockets};
use crate::time::Now;
use crate::{journal::Unaccepted, limits::LATE_AFTER_MS, presence::PresenceCause};
use codec::identifiers::CorrelationId;
use codec::signal::{Action, Delivery, Request, StatusFault};
use std::num::NonZeroU32;
use std::rc::Rc;

/// Determines the sender of a message, and counts the message towards the sender's rate limit. The flag tells whether
/// the message is within that limit.
///
/// # Errors
/// Returns an [`Aside`] if the sender no longer has an open WebSocket.
#[inline(always)]
pub(crate) fn admit(
    sockets: &mut Sockets,
    cx: &mut Context,
    from: SessionKey,
    request: &Request<'_>,
) -> Result<(Sender, bool), Aside> {
    let kind = Kind::Known(request.action);
    cx.telemetry.count_received(kind);
    let Some((web_socket, settings)) = sockets.web_socket_and_settings(from) else {
        cx.telemetry.count_ended(kind, Outcome::Withdrawn);
        return Err(Aside::Ended);
    };
    web_socket.message_came();
    let mut sender = Sender {
        session: from,
        channel: web_socket.channel,
        role: web_socket.role.clone(),
        first: false,
    };
    let (rates, action) = (&mut web_socket.rates, request.action);
    let within_rate = rates.take(action, &settings.quotas, cx.at.now);
    if within_rate
        && action == Action::SdpOffer
        && let Role::Viewer(_) = sender.role
    {
        sender.first = web_socket.tally.offered(cx.at.now);
    }
    Ok((sender, within_rate))
}

/// Refuses a message whose sender has exceeded its rate limit. Counts the message, and sends the sender a status
/// response if possible.
#[cold]
pub(crate) fn throttle(shard: &mut State, sender: &Sender, request: &Request<'_>) -> Aside {
    let (bytes, viewer) = undelivered(sender, request);
    let declined = Declined {
        from: sender.session,
        channel: sender.channel,
        kind: Kind::Known(request.action),
        towards: Towards::away_from(&sender.role),
        reason: Unaccepted::TooFast,
        bytes,
        most: 0,
    };
    decline(&mut shard.cx, declined, viewer);
    let of = StatusOf {
        sender: sender.session,
        correlation_id: request.correlation_id,
    };
    status(shard, of, StatusFault::RateExceeded);
    idle_frame(&mut shard.sockets, &mut shard.cx, sender.session)
}

/// Returns the length that a refused message's frame would have had, and the viewer to which a master addressed the
/// message. Used for messages that were refused before routing.
pub(crate) fn undelivered<'a>(sender: &Sender, request: &Request<'a>) -> (usize, Option<&'a str>) {
    let viewer = sender.role.client_id();
    let delivery = Delivery {
        action: request.action,
        payload: request.payload,
        sender: viewer,
    };
    let recipient = request.recipient.map(|id| id.as_str());
    let named = recipient.filter(|_| viewer.is_none());
    (delivery.frame_bytes(), named)
}

/// Determines a message's route. The flag tells whether other messages were held back because of an offer that this
/// message answers or replaces, in which case they must be delivered after this message.
///
/// # Errors
/// Returns an [`Aside`] if the channel no longer exists.
#[inline(always)]
pub(crate) fn route<'a>(
    directory: &mut Directory,
    cx: &mut Context,
    sender: &'a Sender,
    request: &Request<'a>,
) -> Result<(Route, InTransit<'a>, bool), Aside> {
    let viewer = match &sender.role {
        Role::Master => None,
        Role::Viewer(id) => Some(&**id),
    };
    let recipient = request.recipient.map_or("", |id| id.as_str());
    let from = (sender.session, viewer);
    let asked = (request.action, recipient);
    let accepted = directory.accept(sender.channel, from, asked, cx.at.now);
    let Some((route, mark, waited)) = accepted else {
        let kind = Kind::Known(request.action);
        cx.telemetry.count_ended(kind, Outcome::Withdrawn);
        return Err(Aside::Handled);
    };
    let launch = DeliveryMark {
        first: sender.first,
        accepted_us: NonZeroU32::new(cx.at.micros),
        ..mark
    };
    let transit = InTransit {
        from: sender.session,
        channel: sender.channel,
        launch,
        delivery: Delivery {
            action: request.action,
            payload: request.payload,
            sender: viewer,
        },
        recipient,
        correlation_id: request.correlation_id,
    };
    Ok((route, transit, waited))
}

/// If `waited` is set, schedules the delivery of messages that were held back because of an offer. They follow the
/// message that answered or replaced the offer.
#[inline(always)]
pub(crate) fn follow(cx: &mut Context, channel: ChannelKey, waited: bool) {
    if waited {
        cx.todo.push(Todo::Deliver(channel, Role::Master));
    }
}

/// Forwards a message on this route: to the recipient's outbox, to the pending messages, or to a call.
#[inline(always)]
pub(crate) fn hand_on(shard: &mut State, route: Route, transit: &InTransit<'_>) {
    match route {
        Route::To(to) => deliver(shard, to, transit),
        Route::Keep(_) => {
            if let Err(Full) = keep(shard, transit) {
                overflow(shard, transit);
            }
        }
        Route::AnswersCall => answer_call(shard, transit),
        Route::ForCall => transit.drop(&mut shard.cx, Passage::ForCall),
    }
}

/// Appends a message to the recipient's outbox. If the outbox is full, disconnects the recipient.
#[inline]
pub(crate) fn deliver(shard: &mut State, to: SessionKey, transit: &InTransit<'_>) {
    let (sockets, _, cx, _) = shard.parts();
    // Slow connections that hold too many bytes are closed first, one by one.
    if sockets.too_far_behind() && sockets.shed(cx) {
        let deferred = Box::new(transit.deferred());
        return cx.todo.push(Todo::HandOn(deferred, Route::To(to)));
    }
    let bytes = transit.delivery.frame_bytes();
    let room = (bytes, cx.telemetry.outbox_bytes());
    let write = |out: &mut Vec<u8>| transit.delivery.write(out);
    let queued = match sockets.push_message(to, transit.launch, room, write) {
        Ok((queued, by_pong)) => {
            if by_pong {
                sockets.prove(cx, to);
            }
            queued
        }
        Err(NoRoom::Gone) => return transit.end(cx, Outcome::Withdrawn),
        Err(NoRoom::Connection) => return deliver_after_cutting(shard, to, transit),
        Err(NoRoom::Shard) => return overflow(shard, transit),
        Err(NoRoom::TooLong) => return too_long(shard, to, transit),
    };
    let mut passed = transit.passed(Passage::Relayed, bytes);
    if transit.launch.action != Action::IceCandidate {
        passed.candidates = look_into_first(sockets, to, transit);
    }
    cx.note(transit.channel).relayed(passed, transit.from, to);
    cx.telemetry.count_queued(queued);
}

/// Counts the candidates in a viewer's first offer and in the first answer to it. Other messages are not parsed.
#[cold]
fn look_into_first(sockets: &Sockets, to: SessionKey, transit: &InTransit<'_>) -> Option<usize> {
    let launch = &transit.launch;
    let recipient = sockets.session(to).and_then(Session::open);
    let awaits_answer = recipient.is_some_and(WebSocket::awaits_answer);
    let is_first = launch.first || launch.action == Action::SdpAnswer && awaits_answer;
    is_first.then(|| look_into(launch.action, transit.delivery.payload))?
}

/// Closes the recipient's connection because its outbox is full. The message becomes pending, behind the messages that
/// were not sent to the recipient. By the time these are delivered, another connection may hold the slot.
#[cold]
fn deliver_after_cutting(shard: &mut State, to: SessionKey, transit: &InTransit<'_>) {
    let (sockets, _, cx, _) = shard.parts();
    sockets.cut_slow(cx, to);
    let route = Route::Keep(transit.towards());
    cx.todo
        .push(Todo::HandOn(Box::new(transit.deferred()), route));
    let role = match transit.towards() {
        Towards::Master => Role::Master,
        Towards::Viewer => Role::Viewer(transit.recipient.into()),
    };
    cx.todo.push(Todo::Deliver(transit.channel, role));
}

/// Makes a message pending because its recipient is absent.
///
/// # Errors
/// Returns [`Full`] if there is no room, in which case the caller must count the message's outcome.
fn keep(shard: &mut State, transit: &InTransit<'_>) -> Result<(), Full> {
    let (sockets, directory, cx, _) = shard.parts();
    let sender = sockets.session(transit.from).and_then(Session::open);
    let (channel, towards) = (transit.channel, transit.towards());
    let viewer: Rc<str> = transit.delivery.sender.unwrap_or(transit.recipient).into();
    let mut frame = Vec::with_capacity(transit.delivery.frame_bytes());
    transit.delivery.write(&mut frame);
    let mut message = kept_message(transit.launch, frame.into_boxed_slice());
    let waits = directory.begins_to_wait(channel, (towards, &viewer), &mut message, cx.at);
    let kind = Kind::Known(message.action);
    if directory.channel(channel).is_none() {
        cx.telemetry.count_ended(kind, Outcome::Withdrawn);
        return Ok(());
    }
    let kept = NotedMessage::of(&message, towards, Passage::Kept);
    let name = KeyName {
        towards,
        viewer: &viewer,
        caller: sender.and_then(|it| it.caller),
    };
    let named = Some(&*viewer).filter(|_| towards == Towards::Viewer);
    directory.store(cx, channel, name, message)?;
    cx.telemetry.count_kept(1);
    cx.note(channel).came(kept, transit.from, named);
    if waits {
        directory.changed(channel, (PresenceCause::Waiting, None));
    }
    cx.todo.push(Todo::Arm(channel));
    Ok(())
}

/// Drops a message for which there is no room in the outbox or among the pending messages.
#[cold]
fn overflow(shard: &mut State, transit: &InTransit<'_>) {
    let declined = transit.declined(Unaccepted::NoRoom);
    decline(&mut shard.cx, declined, transit.viewer());
    let fault = StatusFault::TooManyUndelivered;
    status(shard, transit.status_of(), fault);
}

/// Drops a message that is too long for its recipient, since receiving it would make the recipient close its
/// connection.
#[cold]
fn too_long(shard: &mut State, to: SessionKey, transit: &InTransit<'_>) {
    let (bytes, frame_bytes) = (
        transit.delivery.text_bytes(),
        transit.delivery.frame_bytes(),
    );
    let excess = shard.sockets.excess_for(to, frame_bytes);
    let declined = Declined {
        bytes,
        most: bytes.saturating_sub(excess),
        ..transit.declined(Unaccepted::TooLongForRecipient)
    };
    decline(&mut shard.cx, declined, transit.viewer());
    let fault = StatusFault::Payload {
        payload_bytes: transit.delivery.payload.len().saturating_sub(excess),
    };
    status(shard, transit.status_of(), fault);
}

/// Handles a message to a pending call. An answer to an Alexa call is returned to the caller. An answer or a candidate
/// for a player's call is added to the call. An answer that exceeds the limit of the strict profile is refused.
fn answer_call(shard: &mut State, transit: &InTransit<'_>) {
    let (_, directory, cx, _) = shard.parts();
    let payload = transit.delivery.payload;
    if directory.settings().strict() && payload.len() > ALEXA_ANSWER_BYTES_STRICT {
        let declined = Declined {
            bytes: payload.len(),
            most: ALEXA_ANSWER_BYTES_STRICT,
            ..transit.declined(Unaccepted::TooLong)
        };
        decline(cx, declined, None);
        let fault = StatusFault::Payload {
            payload_bytes: ALEXA_ANSWER_BYTES_STRICT,
        };
        return status(shard, transit.status_of(), fault);
    }
    let message = ForCall {
        channel: transit.channel,
        sender: transit.recipient,
        from: transit.from,
        action: transit.launch.action,
        payload,
    };
    let (outcome, passage) = match directory.gather_for(cx, &message) {
        Some(true) if message.action == Action::IceCandidate => {
            (Outcome::Delivered, Passage::Gathered)
        }
        Some(true) => (Outcome::Delivered, Passage::AnsweredCall),
        Some(false) => (Outcome::Withdrawn, Passage::ForCall),
        None if directory.answer_call(cx, &message) => (Outcome::Delivered, Passage::AnsweredCall),
        None => (Outcome::Withdrawn, Passage::TooLateForCall),
    };
    transit.end(cx, outcome);
    transit.note(cx, passage);
}

/// Maximum length in characters of an answer to an Alexa call under the strict profile. See the AWS page
/// SendAlexaOfferToMaster, "Answer".
const ALEXA_ANSWER_BYTES_STRICT: usize = 10_000;

// A message in transit: its sender, its direction, and the data recorded about it.

/// The sender of a message.
pub(crate) struct Sender {
    pub(crate) session: SessionKey,
    pub(crate) channel: ChannelKey,
    pub(crate) role: Role,
    /// Whether this is a viewer's first offer.
    pub(crate) first: bool,
}

/// A message in transit, with everything known about it.
pub(crate) struct InTransit<'a> {
    pub(crate) from: SessionKey,
    pub(crate) channel: ChannelKey,
    pub(crate) launch: DeliveryMark,
    pub(crate) delivery: Delivery<'a>,
    pub(crate) recipient: &'a str,
    pub(crate) correlation_id: Option<CorrelationId<'a>>,
}

impl InTransit<'_> {
    /// Creates a flight recorder note about this message.
    #[inline]
    pub(crate) fn passed(&self, passage: Passage, bytes: usize) -> NotedMessage {
        NotedMessage::new(Some(self.launch.action), self.towards(), passage, bytes)
    }

    /// Returns the data about the message that a status response to its sender requires.
    pub(crate) fn status_of(&self) -> StatusOf<'_> {
        StatusOf {
            sender: self.from,
            correlation_id: self.correlation_id,
        }
    }

    pub(crate) fn towards(&self) -> Towards {
        if self.delivery.sender.is_some() {
            Towards::Master
        } else {
            Towards::Viewer
        }
    }

    /// Records the outcome of a message that was not forwarded to another connection.
    pub(crate) fn note(&self, cx: &mut Context, passage: Passage) {
        let mut passed = self.passed(passage, self.delivery.frame_bytes());
        passed.candidates = look_into(self.launch.action, self.delivery.payload);
        cx.note(self.channel).came(passed, self.from, self.viewer());
    }

    /// Creates the record of a message that was not accepted.
    pub(crate) fn declined(&self, reason: Unaccepted) -> Declined {
        Declined {
            from: self.from,
            channel: self.channel,
            kind: Kind::Known(self.launch.action),
            towards: self.towards(),
            reason,
            bytes: self.delivery.frame_bytes(),
            most: 0,
        }
    }

    /// Returns the viewer to which a master's message is addressed.
    pub(crate) fn viewer(&self) -> Option<&str> {
        Some(self.recipient).filter(|_| self.delivery.sender.is_none())
    }

    /// Counts the message with this outcome.
    pub(crate) fn end(&self, cx: &mut Context, outcome: Outcome) {
        cx.telemetry
            .count_ended(Kind::Known(self.launch.action), outcome);
    }

    /// Drops a message to a call that does not accept it.
    pub(crate) fn drop(&self, cx: &mut Context, passage: Passage) {
        self.end(cx, Outcome::Withdrawn);
        self.note(cx, passage);
    }

    /// Returns an owned copy of the message that can be delivered after the current step.
    #[cold]
    pub(crate) fn deferred(&self) -> Deferred {
        Deferred {
            from: self.from,
            channel: self.channel,
            sender: self.delivery.sender.map(Into::into),
            launch: self.launch,
            payload: self.delivery.payload.into(),
            recipient: self.recipient.into(),
            correlation_id: self.correlation_id.map(|id| id.as_str().into()),
        }
    }
}

impl Deferred {
    /// Returns a borrowed view of the message.
    pub(crate) fn transit(&self) -> InTransit<'_> {
        let id = self.correlation_id.as_deref();
        InTransit {
            from: self.from,
            channel: self.channel,
            launch: self.launch,
            delivery: Delivery {
                action: self.launch.action,
                payload: &self.payload,
                sender: self.sender.as_deref(),
            },
            recipient: &self.recipient,
            correlation_id: id.and_then(|id| CorrelationId::parse(id).ok()),
        }
    }
}

// Conversions to and from pending messages.

/// Converts a message to the form in which it is stored until its recipient connects.
pub(crate) fn kept_message(launch: DeliveryMark, frame: Box<[u8]>) -> Message {
    Message {
        action: launch.action,
        expires: launch.expires,
        order: launch.order,
        sender_bytes: launch.sender_bytes,
        from: launch.from,
        first: launch.first,
        frame,
    }
}

/// Creates the delivery mark for a pending message that is about to be sent to its recipient.
pub(crate) fn mark_of_kept(message: &Message) -> DeliveryMark {
    let &Message {
        action,
        order,
        expires,
        ..
    } = message;
    DeliveryMark {
        from: message.from,
        first: message.first,
        follows: action == Action::IceCandidate,
        ..DeliveryMark::new(action, order, expires, message.sender_bytes.into())
    }
}

// Late messages. They were delayed because a node that had received them, or this process, was not running for a while.
// They must not arrive after newer messages that the same sender has sent on its next connection.
//
// ```text
//  a connection that lost its slot:  | sends as before |  late from here on
//                                    lost             + LATE_AFTER_MS
//  a connection open while the shard is not running:
//                                    | nothing is read |  late when read    |  as before
//                                    since           until               + HELD_READ_MS
// ```
// A late message is dropped as *withdrawn* if a newer connection of its sender has since sent a message. It is dropped
// as *expired* if its time to live, counted from the start of the delay, has passed. Otherwise, it is forwarded. This
// involves no clock other than the shard's own.

/// Counts and records a message that was dropped because it arrived too late.
#[cold]
pub(crate) fn end_late(cx: &mut Context, sender: &Sender, request: &Request<'_>, outcome: Outcome) {
    cx.telemetry
        .count_ended(Kind::Known(request.action), outcome);
    let (bytes, viewer) = undelivered(sender, request);
    let (action, towards) = (Some(request.action), Towards::away_from(&sender.role));
    let passed = NotedMessage::new(action, towards, Passage::Late, bytes);
    let note = cx.note(sender.channel);
    note.came(passed, sender.session, viewer);
}

/// Returns the outcome of a message from this sender if it is late and must be dropped.
#[cold]
pub(crate) fn late_outcome(shard: &State, sender: &Sender) -> Option<Outcome> {
    let (sockets, directory, now) = (&shard.sockets, &shard.directory, shard.cx.at.now);
    let open = |key: SessionKey| sockets.session(key).and_then(Session::open);
    let web_socket = open(sender.session)?;
    let spoke = |key| open(key).is_some_and(WebSocket::spoke);
    let live = directory.live(sender.channel)?;
    let lost = live.members.lost(sender.session, spoke);
    let long_ago = |since: &Now| now.since(*since) > LATE_AFTER_MS;
    let silenced = lost.map(|(since, _)| since).filter(long_ago);
    let standstill = sockets.standstill();
    let was_held = web_socket.opened() < standstill.until && now < standstill.read_by;
    let held = was_held.then_some(standstill.since);
    let since = held.into_iter().chain(silenced).min()?;
    if lost.is_some_and(|(_, overtaken)| overtaken) {
        return Some(Outcome::Withdrawn);
    }
    let expiry = directory.channel(sender.channel)?.expiry(since);
    (expiry <= now).then_some(Outcome::Expired)
}
