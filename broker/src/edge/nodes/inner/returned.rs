//! Upgrades on inner connections that come back when both sides have closed the WebSocket.
//!
//! ```text
//!                 header of an upgrade                  both close frames; Free is said
//!  awaits a header ──────────────────► a client's own ─────────────────────────────────► waits for the next header
//!                                           └► its end, in any other way: closed
//! ```
//! The node that passes the client on sends nothing of it behind its close frame, so that the next byte is a header's.
//! Where it does, that is no header: the connection is closed, and no other client's bytes were on it.

use crate::edge::answers::remote;
use crate::edge::connections::connection::{Connection, has_left};
use crate::edge::io::Io;
use crate::edge::nodes::inner::{Inner, Inners, Introduced, close};
use crate::edge::nodes::lease::Lease;
use broker_core::address_shares::Origin;
use codec::proxy::{Entry, Introduction};

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
