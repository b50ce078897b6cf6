//! Inner listeners: connections that other nodes pass on. Here alone is a PROXY header understood.
//!
//! ```text
//!  accept ──► handshake, if links are encrypted ──► greeting sent, header awaited ──► a session, as if the client
//!                        │                                     │                      had connected here
//!                        └─────────────────────────────────────┴► closed: no node of this cluster, not a header, not
//!                                                                  signed for this connection, too late, too many
//! ```
//! What does not get that far has no session and no answer: nobody but the nodes of the cluster should be able to reach
//! an inner port. Whose header is right counts as its client does: by the client's address, as a guest until it is
//! admitted, and answered 503 when there is no room.

use super::links::{LinkEnd, Places, link_key};
use crate::edge::answers::remote;
use crate::edge::connections::connection::Connection;
use crate::edge::entropy;
use crate::edge::handshakes::Shaking;
use crate::edge::limits::{
    INNER_HEADER_MS, INNER_PATIENCE_MS, INNER_WAITING_MAX, LINK_HELD_BYTES, OVERDUE_PER_TURN,
};
use crate::edge::shard::Edge;
use crate::edge::tls::{Read, Tls};
use broker_core::crowd::Origin;
use broker_core::machine::{Input, Machine, Peer, TurnedAway};
use broker_core::time::Now;
use codec::proxy::{CHALLENGE_BYTES, Link, ProxyError, ProxyHeader, greeting, parse};
use ring::Received;
use socket2::SockRef;
use std::collections::BTreeSet;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};

/// The inner connections of one shard whose header has not come.
#[derive(Default)]
pub(in crate::edge) struct Inners {
    all: Places<Inner>,
    /// When each ends, the oldest first.
    due: BTreeSet<(Now, u32)>,
}

impl Inners {
    /// Whether there is none.
    pub(in crate::edge) fn is_empty(&self) -> bool {
        self.all.len() == 0
    }

    /// One that has kept its place for too long to be a node, where all places are taken.
    fn outstayed(&self, now: Now) -> Option<u32> {
        let &(due, place) = self.due.first()?;
        (due <= now.after(INNER_HEADER_MS - INNER_PATIENCE_MS)).then_some(place)
    }

    /// When the first of them ends.
    pub(in crate::edge) fn next_due(&self) -> Option<Now> {
        self.due.first().map(|&(due, _)| due)
    }
}

/// A connection of another node.
struct Inner {
    socket: OwnedFd,
    /// The engine of an encrypted link.
    tls: Option<Box<Tls>>,
    challenge: [u8; CHALLENGE_BYTES],
    /// The part of the header received so far: less than the longest, since a whole one is taken at once.
    bytes: Vec<u8>,
    /// Its handshake waits for a step; nothing is armed on it meanwhile.
    queued: bool,
    /// It sends no more.
    ended: bool,
    /// It is to be closed.
    over: bool,
    due: Now,
}

impl<M: Machine> Edge<M> {
    /// Greets a connection to an inner listener.
    pub(in crate::edge) fn greet(&mut self, socket: OwnedFd) {
        let crowded = self.io.descriptors.opened() > self.io.settings.connections;
        let Some(from) = remote(&socket) else {
            self.io.descriptors.closed();
            self.io.counts.accept_errors.other += 1;
            return;
        };
        if self.inners.all.len() >= INNER_WAITING_MAX
            && let Some(&(_, oldest)) = self.inners.due.first()
        {
            self.io.counts.inner_refused.limit += 1;
            self.end_inner(oldest);
        }
        let mut challenge = [0; CHALLENGE_BYTES];
        let known = entropy::fill(&mut challenge).is_ok();
        let room = !crowded || self.make_room(Origin::of(from.ip()));
        let place = self.inners.all.claim().filter(|_| known);
        let (true, Some(place)) = (room, place) else {
            if let Some(place) = place {
                self.inners.all.release(place);
            }
            self.io.counts.inner_refused.limit += 1;
            return self.close_inner(socket);
        };
        let links = self.links.as_ref().and_then(|links| links.tls.as_ref());
        let tls = links.map(|tls| Tls::new(&tls.server, Origin::of(from.ip())));
        let Ok(tls) = tls.transpose() else {
            self.inners.all.release(place);
            self.io.counts.inner_refused.limit += 1;
            return self.close_inner(socket);
        };
        if tls.is_none() {
            say(&socket, &greeting(&challenge));
        }
        let due = self.io.turn.at().now.after(INNER_HEADER_MS);
        let inner = Inner {
            socket,
            tls,
            challenge,
            bytes: Vec::new(),
            queued: false,
            ended: false,
            over: false,
            due,
        };
        self.inners.due.insert((due, place));
        self.await_header(place, Box::new(inner));
    }

    fn await_header(&mut self, place: u32, inner: Box<Inner>) {
        let key = link_key(LinkEnd::Inner(place));
        self.io.ring.receive_once(inner.socket.as_fd(), key);
        self.inners.all.put_back(place, inner);
    }

    /// A receive is over: there is always one armed on a connection that waits, unless its handshake is queued.
    pub(in crate::edge) fn inner_received(&mut self, place: u32, received: Received) {
        let Some(mut inner) = self.inners.all.borrow(place) else {
            debug_assert!(false, "it outlives what is armed on it");
            if let Received::Bytes(lent) = received {
                self.io.ring.give_back(lent);
            }
            return;
        };
        match received {
            Received::Bytes(lent) if inner.over => self.io.ring.give_back(lent),
            Received::Bytes(mut lent) => {
                let wait = self.io.handshakes.wait();
                let Some(tls) = &mut inner.tls else {
                    inner.bytes.extend_from_slice(self.io.ring.bytes(&mut lent));
                    self.io.ring.give_back(lent);
                    return self.read_header(place, inner);
                };
                if wait && tls.handshaking() {
                    tls.hold(self.io.ring.bytes(&mut lent));
                    self.io.ring.give_back(lent);
                    inner.queued = true;
                    self.inners.all.put_back(place, inner);
                    let waiting = Shaking::Link(LinkEnd::Inner(place));
                    return self.io.handshakes.push(waiting);
                }
                let mut plain = std::mem::take(&mut self.io.plain);
                let read = tls.read(
                    self.io.ring.bytes(&mut lent),
                    &mut plain,
                    self.io.turn.at().now,
                );
                self.io.ring.give_back(lent);
                return self.inner_decrypted(place, inner, plain, read);
            }
            Received::NoBuffers if !inner.over => {
                self.io.counts.no_buffers += 1;
                return self.await_header(place, inner);
            }
            Received::End | Received::Failed(_) | Received::Cancelled | Received::NoBuffers => {
                self.io.counts.inner_refused.incomplete += u64::from(!inner.over);
            }
        }
        self.drop_inner(place, *inner);
    }

    /// Goes on with a handshake whose bytes were put aside.
    pub(in crate::edge) fn step_inner(&mut self, place: u32) {
        let Some(mut inner) = self.inners.all.borrow(place) else {
            return; // it ended, and its place is free
        };
        if !std::mem::take(&mut inner.queued) {
            return self.inners.all.put_back(place, inner); // another one has its place
        }
        let Some(tls) = inner.tls.as_mut().filter(|_| !inner.over) else {
            return self.drop_inner(place, *inner);
        };
        let mut plain = std::mem::take(&mut self.io.plain);
        let read = tls.read(&mut [], &mut plain, self.io.turn.at().now);
        self.inner_decrypted(place, inner, plain, read);
    }

    /// What the engine made of it: the greeting follows the handshake, the header the greeting.
    fn inner_decrypted(
        &mut self,
        place: u32,
        mut inner: Box<Inner>,
        mut plain: Vec<u8>,
        read: Read,
    ) {
        inner.bytes.append(&mut plain);
        self.io.plain = plain;
        let Some(tls) = &mut inner.tls else {
            return debug_assert!(false, "it was decrypted");
        };
        self.io.cipher.clear();
        let mut said = Ok(());
        if tls.handshaking() {
            let kind = tls.just_secured();
            let greeting = greeting(&inner.challenge);
            let first: &[u8] = if kind.is_some() { &greeting } else { &[] };
            said = tls.write(first, &mut self.io.cipher);
            self.io.count_handshake(kind);
        } else if tls.has_out() {
            said = tls.write(&[], &mut self.io.cipher);
        }
        if !self.io.cipher.is_empty() {
            say(&inner.socket, &self.io.cipher);
        }
        let Some(tls) = &inner.tls else {
            return debug_assert!(false, "it is still there");
        };
        let too_much = tls.handshaking() && tls.held_bytes() > LINK_HELD_BYTES as u64;
        let refused = &mut self.io.counts.inner_refused;
        match read {
            Read::Failed if tls.is_foreign() => refused.forged += 1,
            Read::Failed => refused.malformed += 1,
            Read::More | Read::End if too_much || said.is_err() => refused.malformed += 1,
            Read::More => return self.read_header(place, inner),
            Read::End => {
                inner.ended = true;
                return self.read_header(place, inner);
            }
        }
        self.drop_inner(place, *inner);
    }

    /// Looks at what has come of the header.
    fn read_header(&mut self, place: u32, inner: Box<Inner>) {
        let read = match self.links.as_ref() {
            Some(links) => parse(
                &inner.bytes,
                &Link {
                    key: &links.key,
                    challenge: &inner.challenge,
                    node: &links.own,
                },
            ),
            None => Ok(None),
        };
        let refused = &mut self.io.counts.inner_refused;
        match read {
            Ok(None) if !inner.ended => return self.await_header(place, inner),
            Ok(None) => refused.incomplete += 1,
            Ok(Some((header, length))) => {
                let inner = self.take_inner(place, *inner);
                return self.open_inner(inner, &header, length);
            }
            Err(ProxyError::Forged) => refused.forged += 1,
            Err(
                ProxyError::NotProxy
                | ProxyError::Unsupported
                | ProxyError::TooLong
                | ProxyError::Malformed,
            ) => refused.malformed += 1,
        }
        self.drop_inner(place, *inner);
    }

    fn drop_inner(&mut self, place: u32, inner: Inner) {
        let inner = self.take_inner(place, inner);
        self.close_inner(inner.socket);
    }

    fn take_inner(&mut self, place: u32, inner: Inner) -> Inner {
        self.inners.due.remove(&(inner.due, place));
        self.inners.all.release(place);
        inner
    }

    fn close_inner(&mut self, socket: OwnedFd) {
        drop(socket);
        self.io.descriptors.closed();
    }

    /// The header is right: from here on it is the connection of the client that it names.
    fn open_inner(&mut self, inner: Inner, header: &ProxyHeader, length: usize) {
        let Inner {
            socket,
            tls: mut engine,
            mut bytes,
            ended,
            ..
        } = inner;
        bytes.drain(..length);
        let ProxyHeader {
            source,
            destination: _,
            listener,
            tls,
        } = *header;
        // What is encrypted has no answer: the node that passed it on gives one.
        let silent = engine.is_some();
        let origin = Origin::of(source.ip());
        if let Some(tls) = &mut engine {
            tls.comes_from(origin);
        }
        let full = !self.machine.has_room();
        if full && !self.make_room(origin) {
            return self.refuse(socket, source, silent, TurnedAway::NoRoom);
        }
        let peer = Peer {
            remote: source,
            listener,
            tls,
            inner: true,
        };
        let opened = if full {
            self.machine.open_instead(peer, self.io.turn.at())
        } else {
            self.machine.open(peer, self.io.turn.at())
        };
        let Some(session) = opened else {
            return self.refuse(socket, source, silent, TurnedAway::NoRoom);
        };
        self.io.counts.inner_accepted += 1;
        self.connections.insert(
            session,
            Connection::new(session, socket, engine),
            &mut self.io,
        );
        self.connections
            .welcome(session, origin, false, self.io.turn.at().now);
        self.drain();
        if tls {
            self.feed(Input::Secured { session }); // on the way to the node that passed it on
        }
        if !bytes.is_empty() {
            self.connections.note_first_bytes(session);
            self.begin(session, bytes);
        }
        if ended {
            self.ended(session);
        }
        self.connections.touch(session);
        self.connections
            .watch(session, &self.machine, &mut self.io.ring);
    }

    /// Closes a connection whose header is awaited, as soon as the kernel holds nothing of it.
    fn end_inner(&mut self, place: u32) {
        let Some(mut inner) = self.inners.all.borrow(place) else {
            return;
        };
        if inner.queued {
            return self.drop_inner(place, *inner); // nothing is armed on it
        }
        inner.over = true;
        self.inners.due.remove(&(inner.due, place));
        let _ = SockRef::from(&inner.socket).shutdown(Shutdown::Both);
        self.inners.all.put_back(place, inner);
    }

    /// Closes one that makes room for another connection. False when there is none that must.
    pub(in crate::edge) fn inner_makes_room(&mut self) -> bool {
        let Some(place) = self.inners.outstayed(self.io.turn.at().now) else {
            return false;
        };
        self.io.counts.inner_refused.limit += 1;
        self.end_inner(place);
        true
    }

    /// Closes those whose header is late.
    pub(in crate::edge) fn end_overdue_inners(&mut self) {
        for _ in 0..OVERDUE_PER_TURN {
            let Some(&(due, place)) = self.inners.due.first() else {
                return;
            };
            if due > self.io.turn.at().now {
                return;
            }
            self.io.counts.inner_refused.incomplete += 1;
            self.end_inner(place);
        }
    }

    /// Closes all, since the shard ends.
    pub(in crate::edge) fn end_inners(&mut self) {
        for place in self.inners.all.all() {
            self.end_inner(place);
        }
    }
}

/// Sends a few bytes without waiting. A fresh socket has room for them; one that is broken ends at its next receive.
fn say(socket: &OwnedFd, bytes: &[u8]) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let _ = SockRef::from(socket).send_with_flags(bytes, flags);
}
