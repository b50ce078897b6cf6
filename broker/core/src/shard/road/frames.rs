//! The steps of the road on the side of the sender: frame → text → message, control frames, and the end of a stream of
//! frames.

use crate::id::SessionKey;
use crate::journal::EndReason;
use crate::limits::PONGS_PER_RECEIVE_MAX;
use crate::shard::books::Books;
use crate::shard::sockets::Sockets;
use crate::shard::sockets::outboxes::Lent;
use crate::shard::todo::TodoList;
use crate::time::Moment;
use codec::signal::{Fault, Parser, Request};
use codec::ws::{self, Item, Kind, Opcode, Receiver};

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
    /// When they came.
    pub(crate) at: Moment,
    pub(crate) parser: Box<Parser>,
    /// Pings among them.
    pub(crate) pings: u32,
    /// Messages among them may have been held back on their way: see [`late`](crate::shard::road::late).
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
        parser,
        may_be_late,
    } = sockets.lend(from, at.now)?;
    let reader = Reader {
        from,
        at,
        parser,
        pings: 0,
        may_be_late,
    };
    Some((receiver, reader))
}

/// Takes back what was lent, and notes that the peer was active; false when the session is gone.
#[inline]
pub(crate) fn give_back(sockets: &mut Sockets, receiver: Receiver, reader: Reader) -> bool {
    sockets.take_lent(reader.from, (receiver, reader.parser), reader.at.now)
}

/// Frame → text. Control frames and binary messages are handled here.
///
/// # Errors
/// [`Aside`] for each of those.
#[inline(always)]
pub(crate) fn text<'a>(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    frame: Item<'a>,
    reader: &mut Reader,
) -> Result<&'a mut [u8], Aside> {
    let (key, at) = (reader.from, reader.at);
    match frame {
        Item::Message {
            kind: Kind::Text,
            payload,
        } => Ok(payload),
        Item::Message {
            kind: Kind::Binary,
            payload: _,
        } => {
            sockets.close(books, todo, key, EndReason::Unsupported, at);
            Err(Aside::Ended)
        }
        Item::Ping(payload) => {
            reader.pings += 1;
            if reader.pings <= PONGS_PER_RECEIVE_MAX && sockets.has_control_room(books, key) {
                sockets.push_control(books, key, |out| ws::frame(out, Opcode::Pong, payload));
            }
            Err(idle_frame(sockets, books, todo, key, at))
        }
        Item::Pong(_) => Err(idle_frame(sockets, books, todo, key, at)),
        Item::Close(frame) => {
            // RFC 6455 section 5.5.1: the echo carries the peer's status code, then the server ends the connection.
            let code = frame.map(|frame| frame.code);
            match code {
                Some(code) => {
                    sockets.push_control(books, key, |out| ws::close_frame(out, code, ""))
                }
                None => sockets.push_control(books, key, |out| ws::frame(out, Opcode::Close, &[])),
            }
            sockets.because(key, EndReason::PeerClosed);
            sockets.finish(books, todo, key, at);
            Err(Aside::Ended)
        }
    }
}

/// Why a text is no message.
pub(crate) enum Unread<'a> {
    /// It is empty, which some clients send as a keepalive; or its sender has no open WebSocket.
    Aside(Aside),
    /// It breaks a rule.
    Faulty(Fault<'a>),
}

/// Text → message.
///
/// # Errors
/// [`Unread`]: it is none.
#[inline(always)]
pub(crate) fn understand<'a>(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    text: &'a mut [u8],
    reader: &'a mut Reader,
) -> Result<Request<'a>, Unread<'a>> {
    let (key, at, parser) = (reader.from, reader.at, &mut reader.parser);
    let Some(web_socket) = sockets.web_socket(key) else {
        return Err(Unread::Aside(Aside::Ended));
    };
    web_socket.message_ended();
    if text.is_empty() {
        return Err(Unread::Aside(idle_frame(sockets, books, todo, key, at)));
    }
    let count = &mut web_socket.tally.messages_in;
    *count = count.saturating_add(1);
    let role = web_socket.role.on_wire();
    parser
        .parse(text, role, &sockets.rules().messages)
        .map_err(Unread::Faulty)
}

impl Sockets {
    /// Whether the frames behind one that was passed on are looked at: closing its sender may have been part of it.
    #[inline]
    pub(crate) fn still_open(&self, key: SessionKey) -> Result<(), Aside> {
        let session = self.session(key);
        if session.is_some_and(|session| session.open().is_some()) {
            Ok(())
        } else {
            Err(Aside::Ended)
        }
    }

    /// A control frame ended: the time of a message that it came within starts again.
    #[inline]
    pub(crate) fn frame_ended(&mut self, key: SessionKey) {
        if let Some(web_socket) = self.web_socket(key) {
            web_socket.message_ended();
        }
    }
}

/// A frame that moved nothing: each costs as much as one that did, so there may be few.
#[inline]
pub(crate) fn idle_frame(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    key: SessionKey,
    at: Moment,
) -> Aside {
    let Some(web_socket) = sockets.web_socket(key) else {
        return Aside::Ended;
    };
    if web_socket.count_idle_frame(at.now) {
        return Aside::Handled;
    }
    sockets.close(books, todo, key, EndReason::Flood, at);
    Aside::Ended
}

/// Bytes after our close frame: all is discarded but the peer's own close frame, which ends the wait.
pub(crate) fn receive_close_echo(
    sockets: &mut Sockets,
    books: &mut Books,
    todo: &mut TodoList,
    key: SessionKey,
    bytes: &mut [u8],
    at: Moment,
) {
    let rules = sockets.rules().frames;
    let Some(web_socket) = sockets.closing_web_socket(key) else {
        return;
    };
    let mut rest = bytes;
    let over = loop {
        match web_socket.receiver.next(&rules, rest) {
            Ok((_, None)) => break false,
            Ok((_, Some(Item::Close(_)))) | Err(_) => break true,
            Ok((used, Some(Item::Message { .. } | Item::Ping(_) | Item::Pong(_)))) => {
                books.count_frame();
                // Some frames were under way when it was closed; a peer that goes on flooding is not waited for.
                if !web_socket.count_idle_frame(at.now) {
                    break true;
                }
                rest = rest.get_mut(used..).unwrap_or_default();
            }
        }
    };
    if over {
        sockets.finish(books, todo, key, at);
    }
    sockets.charge_received(books, todo, key, at);
}
