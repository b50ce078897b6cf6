//! The steps of the road on the side of the recipient: message → route → outbox, or kept, or refused. No allocation on
//! the way to a connected recipient.

use super::frames::Aside;
use super::status::status;
use super::unsent::{away_from, kept_message};
use super::{frames, kept};
use crate::channel::{KeyName, Route, Towards};
use crate::event::{Kind, Outcome};
use crate::id::{ChannelKey, SessionKey};
use crate::session::{Launch, Role, Session};
use crate::shard::books::Books;
use crate::shard::books::recorder::{Passage, Passed};
use crate::shard::calls::alexa;
use crate::shard::dev::capture;
use crate::shard::directory::Directory;
use crate::shard::end::leave;
use crate::shard::sockets::{Sockets, backlog};
use crate::time::Moment;
use codec::aws::CorrelationId;
use codec::signal::{Action, Delivery, Request, StatusFault};
use std::rc::Rc;

/// The sender of a message.
pub(in crate::shard) struct Sender {
    session: SessionKey,
    channel: ChannelKey,
    role: Role,
}

/// A message on its way: what is known of it beside its bytes.
pub(in crate::shard) struct Passing<'a> {
    pub(in crate::shard) from: SessionKey,
    pub(in crate::shard) channel: ChannelKey,
    pub(in crate::shard) launch: Launch,
    pub(in crate::shard) delivery: Delivery<'a>,
    pub(in crate::shard) recipient: &'a str,
    pub(in crate::shard) correlation_id: Option<CorrelationId<'a>>,
}

impl Passing<'_> {
    /// It for a note.
    #[inline]
    fn passed(&self, passage: Passage, bytes: usize) -> Passed {
        Passed {
            action: Some(self.launch.action),
            towards: self.towards(),
            passage,
            bytes,
        }
    }

    fn towards(&self) -> Towards {
        if self.delivery.sender.is_some() {
            Towards::Master
        } else {
            Towards::Viewer
        }
    }

    /// Notes what became of it, when that is not that it goes to another connection.
    fn note(&self, books: &mut Books, passage: Passage, at: Moment) {
        let passed = self.passed(passage, self.delivery.frame_bytes());
        let viewer = Some(self.recipient).filter(|_| self.delivery.sender.is_none());
        (books.recorder).came(at, self.channel, passed, self.from, viewer);
    }

    /// Counts how it ended.
    pub(in crate::shard) fn end(&self, books: &mut Books, outcome: Outcome) {
        books.counters.end(Kind::Known(self.launch.action), outcome);
    }

    /// It is for an Alexa call that is over, or that takes no candidates.
    pub(in crate::shard) fn too_late(&self, books: &mut Books, at: Moment) {
        self.end(books, Outcome::Withdrawn);
        self.note(books, Passage::TooLateForCall, at);
    }
}

/// Counts a message that was understood, and finds its sender.
///
/// # Errors
/// [`Aside`] when the sender is too fast, which is answered if it can be.
#[inline(always)]
pub(in crate::shard) fn admit(
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
    let sender = Sender {
        session: from,
        channel: web_socket.channel,
        role: web_socket.role.clone(),
    };
    if web_socket.rates.take(request.action, quotas, at.now) {
        if let Role::Viewer(_) = sender.role
            && request.action == Action::SdpOffer
        {
            web_socket.tally.offered(at.now);
        }
        return Ok(sender);
    }
    books.counters.end(kind, Outcome::Throttled);
    if books.copies.is_some() {
        capture::copy_refused(sockets, directory, books, from, Some(request), at);
    }
    note_throttled(books, &sender, request, at);
    let (id, fault) = (request.correlation_id, StatusFault::RateExceeded);
    status(sockets, directory, books, from, id, fault, at);
    Err(frames::idle_frame(sockets, directory, books, from, at))
}

/// Notes a message whose sender is too fast.
fn note_throttled(books: &mut Books, sender: &Sender, request: &Request<'_>, at: Moment) {
    let viewer = sender.role.client_id();
    let delivery = Delivery {
        action: request.action,
        payload: request.payload,
        sender: viewer,
    };
    let passed = Passed {
        action: Some(request.action),
        towards: away_from(&sender.role),
        passage: Passage::Throttled,
        bytes: delivery.frame_bytes(),
    };
    let recipient = request.recipient.map(|id| id.as_str());
    let named = recipient.filter(|_| viewer.is_none());
    (books.recorder).came(at, sender.channel, passed, sender.session, named);
}

/// Message → route.
///
/// # Errors
/// [`Aside`] when the channel is gone.
#[inline(always)]
pub(in crate::shard) fn route<'a>(
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
    let live = channel.wake();
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
pub(in crate::shard) fn deliver(
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
    let passed = passing.passed(Passage::Relayed, bytes);
    (books.recorder).relayed(at, passing.channel, passed, passing.from, to);
    books.counters.outbox_bytes += pushed as u64;
    books.counters.outbox_messages += 1;
    if session.behind {
        sockets.weigh(to);
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
    keep(sockets, directory, books, passing.towards(), passing, at);
}

/// Route → kept for an absent recipient.
pub(in crate::shard) fn keep(
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
    let sender = sockets.sessions.get(passing.from).and_then(Session::open);
    let name = KeyName {
        towards,
        viewer: &viewer,
        caller: sender.and_then(|sender| sender.caller),
    };
    match kept::store(directory, books, passing.channel, name, message, at) {
        Ok(()) => {
            books.counters.pending_messages += 1;
            passing.note(books, Passage::Kept, at);
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
    passing.note(books, Passage::Overflow, at);
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
pub(in crate::shard) fn answer_call(
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
        passing.note(books, Passage::Refused, at);
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
    ) {
        books.counters.end(kind, Outcome::Delivered);
        passing.note(books, Passage::AnsweredCall, at);
    } else {
        passing.too_late(books, at);
    }
}

/// Longest answer to an Alexa call under the strict profile, in characters. Source: SendAlexaOfferToMaster, "Answer".
const ALEXA_ANSWER_BYTES_STRICT: usize = 10_000;
