//! Pages of the admin listener on client ports, under `--lan`: the connection of who asks for one is copied to the side
//! thread and back, over a pair of sockets.
//!
//! What one side sends goes to the other at once; while that has no room, the rest is in the ring and the first side is
//! not read. So a page holds a request, or a receive buffer for each direction, and there are as many as the side
//! thread takes. When one side has ended, the other's end is shut behind all of its bytes; then it is over.

use crate::edge::connection::NEVER;
use crate::edge::departed::Detached;
use crate::edge::limits::{CLIENT_LINGER_MS, CLIENT_STALL_MS, OVERDUE_PER_TURN};
use crate::edge::links::{LinkEnd, Places, link_key};
use crate::edge::{io::Io, start::TakeAdmin, tls::Read};
use broker_core::time::Now;
use ring::{Key, Received};
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::BTreeSet;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;

/// The connections of one shard to the side thread.
pub(crate) struct Pages {
    all: Places<Page>,
    /// When each is looked at, if nothing happens.
    due: BTreeSet<(Now, u32)>,
    take: Option<TakeAdmin>,
}

/// A client that is connected to the side thread.
struct Page {
    sides: [Detached; 2],
    /// Our ends that are shut, as [`Self::sides`].
    shut: [bool; 2],
    /// Bytes for the client, behind words of its engine that are in flight.
    waiting: Vec<u8>,
    /// It is to be closed.
    is_over: bool,
    /// What it waits for, and since when.
    waits: (Wait, Now),
    due: Now,
}

/// What a page waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Bytes,
    /// A side that has no room.
    Room,
    /// The client's end, behind that of the side thread.
    End,
}

/// The sides of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client = 0,
    Thread = 1,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Client, Self::Thread];

    fn other(self) -> Self {
        match self {
            Self::Client => Self::Thread,
            Self::Thread => Self::Client,
        }
    }

    fn key(self, place: u32) -> Key {
        link_key(LinkEnd::Page(self, place))
    }
}

impl Pages {
    /// None; `take` is there under `--lan`.
    pub(crate) fn new(take: Option<TakeAdmin>) -> Self {
        Self {
            all: Places::default(),
            due: BTreeSet::new(),
            take,
        }
    }

    /// Whether the side thread takes connections.
    pub(crate) fn are_served(&self) -> bool {
        self.take.is_some()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.len() == 0
    }

    /// When the first is to be looked at.
    pub(crate) fn next_due(&self) -> Option<Now> {
        self.due.first().map(|&(due, _)| due)
    }

    /// Our end of a connection that the side thread has taken, for a client at `remote`; its descriptor is counted
    /// already.
    pub(crate) fn join(&self, remote: SocketAddr) -> Option<Detached> {
        let take = self.take.as_ref()?;
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).ok()?;
        take(theirs.into(), remote).then(|| Detached::new(ours.into(), None))
    }

    /// Connects a client to the side thread, with what it has sent.
    pub(crate) fn begin(
        &mut self,
        client: Detached,
        thread: Detached,
        request: &[u8],
        io: &mut Io,
    ) {
        let Some(place) = self.all.claim() else {
            client.close(io);
            return thread.close(io);
        };
        let mut page = Page {
            sides: [client, thread],
            shut: [false; 2],
            waiting: Vec::new(),
            is_over: false,
            waits: (Wait::Bytes, io.turn.at().now),
            due: NEVER,
        };
        page.send(place, Side::Thread, request, io);
        self.settle(place, Box::new(page), io);
    }

    /// A receive of one side is over.
    pub(crate) fn received(&mut self, place: u32, side: Side, received: Received, io: &mut Io) {
        let Some(mut page) = self.all.borrow(place) else {
            debug_assert!(false, "a page outlives what is armed on it");
            if let Received::Bytes(lent) = received {
                io.ring.give_back(lent);
            }
            return;
        };
        let from = page.side(side);
        from.armed = false;
        match received {
            Received::Bytes(lent) => {
                let mut plain = std::mem::take(&mut io.plain);
                match from.read(lent, &mut plain, io) {
                    Read::More => {}
                    Read::End => from.ended = true,
                    Read::Failed => page.is_over = true,
                }
                page.send(place, side.other(), &plain, io);
                plain.clear();
                io.plain = plain;
            }
            // It closed without reading all: what it answered is to arrive all the same.
            Received::Failed(_) if side == Side::Thread => from.ended = true,
            Received::End => from.ended = true,
            Received::Failed(_) => page.is_over = true,
            Received::NoBuffers => io.counts.no_buffers += 1, // armed again below: all of this turn are back by then
            Received::Cancelled => {}
        }
        self.settle(place, page, io);
    }

    /// A send of one side is over.
    pub(crate) fn sent(
        &mut self,
        (place, side): (u32, Side),
        flight: Vec<u8>,
        result: &io::Result<usize>,
        io: &mut Io,
    ) {
        let Some(mut page) = self.all.borrow(place) else {
            return debug_assert!(false, "a page outlives its send");
        };
        let sent = result.as_ref().copied().unwrap_or(0);
        io.counts.sent_bytes += sent as u64;
        page.side(side).sending = false;
        page.waits = (Wait::Bytes, io.turn.at().now);
        if sent < flight.len() {
            page.broke(side);
        }
        io.spares.recycle(flight);
        self.settle(place, page, io);
    }

    /// Ends those whose time is over.
    pub(crate) fn end_late(&mut self, io: &mut Io) {
        let now = io.turn.at().now;
        for _ in 0..OVERDUE_PER_TURN {
            let late = self.due.first().filter(|(due, _)| *due <= now);
            let Some(mut page) = late.and_then(|&(_, place)| self.all.borrow(place)) else {
                return;
            };
            let Some((_, place)) = self.due.pop_first() else {
                return;
            };
            io.counts.overdue += 1;
            page.is_over = true;
            self.settle(place, page, io);
        }
    }

    /// Ends all, since the shard ends.
    pub(crate) fn end_all(&mut self, io: &mut Io) {
        for place in self.all.all() {
            if let Some(mut page) = self.all.borrow(place) {
                page.is_over = true;
                self.settle(place, page, io);
            }
        }
    }

    /// Goes on with a page after anything happened to it, or closes it.
    fn settle(&mut self, place: u32, mut page: Box<Page>, io: &mut Io) {
        page.pass_ends_on(place, io);
        let is_at_rest = page.sides.iter().all(Detached::at_rest);
        self.due.remove(&(page.due, place));
        if page.is_over && is_at_rest {
            self.all.release(place);
            return page.sides.into_iter().for_each(|side| side.close(io));
        }
        for side in Side::BOTH {
            let is_over = page.is_over;
            let goes_on = !page.side(side.other()).sending;
            let half = page.side(side);
            if is_over {
                let _ = SockRef::from(&half.socket).shutdown(Shutdown::Both); // what is armed completes
            } else if goes_on && !half.ended && !half.armed {
                half.armed = true;
                io.ring.receive_once(half.socket.as_fd(), side.key(place));
            } else if !goes_on && let Some(tls) = &mut half.tls {
                tls.pause();
            }
        }
        page.due = page.limit(io);
        if page.due != NEVER {
            self.due.insert((page.due, place));
        }
        self.all.put_back(place, page);
    }
}

impl Page {
    fn side(&mut self, side: Side) -> &mut Detached {
        &mut self.sides[side as usize]
    }

    fn send(&mut self, place: u32, to: Side, bytes: &[u8], io: &mut Io) {
        if self.is_over || self.shut[to as usize] {
            return;
        }
        if self.side(to).sending {
            return self.waiting.extend_from_slice(bytes);
        }
        if self.side(to).send(to.key(place), bytes, io).is_none() {
            self.broke(to);
        }
    }

    /// Nothing can be sent to one side any more.
    fn broke(&mut self, side: Side) {
        match side {
            Side::Client => self.is_over = true,
            Side::Thread => self.shut[side as usize] = true, // its answer is read all the same
        }
    }

    /// Sends what waits for the client, and shuts the end of each side whose other has ended.
    fn pass_ends_on(&mut self, place: u32, io: &mut Io) {
        for side in Side::BOTH {
            if side == Side::Client && !self.side(side).sending {
                let waiting = std::mem::take(&mut self.waiting);
                self.send(place, side, &waiting, io);
            }
            let ends = self.side(side.other()).ended && !self.shut[side as usize];
            let half = self.side(side);
            if !ends || half.sending {
                continue;
            }
            if let Some(tls) = &mut half.tls {
                tls.notify_close();
                self.send(place, side, &[], io);
            }
            if !self.side(side).sending {
                self.shut[side as usize] = true;
                let _ = SockRef::from(&self.side(side).socket).shutdown(Shutdown::Write);
            }
        }
        self.is_over |= self.shut == [true; 2] && self.side(Side::Client).ended;
    }

    /// When it ends unless something happens.
    fn limit(&mut self, io: &Io) -> Now {
        let [client, thread] = &self.sides;
        let wait = match () {
            () if client.sending || thread.sending => Wait::Room,
            () if thread.ended => Wait::End,
            () => Wait::Bytes, // the side thread has deadlines of its own
        };
        if wait != self.waits.0 {
            self.waits = (wait, io.turn.at().now);
        }
        let since = self.waits.1;
        let begun = client.tls.as_ref().and_then(|tls| tls.begun());
        let record = begun.map_or(NEVER, |begun| begun.after(io.settings.record_ms));
        match wait {
            _ if self.is_over => NEVER, // what is armed or in flight completes at once
            Wait::Room => since.after(CLIENT_STALL_MS).min(record),
            Wait::End => since.after(CLIENT_LINGER_MS).min(record),
            Wait::Bytes => record,
        }
    }
}
