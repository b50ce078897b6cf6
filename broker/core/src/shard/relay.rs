//! Message → route → the recipient's outbox, or kept, or refused. No allocation on the way to a connected recipient.

use super::Shard;
use crate::channel::{Channel, Message, Route, Towards};
use crate::event::{Kind, Outcome};
use crate::id::{ChannelKey, SessionKey};
use crate::session::{Launch, Role, Session};
use crate::time::Moment;
use codec::aws::CorrelationId;
use codec::signal::{Delivery, Fault, FaultKind, Request, StatusFault};
use std::rc::Rc;

/// A message on its way: what is known of it beside its bytes.
struct Passing<'a> {
    from: SessionKey,
    channel: ChannelKey,
    launch: Launch,
    delivery: Delivery<'a>,
    recipient: &'a str,
    correlation_id: Option<CorrelationId<'a>>,
}

impl Shard {
    /// Takes one understood message in and moves it on; false if its sender is too fast for that.
    pub(super) fn relay(&mut self, from: SessionKey, request: &Request<'_>, at: Moment) -> bool {
        let kind = Kind::Known(request.action);
        self.books.counters.receive(kind);
        let quotas = &self.sockets.settings.quotas;
        let session = self.sockets.sessions.get_mut(from);
        let Some(web_socket) = session.and_then(Session::open_mut) else {
            self.books.counters.end(kind, Outcome::Withdrawn);
            return true;
        };
        if !web_socket.rates.take(request.action, quotas, at.now) {
            self.books.counters.end(kind, Outcome::Throttled);
            let fault = StatusFault::RateExceeded;
            self.status(from, request.correlation_id, fault, at);
            return false;
        }
        let key = web_socket.channel;
        let role = web_socket.role.clone();
        let sender = match &role {
            Role::Master => None,
            Role::Viewer(id) => Some(&**id),
        };
        let Some(channel) = self.directory.channels.get_mut(key) else {
            self.books.counters.end(kind, Outcome::Withdrawn);
            return true;
        };
        let expires = channel.expiry(at.now);
        let live = channel.wake(&self.directory.hasher);
        let recipient = request.recipient.map_or("", |id| id.as_str());
        let sender_bytes = u16::try_from(sender.map_or(0, str::len)).unwrap_or(u16::MAX);
        let launch = Launch {
            action: request.action,
            expires,
            order: live.next_order(),
            sender_bytes,
            call: false,
            counted: true,
            accepted_us: Some(at.micros),
        };
        let passing = Passing {
            from,
            channel: key,
            launch,
            delivery: Delivery {
                action: request.action,
                payload: request.payload,
                sender,
            },
            recipient,
            correlation_id: request.correlation_id,
        };
        match live.route(role.on_wire(), request.action, recipient) {
            Route::To(to) => self.deliver(to, &passing, at),
            Route::Keep(towards) => self.keep(towards, &passing, at),
            Route::AnswersCall => self.answer_call(&passing, at),
            Route::TooLateForCall => self.books.counters.end(kind, Outcome::Withdrawn),
        }
        true
    }

    fn deliver(&mut self, to: SessionKey, passing: &Passing<'_>, at: Moment) {
        if self.too_far_behind() {
            self.shed(at);
            if self.web_socket(to).is_none() {
                return self.deliver_after_cutting(to, passing, at);
            }
        }
        let limits = &self.sockets.settings.limits;
        let bytes = passing.delivery.frame_bytes();
        let shard_full = self.books.counters.outbox_bytes + bytes as u64
            > self.sockets.rules.outbox_bytes as u64;
        let Some(session) = self.sockets.sessions.get_mut(to) else {
            return self
                .books
                .counters
                .end(Kind::Known(passing.launch.action), Outcome::Withdrawn);
        };
        if session.outbox.bytes() + bytes > limits.outbox_bytes {
            return self.deliver_after_cutting(to, passing, at);
        }
        if shard_full {
            return self.overflow(passing, at);
        }
        let pushed =
            session
            .outbox
                .push_message(&mut self.sockets.scratch.spares, passing.launch, |out| {
                passing.delivery.write(out)
            });
        debug_assert_eq!(pushed, bytes, "a delivery is as long as it says");
        self.books.counters.outbox_bytes += pushed as u64;
        self.books.counters.outbox_messages += 1;
        if session.behind {
            self.weigh(to);
        }
        self.touch(to);
    }

    /// The recipient's outbox is full: it is closed, and the message is kept like those that it had not sent.
    fn deliver_after_cutting(&mut self, to: SessionKey, passing: &Passing<'_>, at: Moment) {
        self.cut_slow(to, at);
        let towards = if passing.delivery.sender.is_some() {
            Towards::Master
        } else {
            Towards::Viewer
        };
        self.keep(towards, passing, at);
    }

    fn keep(&mut self, towards: Towards, passing: &Passing<'_>, at: Moment) {
        let viewer: Rc<str> = match towards {
            Towards::Master => passing.delivery.sender.unwrap_or_default().into(),
            Towards::Viewer => passing.recipient.into(),
        };
        let mut frame = Vec::with_capacity(passing.delivery.frame_bytes());
        passing.delivery.write(&mut frame);
        let Launch {
            action,
            expires,
            order,
            sender_bytes,
            call: _,
            counted: _,
            accepted_us: _,
        } = passing.launch;
        let message = Message {
            action,
            expires,
            order,
            sender_bytes,
            frame: frame.into_boxed_slice(),
        };
        if self.directory.channels.get(passing.channel).is_none() {
            return self
                .books
                .counters
                .end(Kind::Known(action), Outcome::Withdrawn);
        }
        match self.store(passing.channel, towards, &viewer, message) {
            Ok(()) => {
                self.books.counters.pending_messages += 1;
                self.arm_channel(passing.channel, at);
            }
            Err(crate::channel::Full) => self.overflow(passing, at),
        }
    }

    fn overflow(&mut self, passing: &Passing<'_>, at: Moment) {
        self.books
            .counters
            .end(Kind::Known(passing.launch.action), Outcome::Overflow);
        self.status(
            passing.from,
            passing.correlation_id,
            StatusFault::TooManyUndelivered,
            at,
        );
    }

    fn answer_call(&mut self, passing: &Passing<'_>, at: Moment) {
        let kind = Kind::Known(passing.launch.action);
        let payload = passing.delivery.payload;
        if self.sockets.settings.strict() && payload.len() > ALEXA_ANSWER_BYTES_STRICT {
            self.books.counters.end(kind, Outcome::Refused);
            let fault = StatusFault::Payload {
                payload_bytes: ALEXA_ANSWER_BYTES_STRICT,
            };
            return self.status(passing.from, passing.correlation_id, fault, at);
        }
        if self.end_call(passing.channel, passing.recipient, Some(payload), at) {
            self.books.counters.end(kind, Outcome::Delivered);
        } else {
            self.books.counters.end(kind, Outcome::Withdrawn);
        }
    }

    /// A message that breaks a rule: counted, and answered if it can be.
    pub(super) fn refuse_message(&mut self, from: SessionKey, fault: &Fault<'_>, at: Moment) {
        let kind = match fault.kind {
            FaultKind::MasterOffer => Kind::Known(codec::signal::Action::SdpOffer),
            FaultKind::Malformed
            | FaultKind::UnsupportedAction
            | FaultKind::Payload
            | FaultKind::Recipient
            | FaultKind::NotJson => Kind::Unknown,
        };
        self.books.counters.receive(kind);
        self.books.counters.end(kind, Outcome::Refused);
        if let Some(answer) = fault.kind.status(&self.sockets.rules.messages) {
            self.status(from, fault.correlation_id, answer, at);
        }
    }

    /// STATUS_RESPONSE to the sender of a faulty message that carried a usable correlation id.
    fn status(
        &mut self,
        to: SessionKey,
        correlation_id: Option<CorrelationId<'_>>,
        fault: StatusFault,
        at: Moment,
    ) {
        let Some(correlation_id) = correlation_id else {
            return;
        };
        if !self.has_control_room(to) {
            return self.cut_slow(to, at);
        }
        self.push(to, |out| fault.write(out, correlation_id));
    }

    /// Moves what is kept for a role into its current connection's outbox, oldest first; to a master also the offers of
    /// waiting calls.
    ///
    /// No bound is looked at: a whole pending store fits an empty outbox, and a peer that does not read is cut off by the next
    /// message.
    pub(super) fn deliver_kept(&mut self, key: ChannelKey, role: &Role, at: Moment) {
        let counters = &mut self.books.counters;
        let Some(live) = self
            .directory
            .channels
            .get_mut(key)
            .and_then(Channel::live_mut)
        else {
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
        self.kept_changed(key, before);
        for (rank, messages) in groups {
            if *role == Role::Master {
                self.give_offers(key, rank);
            }
            self.push_kept(to, messages);
        }
        if *role == Role::Master {
            self.give_offers(key, u64::MAX);
        }
        self.touch(to);
    }

    fn push_kept(&mut self, to: SessionKey, messages: impl IntoIterator<Item = Message>) {
        let Some(session) = self.sockets.sessions.get_mut(to) else {
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
            let pushed =
                session
                .outbox
                    .push_message(&mut self.sockets.scratch.spares, launch, |out| {
                    out.extend_from_slice(&frame)
                });
            self.books.counters.outbox_bytes += pushed as u64;
            self.books.counters.pending_messages -= 1;
            self.books.counters.outbox_messages += 1;
        }
        self.weigh(to);
    }
}

/// Longest answer to an Alexa call under the strict profile, in characters. Source: SendAlexaOfferToMaster, "Answer".
const ALEXA_ANSWER_BYTES_STRICT: usize = 10_000;
