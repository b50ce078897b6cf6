//! The last step of the road on the sender's side: what follows from the judgement of a message.

use crate::channel::route::Route;
use crate::id::SessionKey;
use crate::shard::road::frames::{Aside, idle_frame};
use crate::shard::road::parts::Parts;
use crate::shard::road::passing::{Passing, Sender};
use crate::shard::road::{relay, status};
use crate::time::Moment;
use codec::signal::{Fault, Request};

/// A message of a connection, and what was found.
pub(crate) enum Judged<'a> {
    /// It breaks a rule. With the connection that sent it.
    Faulty(SessionKey, &'a Fault<'a>),
    /// Its sender is too fast.
    Throttled(&'a Sender, &'a Request<'a>),
    /// It has its route.
    Routed(Route, &'a Passing<'a>),
}

/// Passes a message on, or refuses it.
///
/// # Errors
/// [`Aside`] for a message that was refused, and when its sender has no open WebSocket any more.
#[inline(always)]
pub(crate) fn conclude(mut parts: Parts<'_>, judged: Judged<'_>, at: Moment) -> Result<(), Aside> {
    match judged {
        Judged::Routed(route, passing) => {
            relay::hand_on(parts.lend(), route, passing, at);
            parts.sockets.still_open(passing.from)
        }
        Judged::Faulty(from, fault) => {
            let Parts {
                sockets,
                books,
                todo,
                ..
            } = parts;
            status::refuse_message(sockets, books, todo, from, fault, at);
            Err(idle_frame(sockets, books, todo, from, at))
        }
        Judged::Throttled(sender, request) => {
            let Parts {
                sockets,
                books,
                todo,
                ..
            } = parts;
            relay::throttle(sockets, books, todo, sender, request, at);
            Err(idle_frame(sockets, books, todo, sender.session, at))
        }
    }
}
