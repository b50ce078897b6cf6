//! `GET /ping` of a client listener: whether this node is ready for clients, for load balancers, which do not reach the
//! admin listener.
//!
//! It needs no signature and shows nothing but its status. It is counted and not logged: each balancer asks every
//! second or so.

use crate::event::Requested;
use crate::id::SessionKey;
use crate::shard::books::Books;
use crate::shard::sockets::Sockets;
use crate::time::Moment;
use codec::http::{Head, Meta, respond};

/// Whether a request is a probe.
pub(crate) fn is_probe(head: &Head<'_>) -> bool {
    matches!(head.method(), "GET" | "HEAD") && head.path() == "/ping"
}

/// 200 or 503, without a body.
pub(crate) fn answer_probe(
    sockets: &mut Sockets,
    books: &mut Books,
    key: SessionKey,
    close: bool,
    at: Moment,
) {
    let status = if sockets.readiness().is_ready() {
        200
    } else {
        503
    };
    let close = close || sockets.drains();
    let id = books.request_id();
    let meta = Meta {
        wall_ms: at.wall.0,
        request_id: &id,
        close,
    };
    sockets.push_control(books, key, |out| {
        respond(out, &meta, status, None, "", b"");
    });
    books.count_request(Requested::Ping, status);
    sockets.next_request(key, close, at);
}
