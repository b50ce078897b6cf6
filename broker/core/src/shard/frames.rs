//! An open WebSocket: bytes → frames → messages. All frames of one receive are handled in one go.

use super::books::Books;
use super::directory::Directory;
use super::sockets::Sockets;
use super::{leave, outboxes, relay, request_bytes};
use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::{CONTROL_BYTES_MAX, CONTROL_BYTES_WHEN_FULL, PONGS_PER_RECEIVE_MAX};
use crate::session::State;
use crate::time::Moment;
use codec::signal::Parser;
use codec::ws::{self, Item, Kind, Opcode, Receiver, Side};

/// What one item of a stream of frames leads to.
enum Next {
    Continue,
    /// The stream is over for us: the rest of the bytes is discarded.
    Stop,
}

/// Takes in bytes of an open WebSocket.
///
/// The receiver is lent out of its session for the time of the call, and the parser out of the shard: what they borrow
/// from `bytes` is then separate from everything that a message may change.
pub(super) fn receive_frames(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    bytes: &mut [u8],
    at: Moment,
) {
    let Some(web_socket) = sockets.web_socket(key) else {
        return;
    };
    let mut receiver = std::mem::replace(&mut web_socket.receiver, Receiver::new(Side::Server));
    let within = !receiver.is_idle();
    let mut parser = sockets.scratch.parser.take().unwrap_or_default();
    let mut rest = bytes;
    let mut pings = 0;
    loop {
        let next = match receiver.next(&sockets.rules.frames, rest) {
            Ok((_, None)) => break,
            Ok((used, Some(item))) => {
                books.frames += 1;
                let control = matches!(item, Item::Ping(_) | Item::Pong(_));
                let next = take_item(
                    sockets,
                    directory,
                    books,
                    key,
                    item,
                    &mut parser,
                    &mut pings,
                    at,
                );
                if control && !receiver.in_message() {
                    sockets.frame_ended(key);
                }
                rest = rest.get_mut(used..).unwrap_or_default();
                next
            }
            Err(error) => {
                leave::close_web_socket(
                    sockets,
                    directory,
                    books,
                    key,
                    EndReason::ProtocolError(error),
                    at,
                );
                Next::Stop
            }
        };
        if matches!(next, Next::Stop) {
            break;
        }
    }
    sockets.scratch.parser = Some(parser);
    let begun = !receiver.is_idle();
    let Some(session) = sockets.sessions.get_mut(key) else {
        return;
    };
    match &mut session.state {
        State::Open(web_socket) => {
            web_socket.receiver = receiver;
            if web_socket.heard(begun, at.now) {
                sockets.arm_open(key, at.now);
            }
        }
        // A receiver that met an error stays behind; any other goes on looking for the peer's close frame.
        State::AwaitCloseEcho(web_socket, _) => web_socket.receiver = receiver,
        State::Http(_) | State::AwaitGone(_) => {}
    }
    if within || begun {
        request_bytes::charge_received(sockets, directory, books, key, at);
    }
}

fn take_item(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    item: Item<'_>,
    parser: &mut Parser,
    pings: &mut u32,
    at: Moment,
) -> Next {
    match item {
        Item::Message {
            kind: Kind::Text,
            payload,
        } => take_message(sockets, directory, books, key, payload, parser, at),
        Item::Message {
            kind: Kind::Binary,
            payload: _,
        } => {
            leave::close_web_socket(sockets, directory, books, key, EndReason::Unsupported, at);
            Next::Stop
        }
        Item::Ping(payload) => {
            *pings += 1;
            if *pings <= PONGS_PER_RECEIVE_MAX && has_control_room(sockets, books, key) {
                outboxes::push_control(sockets, directory, books, key, |out| {
                    ws::frame(out, Opcode::Pong, payload)
                });
            }
            idle_frame(sockets, directory, books, key, at)
        }
        Item::Pong(_) => idle_frame(sockets, directory, books, key, at),
        Item::Close(frame) => {
            // RFC 6455 section 5.5.1: the echo carries the peer's status code, then the server ends the connection.
            let code = frame.map(|frame| frame.code);
            match code {
                Some(code) => outboxes::push_control(sockets, directory, books, key, |out| {
                    ws::close_frame(out, code, "")
                }),
                None => outboxes::push_control(sockets, directory, books, key, |out| {
                    ws::frame(out, Opcode::Close, &[])
                }),
            }
            sockets.because(key, EndReason::PeerClosed);
            leave::finish(sockets, directory, books, key, at);
            Next::Stop
        }
    }
}

fn take_message(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    text: &mut [u8],
    parser: &mut Parser,
    at: Moment,
) -> Next {
    let Some(web_socket) = sockets.web_socket(key) else {
        return Next::Stop;
    };
    web_socket.message_ended();
    if text.is_empty() {
        return idle_frame(sockets, directory, books, key, at); // keepalive of some clients
    }
    let count = &mut web_socket.tally.messages_in;
    *count = count.saturating_add(1);
    let heeded = match parser.parse(text, web_socket.role.on_wire(), &sockets.rules.messages) {
        Ok(request) => relay::relay(sockets, directory, books, key, &request, at),
        Err(fault) => {
            relay::refuse_message(sockets, directory, books, key, &fault, at);
            false
        }
    };
    if !heeded {
        return idle_frame(sockets, directory, books, key, at);
    }
    if sockets
        .sessions
        .get(key)
        .is_some_and(|session| session.open().is_some())
    {
        Next::Continue
    } else {
        Next::Stop
    }
}

impl Sockets {
    fn frame_ended(&mut self, key: SessionKey) {
        let session = self.sessions.get_mut(key);
        if let Some(web_socket) = session.and_then(|session| session.open_mut()) {
            web_socket.message_ended();
        }
    }
}

/// A frame that moved nothing: each costs as much as one that did, so there may be few.
fn idle_frame(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    at: Moment,
) -> Next {
    let Some(web_socket) = sockets.web_socket(key) else {
        return Next::Stop;
    };
    if web_socket.count_idle_frame(at.now) {
        return Next::Continue;
    }
    leave::close_web_socket(sockets, directory, books, key, EndReason::Flood, at);
    Next::Stop
}

/// A peer that makes us answer and does not read gets no more pongs; bytes of messages do not count.
pub(super) fn has_control_room(sockets: &Sockets, books: &Books, key: SessionKey) -> bool {
    let waiting = sockets
        .sessions
        .get(key)
        .map_or(0, |session| session.outbox.load().control);
    let all = usize::try_from(books.counters.control_bytes).unwrap_or(usize::MAX);
    let most = if all > sockets.rules.request_bytes {
        CONTROL_BYTES_WHEN_FULL
    } else {
        CONTROL_BYTES_MAX
    };
    waiting < most
}

/// Bytes after our close frame: all is discarded but the peer's own close frame, which ends the wait.
pub(super) fn receive_close_echo(
    sockets: &mut Sockets,
    directory: &mut Directory,
    books: &mut Books,
    key: SessionKey,
    bytes: &mut [u8],
    at: Moment,
) {
    let Some(session) = sockets.sessions.get_mut(key) else {
        return;
    };
    let State::AwaitCloseEcho(web_socket, _) = &mut session.state else {
        return;
    };
    let mut rest = bytes;
    let over = loop {
        match web_socket.receiver.next(&sockets.rules.frames, rest) {
            Ok((_, None)) => break false,
            Ok((_, Some(Item::Close(_)))) | Err(_) => break true,
            Ok((used, Some(Item::Message { .. } | Item::Ping(_) | Item::Pong(_)))) => {
                books.frames += 1;
                // What was under way when it was closed is some frames; who goes on flooding is not waited for.
                if !web_socket.count_idle_frame(at.now) {
                    break true;
                }
                rest = rest.get_mut(used..).unwrap_or_default();
            }
        }
    };
    if over {
        leave::finish(sockets, directory, books, key, at);
    }
    request_bytes::charge_received(sockets, directory, books, key, at);
}
