//! Connections in lists, each in the order in which they came to it: 20 bytes for each slot of the sessions.
//!
//! The lists go through the slots: what is before and after a connection is in its own place, so that nothing is
//! allocated for a connection, and nothing is moved or searched when one leaves.

use super::Standing;
use crate::id::{Key, SessionKey};

/// The places of all sessions, by slot. They come in chunks and stay.
#[derive(Debug, Default)]
pub(super) struct Seats {
    chunks: Vec<Box<[Seat]>>,
}

/// One connection in its list.
#[derive(Clone, Copy, Debug)]
struct Seat {
    generation: u32,
    /// [`NOBODY`] where no connection has the place.
    caller: u32,
    older: u32,
    newer: u32,
    standing: Standing,
}

/// The ends of a list: slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List {
    oldest: u32,
    newest: u32,
}

impl List {
    /// A list without connections.
    pub(super) const EMPTY: Self = Self {
        oldest: NOBODY,
        newest: NOBODY,
    };
}

/// In place of a slot or a caller: none.
const NOBODY: u32 = u32::MAX;

const CHUNK: usize = 64;

const _: () = assert!(size_of::<Seat>() == 20);

impl Seats {
    /// Whose a connection is, and in which of the lists, if it has a place.
    pub(super) fn of(&self, session: SessionKey) -> Option<(u32, Standing)> {
        let seat = self.seat(slot(session))?;
        let found = seat.generation == session.generation() && seat.caller != NOBODY;
        found.then_some((seat.caller, seat.standing))
    }

    /// The connection that came last.
    pub(super) fn newest(&self, list: List) -> Option<SessionKey> {
        self.key(list.newest)
    }

    /// The connection that came first.
    pub(super) fn oldest(&self, list: List) -> Option<SessionKey> {
        self.key(list.oldest)
    }

    /// Puts a connection that has no place at the end of a list.
    pub(super) fn push(
        &mut self,
        list: &mut List,
        session: SessionKey,
        (caller, standing): (u32, Standing),
    ) {
        while self.chunks.len() <= session.slot() / CHUNK {
            let free = Seat {
                generation: 0,
                caller: NOBODY,
                older: NOBODY,
                newer: NOBODY,
                standing,
            };
            self.chunks.push([free; CHUNK].into());
        }
        let older = std::mem::replace(&mut list.newest, slot(session));
        match self.seat_mut(older) {
            Some(seat) => seat.newer = slot(session),
            None => list.oldest = slot(session),
        }
        if let Some(seat) = self.seat_mut(slot(session)) {
            *seat = Seat {
                generation: session.generation(),
                caller,
                older,
                newer: NOBODY,
                standing,
            };
        }
    }

    /// Takes a connection out of its list.
    pub(super) fn take(&mut self, list: &mut List, session: SessionKey) {
        let Some(seat) = self.seat_mut(slot(session)) else {
            return;
        };
        let Seat { older, newer, .. } = *seat;
        seat.caller = NOBODY;
        match self.seat_mut(older) {
            Some(seat) => seat.newer = newer,
            None => list.oldest = newer,
        }
        match self.seat_mut(newer) {
            Some(seat) => seat.older = older,
            None => list.newest = older,
        }
    }

    fn key(&self, number: u32) -> Option<SessionKey> {
        let seat = self.seat(number)?;
        Some(<SessionKey as Key>::new(number, seat.generation))
    }

    fn seat(&self, number: u32) -> Option<&Seat> {
        let number = number as usize;
        self.chunks.get(number / CHUNK)?.get(number % CHUNK)
    }

    fn seat_mut(&mut self, number: u32) -> Option<&mut Seat> {
        let number = number as usize;
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }
}

fn slot(session: SessionKey) -> u32 {
    u32::try_from(session.slot()).unwrap_or(NOBODY)
}
