//! Inner listeners: connections that other nodes pass on. Here alone is a PROXY header understood.
//!
//! ```text
//!  accept ──► handshake, if links are encrypted ──► greeting sent, header awaited ──► a session, as if the client
//!                        │                                     │                      had connected here
//!                        └─────────────────────────────────────┴► closed: no node of this cluster, not a header, not
//!                                                                  signed for this connection, too late, too many
//! ```
//! A node may connect before it has a client: then a signed frame says so, and the header follows within half a minute.
//! Until then such a connection has a place among those of nodes, not among those that may be anybody's. A call may
//! come in a frame: then its answer goes back in one, and the connection waits for the next header. So does that of a
//! WebSocket which both sides have closed. Both are in `inner_calls.rs`.
//!
//! A connection that does not get that far has no session and no answer: nobody but the nodes of the cluster should be
//! able to reach an inner port. One with a right header counts as its client does: by the client's address, as a guest
//! until it is admitted, and answered 503 when there is no room.

use crate::edge::connection::NEVER;
use crate::edge::entropy;
use crate::edge::inner_calls::{Call, say_frame};
use crate::edge::io::{Io, Shaking};
use crate::edge::letters::Arrived;
use crate::edge::limits::{
    INNER_AHEAD_MAX, INNER_AHEAD_MS, INNER_HEADER_MS, INNER_PATIENCE_MS, INNER_WAITING_MAX,
    LINK_HELD_BYTES, OVERDUE_PER_TURN,
};
use crate::edge::links::{Lease, LinkEnd, Links, Places, link_key};
use crate::edge::tls::{Read, Tls};
use broker_core::{address_shares::Origin, id::SessionKey, time::Now};
use codec::proxy::{
    CHALLENGE_BYTES, Entry, Introduction, Link, OwnerFrame, ProxyError, ProxyHeader, greeting,
    introduced, is_ahead, parse_ahead,
};
use ring::{Received, Ring};
use socket2::SockRef;
use std::collections::BTreeSet;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The inner connections of one shard whose header has not come, and those that are kept.
pub(crate) struct Inners {
    pub(crate) all: Places<Inner>,
    /// When each of those ends that nobody has signed anything on, the oldest first.
    due: BTreeSet<(Now, u32)>,
    /// The same of those that wait for a client: a node has opened them ahead of it, or they came back.
    ahead: BTreeSet<(Now, u32)>,
    /// The same of those that are kept and wait for their next header.
    pub(crate) resting: BTreeSet<(Now, u32)>,
    links: Option<Arc<Links>>,
}

/// A connection whose header is right: from here on it is that of the client that the header names.
pub(crate) struct Introduced {
    pub(crate) socket: OwnedFd,
    /// The engine of an encrypted link.
    pub(crate) tls: Option<Box<Tls>>,
    pub(crate) header: ProxyHeader,
    /// The first bytes of the client, behind the header.
    pub(crate) bytes: Vec<u8>,
    /// It sends no more.
    pub(crate) ended: bool,
    /// The connection comes back when the WebSocket is over.
    pub(crate) lease: Option<Box<Lease>>,
}

/// The part of a connection that the machine is to know.
pub(crate) enum Arrival {
    /// A client, whose connection it is from here on.
    Client(Introduced),
    /// A call of a client, on a connection that is kept.
    Call(Called),
    /// More bytes of a call's request; `whole`: the last ones.
    More {
        session: SessionKey,
        bytes: Vec<u8>,
        whole: bool,
    },
    /// The connection of a call is gone.
    Gone(SessionKey),
    /// A link, whose hello is awaited.
    Link(Arrived),
}

/// A call on a connection that is kept.
pub(crate) struct Called {
    /// The number of the connection.
    pub(crate) place: u32,
    pub(crate) header: ProxyHeader,
    /// Its request so far.
    pub(crate) bytes: Vec<u8>,
    /// That is all of it.
    pub(crate) whole: bool,
}

impl Inners {
    /// None; `links` is there in a cluster.
    pub(crate) fn new(links: Option<Arc<Links>>) -> Self {
        Self {
            all: Places::default(),
            due: BTreeSet::new(),
            ahead: BTreeSet::new(),
            resting: BTreeSet::new(),
            links,
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.len() == 0
    }
}

/// A connection of another node.
pub(crate) struct Inner {
    pub(crate) socket: OwnedFd,
    /// The engine of an encrypted link.
    pub(crate) tls: Option<Box<Tls>>,
    pub(crate) challenge: [u8; CHALLENGE_BYTES],
    /// The part of the header received so far: less than the longest, since a whole one is taken at once.
    pub(crate) bytes: Vec<u8>,
    /// A receive is armed.
    armed: bool,
    /// Its handshake waits for a step; nothing is armed on it meanwhile.
    queued: bool,
    /// A send of the ring is in flight.
    pub(crate) sending: bool,
    /// Bytes that wait behind that send.
    pub(crate) waiting: Vec<u8>,
    /// It sends no more.
    pub(crate) ended: bool,
    /// It is to be closed.
    pub(crate) over: bool,
    /// It waits for a client: a node has opened it ahead of that, or it came back.
    pub(crate) ahead: bool,
    /// The number of its next call or upgrade.
    pub(crate) number: u64,
    /// The call before that, while it has no answer, or bytes of it are to come.
    pub(crate) call: Option<Call>,
    pub(crate) due: Now,
}

impl Inners {
    /// Closes the oldest where all places are taken, before one more is greeted.
    pub(crate) fn end_oldest(&mut self, io: &mut Io) {
        if self.due.len() >= INNER_WAITING_MAX
            && let Some(&(_, oldest)) = self.due.first()
        {
            io.counts.inner_refused.limit += 1;
            self.end_inner(oldest, io);
        }
    }

    /// Greets a connection to an inner listener, if there is `room` for it.
    pub(crate) fn greet(&mut self, socket: OwnedFd, origin: Origin, room: bool, io: &mut Io) {
        let mut challenge = [0; CHALLENGE_BYTES];
        let known = entropy::fill(&mut challenge).is_ok();
        let place = self.all.claim().filter(|_| known);
        let (true, Some(place)) = (room, place) else {
            if let Some(place) = place {
                self.all.release(place);
            }
            io.counts.inner_refused.limit += 1;
            return close(socket, io);
        };
        let links = self.links.as_ref().and_then(|links| links.tls.as_ref());
        let tls = links.map(|tls| Tls::new(&tls.server, origin));
        let Ok(tls) = tls.transpose() else {
            self.all.release(place);
            io.counts.inner_refused.limit += 1;
            return close(socket, io);
        };
        if tls.is_none() {
            say(&socket, &greeting(&challenge));
        }
        let mut inner = Box::new(Inner::new(socket, tls, challenge));
        inner.due = io.turn.at().now.after(INNER_HEADER_MS);
        self.due.insert((inner.due, place));
        self.await_more(place, inner, &mut io.ring);
    }

    /// Has a connection read on. There is always a receive armed on one that has not ended.
    pub(crate) fn await_more(&mut self, place: u32, mut inner: Box<Inner>, ring: &mut Ring) {
        inner.armed = true;
        let key = link_key(LinkEnd::Inner(place));
        ring.receive_once(inner.socket.as_fd(), key);
        self.all.put_back(place, inner);
    }

    /// A receive is over: there is always one armed on a connection that waits, unless its handshake is queued.
    pub(crate) fn received(
        &mut self,
        place: u32,
        received: Received,
        io: &mut Io,
    ) -> Option<Arrival> {
        let Some(mut inner) = self.all.borrow(place) else {
            debug_assert!(false, "it outlives what is armed on it");
            if let Received::Bytes(lent) = received {
                io.ring.give_back(lent);
            }
            return None;
        };
        inner.armed = false;
        match received {
            Received::Bytes(lent) if inner.over => io.ring.give_back(lent),
            Received::Bytes(mut lent) => {
                let wait = io.handshakes.wait();
                let Some(tls) = &mut inner.tls else {
                    inner.bytes.extend_from_slice(io.ring.bytes(&mut lent));
                    io.ring.give_back(lent);
                    return self.read_header(place, inner, io);
                };
                if wait && tls.handshaking() {
                    tls.hold(io.ring.bytes(&mut lent));
                    io.ring.give_back(lent);
                    inner.queued = true;
                    self.all.put_back(place, inner);
                    let waiting = Shaking::Link(LinkEnd::Inner(place));
                    io.handshakes.push(waiting);
                    return None;
                }
                let mut plain = std::mem::take(&mut io.plain);
                let read = tls.read(io.ring.bytes(&mut lent), &mut plain, io.turn.at().now);
                io.ring.give_back(lent);
                return self.decrypted(place, inner, plain, read, io);
            }
            Received::NoBuffers if !inner.over => {
                io.counts.no_buffers += 1;
                self.await_more(place, inner, &mut io.ring);
                return None;
            }
            Received::End | Received::Failed(_) if inner.has_call() && !inner.over => {
                inner.ended = true; // the answer goes out, if it can
                self.all.put_back(place, inner);
                return None;
            }
            Received::End | Received::Failed(_) | Received::Cancelled | Received::NoBuffers => {
                io.counts.inner_refused.incomplete += u64::from(!inner.over && !inner.is_idle());
            }
        }
        self.lose(place, inner, io)
    }

    /// Goes on with a handshake whose bytes were put aside.
    pub(crate) fn step(&mut self, place: u32, io: &mut Io) -> Option<Arrival> {
        let Some(mut inner) = self.all.borrow(place) else {
            return None; // it ended, and its place is free
        };
        if !std::mem::take(&mut inner.queued) {
            self.all.put_back(place, inner); // another one has its place
            return None;
        }
        let Some(tls) = inner.tls.as_mut().filter(|_| !inner.over) else {
            return self.lose(place, inner, io);
        };
        let mut plain = std::mem::take(&mut io.plain);
        let read = tls.read(&mut [], &mut plain, io.turn.at().now);
        self.decrypted(place, inner, plain, read, io)
    }

    /// Takes decrypted bytes: the greeting follows the handshake, the header the greeting.
    fn decrypted(
        &mut self,
        place: u32,
        mut inner: Box<Inner>,
        mut plain: Vec<u8>,
        read: Read,
        io: &mut Io,
    ) -> Option<Arrival> {
        inner.bytes.append(&mut plain);
        io.plain = plain;
        let Some(tls) = &mut inner.tls else {
            debug_assert!(false, "it was decrypted");
            return None;
        };
        io.cipher.clear();
        let (mut said, mut is_link) = (Ok(()), false);
        if tls.handshaking() {
            let kind = tls.just_secured();
            is_link = kind.is_some() && tls.is_link();
            let greeting = greeting(&inner.challenge);
            let greets = kind.is_some() && !is_link;
            let first: &[u8] = if greets { &greeting } else { &[] };
            said = tls.write(first, &mut io.cipher);
            io.count_handshake(kind);
        } else if tls.has_out() {
            said = tls.write(&[], &mut io.cipher);
        }
        if inner.sending {
            inner.waiting.append(&mut io.cipher);
        } else if !io.cipher.is_empty() {
            say(&inner.socket, &io.cipher);
        }
        let Some(tls) = &inner.tls else {
            debug_assert!(false, "it is still there");
            return None;
        };
        let too_much = tls.handshaking() && tls.held_bytes() > LINK_HELD_BYTES as u64;
        let refused = &mut io.counts.inner_refused;
        match read {
            Read::Failed if tls.is_foreign() => refused.forged += 1,
            Read::Failed => refused.malformed += 1,
            Read::More | Read::End if too_much || said.is_err() => refused.malformed += 1,
            Read::More if is_link => return self.becomes_link(place, *inner, io),
            Read::More => return self.read_header(place, inner, io),
            Read::End => {
                inner.ended = true;
                return self.read_header(place, inner, io);
            }
        }
        self.lose(place, inner, io)
    }

    /// The handshake of a link is over.
    fn becomes_link(&mut self, place: u32, inner: Inner, io: &mut Io) -> Option<Arrival> {
        let inner = self.take_inner(place, inner, io);
        let (socket, bytes) = (inner.socket, inner.bytes);
        inner
            .tls
            .map(|tls| Arrival::Link(Arrived { socket, tls, bytes }))
    }

    /// Looks at what has come of the header, and of the frame that may precede it.
    pub(crate) fn read_header(
        &mut self,
        place: u32,
        mut inner: Box<Inner>,
        io: &mut Io,
    ) -> Option<Arrival> {
        if inner.call.is_some() {
            return self.take_more(place, inner, io);
        }
        let read = match self.links.clone() {
            Some(links) => {
                let challenge = inner.challenge;
                let link = Link {
                    key: &links.key,
                    challenge: &challenge,
                    node: &links.own,
                };
                match self.read_ahead(place, &mut inner, &link, io) {
                    Ok(true) => introduced(&inner.bytes, &link),
                    Ok(false) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            None => Ok(None),
        };
        let refused = &mut io.counts.inner_refused;
        match read {
            Ok(None) if !inner.ended => {
                self.await_more(place, inner, &mut io.ring);
                return None;
            }
            Ok(None) if inner.is_idle() => {}
            Ok(None) => refused.incomplete += 1,
            Ok(Some(Introduction {
                header,
                entry: Some(Entry::Call(call)),
                length,
            })) => return self.begin_call(place, inner, (header, call, length), io),
            Ok(Some(it)) if inner.takes(it.entry) => {
                return self.introduce(place, inner, it, io).map(Arrival::Client);
            }
            Ok(Some(_)) => refused.malformed += 1, // of another number, or none on a connection that is kept
            Err(ProxyError::Forged) => refused.forged += 1,
            Err(
                ProxyError::NotProxy
                | ProxyError::Unsupported
                | ProxyError::TooLong
                | ProxyError::Malformed,
            ) => refused.malformed += 1,
        }
        self.lose(place, inner, io)
    }

    /// Takes the frame of a connection that is opened ahead, once. False while it is not whole.
    fn read_ahead(
        &mut self,
        place: u32,
        inner: &mut Inner,
        link: &Link<'_>,
        io: &mut Io,
    ) -> Result<bool, ProxyError> {
        if inner.ahead || inner.number > 0 || !is_ahead(&inner.bytes) {
            return Ok(true);
        }
        let Some(length) = parse_ahead(&inner.bytes, link)? else {
            return Ok(false);
        };
        inner.bytes.drain(..length);
        inner.ahead = true;
        self.due.remove(&(inner.due, place));
        self.waits_for_client(place, inner, io);
        Ok(true)
    }

    /// A connection of a node waits for a client.
    pub(crate) fn waits_for_client(&mut self, place: u32, inner: &mut Inner, io: &mut Io) {
        if self.ahead.len() >= INNER_AHEAD_MAX
            && let Some(&(_, oldest)) = self.ahead.first()
        {
            io.counts.inner_refused.limit += 1;
            self.end_inner(oldest, io);
        }
        inner.due = io.turn.at().now.after(INNER_AHEAD_MS);
        self.ahead.insert((inner.due, place));
        self.count(io);
    }
}

impl Inner {
    /// One on which nothing has come, without an end of its time yet.
    pub(crate) fn new(
        socket: OwnedFd,
        tls: Option<Box<Tls>>,
        challenge: [u8; CHALLENGE_BYTES],
    ) -> Self {
        Self {
            socket,
            tls,
            challenge,
            bytes: Vec::new(),
            armed: false,
            queued: false,
            sending: false,
            waiting: Vec::new(),
            ended: false,
            over: false,
            ahead: false,
            number: 0,
            call: None,
            due: NEVER,
        }
    }

    /// Whether it waits for a client, and nothing of one has come.
    fn is_idle(&self) -> bool {
        (self.ahead || self.number > 0) && self.bytes.is_empty()
    }
}

pub(crate) fn close(socket: OwnedFd, io: &Io) {
    drop(socket);
    io.descriptors.closed();
}

/// Sends a few bytes without waiting. A fresh socket has room for them; one that is broken ends at its next receive.
fn say(socket: &OwnedFd, bytes: &[u8]) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let _ = SockRef::from(socket).send_with_flags(bytes, flags);
}

// The end of inner connections: of those that are late, that make room, and of all.

impl Inners {
    /// One that has kept its place for too long to be a node, where all places are taken; else one without a client.
    fn outstayed(&self, now: Now) -> Option<u32> {
        let late = now.after(INNER_HEADER_MS - INNER_PATIENCE_MS);
        let silent = self.due.first().filter(|(due, _)| *due <= late);
        silent
            .or_else(|| self.ahead.first())
            .or_else(|| self.resting.first())
            .map(|&(_, place)| place)
    }

    /// When the first of them ends.
    pub(crate) fn next_due(&self) -> Option<Now> {
        let sets = [&self.due, &self.ahead, &self.resting];
        let first = sets.into_iter().filter_map(BTreeSet::first);
        first.map(|&(due, _)| due).min()
    }

    /// One is of no use any more; the call that it has, if it has one.
    pub(crate) fn lose(
        &mut self,
        place: u32,
        mut inner: Box<Inner>,
        io: &mut Io,
    ) -> Option<Arrival> {
        let session = inner.call.take().and_then(|call| call.session);
        self.drop_inner(place, inner, io);
        session.map(Arrival::Gone)
    }

    /// Closes one as soon as the kernel holds nothing of it.
    pub(crate) fn drop_inner(&mut self, place: u32, mut inner: Box<Inner>, io: &mut Io) {
        if inner.armed || inner.sending {
            self.forget_due(place, &inner, io);
            inner.over = true;
            let _ = SockRef::from(&inner.socket).shutdown(Shutdown::Both);
            return self.all.put_back(place, inner);
        }
        let inner = self.take_inner(place, *inner, io);
        close(inner.socket, io);
    }

    pub(crate) fn take_inner(&mut self, place: u32, inner: Inner, io: &mut Io) -> Inner {
        self.forget_due(place, &inner, io);
        self.all.release(place);
        inner
    }

    pub(crate) fn forget_due(&mut self, place: u32, inner: &Inner, io: &mut Io) {
        for set in [&mut self.due, &mut self.ahead, &mut self.resting] {
            set.remove(&(inner.due, place));
        }
        self.count(io);
    }

    pub(crate) fn count(&self, io: &mut Io) {
        io.counts.inner_ahead = self.ahead.len() as u64;
        io.counts.inner_kept = self.resting.len() as u64;
    }

    /// Closes a connection whose header is awaited, as soon as the kernel holds nothing of it. One that is kept says
    /// that it has not taken the next call, which may be on its way.
    pub(crate) fn end_inner(&mut self, place: u32, io: &mut Io) {
        let Some(mut inner) = self.all.borrow(place) else {
            return;
        };
        if !inner.over && inner.number > 0 && inner.call.is_none() {
            let number = inner.number;
            say_frame(place, &mut inner, (number, OwnerFrame::Done), io);
        }
        self.drop_inner(place, inner, io);
    }

    /// Closes one that makes room for another connection. False when there is none that must.
    pub(crate) fn make_room(&mut self, io: &mut Io) -> bool {
        let Some(place) = self.outstayed(io.turn.at().now) else {
            return false;
        };
        io.counts.inner_refused.limit += 1;
        self.end_inner(place, io);
        true
    }

    /// Closes those whose header is late.
    pub(crate) fn end_overdue(&mut self, io: &mut Io) {
        let now = io.turn.at().now;
        for _ in 0..OVERDUE_PER_TURN {
            let is_late = |first: &BTreeSet<(Now, u32)>| {
                let late = first.first().filter(|(due, _)| *due <= now);
                late.map(|&(_, place)| place)
            };
            let silent = is_late(&self.due);
            io.counts.inner_refused.incomplete += u64::from(silent.is_some());
            let late = silent.or_else(|| is_late(&self.ahead));
            let Some(place) = late.or_else(|| is_late(&self.resting)) else {
                return;
            };
            self.end_inner(place, io);
        }
    }

    /// Closes all, since the shard ends.
    pub(crate) fn end_all(&mut self, io: &mut Io) {
        for place in self.all.all() {
            self.end_inner(place, io);
        }
    }
}
