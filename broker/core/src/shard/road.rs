//! The road of a message: frame → message → route → outbox ([`pass`]), and what follows when the socket has taken the
//! bytes ([`Sockets::sent`]).
//!
//! ```text
//!  each frame ──► pass:  frames::text         frame → text; control frames end here
//!                        frames::understand   text → message; refused ones end here
//!                        relay::admit         its sender, within its rate
//!                        late::outcome        ended, if it comes too late: only where that may be
//!                        relay::route         message → where it goes
//!                        conclude             refused ones are answered
//!                        relay::deliver       → the recipient's outbox; or kept, or the answer of a call
//!  sent    ── delivered: counted and measured; the next request
//!  left to the shard: the end of a connection, a message that waits for one, a channel's deadline, the answer of a
//!                     call, offers of calls, a slot that is released
//! ```
//! A step ends a connection only as far as that is the connection's own: it is closing from there on. What follows for
//! its channel is left to the shard, which does it before the next frame. A message whose recipient was closed for it
//! waits behind that, as a copy ([`Deferred`](crate::shard::todo::Deferred)).
//!
//! The steps are inlined into the road: each is called here alone, and returns more than fits into registers. Called as
//! functions they cost a fifth of a small message.

pub(crate) mod conclude;
pub(crate) mod directions;
pub(crate) mod double;
pub(crate) mod frames;
mod late;
pub(crate) mod parts;
pub(crate) mod passing;
pub(crate) mod presence;
pub(crate) mod relay;
pub(crate) mod status;
pub(crate) mod unaccepted;
pub(crate) mod unsent;

use crate::id::SessionKey;
use crate::shard::books::Books;
use crate::shard::sockets::Sockets;
use crate::shard::todo::{Todo, TodoList};
use crate::time::Moment;
use codec::ws::Item;
use conclude::Judged;
use double::Double;
use frames::{Aside, Reader, Unread};
use parts::Parts;
use relay::Unadmitted;

/// Passes one frame on. What it leaves to the shard is done before the next frame.
///
/// # Errors
/// [`Aside`]: the frame is no message to pass on, or its sender has no open WebSocket any more.
#[inline(always)]
pub(crate) fn pass<D: Double + Default>(
    parts: Parts<'_>,
    frame: Item<'_>,
    reader: &mut Reader,
) -> Result<(), Aside> {
    let (from, at, may_be_late) = (reader.from, reader.at, reader.may_be_late);
    // Frame → text → message.
    let text = frames::text(parts.sockets, parts.books, parts.todo, frame, reader)?;
    let understood = frames::understand(parts.sockets, parts.books, parts.todo, text, reader);
    let request = match understood {
        Ok(request) => request,
        Err(Unread::Aside(aside)) => return Err(aside),
        Err(Unread::Faulty(fault)) => {
            return judge::<D>(parts, Judged::Faulty(from, &fault), at);
        }
    };
    // Message → route.
    let sender = match relay::admit(parts.sockets, parts.books, from, &request, at) {
        Ok(sender) => sender,
        Err(Unadmitted::Ended) => return Err(Aside::Ended),
        Err(Unadmitted::TooFast(sender)) => {
            return judge::<D>(parts, Judged::Throttled(&sender, &request), at);
        }
    };
    if may_be_late && let Some(outcome) = late::outcome(parts.sockets, parts.directory, &sender, at)
    {
        late::end(parts.books, &sender, &request, outcome, at);
        return Err(Aside::Handled);
    }
    let (route, passing) = relay::route(parts.directory, parts.books, &sender, &request, at)?;
    // Route → outbox.
    judge::<D>(parts, Judged::Routed(route, &passing), at)
}

/// The step that follows from the judgement of a message. Inlined three times, each with its judgement known.
#[inline(always)]
fn judge<D: Double + Default>(
    parts: Parts<'_>,
    judged: Judged<'_>,
    at: Moment,
) -> Result<(), Aside> {
    let double = D::default();
    double.message(parts, judged, at)
}

impl Sockets {
    /// The oldest `bytes` of a session were handed to the kernel: messages whose last byte was among them are
    /// delivered.
    pub(crate) fn sent(
        &mut self,
        books: &mut Books,
        todo: &mut TodoList,
        key: SessionKey,
        bytes: usize,
        at: Moment,
    ) {
        // Whole messages among the bytes are delivered.
        let handed = self.handed_over(key, bytes, at.now, |launch, frame_bytes| {
            if launch.call {
                todo.offer_delivered(key, launch.order);
            }
            books.count_sent(launch, frame_bytes, at);
        });
        let Some(handed) = handed else { return };
        if let Some(ms) = handed.setup_ms {
            books.count_setup(key, ms, at);
        }
        // The bytes wait no longer, and the work that waited for their end goes on.
        books.unload(handed.freed);
        if handed.released {
            todo.push(Todo::Released(key));
        }
    }
}
