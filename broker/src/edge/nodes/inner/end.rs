//! The end of inner connections: of those that are late, that make room, and of all.

use crate::edge::io::Io;
use crate::edge::limits::{INNER_HEADER_MS, INNER_PATIENCE_MS, OVERDUE_PER_TURN};
use crate::edge::nodes::inner::kept::say_frame;
use crate::edge::nodes::inner::{Arrival, Inner, Inners, close};
use broker_core::time::Now;
use codec::proxy::OwnerFrame;
use socket2::SockRef;
use std::collections::BTreeSet;
use std::net::Shutdown;

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
