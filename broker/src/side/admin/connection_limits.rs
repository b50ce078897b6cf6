//! Bounds of connections inside: a number of places, shared by address, and bytes that peers have not taken.
//!
//! When all places are taken, a connection of the address that has most makes room ([`Crowd`]): its socket is shut
//! down, so that its task reads the end, or fails to write, and closes the descriptor.

use crate::side::shared_state::Shared;
use broker_core::address_shares::{Crowd, Origin};
use broker_core::time::Now;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::net::TcpStream;

/// The way to the end of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line(Weak<TcpStream>);

impl Line {
    pub(crate) fn of(socket: &Arc<TcpStream>) -> Self {
        Self(Arc::downgrade(socket))
    }

    /// Whether the connection is still there.
    pub(crate) fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Shuts the connection down: its task reads the end, or fails to write, and drops what it holds.
    pub(crate) fn end(&self) {
        if let Some(socket) = self.0.upgrade() {
            let _ = SockRef::from(&*socket).shutdown(Shutdown::Both);
        }
    }
}

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
    lines: BTreeMap<u64, Line>,
    next: u64,
}

/// A place, until this is dropped.
pub(crate) struct Place {
    number: u64,
    inside: Inside,
}

impl Inside {
    /// Limits with this many places.
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
        if all.lines.len() >= self.places {
            let victim = all.crowd.victim(origin, now);
            let victim = victim.or_else(|| all.crowd.first_of(origin));
            let oldest = all.lines.first_key_value().map(|(&number, _)| number);
            all.end(victim.or(oldest));
        }
        all.take(self, origin, now)
    }

    /// A place for a connection that has sent its request, unless its address has as many as any other.
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
    /// The connection that ends when this place is wanted for another: at once, if it was wanted before.
    pub(crate) fn has(&self, line: Line) {
        match self.inside.all.lock().lines.get_mut(&self.number) {
            Some(place) => *place = line,
            None => line.end(),
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

// Bytes of answers and events that connections of the admin listener hold until their peers take them.
//
// Together they are at most as many as allowed: when one more does not fit, the connection whose bytes have waited
// longest ends. A peer that reads holds its bytes for moments, so it is one that does not.

/// The bytes of all connections; a clone is another way to the same.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    holders: Shared<Holders>,
    most: usize,
}

#[derive(Debug, Default)]
struct Holders {
    /// The one that has waited longest first.
    by_age: BTreeMap<u64, Holder>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Holder {
    line: Line,
    bytes: usize,
}

/// Bytes that are held until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    of: Unread,
    number: u64,
}

impl Unread {
    /// At most this many bytes; a single connection may hold more while nobody else holds any.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            holders: Shared::default(),
            most,
        }
    }

    /// Counts bytes that the peer of this connection is to take.
    pub(crate) fn hold(&self, line: &Line, bytes: usize) -> Hold {
        let mut holders = self.holders.lock();
        let number = holders.next;
        holders.next += 1;
        holders.bytes += bytes;
        let line = line.clone();
        holders.by_age.insert(number, Holder { line, bytes });
        while holders.bytes > self.most && holders.by_age.len() > 1 {
            holders.end_oldest();
        }
        Hold {
            of: self.clone(),
            number,
        }
    }
}

impl Holders {
    fn end_oldest(&mut self) {
        if let Some((_, holder)) = self.by_age.pop_first() {
            self.bytes -= holder.bytes;
            holder.line.end();
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
