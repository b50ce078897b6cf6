//! The road of a message: frame → message → route → outbox ([`pass`]), and what follows when the socket has taken the
//! bytes ([`Sockets::sent`]).
//!
//! ```text
//!  each frame ──► pass:  text                     frame → text; control frames end here
//!                        Parser::parse            text → message; refused ones end here
//!                        delivery::admit          its sender, within its rate
//!                        delivery::late_outcome   ended, if it comes too late: only where that may be
//!                        delivery::route          message → where it goes
//!                        conclude                 refused ones are answered
//!                        delivery::deliver        → the recipient's outbox; or kept, or the answer of a call
//!  sent    ── written: measured, and kept until it is confirmed (`road/confirmation.rs`); the next request
//!  left to the shard: the end of a connection, a message that waits for one, a channel's deadline, the answer of a
//!                     call, offers of calls, a slot that is released
//! ```
//! A step ends a connection only as far as that is the connection's own: it is closing from there on. What follows for
//! its channel is left to the shard, which does it before the next frame. A message whose recipient was closed for it
//! waits behind that, as a copy ([`Deferred`](crate::shard::todo::Deferred)).
//!
//! The steps are inlined into the road: each is called here alone, and returns more than fits into registers. Called as
//! functions they cost a fifth of a small message.

pub(crate) mod confirmation;
pub(crate) mod delivery;
pub(crate) mod in_flight;
pub(crate) mod repeats;
pub(crate) mod service_messages;
pub(crate) mod unsent;

use crate::session::http::Admission;
use crate::session::web_socket::{BoundsPlace, WebSocket};
use crate::shard::Sockets;
use crate::shard::calls::{self, BegunCall};
use crate::shard::context::Context;
use crate::shard::sockets::outboxes::Lent;
use crate::shard::state::State;
use crate::shard::todo::Todo;
use crate::shard::{connect::admission, shares::Holder};
use crate::time::Moment;
use crate::{channel::Route, id::SessionKey, journal::EndReason, limits::PONGS_PER_RECEIVE_MAX};
use codec::signal::{Fault, Parser, Request, Role};
use codec::ws::{self, Item, Kind, Opcode, Receiver};
use delivery::Unadmitted;
use in_flight::{InTransit, Sender};

/// Passes one frame on. What it leaves to the shard is done before the next frame.
///
/// # Errors
/// [`Aside`]: the frame is no message to pass on, or its sender has no open WebSocket any more.
#[inline(always)]
pub(crate) fn pass<D: Double + Default>(
    shard: &mut State,
    frame: Item<'_>,
    reader: &mut Reader,
) -> Result<(), Aside> {
    let (from, at, may_be_late) = (reader.from, reader.at, reader.may_be_late);
    // Frame → text → message.
    let text = self::text(&mut shard.sockets, &mut shard.cx, frame, reader)?;
    let rules = &shard.sockets.message_bounds().at(reader.bounds).messages;
    let request = match reader.parser.parse(text, reader.role, rules) {
        Ok(request) => request,
        Err(fault) => return judge::<D>(shard, Judged::Faulty(from, &fault)),
    };
    // Message → route.
    let sender = match delivery::admit(&mut shard.sockets, &mut shard.cx, from, &request) {
        Ok(sender) => sender,
        Err(Unadmitted::Ended) => return Err(Aside::Ended),
        Err(Unadmitted::TooFast(sender)) => {
            return judge::<D>(shard, Judged::Throttled(&sender, &request));
        }
    };
    if may_be_late
        && let Some(outcome) = delivery::late_outcome(&shard.sockets, &shard.directory, &sender, at)
    {
        delivery::end_late(&mut shard.cx, &sender, &request, outcome);
        return Err(Aside::Handled);
    }
    let (route, transit, waited) =
        delivery::route(&mut shard.directory, &mut shard.cx, &sender, &request)?;
    // Route → outbox.
    let passed = judge::<D>(shard, Judged::Routed(route, &transit));
    delivery::follow(&mut shard.cx, sender.channel, waited);
    passed
}

/// The step that follows from the judgement of a message. Inlined three times, each with its judgement known.
#[inline(always)]
fn judge<D: Double + Default>(shard: &mut State, judged: Judged<'_>) -> Result<(), Aside> {
    let double = D::default();
    double.message(shard, judged)
}

impl Sockets {
    /// The oldest `bytes` of a session were handed to the kernel, by `on_wire` bytes: messages whose last byte was
    /// among them are written.
    pub(crate) fn sent(
        &mut self,
        cx: &mut Context,
        key: SessionKey,
        (bytes, on_wire): (usize, usize),
    ) {
        // Whole messages among the bytes are written.
        let handed = self.handed_over(key, (bytes, on_wire), cx.at.now, |launch, frame_bytes| {
            if launch.call {
                cx.todo.offer_delivered(key, launch.order);
            }
            cx.telemetry.count_written(launch, frame_bytes, cx.at);
        });
        let Some(handed) = handed else { return };
        if let Some(ms) = handed.setup_ms {
            cx.telemetry.count_setup(key, ms, cx.at);
        }
        // The bytes wait no longer, and the work that waited for their end goes on.
        cx.telemetry.unload(handed.freed);
        if handed.released {
            cx.todo.push(Todo::Released(key));
        }
        if self.too_much_unconfirmed() {
            cx.todo.push(Todo::MakeProofRoom);
        }
    }
}

// The last step of the road on the sender's side: what follows from the judgement of a message.

/// A message of a connection, and what was found.
pub(crate) enum Judged<'a> {
    /// It breaks a rule. With the connection that sent it.
    Faulty(SessionKey, &'a Fault<'a>),
    /// Its sender is too fast.
    Throttled(&'a Sender, &'a Request<'a>),
    /// It has its route.
    Routed(Route, &'a InTransit<'a>),
}

/// Passes a message on, or refuses it.
///
/// # Errors
/// [`Aside`] for a message that was refused.
#[inline(always)]
pub(crate) fn conclude(shard: &mut State, judged: Judged<'_>) -> Result<(), Aside> {
    match judged {
        Judged::Routed(route, transit) => {
            delivery::hand_on(shard, route, transit);
            Ok(())
        }
        Judged::Faulty(from, fault) => {
            let State { sockets, cx, .. } = shard;
            service_messages::refuse_message(sockets, cx, from, fault);
            Err(idle_frame(sockets, cx, from))
        }
        Judged::Throttled(sender, request) => {
            let State { sockets, cx, .. } = shard;
            delivery::throttle(sockets, cx, sender, request);
            Err(idle_frame(sockets, cx, sender.session))
        }
    }
}

// The places where the test double of `--dev` takes part: four steps, which are the shard's own unless a double does
// something before them or in place of them.
//
// A shard has one [`Double`] from its start to its end: [`Production`], which adds nothing, or `Scripted` in `dev`.
// Three of the steps are called through it. The step of a message is compiled once for each, inlined into the loop
// over frames (`Shard::frames_with`): the road of production has no test and no call for a double.

/// The steps that a test double may change.
pub(crate) trait Double {
    /// Admits a connection to its channel; false when it was refused, or is not answered.
    fn admission(
        &self,
        shard: &mut State,
        key: SessionKey,
        admitted: (&Admission, Holder),
    ) -> bool {
        admission::admit(shard, key, admitted)
    }

    /// Begins a call whose signature was checked.
    fn call(&self, shard: &mut State, begun: BegunCall) {
        calls::begin(shard, begun);
    }

    /// Passes a message on, or refuses it.
    ///
    /// # Errors
    /// [`Aside`] for a message that was refused.
    #[inline(always)]
    fn message(&self, shard: &mut State, judged: Judged<'_>) -> Result<(), Aside> {
        conclude(shard, judged)
    }

    /// Delivers what a step left: kept messages, a question, the end of a connection. Returns what the shard is to do.
    fn delivery(&self, shard: &mut State, left: Todo) -> Option<Todo> {
        let _ = shard;
        Some(left)
    }
}

/// No double: every step is the shard's own.
#[derive(Clone, Copy, Default)]
pub(crate) struct Production;

impl Double for Production {}

// The steps of the road on the side of the sender: frame → text → message, control frames, and the end of a stream of
// frames.

/// Why a frame does not go on along the road.
pub(crate) enum Aside {
    /// It is dealt with: the next one follows.
    Handled,
    /// The stream is over for us: the rest of the bytes is discarded.
    Ended,
}

/// The reader of the frames of one receive.
pub(crate) struct Reader {
    /// The connection that sent them.
    pub(crate) from: SessionKey,
    /// Its role.
    role: Role,
    /// When they came.
    pub(crate) at: Moment,
    pub(crate) parser: Box<Parser>,
    /// The place of the bounds of its messages.
    pub(crate) bounds: BoundsPlace,
    /// Pings among them.
    pub(crate) pings: u32,
    /// Messages among them may have been held back on their way: see
    /// [`delivery::late_outcome`](crate::shard::road::delivery::late_outcome).
    pub(crate) may_be_late: bool,
}

/// Lends the receiver of a session and the shard's parser; [`give_back`] follows. `None` when the session has no open
/// WebSocket.
#[inline]
pub(crate) fn lend(
    sockets: &mut Sockets,
    from: SessionKey,
    at: Moment,
) -> Option<(Receiver, Reader)> {
    let Lent {
        receiver,
        role,
        parser,
        bounds,
        may_be_late,
    } = sockets.lend(from, at.now)?;
    let reader = Reader {
        from,
        role,
        at,
        parser,
        bounds,
        pings: 0,
        may_be_late,
    };
    Some((receiver, reader))
}

/// Takes back what was lent, and notes that the peer was active; false when the session is gone.
#[inline(always)]
pub(crate) fn give_back(sockets: &mut Sockets, receiver: Receiver, reader: Reader) -> bool {
    sockets.take_lent(reader.from, (receiver, reader.parser), reader.at.now)
}

/// Frame → text. Control frames, binary messages and empty texts are handled here.
///
/// # Errors
/// [`Aside`] for each of those.
#[inline(always)]
pub(crate) fn text<'a>(
    sockets: &mut Sockets,
    cx: &mut Context,
    frame: Item<'a>,
    reader: &mut Reader,
) -> Result<&'a mut [u8], Aside> {
    let (key, at) = (reader.from, reader.at);
    match frame {
        Item::Message {
            kind: Kind::Text,
            payload,
        } if !payload.is_empty() => Ok(payload),
        // Empty: some clients send that as a keepalive.
        Item::Message {
            kind: Kind::Text,
            payload: _,
        } => {
            sockets.frame_ended(key);
            Err(idle_frame(sockets, cx, key))
        }
        Item::Message {
            kind: Kind::Binary,
            payload: _,
        } => {
            sockets.close(cx, key, EndReason::Unsupported);
            Err(Aside::Ended)
        }
        Item::Ping(payload) => {
            reader.pings += 1;
            if reader.pings <= PONGS_PER_RECEIVE_MAX && sockets.has_control_room(cx, key) {
                sockets.push_control(cx, key, |out| ws::frame(out, Opcode::Pong, payload));
            }
            Err(idle_frame(sockets, cx, key))
        }
        Item::Pong(payload) => {
            let (proved, ends_doubt) = sockets.proved(cx, key, payload, at.now);
            if ends_doubt {
                cx.todo.push(Todo::Confirmed(key));
            }
            sockets.note_offers(cx, key);
            if !proved {
                return Err(idle_frame(sockets, cx, key));
            }
            // It answers any ping: its peer is judged by that before the rest is read.
            if sockets.web_socket(key).is_some_and(WebSocket::answers) {
                sockets.arm_open(key, at.now);
            }
            // What followed the ping has none yet.
            sockets.ask(cx, key, at.now);
            Err(Aside::Handled)
        }
        Item::Close(frame) => {
            // RFC 6455 section 5.5.1: the echo carries the peer's status code, then the server ends the connection.
            let code = frame.map(|frame| frame.code);
            match code {
                Some(code) => sockets.push_control(cx, key, |out| ws::close_frame(out, code, "")),
                None => sockets.push_control(cx, key, |out| ws::frame(out, Opcode::Close, &[])),
            }
            sockets.because(key, EndReason::PeerClosed);
            sockets.peer_is_over(key, true, at.now);
            sockets.finish(cx, key);
            sockets.take_leave(cx, key);
            Err(Aside::Ended)
        }
    }
}

impl Sockets {
    /// Whether the frames behind one that was passed on are looked at: closing its sender may have been part of it,
    /// which always leaves something to the shard.
    #[inline]
    pub(crate) fn still_open(&self, key: SessionKey) -> Result<(), Aside> {
        let session = self.session(key);
        if session.is_some_and(|session| session.open().is_some()) {
            Ok(())
        } else {
            Err(Aside::Ended)
        }
    }

    /// A frame without a message ended: the time of a message that it came within starts again.
    #[inline]
    pub(crate) fn frame_ended(&mut self, key: SessionKey) {
        if let Some(web_socket) = self.web_socket(key) {
            web_socket.message_ended();
        }
    }
}

/// A frame that moved nothing: each costs as much as one that did, so there may be few.
#[cold]
fn idle_frame(sockets: &mut Sockets, cx: &mut Context, key: SessionKey) -> Aside {
    let Some(web_socket) = sockets.web_socket(key) else {
        return Aside::Ended;
    };
    if web_socket.count_idle_frame(cx.at.now) {
        return Aside::Handled;
    }
    sockets.close(cx, key, EndReason::Flood);
    Aside::Ended
}

/// Bytes after our close frame: all is discarded but the peer's own close frame, which ends the wait.
pub(crate) fn receive_close_echo(
    sockets: &mut Sockets,
    cx: &mut Context,
    key: SessionKey,
    bytes: &mut [u8],
) {
    let Some(bounds) = sockets.closing_web_socket(key).map(|it| it.bounds()) else {
        return;
    };
    let rules = sockets.message_bounds().at(bounds).frames;
    let Some(web_socket) = sockets.closing_web_socket(key) else {
        return;
    };
    let mut rest = bytes;
    let over = loop {
        match web_socket.receiver.next(&rules, rest) {
            Ok((_, None)) => break None,
            Ok((_, Some(Item::Close(_)))) => break Some(true),
            Err(_) => break Some(false),
            Ok((used, Some(Item::Message { .. } | Item::Ping(_) | Item::Pong(_)))) => {
                cx.telemetry.count_frame();
                // Some frames were under way when it was closed; a peer that goes on flooding is not waited for.
                if !web_socket.count_idle_frame(cx.at.now) {
                    break Some(false);
                }
                rest = rest.get_mut(used..).unwrap_or_default();
            }
        }
    };
    if let Some(closed) = over {
        sockets.peer_is_over(key, closed, cx.at.now);
        sockets.finish(cx, key);
        sockets.take_leave(cx, key);
    }
    sockets.charge_received(cx, key);
}
