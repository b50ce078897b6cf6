//! The road of a message: received bytes → frame → message → route → outbox ([`receive`]), and what follows when the
//! socket has taken the bytes ([`sent`]).
//!
//! ```text
//!  receive ── each frame ──► pass:  frames::text         frame → text; control frames end here
//!                                   frames::understand   text → message; refused ones end here
//!                                   relay::admit         its sender, within its rate
//!                                   relay::route         message → where it goes
//!                                   relay::deliver       → the recipient's outbox; or kept, or the answer of a call
//!  sent    ── delivered: counted and measured; offers of calls; a slot that is released; the next request
//! ```
//! The steps are inlined into the road: each is called here alone, and returns more than fits into registers. Called as
//! functions they cost a fifth of a small message.

pub(in crate::shard) mod frames;
pub(in crate::shard) mod kept;
pub(in crate::shard) mod relay;
pub(in crate::shard) mod status;
pub(in crate::shard) mod unsent;

use super::books::Books;
use super::directory::Directory;
use super::sockets::Sockets;
use crate::channel::Route;
use crate::event::{Exemplar, Kind, Outcome};
use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::session::{NEVER, SessionState};
use crate::shard::calls::alexa;
use crate::shard::dev::{faults, parity};
use crate::shard::end::leave;
use crate::shard::sockets::request_bytes;
use crate::time::Moment;
use codec::signal::Action;
use codec::ws::Item;
use frames::{Aside, Reader};

/// Handles bytes of an open WebSocket: every whole frame is passed on. All frames of one receive are handled at once.
///
/// The receiver is lent out of its session for the time of the call, and the parser out of the shard's scratch memory,
/// so that what they borrow from `bytes` is separate from all that a message may change.
pub(super) fn receive(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    from: SessionKey,
    bytes: &mut [u8],
    at: Moment,
) {
    let Some((mut receiver, mut reader)) = frames::lend(sockets, from) else {
        return;
    };
    let within = !receiver.is_idle();
    let mut rest = bytes;
    loop {
        // Bytes → frame.
        let (used, frame) = match receiver.next(&sockets.rules.frames, rest) {
            Ok((used, Some(frame))) => (used, frame),
            Ok((_, None)) => break,
            Err(error) => {
                let reason = EndReason::ProtocolError(error);
                leave::close_web_socket(sockets, directory, books, from, reason, at);
                break;
            }
        };
        books.frames += 1;
        let control = matches!(frame, Item::Ping(_) | Item::Pong(_));
        let passed = pass(sockets, directory, books, from, frame, &mut reader, at);
        if control && !receiver.in_message() {
            sockets.frame_ended(from);
        }
        rest = rest.get_mut(used..).unwrap_or_default();
        match passed {
            Ok(()) | Err(Aside::Handled) => {}
            Err(Aside::Ended) => break,
        }
    }
    let begun = !receiver.is_idle();
    if !frames::give_back(sockets, from, receiver, reader, at) {
        return;
    }
    if within || begun {
        request_bytes::charge_received(sockets, directory, books, from, at);
    }
}

/// Passes one frame on.
///
/// # Errors
/// [`Aside`]: the frame is no message to pass on, or its sender has no open WebSocket any more.
#[inline(always)]
fn pass(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    from: SessionKey,
    frame: Item<'_>,
    reader: &mut Reader,
    at: Moment,
) -> Result<(), Aside> {
    // Frame → text → message.
    let text = frames::text(
        sockets,
        directory,
        books,
        from,
        frame,
        &mut reader.pings,
        at,
    )?;
    let parser = &mut reader.parser;
    let request = frames::understand(sockets, directory, books, from, text, parser, at)?;
    // Message → route.
    let sender = relay::admit(sockets, directory, books, from, &request, at)?;
    let (route, passing) = relay::route(directory, books, &sender, &request, at)?;
    if sockets.dev.faults.is_some() {
        parity::on_message(sockets, directory, &passing, at);
        if faults::on_message(sockets, directory, books, &passing, route, at) {
            return sockets.still_open(from);
        }
    }
    // Route → outbox.
    hand_on(sockets, directory, books, route, &passing, at);
    sockets.still_open(from)
}

/// Route → the recipient's outbox; or kept, or the answer of a call.
#[inline(always)]
pub(super) fn hand_on(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    route: Route,
    passing: &relay::Passing<'_>,
    at: Moment,
) {
    match route {
        Route::To(to) => relay::deliver(sockets, directory, books, to, passing, at),
        Route::Keep(towards) => relay::keep(sockets, directory, books, towards, passing, at),
        Route::AnswersCall => relay::answer_call(sockets, directory, books, passing, at),
        Route::TooLateForCall => passing.too_late(books, at),
    }
}

/// The oldest `bytes` of a session were handed to the kernel: messages whose last byte was among them are delivered.
pub(super) fn sent(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    bytes: usize,
    at: Moment,
) {
    let Some(session) = sockets.sessions.get_mut(key) else {
        return;
    };
    // Whole messages among the bytes are delivered.
    let counters = &mut books.counters;
    let mut offers = Vec::new();
    let had_messages = session.outbox.has_messages();
    let (mut messages, mut answers) = (0, false);
    let delivery_times = &mut books.delivery_times;
    let gone = session
        .outbox
        .sent(&mut sockets.scratch.spares, bytes, |mark| {
            let launch = &mark.launch;
            if launch.counted {
                counters.outbox_messages -= 1;
                counters.end(Kind::Known(launch.action), Outcome::Delivered);
            }
            if launch.call {
                offers.push(launch.order);
            }
            counters.frame(mark.end - mark.begin);
            if let Some(accepted_us) = launch.accepted_us {
                delivery_times.record(accepted_us, at, &mut counters.delivery);
            }
            messages += 1;
            answers |= launch.action == Action::SdpAnswer;
        });
    if let Some(tally) = session.tally_mut().filter(|_| messages > 0) {
        tally.messages_out = tally.messages_out.saturating_add(messages);
    }
    if answers && let Some(ms) = session.open_mut().and_then(|ws| ws.first_answer(at.now)) {
        counters.session_setup.observe(ms * 1000, 1);
        books.slow_setups.note(Exemplar {
            connection: key.pack(),
            ms,
            at_ms: at.wall.0,
        });
    }
    // The bytes wait no longer.
    session.dirty = !session.outbox.unsent().is_empty() && session.dirty;
    counters.outbox_bytes = counters.outbox_bytes.saturating_sub(gone.messages as u64);
    counters.control_bytes = counters.control_bytes.saturating_sub(gone.control as u64);
    let answer_ms = sockets.settings.timeouts.answer_ms;
    let (waits, left) = (session.answers_wait(), session.outbox.bytes());
    if let SessionState::Http(http) = &mut session.state {
        http.answer_due = if left == 0 {
            NEVER
        } else {
            at.now.after(answer_ms)
        };
        if !waits && !http.buffer.is_empty() {
            sockets.requests.turns.answered.push_back(key);
        }
    }
    // What waited for their end goes on.
    let slotless = session.open().is_none_or(|ws| ws.superseded);
    let speaks_http = session.open().is_none();
    let cut = if session.cut { bytes } else { 0 };
    let released = had_messages && slotless && !session.outbox.has_messages();
    sockets.cut_shrinks(cut);
    sockets.weigh(key);
    if speaks_http {
        sockets.charge(key);
    }
    for order in offers {
        alexa::offer_delivered(sockets, directory, books, key, order);
    }
    if released {
        unsent::release_slot(sockets, directory, books, key, at);
    }
}
