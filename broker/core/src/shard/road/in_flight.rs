//! A message in transit: its direction, its notes, and the parts of a shard that its steps need.

use crate::channel::{members::Slot, pending::Message};
use crate::event::{Kind, Outcome};
use crate::id::{CallerId, ChannelKey, SessionKey};
use crate::session::{outbox::DeliveryMark, web_socket::Role};
use crate::shard::Sockets;
use crate::shard::context::Context;
use crate::shard::flight_recorder::{NotedMessage, Passage, look_into};
use crate::shard::road::service_messages::{StatusOf, decline};
use crate::shard::todo::{Declined, Deferred};
use crate::{channel::Towards, journal::Unaccepted, session::Session};
use codec::{
    identifiers::CorrelationId,
    signal::{Action, Delivery},
};
use std::rc::Rc;

/// The sender of a message.
pub(crate) struct Sender {
    pub(crate) session: SessionKey,
    pub(crate) channel: ChannelKey,
    pub(crate) role: Role,
    /// Whether the sender is a viewer and the message is its first offer.
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
    /// Creates the flight recorder's note of the message.
    #[inline]
    pub(crate) fn passed(&self, passage: Passage, bytes: usize) -> NotedMessage {
        NotedMessage {
            action: Some(self.launch.action),
            towards: self.towards(),
            passage,
            bytes,
            candidates: None,
        }
    }

    /// Returns the message as the subject of a status response to its sender.
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

    /// Notes the message's fate, unless it was forwarded to another connection.
    pub(crate) fn note(&self, cx: &mut Context, passage: Passage) {
        let mut passed = self.passed(passage, self.delivery.frame_bytes());
        passed.candidates = look_into(self.launch.action, self.delivery.payload);
        cx.telemetry
            .note()
            .came(cx.at, self.channel, passed, self.from, self.viewer());
    }

    /// Creates the record of a message that is not accepted.
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

    /// Declines the message for the given reason.
    pub(crate) fn decline(&self, cx: &mut Context, reason: Unaccepted) {
        decline(cx, self.declined(reason), self.viewer());
    }

    /// Declines a message that is longer, by this many bytes, than its recipient's maximum.
    pub(crate) fn decline_too_long(&self, cx: &mut Context, excess: usize) {
        let mut declined = self.declined(Unaccepted::TooLongForRecipient);
        declined.bytes = self.delivery.text_bytes();
        declined.most = declined.bytes.saturating_sub(excess);
        decline(cx, declined, self.viewer());
    }

    /// Returns the viewer that a master's message is addressed to.
    fn viewer(&self) -> Option<&str> {
        Some(self.recipient).filter(|_| self.delivery.sender.is_none())
    }

    /// Counts the outcome of the message.
    pub(crate) fn end(&self, cx: &mut Context, outcome: Outcome) {
        cx.telemetry
            .count_ended(Kind::Known(self.launch.action), outcome);
    }

    /// Drops a message that the Alexa call it belongs to does not accept.
    pub(crate) fn drop(&self, cx: &mut Context, passage: Passage) {
        self.end(cx, Outcome::Withdrawn);
        self.note(cx, passage);
    }

    /// Converts the message to the form stored for an absent recipient.
    pub(crate) fn undelivered(&self, sockets: &Sockets) -> Undelivered {
        let sender = sockets.session(self.from).and_then(Session::open);
        let mut frame = Vec::with_capacity(self.delivery.frame_bytes());
        self.delivery.write(&mut frame);
        Undelivered {
            from: self.from,
            caller: sender.and_then(|sender| sender.caller),
            channel: self.channel,
            towards: self.towards(),
            viewer: self.delivery.sender.unwrap_or(self.recipient).into(),
            message: kept_message(self.launch, frame.into_boxed_slice()),
        }
    }

    /// Creates an owned copy, to be delivered after this step.
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

/// A message for an absent recipient.
pub(crate) struct Undelivered {
    pub(crate) from: SessionKey,
    /// The caller as which the message's sender connected.
    pub(crate) caller: Option<CallerId>,
    pub(crate) channel: ChannelKey,
    pub(crate) towards: Towards,
    /// The viewer that the message is from or to.
    pub(crate) viewer: Rc<str>,
    pub(crate) message: Message,
}

// The directions of messages: to and from a role, and the viewer at the other end.

/// Returns the slot of a role.
pub(crate) fn slot_of(role: &Role) -> Slot {
    match role {
        Role::Master => Slot::Master,
        Role::Viewer(id) => Slot::Viewer(id.clone()),
    }
}

/// Returns the direction of messages to a role.
pub(crate) fn towards(role: &Role) -> Towards {
    match role {
        Role::Master => Towards::Master,
        Role::Viewer(_) => Towards::Viewer,
    }
}

/// Returns the direction of messages from a role.
pub(crate) fn away_from(role: &Role) -> Towards {
    match role {
        Role::Master => Towards::Viewer,
        Role::Viewer(_) => Towards::Master,
    }
}

/// Converts a message to the form stored until its recipient connects.
pub(crate) fn kept_message(launch: DeliveryMark, frame: Box<[u8]>) -> Message {
    let DeliveryMark {
        action,
        expires,
        order,
        sender_bytes,
        from,
        first,
        follows: _,
        call: _,
        counted: _,
        accepted_us: _,
    } = launch;
    Message {
        action,
        expires,
        order,
        sender_bytes,
        from,
        first,
        frame,
    }
}

/// Creates the delivery mark for a pending message that is now sent to its recipient.
pub(crate) fn mark_of_kept(message: &Message) -> DeliveryMark {
    DeliveryMark {
        action: message.action,
        expires: message.expires,
        order: message.order,
        sender_bytes: message.sender_bytes,
        call: false,
        counted: true,
        from: message.from,
        first: message.first,
        follows: message.action == Action::IceCandidate,
        accepted_us: None,
    }
}
