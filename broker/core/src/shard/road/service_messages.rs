//! STATUS_RESPONSE messages, which tell senders that their messages were refused.

use crate::channel::Towards;
use crate::id::{Account, SessionKey};
use crate::journal::{Unaccepted, UnacceptedMessage};
use crate::session::web_socket::BoundsPlace;
use crate::shard::context::Context;
use crate::shard::flight_recorder::{NotedMessage, Passage};
use crate::shard::state::State;
use crate::shard::todo::{Declined, Todo};
use crate::{event::Kind, session::Session};
use codec::identifiers::CorrelationId;
use codec::signal::{Action, Fault, FaultKind, StatusFault};

/// Counts an invalid message, and sends a status response if possible.
pub(crate) fn refuse(shard: &mut State, from: SessionKey, fault: &Fault<'_>) {
    let (sockets, _, cx, _) = shard.parts();
    let kind = if fault.kind == FaultKind::MasterOffer {
        Kind::Known(Action::SdpOffer)
    } else {
        Kind::Unknown
    };
    cx.telemetry.count_received(kind);
    let bounds = sockets
        .web_socket(from)
        .map_or_else(BoundsPlace::default, |it| it.bounds());
    let rules = sockets.message_bounds().at(bounds).messages;
    let (reason, bytes) = Unaccepted::of(fault.kind);
    let too_long = reason == Unaccepted::TooLong;
    let Some(web_socket) = sockets.web_socket(from) else {
        return cx.telemetry.count_unaccepted(kind, reason);
    };
    web_socket.message_came();
    let declined = Declined {
        from,
        channel: web_socket.channel,
        kind,
        towards: Towards::away_from(&web_socket.role),
        reason,
        bytes,
        most: if too_long { rules.payload_bytes } else { 0 },
    };
    decline(cx, declined, None);
    if let Some(answer) = fault.kind.status(&rules) {
        let of = StatusOf {
            sender: from,
            correlation_id: fault.correlation_id,
        };
        status(shard, of, answer);
    }
}

/// The message to which a STATUS_RESPONSE refers.
#[derive(Clone, Copy)]
pub(crate) struct StatusOf<'a> {
    /// The connection that sent the message.
    pub(crate) sender: SessionKey,
    /// The message's correlation id. Without one, no STATUS_RESPONSE is sent.
    pub(crate) correlation_id: Option<CorrelationId<'a>>,
}

/// Sends a STATUS_RESPONSE to the sender of a refused message if the message has a usable correlation id.
pub(crate) fn status(shard: &mut State, of: StatusOf<'_>, why: StatusFault) {
    if let Some(id) = answerable(shard, of) {
        (shard.sockets).push_control(&mut shard.cx, of.sender, |out| why.write(out, id));
    }
}

/// Returns a message's correlation id if a STATUS_RESPONSE can be sent to its sender. On a closing connection, this is
/// impossible, since no data frame may follow a close frame (RFC 6455 section 5.5.1). A sender that does not read its
/// responses is disconnected.
pub(crate) fn answerable<'a>(shard: &mut State, of: StatusOf<'a>) -> Option<CorrelationId<'a>> {
    let (sockets, _, cx, _) = shard.parts();
    let is_open = sockets.web_socket(of.sender).is_some();
    let id = of.correlation_id.filter(|_| is_open)?;
    if sockets.has_control_room(cx, of.sender) {
        return Some(id);
    }
    sockets.cut_slow(cx, of.sender);
    None
}

// Messages that are not accepted. They are counted by reason, recorded for operators, and logged, subject to a limit
// per account.

/// Counts and records a message that is not accepted. The shard logs it later. `viewer` is the viewer to which a master
/// addressed the message.
#[cold]
pub(crate) fn decline(cx: &mut Context, declined: Declined, viewer: Option<&str>) {
    cx.telemetry
        .count_unaccepted(declined.kind, declined.reason);
    let (action, passage) = (declined.kind.action(), Passage::Unaccepted(declined.reason));
    let passed = NotedMessage {
        most: declined.most,
        ..NotedMessage::new(action, declined.towards, passage, declined.bytes)
    };
    let note = cx.note(declined.channel);
    note.came(passed, declined.from, viewer);
    cx.todo.push(Todo::Unaccepted(Box::new(declined)));
}

/// Logs a message that was not accepted, unless its sender or channel no longer exists.
pub(crate) fn log_declined(shard: &mut State, declined: &Declined) {
    let (sockets, directory, cx, _) = shard.parts();
    let channel = directory.channel(declined.channel);
    let sender = sockets.session(declined.from);
    let role = sender.and_then(Session::membership);
    let (Some(sender), Some((_, role)), Some(channel)) = (sender, role, channel) else {
        return;
    };
    let arn = &channel.record.arn;
    let line = |unlogged| UnacceptedMessage {
        channel: arn.name().into(),
        account: Account::of(arn),
        role: role.on_wire(),
        client_id: role.client_id().map(Box::from),
        remote: sender.remote(),
        action: declined.kind.action(),
        reason: declined.reason,
        bytes: declined.bytes,
        most: declined.most,
        unlogged,
    };
    cx.telemetry
        .journal()
        .unaccepted(cx.at.now, Account::of(arn), line);
}
