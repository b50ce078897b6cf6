//! The steps of the road on the side of the recipient: message → route → outbox, or kept, or refused. No allocation on
//! the way to a connected recipient.

use super::books::Books;
use super::directory::Directory;
use super::frames::Aside;
use super::sockets::Sockets;
use super::unsent::kept_message;
use super::{alexa, backlog, capture, frames, kept, leave, outboxes};
use crate::channel::{Channel, Message, Route, Towards};
use crate::event::{Kind, Outcome};
use crate::id::{ChannelKey, SessionKey};
use crate::session::{Launch, Role, Session};
use crate::time::Moment;
use codec::aws::CorrelationId;
use codec::signal::{Delivery, Fault, FaultKind, Request, StatusFault};
use std::rc::Rc;

/// The sender of a message.
pub(super) struct Sender {
    session: SessionKey,
    channel: ChannelKey,
    role: Role,
}

/// A message on its way: what is known of it beside its bytes.
pub(super) struct Passing<'a> {
    pub(super) from: SessionKey,
    pub(super) channel: ChannelKey,
    pub(super) launch: Launch,
    pub(super) delivery: Delivery<'a>,
    pub(super) recipient: &'a str,
    pub(super) correlation_id: Option<CorrelationId<'a>>,
}

impl Passing<'_> {
    /// Counts how it ended.
    pub(super) fn end(&self, books: &mut Books, outcome: Outcome) {
        books.counters.end(Kind::Known(self.launch.action), outcome);
    }
}

/// Counts a message that was understood, and finds its sender.
///
/// # Errors
/// [`Aside`] when the sender is too fast, which is answered if it can be.
#[inline(always)]
pub(super) fn admit(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    from: SessionKey,
    request: &Request<'_>,
    at: Moment,
) -> Result<Sender, Aside> {
    let kind = Kind::Known(request.action);
    books.counters.receive(kind);
    let quotas = &sockets.settings.quotas;
    let session = sockets.sessions.get_mut(from);
    let Some(web_socket) = session.and_then(Session::open_mut) else {
        books.counters.end(kind, Outcome::Withdrawn);
        return Err(Aside::Ended);
    };
    if web_socket.rates.take(request.action, quotas, at.now) {
        return Ok(Sender {
            session: from,
            channel: web_socket.channel,
            role: web_socket.role.clone(),
        });
    }
    books.counters.end(kind, Outcome::Throttled);
    if books.copies.is_some() {
        capture::copy_refused(sockets, directory, books, from, Some(request), at);
    }
    let (id, fault) = (request.correlation_id, StatusFault::RateExceeded);
    status(sockets, directory, books, from, id, fault, at);
    Err(frames::idle_frame(sockets, directory, books, from, at))
}

/// Message → route.
///
/// # Errors
/// [`Aside`] when the channel is gone.
#[inline(always)]
pub(super) fn route<'a>(
    directory: &mut Directory,
    books: &mut Books,
    sender: &'a Sender,
    request: &Request<'a>,
    at: Moment,
) -> Result<(Route, Passing<'a>), Aside> {
    let Some(channel) = directory.channels.get_mut(sender.channel) else {
        let kind = Kind::Known(request.action);
        books.counters.end(kind, Outcome::Withdrawn);
        return Err(Aside::Handled);
    };
    let viewer = match &sender.role {
        Role::Master => None,
        Role::Viewer(id) => Some(&**id),
    };
    let expires = channel.expiry(at.now);
    let live = channel.wake(&directory.hasher);
    let recipient = request.recipient.map_or("", |id| id.as_str());
    let launch = Launch {
        action: request.action,
        expires,
        order: live.next_order(),
        sender_bytes: u16::try_from(viewer.map_or(0, str::len)).unwrap_or(u16::MAX),
        call: false,
        counted: true,
        accepted_us: Some(at.micros),
    };
    let passing = Passing {
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
    let route = live.route(sender.role.on_wire(), request.action, recipient);
    Ok((route, passing))
}

/// Route → the recipient's outbox, unless it is full.
#[inline]
pub(super) fn deliver(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    to: SessionKey,
    passing: &Passing<'_>,
    at: Moment,
) {
    if sockets.too_far_behind() {
        backlog::shed(sockets, directory, books, at);
        if sockets.web_socket(to).is_none() {
            return deliver_after_cutting(sockets, directory, books, to, passing, at);
        }
    }
    let limits = &sockets.settings.limits;
    let bytes = passing.delivery.frame_bytes();
    let shard_full = books.counters.outbox_bytes + bytes as u64 > sockets.rules.outbox_bytes as u64;
    let Some(session) = sockets.sessions.get_mut(to) else {
        return books
            .counters
            .end(Kind::Known(passing.launch.action), Outcome::Withdrawn);
    };
    if session.outbox.bytes() + bytes > limits.outbox_bytes {
        return deliver_after_cutting(sockets, directory, books, to, passing, at);
    }
    if shard_full {
        return overflow(sockets, directory, books, passing, at);
    }
    let pushed = session
        .outbox
        .push_message(&mut sockets.scratch.spares, passing.launch, |out| {
            passing.delivery.write(out)
        });
    debug_assert_eq!(pushed, bytes, "a delivery is as long as it says");
    books.counters.outbox_bytes += pushed as u64;
    books.counters.outbox_messages += 1;
    if session.behind {
        backlog::weigh(sockets, directory, to);
    }
    sockets.touch(to);
}

/// The recipient's outbox is full: it is closed, and the message is kept like those that it had not sent.
fn deliver_after_cutting(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    to: SessionKey,
    passing: &Passing<'_>,
    at: Moment,
) {
    leave::cut_slow(sockets, directory, books, to, at);
    let towards = if passing.delivery.sender.is_some() {
        Towards::Master
    } else {
        Towards::Viewer
    };
    keep(sockets, directory, books, towards, passing, at);
}

/// Route → kept for an absent recipient.
pub(super) fn keep(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    towards: Towards,
    passing: &Passing<'_>,
    at: Moment,
) {
    let viewer: Rc<str> = match towards {
        Towards::Master => passing.delivery.sender.unwrap_or_default().into(),
        Towards::Viewer => passing.recipient.into(),
    };
    let mut frame = Vec::with_capacity(passing.delivery.frame_bytes());
    passing.delivery.write(&mut frame);
    let message = kept_message(passing.launch, frame.into_boxed_slice());
    let action = message.action;
    if directory.channels.get(passing.channel).is_none() {
        return books.counters.end(Kind::Known(action), Outcome::Withdrawn);
    }
    match kept::store(directory, books, passing.channel, towards, &viewer, message) {
        Ok(()) => {
            books.counters.pending_messages += 1;
            leave::arm_channel(sockets, directory, passing.channel, at);
        }
        Err(crate::channel::Full) => overflow(sockets, directory, books, passing, at),
    }
}

fn overflow(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    passing: &Passing<'_>,
    at: Moment,
) {
    books
        .counters
        .end(Kind::Known(passing.launch.action), Outcome::Overflow);
    status(
        sockets,
        directory,
        books,
        passing.from,
        passing.correlation_id,
        StatusFault::TooManyUndelivered,
        at,
    );
}

/// Route → the caller of a waiting call.
pub(super) fn answer_call(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    passing: &Passing<'_>,
    at: Moment,
) {
    let kind = Kind::Known(passing.launch.action);
    let payload = passing.delivery.payload;
    if sockets.settings.strict() && payload.len() > ALEXA_ANSWER_BYTES_STRICT {
        books.counters.end(kind, Outcome::Refused);
        let fault = StatusFault::Payload {
            payload_bytes: ALEXA_ANSWER_BYTES_STRICT,
        };
        return status(
            sockets,
            directory,
            books,
            passing.from,
            passing.correlation_id,
            fault,
            at,
        );
    }
    if alexa::end_call(
        sockets,
        directory,
        books,
        passing.channel,
        passing.recipient,
        Some(payload),
        at,
    ) {
        books.counters.end(kind, Outcome::Delivered);
    } else {
        books.counters.end(kind, Outcome::Withdrawn);
    }
}

/// A message that breaks a rule: counted, and answered if it can be.
pub(super) fn refuse_message(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    from: SessionKey,
    fault: &Fault<'_>,
    at: Moment,
) {
    let kind = match fault.kind {
        FaultKind::MasterOffer => Kind::Known(codec::signal::Action::SdpOffer),
        FaultKind::Malformed
        | FaultKind::UnsupportedAction
        | FaultKind::Payload
        | FaultKind::Recipient
        | FaultKind::NotJson => Kind::Unknown,
    };
    books.counters.receive(kind);
    books.counters.end(kind, Outcome::Refused);
    if books.copies.is_some() {
        capture::copy_refused(sockets, directory, books, from, None, at);
    }
    if let Some(answer) = fault.kind.status(&sockets.rules.messages) {
        status(
            sockets,
            directory,
            books,
            from,
            fault.correlation_id,
            answer,
            at,
        );
    }
}

/// STATUS_RESPONSE to the sender of a faulty message that carried a usable correlation id.
fn status(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    to: SessionKey,
    correlation_id: Option<CorrelationId<'_>>,
    fault: StatusFault,
    at: Moment,
) {
    status_with(
        sockets,
        directory,
        books,
        to,
        correlation_id,
        at,
        |out, id| fault.write(out, id),
    );
}

/// STATUS_RESPONSE as `write` writes it.
pub(super) fn status_with(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    to: SessionKey,
    correlation_id: Option<CorrelationId<'_>>,
    at: Moment,
    write: impl FnOnce(&mut Vec<u8>, CorrelationId<'_>),
) {
    let Some(correlation_id) = correlation_id else {
        return;
    };
    if !frames::has_control_room(sockets, books, to) {
        return leave::cut_slow(sockets, directory, books, to, at);
    }
    outboxes::push_control(sockets, directory, books, to, |out| {
        write(out, correlation_id)
    });
}

/// Moves what is kept for a role into its current connection's outbox, oldest first; to a master also the offers of
/// waiting calls.
///
/// No bound is looked at: a whole pending store fits an empty outbox, and a peer that does not read is cut off by the
/// next message.
pub(super) fn deliver_kept(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: ChannelKey,
    role: &Role,
    at: Moment,
) {
    let counters = &mut books.counters;
    let Some(live) = directory.channels.get_mut(key).and_then(Channel::live_mut) else {
        return;
    };
    let to = match role {
        Role::Master => live.members.to_master(),
        Role::Viewer(id) => live.members.to_viewer(id),
    };
    let Some(to) = to else { return };
    let before = live.pending.bytes();
    live.pending.expire(at.now, |message| {
        counters.pending_messages -= 1;
        counters.end(Kind::Known(message.action), Outcome::Expired);
    });
    let groups = match role {
        Role::Master => live.pending.take_for_master(),
        Role::Viewer(id) => vec![(0, live.pending.take(Towards::Viewer, id))],
    };
    kept::kept_changed(directory, books, key, before);
    for (rank, messages) in groups {
        if *role == Role::Master {
            alexa::give_offers(sockets, directory, books, key, rank);
        }
        push_kept(sockets, directory, books, to, messages);
    }
    if *role == Role::Master {
        alexa::give_offers(sockets, directory, books, key, u64::MAX);
    }
    sockets.touch(to);
}

fn push_kept(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    to: SessionKey,
    messages: impl IntoIterator<Item = Message>,
) {
    let Some(session) = sockets.sessions.get_mut(to) else {
        return;
    };
    for message in messages {
        let Message {
            action,
            expires,
            order,
            sender_bytes,
            frame,
        } = message;
        let launch = Launch {
            action,
            expires,
            order,
            sender_bytes,
            call: false,
            counted: true,
            accepted_us: None,
        };
        let pushed = session
            .outbox
            .push_message(&mut sockets.scratch.spares, launch, |out| {
                out.extend_from_slice(&frame)
            });
        books.counters.outbox_bytes += pushed as u64;
        books.counters.pending_messages -= 1;
        books.counters.outbox_messages += 1;
    }
    backlog::weigh(sockets, directory, to);
}

/// Longest answer to an Alexa call under the strict profile, in characters. Source: SendAlexaOfferToMaster, "Answer".
const ALEXA_ANSWER_BYTES_STRICT: usize = 10_000;
