//! The last step of the road on the sender's side: what follows from the judgement of a message.

use super::double::Parts;
use super::frames::{Aside, idle_frame};
use super::passing::{Passing, Sender};
use super::{relay, status};
use crate::channel::Route;
use crate::id::SessionKey;
use crate::time::Moment;
use codec::signal::{Fault, Request};

/// A message of a connection, and what was found.
pub(in crate::shard) enum Judged<'a> {
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
pub(in crate::shard) fn conclude(
    (sockets, directory, books, todo): Parts<'_>,
    judged: Judged<'_>,
    at: Moment,
) -> Result<(), Aside> {
    match judged {
        Judged::Faulty(from, fault) => {
            status::refuse_message(sockets, books, todo, from, fault, at);
            Err(idle_frame(sockets, books, todo, from, at))
        }
        Judged::Throttled(sender, request) => {
            relay::throttle(sockets, books, todo, sender, request, at);
            Err(idle_frame(sockets, books, todo, sender.session, at))
        }
        Judged::Routed(route, passing) => {
            relay::hand_on(sockets, directory, books, todo, route, passing, at);
            sockets.still_open(passing.from)
        }
    }
}
