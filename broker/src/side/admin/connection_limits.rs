//! Limits the number of connections, and shares them fairly among addresses. Also limits the number of unread response
//! bytes.
//!
//! When all slots are taken, a connection from the address with the most connections is evicted ([`Crowd`]). Its socket
//! is shut down, so its task reads EOF or fails to write, and then closes the descriptor.

use crate::side::shared_state::Shared;
use broker_core::address_shares::{Crowd, Origin};
use broker_core::time::Now;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::net::TcpStream;

#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Weak<TcpStream>);

impl Line {
    pub(crate) fn of(socket: &Arc<TcpStream>) -> Self {
        Self(Arc::downgrade(socket))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Shuts down the socket. The connection's task then reads EOF or fails to write, and ends.
    pub(crate) fn end(&self) {
        if let Some(socket) = self.0.upgrade() {
            let _ = SockRef::from(&*socket).shutdown(Shutdown::Both);
        }
    }
}

/// The slots for admitted connections. Clones share them.
#[derive(Clone)]
pub(crate) struct Inside {
    all: Shared<All>,
    places: usize,
    opened: Instant,
}

#[derive(Default)]
struct All {
    crowd: Crowd<u64>,
    /// The connections by number, from oldest to newest. The `Line` is empty until the connection's task has started.
    lines: BTreeMap<u64, Line>,
    next: u64,
}

/// A reserved connection slot. Released on drop.
pub(crate) struct Place {
    number: u64,
    inside: Inside,
}

impl Inside {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            all: Shared::default(),
            places,
            opened: Instant::now(),
        }
    }

    /// Reserves a slot for a connection that has not sent anything yet. If all slots are taken, evicts the connection
    /// chosen by [`Crowd::victim`]. If it chooses none, evicts the first connection of `origin` in eviction order, or
    /// the oldest of all connections if `origin` has none.
    pub(crate) fn enter(&self, origin: Origin) -> Place {
        let now = self.now();
        let mut all = self.all.lock();
        if all.lines.len() >= self.places {
            let victim = all.crowd.victim(origin, now);
            let victim = victim.or_else(|| all.crowd.first_of(origin));
            let oldest = all.lines.first_key_value().map(|(&number, _)| number);
            all.end(victim.or(oldest));
        }
        all.take(self, origin, now)
    }

    /// Reserves a slot for a connection that has sent its request. If all slots are taken, evicts the connection chosen
    /// by [`Crowd::victim`], or returns `None` if it chooses none.
    pub(crate) fn enter_if_fair(&self, origin: Origin) -> Option<Place> {
        let now = self.now();
        let mut all = self.all.lock();
        if all.lines.len() >= self.places {
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
        self.lines.insert(self.next, Line::default());
        Place {
            number: self.next,
            inside: inside.clone(),
        }
    }

    fn leave(&mut self, number: u64) -> Option<Line> {
        self.crowd.leave(number);
        self.lines.remove(&number)
    }

    fn end(&mut self, victim: Option<u64>) {
        if let Some(line) = victim.and_then(|victim| self.leave(victim)) {
            line.end();
        }
    }
}

impl Place {
    /// Stores the connection in its slot. The connection is shut down when its slot is evicted, or immediately if the
    /// slot has already been evicted.
    pub(crate) fn has(&self, line: Line) {
        match self.inside.all.lock().lines.get_mut(&self.number) {
            Some(place) => *place = line,
            None => line.end(),
        }
    }

    /// Records that the connection has sent data. Connections that have not sent any data are evicted first.
    pub(crate) fn spoke(&self) {
        self.inside.all.lock().crowd.spoke(self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inside.all.lock().leave(self.number);
    }
}

// Response and event bytes that admin connections hold until their peers read them.
//
// The total is limited. When the limit is reached, the connection whose bytes have been unread the longest is closed,
// since its peer has evidently stopped reading.

/// The unread response bytes of all connections. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    holders: Shared<Holders>,
    most: usize,
}

#[derive(Debug, Default)]
struct Holders {
    by_age: BTreeMap<u64, Holder>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Holder {
    line: Line,
    bytes: usize,
}

/// A guard that counts bytes as unread until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    of: Unread,
    number: u64,
}

impl Unread {
    /// Creates a limit on the total number of unread bytes. A single connection may exceed the limit while no other
    /// connection has unread bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            holders: Shared::default(),
            most,
        }
    }

    pub(crate) fn hold(&self, line: &Line, bytes: usize) -> Hold {
        let mut holders = self.holders.lock();
        let number = holders.next;
        holders.next += 1;
        holders.bytes += bytes;
        let line = line.clone();
        holders.by_age.insert(number, Holder { line, bytes });
        while holders.bytes > self.most
            && holders.by_age.len() > 1
            && let Some((_, oldest)) = holders.by_age.pop_first()
        {
            holders.bytes -= oldest.bytes;
            oldest.line.end();
        }
        Hold {
            of: self.clone(),
            number,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut holders = self.of.holders.lock();
        if let Some(holder) = holders.by_age.remove(&self.number) {
            holders.bytes -= holder.bytes;
        }
    }
}

#[cfg(test)]
mod unread_tests {
    use super::*;

    fn numbers(unread: &Unread) -> (Vec<u64>, usize) {
        let holders = unread.holders.lock();
        (holders.by_age.keys().copied().collect(), holders.bytes)
    }

    #[test]
    fn the_one_that_waits_longest_makes_room() {
        let unread = Unread::new(100);
        let socket = Line::default();
        let first = unread.hold(&socket, 60);
        let second = unread.hold(&socket, 40);
        assert_eq!(numbers(&unread), (vec![0, 1], 100));
        let third = unread.hold(&socket, 50);
        assert_eq!(numbers(&unread), (vec![1, 2], 90));
        drop(second);
        drop(first);
        assert_eq!(numbers(&unread), (vec![2], 50));
        let large = unread.hold(&socket, 1000);
        assert_eq!(numbers(&unread), (vec![3], 1000), "alone it may be larger");
        drop((third, large));
        assert_eq!(numbers(&unread), (vec![], 0));
    }
}
