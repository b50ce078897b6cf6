//! Places of connections inside: a bounded number, shared by address.
//!
//! When all are taken, a connection of the address that has most makes room ([`Crowd`]): its socket is shut down, so
//! that its task reads the end, or fails to write, and closes the descriptor.

use crate::side::shared::Shared;
use broker_core::address_shares::{Crowd, Origin};
use broker_core::time::Now;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::net::TcpStream;

/// The places; a clone is another way to the same.
#[derive(Clone)]
pub(crate) struct Inside {
    all: Shared<All>,
    places: usize,
    opened: Instant,
}

#[derive(Default)]
struct All {
    crowd: Crowd<u64>,
    /// By number: the oldest first. One that is on its way to its task is not there yet.
    sockets: BTreeMap<u64, Weak<TcpStream>>,
    next: u64,
}

/// A place, until this is dropped.
pub(crate) struct Place {
    number: u64,
    inside: Inside,
}

impl Inside {
    /// This many places.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            all: Shared::default(),
            places,
            opened: Instant::now(),
        }
    }

    /// A place for a connection that has sent nothing. Somebody always makes room: the address with most, else the
    /// oldest of the same address, else the oldest of all.
    pub(crate) fn enter(&self, origin: Origin) -> Place {
        let now = self.now();
        let mut all = self.all.lock();
        if all.sockets.len() >= self.places {
            let victim = all.crowd.victim(origin, now);
            let victim = victim.or_else(|| all.crowd.first_of(origin));
            let oldest = all.sockets.first_key_value().map(|(&number, _)| number);
            all.end(victim.or(oldest));
        }
        all.take(self, origin, now)
    }

    /// A place for a connection that has sent its request, unless its address has as many as any other.
    pub(crate) fn enter_if_fair(&self, origin: Origin) -> Option<Place> {
        let now = self.now();
        let mut all = self.all.lock();
        if all.sockets.len() >= self.places {
            let victim = all.crowd.victim(origin, now)?;
            all.end(Some(victim));
        }
        let place = all.take(self, origin, now);
        all.crowd.spoke(place.number);
        Some(place)
    }

    fn now(&self) -> Now {
        Now(u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl All {
    fn take(&mut self, inside: &Inside, origin: Origin, now: Now) -> Place {
        self.next += 1;
        self.crowd.enter(self.next, origin, now);
        self.sockets.insert(self.next, Weak::new());
        Place {
            number: self.next,
            inside: inside.clone(),
        }
    }

    fn leave(&mut self, number: u64) -> Option<Weak<TcpStream>> {
        self.crowd.leave(number);
        self.sockets.remove(&number)
    }

    fn end(&mut self, victim: Option<u64>) {
        let socket = victim.and_then(|victim| self.leave(victim));
        if let Some(socket) = socket.and_then(|socket| socket.upgrade()) {
            let _ = SockRef::from(&*socket).shutdown(Shutdown::Both);
        }
    }
}

impl Place {
    /// The socket that ends when this place is wanted for another: at once, if it was wanted before.
    pub(crate) fn has(&self, socket: &Arc<TcpStream>) {
        match self.inside.all.lock().sockets.get_mut(&self.number) {
            Some(place) => *place = Arc::downgrade(socket),
            None => {
                let _ = SockRef::from(&**socket).shutdown(Shutdown::Both);
            }
        }
    }

    /// The connection has sent something: those that have not make room before it.
    pub(crate) fn spoke(&self) {
        self.inside.all.lock().crowd.spoke(self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inside.all.lock().leave(self.number);
    }
}
