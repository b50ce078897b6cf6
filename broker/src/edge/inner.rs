//! Inner listeners: connections that other nodes pass on. Here alone is a PROXY header understood.
//!
//! ```text
//!  accept ──► greeting sent, header awaited ──► a session, as if the client had connected here
//!                        │
//!                        └► closed: not a header, not signed for this connection, too late, too many
//! ```
//! What does not get that far has no session and no answer: nobody but the nodes of the cluster should be able to reach
//! an inner port. Whose header is right counts as its client does: by the client's address, as a guest until it is
//! admitted, and answered 503 when there is no room.

use super::accept::remote;
use super::connection::Connection;
use super::entropy;
use super::limits::{INNER_HEADER_MS, INNER_WAITING_MAX, OVERDUE_PER_TURN};
use super::links::{LinkEnd, Places, link_key};
use super::shard::Edge;
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
pub(super) struct Inners {
    all: Places<Inner>,
    /// When each ends, the oldest first.
    due: BTreeSet<(Now, u32)>,
}

impl Inners {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.len() == 0
    }

    /// When the first of them ends.
    pub(super) fn next_due(&self) -> Option<Now> {
        self.due.first().map(|&(due, _)| due)
    }
}

/// A connection of another node.
struct Inner {
    socket: OwnedFd,
    challenge: [u8; CHALLENGE_BYTES],
    /// The part of the header received so far: less than the longest, since a whole one is taken at once.
    bytes: Vec<u8>,
    /// It is to be closed.
    over: bool,
    due: Now,
}

/// Why connections of other nodes were closed, as `heliograph_cluster_inner_refused_total{reason}` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InnerRefusals {
    /// There was no room for it.
    pub limit: u64,
    /// Its header did not come in time, or its end came first.
    pub incomplete: u64,
    /// What came is no header that a node writes.
    pub malformed: u64,
    /// The header is not signed for this connection.
    pub forged: u64,
}

impl<M: Machine> Edge<M> {
    /// Greets a connection to an inner listener.
    pub(super) fn greet(&mut self, socket: OwnedFd) {
        let crowded = self.descriptors.opened() > self.settings.connections;
        let Some(from) = remote(&socket) else {
            self.descriptors.closed();
            self.counts.accept_errors.other += 1;
            return;
        };
        if self.inners.all.len() >= INNER_WAITING_MAX
            && let Some(&(_, oldest)) = self.inners.due.first()
        {
            self.counts.inner_refused.limit += 1;
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
            self.counts.inner_refused.limit += 1;
            return self.close_inner(socket);
        };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // A fresh socket has room. One that is broken already ends at its first receive.
        let _ = SockRef::from(&socket).send_with_flags(&greeting(&challenge), flags);
        let due = self.at.now.after(INNER_HEADER_MS);
        let inner = Inner {
            socket,
            challenge,
            bytes: Vec::new(),
            over: false,
            due,
        };
        self.inners.due.insert((due, place));
        self.await_header(place, Box::new(inner));
    }

    fn await_header(&mut self, place: u32, inner: Box<Inner>) {
        let key = link_key(LinkEnd::Inner(place));
        self.ring.receive_once(inner.socket.as_fd(), key);
        self.inners.all.put_back(place, inner);
    }

    /// A receive is over: there is always one armed on a connection that waits.
    pub(super) fn inner_received(&mut self, place: u32, received: Received) {
        let Some(mut inner) = self.inners.all.borrow(place) else {
            debug_assert!(false, "it outlives what is armed on it");
            if let Received::Bytes(lent) = received {
                self.ring.give_back(lent);
            }
            return;
        };
        match received {
            Received::Bytes(mut lent) => {
                inner.bytes.extend_from_slice(self.ring.bytes(&mut lent));
                self.ring.give_back(lent);
            }
            Received::NoBuffers if !inner.over => {
                self.counts.no_buffers += 1;
                return self.await_header(place, inner);
            }
            Received::End | Received::Failed(_) | Received::Cancelled | Received::NoBuffers => {
                self.counts.inner_refused.incomplete += u64::from(!inner.over);
                inner.over = true;
            }
        }
        let read = match self.links.as_ref() {
            Some(links) if !inner.over => parse(
                &inner.bytes,
                &Link {
                    key: &links.key,
                    challenge: &inner.challenge,
                    node: &links.own,
                },
            ),
            Some(_) | None => Ok(None),
        };
        let refused = &mut self.counts.inner_refused;
        match read {
            Ok(None) if !inner.over => return self.await_header(place, inner),
            Ok(None) => {}
            Ok(Some((header, length))) => {
                let Inner {
                    socket, mut bytes, ..
                } = self.take_inner(place, *inner);
                bytes.drain(..length);
                return self.open_inner(socket, &header, bytes);
            }
            Err(ProxyError::Forged) => refused.forged += 1,
            Err(
                ProxyError::NotProxy
                | ProxyError::Unsupported
                | ProxyError::TooLong
                | ProxyError::Malformed,
            ) => refused.malformed += 1,
        }
        let inner = self.take_inner(place, *inner);
        self.close_inner(inner.socket);
    }

    fn take_inner(&mut self, place: u32, inner: Inner) -> Inner {
        self.inners.due.remove(&(inner.due, place));
        self.inners.all.release(place);
        inner
    }

    fn close_inner(&mut self, socket: OwnedFd) {
        drop(socket);
        self.descriptors.closed();
    }

    /// The header is right: from here on it is the connection of the client that it names.
    fn open_inner(&mut self, socket: OwnedFd, header: &ProxyHeader, unread: Vec<u8>) {
        let ProxyHeader {
            source,
            destination: _,
            listener,
            tls,
        } = *header;
        let origin = Origin::of(source.ip());
        let full = !self.machine.has_room();
        if full && !self.make_room(origin) {
            return self.refuse(socket, source, false, TurnedAway::NoRoom);
        }
        let peer = Peer {
            remote: source,
            listener,
            tls,
            inner: true,
        };
        let opened = if full {
            self.machine.open_instead(peer, self.at)
        } else {
            self.machine.open(peer, self.at)
        };
        let Some(session) = opened else {
            return self.refuse(socket, source, false, TurnedAway::NoRoom);
        };
        self.counts.inner_accepted += 1;
        self.insert(session, Connection::new(session, socket, None));
        self.welcome(session, origin, false);
        self.drain();
        if tls {
            self.feed(Input::Secured { session }); // on the way to the node that passed it on
        }
        if !unread.is_empty() {
            self.note_first_bytes(session);
        }
        self.resume(session, unread);
        self.touch(session);
        self.watch(session);
    }

    /// Closes a connection whose header is awaited, as soon as the kernel holds nothing of it.
    fn end_inner(&mut self, place: u32) {
        let Some(mut inner) = self.inners.all.borrow(place) else {
            return;
        };
        inner.over = true;
        self.inners.due.remove(&(inner.due, place));
        let _ = SockRef::from(&inner.socket).shutdown(Shutdown::Both);
        self.inners.all.put_back(place, inner);
    }

    /// Closes those whose header is late.
    pub(super) fn end_overdue_inners(&mut self) {
        for _ in 0..OVERDUE_PER_TURN {
            let Some(&(due, place)) = self.inners.due.first() else {
                return;
            };
            if due > self.at.now {
                return;
            }
            self.counts.inner_refused.incomplete += 1;
            self.end_inner(place);
        }
    }

    /// Closes all, since the shard ends.
    pub(super) fn end_inners(&mut self) {
        for place in self.inners.all.all() {
            self.end_inner(place);
        }
    }
}
