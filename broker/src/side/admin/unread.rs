//! Bytes of answers and events that connections of the admin listener hold until their peers take them.
//!
//! Together they are at most as many as allowed: when one more does not fit, the connection whose bytes have waited
//! longest ends. A peer that reads holds its bytes for moments, so it is one that does not.

use crate::side::shared::Shared;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::Weak;
use tokio::net::TcpStream;

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
    socket: Weak<TcpStream>,
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

    /// Counts bytes that the peer of this socket is to take.
    pub(crate) fn hold(&self, socket: &Weak<TcpStream>, bytes: usize) -> Hold {
        let mut holders = self.holders.lock();
        let number = holders.next;
        holders.next += 1;
        holders.bytes += bytes;
        let holder = Holder {
            socket: Weak::clone(socket),
            bytes,
        };
        holders.by_age.insert(number, holder);
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
        let Some((_, holder)) = self.by_age.pop_first() else {
            return;
        };
        self.bytes -= holder.bytes;
        if let Some(socket) = holder.socket.upgrade() {
            // Its task fails to write, and drops what it holds.
            let _ = SockRef::from(&*socket).shutdown(Shutdown::Both);
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
mod tests {

    use super::*;

    fn numbers(unread: &Unread) -> (Vec<u64>, usize) {
        let holders = unread.holders.lock();
        (holders.by_age.keys().copied().collect(), holders.bytes)
    }

    #[test]
    fn the_one_that_waits_longest_makes_room() {
        let unread = Unread::new(100);
        let socket = Weak::new();
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
