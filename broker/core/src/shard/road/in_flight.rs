//! A message in transit: its sender, its direction, and the data recorded about it. Also defines an owned copy of such
//! a message.

use crate::channel::pending::Message;
use crate::event::{Kind, Outcome};
use crate::id::{ChannelKey, SessionKey};
use crate::session::{outbox::DeliveryMark, web_socket::Role};
use crate::shard::context::Context;
use crate::shard::flight_recorder::{NotedMessage, Passage, look_into};
use crate::shard::road::service_messages::StatusOf;
use crate::shard::todo::{Declined, Deferred};
use crate::{channel::Towards, journal::Unaccepted};
use codec::{
    identifiers::CorrelationId,
    signal::{Action, Delivery},
};

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

// Message directions, and conversions to and from pending messages.

/// Returns the direction of messages to this role.
pub(crate) fn towards(role: &Role) -> Towards {
    match role {
        Role::Master => Towards::Master,
        Role::Viewer(_) => Towards::Viewer,
    }
}

/// Returns the direction of messages from this role.
pub(crate) fn away_from(role: &Role) -> Towards {
    match role {
        Role::Master => Towards::Viewer,
        Role::Viewer(_) => Towards::Master,
    }
}

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
