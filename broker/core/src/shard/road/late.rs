//! Messages that were held back on their way: by a node that stood still and had them from their sender, or by this
//! process, which stood still itself. They must not arrive behind newer ones of the same sender's next connection.
//!
//! ```text
//!  a connection that lost its slot:  | sends as before |  late from here on
//!                                    lost             + LATE_AFTER_MS
//!  one that lives through a standstill of the shard:
//!                                    | nothing is read |  late what is read |  as before
//!                                    since           until               + HELD_READ_MS
//! ```
//! A late message is read and ends here: *withdrawn* if a newer connection of its sender has sent since, *expired* if
//! its time to live is over, counted from the moment after which it was held. Else it goes on. Only this shard's clock
//! is asked.

use crate::event::{Kind, Outcome};
use crate::id::SessionKey;
use crate::limits::LATE_AFTER_MS;
use crate::session::Session;
use crate::session::web_socket::WebSocket;
use crate::shard::books::Books;
use crate::shard::books::recorder::Passage;
use crate::shard::books::recorder::notes::Passed;
use crate::shard::directory::Directory;
use crate::shard::road::directions::away_from;
use crate::shard::road::passing::Sender;
use crate::shard::road::relay::undelivered;
use crate::shard::sockets::Sockets;
use crate::time::{Moment, Now};
use codec::signal::Request;

/// Counts and notes a message that comes too late.
#[cold]
pub(crate) fn end(
    books: &mut Books,
    sender: &Sender,
    request: &Request<'_>,
    outcome: Outcome,
    at: Moment,
) {
    books.count_ended(Kind::Known(request.action), outcome);
    let (bytes, viewer) = undelivered(sender, request);
    let passed = Passed {
        action: Some(request.action),
        towards: away_from(&sender.role),
        passage: Passage::Late,
        bytes,
    };
    books
        .note()
        .came(at, sender.channel, passed, sender.session, viewer);
}

/// The end of what a connection sends now, if it is late.
#[cold]
pub(crate) fn outcome(
    sockets: &Sockets,
    directory: &Directory,
    sender: &Sender,
    at: Moment,
) -> Option<Outcome> {
    let open = |key: SessionKey| sockets.session(key).and_then(Session::open);
    let web_socket = open(sender.session)?;
    let spoke = |key| open(key).is_some_and(WebSocket::spoke);
    let lost = directory.lost_slot(sender.channel, sender.session, spoke);
    let long_ago = |since: &Now| at.now.since(*since) > LATE_AFTER_MS;
    let silenced = lost.map(|(since, _)| since).filter(long_ago);
    let standstill = sockets.standstill();
    let was_held = web_socket.opened() < standstill.until && at.now < standstill.read_by;
    let held = was_held.then_some(standstill.since);
    let since = held.into_iter().chain(silenced).min()?;
    if lost.is_some_and(|(_, overtaken)| overtaken) {
        return Some(Outcome::Withdrawn);
    }
    let expiry = directory.channel(sender.channel)?.expiry(since);
    (expiry <= at.now).then_some(Outcome::Expired)
}
