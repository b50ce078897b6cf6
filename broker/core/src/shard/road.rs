//! Forwards messages, from the received frame to the recipient's outbox ([`pass`]). Once the socket has accepted the
//! bytes, [`Sockets::sent`] counts them.
//!
//! ```text
//!  each frame ──► pass:  text                     frame → text; control frames end here
//!                        Parser::parse            text → message; refused messages end here
//!                        delivery::admit          the sender, if within its rate
//!                        delivery::route          message → route
//!                        delivery::hand_on        → the recipient's outbox; or pending, or the answer to a call
//!              with_care::pass:                   the same for messages that may be late, or with `--dev`
//!  Sockets::sent ── written: measured, and stored until confirmed (`road/confirmation.rs`); the next request
//!  deferred to the shard: a closed connection, a message waiting for it, a channel's deadline, the answer to a
//!                     call, offers of calls, a slot that is released
//! ```
//! A step that closes a connection merely marks it as closing. It leaves the effects on the channel to the shard, which
//! handles them before the next frame. If a recipient is closed to free memory, its message is copied
//! ([`Deferred`](crate::shard::todo::Deferred)) and forwarded once the shard has handled the close.
//!
//! All functions that [`pass`] calls are inlined, because each has a single caller and returns more than fits into
//! registers. Without inlining, forwarding a small message would cost about a fifth more.

pub(crate) mod confirmation;
pub(crate) mod delivery;
pub(crate) mod repeats;
pub(crate) mod service_messages;
pub(crate) mod unsent;
pub(crate) mod with_care;

use crate::session::web_socket::WebSocket;
use crate::shard::context::Context;
use crate::shard::sockets::outboxes::Frames;
use crate::shard::state::State;
use crate::shard::{Sockets, connect};
use crate::{id::SessionKey, journal::EndReason, limits::PONGS_PER_RECEIVE_MAX};
use codec::signal::Fault;
use codec::ws::{self, Item, Kind, Opcode};

/// Processes one frame. The shard performs all work deferred here before it processes the next frame.
///
/// # Errors
/// Returns an [`Aside`] if the frame contains no message to forward, or its sender no longer has an open WebSocket.
#[inline(always)]
pub(crate) fn pass(shard: &mut State, frame: Item<'_>, reader: &mut Frames) -> Result<(), Aside> {
    let from = reader.from;
    // Frame → text → message.
    let text = self::text(&mut shard.sockets, &mut shard.cx, frame, reader)?;
    let rules = &shard.sockets.message_bounds().at(reader.bounds).messages;
    let parsed = reader.parser.parse(text, reader.role, rules);
    let request = parsed.as_ref(); // moving a request would copy it
    let request = request.map_err(|fault| refuse(shard, from, fault))?;
    // Message → route.
    let (sender, within_rate) = delivery::admit(&mut shard.sockets, &mut shard.cx, from, request)?;
    if !within_rate {
        return Err(delivery::throttle(shard, &sender, request));
    }
    let (route, transit, waited) =
        delivery::route(&mut shard.directory, &mut shard.cx, &sender, request)?;
    // Route → outbox.
    delivery::hand_on(shard, route, &transit);
    delivery::follow(&mut shard.cx, sender.channel, waited);
    Ok(())
}

/// Refuses an invalid message, and notifies the sender if possible.
#[cold]
pub(crate) fn refuse(shard: &mut State, from: SessionKey, fault: &Fault<'_>) -> Aside {
    service_messages::refuse(shard, from, fault);
    idle_frame(&mut shard.sockets, &mut shard.cx, from)
}

// The sender's side: frame → text → message. Also handles control frames and the end of a connection's frames.

/// Why a frame is not processed any further.
pub(crate) enum Aside {
    /// The frame was handled. Continue with the next one.
    Handled,
    /// The connection processes no more frames, and its remaining bytes are discarded.
    Ended,
}

/// Returns the text of a frame. Handles control frames, binary messages and empty texts itself.
///
/// # Errors
/// Returns an [`Aside`] for control frames, binary messages and empty texts.
#[inline(always)]
pub(crate) fn text<'a>(
    sockets: &mut Sockets,
    cx: &mut Context,
    frame: Item<'a>,
    reader: &mut Frames,
) -> Result<&'a mut [u8], Aside> {
    let key = reader.from;
    match frame {
        Item::Message {
            kind: Kind::Text,
            payload,
        } if !payload.is_empty() => Ok(payload),
        // An empty text, which some clients send as a keepalive.
        Item::Message {
            kind: Kind::Text, ..
        } => {
            if let Some(web_socket) = sockets.web_socket(key) {
                web_socket.message_ended();
            }
            Err(idle_frame(sockets, cx, key))
        }
        Item::Message {
            kind: Kind::Binary, ..
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
            if !sockets.pong(cx, key, payload) {
                return Err(idle_frame(sockets, cx, key));
            }
            // A pong proves that the peer is alive, so update the peer's deadline before reading the rest.
            if sockets.web_socket(key).is_some_and(WebSocket::answers) {
                sockets.arm_open(key, cx.at.now);
            }
            // A pong does not confirm messages that were sent after its ping.
            sockets.ask(cx, key);
            Err(Aside::Handled)
        }
        Item::Close(frame) => {
            // RFC 6455 section 5.5.1: the echo carries the peer's status code; the server then closes the connection.
            let code = frame.map(|frame| frame.code);
            match code {
                Some(code) => sockets.push_control(cx, key, |out| ws::close_frame(out, code, "")),
                None => sockets.push_control(cx, key, |out| ws::frame(out, Opcode::Close, &[])),
            }
            sockets.because(key, EndReason::PeerClosed);
            sockets.peer_is_over(key, true);
            sockets.finish(cx, key);
            sockets.take_leave(cx, key);
            Err(Aside::Ended)
        }
    }
}

/// Counts a frame that contains no message to forward. The number of such frames is limited, since they are as
/// expensive as messages.
#[cold]
pub(crate) fn idle_frame(sockets: &mut Sockets, cx: &mut Context, key: SessionKey) -> Aside {
    let Some(web_socket) = sockets.web_socket(key) else {
        return Aside::Ended;
    };
    if web_socket.count_idle_frame(cx.at.now) {
        return Aside::Handled;
    }
    sockets.close(cx, key, EndReason::Flood);
    Aside::Ended
}

/// Handles bytes received after a close frame was sent. Discards everything except the peer's close frame, which ends
/// the wait.
pub(crate) fn receive_close_echo(shard: &mut State, key: SessionKey, bytes: &mut [u8]) {
    let (sockets, _, cx, _) = shard.parts();
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
                // Some frames may have been in flight when we closed. But do not wait for a peer that keeps flooding
                // us.
                if !web_socket.count_idle_frame(cx.at.now) {
                    break Some(false);
                }
                rest = rest.get_mut(used..).unwrap_or_default();
            }
        }
    };
    if let Some(closed) = over {
        sockets.peer_is_over(key, closed);
        sockets.finish(cx, key);
        sockets.take_leave(cx, key);
    }
    connect::charge_received(shard, key);
}
