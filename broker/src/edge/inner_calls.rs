//! Inner connections that are kept: for calls, each of which comes in a frame, and so does its answer; and for
//! upgrades, after a WebSocket that both sides have closed.
//!
//! ```text
//!                 header of a call, its bytes      answered                 the next header
//!  awaits a header ─────────────────► a session ──────────► waits ◄────────────────────────┐
//!                                     without a connection    └─────────► a session ... ────┘
//!                                     of its own              └► closed: Done is said
//! ```
//! The end of a request is said by the header, whose HMAC covers it: its bytes go to a session that brings one call,
//! and that ends with its answer. More bytes than that before the answer are no frame, and end the connection; so does
//! a number that is not the next one. A call whose sender has left before it is begun is not carried out: the node that
//! sent it has answered its client.
//!
//! The end of the sender does not end a call: what it has begun is done, as on a connection of its own.

use crate::edge::connection::{Connection, has_left};
use crate::edge::inner::{Arrival, Called, Inner, Inners, Introduced, close};
use crate::edge::io::{Io, remote};
use crate::edge::limits::{INNER_KEPT_MAX, INNER_KEPT_MS};
use crate::edge::links::{Lease, LinkEnd, link_key};
use broker_core::{address_shares::Origin, id::SessionKey};
use codec::proxy::{
    CALL_BYTES_MAX, CallEntry, Entry, Introduction, OwnerFrame, ProxyHeader, write_frame,
};
use socket2::SockRef;
use std::io;
use std::os::fd::AsFd;

/// A call on a connection.
pub(crate) struct Call {
    /// Its session; `None` before that is open, and behind the answer.
    pub(crate) session: Option<SessionKey>,
    /// It was answered.
    answered: bool,
    /// Bytes of its request that have not come.
    missing: usize,
}

impl Inners {
    /// The header of a call has come.
    pub(crate) fn begin_call(
        &mut self,
        place: u32,
        mut inner: Box<Inner>,
        (header, call, length): (ProxyHeader, CallEntry, usize),
        io: &mut Io,
    ) -> Option<Arrival> {
        let bytes = inner.bytes.split_off(length);
        inner.bytes = Vec::new();
        let missing = (call.length as usize).checked_sub(bytes.len());
        let (Some(missing), true) = (missing, call.number == inner.number) else {
            io.counts.inner_refused.malformed += 1;
            return self.lose(place, inner, io);
        };
        if inner.ended || has_left(&inner.socket) {
            return self.lose(place, inner, io);
        }
        inner.number += 1;
        self.forget_due(place, &inner, io);
        inner.call = Some(Call {
            session: None,
            answered: false,
            missing,
        });
        self.await_more(place, inner, &mut io.ring);
        let whole = missing == 0;
        Some(Arrival::Call(Called {
            place,
            header,
            bytes,
            whole,
        }))
    }

    /// Bytes have come while there is a call: the rest of its request.
    pub(crate) fn take_more(
        &mut self,
        place: u32,
        mut inner: Box<Inner>,
        io: &mut Io,
    ) -> Option<Arrival> {
        let mut bytes = std::mem::take(&mut inner.bytes);
        let Some(call) = &mut inner.call else {
            return self.lose(place, inner, io);
        };
        let next = bytes.split_off(call.missing.min(bytes.len()));
        if !call.answered && !next.is_empty() {
            io.counts.inner_refused.malformed += 1;
            return self.lose(place, inner, io);
        }
        call.missing -= bytes.len();
        let (session, whole) = (call.session, call.missing == 0);
        if call.answered && whole && !inner.ended {
            inner.bytes = next; // a call that was answered early may end together with the next one's beginning
            self.rest(place, &mut inner, io);
            return self.read_header(place, inner, io);
        }
        if inner.ended {
            if session.is_none() {
                return self.lose(place, inner, io);
            }
            self.all.put_back(place, inner);
        } else {
            self.await_more(place, inner, &mut io.ring);
        }
        let session = session.filter(|_| !bytes.is_empty())?;
        Some(Arrival::More {
            session,
            bytes,
            whole,
        })
    }

    /// A call has this session.
    pub(crate) fn is_served(&mut self, place: u32, session: SessionKey) {
        if let Some(mut inner) = self.all.borrow(place) {
            if let Some(call) = &mut inner.call {
                call.session = Some(session);
            }
            self.all.put_back(place, inner);
        }
    }

    /// The owner has a whole call, and has not answered it soon.
    pub(crate) fn say_taken(&mut self, place: u32, session: SessionKey, io: &mut Io) {
        if let Some(mut inner) = self.of_session(place, Some(session)) {
            let number = inner.number - 1;
            say_frame(place, &mut inner, (number, OwnerFrame::Taken), io);
            self.all.put_back(place, inner);
        }
    }

    /// Answers the call of a session, or one that has got none. An answer that does not fit ends the connection.
    pub(crate) fn answer(
        &mut self,
        place: u32,
        session: Option<SessionKey>,
        answer: &[u8],
        io: &mut Io,
    ) {
        let Some(mut inner) = self.of_session(place, session) else {
            return;
        };
        let number = inner.number - 1;
        let fits = (1..=CALL_BYTES_MAX).contains(&answer.len());
        let is_said = fits && {
            let frame = (number, OwnerFrame::Answer(answer));
            say_frame(place, &mut inner, frame, io)
        };
        let Some(call) = inner.call.as_mut().filter(|_| is_said) else {
            return self.drop_inner(place, inner, io);
        };
        (call.session, call.answered) = (None, true);
        let whole = call.missing == 0;
        if inner.ended {
            return self.drop_inner(place, inner, io); // what is missing does not come any more
        }
        if whole {
            self.rest(place, &mut inner, io);
        }
        self.all.put_back(place, inner);
    }

    /// The call of a session comes to nothing: so does its connection.
    pub(crate) fn fail(&mut self, place: u32, session: SessionKey, io: &mut Io) {
        if let Some(inner) = self.of_session(place, Some(session)) {
            self.drop_inner(place, inner, io);
        }
    }

    /// The connection whose call has this session.
    fn of_session(&mut self, place: u32, session: Option<SessionKey>) -> Option<Box<Inner>> {
        let inner = self.all.borrow(place)?;
        let call = inner.call.as_ref().filter(|call| !call.answered);
        if !inner.over && call.is_some_and(|call| call.session == session) {
            return Some(inner);
        }
        self.all.put_back(place, inner);
        None
    }

    /// A call is over: the next one may come.
    fn rest(&mut self, place: u32, inner: &mut Inner, io: &mut Io) {
        inner.call = None;
        if self.resting.len() >= INNER_KEPT_MAX
            && let Some(&(_, oldest)) = self.resting.first()
        {
            io.counts.inner_refused.limit += 1;
            self.end_inner(oldest, io);
        }
        inner.due = io.turn.at().now.after(INNER_KEPT_MS);
        self.resting.insert((inner.due, place));
        self.count(io);
    }

    /// A send of the ring is over.
    pub(crate) fn sent(
        &mut self,
        place: u32,
        flight: Vec<u8>,
        result: &io::Result<usize>,
        io: &mut Io,
    ) -> Option<Arrival> {
        let Some(mut inner) = self.all.borrow(place) else {
            debug_assert!(false, "it outlives its send");
            return None;
        };
        let sent = result.as_ref().copied().unwrap_or(0);
        let whole = sent == flight.len();
        io.counts.sent_bytes += sent as u64;
        io.spares.recycle(flight);
        inner.sending = false;
        if inner.over || !whole {
            return self.lose(place, inner, io);
        }
        let waiting = std::mem::take(&mut inner.waiting);
        if !waiting.is_empty() {
            launch(place, &mut inner, waiting, io);
        }
        self.all.put_back(place, inner);
        None
    }
}

impl Inner {
    /// Whether a call is under way on it.
    pub(crate) fn has_call(&self) -> bool {
        self.call.as_ref().is_some_and(|call| !call.answered)
    }
}

/// Sends a frame about the call of a number. False when nothing can be sent any more.
pub(crate) fn say_frame(
    place: u32,
    inner: &mut Inner,
    (number, frame): (u64, OwnerFrame<'_>),
    io: &mut Io,
) -> bool {
    let mut bytes = io.spares.take();
    match &mut inner.tls {
        None => write_frame(&mut bytes, number, frame),
        Some(tls) => {
            let mut plain = std::mem::take(&mut io.plain);
            write_frame(&mut plain, number, frame);
            let written = tls.write(&plain, &mut bytes);
            plain.clear();
            io.plain = plain;
            if written.is_err() {
                return false;
            }
        }
    }
    if inner.sending {
        inner.waiting.append(&mut bytes);
        return true;
    }
    io.counts.sends += 1;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let sent = match SockRef::from(&inner.socket).send_with_flags(&bytes, flags) {
        Ok(sent) => sent,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            0
        }
        Err(_) => return false,
    };
    io.counts.sent_bytes += sent as u64;
    if sent == bytes.len() {
        io.spares.recycle(bytes);
    } else {
        bytes.drain(..sent);
        launch(place, inner, bytes, io);
    }
    true
}

/// Gives the ring what a socket had no room for.
fn launch(place: u32, inner: &mut Inner, flight: Vec<u8>, io: &mut Io) {
    io.counts.queued_sends += 1;
    inner.sending = true;
    let key = link_key(LinkEnd::Inner(place));
    io.ring.send(inner.socket.as_fd(), key, flight, 0);
}

// Upgrades on inner connections that come back when both sides have closed the WebSocket.
//
// ```text
//                 header of an upgrade                  both close frames; Free is said
//  awaits a header ──────────────────► a client's own ─────────────────────────────────► waits for the next header
//                                           └► its end, in any other way: closed
// ```
// The node that passes the client on sends nothing of it behind its close frame, so that the next byte is a header's.
// Where it does, that is no header: the connection is closed, and no other client's bytes were on it.

impl Inners {
    /// The header of a client has come: the connection is its from here on. `None` when the sender has closed a kept
    /// one meanwhile: it answers its client itself.
    pub(crate) fn introduce(
        &mut self,
        place: u32,
        inner: Box<Inner>,
        Introduction {
            header,
            entry,
            length,
        }: Introduction,
        io: &mut Io,
    ) -> Option<Introduced> {
        if inner.number > 0 && (inner.ended || has_left(&inner.socket)) {
            self.drop_inner(place, inner, io);
            return None;
        }
        let Inner {
            socket,
            tls,
            challenge,
            mut bytes,
            ended,
            number,
            ..
        } = self.take_inner(place, *inner, io);
        bytes.drain(..length);
        Some(Introduced {
            socket,
            tls,
            header,
            bytes,
            ended,
            lease: entry.map(|_| {
                Box::new(Lease {
                    challenge,
                    number,
                    said: false,
                })
            }),
        })
    }

    /// A WebSocket is over, and its connection comes back: nothing is armed on it, and nothing of it unsent.
    pub(crate) fn take_back(&mut self, connection: Connection, lease: &Lease, io: &mut Io) {
        let Connection {
            socket, mut tls, ..
        } = connection;
        let next = lease.number.checked_add(1).filter(|_| !io.stopping);
        let (Some(number), Some(place)) = (next, self.all.claim()) else {
            return close(socket, io);
        };
        if let (Some(tls), Some(remote)) = (&mut tls, remote(&socket)) {
            tls.comes_from(Origin::of(remote.ip()));
        }
        let mut inner = Box::new(Inner::new(socket, tls, lease.challenge));
        (inner.ahead, inner.number) = (true, number);
        self.waits_for_client(place, &mut inner, io);
        self.await_more(place, inner, &mut io.ring);
    }
}

impl Inner {
    /// Whether a client with this entry in its header may come on it now.
    pub(crate) fn takes(&self, entry: Option<Entry>) -> bool {
        match entry {
            None => self.number == 0,
            Some(Entry::Upgrade(number)) => self.number == number,
            Some(Entry::Call(_)) => false,
        }
    }
}
