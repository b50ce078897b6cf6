//! Messages that are refused, and STATUS_RESPONSE to their senders.

use crate::event::Kind;
use crate::id::SessionKey;
use crate::journal::Unaccepted;
use crate::shard::books::Books;
use crate::shard::road::directions::away_from;
use crate::shard::road::unaccepted::decline;
use crate::shard::sockets::Sockets;
use crate::shard::todo::{Declined, TodoList};
use crate::time::Moment;
use codec::identifiers::CorrelationId;
use codec::signal::{Action, Fault, FaultKind, StatusFault};

/// A message that breaks a rule: counted, and answered if it can be.
pub(crate) fn refuse_message(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    from: SessionKey,
    fault: &Fault<'_>,
    at: Moment,
) {
    let kind = match fault.kind {
        FaultKind::MasterOffer => Kind::Known(Action::SdpOffer),
        FaultKind::Malformed
        | FaultKind::UnsupportedAction
        | FaultKind::NoPayload
        | FaultKind::PayloadTooLong(_)
        | FaultKind::PayloadAlphabet
        | FaultKind::Recipient
        | FaultKind::NotJson => Kind::Unknown,
    };
    books.count_received(kind);
    let rules = sockets.rules().messages;
    let (reason, bytes) = Unaccepted::of(fault.kind);
    let too_long = reason == Unaccepted::TooLong;
    let Some(web_socket) = sockets.web_socket(from) else {
        return books.count_unaccepted(kind, reason);
    };
    let declined = Declined {
        from,
        channel: web_socket.channel,
        kind,
        towards: away_from(&web_socket.role),
        reason,
        bytes,
        most: if too_long { rules.payload_bytes } else { 0 },
    };
    decline(books, todo, declined, None, at);
    if let Some(answer) = fault.kind.status(&rules) {
        let of = StatusOf {
            sender: from,
            correlation_id: fault.correlation_id,
        };
        status(sockets, books, todo, of, answer, at);
    }
}

/// The message that a STATUS_RESPONSE is about.
#[derive(Clone, Copy)]
pub(crate) struct StatusOf<'a> {
    /// The connection that sent it.
    pub(crate) sender: SessionKey,
    /// The sender's name for it; without one there is no status.
    pub(crate) correlation_id: Option<CorrelationId<'a>>,
}

/// STATUS_RESPONSE to the sender of a faulty message that carried a usable correlation id.
pub(crate) fn status(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    of: StatusOf<'_>,
    fault: StatusFault,
    at: Moment,
) {
    status_with(sockets, books, todo, of, at, |out, id| fault.write(out, id));
}

/// STATUS_RESPONSE as `write` writes it; nothing for a sender that was closed meanwhile, since no data frame follows a
/// close frame (RFC 6455 section 5.5.1).
pub(crate) fn status_with(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    of: StatusOf<'_>,
    at: Moment,
    write: impl FnOnce(&mut Vec<u8>, CorrelationId<'_>),
) {
    let to = of.sender;
    let Some(correlation_id) = of
        .correlation_id
        .filter(|_| sockets.web_socket(to).is_some())
    else {
        return;
    };
    if !sockets.has_control_room(books, to) {
        return sockets.cut_slow(books, todo, to, at);
    }
    sockets.push_control(books, to, |out| write(out, correlation_id));
}
